"""Holds by a search expression: what may be asked, what it covers, and that it is never less than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import PlacedHold
from archiver.errors import UsageError
from archiver.expression import Directory, Known
from archiver.retention.coverage import Coverage
from archiver.retention.holds import Placement, checked
from archiver.scope.membership import Membership
from tests.retention.hold_steps import Row, file, files, knowing, message, messages, placed

DAY_MS = 86_400_000


def coverage(membership: Membership | None = None, **scope: object) -> Coverage:
    return Coverage({"h": placed(**{"zone": "UTC", **scope})}, knowing() if membership is None else membership)


def covered(rows: list[Row], membership: Membership | None = None, **scope: object) -> list[str]:
    asked = coverage(membership, **scope)
    table = messages(rows).select(asked.message_columns)
    return [
        row["message_uid"] for row, held in zip(rows, asked.of_messages(table)["h"].to_pylist(), strict=True) if held
    ]


def said(uid: str, text: str, at_ms: int = 5, **further: object) -> Row:
    return message(uid, at_ms, text=text, plain_text=text, **further)


class TestPlacing:
    def asked(self, expression: str, zone: str = "UTC") -> HoldScope:
        return checked(Placement("h", HoldScope(expression=expression, zone=zone), "a lawsuit")).scope

    def test_what_was_said_is_kept_with_the_zone_of_its_days(self) -> None:
        scope = self.asked(" merger after:2026-01 ", "Europe/Berlin")
        assert (scope.expression, scope.zone) == ("merger after:2026-01", "Europe/Berlin")

    def test_a_zone_without_an_expression_is_no_part_of_a_scope(self) -> None:
        scope = HoldScope(custodians=("u:ann",), zone="Europe/Berlin")
        assert checked(Placement("h", scope, "a lawsuit")).scope.zone is None

    @pytest.mark.parametrize("expression", ["", "((", "merger AND", '"open', "from:", "nonsense:x"])
    def test_what_cannot_be_read_is_refused_with_its_place(self, expression: str) -> None:
        with pytest.raises(UsageError, match="search expression, character"):
            self.asked(expression)

    @pytest.mark.parametrize(
        ("expression", "asked"),
        [("merger is:missing", "is:missing"), ("label:contract", "label:"), ("NOT is:edited", "is:edited")],
    )
    def test_what_no_row_tells_by_itself_and_for_good_cannot_be_held_by(self, expression: str, asked: str) -> None:
        with pytest.raises(UsageError) as caught:
            self.asked(expression)
        assert (caught.value.what, caught.value.next_step) == (
            f"a hold cannot ask for {asked}, for no row of a message tells that by itself and for good",
            "hold by what was said, by whom, where and when",
        )

    def test_a_zone_that_nobody_knows_is_a_mistake(self) -> None:
        with pytest.raises(UsageError) as caught:
            self.asked("merger", "Mars")
        assert (caught.value.what, caught.value.next_step) == (
            "there is no time zone 'Mars'",
            "name one of the IANA database, such as Europe/Berlin or UTC",
        )


class TestCovering:
    def test_what_is_found_is_covered(self) -> None:
        rows = [said("1", "the Merger, at last"), said("2", "lunch"), said("3", "MERGER")]
        assert covered(rows, expression="merger") == ["1", "3"]

    def test_with_other_parts_both_are_met(self) -> None:
        rows = [
            said("1", "merger", sender_id="u:ann"),
            said("2", "merger", sender_id="u:bob"),
            said("3", "no", sender_id="u:ann"),
        ]
        assert covered(rows, expression="merger", custodians=("u:ann",)) == ["1"]

    def test_days_are_those_of_the_zone_that_was_named(self) -> None:
        rows = [said("1", "x", DAY_MS - 1), said("2", "x", DAY_MS)]
        assert covered(rows, expression="on:1970-01-02") == ["2"]
        assert covered(rows, expression="on:1970-01-02", zone="Asia/Tokyo") == ["1", "2"]

    def test_a_person_is_meant_by_any_name_that_they_ever_had(self) -> None:
        known = Membership(directory=Directory(people={"u:ann": Known(names=("Ann Ray", "Ann Smith"))}))
        assert covered([said("1", "x", sender_id="u:ann")], known, expression='from:"Ann Smith"') == ["1"]

    def test_each_row_tells_by_itself_so_that_one_object_can_be_looked_at_alone(self) -> None:
        rows = [said("1", "merger"), said("1", "sold", version=2), said("2", "merger")]
        whole = coverage(expression="merger NOT sold").of_messages(messages(rows))["h"].to_pylist()
        alone = [coverage(expression="merger NOT sold").of_messages(messages([row]))["h"].to_pylist() for row in rows]
        assert whole == [True, False, True]
        assert alone == [[held] for held in whole]

    def test_a_search_for_files_needs_the_rows_of_files(self) -> None:
        asked = coverage(expression="mime:image/*")
        assert asked.needs_files
        assert {"mime", "mime_received"} <= set(asked.file_columns)
        rows = messages([said("1", "x"), said("2", "x")])
        with_mime = files([{**file("1", 5), "mime": "image/png"}, {**file("2", 5), "mime": "text/plain"}])
        assert asked.of_messages(rows, with_mime)["h"].to_pylist() == [True, False]

    def test_a_file_is_held_with_its_message_for_the_sake_of_another_file(self) -> None:
        asked = coverage(expression="mime:image/*")
        rows = messages([said("1", "x"), said("2", "x")])
        text, text_of_other = {**file("1", 5, ordinal=1), "mime": "text/plain"}, {**file("2", 5), "mime": "text/plain"}
        every = files([{**file("1", 5), "mime": "image/png"}, text, text_of_other])
        some = files([text, text_of_other])
        assert asked.of_files(some, rows, files=every)["h"].to_pylist() == [True, False]
        assert asked.of_files(some, rows)["h"].to_pylist() == [True, True], "what was not brought is taken for true"

    def test_what_is_left_out_and_may_become_true_later_is_told(self) -> None:
        for expression in ("merger NOT in:lunch", "NOT from:ann", "NOT (merger has:file)"):
            assert [doubt.code for doubt in coverage(expression=expression).doubts] == ["may-shrink"]
        for expression in ("merger NOT draft", "in:lunch", "NOT NOT from:ann", "NOT before:2026", "NOT type:app"):
            assert coverage(expression=expression).doubts == ()


WORDS = st.lists(st.sampled_from(["merger", "price", "lunch", "draft"]), max_size=3).map(" ".join)


@given(
    texts=st.lists(WORDS, max_size=6),
    expression=st.sampled_from(
        ["merger", "merger price", "merger OR lunch", "price NOT draft", "from:ann", "NOT price"]
    ),
    senders=st.lists(st.sampled_from(["u:ann", "u:bob"]), min_size=6, max_size=6),
    custodian=st.sampled_from(["u:ann", "u:bob"]),
)
def test_an_expression_narrows_a_hold_by_just_what_it_does_not_find(
    texts: list[str], expression: str, senders: list[str], custodian: str
) -> None:
    rows = [
        said(str(number), text, sender_id=sender)
        for number, (text, sender) in enumerate(zip(texts, senders, strict=False))
    ]
    table = messages(rows)
    found = coverage(expression=expression).of_messages(table)["h"].to_pylist()
    theirs = coverage(custodians=(custodian,)).of_messages(table)["h"].to_pylist()
    both = coverage(expression=expression, custodians=(custodian,)).of_messages(table)["h"].to_pylist()
    assert both == [one and other for one, other in zip(found, theirs, strict=True)]


def test_an_expression_of_another_time_that_cannot_be_read_covers_more_and_is_told() -> None:
    scope = HoldScope(chats=("g:general",), expression="shouted:yes", zone="UTC")
    hold = PlacedHold(scope=scope, reason="", actor="", placed_at="", sequence=1)
    asked = Coverage({"h": hold}, knowing(chats=frozenset({"g:general"})))
    rows = messages([said("1", "x"), said("2", "x", chat_id="g:other")])
    assert asked.of_messages(rows)["h"].to_pylist() == [True, False]
    assert [doubt.code for doubt in asked.doubts] == ["unread-expression"]
