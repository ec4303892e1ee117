"""Rows to Parquet and back: sorted, split by day, zstd, with statistics, page checksums and bloom filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archiver.archive.home import count_astray
from archiver.archive.schema import MESSAGES, Table
from archiver.clock import to_ms
from archiver.model.message import Message, Source
from archiver.normalise.plain import PlainRows

ROW_GROUP_ROWS = 122_880  # the size of DuckDB's own row groups, so that each of its threads gets whole ones
ZSTD_LEVEL = 3
ZSTD_LEVEL_OF_DIGESTS = 1
BLOOM_FALSE_POSITIVE_RATE = 0.01
READ_BATCH_ROWS = 16_384
_DAY = "__day"

# What a message alone does not tell: it takes the archive, the directory and the file hosts.
DECIDED_COLUMNS = frozenset({"version", "supersedes", "sender_name", "blob_digests"})
UNDECIDED_MESSAGES = pa.schema([field for field in MESSAGES.schema if field.name not in DECIDED_COLUMNS])
_MESSAGE_FIELDS = tuple(field.name for field in msgspec.structs.fields(Message))

Range = tuple[int | str, int | str]
_NO_VALUES: Range = ("", "")


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """One day's share of a batch as Parquet, with what the ledger records of it. Ranges as in the ledger."""

    table: str
    day: date
    data: bytes
    sha256: str
    rows: int
    open_rows: int
    astray_rows: int
    ranges: dict[str, Range]


def rows_to_table(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return rows given as mappings; an absent column is null, an instant is in milliseconds since 1970 UTC."""
    columns = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in table.schema]
    return pa.table(columns, schema=table.schema)


def messages_to_table(messages: Sequence[Message]) -> pa.Table:
    """Return messages as rows with all columns of `MESSAGES` except `DECIDED_COLUMNS`, in the order given."""
    if not messages:
        return UNDECIDED_MESSAGES.empty_table()
    columns: dict[str, Any] = dict(
        zip(_MESSAGE_FIELDS, zip(*map(msgspec.structs.astuple, messages), strict=True), strict=True)
    )
    columns["sent_at"] = columns["sent_at_ms"]
    columns["observed_at"] = columns["observed_at_ms"]
    # Most messages are plain text, and then so are whole blocks of them: comparing is quicker than copying.
    is_plain = columns["plain_text"] == columns["text"]
    arrays = {
        field.name: pa.array(columns[field.name], type=field.type)
        for field in UNDECIDED_MESSAGES
        if not (is_plain and field.name == "plain_text")
    }
    arrays.setdefault("plain_text", arrays["text"])
    return pa.table([arrays[field.name] for field in UNDECIDED_MESSAGES], schema=UNDECIDED_MESSAGES)


def plain_rows_to_table(
    rows: PlainRows, *, observed_at_ms: pa.Array, source: Source, captured_by: pa.Array
) -> pa.Table:
    """Return plain messages as rows as `messages_to_table` does, given how they came."""
    count = len(rows.places)
    if not count:
        return UNDECIDED_MESSAGES.empty_table()
    columns = {
        **rows.columns,
        "chat_kind": pa.repeat("channel", count),
        "observed_at": observed_at_ms,
        "source": pa.repeat(source, count),
        "captured_by": captured_by,
    }
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in UNDECIDED_MESSAGES
    ]
    return pa.table(arrays, schema=UNDECIDED_MESSAGES)


def decided_messages(
    rows: pa.Table,
    *,
    versions: Sequence[int],
    supersedes: Mapping[int, str],
    sender_names: Mapping[str, str],
    blob_digests: Mapping[int, list[str]],
) -> pa.Table:
    """Return rows of `messages_to_table` completed to rows of `MESSAGES`; a row whose version is 0 is left out.

    ``versions`` stand beside the rows; ``supersedes`` and ``blob_digests`` are given by row; ``sender_names`` maps user
    ids to the names known now.
    """
    count = rows.num_rows
    numbers = pa.array(versions, type=pa.int32())
    known = pa.array(sender_names, type=pa.string()), pa.array(sender_names.values(), type=pa.string())
    columns = {
        "version": numbers,
        "supersedes": _sparse(supersedes, pa.string(), count),
        "sender_name": pc.take(known[1], pc.index_in(rows.column("sender_id"), value_set=known[0])),
        "blob_digests": _sparse(blob_digests, MESSAGES.schema.field("blob_digests").type, count),
    }
    complete = pa.table(
        [columns[field.name] if field.name in columns else rows.column(field.name) for field in MESSAGES.schema],
        schema=MESSAGES.schema,
    )
    return complete if min(versions, default=1) > 0 else complete.filter(pc.greater(numbers, 0))


def rows_of(data: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return rows as mappings, with instants as milliseconds since 1970 UTC."""
    columns = [pc.cast(column, pa.int64()) if pa.types.is_timestamp(column.type) else column for column in data.columns]
    rows: list[dict[str, Any]] = type(data).from_arrays(columns, names=data.schema.names).to_pylist()
    return rows


def split_by_day(table: Table, data: pa.Table) -> list[tuple[date, pa.Table]]:
    """Sort rows as the table wants them and cut them at day boundaries (UTC), earliest day first."""
    if data.num_rows == 0:
        return []
    days = pc.cast(pc.floor_temporal(data.column(table.day_column), unit="day"), pa.date32())
    span = pc.min_max(days).as_py()
    order = [(name, "ascending") for name in table.sort]
    if span["min"] == span["max"]:
        return [(span["min"], data.sort_by(order))]
    ordered = data.append_column(_DAY, days).sort_by([(_DAY, "ascending"), *order])
    parts = []
    start = 0
    for item in pc.value_counts(ordered.column(_DAY)).to_pylist():
        parts.append((item["values"], ordered.slice(start, item["counts"]).drop_columns([_DAY])))
        start += item["counts"]
    return parts


def encode(table: Table, day: date, data: pa.Table) -> EncodedFile:
    """Write one day's sorted rows as a Parquet file in memory."""
    sink = pa.BufferOutputStream()
    with RowWriter(table, sink, rows=data.num_rows) as writer:
        writer.add(data)
    payload = sink.getvalue().to_pybytes()
    return EncodedFile(
        table=table.name,
        day=day,
        data=payload,
        sha256=sha256(payload).hexdigest(),
        rows=writer.rows,
        open_rows=writer.open_rows,
        astray_rows=writer.astray_rows,
        ranges=writer.ranges,
    )


class RowWriter:
    """Writes one day's sorted rows as Parquet, in pieces of any size, as if they came at once; knows then what the ledger records of them.

    ``rows`` is how many will come, so that bloom filters are neither too small nor too large; ``may_stray`` is False where it is known
    that none of them is astray. The file is whole when the ``with`` block ends without an error.
    """

    def __init__(self, table: Table, sink: Any, *, rows: int, may_stray: bool = True) -> None:
        self.rows = 0
        self.open_rows = 0
        self.astray_rows = 0
        self.ranges: dict[str, Range] = {}
        self._table = table
        self._may_stray = may_stray and table is MESSAGES
        self._waiting: list[pa.Table] = []
        self._waiting_rows = 0
        self._writer = pq.ParquetWriter(
            sink,
            table.schema,
            compression="zstd",
            compression_level=_levels(table),
            use_dictionary=list(table.dictionary),
            write_statistics=True,
            write_page_index=True,
            write_page_checksum=True,
            sorting_columns=pq.SortingColumn.from_ordering(table.schema, [(name, "ascending") for name in table.sort]),
            bloom_filter_options={
                column: {"ndv": min(rows, ROW_GROUP_ROWS), "fpp": BLOOM_FALSE_POSITIVE_RATE} for column in table.bloom
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._waiting_rows:
            self._write(pa.concat_tables(self._waiting))
        self._writer.close()

    def add(self, data: pa.Table) -> None:
        """Take the next rows, in the table's order after those before."""
        if not data.num_rows:
            return
        self.rows += data.num_rows
        self.open_rows += _count_open(self._table, data)
        self.astray_rows += count_astray(data) if self._may_stray else 0
        for column in self._table.range_columns:
            self.ranges[column] = _joined(self.ranges.get(column), _range_of(data.column(column)))
        self._waiting.append(data)
        self._waiting_rows += data.num_rows
        if self._waiting_rows >= ROW_GROUP_ROWS:
            waiting = pa.concat_tables(self._waiting)
            whole = waiting.num_rows - waiting.num_rows % ROW_GROUP_ROWS
            self._write(waiting.slice(0, whole))
            self._waiting, self._waiting_rows = [waiting.slice(whole)], waiting.num_rows - whole

    def _write(self, data: pa.Table) -> None:
        self._writer.write_table(data, row_group_size=ROW_GROUP_ROWS)


def _levels(table: Table) -> dict[str, int]:
    """Return the compression level of each column by its path: digests are random, trying harder at them gains nothing."""
    return {
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name: ZSTD_LEVEL_OF_DIGESTS
        if field.name.endswith("_digest")
        else ZSTD_LEVEL
        for field in table.schema
    }


def read_batches(source: BinaryIO, columns: Sequence[str], *, rows: int = READ_BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file in batches of so many at most, with only these columns; page checksums are checked.

    Raises `pyarrow.ArrowException` or `OSError` if the file is damaged.
    """
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            # Asked for all of them, it would read the whole file before it gives the first row.
            yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns))


def read_object(source: BinaryIO, columns: Sequence[str], *, dictionaries: Sequence[str] = ()) -> pa.Table:
    """Return all rows of a Parquet file with those of these columns that it has; page checksums are checked.

    Raises `pyarrow.ArrowException` or `OSError` if the file is damaged.
    """
    with pq.ParquetFile(
        source, page_checksum_verification=True, read_dictionary=list(dictionaries), pre_buffer=True
    ) as file:
        # Whoever reads many objects does so in many threads already.
        return file.read(columns=list(columns), use_threads=False)


def read_places(source: BinaryIO, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Return single rows of a Parquet file by their numbers, in that order, with those of these columns that it has.

    Only the row groups that hold them are read; page checksums are checked. Raises `IndexError` for a row that it does not have, and
    `pyarrow.ArrowException` or `OSError` if the file is damaged.
    """
    wanted = sorted(set(rows))
    parts = []
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        names = [name for name in columns if name in file.schema_arrow.names]
        first = 0
        for group in range(file.num_row_groups):
            behind = first + file.metadata.row_group(group).num_rows
            here = [row - first for row in wanted if first <= row < behind]
            if here:
                parts.append(file.read_row_group(group, columns=names, use_threads=False).take(pa.array(here)))
            first = behind
        if wanted and not 0 <= wanted[0] <= wanted[-1] < first:
            raise IndexError(f"row {wanted[-1]} of {first}")
        found = pa.concat_tables(parts) if parts else file.schema_arrow.empty_table().select(names)
    if wanted == list(rows):
        return found
    places = {row: place for place, row in enumerate(wanted)}
    return found.take(pa.array([places[row] for row in rows], pa.int64()))


def _count_open(table: Table, data: pa.Table) -> int:
    if table.open_when is None:
        return 0
    column, values = table.open_when
    return pc.sum(pc.is_in(data.column(column), value_set=pa.array(sorted(values)))).as_py() or 0


def _sparse(values: Mapping[int, Any], kind: pa.DataType, length: int) -> pa.Array:
    return pa.array([values.get(row) for row in range(length)], type=kind) if values else pa.nulls(length, kind)


def _range_of(column: pa.ChunkedArray) -> Range:
    bounds = pc.min_max(column).as_py()
    return _plain(bounds["min"]), _plain(bounds["max"])


def _joined(known: Range | None, more: Range) -> Range:
    """Return the range of both; one of two empty texts tells of no value at all."""
    if known is None or known == _NO_VALUES:
        return more
    if more == _NO_VALUES:
        return known
    return min(known[0], more[0]), max(known[1], more[1])  # both of one column, so of one type


def _plain(value: Any) -> int | str:
    if isinstance(value, datetime):
        return to_ms(value.astimezone(UTC))
    return value if isinstance(value, int | str) else ""
