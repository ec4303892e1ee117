"""One evaluation for plans, explanations and tests: what it needs to see, whose clock counts, and what it says of every rule."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from archiver.clock import DAY_MS, to_ms
from archiver.retention.context import Context
from archiver.retention.decide import PRINCIPLES
from archiver.retention.evaluate import Evaluator, Explanation, RuleExplained
from archiver.retention.periods import OPEN_END_MS
from tests.retention.policies import SENT_MS, file, files, message, messages, policy

SALES = "g:sales"
CONTEXT = Context(
    last_activity_ms={"g:general": SENT_MS + 10 * DAY_MS},
    left_at_ms={"u:ann": SENT_MS + 20 * DAY_MS, "u:bob": SENT_MS + 30 * DAY_MS},
)


def evaluator(*rules: dict[str, Any], context: Context = CONTEXT, **further: Any) -> Evaluator:
    return Evaluator(policy(*rules, **further), context)


def days_after(days: int, *, years: int = 1) -> int:
    """The end of the day that is so many years after one so many days after the sending, in milliseconds."""
    begun = date(2020, 3, 15).toordinal() + days
    day = date.fromordinal(begun)
    return to_ms(datetime(day.year + years, day.month, day.day, tzinfo=UTC)) + DAY_MS


MESSAGE_COLUMNS = ("chat_id", "message_uid", "version", "sent_at")
FILE_COLUMNS = ("chat_id", "message_uid", "ordinal", "sent_at")


@pytest.mark.parametrize(
    ("rule", "needs_files", "needs_messages", "of_messages", "of_files"),
    [
        ({}, False, True, (), ()),
        ({"match": {"mime": "image/*"}}, True, True, (), ("mime", "mime_received")),
        ({"match": {"has_file": True}}, True, True, (), ()),
        ({"not": {"has_file": True}, "on": "messages"}, True, False, (), ()),
        ({"not": {"size": {"min": 5}}}, True, True, (), ("blob_bytes", "size")),
        ({"match": {"sender": "u:ann"}, "on": "messages"}, False, False, ("sender_id",), ()),
        ({"match": {"sender": "u:ann"}, "on": "files"}, False, True, ("sender_id",), ()),
        ({"match": {"mime": "image/*"}, "on": "files"}, False, True, (), ("mime", "mime_received")),
        ({"from": "departure"}, False, True, ("sender_id",), ()),
        ({"from": "last_activity", "match": {"kind": "channel"}}, False, True, (), ()),
        ({"match": {"search": "has:file"}, "on": "messages"}, True, False, (), ("mime", "mime_received")),
    ],
)
def test_only_what_the_rules_ask_for_is_read(
    rule: dict[str, Any],
    *,
    needs_files: bool,
    needs_messages: bool,
    of_messages: tuple[str, ...],
    of_files: tuple[str, ...],
) -> None:
    asked = evaluator({"delete": "1y", **rule})
    assert (asked.needs_files, asked.needs_messages) == (needs_files, needs_messages)
    assert (asked.message_columns, asked.file_columns) == (MESSAGE_COLUMNS + of_messages, FILE_COLUMNS + of_files)


class TestClocksOfMessages:
    def test_of_the_senders_that_versions_name_the_one_who_leaves_last_counts(self) -> None:
        judge = evaluator({"from": "departure", "delete": "1y"})
        rows = messages([message(), message(version=2, sender_id="u:bob"), message("m-2")])
        assert judge.of_messages(rows).delete_at_ms.to_pylist() == [days_after(30), days_after(30), days_after(20)]

    def test_who_is_not_named_has_not_departed_and_a_chat_that_nobody_knows_is_not_over(self) -> None:
        nameless = Context(last_activity_ms={"": SENT_MS}, left_at_ms={"": SENT_MS})
        for clock in ("departure", "last_activity"):
            judge = evaluator({"from": clock, "delete": "1y"}, context=nameless)
            found = judge.of_messages(messages([message(sender_id="u:cat")]))
            assert (found.delete_at_ms.to_pylist(), found.principle.to_pylist()) == ([None], ["not-begun"])

    @pytest.mark.parametrize("clock", ["departure", "last_activity"])
    def test_a_rule_that_only_moves_data_asks_for_no_clock_of_others(self, clock: str) -> None:
        moving = {"from": clock, "tier": {"after": "1y", "to": "GLACIER"}}
        found = evaluator(moving, {"delete": "1y"}, context=Context()).of_messages(messages([message()]))
        assert (found.rule.to_pylist(), found.delete_at_ms.to_pylist()) == (["rule 2"], [days_after(0)])


class TestClocksOfFiles:
    def test_a_file_goes_by_the_activity_of_its_conversation(self) -> None:
        judge = evaluator({"from": "last_activity", "on": "files", "delete": "1y"})
        rows = files([file(), file("m-2", chat_id=SALES)])
        found = judge.of_files(rows, messages([message(), message("m-2", chat_id=SALES)]))
        assert found.delete_at_ms.to_pylist() == [days_after(10), None]

    def test_a_file_goes_by_the_departure_of_whoever_sent_its_message(self) -> None:
        judge = evaluator({"from": "departure", "on": "files", "delete": "1y"})
        of = messages([message(), message(version=2, sender_id="u:bob"), message("m-2")])
        found = judge.of_files(files([file(), file("m-2"), file("m-3")]), of)
        assert found.delete_at_ms.to_pylist() == [days_after(30), days_after(20), None]
        assert found.principle.to_pylist() == ["only-deletion", "only-deletion", "not-begun"]

    def test_files_of_equal_names_in_two_chats_are_two(self) -> None:
        judge = evaluator({"match": {"mime": "image/*"}, "on": "files", "delete": "1y"})
        later = {"chat_id": SALES, "sent_at": SENT_MS + 5 * DAY_MS}
        of = messages([message(), message(**later)])
        apart = judge.of_files(files([file(mime="image/png"), file(**later, mime="image/png")]), of)
        assert apart.delete_at_ms.to_pylist() == [days_after(0), days_after(5)]
        told = judge.of_files(files([file(mime="image/png"), file(**later, mime="text/plain")]), of)
        assert told.rule.to_pylist() == ["rule 1", None]

    @pytest.mark.parametrize(
        ("match", "rules", "principles"),
        [
            ({"sender": "u:ann"}, ["rule 1", "rule 2", None], ["explicit-wins", "only-deletion", "message-missing"]),
            ({"channel": "g:g*"}, ["rule 1", "rule 1", "rule 1"], ["explicit-wins"] * 3),
            ({"channel": SALES}, ["rule 2", "rule 2", "rule 2"], ["only-deletion"] * 3),
        ],
    )
    def test_a_file_whose_message_is_not_there_is_told_from_those_whose_is(
        self, match: dict[str, Any], rules: list[str | None], principles: list[str]
    ) -> None:
        judge = evaluator({"match": match, "not": {"mime": "text/*"}, "delete": "2y"}, {"delete": "1y"})
        of = messages([message(), message("m-2", sender_id="u:bob")])
        found = judge.of_files(files([file(), file("m-2"), file("m-3")]), of)
        assert (found.rule.to_pylist(), found.principle.to_pylist()) == (rules, principles)
        assert found.delete_at_ms.null_count == rules.count(None)

    @pytest.mark.parametrize("chat", ["g:general", SALES])
    def test_a_file_without_its_message_is_matched_by_what_it_knows_itself(self, chat: str) -> None:
        judge = evaluator(
            {"match": {"channel": SALES}, "delete": "1y"},
            {
                "match": {"label": "deal", "sent": {"after": date(2020, 1, 1)}},
                "not": {"mime": "text/*"},
                "delete": "3y",
            },
            {"match": {"size": {"max": 5}}, "delete": "2y"},
            labels={"deal": {"messages": ["m-3", "m-4"]}},
        )
        rows = files([file(chat_id=chat, size=5), *(file(uid, chat_id=chat) for uid in ("m-2", "m-3"))])
        text = files([file("m-4", chat_id=chat, mime="text/plain"), file("m-5", chat_id=chat, size=9)])
        rows = pa.concat_tables([rows, text])
        found = judge.of_files(rows, messages([message(chat_id=chat)])).rule.to_pylist()
        expected = {
            SALES: ["rule 1", "rule 1", "rule 2", "rule 1", "rule 1"],
            "g:general": ["rule 3", None, "rule 2", None, None],
        }
        assert found == expected[chat]

    def test_a_search_for_files_is_asked_of_a_message_with_the_files_that_are_judged(self) -> None:
        judge = evaluator({"on": "files", "match": {"search": "mime:image/*"}, "delete": "1y"})
        of = messages([message(), message("m-2")])
        found = judge.of_files(files([file(mime="image/png"), file("m-2", mime="text/plain")]), of)
        assert found.rule.to_pylist() == ["rule 1", None]

    def test_a_file_is_explained_with_the_others_of_its_message(self) -> None:
        """As it is judged: an expression that asks for a picture finds a message with one, and so all its files."""
        judge = evaluator({"on": "files", "match": {"search": "mime:image/*"}, "delete": "1y"})
        of, both = messages([message()]), files([file(mime="image/png"), file(ordinal=1, mime="text/plain")])
        assert judge.of_files(both, of).rule.to_pylist() == ["rule 1", "rule 1"]
        assert judge.explain_file(both.slice(1), of, files=both).rule == "rule 1"
        (alone,) = judge.explain_file(both.slice(1), of).rules
        assert (alone.is_matching, alone.fails) == (False, ("search",))

    def test_all_rows_of_a_file_are_judged_together(self) -> None:
        judge = evaluator({"match": {"mime": "image/*"}, "on": "files", "delete": "1y"})
        rows = files([file(mime="image/png"), file(version=2, sent_at=SENT_MS + DAY_MS), file(ordinal=1)])
        found = judge.of_files(rows, messages([message()]))
        assert found.rule.to_pylist() == ["rule 1", "rule 1", None]
        assert found.delete_at_ms.to_pylist() == [days_after(1), days_after(1), None]

    def test_rules_about_messages_say_nothing_of_files(self) -> None:
        judge = evaluator({"on": "messages", "delete": "1y"})
        for of in (None, messages([message()])):
            found = judge.of_files(files([file(), file("m-2")]), of)
            assert found.principle.to_pylist() == ["no-match", "no-match"]
            assert found.rule.to_pylist() == [None, None]


def test_the_rules_that_match_anything_are_told_also_those_that_only_move_data() -> None:
    asked = evaluator(
        {"name": "of nobody", "match": {"sender": "u:nobody"}, "delete": "1y"},
        {"name": "moving", "match": {"sender": "u:ann"}, "tier": {"after": "1y", "to": "GLACIER"}},
        {"name": "of bob", "match": {"sender": "u:bob"}, "delete": "1y"},
        {"name": "pictures", "on": "files", "match": {"mime": "image/*"}, "delete": "1y"},
    )
    of = messages([message(), message("m-2", sender_id="u:bob")])
    assert asked.rules_of_messages(of) == {"moving", "of bob"}
    assert asked.rules_of_messages(of.slice(0, 1)) == {"moving"}
    attached = files([file(mime="image/png"), file("m-2")])
    assert asked.rules_of_files(attached, of) == {"moving", "of bob", "pictures"}
    assert asked.rules_of_files(attached.slice(0, 0), of) == set()


class TestExplanations:
    RULES = (
        {"name": "default", "delete": "3y"},
        {"name": "ann's", "match": {"sender": "u:ann"}, "from": "departure", "retain": "2y", "delete": "5y"},
        {"name": "ended", "match": {"channel": "g:sales"}, "from": "last_activity", "retain": "1y"},
        {"name": "labelled", "match": {"label": "deal"}, "retain": "1y"},
    )

    def explained(self, **further: Any) -> tuple[RuleExplained, ...]:
        """What is said of a message that is labelled."""
        by_sending: dict[str, Any] = {"clock": "sent", "begins_on": date(2020, 3, 15), "is_matching": True, "fails": ()}
        left_on = date(2020, 4, 4)
        return (
            RuleExplained("default", "all", holds=(), retain_until_ms=None, delete_at_ms=days_after(0, years=3), **by_sending),
            RuleExplained(
                "ann's", "scoped", is_matching=True, holds=("sender",), fails=(), clock="departure", begins_on=left_on,
                retain_until_ms=days_after(20, years=2), delete_at_ms=days_after(20, years=5),
            ),
            RuleExplained(
                "ended", "scoped", is_matching=False, holds=(), fails=("channel",), clock="last_activity",
                begins_on=date(2020, 3, 25), retain_until_ms=days_after(10), delete_at_ms=None,
            ),
            RuleExplained("labelled", "label", holds=("label",), retain_until_ms=days_after(0), delete_at_ms=None, **by_sending),
        )  # fmt: skip

    def test_a_message_is_explained_rule_by_rule_with_every_date(self) -> None:
        asked = evaluator(*self.RULES, labels={"deal": {"messages": ["m-1"]}})
        assert asked.explain_message(messages([message()])) == Explanation(
            rules=self.explained(),
            retain_until_ms=days_after(20, years=2),
            delete_at_ms=days_after(20, years=5),
            rule="ann's",
            principle="explicit-wins",
            sentence=PRINCIPLES["explicit-wins"],
        )

    def test_a_file_is_explained_as_its_message_is(self) -> None:
        asked = evaluator(*self.RULES, labels={"deal": {"messages": ["m-1"]}})
        of = messages([message(), message("m-2", sender_id="u:bob")])
        assert asked.explain_file(files([file()]), of).rules == self.explained()

    def test_a_period_that_has_not_begun_begins_on_no_day(self) -> None:
        asked = evaluator({"name": "ann's", "from": "departure", "retain": "1y", "delete": "1y"}, context=Context())
        (said,) = asked.explain_message(messages([message()])).rules
        assert (said.begins_on, said.retain_until_ms, said.delete_at_ms) == (None, OPEN_END_MS, OPEN_END_MS)

    def test_a_file_that_no_rule_asks_of_its_message_is_explained_without_it(self) -> None:
        asked = evaluator(
            {"name": "of messages", "on": "messages", "delete": "1y"},
            {"name": "of both", "on": "messages", "match": {"mime": "image/*"}, "delete": "1y"},
        )
        said = asked.explain_file(files([file()]))
        assert [(rule.rule, rule.is_matching, rule.holds, rule.fails) for rule in said.rules] == [
            ("of messages", False, (), ("on",)), ("of both", False, (), ("on",)),
        ]  # fmt: skip
        assert (said.rule, said.principle) == (None, "no-match")

    def test_the_rows_of_two_items_are_no_item(self) -> None:
        with pytest.raises(ValueError, match=r"^the rows are not those of one item$"):
            evaluator({"delete": "1y"}).explain_message(messages([message(), message("m-2", sent_at=0)]))


@pytest.mark.parametrize("text", ["a secret", "nothing"])
def test_an_explanation_asks_a_text_also_where_the_rule_fails_without_it(text: str) -> None:
    """What decides nothing is not asked of all rows of a plan; of one message somebody wants to know."""
    asked = evaluator(
        {"match": {"source": "fetch", "regex": "secret"}, "delete": "1y"},
        {"match": {"source": "fetch"}, "not": {"words": "secret"}, "delete": "1y"},
        {"match": {"source": "fetch", "mime": "image/*"}, "not": {"search": "secret"}, "delete": "1y"},
    )
    of, of_files = messages([message(text=text, plain_text=text)]), files([file()])
    of_message, of_file = asked.explain_message(of, of_files).rules, asked.explain_file(of_files, of).rules
    is_found = text == "a secret"
    for said in (of_message, of_file):
        assert [set(rule.fails) for rule in said] == [
            {"source"} if is_found else {"source", "regex"},
            {"source", "not.words"} if is_found else {"source"},
            {"source", "mime", "not.search"} if is_found else {"source", "mime"},
        ]


class TestFilesOfMessages:
    RULES = (
        {"name": "none", "match": {"has_file": False}, "delete": "1y"},
        {"name": "some", "match": {"has_file": True, "size": {"min": 5}}, "delete": "2y"},
        {"name": "no pictures", "not": {"mime": "image/*", "size": {"min": 50}}, "delete": "3y"},
        {"name": "of files", "on": "files", "match": {"has_file": True}, "not": {"mime": "text/*"}, "delete": "4y"},
    )

    @pytest.mark.parametrize(
        ("attached", "expected"),
        [
            ([], [(("has_file",), ()), ((), ("has_file", "size")), (("not.mime+not.size",), ()), ((), ("on",))]),
            (
                [file(mime="text/plain", size=7)],
                [((), ("has_file",)), (("has_file", "size"), ()), (("not.mime+not.size",), ()), ((), ("on",))],
            ),
            (
                [file(mime="image/png", size=3)],
                [((), ("has_file",)), (("has_file",), ("size",)), ((), ("not.mime+not.size",)), ((), ("on",))],
            ),
        ],
    )
    def test_what_of_a_rule_holds_of_a_message_with_these_files(
        self, attached: list[dict[str, Any]], expected: list[tuple[tuple[str, ...], tuple[str, ...]]]
    ) -> None:
        said = evaluator(*self.RULES).explain_message(messages([message()]), files([*attached, file("m-2")]))
        assert [(rule.holds, rule.fails) for rule in said.rules] == expected
        assert [rule.is_matching for rule in said.rules] == [not fails for _, fails in expected]

    @pytest.mark.parametrize(
        ("attached", "expected"),
        [
            (file(mime="text/plain", size=7), [False, True, True, False]),
            (file(mime="image/png", size=3), [False, False, False, True]),
            (file(size=70), [False, True, False, True]),
        ],
    )
    def test_what_of_a_rule_holds_of_a_file(self, attached: dict[str, Any], expected: list[bool]) -> None:
        said = evaluator(*self.RULES).explain_file(files([attached]), messages([message()]))
        assert [rule.is_matching for rule in said.rules] == expected
        assert (said.rules[0].holds, said.rules[0].fails) == ((), ("has_file",))
        assert said.rules[1].holds[-1] == "has_file"

    def test_what_is_asked_of_a_message_and_of_its_files_is_told_apart(self) -> None:
        judge = evaluator(
            {"match": {"sender": "u:bob"}, "delete": "9y"},
            {"match": {"sender": "u:ann", "mime": "image/*"}, "not": {"size": {"min": 9}}, "delete": "2y"},
            {"match": {"mime": "text/*"}, "delete": "3y"},
        )
        attached = [file(mime="image/png"), file("m-2", mime="image/png"), file("m-3", mime="image/png", size=9)]
        rows = [message(), message("m-2", sender_id="u:bob"), message("m-3"), message("m-4", sender_id="u:cat")]
        found = judge.of_messages(messages(rows), files([*attached, file("m-4", mime="text/plain")]))
        assert found.rule.to_pylist() == ["rule 2", "rule 1", None, "rule 3"]

    @pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
    def test_of_several_versions_the_one_that_comes_nearest_is_told(self, order: slice) -> None:
        rule = {"match": {"app": "poll", "regex": "secret", "source": "fetch"}, "delete": "1y"}
        versions = [
            message(app_id="poll", plain_text="nothing"),
            message(version=2, app_id="poll", plain_text="a secret"),
            message(version=3, plain_text="nothing"),
        ]
        (said,) = evaluator(rule).explain_message(messages(versions[order])).rules
        assert (said.holds, said.fails) == (("app", "regex"), ("source",))
