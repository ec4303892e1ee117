"""The last stages: what others read the archive through is brought to the run's last commit, the index of searches and the catalogs.

Both come after everything that commits, so that a catalog that does not answer keeps nothing from being archived. A failure is the
stage's error and decides the exit code; one catalog that fails keeps no other from being published. Doing it again changes nothing.
Commands that commit beside runs end with the same stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from archiver.archive.reader import Archive, Head
from archiver.errors import ArchiverError
from archiver.run.result import Progress, StageResult
from archiver.run.session import Publisher, Session


def refresh_index(session: Session) -> StageResult:
    """Bring the index of searches to the newest commit; nothing where that is left to searches."""
    refresh = session.ports.refresh_index
    if refresh is None or not session.head.sequence:
        return StageResult("index")
    session.stand_on(session.ports.archive.head(session.head))
    return index_at(session.ports.archive, session.head, refresh, progress=session.progress)


def publish_catalogs(session: Session) -> StageResult:
    """Publish the newest commit in every catalog that is configured, one after the other."""
    catalogs = session.ports.catalogs
    if not catalogs or not session.head.sequence:
        return StageResult("catalogs")
    session.stand_on(session.ports.archive.head(session.head))
    return catalogs_at(session.ports.archive, session.head, catalogs, progress=session.progress)


def index_at(
    archive: Archive,
    head: Head,
    refresh: Callable[[Archive, Head], Mapping[str, int] | None],
    *,
    progress: Progress,
) -> StageResult:
    """Bring the index of searches to a head; ``refresh`` is that of `archiver.run.session.Ports`."""
    progress.start("index", total=None)
    try:
        counts = refresh(archive, head)
    except ArchiverError as error:
        return StageResult("index", error=error)
    if counts is None:
        return StageResult("index", notes=("another process is bringing the index up to date",))
    return StageResult("index", counts=counts)


def catalogs_at(archive: Archive, head: Head, catalogs: Sequence[Publisher], *, progress: Progress) -> StageResult:
    """Publish a head in catalogs. Call it while holding this machine's run lock."""
    progress.start("catalogs", total=len(catalogs))
    counts = {"published": 0, "changes": 0}
    failures: dict[str, ArchiverError] = {}
    for catalog in catalogs:
        try:
            counts["changes"] += catalog.publish(archive, head)
        except ArchiverError as error:
            failures[catalog.name] = error
        else:
            counts["published"] += 1
        progress.advance(1)
    return StageResult(
        "catalogs",
        counts=counts,
        error=max(failures.values(), key=lambda error: error.exit_code, default=None),
        notes=tuple(f"{name} does not show commit {head.sequence}: {failures[name].what}" for name in failures),
    )
