"""The retention stage: a plan of what is due, stored for whoever approves it; or made and applied, within the policy's limits.

It comes after everything that captures and before the gaps, so that nothing which is wrong with a policy keeps anything from being
archived. A policy that cannot be read, or a plan that is refused, is the stage's error and decides the exit code; the rest of the run is
done. What a crash left of a disposal is finished by `finish`, when a run recovers, whatever is ordered.
"""

from __future__ import annotations

import structlog

from archiver.archive.ledger import HeadMovedError
from archiver.errors import RefusedError, UsageError
from archiver.retention.applying import apply_plan
from archiver.retention.dispose import Disposed
from archiver.retention.erasing import finish_disposals
from archiver.retention.plan import plan_policy, today
from archiver.retention.plan_document import Plan, breakers_passed, store_plan
from archiver.retention.policy import Policy
from archiver.retention.policy_file import read_policy
from archiver.run.result import StageResult
from archiver.run.session import RetentionOrder, Session

# Another machine may commit while this one plans; a plan made on the newer head is as good.
PLANS_MAX = 3
_DIGITS_SHOWN = 16

log = structlog.get_logger(__name__)


def retain(session: Session) -> StageResult:
    """Do what is ordered about retention; nothing where nothing is."""
    order = session.ports.retention
    if order is None:
        return StageResult("retention")
    session.progress.start("retention", total=None)
    try:
        policy = read_policy(order.policy)
        for attempt in range(1, PLANS_MAX + 1):
            try:
                return _planned(session, order, policy)
            except HeadMovedError:
                if attempt == PLANS_MAX:
                    raise
                session.stand_on(session.ports.archive.head(session.head))
    except (UsageError, RefusedError) as error:
        return StageResult("retention", error=error)
    raise AssertionError("every attempt returns or raises")


def finish(session: Session) -> int:
    """Erase what earlier disposals left in the store, after a crash or while a lock held it; returns how many are done with now.

    What the spool still has of captures that were archived goes as well, for retention may have removed them from the archive since.
    """
    if session.head.disposed and not session.ports.spool.scrub():
        log.info("the spool is in use, so the next run gives back what it keeps of archived captures")
    before = len(session.head.unerased)
    if not before:
        return 0
    head, _ = finish_disposals(
        session.ports.archive,
        session.head,
        author=session.author,
        now_ms=session.ports.clock.now_ms(),
        executor=session.ports.executor,
        progress=_unwatched,
    )
    session.stand_on(head, are_ours=True)
    return before - len(head.unerased)


def _planned(session: Session, order: RetentionOrder, policy: Policy) -> StageResult:
    ports = session.ports
    session.stand_on(ports.archive.head(session.head))
    as_of = today(ports.clock.now_ms(), zone=policy.zone)
    plan = plan_policy(ports.archive, session.head, policy, as_of=as_of, executor=ports.executor)
    counts = {
        "messages_due": plan.header.counts.get("message", 0),
        "files_due": plan.header.counts.get("file", 0),
        "due_but_held": plan.header.held,
    }
    if not plan.items.num_rows:
        return StageResult("retention", counts=counts)
    store_plan(ports.archive.store, plan)
    if not order.applies or order.approved_by is None:
        return StageResult("retention", counts=counts, notes=(_to_approve(plan),))
    done = apply_plan(
        ports.archive,
        session.head,
        plan,
        policy,
        approved_by=order.approved_by,
        author=session.author,
        attempt=ports.new_attempt(),
        now_ms=ports.clock.now_ms(),
        executor=ports.executor,
        progress=_unwatched,
    )
    session.stand_on(done.head, are_ours=True)
    counts |= {f"{kind}s_disposed": items for kind, items in done.certificate.items.items()}
    return StageResult("retention", counts=counts, notes=(_certified(plan, done),))


def _to_approve(plan: Plan) -> str:
    told = f"plan {plan.digest} waits for approval: `archiver retention apply {plan.digest[:_DIGITS_SHOWN]} --approved-by NAME`"
    for passed in breakers_passed(plan.header.limits, rows=plan.header.rows, totals=plan.header.totals):
        told = f"plan {plan.digest} cannot be applied: it has {passed}"
    return told


def _certified(plan: Plan, done: Disposed) -> str:
    told = f"plan {plan.digest} was applied, approved by {done.certificate.approved_by}; certificate: {done.certificate_key}"
    if done.erasure.kept:
        told += f"; {len(done.erasure.kept)} objects are not erased yet, and the next run goes on"
    return told


def _unwatched(step: str, done: int, total: int) -> None:
    del step, done, total
