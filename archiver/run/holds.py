"""The stage that keeps the store's legal holds in step with the holds of the ledger, where the configuration wants them mirrored."""

from __future__ import annotations

from archiver.errors import DamageFoundError, RefusedError, StoreRefusedError
from archiver.retention.mirror import mirror, read_marks
from archiver.run.result import StageResult
from archiver.run.session import Session


def mirror_holds(session: Session) -> StageResult:
    """Mark what this run added under holds, and lift our marks from what no hold covers any more.

    What the store refuses is this stage's error and not the run's end: what was captured is committed by now.
    """
    archive = session.ports.archive
    if not session.ports.mirror_holds or not (session.head.holds or read_marks(archive).keys):
        return StageResult("holds")
    session.progress.start("holds", total=None)
    try:
        done = mirror(archive, executor=session.ports.executor)
    except (StoreRefusedError, RefusedError, DamageFoundError) as error:
        return StageResult("holds", error=error)
    counts = {"objects_held": done.objects, "marked": done.marked, "lifted": done.lifted, "by_others": done.by_others}
    return StageResult("holds", counts=counts)
