"""Making a plan: what would go on one head of the archive, when, and why; what holds keep; what leaves in the months that follow.

A plan is as of a day of the policy's zone: it lists what was due when that day began. So whoever makes it again on the same head and day
gets the same digest.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, cast

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Archive, Head
from archiver.clock import to_text
from archiver.retention.context import read_context
from archiver.retention.coverage import read_coverage
from archiver.retention.day_rows import STRETCH_ROWS, Stretch
from archiver.retention.evaluate import Evaluator
from archiver.retention.finding import Found, Progress, find, may_leave_from
from archiver.retention.judging import Judge, Tally, due_of
from archiver.retention.judging_pushes import PushRules, find_pushes
from archiver.retention.periods import Calendar
from archiver.retention.plan_document import (
    PLAN_FORMAT,
    DueLater,
    ItemKind,
    Plan,
    PlanHeader,
    PlanLimits,
    SavedByHold,
    items_digest,
    sorted_items,
)
from archiver.retention.policy import Policy

MONTHS_AHEAD: Final = 24


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom an erasure is for: as the request named them, their user ids, and why."""

    named: str
    user_ids: frozenset[str]
    reason: str


def plan_policy(
    archive: Archive,
    head: Head,
    policy: Policy,
    *,
    as_of: date,
    executor: Executor,
    progress: Progress | None = None,
    stretch_rows: int = STRETCH_ROWS,
) -> Plan:
    """Return the plan of a policy on a head of the archive, as of a day of the policy's zone.

    A task of ``executor`` judges days of together ``stretch_rows`` rows; more take more memory, and the plan is the same. Raises
    `DamageFoundError` if an object cannot be read.
    """
    calendar = Calendar(policy.zone)
    context, coverage = read_context(archive.store, head, policy), read_coverage(archive.store, head)
    judge = Judge(
        Evaluator(policy, context),
        coverage,
        as_of_ms=start_of(as_of, zone=policy.zone),
        horizon_ms=horizon_of(as_of, zone=policy.zone),
    )

    def is_old_enough(day: Stretch) -> bool:
        from_ms = may_leave_from(policy, day.first_sent_at_ms, calendar)
        return from_ms is None or from_ms <= judge.horizon_ms

    found = find(
        archive.store,
        head,
        judge,
        chosen=is_old_enough,
        executor=executor,
        progress=progress,
        stretch_rows=stretch_rows,
    )
    pushes = find_pushes(
        archive.store,
        head,
        policy,
        PushRules(policy, context),
        coverage,
        horizon_ms=judge.horizon_ms,
        executor=executor,
    )
    found.tally.count(pushes, as_of_ms=judge.as_of_ms)
    due = due_of(pushes, as_of_ms=judge.as_of_ms)
    found = replace(found, items=sorted_items(pa.concat_tables([found.items, due.items])))
    return Plan(header_of(archive, head, policy, found, as_of_ms=judge.as_of_ms), found.items)


def header_of(
    archive: Archive, head: Head, policy: Policy, found: Found, *, as_of_ms: int, subject: Subject | None = None
) -> PlanHeader:
    """Return what is approved: what was found, on which head and by which policy, and for whom if it is an erasure."""
    items = found.items
    counted = items.group_by("kind").aggregate([("kind", "count")])
    counts = dict(zip(counted.column("kind").to_pylist(), counted.column("kind_count").to_pylist(), strict=True))
    tables = ("messages", "files") if subject is None else ("messages", "files", "users")
    return PlanHeader(
        format=PLAN_FORMAT,
        archive_id=archive.facts.archive_id,
        kind="policy" if subject is None else "erase",
        head_sequence=head.sequence,
        head_digest=head.digest,
        policy=policy.name,
        policy_digest=policy.digest,
        zone=policy.zone,
        as_of=to_text(as_of_ms),
        items_sha256=items_digest(items),
        counts=counts,
        totals={table: head.rows.get(table, 0) for table in tables},
        rows=pc.sum(items.column("rows")).as_py() or 0,
        bytes=pc.sum(items.column("bytes")).as_py() or 0,
        limits=PlanLimits(rows_max=policy.limits.rows_max, percent_max=policy.limits.percent_max),
        blobs=found.blobs,
        blob_bytes=found.blob_bytes,
        held=found.tally.held_in_all.items,
        held_bytes=found.tally.held_in_all.bytes,
        saved=tuple(
            SavedByHold(hold=name, items=count.items, bytes=count.bytes)
            for name, count in sorted(found.tally.held.items())
            if count.items
        ),
        later=_later(found.tally, zone=policy.zone),
        subject=None if subject is None else subject.named,
        reason=None if subject is None else subject.reason,
    )


def start_of(day: date, *, zone: str) -> int:
    """Return the first instant of a day of a zone, in milliseconds: a plan as of a day lists what was due when it began."""
    return Calendar(zone).day_end_ms(day.toordinal() - 1)


def today(now_ms: int, *, zone: str) -> date:
    """Return the day that it is in a zone."""
    return date.fromordinal(Calendar(zone).day_of(now_ms))


def horizon_of(day: date, *, zone: str) -> int:
    """Return the last instant that a plan as of a day looks ahead to: of `MONTHS_AHEAD` months, of which the day's is the first."""
    months = day.year * 12 + day.month - 1 + MONTHS_AHEAD
    return start_of(date(months // 12, months % 12 + 1, 1), zone=zone) - 1


@dataclass(frozen=True, slots=True)
class Group:
    """Items of a plan by rule, kind and the month (UTC) in which they were sent, with what they weigh."""

    rule: str
    kind: str
    month: str
    items: int
    bytes: int


def groups_of(items: pa.Table) -> list[Group]:
    """Return the items of a plan by rule, kind and month of sending."""
    if not items.num_rows:
        return []
    months = pc.strftime(pc.cast(items.column("day"), pa.timestamp("s")), format="%Y-%m")
    grouped = (
        items.append_column("month", months)
        .group_by(["rule", "kind", "month"])
        .aggregate([("bytes", "sum"), ("bytes", "count")])
        .sort_by([("rule", "ascending"), ("kind", "ascending"), ("month", "ascending")])
    )
    columns = (grouped.column(name).to_pylist() for name in ("rule", "kind", "month", "bytes_count", "bytes_sum"))
    return [
        Group(rule or "", kind, month, count, weight) for rule, kind, month, count, weight in zip(*columns, strict=True)
    ]


def _later(tally: Tally, *, zone: str) -> tuple[DueLater, ...]:
    calendar = Calendar(zone)
    months: dict[tuple[str, str, str], list[int]] = {}
    for (instant, rule, kind), count in tally.later.items():
        month = date.fromordinal(calendar.day_of(instant)).isoformat()[:7]
        found = months.setdefault((month, rule, kind), [0, 0])
        found[0] += count.items
        found[1] += count.bytes
    return tuple(
        DueLater(month=month, rule=rule, kind=cast("ItemKind", kind), items=items, bytes=weight)
        for (month, rule, kind), (items, weight) in sorted(months.items())
        if items
    )
