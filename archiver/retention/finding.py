"""Finding what leaves: all days of the archive as independent tasks, and then what none of them can tell alone.

A day whose earliest row is too young for every rule is not read at all, and of the others only the columns that policy and holds ask for.
A task has a few days in a row. Items whose rows lie further apart are judged again as a whole (`archiver.retention.straddling`). Memory is
bounded by the tasks that run at the same time and by the items that are due; of what only is counted, those whose uids state no time take
as much as these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, read_columns
from archiver.retention.day_rows import STRETCH_ROWS, Key, Stretch, days_of, grouped, in_days, read_stretch, without
from archiver.retention.judging import Judge, Tally, due_of
from archiver.retention.leaving import Leaving, joined, numbered_by_uid
from archiver.retention.periods import Calendar
from archiver.retention.plan_document import sorted_items
from archiver.retention.policy import Policy
from archiver.retention.straddling import (
    Straddling,
    astray,
    found_elsewhere,
    is_at_home,
    misplaced,
    read_straddling,
    unplaced,
    without_first,
)
from archiver.store import Store

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What all days came to: the items that are due and not held, the counts, and the blobs that only these items name."""

    items: pa.Table
    tally: Tally
    blobs: int
    blob_bytes: int


@dataclass(frozen=True, slots=True)
class _Part:
    """What one task found: what is due, the counts, the items that may have rows elsewhere, and those of which only others can tell."""

    due: Leaving
    tally: Tally
    suspects: set[Key]
    unplaced: pa.Table


def find(
    store: Store,
    head: Head,
    judge: Judge,
    *,
    chosen: Callable[[Stretch], bool],
    executor: Executor,
    progress: Progress | None = None,
    stretch_rows: int = STRETCH_ROWS,
) -> Found:
    """Return what leaves of the days that are chosen; raises `DamageFoundError` if an object cannot be read.

    Of the other days only rows are looked at that belong to items of these. What is found is the same however many rows a task has.
    """
    days = days_of(head)
    judged = grouped((day for day in days if chosen(day)), stretch_rows)
    passed_over = grouped((day for day in days if not chosen(day)), stretch_rows)
    stretches = [*judged, *passed_over]
    due: dict[int, Leaving] = {}
    keys: dict[int, pa.Table] = {}
    tally = Tally()
    suspects = set[Key]().union(*executor.map(lambda stretch: astray(store, stretch), passed_over))
    for place, part in enumerate(executor.map(lambda stretch: _judge(store, stretch, judge), judged)):
        if part.due.items.num_rows:
            due[place] = part.due
        if part.unplaced.num_rows:
            keys[place] = part.unplaced
        tally.add(part.tally)
        suspects |= part.suspects
        if progress is not None:
            progress(place + 1, len(judged))
    suspects |= found_elsewhere(store, stretches, keys, executor=executor)
    straddling = read_straddling(
        store,
        stretches,
        suspects,
        message_columns=(*judge.message_columns, *judge.further_message_columns),
        file_columns=judge.file_columns,
        executor=executor,
    )
    whole = _with_straddling(list(due.values()), straddling, tally, judge, judged=judged)
    blobs, blob_bytes = _last_references(store, head, whole.references, executor=executor)
    return Found(sorted_items(whole.items), tally, blobs, blob_bytes)


def may_leave_from(policy: Policy, first_at_ms: int, calendar: Calendar) -> int | None:
    """Return an instant before which the policy lets nothing go that came at another or later; None if it could go at any time.

    It is an upper bound by policy alone, so that whole days are passed over: no rule's shortest period can have ended, for none begins
    before there is anything to keep.
    """
    rules = [rule for rule in policy.rules if rule.decides]
    first = calendar.day_of(first_at_ms)
    ends = [
        calendar.day_end_ms(period.after(first))
        for rule in rules
        for period in (rule.retain, rule.delete)
        if period is not None
    ]
    return min(ends, default=None)


def _judge(store: Store, stretch: Stretch, judge: Judge) -> _Part:
    messages = read_stretch(store, stretch.messages, judge.message_columns, table="messages")
    files = read_stretch(store, stretch.files, judge.file_columns, table="files")
    suspects = astray(store, stretch) | without_first(messages) | misplaced(files)
    if not all(map(is_at_home, stretch.messages)):
        messages = numbered_by_uid(messages)

    def complete(rows: pa.Table) -> pa.Table:
        further = read_stretch(store, stretch.messages, judge.further_message_columns, table="messages")
        for name in judge.further_message_columns:
            rows = rows.append_column(name, further.column(name))
        return rows

    found = judge.judge(messages, files, complete=complete)
    tally = Tally()
    tally.count(found, as_of_ms=judge.as_of_ms)
    return _Part(due_of(found, as_of_ms=judge.as_of_ms), tally, suspects, unplaced(found.items))


def _with_straddling(
    due: list[Leaving], straddling: Straddling, tally: Tally, judge: Judge, *, judged: Sequence[Stretch]
) -> Leaving:
    """Return what is due, items with rows in several stretches judged as a whole; ``tally`` is put right."""
    if not straddling.keys:
        return joined(due, holds={})
    for stretch in judged:
        messages, files = in_days(straddling.messages, stretch.days), in_days(straddling.files, stretch.days)
        if messages.num_rows or files.num_rows:
            tally.count(judge.judge(messages, files, complete=_complete), as_of_ms=judge.as_of_ms, sign=-1)
    whole = judge.judge(straddling.messages, straddling.files, complete=_complete)
    tally.count(whole, as_of_ms=judge.as_of_ms)
    others = [_without(leaving, straddling.keys) for leaving in due]
    return joined([*others, due_of(whole, as_of_ms=judge.as_of_ms)], holds={})


def _complete(rows: pa.Table) -> pa.Table:
    return rows


def _without(due: Leaving, keys: frozenset[Key]) -> Leaving:
    return Leaving(due.items.filter(without(due.items, keys)), {}, due.references.filter(without(due.references, keys)))


def _last_references(store: Store, head: Head, references: pa.Table, *, executor: Executor) -> tuple[int, int]:
    """Return how many blobs lose their last reference, and their bytes: those that no row of ``files`` names but the plan's."""
    if not references.num_rows:
        return 0, 0
    going = references.group_by("blob_digest").aggregate([("rows", "sum"), ("bytes", "max")])
    digests = going.column("blob_digest").combine_chunks()
    named = Counter[str]()

    def count(found: pa.Table) -> list[tuple[str, int]]:
        column = found.column("blob_digest")
        counted = pc.value_counts(column.filter(pc.is_in(column, value_set=digests)))
        return [(item["values"], item["counts"]) for item in counted.to_pylist()]

    for pairs in executor.map(
        lambda record: count(read_columns(store, record, ("blob_digest",))), files_of(head, "files")
    ):
        for digest, rows in pairs:
            named[digest] += rows
    columns = (going.column(name).to_pylist() for name in ("blob_digest", "rows_sum", "bytes_max"))
    last = [weight for digest, rows, weight in zip(*columns, strict=True) if named[digest] <= rows]
    return len(last), sum(last)
