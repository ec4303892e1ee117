"""Data objects without the rows that go: first which rows those are, from a few columns, then the object anew.

Each object is a task of its own for a `concurrent.futures.Executor`. A task holds one row group at a time and the object that it
writes, which lies on this machine's disk while it is large. Rows are sorted already, so leaving some out keeps their order, and the writer
is that of every other commit: what stays is encoded as if the rest had never been there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archiver.archive import blobs, layout
from archiver.archive.ledger import FileRecord
from archiver.archive.schema import TABLES
from archiver.archive.tables import RowWriter
from archiver.errors import DamageFoundError, KeyMissingError, StoreFullError
from archiver.retention.matching import Targets, joined, uids_carried, whole
from archiver.retention.pushes import KEY_COLUMNS, keys_of
from archiver.retention.storing import Storing
from archiver.store import Store

# An object of this size or more is read and written piece by piece.
IN_MEMORY_BYTES_MAX: Final = 16 * 1024 * 1024

_NEXT_STEP = "run `archiver verify` for a full list, then restore the object from a copy; nothing was changed"


@dataclass(frozen=True, slots=True)
class Touched:
    """A data object with rows that go.

    ``goes`` stands beside all its rows; ``items`` has the number of its item for each that goes, in order.
    """

    record: FileRecord
    goes: pa.BooleanArray
    items: pa.Int64Array

    @property
    def is_whole(self) -> bool:
        """Tell whether no row stays."""
        return len(self.items) == self.record.rows

    def without(self, is_kept: pa.BooleanArray) -> Touched | None:
        """Return this without the rows of some items, given for each item whether it is kept after all; None if all rows stay."""
        stays = pc.take(is_kept, self.items)
        if not pc.any(stays).as_py():
            return self
        items = self.items.filter(pc.invert(stays))
        if not len(items):
            return None
        return Touched(self.record, pc.replace_with_mask(self.goes, self.goes, pc.invert(stays)), items)


Match = Callable[[pa.Table], pa.Array]


def find_messages(store: Store, record: FileRecord, targets: Targets) -> Touched | None:
    """Return the rows of ``messages`` that belong to items, None if there are none; raises `DamageFoundError`."""

    def match(rows: pa.Table) -> pa.Array:
        return targets.match(whole(rows.column("message_uid")), chats=whole(rows.column("chat_id")))

    return _find(store, record, ["chat_id", "message_uid"], match) if _meets(record, targets) else None


def find_files(store: Store, record: FileRecord, targets: Targets) -> Touched | None:
    """Return the rows of ``files`` that belong to items; as `find_messages`."""

    def match(rows: pa.Table) -> pa.Array:
        uids, chats, ordinals = (whole(rows.column(name)) for name in ("message_uid", "chat_id", "ordinal"))
        return targets.match(uids, chats=chats, ordinals=ordinals)

    return _find(store, record, ["chat_id", "message_uid", "ordinal"], match) if _meets(record, targets) else None


def find_events(store: Store, record: FileRecord, targets: Targets, own: Targets | None = None) -> Touched | None:
    """Return the rows of ``events`` about messages, by their uid or by what a kept body carries; as `find_messages`.

    ``own`` are pushes that are items themselves, by key and day; their numbers follow those of ``targets``, and a row that is one of
    these is that one's, whatever message it speaks of.
    """
    of_day = layout.partition_of(record.key)[1].isoformat()

    def match_all(rows: pa.Table) -> pa.Array:
        if own is None:
            return match(rows)
        numbers = own.match(keys_of(rows), chats=pa.repeat(of_day, rows.num_rows))
        return pc.coalesce(pc.add(numbers, targets.size), match(rows))

    def match(rows: pa.Table) -> pa.Array:
        chats = whole(rows.column("chat_id"))
        found = targets.match(whole(rows.column("message_uid")), chats=chats)
        uids, places = uids_carried(whole(rows.column("body")))
        if not len(uids):
            return found
        carried = targets.match(uids, chats=pc.take(chats, places)).to_pylist()
        by_row = {row: item for row, item in zip(places.to_pylist(), carried, strict=True) if item is not None}
        return pc.coalesce(found, pa.array([by_row.get(row) for row in range(rows.num_rows)], pa.int64()))

    def may_hold(group: pq.RowGroupMetaData) -> bool:
        return _may_hold_events(group, targets)

    columns = ["chat_id", "message_uid", "body", *(KEY_COLUMNS if own is not None else ())]
    is_asked = targets.size or own is not None
    return _find(store, record, columns, match_all, may_hold=may_hold) if is_asked else None


def find_users(store: Store, record: FileRecord, targets: Targets) -> Touched | None:
    """Return the rows of ``users`` that belong to items; as `find_messages`."""

    def match(rows: pa.Table) -> pa.Array:
        return targets.match(whole(rows.column("user_id")))

    return _find(store, record, ["user_id"], match) if targets.size else None


def rewrite(
    store: Store, touched: Touched, key: str, *, storing: Storing, in_memory_bytes_max: int = IN_MEMORY_BYTES_MAX
) -> FileRecord:
    """Give the rows of an object that stay to ``storing`` under a new key and return its record; the old object is left as it is.

    Raises `DamageFoundError` if the old object is not what the ledger says: its rows would get a new digest, and nobody could see any
    more that they are not the ones that were committed. Raises `StoreFullError` if this machine's disk does not take one that is too
    large for memory.
    """
    record = touched.record
    table = TABLES[record.table]
    is_small = record.bytes < in_memory_bytes_max
    with _committed(store, record, is_small=is_small) as source, _output(record, is_small=is_small) as sink:
        rows = record.rows - len(touched.items)
        with RowWriter(table, sink.stream, rows=rows, may_stray=record.astray_rows > 0) as writer:
            # Of what is in memory all bytes were just held against the digest, so each page's own sum would say nothing more.
            for start, data in _row_groups(store, record, source, checks_pages=not is_small):
                if not data.schema.equals(table.schema):
                    raise _damaged(store, record, f"does not have the columns of table {record.table}")
                writer.add(data.filter(pc.invert(touched.goes.slice(start, data.num_rows))))
        written, digest, size = sink.finish()
        storing.add(key, written, digest=digest)
    return FileRecord(
        table=record.table,
        key=key,
        bytes=size,
        sha256=digest,
        rows=writer.rows,
        ranges=writer.ranges,
        open_rows=writer.open_rows,
        astray_rows=writer.astray_rows,
    )


def read_going(store: Store, touched: Touched, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of an object that go, with only these columns, in order; raises `DamageFoundError`."""
    with _opened(store, touched.record) as source:
        for start, data in _row_groups(store, touched.record, source, columns):
            yield data.filter(touched.goes.slice(start, data.num_rows))


def read_staying(
    store: Store, record: FileRecord, touched: Touched | None, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield the rows of an object that stay, all of them if it is not touched; as `read_going`."""
    with _opened(store, record) as source:
        for start, data in _row_groups(store, record, source, columns):
            yield data if touched is None else data.filter(pc.invert(touched.goes.slice(start, data.num_rows)))


def _meets(record: FileRecord, targets: Targets) -> bool:
    least, greatest = record.ranges["message_uid"]
    return targets.meets(str(least), str(greatest))


def _may_hold_events(group: pq.RowGroupMetaData, targets: Targets) -> bool:
    """Tell by the statistics of a row group of ``events`` whether it may name or carry a message that is an item.

    The ledger keeps no range of the uids of ``events``; nearly all groups are told apart by this, without reading their rows.
    """
    found = {column.path_in_schema: column.statistics for column in map(group.column, range(group.num_columns))}
    uids, bodies = found["message_uid"], found["body"]
    if bodies is None or not bodies.has_null_count or bodies.null_count < group.num_rows:
        return True
    if uids is None or not uids.has_null_count:
        return True
    if uids.null_count == group.num_rows:
        return False
    return not uids.has_min_max or targets.meets(str(uids.min), str(uids.max))


def _find(
    store: Store,
    record: FileRecord,
    columns: Sequence[str],
    match: Match,
    *,
    may_hold: Callable[[pq.RowGroupMetaData], bool] | None = None,
) -> Touched | None:
    found: list[pa.Array] = []
    with _opened(store, record) as source, _parquet(store, record, source) as file:
        for group in range(file.metadata.num_row_groups):
            facts = file.metadata.row_group(group)
            if may_hold is not None and not may_hold(facts):
                found.append(pa.nulls(facts.num_rows, pa.int64()))
                continue
            with _readable(store, record):
                data = file.read_row_group(group, columns=list(columns), use_threads=False)
            found.append(match(data))
    items = joined(found)
    if len(items) != record.rows:
        raise _damaged(store, record, f"has {len(items)} rows, the ledger says {record.rows}")
    if items.null_count == len(items):
        return None
    return Touched(record, pc.is_valid(items), items.drop_null())


def _row_groups(
    store: Store, record: FileRecord, source: Any, columns: Sequence[str] | None = None, *, checks_pages: bool = True
) -> Iterator[tuple[int, pa.Table]]:
    """Yield each row group with the number of its first row; the columns are in the order asked for."""
    with _parquet(store, record, source, checks_pages=checks_pages) as file:
        start = 0
        for group in range(file.metadata.num_row_groups):
            with _readable(store, record):
                data = file.read_row_group(group, columns=columns and list(columns), use_threads=False)
            yield start, data if columns is None else data.select(columns)
            start += data.num_rows


@contextmanager
def _parquet(store: Store, record: FileRecord, source: Any, *, checks_pages: bool = True) -> Iterator[pq.ParquetFile]:
    with _readable(store, record):
        file = pq.ParquetFile(source, page_checksum_verification=checks_pages)
    with file:
        yield file


@contextmanager
def _opened(store: Store, record: FileRecord) -> Iterator[BinaryIO]:
    with _readable(store, record):
        source = store.open(record.key)
    with source:
        yield source


@contextmanager
def _committed(store: Store, record: FileRecord, *, is_small: bool) -> Iterator[Any]:
    """Give the bytes of an object after they were held against the ledger's digest."""
    if is_small:
        with _readable(store, record):
            data = store.read(record.key)
        _require_digest(store, record, sha256(data).hexdigest())
        yield pa.BufferReader(data)
        return
    with _opened(store, record) as stream:
        with _readable(store, record):
            found, _ = blobs.digest_of(stream)
        _require_digest(store, record, found)
        stream.seek(0)
        yield stream


@contextmanager
def _readable(store: Store, record: FileRecord) -> Iterator[None]:
    """Say of which object it is that it is missing or cannot be read; only for steps that read it."""
    try:
        yield
    except KeyMissingError:
        raise _damaged(store, record, "is missing, the ledger names it") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(store, record, f"cannot be read as Parquet: {error}") from None


def _require_digest(store: Store, record: FileRecord, found: str) -> None:
    if found != record.sha256:
        raise _damaged(store, record, f"has SHA-256 {found}, the ledger says {record.sha256}")


def _damaged(store: Store, record: FileRecord, what: str) -> DamageFoundError:
    return DamageFoundError(f"{record.key} in {store.url} {what}", next_step=_NEXT_STEP)


class _InMemory:
    """What is written, in memory."""

    def __init__(self) -> None:
        self.stream: Any = pa.BufferOutputStream()

    def finish(self) -> tuple[bytes | Path, str, int]:
        data: bytes = self.stream.getvalue().to_pybytes()
        return data, sha256(data).hexdigest(), len(data)


class _OnDisk:
    """What is written, in a file that goes when the task ends."""

    def __init__(self, file: Any) -> None:
        self.stream: BinaryIO = file
        self._path = Path(file.name)

    def finish(self) -> tuple[bytes | Path, str, int]:
        self.stream.flush()
        with self._path.open("rb") as written:
            digest, size = blobs.digest_of(written)
        return self._path, digest, size


@contextmanager
def _output(record: FileRecord, *, is_small: bool) -> Iterator[_InMemory | _OnDisk]:
    if is_small:
        yield _InMemory()
        return
    try:
        with tempfile.NamedTemporaryFile(prefix="archiver-", suffix=".parquet") as file:
            yield _OnDisk(file)
    except OSError as error:
        raise StoreFullError(
            f"{tempfile.gettempdir()} does not take {record.key} while it is written anew: {error.strerror}",
            next_step=f"make some {2 * record.bytes:,} bytes of space for each task there, or name another folder with TMPDIR",
        ) from error
