"""What a plan takes out of the archive: which rows of which data objects, and which blobs lose their last reference.

The plan says how many rows each item has. Finding another number means that plan and archive do not fit, and nothing may be touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import BlobRecord, FileRecord
from archiver.archive.reader import Head, files_of
from archiver.archive.schema import TABLES
from archiver.errors import RefusedError
from archiver.retention.matching import Targets, joined, whole
from archiver.retention.plan_document import Plan
from archiver.retention.rewrite import (
    Touched,
    find_events,
    find_files,
    find_messages,
    find_users,
    read_going,
    read_staying,
)
from archiver.store import Store

Find = Callable[[Store, FileRecord, Targets], Touched | None]
Progress = Callable[[str, int, int], None]

# The tables that hold what is said or who somebody is, and the kind of item whose rows they have; those of ``events`` may be
# items themselves beside.
KINDS: Final[Mapping[str, str]] = {"messages": "message", "events": "message", "files": "file", "users": "user"}
_FIND: Final[Mapping[str, Find]] = {
    "messages": find_messages,
    "events": find_events,
    "files": find_files,
    "users": find_users,
}
# Every push leaves a row of events or none, so how many an item has there is not a plan's to know, unless it is one of them.
_COUNTED: Final = ("messages", "files", "users")
_KEY: Final = ("chat_id", "message_uid")
_ITEM_KEY: Final = ("day", *_KEY, "ordinal", "user_id")


class HoldCoverage(Protocol):
    """What `archiver.retention.coverage.Coverage` tells of rows, by hold."""

    message_columns: tuple[str, ...]
    file_columns: tuple[str, ...]
    needs_files: bool

    def of_messages(self, rows: pa.Table, files: pa.Table | None = None) -> Mapping[str, pa.BooleanArray]:
        """Return which rows of ``messages`` each hold covers."""
        ...

    def of_files(
        self, rows: pa.Table, messages: pa.Table, *, files: pa.Table | None = None
    ) -> Mapping[str, pa.BooleanArray]:
        """Return which rows of ``files`` each hold covers."""
        ...

    def of_pushes(self, rows: pa.Table) -> Mapping[str, pa.BooleanArray]:
        """Return which pushes, given by ``chat_id`` and reception (``sent_at``), each hold covers."""
        ...


@dataclass(frozen=True, slots=True)
class Located:
    """The rows of a plan by table, each with the number of its item in the plan; ``held`` are the numbers that each hold keeps."""

    touched: Mapping[str, Sequence[Touched]]
    is_kept: pa.BooleanArray
    held: Mapping[str, int]


def locate(store: Store, head: Head, plan: Plan, *, executor: Executor, progress: Progress) -> Located:
    """Find every row of a plan's items; raises `RefusedError` if there are more or fewer than it says, `DamageFoundError`."""
    touched: dict[str, list[Touched]] = {}
    keys = plan.items.select(list(_ITEM_KEY))
    of_pushes = pc.indices_nonzero(_is_push(plan))
    pushes = targets_of("event", keys.take(of_pushes))
    for table, kind in KINDS.items():
        places = pc.indices_nonzero(pc.equal(plan.items.column("kind"), kind))
        targets = targets_of(kind, keys.take(places))
        find = _FIND[table]
        if table == "events" and pushes.size:
            find = partial(find_events, own=pushes)
            places = pa.concat_arrays([places, of_pushes])
        elif not targets.size:
            continue
        records = files_of(head, table)
        found = []
        tasks = executor.map(partial(find, store, targets=targets), records)  # type: ignore[call-arg]
        for done, one in enumerate(tasks, 1):
            progress(f"finding {table}", done, len(records))
            if one is not None:
                found.append(replace(one, items=pc.take(places, one.items).cast(pa.int64())))
        touched[table] = found
    _require_counts(plan, touched)
    return Located(touched, pa.repeat(pa.scalar(value=False), plan.items.num_rows), {})


def without_held(
    store: Store, head: Head, plan: Plan, located: Located, *, coverage: HoldCoverage, executor: Executor
) -> Located:
    """Return what is left when the items that a hold covers stay; a file stays with its message."""
    if not head.holds:
        return located
    numbers: dict[str, set[int]] = {}
    of_messages = partial(_held_messages, store, head, coverage=coverage)
    of_files = partial(_held_files, store, head, coverage=coverage)
    of_pushes = partial(_held_pushes, store, coverage=coverage, is_push=_is_push(plan))
    for table, held_in in (("messages", of_messages), ("files", of_files), ("events", of_pushes)):
        for found in executor.map(held_in, located.touched.get(table, ())):
            for hold, items in found.items():
                numbers.setdefault(hold, set()).update(items)
    kept = set[int]().union(*numbers.values())
    is_kept = pa.array([number in kept for number in range(plan.items.num_rows)], pa.bool_())
    touched = {
        table: [fewer for one in found if (fewer := one.without(is_kept)) is not None]
        for table, found in located.touched.items()
    }
    return Located(touched, is_kept, {hold: len(items) for hold, items in sorted(numbers.items()) if items})


def blobs_going(store: Store, head: Head, located: Located, *, executor: Executor) -> tuple[BlobRecord, ...]:
    """Return the blobs that no row of ``files`` names any more when the rows that go are gone, in the order of their digests.

    The rows of ``files`` decide: what ``messages.blob_digests`` names, rows of the same commit name there as well.
    """
    touched = {one.record.key: one for one in located.touched.get("files", ())}
    sizes: dict[str, int] = {}
    for found in executor.map(partial(_blobs_in, store), touched.values()):
        sizes.update(found)
    if not sizes:
        return ()
    wanted = pa.array(sorted(sizes), pa.string())
    staying = executor.map(
        lambda record: _named_still(store, record, touched.get(record.key), wanted), files_of(head, "files")
    )
    left = set(sizes).difference(*staying)
    return tuple(BlobRecord(digest, sizes[digest]) for digest in sorted(left))


def counts_of(values: pa.Array | pa.ChunkedArray) -> dict[str | None, int]:
    """Return how often each value occurs."""
    return {pair["values"]: pair["counts"] for pair in pc.value_counts(values).to_pylist()}


def targets_of(kind: str, items: pa.Table) -> Targets:
    """Return items of one kind to match rows with."""
    if kind == "user":
        return Targets(whole(items.column("user_id")))
    uids, chats = whole(items.column("message_uid")), whole(items.column("chat_id"))
    if kind == "event":
        return Targets(uids, chats=pc.cast(whole(items.column("day")), pa.string()))
    return Targets(uids, chats=chats, ordinals=whole(items.column("ordinal")) if kind == "file" else None)


def _require_counts(plan: Plan, touched: Mapping[str, Sequence[Touched]]) -> None:
    is_push = _is_push(plan)
    of_pushes = [one.items.filter(pc.take(is_push, one.items)) for one in touched.get("events", ())]
    numbers = joined([*(one.items for table in _COUNTED for one in touched.get(table, ())), *of_pushes])
    found = _occurrences(numbers, plan.items.num_rows)
    differs = pc.not_equal(found, whole(plan.items.column("rows")))
    if pc.any(differs).as_py():
        first = pc.index(differs, value=True).as_py()
        item = plan.items.take([first]).to_pylist()[0]
        what = item["user_id"] or f"{item['message_uid']} in {item['chat_id']}"
        raise RefusedError(
            f"plan {plan.digest} does not fit the archive: of {pc.sum(differs).as_py()} items it says another number of rows than "
            f"there are, of {item['kind']} {what} {item['rows']} and not {found[first].as_py()}; nothing was changed",
            next_step="run `archiver verify`, then make the plan again with `archiver retention plan`",
        )


def _occurrences(numbers: pa.Int64Array, size: int) -> pa.Array:
    """Return how often each of the first so many natural numbers occurs among these, which are all among them."""
    runs = pc.run_end_encode(pc.take(numbers, pc.array_sort_indices(numbers)), run_end_type=pa.int64())
    ends = pa.concat_arrays([pa.array([0], pa.int64()), runs.run_ends])
    lengths = pc.subtract(ends.slice(1), ends.slice(0, len(runs.values)))
    return pc.fill_null(pc.scatter(lengths, runs.values, max_index=size - 1), 0)


def _held_messages(store: Store, head: Head, touched: Touched, *, coverage: HoldCoverage) -> dict[str, set[int]]:
    rows = _going(store, touched, coverage.message_columns)
    files = _rows_of(store, head, "files", rows, coverage.file_columns) if coverage.needs_files else None
    return _numbers(coverage.of_messages(rows, files), touched)


def _held_files(store: Store, head: Head, touched: Touched, *, coverage: HoldCoverage) -> dict[str, set[int]]:
    rows = _going(store, touched, coverage.file_columns)
    messages = _rows_of(store, head, "messages", rows, coverage.message_columns)
    files = _rows_of(store, head, "files", rows, coverage.file_columns) if coverage.needs_files else None
    return _numbers(coverage.of_files(rows, messages, files=files), touched)


def _held_pushes(
    store: Store, touched: Touched, *, coverage: HoldCoverage, is_push: pa.BooleanArray
) -> dict[str, set[int]]:
    is_own = pc.take(is_push, touched.items)
    if not pc.any(is_own).as_py():
        return {}
    rows = _going(store, touched, ("chat_id", "received_at")).rename_columns(["chat_id", "sent_at"])
    masks = coverage.of_pushes(rows)
    return _numbers({hold: pc.and_(mask, is_own) for hold, mask in masks.items()}, touched)


def _is_push(plan: Plan) -> pa.BooleanArray:
    return whole(pc.equal(plan.items.column("kind"), "event"))


def _numbers(masks: Mapping[str, pa.BooleanArray], touched: Touched) -> dict[str, set[int]]:
    return {hold: set(touched.items.filter(mask).to_pylist()) for hold, mask in masks.items()}


def _going(store: Store, touched: Touched, columns: Sequence[str]) -> pa.Table:
    return pa.concat_tables(read_going(store, touched, columns))


def _rows_of(store: Store, head: Head, table: str, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return the rows of another table about the messages that rows name, wherever they lie."""
    keys = rows.select(list(_KEY)).group_by(list(_KEY)).aggregate([])
    targets = Targets(whole(keys.column("message_uid")), chats=whole(keys.column("chat_id")))
    parts = list(_parts_of(store, files_of(head, table), targets, columns))
    return pa.concat_tables(parts) if parts else _no_rows(table, columns)


def _parts_of(
    store: Store, records: Sequence[FileRecord], targets: Targets, columns: Sequence[str]
) -> Iterator[pa.Table]:
    for record in records:
        found = find_messages(store, record, targets)
        if found is not None:
            yield from read_going(store, found, columns)


def _no_rows(table: str, columns: Sequence[str]) -> pa.Table:
    return TABLES[table].schema.empty_table().select(list(columns))


def _blobs_in(store: Store, touched: Touched) -> dict[str, int]:
    found: dict[str, int] = {}
    for rows in read_going(store, touched, ["blob_digest", "blob_bytes"]):
        pairs = zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True)
        found.update((digest, size) for digest, size in pairs if digest is not None)
    return found


def _named_still(store: Store, record: FileRecord, touched: Touched | None, wanted: pa.Array) -> set[str]:
    found: set[str] = set()
    for rows in read_staying(store, record, touched, ["blob_digest"]):
        column = rows.column(0)
        found.update(pc.unique(column.filter(pc.is_in(column, value_set=wanted))).to_pylist())
    return found
