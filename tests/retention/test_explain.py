"""Why a message is still here and when it goes: every field of the answer, and what is said of one that is gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.clock import from_text
from archiver.errors import DamageFoundError, UsageError
from archiver.retention.decide import PRINCIPLES
from archiver.retention.evaluate import Explanation, RuleExplained
from archiver.retention.explain import Answer, DisposedBy, Explained, HeldBy, explain
from archiver.retention.plan_document import store_plan
from tests.archive.archive_steps import AT_MS
from tests.retention.disposing import apply
from tests.retention.lived import Row, at_ms, attached, held, lived, planned, sent
from tests.retention.policies import policy

OLD, YOUNG = date(2020, 3, 15), date(2026, 11, 1)
AS_OF_MS = from_text("2026-11-27T00:00:00.000Z")
RULES = policy(
    {"name": "general", "delete": "1y", "match": {"channel": "g:general"}},
    {"name": "random", "retain": "10y", "delete": "1y", "match": {"channel": "g:random"}},
    {"name": "files", "on": "files", "retain": "2y"},
)
GONE = policy(
    {"name": "quick", "delete": "1d", "match": {"channel": "g:gone"}},
    {"name": "pushes", "delete": "1d", "match": {"channel": "g:push"}},
)


def pushed(number: int, day: date, body: bytes | None = b"{broken", **further: Any) -> Row:
    return {
        "received_at": at_ms(day), "spool_id": "s", "sequence": number, "feed": "general", "feed_kind": "webhook",
        "verified": "webhook-token", "outcome": "unparsed", "body_digest": f"{number:02}", "body": body, **further,
    }  # fmt: skip


@pytest.fixture(scope="module")
def built() -> tuple[Archive, Head]:
    """Messages in several chats, some with files, two of one uid, pushes that no message reaches, and two messages that were disposed of."""
    archive, head = lived(
        [
            {
                "messages": [
                    sent("m-1", OLD), sent("m-2", YOUNG), sent("m-3", OLD, chat_id="g:random"), sent("m-4", OLD, chat_id="g:other"),
                    sent("m-5", OLD, chat_id="g:moved"),
                    *(sent("five", OLD, chat_id=f"g:{number}") for number in range(5)),
                    *(sent("six", OLD, chat_id=f"g:{number}") for number in range(6)),
                    sent("some", OLD, chat_id="g:b"), sent("some", OLD, chat_id="g:a"),
                    sent("gone", OLD, chat_id="g:gone"), sent("half", OLD, chat_id="g:gone"), sent("half", OLD, chat_id="g:stays"),
                ],
                "files": [attached("m-1", OLD, 1), attached("m-1", OLD, 0), attached("alone", OLD, 3),
                          attached("m-5", OLD, 0, chat_id="g:moved"), attached("m-5", OLD, 1, chat_id="g:moved", mime="image/png"),
                          attached("gone", OLD, 0, chat_id="g:gone"), attached("gone", OLD, 1, chat_id="g:gone")],
                "events": [pushed(1, OLD), pushed(17, OLD, chat_id="g:push"), pushed(2, OLD, chat_id="g:general"),
                           pushed(2, YOUNG, body_digest="01"), pushed(4, OLD, chat_id="g:general"), pushed(5, OLD),
                           pushed(6, OLD, chat_id="g:general"), pushed(7, OLD, chat_id="g:random")],
            },
            {"messages": [sent("m-1", OLD, version=2), sent("m-5", YOUNG, version=2, chat_id="g:moved")]},
            {"events": [pushed(1, OLD, received_at=at_ms(OLD) + 7), pushed(4, OLD), pushed(5, OLD, chat_id="g:general"),
                        pushed(6, OLD, chat_id="g:random"), pushed(7, OLD, chat_id="g:general")]},
        ]
    )  # fmt: skip
    plan = planned(archive, head, GONE, date(2026, 11, 1))
    store_plan(archive.store, plan)
    head = apply(archive, head, plan, now_ms=AT_MS).head
    head = held(archive, head, "case", chats=("g:other",))
    head = held(archive, head, "later", chats=("g:other", "g:nowhere"), from_at_ms=at_ms(OLD))
    return archive, held(archive, head, "elsewhere", chats=("g:nowhere",))


def asked(built: tuple[Archive, Head], uid: str, chat_id: str | None = None, **further: Any) -> Answer:
    return explain(*built, RULES, uid, chat_id=chat_id, **{"as_of_ms": AS_OF_MS, **further})


def only(answer: Answer) -> Explained:
    (item,) = answer.items
    return item


def test_every_rule_and_what_it_says_of_the_message_and_of_each_file(built: tuple[Archive, Head]) -> None:
    answer = asked(built, "m-1")
    assert (answer.message_uid, answer.chat_id, answer.policy, answer.as_of) == (
        "m-1",
        "g:general",
        "test",
        "2026-11-27T00:00:00.000Z",
    )
    assert (answer.disposed, answer.state) == ((), "due")
    message, first, second = answer.items
    due, retained = from_text("2021-03-16T00:00:00.000Z"), from_text("2022-03-16T00:00:00.000Z")
    general = RuleExplained("general", "scoped", True, ("channel",), (), "sent", OLD, None, due)
    random = RuleExplained(
        "random", "scoped", False, (), ("channel",), "sent", OLD, from_text("2030-03-16T00:00:00.000Z"), due
    )
    assert message == Explained(
        kind="message",
        ordinal=None,
        state="due",
        sent_at="2020-03-15T12:00:00.000Z",
        rows=2,
        goes_at="2021-03-16T00:00:00.000Z",
        retained_until=None,
        explanation=Explanation(
            (general, random, RuleExplained("files", "scoped", False, (), ("on",), "sent", OLD, retained, None)),
            None, due, "general", "only-deletion", PRINCIPLES["only-deletion"],
        ),
        holds=(),
    )  # fmt: skip
    assert (first.ordinal, second.ordinal) == (0, 1)
    assert first == Explained(
        kind="file",
        ordinal=0,
        state="due",
        sent_at="2020-03-15T12:00:00.000Z",
        rows=1,
        goes_at="2022-03-16T00:00:00.000Z",
        retained_until="2022-03-16T00:00:00.000Z",
        explanation=Explanation(
            (general, random, RuleExplained("files", "scoped", True, (), (), "sent", OLD, retained, None)),
            retained, retained, "files", "retention-wins", PRINCIPLES["retention-wins"],
        ),
        holds=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("uid", "as_of", "state", "goes_at"),
    [
        ("m-2", "2026-11-27T00:00:00.000Z", "waiting", "2027-11-02T00:00:00.000Z"),
        ("m-2", "2027-11-01T23:59:59.999Z", "waiting", "2027-11-02T00:00:00.000Z"),
        ("m-2", "2027-11-02T00:00:00.000Z", "due", "2027-11-02T00:00:00.000Z"),
        ("m-3", "2026-11-27T00:00:00.000Z", "waiting", "2030-03-16T00:00:00.000Z"),
    ],
)
def test_it_waits_until_the_instant_that_it_goes_at(
    uid: str, as_of: str, state: str, goes_at: str, built: tuple[Archive, Head]
) -> None:
    answer = asked(built, uid, as_of_ms=from_text(as_of))
    assert (answer.state, answer.as_of, only(answer).goes_at) == (state, as_of, goes_at)


def test_the_holds_that_cover_it_keep_it_whatever_the_policy_says(built: tuple[Archive, Head]) -> None:
    item = only(asked(built, "m-4"))
    assert (item.state, item.goes_at, item.retained_until, item.explanation.principle) == (
        "held",
        None,
        None,
        "no-match",
    )
    at = "1970-01-01T00:00:00.000Z"
    assert item.holds == (HeldBy("case", "a case", "test", at), HeldBy("later", "a case", "test", at))
    answer = asked(built, "m-1", chat_id="g:stays")
    assert (answer.items, answer.state, answer.chat_id) == ((), "unknown", "g:stays")


class TestWhatRulesAndHoldsAskOfFiles:
    def test_a_rule_for_messages_asks_their_files(self, built: tuple[Archive, Head]) -> None:
        asking = policy({"name": "pictures", "on": "messages", "delete": "1y", "match": {"mime": "image/*"}})
        for uid, rule in (("m-5", "pictures"), ("m-1", None)):
            message, *_ = explain(*built, asking, uid, chat_id=None, as_of_ms=AS_OF_MS).items
            assert (message.kind, message.explanation.rule) == ("message", rule)

    def test_what_a_file_makes_a_search_find_keeps_its_message_and_the_files_beside_it(
        self, built: tuple[Archive, Head]
    ) -> None:
        archive, head = built
        head = held(archive, head, "pictures", expression="mime:image/*")
        for uid, state, names in (("m-5", "held", ("pictures",)), ("m-1", "due", ())):
            items = asked((archive, head), uid).items
            assert [item.kind for item in items] == ["message", "file", "file"]
            for item in items:
                assert (tuple(hold.hold for hold in item.holds), item.state) == (names, state)

    def test_a_rule_for_files_may_search_for_what_another_file_of_the_message_is(
        self, built: tuple[Archive, Head]
    ) -> None:
        asking = policy({"name": "pictures", "on": "files", "delete": "1y", "match": {"search": "mime:image/*"}})
        _, first, second = explain(*built, asking, "m-5", chat_id=None, as_of_ms=AS_OF_MS).items
        assert (first.explanation.rule, second.explanation.rule) == ("pictures", "pictures")

    def test_the_clock_of_a_file_is_the_latest_of_its_message(self, built: tuple[Archive, Head]) -> None:
        for item in asked(built, "m-5").items:
            assert (item.sent_at, item.rows) == ("2026-11-01T12:00:00.000Z", 2 if item.kind == "message" else 1)


class TestAFileWhoseMessageIsGone:
    """A rule about messages alone takes the message and leaves the file."""

    def test_is_judged_by_what_it_knows_itself(self, built: tuple[Archive, Head]) -> None:
        item = only(asked(built, "alone"))
        assert (item.kind, item.ordinal, item.sent_at, item.rows) == ("file", 3, "2020-03-15T12:00:00.000Z", 1)
        assert (item.state, item.goes_at, item.explanation.rule) == ("due", "2022-03-16T00:00:00.000Z", "files")
        assert [(rule.is_matching, rule.holds, rule.fails) for rule in item.explanation.rules] == [
            (True, ("channel",), ()),
            (False, (), ("channel",)),
            (True, (), ()),
        ]

    def test_is_kept_where_a_rule_would_have_to_ask_its_message(self, built: tuple[Archive, Head]) -> None:
        asking = policy(
            {
                "name": "w",
                "on": "files",
                "delete": "1y",
                "match": {"words": "plan", "mime": "text/*"},
                "not": {"sender": "u:x"},
            },
            {"name": "all", "delete": "9y"},
        )
        item = only(explain(*built, asking, "alone", chat_id=None, as_of_ms=AS_OF_MS))
        assert (item.state, item.goes_at, item.explanation.principle) == ("kept", None, "message-missing")
        assert [(rule.is_matching, rule.holds, rule.fails) for rule in item.explanation.rules] == [
            (False, ("mime",), ("words", "not.sender")),
            (False, (), ()),
        ]


def test_of_messages_in_several_chats_one_must_be_named(built: tuple[Archive, Head]) -> None:
    for uid, count, shown in (
        ("some", 2, "g:a, g:b"),
        ("five", 5, "g:0, g:1, g:2, g:3, g:4"),
        ("six", 6, "g:0, g:1, g:2, g:3, g:4 and more"),
    ):
        with pytest.raises(UsageError) as caught:
            asked(built, uid)
        assert (caught.value.what, caught.value.next_step) == (
            f"messages of {count} chats have the uid {uid}",
            f"name the chat with --chat: {shown}",
        )
    assert (asked(built, "some", "g:a").chat_id, only(asked(built, "some", "g:a")).state) == ("g:a", "kept")


class TestPushes:
    def test_are_named_by_their_key_or_its_beginning(self, built: tuple[Archive, Head]) -> None:
        for named in ("s:1", "s:1:01"):
            answer = asked(built, named)
            item = only(answer)
            assert (item.kind, item.push, item.rows, item.ordinal) == ("event", "s:1:01", 2, None)
            assert (item.sent_at, answer.state, item.goes_at) == ("2020-03-15T12:00:00.007Z", item.state, None)
            assert (answer.message_uid, answer.chat_id) == (named, None)

    def test_of_one_place_there_may_be_several_the_earlier_day_first(self, built: tuple[Archive, Head]) -> None:
        answer = asked(built, "s:2")
        assert [(item.push, item.sent_at, item.state) for item in answer.items] == [
            ("s:2:02", "2020-03-15T12:00:00.000Z", "due"),
            ("s:2:01", "2026-11-01T12:00:00.000Z", "held"),
        ]
        assert [hold.hold for hold in answer.items[1].holds] == ["case", "elsewhere", "later"]
        assert asked(built, "s:3").items == asked(built, "s:").items == asked(built, "s").items == ()

    @pytest.mark.parametrize(
        ("named", "goes", "rule"),
        [
            ("s:4", None, None),
            ("s:5", None, None),
            ("s:6", from_text("2030-03-16T00:00:00.000Z"), "random"),
            ("s:7", from_text("2030-03-16T00:00:00.000Z"), "random"),
        ],
    )
    def test_one_that_came_twice_goes_when_the_one_that_stays_longest_may(
        self, named: str, goes: int | None, rule: str | None, built: tuple[Archive, Head]
    ) -> None:
        item = only(asked(built, named))
        assert (item.rows, item.explanation.delete_at_ms, item.explanation.rule) == (2, goes, rule)


class TestWhatIsGone:
    def disposed(self, built: tuple[Archive, Head]) -> tuple[str, dict[str, Any]]:
        (key,) = [info.key for info in built[0].store.list(layout.CERTIFICATE_PREFIX)]
        plan = layout.plan_of_certificate(key)
        assert plan is not None
        return key, {
            "plan": plan, "certificate": key, "approved_by": "The Records Manager", "at": "2026-11-18T11:06:40.000Z", "principle": "only-deletion",
        }  # fmt: skip

    def test_is_told_with_the_disposal_that_took_it(self, built: tuple[Archive, Head]) -> None:
        _, by = self.disposed(built)
        answer = asked(built, "gone")
        assert (answer.items, answer.state, answer.chat_id) == ((), "disposed", None)
        assert answer.disposed == (
            DisposedBy(kind="file", rule="quick", **by),
            DisposedBy(kind="message", rule="quick", **by),
        )
        assert asked(built, "gone", "g:gone").disposed == answer.disposed
        assert asked(built, "gone", "g:general").disposed == ()
        assert asked(built, "never").state == "unknown"

    def test_one_of_two_with_its_uid_may_be_here_still(self, built: tuple[Archive, Head]) -> None:
        _, by = self.disposed(built)
        assert (asked(built, "half").chat_id, asked(built, "half").disposed) == ("g:stays", ())
        assert asked(built, "half", "g:gone").disposed == (DisposedBy(kind="message", rule="quick", **by),)

    def test_a_push_is_found_by_the_beginning_of_its_key_too(self, built: tuple[Archive, Head]) -> None:
        _, by = self.disposed(built)
        for named in ("s:17", "s:17:17"):
            answer = asked(built, named)
            assert (answer.items, answer.disposed) == ((), (DisposedBy(kind="event", rule="pushes", **by),))
        assert asked(built, "s:1").disposed == ()

    @pytest.fixture
    def without_items(self, built: tuple[Archive, Head]) -> Iterator[tuple[Archive, str]]:
        archive, _ = built
        key = layout.plan_items_key(self.disposed(built)[1]["plan"])
        data = archive.store.read(key)
        archive.store.delete(key)
        yield archive, key
        archive.store.replace(key, data)

    def test_a_plan_whose_list_is_gone_tells_of_none(
        self, built: tuple[Archive, Head], without_items: tuple[Archive, str]
    ) -> None:
        assert asked(built, "gone").state == "unknown"

    def test_a_list_that_cannot_be_read_is_damage(
        self, built: tuple[Archive, Head], without_items: tuple[Archive, str]
    ) -> None:
        archive, key = without_items
        archive.store.replace(key, b"PAR1 and no more")
        archive.store.create("certificates/!.txt", b"no certificate")
        with pytest.raises(DamageFoundError) as caught:
            asked(built, "gone")
        assert caught.value.what.startswith(f"{key} in memory: cannot be read as Parquet: ")
        assert caught.value.next_step == "restore the object from a copy"
        archive.store.delete("certificates/!.txt")
