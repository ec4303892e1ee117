"""Rows become items: each whole, with the latest of its instants, what its rows or its blobs weigh, and every hold on any of its rows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from archiver.archive.schema import FILES, MESSAGES
from archiver.retention.judging import Verdict
from archiver.retention.leaving import (
    BYTES_COLUMN,
    FILE_COLUMNS,
    MESSAGE_COLUMNS,
    Leaving,
    are_later,
    dictionaries_of,
    joined,
    leaving_by,
    nothing,
    numbered_by_uid,
    to_items,
)
from archiver.retention.plan_document import ITEMS

DAY_MS = 86_400_000
NOON_MS = 1_795_867_200_000  # 2026-11-28 12:00 in UTC


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def rows_of(table: Any, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a day's task reads them: few columns, texts as dictionaries where there are few, and what each row weighs."""
    encoded = dictionaries_of(columns, table=table.name)
    arrays = {}
    for name in columns:
        array = pa.array([row.get(name) for row in rows], table.schema.field(name).type)
        arrays[name] = array.dictionary_encode() if name in encoded else array
    return pa.table({**arrays, BYTES_COLUMN: pa.array([row["bytes"] for row in rows], pa.int64())})


def verdict(*said: tuple[int | None, str, str]) -> Verdict:
    due, rules, principles = zip(*said, strict=True)
    return Verdict(
        pa.array(due, pa.int64()), pa.array(rules).dictionary_encode(), pa.array(principles).dictionary_encode()
    )


def mask(*values: int) -> pa.BooleanArray:
    return pa.array([bool(value) for value in values], pa.bool_())


def shown(items: pa.Table) -> list[tuple[Any, ...]]:
    assert items.schema == ITEMS
    rows = sorted(items.to_pylist(), key=lambda row: (row["chat_id"], row["message_uid"], row["ordinal"] or 0))
    return [tuple(row.values()) for row in rows]


class TestMessages:
    ROWS = rows_of(
        MESSAGES,
        MESSAGE_COLUMNS,
        [
            {"chat_id": "g:1", "message_uid": "a", "sent_at": NOON_MS, "version": 1, "bytes": 10},
            {"chat_id": "g:2", "message_uid": "a", "sent_at": NOON_MS + 1, "version": 1, "bytes": 20},
            {"chat_id": "g:1", "message_uid": "b", "sent_at": NOON_MS - DAY_MS, "version": 1, "bytes": 30},
            {"chat_id": "g:1", "message_uid": "a", "sent_at": NOON_MS + DAY_MS, "version": 2, "bytes": 5},
            {"chat_id": "g:1", "message_uid": "c", "sent_at": NOON_MS, "version": 1, "supersedes": "00", "bytes": 7},
            {"chat_id": "g:1", "message_uid": "c", "sent_at": NOON_MS, "version": 1, "bytes": 8},
        ],
    )
    SAID = verdict(
        (NOON_MS + 1, "old", "p"), (None, "old", "p"), (NOON_MS, "young", "q"), (NOON_MS + 2, "old", "p"), (3, "odd", "r"), (3, "odd", "r")
    )  # fmt: skip

    def test_have_all_versions_in_one_item_and_others_of_the_uid_in_theirs(self) -> None:
        found = to_items("message", self.ROWS, self.SAID, {"x": mask(0, 0, 0, 1, 0, 1), "y": mask(0, 1, 0, 0, 0, 0)})
        day = date(2026, 11, 28)
        assert shown(found.items) == [
            ("message", date(2026, 11, 29), "g:1", "a", None, None, at(NOON_MS + DAY_MS), at(NOON_MS + 2), "old", "p", 2, 15),
            ("message", date(2026, 11, 27), "g:1", "b", None, None, at(NOON_MS - DAY_MS), at(NOON_MS), "young", "q", 1, 30),
            ("message", day, "g:1", "c", None, None, at(NOON_MS), at(3), "odd", "r", 2, 15),
            ("message", day, "g:2", "a", None, None, at(NOON_MS + 1), None, "old", "p", 1, 20),
        ]  # fmt: skip
        named = [
            f"{chat} {uid}"
            for chat, uid in zip(*(found.items.column(n).to_pylist() for n in ("chat_id", "message_uid")), strict=True)
        ]
        assert {hold: {name for name, held in zip(named, covered.to_pylist(), strict=True) if held}
                for hold, covered in found.holds.items()} == {"x": {"g:1 a", "g:1 c"}, "y": {"g:2 a"}}  # fmt: skip
        assert {name for name, held in zip(named, found.held().to_pylist(), strict=True) if held} == {
            "g:1 a",
            "g:1 c",
            "g:2 a",
        }
        assert found.references.num_rows == 0
        assert found.references.schema.names == ["chat_id", "message_uid", "ordinal", "blob_digest", "bytes", "rows"]

    def test_stay_in_their_order_where_each_has_one_row(self) -> None:
        found = to_items("message", self.ROWS.slice(1, 2), self.SAID.filter(mask(0, 1, 1, 0, 0, 0)), {})
        assert found.items.column("message_uid").to_pylist() == ["a", "b"]
        assert (found.holds, found.held().to_pylist()) == ({}, [False, False])

    def test_are_later_by_their_number_or_by_what_they_complete(self) -> None:
        assert are_later(self.ROWS).to_pylist() == [False, False, False, True, True, False]
        bare = self.ROWS.set_column(4, "supersedes", pa.nulls(6, pa.string()))
        assert are_later(bare).to_pylist() == [False, False, False, True, False, False]

    def test_are_numbered_by_their_uids(self) -> None:
        assert numbered_by_uid(self.ROWS).column("version").to_pylist() == [2, 2, 1, 2, 2, 2]
        assert numbered_by_uid(self.ROWS).column_names == self.ROWS.column_names
        assert numbered_by_uid(self.ROWS.slice(1, 2)).equals(self.ROWS.slice(1, 2))


class TestFiles:
    def test_weigh_what_their_blobs_do_each_once_and_say_which_these_are(self) -> None:
        rows = [
            {"ordinal": 0, "blob_digest": "aa", "blob_bytes": 100, "sent_at": NOON_MS, "bytes": 1},
            {"ordinal": 0, "blob_digest": "aa", "blob_bytes": 100, "sent_at": NOON_MS + 1, "bytes": 1},
            {"ordinal": 0, "blob_digest": "bb", "blob_bytes": 30, "sent_at": NOON_MS, "bytes": 1},
            {"ordinal": 1, "blob_digest": "aa", "blob_bytes": None, "sent_at": NOON_MS, "bytes": 1},
            {"ordinal": 2, "blob_digest": None, "blob_bytes": None, "sent_at": NOON_MS, "bytes": 1},
        ]
        table = rows_of(FILES, FILE_COLUMNS, [{"chat_id": "g:1", "message_uid": "a", **row} for row in rows])
        found = to_items("file", table, verdict(*([(5, "old", "p")] * 5)), {"x": mask(0, 0, 1, 0, 0)})
        day = date(2026, 11, 28)
        assert shown(found.items) == [
            ("file", day, "g:1", "a", 0, None, at(NOON_MS + 1), at(5), "old", "p", 3, 130),
            ("file", day, "g:1", "a", 1, None, at(NOON_MS), at(5), "old", "p", 1, 0),
            ("file", day, "g:1", "a", 2, None, at(NOON_MS), at(5), "old", "p", 1, 0),
        ]
        held = dict(zip(found.items.column("ordinal").to_pylist(), found.holds["x"].to_pylist(), strict=True))
        assert held == {0: True, 1: False, 2: False}
        assert sorted(tuple(row.values()) for row in found.references.to_pylist()) == [
            ("g:1", "a", 0, "aa", 100, 2),
            ("g:1", "a", 0, "bb", 30, 1),
            ("g:1", "a", 1, "aa", 0, 1),
        ]
        assert found.references.schema.types == [
            pa.string(),
            pa.string(),
            pa.int32(),
            pa.string(),
            pa.int64(),
            pa.int64(),
        ]


def test_pushes_of_one_key_are_one_item() -> None:
    rows = pa.table(
        {
            "chat_id": pa.array([None, None, "g:1"]),
            "message_uid": ["s:1:00", "s:1:00", "s:2:00"],
            "sent_at": pa.array([NOON_MS, NOON_MS + 5, NOON_MS], pa.timestamp("ms", tz="UTC")),
            BYTES_COLUMN: pa.array([10, 20, 30], pa.int64()),
        }
    )
    found = to_items("event", rows, verdict((1, "a", "p"), (2, "a", "p"), (3, "b", "q")), {"x": mask(1, 0, 0)})
    day = date(2026, 11, 28)
    assert [tuple(row.values()) for row in found.items.to_pylist()] == [
        ("event", day, None, "s:1:00", None, None, at(NOON_MS + 5), at(2), "a", "p", 2, 30),
        ("event", day, "g:1", "s:2:00", None, None, at(NOON_MS), at(3), "b", "q", 1, 30),
    ]
    assert found.holds["x"].to_pylist() == [True, False]
    assert found.references.num_rows == 0


def test_what_goes_by_an_instant_goes_then_and_not_before_and_what_never_goes_does_not() -> None:
    said = verdict((9, "a", "p"), (10, "a", "p"), (11, "a", "p"), (None, "a", "p"))
    assert leaving_by(10, said).to_pylist() == [True, True, False, False]


def test_parts_are_joined_in_their_order_with_their_holds() -> None:
    parts = [to_items("message", TestMessages.ROWS.slice(place, 1), verdict((place, "a", "p")), {"x": mask(place), "y": mask(0)}) for place in (0, 1)]  # fmt: skip
    whole = joined(parts, holds={"x": 1, "y": 2})
    assert whole.items.column("chat_id").to_pylist() == ["g:1", "g:2"]
    assert {name: covered.to_pylist() for name, covered in whole.holds.items()} == {
        "x": [False, True],
        "y": [False, False],
    }
    assert whole.held().to_pylist() == [False, True]
    assert joined(parts, holds={}).holds == {}
    for none in (joined([], holds={"x": 1}), nothing({"x": 1})):
        assert isinstance(none, Leaving)
        assert (none.items, none.references.num_rows) == (ITEMS.empty_table(), 0)
        assert {name: covered.to_pylist() for name, covered in none.holds.items()} == {"x": []}
        assert none.held().to_pylist() == []


@pytest.mark.parametrize(
    ("columns", "table", "expected"),
    [
        (MESSAGE_COLUMNS, "messages", ["chat_id"]),
        (FILE_COLUMNS, "files", ["chat_id"]),
        (("sender_id", "text", "mentions", "chat_kind"), "messages", ["sender_id", "chat_kind"]),
        (("mime", "url"), "files", ["mime"]),
    ],
)
def test_texts_with_few_values_are_read_as_dictionaries(
    columns: tuple[str, ...], table: str, expected: list[str]
) -> None:
    assert dictionaries_of(columns, table=table) == expected
