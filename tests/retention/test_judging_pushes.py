"""What the rules say of a push of which only the reception is known and sometimes the chat, key by key and date by date."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from archiver.clock import DAY_MS, to_ms
from archiver.retention.context import Context
from archiver.retention.coverage import Coverage
from archiver.retention.decide import PRINCIPLES, Decision
from archiver.retention.evaluate import Explanation, RuleExplained
from archiver.retention.judging_pushes import PushRules, find_pushes, latest
from archiver.retention.periods import OPEN_END_MS
from archiver.retention.plan_document import ITEMS
from archiver.scope.membership import Membership
from tests.retention.lived import lived
from tests.retention.policies import policy

RECEIVED_MS = to_ms(datetime(2020, 3, 15, 12, tzinfo=UTC))
GENERAL, SALES, DIRECT = "g:general", "g:sales", "u:ann,u:bob"
CONTEXT = Context(last_activity_ms={GENERAL: RECEIVED_MS + 10 * DAY_MS, SALES: RECEIVED_MS - 10 * DAY_MS})


def rules(*written: dict[str, Any], **further: Any) -> PushRules:
    return PushRules(policy(*written, **further), CONTEXT)


def end_of(years: int, *, days: int = 0) -> int:
    return to_ms(datetime(2020 + years, 3, 16, tzinfo=UTC)) + days * DAY_MS


@pytest.mark.parametrize(
    ("rule", "chat", "holds", "fails"),
    [
        ({}, None, (), ()),
        ({"match": {"channel": GENERAL}}, GENERAL, ("channel",), ()),
        ({"match": {"channel": GENERAL}}, SALES, (), ("channel",)),
        ({"match": {"channel": GENERAL}}, None, (), ("channel (cannot be told)",)),
        ({"match": {"kind": "direct"}}, DIRECT, ("kind",), ()),
        ({"match": {"kind": "direct"}}, GENERAL, (), ("kind",)),
        ({"not": {"channel": GENERAL}}, GENERAL, (), ("not.channel",)),
        ({"not": {"channel": GENERAL}}, SALES, ("not.channel",), ()),
        ({"not": {"channel": GENERAL}}, None, (), ("not.channel (cannot be told)",)),
        ({"match": {"sender": "u:ann"}}, GENERAL, (), ("sender (cannot be told)",)),
        ({"match": {"custodian": "u:ann"}}, DIRECT, ("custodian",), ()),
        ({"match": {"custodian": "u:cat"}}, DIRECT, (), ("custodian (cannot be told)",)),
        ({"match": {"channel": SALES, "sender": "u:ann"}}, GENERAL, (), ("channel", "sender (cannot be told)")),
        ({"match": {"mime": "image/*"}, "not": {"size": {"min": 5}}}, GENERAL, (), ("mime (cannot be told)", "not.size (cannot be told)")),
        ({"match": {"has_file": True}}, GENERAL, (), ("has_file (cannot be told)",)),
        ({"not": {"has_file": True}}, GENERAL, (), ("has_file (cannot be told)",)),
        ({"on": "files"}, GENERAL, (), ("on",)),
        ({"match": {"sent": {"before": date(2020, 3, 17)}}}, None, ("sent",), ()),
        ({"match": {"sent": {"before": date(2020, 3, 16)}}}, None, (), ("sent (cannot be told)",)),
        ({"match": {"sent": {"after": date(2020, 3, 16)}}}, None, (), ("sent (cannot be told)",)),
        ({"match": {"sent": {"after": date(2020, 3, 17)}}}, None, (), ("sent",)),
        ({"match": {"sent": {"after": date(2020, 3, 1), "before": date(2020, 4, 1)}}}, None, (), ("sent (cannot be told)",)),
        ({"match": {"words": "secret"}}, GENERAL, (), ("words (cannot be told)",)),
        ({"match": {"label": "deal"}}, SALES, ("label",), ()),
        ({"match": {"label": "deal"}}, GENERAL, (), ("label (cannot be told)",)),
    ],
)  # fmt: skip
def test_a_rule_matches_or_does_not_or_nobody_can_tell(
    rule: dict[str, Any], chat: str | None, holds: tuple[str, ...], fails: tuple[str, ...]
) -> None:
    labels = {"deal": {"messages": ["m-1"], "chats": [SALES]}} if "label" in rule.get("match", {}) else {}
    (said,) = rules({"delete": "1y", **rule}, labels=labels).explain(chat, RECEIVED_MS).rules
    assert (said.holds, said.fails, said.is_matching) == (holds, fails, not fails)


def test_an_explanation_has_every_rule_with_its_dates_and_what_decided() -> None:
    asked = rules(
        {"name": "default", "delete": "1y"},
        {"name": "ended", "match": {"channel": GENERAL}, "from": "last_activity", "retain": "1y", "delete": "2y"},
        {"name": "left", "match": {"channel": SALES}, "from": "departure", "delete": "1y"},
    )
    assert asked.explain(GENERAL, RECEIVED_MS) == Explanation(
        rules=(
            RuleExplained("default", "all", True, (), (), "sent", date(2020, 3, 15), None, end_of(1)),
            RuleExplained(
                "ended", "scoped", True, ("channel",), (), "last_activity", date(2020, 3, 25), end_of(1, days=10), end_of(2, days=10),
            ),
            RuleExplained("left", "scoped", False, (), ("channel",), "departure", None, None, OPEN_END_MS),
        ),
        retain_until_ms=end_of(1, days=10),
        delete_at_ms=end_of(2, days=10),
        rule="ended",
        principle="explicit-wins",
        sentence=PRINCIPLES["explicit-wins"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chat", "delete_at_ms"), [(GENERAL, end_of(1, days=10)), (SALES, end_of(1)), ("g:unknown", None), (None, None)]
)
def test_a_period_begins_with_what_is_known_of_the_chat(chat: str | None, delete_at_ms: int | None) -> None:
    assert rules({"from": "last_activity", "delete": "1y"}).decide(chat, RECEIVED_MS).delete_at_ms == delete_at_ms


def test_of_a_sender_who_is_not_known_no_departure_is() -> None:
    left = PushRules(
        policy({"from": "departure", "delete": "1y"}), Context(left_at_ms={"": 0}, last_activity_ms={GENERAL: 0})
    )
    assert left.decide(GENERAL, RECEIVED_MS) == Decision(None, None, "rule 1", "not-begun")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        # What may match can only keep longer, whether it retains or deletes later.
        ([{"delete": "1y"}, {"match": {"sender": "u:ann"}, "retain": "3y"}], (3, "rule 2")),
        ([{"delete": "3y"}, {"match": {"sender": "u:ann"}, "delete": "1y"}], (3, "rule 1")),
        ([{"delete": "1y"}, {"match": {"sender": "u:ann"}, "delete": "3y"}], (3, "rule 2")),
        ([{"match": {"sender": "u:ann"}, "delete": "1y"}], (None, None)),
        ([{"delete": "1y"}, {"match": {"channel": SALES}, "retain": "9y"}], (1, "rule 1")),
        ([{"on": "files", "retain": "9y"}, {"delete": "1y"}], (1, "rule 2")),
        ([{"on": "messages", "delete": "1y"}], (1, "rule 1")),
        ([{"delete": "1y"}, {"tier": {"after": "1d", "to": "GLACIER"}}], (1, "rule 1")),
        ([{"delete": "1y"}, {"match": {"regex": "b"}, "retain": "3y"}, {"match": {"regex": "a"}, "retain": "3y"}], (3, "rule 2")),
    ],
)  # fmt: skip
def test_a_push_goes_when_every_reading_of_the_rules_lets_it_go(
    written: list[dict[str, Any]], expected: tuple[int | None, str | None]
) -> None:
    asked = rules(*written)
    for _ in range(2):  # the second time it is remembered
        found = asked.decide(GENERAL, RECEIVED_MS)
        assert (found.delete_at_ms, found.rule) == (None if expected[0] is None else end_of(expected[0]), expected[1])
    assert asked.explain(GENERAL, RECEIVED_MS).rule == expected[1]


def kept(sequence: int, hour: int, *, minute: int = 30, **further: Any) -> dict[str, Any]:
    """A row of ``events`` that keeps a body, received on the evening of 15 March 2020."""
    received_ms = to_ms(datetime(2020, 3, 15, hour, minute, tzinfo=UTC))
    return {
        "received_at": received_ms, "spool_id": "s", "sequence": sequence, "feed": "general", "feed_kind": "webhook",
        "verified": "webhook-token", "outcome": "noted", "body_digest": "aa", "body": b"{", **further,
    }  # fmt: skip


class TestFinding:
    """In Berlin 23:30 UTC is the next day, so what was received on one UTC day may go on two."""

    ROWS = (kept(1, 22, chat_id=SALES), kept(2, 23, chat_id=SALES), kept(3, 22), kept(4, 22, chat_id=GENERAL))
    RULES: tuple[dict[str, Any], ...] = (
        {"name": "sales", "match": {"channel": SALES}, "delete": "1y"},
        {"name": "direct", "match": {"kind": "direct"}, "delete": "1d"},
    )
    DUE_MS = to_ms(datetime(2021, 3, 15, 23, tzinfo=UTC))

    def found(self, rows: Sequence[dict[str, Any]], horizon_ms: int, *written: dict[str, Any]) -> list[tuple[Any, ...]]:
        archive, head = lived([{"events": rows}])
        asked = policy(*(written or self.RULES), zone="Europe/Berlin")
        with ThreadPoolExecutor(1) as executor:
            items = find_pushes(
                archive.store, head, asked, PushRules(asked, CONTEXT), Coverage({}, Membership()),
                horizon_ms=horizon_ms, executor=executor,
            ).items  # fmt: skip
        assert items.schema == ITEMS
        due = items.column("due_at").cast(pa.int64()).to_pylist()
        columns = (items.column(name).to_pylist() for name in ("message_uid", "chat_id", "rule", "principle", "rows"))
        return sorted(zip(*columns, due, strict=True))

    def test_what_goes_by_an_instant_is_found_and_nothing_else_of_its_day(self) -> None:
        first = ("s:1:aa", None, "sales", "only-deletion", 1, self.DUE_MS)
        second = ("s:2:aa", None, "sales", "only-deletion", 1, self.DUE_MS + DAY_MS)
        assert self.found(self.ROWS, self.DUE_MS - 1) == []
        assert self.found(self.ROWS, self.DUE_MS) == [first]
        assert self.found(self.ROWS, self.DUE_MS + DAY_MS) == [first, second]

    @pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
    def test_what_came_twice_goes_when_the_later_may(self, order: slice) -> None:
        twice = [kept(1, 22, chat_id=SALES), kept(1, 23, chat_id=SALES)][order]
        assert self.found(twice, self.DUE_MS) == []
        due = self.found(twice, self.DUE_MS + DAY_MS)
        assert due == [("s:1:aa", None, "sales", "only-deletion", 2, self.DUE_MS + DAY_MS)]

    def test_what_came_once_without_its_chat_goes_only_where_that_may(self) -> None:
        assert self.found([kept(1, 22), kept(1, 22, minute=40, chat_id=SALES)], self.DUE_MS + DAY_MS) == []

    def test_a_conversation_that_ended_before_begins_no_period_before_the_reception(self) -> None:
        ended = {"name": "ended", "from": "last_activity", "match": {"channel": SALES}, "delete": "1y"}
        found = self.found(self.ROWS, self.DUE_MS, ended)
        assert [(uid, rule, due) for uid, _, rule, _, _, due in found] == [("s:1:aa", "ended", self.DUE_MS)]

    def test_a_policy_that_only_moves_data_lets_nothing_go(self) -> None:
        assert self.found(self.ROWS, self.DUE_MS, {"tier": {"after": "1d", "to": "GLACIER"}}) == []


def test_what_is_remembered_is_of_one_chat_and_one_day() -> None:
    asked = rules({"match": {"channel": SALES}, "delete": "1y"}, {"match": {"channel": GENERAL}, "delete": "2y"})
    found = [asked.decide(chat, RECEIVED_MS + late).delete_at_ms for chat in (SALES, GENERAL) for late in (0, DAY_MS)]
    assert found == [end_of(1), end_of(1, days=1), end_of(2), end_of(2, days=1)]


def test_of_several_decisions_the_one_that_keeps_longest_counts_and_of_equal_ones_the_first() -> None:
    early, late = Decision(None, 0, "a", "only-deletion"), Decision(None, 5, "b", "only-deletion")
    never, also_never = Decision(None, None, "c", "not-begun"), Decision(None, None, "d", "not-begun")
    assert latest([early, late]) == latest([late, early]) == late
    assert latest([late, never, also_never]) == never
    assert latest([Decision(None, -5, "e", "only-deletion"), early]) == early
    assert latest([early, Decision(None, 1, "e", "only-deletion")]).rule == "e"
    assert latest([late, Decision(None, 5, "f", "only-deletion")]) == late
