"""The nightly run: its stages in order, each with its own result, under one lock."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

import structlog

from archiver.archive.commit import Author
from archiver.archive.recover import recover
from archiver.errors import ArchiverError, FlockError
from archiver.run import last_head
from archiver.run.directory import crawl_directory
from archiver.run.drain import drain
from archiver.run.fetch import fetch_wanted
from archiver.run.files import retry_files
from archiver.run.gaps import list_gaps
from archiver.run.history import read_histories
from archiver.run.holds import mirror_holds
from archiver.run.publishing import publish_catalogs, refresh_index
from archiver.run.result import STAGES, Progress, RunResult, StageName, StageResult
from archiver.run.retention import finish, retain
from archiver.run.session import Limits, Ports, Session
from archiver.run.sweep import sweep

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which stages to run: all of ``only``, or every one if it is empty, without those of ``skip``."""

    only: Collection[StageName] = ()
    skip: Collection[StageName] = ()

    def stages(self) -> tuple[StageName, ...]:
        """Return the chosen stages in order; recovery always runs, because every other stage relies on it."""
        chosen = [stage for stage in STAGES if (not self.only or stage in self.only) and stage not in self.skip]
        return ("recover", *(stage for stage in chosen if stage != "recover"))


def run_nightly(ports: Ports, *, author: Author, limits: Limits, selection: Selection, progress: Progress) -> RunResult:
    """Run the chosen stages and return what they did. Call it while holding this machine's run lock.

    An error of Flock ends its stage and not the run: what was already received is archived all the same. An error of
    the store or the spool ends the run and is raised; nothing is lost, because nothing leaves the spool before it is
    committed.
    """
    started_at_ms = ports.clock.now_ms()
    if ports.state is not None:
        last_head.check(ports.state, ports.archive)
    session = Session(ports, author=author, limits=limits, progress=progress)
    try:
        for stage in selection.stages():
            session.results.append(_run_stage(stage, session))
    finally:
        _settle_tokens(ports, at_ms=started_at_ms)
        if ports.state is not None:
            last_head.remember(ports.state, ports.archive, session.head)
            session.keep_states()
    return RunResult(
        run=author.run,
        started_at_ms=started_at_ms,
        finished_at_ms=ports.clock.now_ms(),
        sequence=session.head.sequence,
        digest=session.head.digest,
        commits=session.commits,
        stages=tuple(session.results),
    )


def _run_stage(stage: StageName, session: Session) -> StageResult:
    clock = session.ports.clock
    if session.out_of_time and stage not in _ALWAYS:
        return StageResult(stage, unfinished=_has_work(stage, session))
    started = clock.monotonic()
    try:
        result = _STAGES[stage](session)
    except FlockError as error:
        result = StageResult(stage, error=error)
    result = replace(result, seconds=clock.monotonic() - started)
    log.info("stage done", stage=stage, seconds=round(result.seconds, 3), **result.counts)
    return result


def _has_work(stage: StageName, session: Session) -> bool:
    """Tell whether a stage that the run does not get to might leave something undone; some have work only where that is configured."""
    ports = session.ports
    configured = {
        "history": bool(ports.histories),
        "holds": ports.mirror_holds,
        "retention": ports.retention is not None,
        "index": ports.refresh_index is not None,
        "catalogs": bool(ports.catalogs),
    }
    return configured.get(stage, True)


def _settle_tokens(ports: Ports, *, at_ms: int) -> None:
    """Let refused tokens rest. If that cannot be kept, they are asked with once more, which is no reason to fail a run."""
    if ports.keeper is None:
        return
    try:
        ports.keeper.settle(ports.tokens, at_ms=at_ms)
    except ArchiverError as error:
        log.warning("which tokens were refused cannot be kept", reason=error.what, next_step=error.next_step)


def _recover(session: Session) -> StageResult:
    session.progress.start("recover", total=None)
    archive = session.ports.archive
    done = recover(archive, writer=session.author.writer, now_ms=session.ports.clock.now_ms())
    swept = archive.store.sweep()
    counts = {"unfinished": done.unfinished, "objects_removed": done.objects_removed, "writes_swept": swept}
    counts["disposals_finished"] = finish(session)
    return StageResult("recover", counts=counts)


# The first costs nothing, and what a run did not get to is just what the other must tell.
_ALWAYS: Final = frozenset({"recover", "gaps"})
_STAGES: Final[dict[StageName, Callable[[Session], StageResult]]] = {
    "recover": _recover,
    "directory": crawl_directory,
    "drain": drain,
    "fetch": fetch_wanted,
    "sweep": sweep,
    "files": retry_files,
    "history": read_histories,
    "holds": mirror_holds,
    "retention": retain,
    "gaps": list_gaps,
    "index": refresh_index,
    "catalogs": publish_catalogs,
}
