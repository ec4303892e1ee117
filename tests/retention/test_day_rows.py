"""Rows are read by stretches of days, and of them those that are asked about."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from archiver.archive.reader import Archive, Head
from archiver.retention.day_rows import (
    Stretch,
    days_of,
    days_of_rows,
    empty,
    grouped,
    in_days,
    keys_of,
    only,
    read_stretch,
    without,
)
from archiver.retention.leaving import BYTES_COLUMN
from archiver.retention.straddling import (
    found_elsewhere,
    is_at_home,
    misplaced,
    read_straddling,
    unplaced,
    without_first,
)
from tests.archive.archive_steps import InlineExecutor
from tests.retention.lived import at_ms, attached, lived, sent, stated_uid
from tests.retention.policies import message, messages

DAY = date(2020, 3, 15)
DAYS = [DAY + timedelta(days=number) for number in range(4)]
COLUMNS = ("chat_id", "message_uid", "sent_at", "version", "supersedes", "sender_id")
FILE_COLUMNS = ("chat_id", "message_uid", "ordinal", "sent_at")
HOME, AWAY = stated_uid(DAYS[0]), stated_uid(DAYS[1], 1)
# Of one imported message a row lies under one day and its edit under another; its name comes after that of another one.
TORN = "imported 5"


@pytest.fixture(scope="module")
def archived() -> tuple[Archive, Head]:
    return lived(
        [
            {
                "messages": [sent(HOME, DAYS[0]), sent(AWAY, DAYS[0]), sent(TORN, DAYS[0]), sent("imported 9", DAYS[2])],
                "files": [attached(HOME, DAYS[0]), attached("imported 9", DAYS[3])],
            },
            {"messages": [sent(TORN, DAYS[2], version=2), sent("imported 1", DAYS[0]), sent(TORN, DAYS[2], chat_id="g:2")]},
        ]
    )  # fmt: skip


def test_each_day_has_its_objects_of_both_tables(archived: tuple[Archive, Head]) -> None:
    days = days_of(archived[1])
    assert [(set(day.days), len(day.messages), len(day.files), day.rows) for day in days] == [
        ({DAYS[0]}, 2, 1, 5), ({DAYS[2]}, 2, 0, 3), ({DAYS[3]}, 0, 1, 1),
    ]  # fmt: skip
    assert [day.first_sent_at_ms for day in days] == [at_ms(DAYS[0]), at_ms(DAYS[2]), at_ms(DAYS[3])]
    assert days[0].records == (*days[0].messages, *days[0].files)


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, [[0], [2], [3]]), (5, [[0], [2, 3]]), (8, [[0, 2], [3]]), (9, [[0, 2, 3]]), (4, [[0], [2, 3]])]
)  # fmt: skip
def test_days_are_put_together_while_their_rows_are_few(
    archived: tuple[Archive, Head], rows: int, expected: list[list[int]]
) -> None:
    days = days_of(archived[1])
    stretches = grouped(days, rows)
    assert [stretch.days for stretch in stretches] == [{DAYS[number] for number in group} for group in expected]
    for table in ("messages", "files"):
        together = [record for stretch in stretches for record in getattr(stretch, table)]
        assert together == [record for day in days for record in getattr(day, table)]
    assert grouped([], rows) == []


class TestReading:
    def test_columns_are_read_as_asked_and_each_row_weighs_its_part(self, archived: tuple[Archive, Head]) -> None:
        archive, head = archived
        records = days_of(head)[0].messages
        rows = read_stretch(archive.store, records, COLUMNS, table="messages")
        assert rows.column_names == [*COLUMNS, BYTES_COLUMN]
        assert sorted(rows.column("message_uid").to_pylist()) == sorted([HOME, AWAY, TORN, "imported 1"])
        weights = [record.bytes // record.rows for record in records for _ in range(record.rows)]
        assert rows.column(BYTES_COLUMN).to_pylist() == weights
        assert pa.types.is_dictionary(rows.column("chat_id").type)
        assert len({tuple(chunk.dictionary.to_pylist()) for chunk in rows.column("chat_id").chunks}) == 1

    def test_only_rows_of_the_uids_that_are_asked_for_are_kept(self, archived: tuple[Archive, Head]) -> None:
        archive, head = archived
        uids = pa.array([TORN, "imported 1"])
        rows = read_stretch(archive.store, days_of(head)[0].messages, ("sent_at",), table="messages", uids=uids)
        assert rows.column_names == ["message_uid", "sent_at", BYTES_COLUMN]
        assert sorted(rows.column("message_uid").to_pylist()) == ["imported 1", TORN]

    @pytest.mark.parametrize(("table", "columns"), [("messages", COLUMNS), ("files", FILE_COLUMNS)])
    def test_no_rows_have_the_columns_of_rows(
        self, archived: tuple[Archive, Head], table: str, columns: tuple[str, ...]
    ) -> None:
        archive, head = archived
        some = read_stretch(archive.store, getattr(days_of(head)[0], table), columns, table=table)
        for none in (empty(columns, table=table), read_stretch(archive.store, [], columns, table=table)):
            assert none.num_rows == 0
            assert none.schema.equals(some.schema.remove_metadata())


class TestChoosing:
    ROWS = messages(
        [message("m-1"), message("m-1", chat_id="g:2"), message("m-2"), message("m-3", sent_at=at_ms(DAYS[1]))]
    )

    def test_rows_of_some_messages_and_of_none_of_them(self) -> None:
        keys = {("g:general", "m-1"), ("g:2", "m-2"), ("g:general", "m-3")}
        assert keys_of(only(self.ROWS, keys)) == [("g:general", "m-1"), ("g:general", "m-3")]
        assert without(self.ROWS, keys).to_pylist() == [False, True, True, False]
        assert without(self.ROWS, {("g:2", "m-9")}).to_pylist() == [True] * 4
        assert without(self.ROWS, {("g:2", "m-2")}).to_pylist() == [True] * 4
        assert without(self.ROWS, frozenset()).to_pylist() == [True] * 4
        assert without(self.ROWS.slice(0, 0), keys).to_pylist() == []
        assert only(self.ROWS, frozenset()).num_rows == 0

    def test_rows_of_some_days(self) -> None:
        assert in_days(self.ROWS, frozenset()).num_rows == 0
        assert days_of_rows(self.ROWS).to_pylist() == [DAYS[0]] * 3 + [DAYS[1]]
        assert keys_of(in_days(self.ROWS, frozenset({DAYS[1], DAYS[2]}))) == [("g:general", "m-3")]


class TestStraddling:
    def test_a_later_version_whose_first_is_not_there_has_that_elsewhere(self) -> None:
        rows = [message("m-1", version=2), message("m-2"), message("m-2", version=2), message("m-1", chat_id="g:2")]
        assert without_first(messages([*rows, message("m-4", supersedes="aa")])) == {
            ("g:general", "m-1"), ("g:general", "m-4"),
        }  # fmt: skip
        assert without_first(messages(rows[1:2])) == without_first(messages([])) == set()

    def test_rows_that_lie_elsewhere_than_their_uids_say_are_found(self, archived: tuple[Archive, Head]) -> None:
        archive, head = archived
        first = days_of(head)[0]
        assert misplaced(read_stretch(archive.store, first.messages, COLUMNS, table="messages")) == {
            ("g:general", AWAY)
        }
        assert [is_at_home(record) for record in first.files] == [True]
        assert not any(is_at_home(record) for day in days_of(head) for record in day.messages)

    def test_items_whose_uids_state_no_time_may_lie_anywhere(self) -> None:
        rows = messages([message(HOME), message(TORN), message("m-1", chat_id="g:2")])
        assert keys_of(unplaced(rows)) == [("g:general", TORN), ("g:2", "m-1")]

    def test_those_that_leave_are_looked_for_in_other_stretches(self, archived: tuple[Archive, Head]) -> None:
        archive, head = archived
        stretches = days_of(head)

        def found(*keys: tuple[str, str], place: int = 0) -> set[tuple[str, str]]:
            leaving = messages([message(uid, chat_id=chat) for chat, uid in keys]).select(["chat_id", "message_uid"])
            return found_elsewhere(archive.store, stretches, {place: leaving}, executor=InlineExecutor())

        general, other = ("g:general", TORN), ("g:2", TORN)
        assert found(general, ("g:general", "imported 1")) == {general}
        assert found(other, place=0) == {other}
        assert found(general, place=1) == {general}
        assert found(other, place=1) == found(("g:general", "imported 1")) == found() == set()
        assert found(("g:general", "imported 9"), place=1) == {("g:general", "imported 9")}  # its file

    def test_of_suspected_items_those_in_several_stretches_are_read_whole(self, archived: tuple[Archive, Head]) -> None:
        archive, head = archived
        suspects = [("g:general", TORN), ("g:2", TORN), ("g:general", HOME), ("g:general", "imported 9"), ("g:9", "x")]
        read = read_straddling(
            archive.store, days_of(head), suspects,
            message_columns=COLUMNS, file_columns=FILE_COLUMNS, executor=InlineExecutor(),
        )  # fmt: skip
        assert read.keys == {("g:general", TORN), ("g:general", "imported 9")}
        assert sorted(keys_of(read.messages)) == [("g:general", TORN), ("g:general", TORN), ("g:general", "imported 9")]
        assert keys_of(read.files) == [("g:general", "imported 9")]
        # All rows of a message that has several are seen as later versions.
        assert pc.sum(read.messages.column("version")).as_py() == 5
        none = read_straddling(
            archive.store,
            days_of(head),
            [],
            message_columns=COLUMNS,
            file_columns=FILE_COLUMNS,
            executor=InlineExecutor(),
        )
        assert (none.keys, none.messages, none.files) == (
            frozenset(), empty(COLUMNS, table="messages"), empty(FILE_COLUMNS, table="files"),
        )  # fmt: skip


def test_a_stretch_tells_its_first_instant_of_both_tables(archived: tuple[Archive, Head]) -> None:
    first, second, third = days_of(archived[1])
    both = Stretch(second.days | third.days, second.messages, third.files)
    assert both.first_sent_at_ms == int(datetime(2020, 3, 17, 12, tzinfo=UTC).timestamp() * 1000)
    assert Stretch(first.days, (), first.files).rows == 1
