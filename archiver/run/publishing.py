"""The last stages: what others read the archive through is brought to the run's last commit, the index of searches and the catalogs.

Both come after everything that commits, so that a catalog that does not answer keeps nothing from being archived. A failure is the
stage's error and decides the exit code; one catalog that fails keeps no other from being published. Doing it again changes nothing.
"""

from __future__ import annotations

from archiver.errors import ArchiverError
from archiver.run.result import StageResult
from archiver.run.session import Session


def refresh_index(session: Session) -> StageResult:
    """Bring the index of searches to the newest commit; nothing where that is left to searches."""
    refresh = session.ports.refresh_index
    if refresh is None or not session.head.sequence:
        return StageResult("index")
    session.progress.start("index", total=None)
    session.stand_on(session.ports.archive.head(session.head))
    try:
        counts = refresh(session.ports.archive, session.head)
    except ArchiverError as error:
        return StageResult("index", error=error)
    if counts is None:
        return StageResult("index", notes=("another process is bringing the index up to date",))
    return StageResult("index", counts=counts)


def publish_catalogs(session: Session) -> StageResult:
    """Publish the newest commit in every catalog that is configured, one after the other."""
    ports = session.ports
    if not ports.catalogs or not session.head.sequence:
        return StageResult("catalogs")
    session.progress.start("catalogs", total=len(ports.catalogs))
    session.stand_on(ports.archive.head(session.head))
    counts = {"published": 0, "changes": 0}
    failures: dict[str, ArchiverError] = {}
    for catalog in ports.catalogs:
        try:
            counts["changes"] += catalog.publish(ports.archive, session.head)
        except ArchiverError as error:
            failures[catalog.name] = error
        else:
            counts["published"] += 1
        session.progress.advance(1)
    return StageResult(
        "catalogs",
        counts=counts,
        error=max(failures.values(), key=lambda error: error.exit_code, default=None),
        notes=tuple(f"{name} does not show commit {session.head.sequence}: {failures[name].what}" for name in failures),
    )
