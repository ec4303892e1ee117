"""Applying a plan: what must hold before `archiver.retention.dispose` may look at it, then the disposal itself.

The policy must still say what it said when the plan was made, and the day of the plan must have begun: a plan as of a day to come says
what will be due then. A plan that was applied already is not applied again: what a crash left of it is finished, and its certificate told.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from archiver.archive import layout, ledger
from archiver.archive.commit import Author
from archiver.archive.reader import Archive, Head
from archiver.clock import from_text, to_text
from archiver.errors import LedgerBrokenError, RefusedError
from archiver.retention.certificate import items_by_kind, load_certificate
from archiver.retention.coverage import Coverage, read_coverage
from archiver.retention.dispose import Disposed, check, dispose
from archiver.retention.erase import holds_on
from archiver.retention.erasing import Erasure, finish_disposals
from archiver.retention.located import Progress, blobs_going
from archiver.retention.locked import Locked, locks_of_located
from archiver.retention.plan_document import Plan
from archiver.retention.policy import Policy
from archiver.retention.storing import AT_ONCE

_PLAN_ANEW = "make a new plan with `archiver retention plan`, and have that approved"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What applying a plan would do now: items that would go, and that holds keep, by hold, and what of it the store has locked.

    ``applied_in`` is the sequence of the entry by which it was applied already; then nothing would go.
    """

    items: dict[str, int]
    items_held: int
    held: dict[str, int]
    locked: Locked
    applied_in: int | None = None


def applied_in(archive: Archive, plan: Plan) -> int | None:
    """Return the sequence of the entry that disposed of what a plan lists, or None if it was not applied yet."""
    try:
        for entry, _ in ledger.entries_after(archive.store, plan.header.head_sequence, plan.header.head_digest):
            if entry.disposal is not None and entry.disposal.plan == plan.digest:
                return entry.sequence
    except LedgerBrokenError:
        pass  # the plan is of another archive or of a state that was taken back, which `dispose` tells
    return None


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
    if (sequence := applied_in(archive, plan)) is not None:
        return Rehearsal({}, 0, {}, Locked(0, 0, None, 0), applied_in=sequence)
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

    Of a plan that was applied already, that is all; its certificate is returned as it was written then. Raises what `dispose` raises, and
    `RefusedError` if the policy or the day is not the plan's.
    """
    sequence = applied_in(archive, plan)
    if sequence is None:
        require_timely(plan, policy, now_ms=now_ms)
    head, erasures = finish_disposals(archive, head, author=author, now_ms=now_ms, executor=executor, progress=progress)
    if sequence is not None:
        erasure = next((one for one in erasures if one.sequence == sequence), Erasure(sequence, 0, ()))
        certificate = load_certificate(archive.store, plan.digest)
        return Disposed(
            head, sequence, certificate, layout.certificate_key(plan.digest), erasure, was_applied_before=True
        )
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
