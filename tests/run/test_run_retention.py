"""The stage retention of a run: it plans, or plans and applies within the limits, and finishes what a crash left."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver.archive.commit import Author
from archiver.archive.reader import Archive, files_of, read_rows
from archiver.capture.files import Downloader, FileOptions
from archiver.capture.token_pool import TokenPool
from archiver.cli import main
from archiver.custody.verify import verify
from archiver.errors import RefusedError, UsageError
from archiver.retention.plan_document import load_plan, plans
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import RunResult, Silent, StageResult
from archiver.run.session import Limits, Ports, RetentionOrder
from archiver.spool.sqlite import SqliteSpool
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped
from tests.manual_clock import ManualClock
from tests.retention.lived import at_ms, attached, held, lived, sent, stated_uid

OLD, YOUNG, NOW = date(2020, 1, 1), date(2026, 11, 1), date(2026, 11, 27)
COMMITS = [
    {
        "messages": [
            sent(stated_uid(OLD, 1), OLD),
            sent(stated_uid(OLD, 2), OLD, sender_id="u:bob"),
            sent("m-young", YOUNG),
        ],
        "files": [attached(stated_uid(OLD, 1), OLD)],
    }
]
RULES: list[dict[str, Any]] = [{"name": "all chat", "delete": "1y"}]
_attempts = itertools.count(1)


def ordered(folder: Path, *, applies: bool = False, **policy: Any) -> RetentionOrder:
    (folder / "policy.yaml").write_text(yaml.safe_dump({"name": "acme", "zone": "UTC", "rules": RULES, **policy}))
    return RetentionOrder(folder / "policy.yaml", applies=applies, approved_by="the board" if applies else None)


def run(folder: Path, store: Store, order: RetentionOrder | None, **selected: Any) -> RunResult:
    """Run as `archiver run --only retention` does."""
    with contextlib.ExitStack() as stack:
        spool = SqliteSpool(folder / "spool.sqlite")
        stack.callback(spool.close)
        clock = ManualClock(now_ms=at_ms(NOW))
        downloader = stack.enter_context(
            Downloader(FileOptions(hosts_allowed=()), folder=folder / "downloads", clock=clock)
        )
        ports = Ports(
            archive=Archive.open(store),
            spool=spool,
            client=None,
            tokens=TokenPool([]),
            downloader=downloader,
            clock=clock,
            executor=InlineExecutor(),
            threads=1,
            new_attempt=lambda: f"{next(_attempts):08x}",
            retention=order,
        )
        author = Author(run="night", actor="test", software="test", writer="here")
        selection = Selection(only=selected.get("only", ("retention",)), skip=selected.get("skip", ()))
        return run_nightly(ports, author=author, limits=Limits(), selection=selection, progress=Silent())


def stage(result: RunResult) -> StageResult:
    return next(found for found in result.stages if found.stage == "retention")


def uids(store: Store) -> set[str]:
    batches = read_rows(store, files_of(Archive.open(store).head(), "messages"), ("message_uid",))
    return {uid for batch in batches for uid in batch.column("message_uid").to_pylist()}


def is_sound(store: Store) -> bool:
    with ThreadPoolExecutor(2) as executor:
        return not verify(store, level="full", executor=executor).damages


@pytest.fixture
def store() -> Store:
    store = MemoryStore()
    lived(COMMITS, store=store)
    return store


class TestPlans:
    def test_it_stores_a_plan_and_says_how_to_approve_it(self, tmp_path: Path, store: Store) -> None:
        result = run(tmp_path, store, ordered(tmp_path))
        (digest,) = plans(store)
        assert dict(stage(result).counts) == {"messages_due": 2, "files_due": 1, "due_but_held": 0}
        (note,) = stage(result).notes
        assert digest in note
        assert "archiver retention apply" in note
        assert (result.exit_code, result.commits) == (0, 0)
        assert len(uids(store)) == 3

    def test_it_is_the_plan_of_that_day_whatever_the_hour(self, tmp_path: Path, store: Store) -> None:
        run(tmp_path, store, ordered(tmp_path))
        run(tmp_path, store, ordered(tmp_path))
        assert len(list(plans(store))) == 1

    def test_where_nothing_is_due_nothing_is_stored(self, tmp_path: Path, store: Store) -> None:
        result = run(tmp_path, store, ordered(tmp_path, rules=[{"name": "all", "delete": "50y"}]))
        assert list(plans(store)) == []
        assert stage(result).notes == ()

    def test_without_an_order_it_does_nothing(self, tmp_path: Path, store: Store) -> None:
        result = run(tmp_path, store, None)
        assert stage(result) == StageResult("retention", seconds=stage(result).seconds)

    def test_it_can_be_left_out(self, tmp_path: Path, store: Store) -> None:
        result = run(tmp_path, store, ordered(tmp_path), only=(), skip=("retention", "files"))
        assert "retention" not in [found.stage for found in result.stages]
        assert list(plans(store)) == []

    def test_a_policy_that_cannot_be_read_keeps_nothing_from_being_captured(self, tmp_path: Path, store: Store) -> None:
        order = ordered(tmp_path)
        (tmp_path / "policy.yaml").write_text("name: acme\nrules: nonsense\n")
        result = run(tmp_path, store, order, only=("retention", "gaps"))
        assert isinstance(stage(result).error, UsageError)
        assert "policy.yaml:" in str(stage(result).error)
        assert [found.stage for found in result.stages] == ["recover", "retention", "gaps"]
        assert result.exit_code == 2


class TestApplies:
    def test_it_does_what_it_planned_and_names_the_certificate(self, tmp_path: Path, store: Store) -> None:
        result = run(tmp_path, store, ordered(tmp_path, applies=True), only=("retention", "gaps"))
        assert uids(store) == {"m-young"}
        (digest,) = plans(store)
        (note,) = stage(result).notes
        assert f"certificates/{digest}.json" in note
        assert "approved by the board" in note
        assert stage(result).counts["messages_disposed"] == 2
        assert stage(result).counts["files_disposed"] == 1
        assert result.sequence == Archive.open(store).head().sequence
        assert is_sound(store)

    def test_again_there_is_nothing_to_do(self, tmp_path: Path, store: Store) -> None:
        run(tmp_path, store, ordered(tmp_path, applies=True))
        result = run(tmp_path, store, ordered(tmp_path, applies=True))
        assert (result.commits, stage(result).notes) == (0, ())

    @pytest.mark.parametrize("limits", [{"rows_max": 2}, {"percent_max": 50}])
    def test_a_limit_is_an_end_of_it(self, limits: dict[str, Any], tmp_path: Path, store: Store) -> None:
        result = run(tmp_path, store, ordered(tmp_path, applies=True, limits=limits), only=("retention", "gaps"))
        assert isinstance(stage(result).error, RefusedError)
        assert next(iter(limits)) in str(stage(result).error)
        assert result.exit_code == 5
        assert len(uids(store)) == 3
        (digest,) = plans(store)  # for a person to look at
        assert load_plan(store, digest).items.num_rows == 3

    def test_what_is_held_stays(self, tmp_path: Path, store: Store) -> None:
        archive = Archive.open(store)
        held(archive, archive.head(), "smith", custodians=("u:bob",))
        result = run(tmp_path, store, ordered(tmp_path, applies=True))
        assert stage(result).counts["due_but_held"] == 1
        assert uids(store) == {"m-young", stated_uid(OLD, 2)}


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("effect", EFFECTS)
def test_a_crash_at_any_write_is_finished_by_the_next_run(effect: Effect, every: int, tmp_path: Path) -> None:
    counting = FaultyStore(MemoryStore(), counted="writes")
    lived(COMMITS, store=counting.inner)
    order = ordered(tmp_path, applies=True)
    run(tmp_path, counting, order)
    for number in range(1, counting.operations + 1, every):
        store = MemoryStore()
        lived(COMMITS, store=store)
        with pytest.raises(Stopped):
            run(tmp_path, FaultyStore(store, stop_at=number, effect=effect, counted="writes"), order)
        assert is_sound(store)
        run(tmp_path, store, order)
        head = Archive.open(store).head()
        assert uids(store) == {"m-young"}
        assert (head.disposed["messages"], head.unerased) == (2, ())
        assert is_sound(store)


def test_what_a_crash_left_is_finished_also_where_runs_leave_retention_to_people(tmp_path: Path) -> None:
    finished = 0
    for number in range(1, 40, 5):
        store = MemoryStore()
        lived(COMMITS, store=store)
        with contextlib.suppress(Stopped):
            run(tmp_path, FaultyStore(store, stop_at=number, counted="writes"), ordered(tmp_path, applies=True))
        if Archive.open(store).head().unerased:
            result = run(tmp_path, store, None, only=("recover",))
            assert result.stages[0].counts["disposals_finished"] == 1
            assert Archive.open(store).head().unerased == ()
            finished += 1
    assert finished


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    lived(COMMITS, store=LocalStore(tmp_path / "archive"))
    ordered(tmp_path)
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    return tmp_path


def configure(folder: Path, **retention: Any) -> None:
    settings = {"workspace": "acme", "retention": {"policy": "policy.yaml", **retention}}
    (folder / "archiver.yaml").write_text(yaml.safe_dump(settings))


class TestTheCommand:
    def test_mode_plan_shows_in_the_report(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        configure(folder, mode="plan")
        assert main(["run", "--only", "retention"]) == 0
        shown = capsys.readouterr().out
        assert "2 messages due" in shown
        assert "waits for approval" in shown

    def test_mode_apply_removes_and_tells_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        configure(folder, mode="apply", approved_by="board decision 7")
        assert main(["run", "--only", "retention", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        (found,) = [one for one in told["stages"] if one["stage"] == "retention"]
        assert "approved by board decision 7" in found["notes"][0]
        assert uids(LocalStore(folder / "archive")) == {"m-young"}

    def test_words_of_what_a_run_removes_leave_the_index_of_searches(self, folder: Path) -> None:
        configure(folder, mode="apply", approved_by="ann")
        assert main(["search", "NOT nothing", "--quiet"]) == 0
        assert list((folder / "state" / "search").rglob("meta.json"))
        assert main(["run", "--only", "retention"]) == 0
        assert not list((folder / "state" / "search").rglob("meta.json"))

    @pytest.mark.parametrize("mode", [{}, {"mode": "off"}, {"mode": False}])
    def test_mode_off_is_the_default(self, mode: dict[str, Any], folder: Path) -> None:
        """YAML reads a bare `off` as no."""
        configure(folder, **mode)
        assert main(["run", "--only", "retention"]) == 0
        assert list(plans(LocalStore(folder / "archive"))) == []

    def test_nothing_is_applied_that_nobody_answers_for(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        configure(folder, mode="apply")
        assert main(["run", "--only", "retention"]) == 2
        assert "approved_by" in capsys.readouterr().err
