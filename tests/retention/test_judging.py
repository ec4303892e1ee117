"""What the judge of a plan says of messages and their files: when each leaves, by which rule, and which holds keep it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from archiver.clock import DAY_MS
from archiver.retention.context import Context
from archiver.retention.coverage import Coverage
from archiver.retention.evaluate import Evaluator
from archiver.retention.judging import (
    ERASED_ON_REQUEST,
    ERASURE,
    ERASURE_PRINCIPLES,
    SENDER_COLUMNS,
    STILL_RETAINED,
    Count,
    Judge,
    Tally,
    due_of,
    sent_by,
)
from archiver.retention.leaving import BYTES_COLUMN, FILE_COLUMNS, MESSAGE_COLUMNS, REFERENCES, Leaving
from archiver.retention.plan_document import ITEMS
from tests.retention.hold_steps import knowing, placed
from tests.retention.plans import file_item, message_item
from tests.retention.policies import SENT_MS, file, files, message, messages, policy

SALES = "g:sales"
# The day that ends a year after the message of `policies.message` was sent, and the one three years after.
ONE_YEAR_MS, THREE_YEARS_MS = 1_584_316_800_000 + 365 * DAY_MS, 1_584_316_800_000 + 1095 * DAY_MS
AS_OF_MS = ONE_YEAR_MS


def judge(*rules: dict[str, Any], holds: dict[str, Any] | None = None, **further: Any) -> Judge:
    """A judge, as of the day on which what was kept for a year is due."""
    coverage = Coverage({name: placed(**scope) for name, scope in (holds or {}).items()}, knowing())
    asked = {"as_of_ms": AS_OF_MS, "horizon_ms": AS_OF_MS, **further}
    return Judge(Evaluator(policy(*rules), Context()), coverage, **asked)


def weighed(rows: pa.Table) -> pa.Table:
    """Rows as they are read for a plan: each with the bytes that it is taken to weigh."""
    return rows.append_column(BYTES_COLUMN, pa.array([10] * rows.num_rows, pa.int64()))


def judged(by: Judge, of: list[dict[str, Any]], attached: list[dict[str, Any]] | None = None) -> Leaving:
    """What leaves, where nothing but what the judge asks for is there to be read."""
    whole = weighed(messages(of))
    narrow = whole.select([*by.message_columns, BYTES_COLUMN])
    wide = whole.select([*by.message_columns, *by.further_message_columns, BYTES_COLUMN])
    read = weighed(files(attached or [])).select([*by.file_columns, BYTES_COLUMN])
    return by.judge(narrow, read, complete=lambda rows: wide if rows is narrow else pytest.fail("of other rows"))


def told(found: Leaving) -> set[tuple[Any, ...]]:
    """Each item that leaves: kind, chat, uid, number among the files, when, rule, principle and rows."""
    names = ("kind", "chat_id", "message_uid", "ordinal", "rule", "principle", "rows")
    due = found.items.column("due_at").cast(pa.int64()).to_pylist()
    rows = zip(*(found.items.column(name).to_pylist() for name in names), due, strict=True)
    return set(rows)


DELETED = ("rule 1", "only-deletion")
ASKED = (ERASURE, ERASED_ON_REQUEST)


class TestByThePolicy:
    def test_what_leaves_until_the_horizon_is_found(self) -> None:
        rule = {"delete": "1y", "match": {"sender": "u:ann"}}
        rows = [message(), message("m-2", sender_id="u:bob"), message("m-3", sent_at=SENT_MS + DAY_MS)]
        found = judged(judge(rule), rows, [file(), file("m-2"), file("m-1", 1)])
        assert told(found) == {
            ("message", "g:general", "m-1", None, *DELETED, 1, ONE_YEAR_MS),
            ("file", "g:general", "m-1", 0, *DELETED, 1, ONE_YEAR_MS),
            ("file", "g:general", "m-1", 1, *DELETED, 1, ONE_YEAR_MS),
        }
        later = judged(judge(rule, horizon_ms=AS_OF_MS + DAY_MS), rows)
        assert told(later) == {
            ("message", "g:general", "m-1", None, *DELETED, 1, ONE_YEAR_MS),
            ("message", "g:general", "m-3", None, *DELETED, 1, ONE_YEAR_MS + DAY_MS),
        }

    def test_where_nothing_leaves_nothing_more_is_read(self) -> None:
        asked = judge({"delete": "2y"}, holds={"h": {"custodians": ("u:bob",)}})
        narrow, none = weighed(messages([message()])), weighed(files([file()]))
        found = asked.judge(narrow, none, complete=lambda _: pytest.fail("nothing leaves"))
        assert (found.items, found.holds["h"].to_pylist()) == (ITEMS.empty_table(), [])

    @pytest.mark.parametrize("kind", ["message", "file"])
    def test_a_rule_about_one_kind_lets_go_of_that_kind_alone(self, kind: str) -> None:
        found = judged(judge({"delete": "1y", "on": f"{kind}s"}), [message()], [file()])
        ordinal = 0 if kind == "file" else None
        assert told(found) == {(kind, "g:general", "m-1", ordinal, *DELETED, 1, ONE_YEAR_MS)}

    def test_a_message_is_judged_with_its_files_and_they_with_it(self) -> None:
        rule = {"delete": "1y", "match": {"mime": "image/*", "sender": "u:ann"}}
        rows = [message(), message("m-2"), message("m-3", sender_id="u:bob")]
        attached = [file(mime="image/png"), file("m-2", mime="text/plain"), file("m-3", mime="image/png")]
        assert {item[:4] for item in told(judged(judge(rule), rows, attached))} == {
            ("message", "g:general", "m-1", None), ("file", "g:general", "m-1", 0),
        }  # fmt: skip

    def test_rows_of_one_version_that_complete_each_other_are_one_message(self) -> None:
        """The later one has the first one's number in the archive; here it alone says what the rule asks for."""
        rule = {"delete": "1y", "match": {"app": "poll"}, "on": "messages"}
        first, completed = message(raw_digest="aa"), message(app_id="poll", supersedes="aa")
        for rows in ([first, completed], [completed, first], [message("m-0", version=2), first, completed]):
            found = {item for item in told(judged(judge(rule), rows)) if item[2] == "m-1"}
            assert found == {("message", "g:general", "m-1", None, *DELETED, 2, ONE_YEAR_MS)}

    def test_versions_are_one_message_whose_clock_is_the_latest(self) -> None:
        rows = [message(), message(version=2, sent_at=SENT_MS + DAY_MS), message(chat_id=SALES)]
        found = judged(judge({"delete": "1y"}, horizon_ms=AS_OF_MS + DAY_MS), rows)
        assert told(found) == {
            ("message", "g:general", "m-1", None, *DELETED, 2, ONE_YEAR_MS + DAY_MS),
            ("message", SALES, "m-1", None, *DELETED, 1, ONE_YEAR_MS),
        }


class TestHolds:
    def test_each_item_is_told_with_the_holds_that_cover_it(self) -> None:
        holds = {"ann": {"custodians": ("u:ann",)}, "sales": {"chats": (SALES,)}}
        rows = [message(), message("m-2", sender_id="u:bob"), message("m-3", chat_id=SALES, sender_id="u:bob")]
        found = judged(judge({"delete": "1y"}, holds=holds), rows, [file(), file("m-2"), file("m-3", chat_id=SALES)])
        uids = found.items.column("message_uid").to_pylist()
        covered = {
            name: [uid for uid, held in zip(uids, mask.to_pylist(), strict=True) if held]
            for name, mask in found.holds.items()
        }
        assert covered == {"ann": ["m-1", "m-1"], "sales": ["m-3", "m-3"]}

    def test_a_hold_that_searches_for_files_sees_those_of_what_would_leave(self) -> None:
        asked = judge({"delete": "1y"}, holds={"h": {"expression": "mime:image/*"}})
        assert {"mime", "mime_received"} <= set(asked.file_columns)
        texts = [file(uid, 1, mime="text/plain") for uid in ("m-1", "m-2")]
        for by in (asked, judge({"delete": "1y", "on": "files"}, holds={"h": {"expression": "mime:image/*"}})):
            found = judged(by, [message(), message("m-2")], [file(mime="image/png"), *texts])
            uids = found.items.column("message_uid").to_pylist()
            assert found.holds["h"].to_pylist() == [uid == "m-1" for uid in uids]
            assert uids.count("m-1") == uids.count("m-2") + 1

    def test_what_only_holds_ask_for_is_read_where_something_leaves(self) -> None:
        """Without a hold nothing but what the policy asks for; with one, of messages, only when they would leave."""
        assert judge({"delete": "1y"}).message_columns == MESSAGE_COLUMNS
        assert judge({"delete": "1y"}).file_columns == FILE_COLUMNS
        assert judge({"delete": "1y"}).further_message_columns == ()
        by_sender = judge({"delete": "1y", "match": {"sender": "u:ann"}}, holds={"h": {"custodians": ("u:ann",)}})
        assert by_sender.message_columns == (*MESSAGE_COLUMNS, "sender_id")
        assert by_sender.further_message_columns == ("on_behalf_of", "visible_to")

    @pytest.mark.parametrize(("holds", "rule"), [({}, {}), ({"h": {"chats": (SALES,)}}, {})])
    def test_rows_are_not_completed_where_no_hold_asks_for_more(
        self, holds: dict[str, Any], rule: dict[str, Any]
    ) -> None:
        asked = judge({"delete": "1y", **rule}, holds=holds)
        read = weighed(files([])).select([*asked.file_columns, BYTES_COLUMN])
        found = asked.judge(weighed(messages([message()])), read, complete=lambda _: pytest.fail("nothing is asked"))
        assert found.items.num_rows == 1
        assert set(found.holds) == set(holds)


class TestErasure:
    """Of one person everything goes, or when the last period ends that retains it."""

    ANN = frozenset({"u:ann"})
    ROWS = (
        message(),
        message("m-1", chat_id=SALES, sender_id="u:bob"),
        message("m-2", sender_id="b:1", on_behalf_of="u:ann"),
        message("m-3", sender_id="u:bob", on_behalf_of="u:cat"),
    )
    FILES = (file(), file("m-1", chat_id=SALES), file("m-2"), file("m-2", 1), file("m-3"), file("m-9"))
    THEIRS = (("m-1", None), ("m-2", None), ("m-1", 0), ("m-2", 0), ("m-2", 1))

    def test_what_they_sent_or_had_sent_goes_at_once_and_nothing_else(self) -> None:
        for rule in (
            {"delete": "9y"},
            {"retain": "1y"},
            {"retain": "1d"},
            {"delete": "1d", "match": {"sender": "u:bob"}},
        ):
            found = judged(judge(rule, senders=self.ANN), list(self.ROWS), list(self.FILES))
            assert told(found) == {
                ("message" if ordinal is None else "file", "g:general", uid, ordinal, *ASKED, 1, AS_OF_MS)
                for uid, ordinal in self.THEIRS
            }

    def test_what_a_period_retains_goes_when_that_ends(self) -> None:
        rule = {"retain": "3y", "match": {"sender": "u:ann"}}
        assert (
            told(judged(judge(rule, senders=self.ANN, horizon_ms=THREE_YEARS_MS - 1), [message()], [file()])) == set()
        )
        found = judged(judge(rule, senders=self.ANN, horizon_ms=THREE_YEARS_MS), list(self.ROWS), list(self.FILES))
        retained, asked = ("rule 1", STILL_RETAINED, 1, THREE_YEARS_MS), (*ASKED, 1, AS_OF_MS)
        assert told(found) == {
            (
                "message" if ordinal is None else "file",
                "g:general",
                uid,
                ordinal,
                *(retained if uid == "m-1" else asked),
            )
            for uid, ordinal in self.THEIRS
        }

    def test_a_rule_that_asks_the_files_retains_the_message(self) -> None:
        rule = {"retain": "3y", "match": {"mime": "image/*"}}
        asked = judge(rule, senders=self.ANN, horizon_ms=THREE_YEARS_MS)
        found = judged(asked, [message(), message("m-2")], [file(mime="image/png"), file("m-2")])
        assert {(kind, uid, rule) for kind, _, uid, _, rule, *_ in told(found)} == {
            ("message", "m-1", "rule 1"), ("file", "m-1", "rule 1"), ("message", "m-2", ERASURE), ("file", "m-2", ERASURE),
        }  # fmt: skip

    def test_a_message_goes_whole_where_one_version_alone_says_whose_it_is(self) -> None:
        versions = [message(sender_id="b:1"), message(version=2, sender_id="b:1", on_behalf_of="u:ann")]
        found = judged(judge({"delete": "9y"}, senders=self.ANN), [*versions, message("m-2", sender_id="b:1")])
        assert told(found) == {("message", "g:general", "m-1", None, *ASKED, 2, AS_OF_MS)}

    def test_of_others_nothing_goes_whatever_the_policy_says(self) -> None:
        others, attached = [message(sender_id="u:bob"), message("m-2", sender_id="u:cat")], [file(), file("m-2")]
        for nobody in (self.ANN, frozenset[str]()):
            assert told(judged(judge({"delete": "1d"}, senders=nobody), others, attached)) == set()
            assert told(judged(judge({"delete": "1d"}, senders=nobody), others)) == set()
            assert told(judged(judge({"delete": "1d"}, senders=nobody), [], attached)) == set()

    def test_who_sent_it_is_read_whatever_the_policy_asks(self) -> None:
        asked = judge({"delete": "9y"}, senders=self.ANN)
        assert asked.message_columns == (*MESSAGE_COLUMNS, *SENDER_COLUMNS)
        assert asked.file_columns == FILE_COLUMNS
        assert set(ERASURE_PRINCIPLES) == {ERASED_ON_REQUEST, STILL_RETAINED}

    def test_columns_may_be_read_as_dictionaries(self) -> None:
        rows = messages(self.ROWS)
        for name in SENDER_COLUMNS:
            rows = rows.set_column(rows.column_names.index(name), name, rows.column(name).dictionary_encode())
        assert sent_by(rows, pa.array(["u:ann"])).to_pylist() == [True, False, True, False]


def leaving(*items: dict[str, Any], **holds: list[bool]) -> Leaving:
    return Leaving(
        pa.Table.from_pylist(list(items), schema=ITEMS),
        {name: pa.array(mask) for name, mask in holds.items()},
        REFERENCES.empty_table(),
    )


class TestTally:
    FOUND = leaving(
        message_item("m-1", due_at=AS_OF_MS, bytes=3),
        message_item("m-2", due_at=AS_OF_MS, bytes=4),
        message_item("m-3", due_at=AS_OF_MS + 1, bytes=5),
        message_item("m-4", due_at=AS_OF_MS + 1, bytes=6),
        message_item("m-5", due_at=AS_OF_MS + 1, bytes=7, rule=None),
        file_item("m-5", 0, due_at=AS_OF_MS + 1, bytes=8),
        message_item("m-6", due_at=AS_OF_MS + 1, bytes=9),
        message_item("m-7", due_at=AS_OF_MS, bytes=100),
        a=[True, True, False, False, False, False, True, False],
        b=[False, True, False, False, False, False, False, False],
    )
    ONCE = Tally(
        held={"a": Count(2, 7), "b": Count(1, 4)},
        held_in_all=Count(2, 7),
        later={
            (AS_OF_MS + 1, "old-chat", "message"): Count(2, 11),
            (AS_OF_MS + 1, "", "message"): Count(1, 7),
            (AS_OF_MS + 1, "old-chat", "file"): Count(1, 8),
        },
    )

    def test_what_is_held_though_due_and_what_is_due_later_is_counted(self) -> None:
        tally = Tally()
        tally.count(self.FOUND, as_of_ms=AS_OF_MS)
        assert tally == self.ONCE

    def test_counts_add_up_and_are_taken_back(self) -> None:
        tally = Tally()
        for sign in (1, 1, -1):
            tally.count(self.FOUND, as_of_ms=AS_OF_MS, sign=sign)
        assert tally == self.ONCE
        tally.add(self.ONCE)
        twice = Tally()
        for _ in range(2):
            twice.count(self.FOUND, as_of_ms=AS_OF_MS)
        assert tally == twice
        empty = Tally()
        empty.add(self.ONCE)
        assert empty == self.ONCE

    def test_a_hold_that_kept_nothing_is_counted_with_nothing(self) -> None:
        tally = Tally()
        tally.count(leaving(message_item("m-1", due_at=AS_OF_MS), a=[False]), as_of_ms=AS_OF_MS)
        assert tally == Tally(held={"a": Count()})


def test_what_is_due_and_held_by_nothing_is_what_a_plan_lists() -> None:
    references = [("m-1", 0), ("m-2", 0), ("m-3", 1), ("m-3", 0)]
    found = Leaving(
        TestTally.FOUND.items.slice(0, 0),
        {},
        pa.Table.from_pylist(
            [
                {"chat_id": "g:1", "message_uid": uid, "ordinal": ordinal, "blob_digest": "aa", "bytes": 1, "rows": 1}
                for uid, ordinal in references
            ],
            schema=REFERENCES,
        ),
    )
    items = pa.Table.from_pylist(
        [
            file_item("m-1", 0, due_at=AS_OF_MS),
            file_item("m-2", 0, due_at=AS_OF_MS + 1),
            file_item("m-3", 1, due_at=AS_OF_MS - 1),
            file_item("m-3", 0, due_at=AS_OF_MS),
            message_item("m-2", due_at=AS_OF_MS),
        ],
        schema=ITEMS,
    )
    held = {"h": pa.array([False, False, False, True, False]), "g": pa.array([False] * 5)}
    due = due_of(Leaving(items, held, found.references), as_of_ms=AS_OF_MS)
    assert due.items == items.take([0, 2, 4])
    assert due.holds == {}
    assert due.references.column("message_uid").to_pylist() == ["m-1", "m-3"]
    assert due.references.column("ordinal").to_pylist() == [0, 1]
