"""The questions of rules are put to rows: each only as often as it must be, and none of those on which a verdict hangs left out."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from archiver.retention.answers import Answers, LocalDays, local_days
from archiver.retention.conditions import Clause, Clauses, Leaf, RegexLeaf, ValueLeaf, Vocabulary
from archiver.retention.periods import Calendar
from tests.retention.policies import message, messages

UTC = Calendar("UTC")
MERGER, PRICE = RegexLeaf("plain_text", "merger"), RegexLeaf("plain_text", "price")
FROM_ANN = ValueLeaf("sender_id", lambda user: user == "u:ann")
IN_SALES = ValueLeaf("chat_id", lambda chat: chat == "g:sales")
BOTH = "a merger at a price"


def vocabulary(*leaves: Leaf) -> tuple[Vocabulary, list[int]]:
    """A vocabulary of these questions, and the bit of each."""
    asked = Vocabulary()
    return asked, [asked.bit(place, leaf) for place, leaf in enumerate(leaves)]


def rule(*wanted: int, unwanted: tuple[int, ...] = ()) -> Clauses:
    return Clauses(tuple(Clause("", bits) for bits in wanted), tuple(Clause("", bits) for bits in unwanted))


def answered(answers: Answers, rows: pa.Table, **further: Any) -> list[int]:
    """What each row answers."""
    found = answers.of(rows, **further)
    return [found.answers[code] for code in found.codes.to_pylist()]


class TestValues:
    """A question to values is put once to each, however many rows have it, and in however many calls."""

    def test_a_value_is_asked_once(self) -> None:
        asked: list[str | None] = []

        def is_ann(user: str | None) -> bool:
            asked.append(user)
            return user == "u:ann"

        questions, (bit,) = vocabulary(ValueLeaf("sender_id", is_ann))
        answers = Answers(questions, UTC)
        for senders in (["u:ann", "u:bob", "u:ann"], ["u:cat", "u:ann", None], ["u:bob", None, "u:ann"]):
            rows = messages([message(sender_id=sender) for sender in senders])
            assert answered(answers, rows) == [bit if sender == "u:ann" else 0 for sender in senders]
        assert asked == ["u:ann", "u:bob", "u:cat", None]


class TestTexts:
    """Texts cost the most, so only those are asked on which it still hangs whether a rule matches."""

    def test_a_text_is_asked_only_where_the_rest_of_its_rule_holds(self) -> None:
        # The first bit of all is a text's: what is not needed may not be asked for it by accident.
        questions, (price, merger, ann, sales) = vocabulary(PRICE, MERGER, FROM_ANN, IN_SALES)
        rules = [rule(sales, price), rule(ann, merger)]
        rows = messages(
            [
                message("m-1", plain_text=BOTH, chat_id="g:sales"),
                message("m-2", plain_text=BOTH),
                message("m-3", plain_text=BOTH, sender_id="u:bob"),
                message("m-4", plain_text="nothing", chat_id="g:sales"),
                message("m-5", plain_text=None),
            ]
        )
        answers = Answers(questions, UTC, rules)
        assert answered(answers, rows) == [ann | sales | merger | price, ann | merger, 0, ann | sales, ann]
        everything = answered(answers, rows, needs_all=True)
        assert everything == [ann | sales | merger | price, ann | merger | price, merger | price, ann | sales, ann]

    def test_a_text_that_no_row_needs_keeps_no_other_from_being_asked(self) -> None:
        questions, (price, merger, ann, sales) = vocabulary(PRICE, MERGER, FROM_ANN, IN_SALES)
        answers = Answers(questions, UTC, [rule(sales, price), rule(ann, merger)])
        assert answered(answers, messages([message(plain_text=BOTH)])) == [ann | merger]

    def test_a_text_is_not_asked_where_its_rule_excludes_the_row_anyhow(self) -> None:
        questions, (price, merger, ann, sales) = vocabulary(PRICE, MERGER, FROM_ANN, IN_SALES)
        answers = Answers(questions, UTC, [rule(merger, unwanted=(sales,)), rule(ann, price)])
        rows = messages([message(plain_text=BOTH, chat_id="g:sales"), message(plain_text=BOTH, sender_id="u:bob")])
        assert answered(answers, rows) == [ann | sales | price, merger]

    def test_a_text_that_excludes_is_asked_where_the_row_would_match(self) -> None:
        questions, (price, ann) = vocabulary(PRICE, FROM_ANN)
        answers = Answers(questions, UTC, [rule(ann, unwanted=(price,))])
        rows = messages([message(plain_text=BOTH), message(plain_text=BOTH, sender_id="u:bob")])
        assert answered(answers, rows) == [ann | price, 0]

    def test_no_rows_answer_nothing(self) -> None:
        questions, (_, ann) = vocabulary(PRICE, FROM_ANN)
        answers = Answers(questions, UTC, [rule(ann)])
        assert answered(answers, messages([])) == []


@pytest.mark.parametrize("zone", ["UTC", "America/Sao_Paulo"])
def test_no_instants_are_one_day_of_the_calendar(zone: str) -> None:
    assert local_days(pa.array([], pa.int64()), Calendar(zone)) == LocalDays(None, 1, 1)
