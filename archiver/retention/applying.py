"""Applying a plan: what must hold before `archiver.retention.dispose` may look at it, then the disposal itself.

The policy must still say what it said when the plan was made, and the day of the plan must have begun: a plan as of a day to come says
what will be due then.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from archiver.archive.commit import Author
from archiver.archive.reader import Archive, Head
from archiver.clock import from_text, to_text
from archiver.errors import RefusedError
from archiver.retention.certificate import items_by_kind
from archiver.retention.coverage import Coverage, read_coverage
from archiver.retention.dispose import Disposed, check, dispose
from archiver.retention.erase import holds_on
from archiver.retention.erasing import finish_disposals
from archiver.retention.located import Progress, blobs_going
from archiver.retention.locked import Locked, locks_of_located
from archiver.retention.plan_document import Plan
from archiver.retention.policy import Policy
from archiver.retention.storing import AT_ONCE

_PLAN_ANEW = "make a new plan with `archiver retention plan`, and have that approved"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What applying a plan would do now: items that would go, and that holds keep, by hold, and what of it the store has locked."""

    items: dict[str, int]
    items_held: int
    held: dict[str, int]
    locked: Locked


def require_timely(plan: Plan, policy: Policy, *, now_ms: int) -> None:
    """Raise `RefusedError` if the policy is another than the plan's, or the plan's day has not begun."""
    header = plan.header
    if header.policy_digest != policy.digest:
        raise RefusedError(
            f"plan {plan.digest} was made by the policy {header.policy} with digest {header.policy_digest}, and the policy now is "
            f"{policy.name} with digest {policy.digest}",
            next_step=_PLAN_ANEW,
        )
    if from_text(header.as_of) > now_ms:
        raise RefusedError(
            f"plan {plan.digest} is as of {header.as_of}, and it is {to_text(now_ms)}: what it lists is not due yet",
            next_step="apply it when that day has begun, if nothing has changed by then",
        )


def rehearse(
    archive: Archive, head: Head, plan: Plan, policy: Policy, *, now_ms: int, executor: Executor, progress: Progress
) -> Rehearsal:
    """Return what applying a plan would do now, and change nothing; raises `RefusedError` where it would be refused."""
    require_timely(plan, policy, now_ms=now_ms)
    coverage = read_coverage(archive.store, head)
    _require_entries_free(plan, coverage)
    located = check(archive, head, plan, coverage=coverage, executor=executor, progress=progress)
    kept = sum(located.is_kept.to_pylist())
    blobs = blobs_going(archive.store, head, located, executor=executor)
    locked = locks_of_located(archive.store, located, blobs, executor=executor)
    return Rehearsal(items_by_kind(plan, located), kept, dict(located.held), locked)


def apply_plan(
    archive: Archive,
    head: Head,
    plan: Plan,
    policy: Policy,
    *,
    approved_by: str,
    author: Author,
    attempt: str,
    now_ms: int,
    executor: Executor,
    progress: Progress,
) -> Disposed:
    """Remove what a plan lists and no hold covers, after what earlier disposals left is finished. Hold this machine's run lock.

    Raises what `dispose` raises, and `RefusedError` if the policy or the day is not the plan's.
    """
    require_timely(plan, policy, now_ms=now_ms)
    head, _ = finish_disposals(archive, head, author=author, now_ms=now_ms, executor=executor, progress=progress)
    coverage = read_coverage(archive.store, head)
    _require_entries_free(plan, coverage)
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="store") as writers:
        return dispose(
            archive,
            head,
            plan,
            coverage=coverage,
            approved_by=approved_by,
            author=author,
            attempt=attempt,
            now_ms=now_ms,
            executor=executor,
            writers=writers,
            progress=progress,
        )


def _require_entries_free(plan: Plan, coverage: Coverage) -> None:
    """Refuse an erasure that would take the directory entry of somebody whom a hold, placed since, has as a custodian.

    What a hold covers of messages and files is taken out of a plan when it is applied; without the entry nobody could tell whose they are.
    """
    users = frozenset(plan.items.column("user_id").drop_null().to_pylist())
    if held_by := holds_on(coverage, users):
        raise RefusedError(
            f"plan {plan.digest} would remove the directory entry of somebody whom {', '.join(held_by)} holds",
            next_step="plan the erasure again with `archiver retention erase`; the new plan leaves what is held",
        )
