"""`archiver run`: the nightly run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from archiver.cli.interruption import Interruption
from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output, print_error
from archiver.clock import to_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from archiver.archive.ledger import Gap
    from archiver.run.result import RunResult, StageName, StageResult

# The names of `archiver.run.result.STAGES`, spelt out so that --help imports nothing; a test holds the two together.
STAGES = (
    "recover",
    "directory",
    "drain",
    "fetch",
    "sweep",
    "files",
    "history",
    "holds",
    "retention",
    "gaps",
    "index",
    "catalogs",
)
_DESCRIPTIONS = {
    "recover": "clearing what a crash left",
    "directory": "crawling people and channels",
    "drain": "archiving what was pushed",
    "fetch": "fetching messages known by uid",
    "sweep": "reading known messages again",
    "files": "fetching files again",
    "history": "reading history in pages",
    "holds": "marking what is held",
    "retention": "looking at what is due to go",
    "gaps": "listing what may be missing",
    "index": "indexing what is new",
    "catalogs": "publishing in catalogs",
}


_GAPS_OF_A_KIND_SHOWN_MAX = 5


@click.command(
    epilog=examples(
        "archiver run",
        "archiver run --only drain --json",
        "archiver run --max-runtime 45",
    )
)
@click.option("--only", multiple=True, type=click.Choice(STAGES), help="Run this stage only; may be repeated.")
@click.option("--skip", multiple=True, type=click.Choice(STAGES), help="Leave this stage out; may be repeated.")
@click.option(
    "--max-runtime", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES", help="End after this time."
)
@config_options
def command(
    invocation: Invocation, *, only: tuple[StageName, ...], skip: tuple[StageName, ...], max_runtime: float | None
) -> int | None:
    """Crawl the directory, archive what was pushed, fetch what is missing, and commit it all.

    Run it from cron. It commits as it goes, so a run that is stopped loses nothing, and the next one goes on. Exit
    code 3 says that it is done and knows of something that it could not capture; the report names it.
    """
    from archiver import wiring, wiring_query, wiring_search  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.run.lock import hold  # noqa: PLC0415 - as above
    from archiver.run.nightly import Selection, run_nightly  # noqa: PLC0415 - as above

    settings = invocation.settings()
    secrets = invocation.secrets(settings)
    limits = wiring.limits(settings, minutes_max=max_runtime)
    with hold(settings.state), wiring.run_ports(settings, secrets) as ports, _drawn(invocation.output) as progress:
        author = wiring.author(settings, clock=ports.clock)
        selection = Selection(only=only, skip=skip)
        full = replace(
            ports, refresh_index=wiring_search.refresher(settings), catalogs=wiring_query.publishers(settings)
        )
        result = run_nightly(full, author=author, limits=limits, selection=selection, progress=progress)
        calls = {
            method: {
                "calls": stats.calls,
                "retries": stats.retries,
                "throttled": stats.throttled,
                "failed": stats.failed,
            }
            for method, stats in (ports.client.stats() if ports.client else {}).items()
        }
    wiring_search.forget_disposed(settings, ports.archive)
    said: set[str] = set()
    for stage in result.stages:
        if stage.error is not None:
            error = str(stage.error)
            first_line = error.partition("\n")[0]
            # What to do next is said once, however many stages ended for one reason.
            print_error(f"archiver: {stage.stage}: {first_line if error in said else error}")
            said.add(error)
    invocation.output.result(_document(result, calls), show=lambda out: _show(out, result))
    return result.exit_code


class _Drawn:
    """Draws a run's progress with rich, one bar a stage, and ends the run at the next step where a Ctrl-C was dropped."""

    def __init__(self, bars: Bars, interruption: Interruption) -> None:
        self._bars = bars
        self._interruption = interruption
        self._current: TaskID | None = None

    def start(self, stage: StageName, *, total: int | None) -> None:
        self._interruption.check()
        if self._current is not None:
            self._bars.update(self._current, visible=False)
        self._current = self._bars.add_task(_DESCRIPTIONS[stage], total=total)

    def advance(self, steps: int) -> None:
        self._interruption.check()
        if self._current is not None:
            self._bars.advance(self._current, steps)


@contextlib.contextmanager
def _drawn(output: Output) -> Iterator[_Drawn]:
    with output.progress() as bars, Interruption() as interruption:
        yield _Drawn(bars, interruption)


def _document(result: RunResult, calls: dict[str, dict[str, int]]) -> dict[str, Any]:
    return {
        "run": result.run,
        "started_at": to_text(result.started_at_ms),
        "finished_at": to_text(result.finished_at_ms),
        "head": {"sequence": result.sequence, "digest": result.digest},
        "commits": result.commits,
        "stages": [stage_document(stage) for stage in result.stages],
        "gaps": result.gaps,
        "open_gaps": result.open_gaps,
        "calls": calls,
        "exit_code": result.exit_code,
    }


def stage_document(stage: StageResult) -> dict[str, Any]:
    """Return a stage for programs."""
    error = stage.error
    return {
        "stage": stage.stage,
        "seconds": round(stage.seconds, 3),
        "counts": dict(stage.counts),
        "unfinished": stage.unfinished,
        "notes": stage.notes,
        "error": None
        if error is None
        else {"kind": type(error).__name__, "what": error.what, "next_step": error.next_step},
    }


def _gap_rows(gaps: Iterable[Gap]) -> Iterator[tuple[str, int, str]]:
    """Yield a row for each kind of gap: a first night may find one for every user of a team."""
    kinds: dict[str, list[Gap]] = {}
    for gap in gaps:
        kinds.setdefault(gap.kind, []).append(gap)
    for kind, found in kinds.items():
        for gap in found[:_GAPS_OF_A_KIND_SHOWN_MAX]:
            yield kind, gap.count, gap.evidence
        if more := found[_GAPS_OF_A_KIND_SHOWN_MAX:]:
            yield kind, sum(gap.count for gap in more), f"in {len(more)} more; `archiver gaps --kind {kind}` lists them"


def gap_counts(counts: Mapping[str, int]) -> str:
    """Return how many gaps of each kind there are, as people read it."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


def _show(output: Output, result: RunResult) -> None:
    rows = [
        (
            stage.stage,
            round(stage.seconds, 2),
            ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in stage.counts.items() if count)
            or "nothing new",
            "failed" if stage.error else "out of time" if stage.unfinished else "done",
        )
        for stage in result.stages
    ]
    output.table(["stage", "seconds", "what", "outcome"], rows)
    for stage in result.stages:
        for note in stage.notes:
            output.line(f"{stage.stage}: {note}")
    if result.gaps:
        output.table(["gap", "count", "evidence"], list(_gap_rows(result.gaps)))
    if result.open_gaps:
        output.line(
            f"{sum(result.open_gaps.values())} gaps are open: {gap_counts(result.open_gaps)}; `archiver gaps` lists them"
        )
    commits = f"{result.commits} commit{'' if result.commits == 1 else 's'}" if result.commits else "nothing to commit"
    output.line(f"head {result.sequence}  {result.digest}  ({commits})")
