"""Rows become Parquet that any reader can prune, check and read back, and nothing in them changes."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.schema import EVENTS, FILES, MESSAGES, TABLES, Table
from archiver.archive.tables import (
    DECIDED_COLUMNS,
    ROW_GROUP_ROWS,
    decided_messages,
    encode,
    messages_to_table,
    read_batches,
    rows_of,
    rows_to_table,
    split_by_day,
)
from archiver.clock import DAY_MS, EARLIEST_MS, LATEST_MS, day_of, to_ms
from archiver.normalise.message import Observed, read_message
from tests.archive.archive_steps import AT_MS, event, message

ALL_TABLES = list(TABLES.values())
named = pytest.mark.parametrize("table", ALL_TABLES, ids=[table.name for table in ALL_TABLES])


def a_row(table: Table, **changed: Any) -> dict[str, Any]:
    """Return a row with something in every column."""
    sample: dict[pa.DataType, Any] = {
        pa.string(): "x",
        pa.int32(): 1,
        pa.int64(): 1,
        pa.binary(): b"x",
        pa.date32(): date(2026, 11, 20),
    }
    row = {
        field.name: AT_MS if pa.types.is_timestamp(field.type) else sample.get(field.type, ["x"])
        for field in table.schema
    }
    return {**row, **changed}


def write(table: Table, rows: list[dict[str, Any]]) -> dict[date, bytes]:
    parts = split_by_day(table, rows_to_table(table, rows))
    return {day: encode(table, day, part).data for day, part in parts}


def read(data: bytes, table: Table) -> list[dict[str, Any]]:
    return [row for batch in read_batches(io.BytesIO(data), table.schema.names) for row in rows_of(batch)]


def only(files: dict[date, bytes]) -> bytes:
    (data,) = files.values()
    return data


def opened(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(data))


class TestDays:
    @pytest.mark.parametrize(
        ("at_ms", "day"),
        [
            (0, date(1970, 1, 1)),
            (DAY_MS - 1, date(1970, 1, 1)),
            (DAY_MS, date(1970, 1, 2)),
            (-1, date(1969, 12, 31)),
            (-DAY_MS, date(1969, 12, 31)),
            (-DAY_MS - 1, date(1969, 12, 30)),
            (EARLIEST_MS, date(1, 1, 1)),
            (LATEST_MS, date(9999, 12, 31)),
            (to_ms(datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)), date(2024, 2, 29)),
            (to_ms(datetime(2024, 3, 1, tzinfo=UTC)), date(2024, 3, 1)),
        ],
    )
    @named
    def test_a_row_lies_under_the_utc_day_of_its_instant(self, table: Table, at_ms: int, day: date) -> None:
        rows = [a_row(table, **{table.day_column: at_ms})]
        assert [found for found, _ in split_by_day(table, rows_to_table(table, rows))] == [day]

    @named
    def test_days_come_in_order_with_all_their_rows_and_no_others(self, table: Table) -> None:
        instants = [day * DAY_MS + offset for day in (3, -2, 0, 3, 5, -2, 3) for offset in (0, DAY_MS - 1)]
        parts = split_by_day(table, rows_to_table(table, [a_row(table, **{table.day_column: at}) for at in instants]))
        assert [day for day, _ in parts] == sorted({day_of(at) for at in instants})
        for day, part in parts:
            found = [row[table.day_column] for row in rows_of(part)]
            assert sorted(found) == sorted(at for at in instants if day_of(at) == day)
            assert part.schema.names == table.schema.names

    @named
    def test_rows_of_each_day_are_sorted_too(self, table: Table) -> None:
        first, second = table.sort[0], table.sort[1]
        column = first if first != table.day_column else second
        rows = [
            a_row(table, **{table.day_column: AT_MS - AT_MS % DAY_MS + day * DAY_MS, column: value})
            for value in ("c", "a", "d", "b")
            for day in (1, 0)
        ]
        for _, part in split_by_day(table, rows_to_table(table, rows)):
            assert part.column(column).to_pylist() == ["a", "b", "c", "d"]

    @named
    def test_no_rows_have_no_days(self, table: Table) -> None:
        assert split_by_day(table, rows_to_table(table, [])) == []


class TestTheFile:
    @named
    def test_rows_are_sorted_as_the_table_says_and_the_file_says_so(self, table: Table) -> None:
        rows = []
        for number in range(50):
            keys = {
                name: (
                    AT_MS - AT_MS % DAY_MS + number * 7919 % 50
                    if pa.types.is_timestamp(table.schema.field(name).type)
                    else None
                )
                for name in table.sort
            }
            plain = {
                name: number * 31 % 7 if pa.types.is_integer(table.schema.field(name).type) else f"k{number * 17 % 11}"
                for name, value in keys.items()
                if value is None
            }
            rows.append(a_row(table, **{name: value for name, value in keys.items() if value is not None}, **plain))
        data = only(write(table, rows))
        found = [tuple(row[name] for name in table.sort) for row in read(data, table)]
        assert found == sorted(found)
        assert found != [tuple(row[name] for name in table.sort) for row in rows]
        ordering, _ = pq.SortingColumn.to_ordering(table.schema, opened(data).metadata.row_group(0).sorting_columns)
        assert ordering == tuple((name, "ascending") for name in table.sort)

    @named
    def test_every_column_is_zstd_with_statistics(self, table: Table) -> None:
        group = opened(only(write(table, [a_row(table), a_row(table)]))).metadata.row_group(0)
        for index in range(group.num_columns):
            column = group.column(index)
            assert column.compression == "ZSTD"
            assert column.is_stats_set, column.path_in_schema
            assert column.statistics.has_min_max

    @named
    def test_few_valued_columns_and_only_they_have_dictionaries(self, table: Table) -> None:
        group = opened(only(write(table, [a_row(table)]))).metadata.row_group(0)
        columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
        with_dictionary = {name for name, column in columns.items() if column.has_dictionary_page}
        assert with_dictionary == set(table.dictionary)

    @named
    def test_columns_that_are_looked_up_have_a_bloom_filter(self, table: Table) -> None:
        rows = [a_row(table, **dict.fromkeys(table.bloom, f"needle-{n}")) for n in range(100)]
        group = opened(only(write(table, rows))).metadata.row_group(0)
        for index in range(group.num_columns):
            column = group.column(index)
            assert (column.bloom_filter_offset is not None) == (column.path_in_schema in table.bloom)
        if table.name in ("messages", "files", "observations"):
            assert table.bloom == ("message_uid",)

    def test_a_bloom_filter_lets_duckdb_skip_a_file_whose_range_would_match(self, tmp_path: Any) -> None:
        duckdb = pytest.importorskip("duckdb")
        rows = [message(f"{n:05d}") for n in range(0, 20_000, 2)]
        path = tmp_path / "x.parquet"
        path.write_bytes(only(write(MESSAGES, rows)))
        probe = f"SELECT bool_and(bloom_filter_excludes) FROM parquet_bloom_probe('{path}', 'message_uid', ?)"
        excluded = [duckdb.sql(probe, params=[f"{n:05d}"]).fetchone()[0] for n in range(1, 200, 2)]
        assert sum(excluded) > 80
        assert duckdb.sql(probe, params=["00100"]).fetchone() == (False,)

    @named
    def test_column_types_nullability_and_meaning_are_in_the_file(self, table: Table) -> None:
        assert opened(only(write(table, [a_row(table)]))).schema_arrow.equals(table.schema, check_metadata=False)
        for field in opened(only(write(table, [a_row(table)]))).schema_arrow:
            assert field.metadata[b"meaning"]

    def test_row_groups_are_small_enough_to_skip(self) -> None:
        rows = rows_to_table(MESSAGES, [message("m")])
        many = pa.concat_tables([rows] * (ROW_GROUP_ROWS + 1)).combine_chunks()
        ((day, part),) = split_by_day(MESSAGES, many)
        metadata = opened(encode(MESSAGES, day, part).data).metadata
        assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 1]

    def test_the_same_rows_are_the_same_bytes(self) -> None:
        rows = [message("b"), message("a")]
        assert write(MESSAGES, rows) == write(MESSAGES, rows)
        assert write(MESSAGES, rows) == write(MESSAGES, rows[::-1])


class TestWhatTheLedgerRecords:
    def test_digest_size_and_rows(self) -> None:
        ((day, part),) = split_by_day(MESSAGES, rows_to_table(MESSAGES, [message("a"), message("b")]))
        file = encode(MESSAGES, day, part)
        assert (file.table, file.day, file.rows) == ("messages", day, 2)
        assert file.sha256 == sha256(file.data).hexdigest()

    def test_the_least_and_greatest_values_with_instants_in_milliseconds(self) -> None:
        rows = [message("é", chat_id="g:2"), message("z"), message("a\x00"), message("😀")]
        rows[1]["sent_at"] -= 5
        ((day, part),) = split_by_day(MESSAGES, rows_to_table(MESSAGES, rows))
        assert encode(MESSAGES, day, part).ranges == {
            "sent_at": (AT_MS - 5, AT_MS),
            "message_uid": ("a\x00", "😀"),
            "chat_id": ("g:1", "g:2"),
        }

    @pytest.mark.parametrize(
        ("table", "column", "open_values", "other"),
        [
            (EVENTS, "outcome", ["wanted"], ["archived", "duplicate", "noted", "unparsed"]),
            (FILES, "status", ["pending", "failed"], ["stored", "given_up"]),
        ],
    )
    def test_rows_that_await_work_are_counted(
        self, table: Table, column: str, open_values: list[str], other: list[str]
    ) -> None:
        rows = [a_row(table, **{column: value}) for value in [*open_values, *other, *open_values]]
        ((day, part),) = split_by_day(table, rows_to_table(table, rows))
        assert encode(table, day, part).open_rows == 2 * len(open_values)

    def test_tables_without_work_have_no_open_rows(self) -> None:
        ((day, part),) = split_by_day(MESSAGES, rows_to_table(MESSAGES, [message("a")]))
        assert encode(MESSAGES, day, part).open_rows == 0

    def test_an_optional_column_with_nothing_in_it_breaks_no_range(self) -> None:
        table = TABLES["observations"]
        rows = [a_row(table, message_uid=None)]
        ((day, part),) = split_by_day(table, rows_to_table(table, rows))
        assert encode(table, day, part).ranges["message_uid"] == ("", "")


class TestDamage:
    def test_any_byte_of_the_data_that_flips_is_found(self) -> None:
        data = only(write(MESSAGES, [message(f"m{n}", text=f"text {n}") for n in range(300)]))
        group = opened(data).metadata.row_group(0)
        names = MESSAGES.schema.names
        for index in range(group.num_columns):
            column = group.column(index)
            start = column.dictionary_page_offset or column.data_page_offset
            # The last byte of a column's pages is data of its last page; headers come first.
            at = start + column.total_compressed_size - 1
            damaged = bytearray(data)
            damaged[at] ^= 0x10
            with pytest.raises((pa.ArrowException, OSError)):
                list(read_batches(io.BytesIO(bytes(damaged)), names))

    @pytest.mark.parametrize("cut", [0, 3, 4, 100, -1, -8])
    def test_a_cut_file_is_found(self, cut: int) -> None:
        data = only(write(MESSAGES, [message("m")]))
        with pytest.raises((pa.ArrowException, OSError)):
            list(read_batches(io.BytesIO(data[:cut]), MESSAGES.schema.names))

    def test_a_file_without_a_column_is_found(self) -> None:
        data = only(write(EVENTS, [event(1)]))
        with pytest.raises((pa.ArrowException, OSError, KeyError)):
            for batch in read_batches(io.BytesIO(data), MESSAGES.schema.names):
                batch.column("raw")


class TestMessages:
    def test_every_field_of_a_message_stands_in_its_column(self) -> None:
        raw = (
            b'{"uid":"m1","from":"u:B","to":"g:1","text":"","flockml":"<flockml>hi <b>you</b></flockml>","notification":"n",'
            b'"appId":"app","mentions":["u:1"],"visibleTo":["u:2"],"sendAs":{"name":"Bot"},"onBehalfOf":"u:3","id":"c",'
            b'"attachments":[{"downloads":[{"src":"https://f/1"}]}],"timestampInMillis":%d}' % AT_MS
        )
        read_one = read_message(raw, Observed(AT_MS + 5, "webhook", "general"))
        rows = decided_messages(
            messages_to_table([read_one]),
            versions=[2],
            supersedes={0: "digest before"},
            sender_names={"u:B": "Builder", "u:1": "nobody"},
            blob_digests={0: ["d1", "d2"]},
        )
        assert rows.schema.equals(MESSAGES.schema)
        (row,) = rows_of(rows)
        assert {name: row[name] for name in DECIDED_COLUMNS} == {
            "version": 2,
            "supersedes": "digest before",
            "sender_name": "Builder",
            "blob_digests": ["d1", "d2"],
        }
        direct = set(MESSAGES.schema.names) - DECIDED_COLUMNS - {"sent_at", "observed_at"}
        assert {name: row[name] for name in direct} == {name: getattr(read_one, name) for name in direct}
        assert (row["sent_at"], row["observed_at"]) == (AT_MS, AT_MS + 5)
        assert (row["plain_text"], row["send_as_name"]) == ("hi you", "Bot")

    def test_rows_that_repeat_are_left_out(self) -> None:
        read_all = [
            read_message(b'{"uid":"m%d","from":"u:1","to":"g:1","text":"x"}' % n, Observed(AT_MS, "webhook", "f"))
            for n in range(4)
        ]
        rows = decided_messages(
            messages_to_table(read_all),
            versions=[1, 0, 2, 0],
            supersedes={2: "d"},
            sender_names={},
            blob_digests={0: ["b"]},
        )
        found = [
            (r["message_uid"], r["version"], r["supersedes"], r["blob_digests"], r["sender_name"])
            for r in rows_of(rows)
        ]
        assert found == [("m0", 1, None, ["b"], None), ("m2", 2, "d", None, None)]

    def test_no_messages_are_no_rows(self) -> None:
        rows = decided_messages(messages_to_table([]), versions=[], supersedes={}, sender_names={}, blob_digests={})
        assert (rows.num_rows, rows.schema.names) == (0, MESSAGES.schema.names)


def column_values(field: pa.Field) -> st.SearchStrategy[Any]:
    texts = st.text(max_size=12) | st.sampled_from(["", "\x00", "😀", "é", "\u202e"])
    kinds: dict[pa.DataType, st.SearchStrategy[Any]] = {
        pa.string(): texts,
        pa.int32(): st.integers(-(2**31), 2**31 - 1),
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.binary(): st.binary(max_size=12),
        pa.date32(): st.dates(),
    }
    if pa.types.is_timestamp(field.type):
        values: st.SearchStrategy[Any] = st.integers(EARLIEST_MS, LATEST_MS) | st.integers(-2 * DAY_MS, 2 * DAY_MS)
    elif pa.types.is_list(field.type):
        values = st.lists(texts, max_size=3)
    else:
        values = kinds[field.type]
    return st.none() | values if field.nullable else values


def rows_for(table: Table) -> st.SearchStrategy[list[dict[str, Any]]]:
    row = st.fixed_dictionaries({field.name: column_values(field) for field in table.schema})
    return st.lists(row, min_size=1, max_size=6)


def in_some_order(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


@named
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_was_written_is_read_back(table: Table, data: st.DataObject) -> None:
    rows = data.draw(rows_for(table))
    found = []
    for day, content in write(table, rows).items():
        part = read(content, table)
        assert {day_of(row[table.day_column]) for row in part} == {day}
        found += part
    assert in_some_order(found) == in_some_order(rows)
