"""Changes the code in one place at a time and sees whether a test notices: what `make mutate` runs, with the mutants that mutmut makes.

mutmut's own run collects the tests for every mutant anew, which takes longer than most tests that notice one. Here they are collected once, and
each mutant is tried in a fork of that process: first by the tests that noticed others in the same function, then by those of its own module,
then by the rest that reach it. Three things make a mutant cheap, and each can only lower the score:

- it is asked of tests for so many seconds (``--seconds``), what is nearest first; tests that need a server or a browser are not asked;
- a property has so many examples (``--examples``), the same each time, and none is made smaller after it failed;
- with ``--sample N`` so many mutants of each module are drawn by ``--seed``, always the same ones while the module stays as it is.

Verdicts stand where mutmut keeps its own, in ``mutants/``, so that `mutmut show` and ``tests/mutation_score.py`` read them. What has one is not tried
again unless its function changed; ``--again`` tries again what nobody noticed, which is for after tests were written.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest
from mutmut.__main__ import create_mutants
from mutmut.configuration import config
from mutmut.mutation import trampoline
from mutmut.mutation.data import SourceFileMutationData
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths, walk_mutatable_files

SURVIVED, NOTICED, NOT_REACHED, TIMEOUT = 0, 1, 33, 36
SERVERS = {"seaweedfs", "moto_server", "browser"}
WALL_SECONDS_MAX = 300


@dataclass
class Reach:
    """Which functions a test reaches, and the processor's seconds that it takes."""

    seconds: float
    functions: list[str]


@dataclass
class Wanted:
    """What the command line asks for."""

    patterns: list[str]
    workers: int
    seconds: float
    examples: int
    sample: int | None
    seed: str
    again: bool


@dataclass
class Trial:
    """One mutant that is being tried in a process of its own."""

    mutant: str
    data: SourceFileMutationData
    told_by: int
    began_at: float = field(default_factory=time.monotonic)


class Mutating:
    """A plugin that, in place of running the tests, tries mutants on them. It works in the folder above ``mutants``, tests in ``mutants``."""

    def __init__(self, wanted: Wanted, scratch: Path) -> None:
        self.wanted = wanted
        self.scratch = scratch
        self.told_by = -1  # where a child tells which test noticed
        self.reach: dict[str, Reach] = {}
        self.noticed_by: dict[str, Counter[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not SERVERS & set(getattr(item, "fixturenames", ()))]
        for item in items:
            function = getattr(item, "obj", None)
            function = getattr(function, "__func__", function)
            own = getattr(function, "_hypothesis_internal_use_settings", None)
            if own is not None:
                function._hypothesis_internal_use_settings = hypothesis.settings(
                    own,
                    max_examples=min(own.max_examples, self.wanted.examples),
                    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
                    derandomize=True,
                    database=None,
                )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """End the process where the first test fails, before pytest writes a report of it, which takes seconds and which nobody reads."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            _leave(self.told_by, item.nodeid.encode(), NOTICED)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        os.chdir("..")
        self.temporary = session.config._tmp_path_factory
        items = {item.nodeid: item for item in session.items}
        self._measure(items)
        gc.freeze()
        self._try(items)
        return True

    # -- which test reaches what ---------------------------------------------------------------------------------------

    def _measure(self, items: dict[str, pytest.Item]) -> None:
        """Run each test once on the code as it is, unless that was done before with the same code and the same test."""
        kept = Path("mutants/reach.json")
        known = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
        state = _digest(
            *Path("archiver").rglob("*.py"),
            *(p for p in Path("tests").rglob("*.py") if not p.name.startswith(("test_", "mutation_"))),
        )
        modules: dict[str, list[pytest.Item]] = {}
        for item in items.values():
            modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
        digests = {module: f"{state} {self.wanted.examples} {_digest(Path(module))}" for module in modules}
        known = {module: facts for module, facts in known.items() if facts["digest"] == digests.get(module)}
        missing = sorted(modules.keys() - known.keys())
        began_at = time.monotonic()
        running: dict[int, tuple[str, int]] = {}
        while missing or running:
            while missing and len(running) < self.wanted.workers:
                module = missing.pop()
                pid, told_by = self._fork()
                if not pid:
                    _leave(told_by, self._reach_of(modules[module]), SURVIVED)
                running[pid] = module, told_by
            pid, code = self._wait()
            module, told_by = running.pop(pid)
            with os.fdopen(told_by, "rb") as told:
                reached = told.read()
            if code != SURVIVED:
                raise SystemExit(f"a test of {module} fails on the code as it is: {reached.decode()}")
            known[module] = {"digest": digests[module], "reach": json.loads(reached)}
            kept.write_text(json.dumps(known), "utf-8")
        self.reach = {
            test: Reach(*facts)
            for of_module in known.values()
            for test, facts in of_module["reach"].items()
            if test in items
        }
        print(f"{len(self.reach)} tests, measured in {time.monotonic() - began_at:.0f} s", flush=True)

    def _reach_of(self, items: list[pytest.Item]) -> bytes:
        hits: set[str] = set()
        trampoline.record_trampoline_hit = lambda name, caller=None: hits.add(name)
        _become("stats")
        reach = {}
        for item, following in zip(items, [*items[1:], None], strict=True):
            hits.clear()
            before = time.process_time()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            reach[item.nodeid] = time.process_time() - before, sorted(hits)
        return json.dumps(reach).encode()

    # -- trying ----------------------------------------------------------------------------------------------------------

    def _try(self, items: dict[str, pytest.Item]) -> None:
        reaching: dict[str, list[str]] = {}
        for test, facts in self.reach.items():
            for function in facts.functions:
                reaching.setdefault(function, []).append(test)
        waiting = list(self._mutants())
        print(f"{len(waiting)} mutants to try", flush=True)
        running: dict[int, Trial] = {}
        told = Counter[str]()
        began_at = time.monotonic()
        while waiting or running:
            while waiting and len(running) < self.wanted.workers:
                data, mutant = waiting.pop(0)
                function = mutant.partition("__mutmut_")[0]
                tests = self._in_order(function, reaching.get(function, []))
                if not tests:
                    data.exit_code_by_key[mutant] = NOT_REACHED
                    data.save()
                    told["no tests"] += 1
                    continue
                pid, told_by = self._fork()
                if not pid:
                    self._ask(mutant, [items[test] for test in tests])
                running[pid] = Trial(mutant, data, told_by)
            if not running:
                continue
            pid, code = self._wait()
            trial = running.pop(pid)
            told[self._conclude(trial, code)] += 1
            if sum(told.values()) % 100 == 0:
                print(f"{time.monotonic() - began_at:6.0f} s {dict(told)} {trial.mutant}", flush=True)
        print(f"{time.monotonic() - began_at:6.0f} s {dict(told)}", flush=True)

    def _conclude(self, trial: Trial, code: int) -> str:
        with os.fdopen(trial.told_by, "rb") as told:
            test = told.read().decode()
        if code in (-signal.SIGPROF, -signal.SIGALRM):
            code = TIMEOUT
        if code == NOTICED and test:
            self.noticed_by.setdefault(trial.mutant.partition("__mutmut_")[0], Counter())[test] += 1
        trial.data.exit_code_by_key[trial.mutant] = code
        trial.data.durations_by_key[trial.mutant] = time.monotonic() - trial.began_at
        trial.data.save()
        return str(status_by_exit_code[code])

    def _mutants(self) -> Iterator[tuple[SourceFileMutationData, str]]:
        for path in sorted(walk_mutatable_files()):
            data = SourceFileMutationData(path=path)
            data.load()
            mutants = sorted(data.exit_code_by_key)
            if self.wanted.sample is not None and self.wanted.sample < len(mutants):
                drawn = random.Random(f"{self.wanted.seed} {path}").sample(mutants, self.wanted.sample)
                mutants = sorted(drawn)
            for mutant in mutants:
                status = status_by_exit_code[data.exit_code_by_key[mutant]]
                due = status == "not checked" or (
                    self.wanted.again and status in ("survived", "no tests", "suspicious")
                )
                if due and (
                    not self.wanted.patterns
                    or any(fnmatch.fnmatch(mutant, pattern) for pattern in self.wanted.patterns)
                ):
                    yield data, mutant

    def _in_order(self, function: str, tests: list[str]) -> list[str]:
        """Return the tests to ask, nearest first, as many as fit into the seconds, at least one."""
        own = f"test_{function.rpartition('.')[0].rpartition('.')[2]}.py::"
        often = dict(self.noticed_by.get(function, Counter()).most_common(3))
        modules: dict[str, list[float]] = {}
        for test in tests:
            modules.setdefault(test.partition("::")[0], []).append(self.reach[test].seconds)

        def distance(test: str) -> tuple[float, ...]:
            module = test.partition("::")[0]
            seconds = self.reach[test].seconds
            of_module = modules[module]
            return -often.get(test, 0), seconds > 1, own not in test, sum(of_module) / len(of_module), seconds

        chosen: list[str] = []
        left = self.wanted.seconds
        for test in sorted(tests, key=distance):
            if not chosen or self.reach[test].seconds <= left:
                chosen.append(test)
                left -= self.reach[test].seconds
        return chosen

    def _fork(self) -> tuple[int, int]:
        """Return the child's process and a file that it tells its end in; in the child, 0 and that file."""
        told_by = os.memfd_create("told")
        pid = os.fork()
        if not pid:
            self.told_by = told_by
            os.chdir("mutants")
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            self.temporary._basetemp = self.scratch / str(os.getpid())
            self.temporary._basetemp.mkdir()
        return pid, told_by

    def _wait(self) -> tuple[int, int]:
        """Return a child that ended and how, without what its tests wrote."""
        pid, status = os.wait()
        shutil.rmtree(self.scratch / str(pid), ignore_errors=True)
        return pid, os.waitstatus_to_exitcode(status)

    def _ask(self, mutant: str, items: list[pytest.Item]) -> None:
        """Run the tests on this mutant until one fails; never returns."""
        _become(mutant)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WALL_SECONDS_MAX)
        for item, following in zip(items, [*items[1:], None], strict=True):
            # A test that takes ten times as long as on the code as it is goes on for ever, for all that anybody knows.
            signal.setitimer(signal.ITIMER_PROF, 3 + 10 * self.reach[item.nodeid].seconds)
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        _leave(self.told_by, b"", SURVIVED)


def _become(mutant: str) -> None:
    # mutmut asks the environment at each call of a changed function, which costs more than many of them.
    trampoline.set_mutant_under_test(mutant)
    trampoline.get_mutant_under_test = lambda: mutant


def _leave(told_by: int, said: bytes, code: int) -> None:
    os.pwrite(told_by, said, 0)
    os._exit(code)


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "patterns", nargs="*", help="which mutants, such as 'archiver.retention.decide*'; all of pyproject.toml if none"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--seconds", type=float, default=20, help="how long a mutant is asked of tests, in seconds of the processor"
    )
    parser.add_argument("--examples", type=int, default=25, help="how many examples a property has at most")
    parser.add_argument("--sample", type=int, help="how many mutants of each module; all of them if it is left out")
    parser.add_argument("--seed", default="1", help="which sample")
    parser.add_argument("--again", action="store_true", help="try again what nobody noticed")
    wanted = Wanted(**vars(parser.parse_args()))
    Path("mutants").mkdir(exist_ok=True)
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != Path(__file__).resolve().parent]
    trampoline.set_mutant_under_test("mutant_generation")
    create_mutants(wanted.workers)
    _become("")
    os.chdir("mutants")
    arguments = [
        *config().pytest_add_cli_args,
        "-q",
        "-s",
        "-o",
        "timeout=0",
        "--assert=plain",
        *config().pytest_add_cli_args_test_selection,
    ]
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        code = pytest.main(arguments, plugins=[Mutating(wanted, Path(scratch))])
    raise SystemExit(code)


if __name__ == "__main__":
    main()
