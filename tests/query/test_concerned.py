"""Over the objects that a question can concern alone, each view and macro says what it says over all of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head
from archiver.archive.schema import TABLES
from archiver.archive.tables import encode, rows_to_table, split_by_day
from archiver.clock import day_of, from_ms
from archiver.query.narrowing import narrowed
from tests.query.tables_in_memory import Asked, Row, at_ms, instant, message, observation

DAY_SECONDS = 86_400
DAYS = 4

# Every view and macro that is narrowed, and by which of these columns it can be asked.
VIEWS = {
    "messages": ("dt", "sent_at", "message_uid", "chat_id"),
    "identified_messages": ("dt", "sent_at", "message_uid", "chat_id"),
    "notifications": ("dt", "sent_at", "message_uid", "chat_id"),
    "unread_flockml": ("dt", "sent_at", "message_uid", "chat_id"),
    "current_messages": ("dt", "sent_at", "message_uid", "chat_id"),
    "transcript": ("dt", "sent_at", "message_uid", "chat_id"),
    "deleted_or_missing": ("dt", "sent_at", "message_uid", "chat_id"),
    "message_audience": ("sent_at", "message_uid", "chat_id"),
    "message_absences": ("message_uid", "chat_id"),
    "conversation_day": ("day_on", "chat_id"),
    "messages_as_of({at})": ("dt", "sent_at", "message_uid", "chat_id"),
    "audience_as_of({at})": ("sent_at", "message_uid", "chat_id"),
    "as_of({at})": ("dt", "sent_at", "message_uid", "chat_id"),
    # Not narrowed, but given nothing less either.
    "provisional_uids": ("sent_at", "chat_id"),
    "inferred_replies": ("sent_at", "message_uid", "chat_id"),
}

seconds = st.integers(0, DAYS * DAY_SECONDS)
uids = st.sampled_from([f"17000{day}-m{number}" for day in range(DAYS) for number in range(2)])
chats = st.sampled_from(["g:one", "g:two"])


@st.composite
def rows_of_messages(draw: st.DrawFn) -> Row:
    """A capture of a message on whatever day, as an edit may carry the time of the edit; seldom one without a uid."""
    sent = draw(seconds)
    nameless = draw(st.integers(0, 30)) == 0
    return message(
        "provisional:00" if nameless else draw(uids),
        sent=sent,
        observed=sent + draw(st.integers(0, DAY_SECONDS)),
        version=draw(st.integers(1, 3)),
        text=draw(st.sampled_from(["a", "b"])),
        chat_id=draw(chats),
        client_id="d_1",
        source=draw(st.sampled_from(["webhook", "fetch"])),
        app_id=draw(st.sampled_from([None, "app"])),
        flockml=draw(st.sampled_from([None, "a"])),
    )


@st.composite
def rows_of_files(draw: st.DrawFn) -> Row:
    sent = draw(seconds)
    return {
        "chat_id": draw(chats), "message_uid": draw(uids), "version": 1, "ordinal": draw(st.integers(0, 1)),
        "sent_at": at_ms(sent), "observed_at": at_ms(sent), "kind": "download", "url": "https://f/x", "status": "stored",
        "attempts": 1,
    }  # fmt: skip


absences = st.builds(
    lambda uid, second, outcome, chat_id: observation(uid, second, outcome, chat_id=chat_id),
    uids, seconds, st.sampled_from(["not_returned", "returned"]), chats,
)  # fmt: skip
commits = st.fixed_dictionaries(
    {
        "messages": st.lists(rows_of_messages(), max_size=5),
        "files": st.lists(rows_of_files(), max_size=2),
        "observations": st.lists(absences, max_size=3),
    }
)


@st.composite
def conditions(draw: st.DrawFn, columns: tuple[str, ...]) -> str:
    """A WHERE of one or two comparisons."""
    asked = []
    for column in draw(st.lists(st.sampled_from(columns), min_size=1, max_size=2, unique=True)):
        second = draw(seconds)
        match column:
            case "dt" | "day_on":
                value = f"'{day_of(at_ms(second))}'"
            case "sent_at":
                value = f"'{from_ms(at_ms(second)).isoformat()}'"
            case "message_uid":
                value = f"'{draw(uids)}'"
            case _:
                value = f"'{draw(chats)}'"
        asked.append(f"{column} {draw(st.sampled_from(['=', '=', '<', '<=', '>', '>=']))} {value}")
    return " AND ".join(asked)


@st.composite
def questions(draw: st.DrawFn) -> str:
    view = draw(st.sampled_from(sorted(VIEWS)))
    asked = draw(conditions(VIEWS[view]))
    return f"SELECT * FROM {view.format(at=instant(draw(seconds)))} WHERE {asked}"


class Stored:
    """What commits would have written: the rows of each object by its key, and the head that names them."""

    def __init__(self, given_commits: list[dict[str, list[Row]]]) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.files: dict[str, FileRecord] = {}
        captures = 0
        for sequence, tables in enumerate(given_commits, start=1):
            for name, rows in tables.items():
                # Of two rows that are equal in all that a view chooses by it may choose either, so no two come at the same instant.
                told = [{**row, "observed_at": row["observed_at"] + captures + place} for place, row in enumerate(rows)]
                captures += len(rows)
                self._write(sequence, name, told)

    @property
    def head(self) -> Head:
        return Head(
            sequence=1, digest="", at=None, files=self.files, settled=frozenset(), watermarks={}, rows={}
        )  # fmt: skip

    def tables(self, keys: Any) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for key in keys:
            found.setdefault(self.files[key].table, []).extend(self.rows[key])
        return found

    def _write(self, sequence: int, name: str, rows: list[Row]) -> None:
        table = TABLES[name]
        by_day: dict[date, list[Row]] = {}
        for row in rows:
            by_day.setdefault(day_of(row[table.day_column]), []).append(row)
        for number, (day, share) in enumerate(by_day.items(), start=1):
            ((_, data),) = split_by_day(table, rows_to_table(table, share))
            encoded = encode(table, day, data)
            key = layout.data_key(name, day, sequence=sequence, attempt="aaaaaaaa", number=number)
            self.rows[key] = share
            self.files[key] = FileRecord(
                table=name, key=key, bytes=len(encoded.data), sha256="", rows=len(share), ranges=encoded.ranges
            )


@pytest.fixture(scope="module")
def over_all() -> Asked:
    return Asked()


@pytest.fixture(scope="module")
def over_some() -> Asked:
    return Asked()


def same_answers(over_all: Asked, over_some: Asked, stored: Stored, sql: str) -> None:
    found = narrowed(duckdb.default_connection(), sql, stored.head).files
    over_all.fill(stored.tables(stored.files))
    over_some.fill(stored.tables(found))
    ordered = f"{sql} ORDER BY ALL"
    assert over_some.rows(ordered) == over_all.rows(ordered), sql


def sent_on(day: int, uid_day: int, **further: Any) -> Row:
    """A capture that lies under one day, of a message whose uid begins with the time of another."""
    second = day * DAY_SECONDS
    return message(f"17000{uid_day}-m0", sent=second, observed=second + 9, **further)


class TestOfOneDay:
    """What lies under the second day was edited on the third, and that edit lies under the third."""

    stored = Stored(
        [
            {
                "messages": [
                    sent_on(0, 0),
                    sent_on(1, 1, text="first", source="fetch"),
                    sent_on(2, 1, text="edited", version=2, source="fetch"),
                    sent_on(3, 3),
                ],
                "files": [],
                "observations": [observation("170001-m0", DAY_SECONDS + 99, "not_returned")],
            }
        ]
    )

    @pytest.mark.parametrize(
        ("view", "days"),
        [
            ("messages", {1}),
            ("notifications", {1}),
            ("conversation_day", {1}),
            ("current_messages", {1, 2}),
            ("deleted_or_missing", {1, 2}),
            (f"as_of({instant(9 * DAY_SECONDS)})", {1, 2}),
            ("(FROM current_messages)", {0, 1, 2, 3}),
        ],
    )
    def test_a_view_is_given_that_day_and_where_its_messages_may_have_other_versions(
        self, over_all: Asked, over_some: Asked, view: str, days: set[int]
    ) -> None:
        column = "day_on" if view == "conversation_day" else "dt"
        sql = f"SELECT * FROM {view} WHERE {column} = '{day_of(at_ms(DAY_SECONDS))}'"
        found = narrowed(duckdb.default_connection(), sql, self.stored.head).files
        assert {key for key in found if key.startswith("messages/")} == {
            key
            for key in self.stored.files
            if key.startswith("messages/")
            and layout.partition_of(key)[1] in {day_of(at_ms(day * DAY_SECONDS)) for day in days}
        }
        same_answers(over_all, over_some, self.stored, sql)

    def test_nothing_is_left_out_where_a_message_came_without_its_uid(self) -> None:
        nameless = message("provisional:00", sent=3 * DAY_SECONDS, observed=3 * DAY_SECONDS)
        made = Stored([{"messages": [sent_on(0, 0), sent_on(1, 1), nameless]}])
        for view, count in (("messages", 1), ("current_messages", 3), ("notifications", 3)):
            sql = f"SELECT * FROM {view} WHERE dt = '{day_of(at_ms(0))}'"
            assert len(narrowed(duckdb.default_connection(), sql, made.head).files) == count


@settings(max_examples=6)
@given(st.lists(commits, min_size=1, max_size=3), questions())
def test_narrowed_and_not_are_equal(over_all: Asked, over_some: Asked, made: list[Any], sql: str) -> None:
    same_answers(over_all, over_some, Stored(made), sql)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@settings(max_examples=1_000)
@given(st.lists(commits, min_size=1, max_size=4), questions())
def test_narrowed_and_not_are_equal_many_times(over_all: Asked, over_some: Asked, made: list[Any], sql: str) -> None:
    same_answers(over_all, over_some, Stored(made), sql)
