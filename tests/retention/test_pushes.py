"""Pushes that no message reaches: when they go, what keeps them, and that nothing of them is left."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from hashlib import sha256
from itertools import chain, combinations
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver.archive.reader import Archive, Head, files_of
from archiver.clock import DAY_MS
from archiver.custody.verify import verify
from archiver.errors import RefusedError
from archiver.retention.context import Context
from archiver.retention.coverage import read_coverage
from archiver.retention.erase import plan_erasure
from archiver.retention.explain import explain
from archiver.retention.held_objects import held_objects
from archiver.retention.judging_pushes import PushRules
from archiver.retention.leaving import BYTES_COLUMN
from archiver.retention.plan import Subject
from archiver.retention.plan_document import store_plan
from archiver.retention.policy import Policy
from archiver.retention.pushes import PUSHES, WAITS, read_pushes
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor, add
from tests.faulty_store import FaultyStore, Stopped
from tests.retention.disposing import apply, every_row, objects_of, places_of, rows_but
from tests.retention.lived import added, at_ms, held, items_of, lived, planned, sent
from tests.retention.plain_reading import World, local_day
from tests.retention.plans import plan_of
from tests.retention.policies import policy
from tests.retention.test_dispose_crash import run_again

OLD = date(2020, 3, 15)
TODAY = date(2026, 11, 27)
DELETES = policy({"name": "everything", "delete": "3y"})


def pushed(sequence: int, body: bytes | None, day: date = OLD, **further: Any) -> dict[str, Any]:
    """A row of ``events``; one with a body could not be read unless something else is said."""
    return {
        "received_at": at_ms(day),
        "spool_id": "s",
        "sequence": sequence,
        "feed": "general",
        "feed_kind": "webhook",
        "verified": "webhook-token",
        "outcome": "archived" if body is None else "unparsed",
        "error": None if body is None else "not JSON",
        "body_digest": sha256(body or b"").hexdigest(),
        "body": body,
        **further,
    }


def named(row: dict[str, Any]) -> str:
    return f"{row['spool_id']}:{row['sequence']}:{row['body_digest']}"


UNREAD = pushed(1, b"{tulip")
IN_CHAT = pushed(2, b'{"note":"orchid"}', outcome="noted", error=None, chat_id="g:trading")
CARRIED = pushed(
    3, b'{"uid":"m-1","text":"dahlia"}', outcome="duplicate", error=None, chat_id="g:general", message_uid="m-1"
)
FETCHED = pushed(0, b"<lupin>", spool_id="", feed_kind="fetch", message_uid="m-1")
YOUNG = pushed(5, b"{yarrow", day=TODAY)
NAMING = pushed(7, b'{"new":[{"uid":"m-1"}]}', outcome="noted", error=None)
PLAIN = pushed(6, None, message_uid="m-2", chat_id="g:general")
ROWS = [UNREAD, IN_CHAT, CARRIED, FETCHED, YOUNG, NAMING, PLAIN]


def archived(rows: Sequence[dict[str, Any]] = ROWS) -> tuple[Archive, Head]:
    return lived([{"messages": [sent("m-1", TODAY), sent("m-2", TODAY)], "events": rows}])


def keys_planned(archive: Archive, head: Head, rules: Policy = DELETES) -> set[str]:
    return {uid for kind, _, uid, _, _ in items_of(planned(archive, head, rules, TODAY)) if kind == "event"}


class TestWhatIsAnItem:
    def test_what_could_not_be_read_and_what_names_no_message_and_nothing_else(self) -> None:
        assert keys_planned(*archived()) == {named(UNREAD), named(IN_CHAT), named(FETCHED)}

    def test_messages_that_are_still_to_be_asked_for_keep_their_push_until_they_were(self) -> None:
        wanted = pushed(7, b'{"new":["m-7"]}', outcome="wanted", error=None, wanted_uids=["m-7"])
        archive, head = archived([wanted, UNREAD])
        assert keys_planned(archive, head) == {named(UNREAD)}
        (record,) = files_of(head, "events")
        head = add(archive, head, {}, settled=(record.key,))
        assert keys_planned(archive, head) == {named(UNREAD), named(wanted)}

    def test_one_of_two_local_days_goes_when_the_later_is_due(self) -> None:
        late = at_ms(OLD, 22) + 30 * 60_000, at_ms(OLD, 23) + 30 * 60_000
        archive, head = lived([{"events": [FETCHED | {"received_at": one} for one in late]}])
        rules = policy({"delete": "1y"}, zone="Europe/Berlin")
        assert planned(archive, head, rules, date(2021, 3, 16)).header.rows == 0
        assert planned(archive, head, rules, date(2021, 3, 17)).header.rows == 2

    def test_what_came_twice_on_a_day_is_one_item_and_on_two_days_two(self) -> None:
        again = [
            FETCHED,
            FETCHED | {"received_at": FETCHED["received_at"] + 5},
            FETCHED | {"received_at": at_ms(date(2020, 3, 17))},
        ]
        archive, head = lived([{"events": [row]} for row in again])
        plan = planned(archive, head, DELETES, TODAY)
        assert plan.items.select(["kind", "day", "message_uid", "rows"]).to_pylist() == [
            {"kind": "event", "day": day, "message_uid": named(FETCHED), "rows": rows}
            for day, rows in ((OLD, 2), (date(2020, 3, 17), 1))
        ]
        store_plan(archive.store, plan)
        assert rows_in_events(archive, apply(archive, head, plan).head) == 0


class TestReading:
    """What is read of an object of ``events``, before anything is known of the messages that its rows name."""

    def test_only_rows_with_a_body_are_read_and_each_weighs_its_part(self) -> None:
        written = [UNREAD, IN_CHAT, CARRIED, PLAIN]
        archive, head = archived(written)
        (record,) = files_of(head, "events")
        rows = read_pushes(archive.store, head, record)
        assert rows.schema == PUSHES
        assert sorted(rows.column("message_uid").to_pylist()) == sorted(named(row) for row in written[:3])
        assert set(rows.column(BYTES_COLUMN).to_pylist()) == {record.bytes // len(written)}
        assert rows.column(WAITS).to_pylist() == [False] * (3)
        archive, head = archived([UNREAD])
        (record,) = files_of(head, "events")
        assert read_pushes(archive.store, head, record).column(BYTES_COLUMN).to_pylist() == [record.bytes]

    def test_it_waits_for_messages_until_they_were_dealt_with(self) -> None:
        wanted = pushed(7, b'{"new":["m-7"]}', outcome="wanted", error=None, wanted_uids=["m-7"])
        archive, head = archived([wanted, UNREAD])
        (record,) = files_of(head, "events")
        rows = read_pushes(archive.store, head, record)
        waits = dict(zip(rows.column("message_uid").to_pylist(), rows.column(WAITS).to_pylist(), strict=True))
        assert waits == {named(wanted): True, named(UNREAD): False}
        settled = msgspec.structs.replace(head, settled=frozenset({record.key}))
        assert read_pushes(archive.store, settled, record).column(WAITS).to_pylist() == [False, False]


class TestThePlan:
    def test_names_it_by_rule_day_and_reception(self) -> None:
        archive, head = archived([UNREAD])
        plan = planned(archive, head, DELETES, TODAY)
        (item,) = plan.items.drop_columns(["bytes"]).to_pylist()
        assert (item["day"], item["rule"], item["principle"], item["chat_id"]) == (
            OLD,
            "everything",
            "only-deletion",
            None,
        )
        assert (item["sent_at"].date(), item["due_at"].date(), item["rows"]) == (OLD, date(2023, 3, 16), 1)
        assert plan.header.counts == {"event": 1}
        assert (plan.header.rows, plan.header.totals) == (1, {"messages": 2, "files": 0})

    def test_says_which_leave_later(self) -> None:
        later = planned(*archived([UNREAD]), DELETES, date(2022, 11, 27)).header.later
        assert [(one.month, one.rule, one.kind, one.items) for one in later] == [("2023-03", "everything", "event", 1)]

    def test_an_erasure_has_none_because_nobody_can_tell_whose_they_are(self) -> None:
        archive, head = archived()
        subject = Subject("u:ann", frozenset({"u:ann"}), "request 17")
        with ThreadPoolExecutor(1) as executor:
            found = plan_erasure(archive, head, DELETES, subject, as_of=TODAY, executor=executor)
        assert found.plan.header.counts == {"message": 2}


def decided(
    rules: Policy, chat_id: str | None = None, context: Context | None = None
) -> tuple[date | None, str | None]:
    """The day on which a push goes that was received on `OLD`, and the rule that says so."""
    decision = PushRules(rules, context or Context()).decide(chat_id, at_ms(OLD))
    at = decision.delete_at_ms
    return None if at is None else local_day(at, rules.zone), decision.rule


class TestWhatCannotBeTold:
    @pytest.mark.parametrize(
        "condition",
        [{"sender": "u:ann"}, {"words": "budget"}, {"channel": "g:trading"}, {"has_file": False}, {"source": "webhook"}, {"bot": False},
         {"mime": "image/*"}, {"sent": {"after": date(2019, 1, 1)}}],
        ids=str,
    )  # fmt: skip
    def test_a_rule_that_asks_for_it_keeps_and_never_removes(self, condition: dict[str, Any]) -> None:
        for part in ("match", "not"):
            assert decided(policy({"delete": "1y", part: condition})) == (None, None)
            kept = policy({"name": "all", "delete": "1y"}, {"name": "some", "retain": "5y", part: condition})
            assert decided(kept) == (date(2025, 3, 16), "some")
            shorter = policy({"name": "all", "delete": "3y"}, {"name": "some", "delete": "1y", part: condition})
            assert decided(shorter) == (date(2023, 3, 16), "all")

    def test_its_chat_is_asked_where_it_has_one(self) -> None:
        rules = policy(
            {"name": "all", "delete": "1y"}, {"name": "trade", "retain": "5y", "match": {"channel": "trade*"}}
        )
        known = Context(names={"g:trading": frozenset({"trade floor"})})
        assert decided(rules, "g:trading", known) == (date(2025, 3, 16), "trade")
        assert decided(rules, "g:general", known) == (date(2021, 3, 16), "all")

    def test_it_was_sent_before_it_was_received_but_for_a_day_by_which_clocks_may_differ(self) -> None:
        def until(day: date) -> Policy:
            return policy({"name": "early", "delete": "1y", "match": {"sent": {"before": day}}})

        assert decided(until(OLD + timedelta(days=2))) == (date(2021, 3, 16), "early")
        assert decided(until(OLD + timedelta(days=1))) == (None, None)

    def test_a_period_that_begins_with_what_nobody_knows_has_not_begun(self) -> None:
        for clock in ("last_activity", "departure"):
            assert decided(policy({"name": "all", "delete": "1y", "from": clock}))[0] is None
        active = Context(last_activity_ms={"g:general": at_ms(date(2021, 3, 15))})
        assert decided(policy({"name": "all", "delete": "1y", "from": "last_activity"}), "g:general", active)[
            0
        ] == date(2022, 3, 16)

    def test_rules_about_files_alone_are_not_about_pushes(self) -> None:
        assert decided(policy({"delete": "1y", "on": "files"})) == (None, None)
        assert decided(policy({"name": "texts", "delete": "1y", "on": "messages"})) == (date(2021, 3, 16), "texts")


CONDITIONS: list[tuple[dict[str, Any], bool | None]] = [
    # What a push received in g:general on the middle of March 2020 answers: yes, no, or nobody can tell.
    ({}, True),
    ({"channel": "g:general"}, True),
    ({"kind": "channel"}, True),
    ({"kind": "direct"}, False),
    ({"channel": "g:trading"}, False),
    ({"sent": {"before": date(2021, 1, 1)}}, True),
    ({"sent": {"after": date(2021, 1, 1)}}, False),
    ({"sent": {"before": date(2019, 1, 1)}}, None),
    ({"sender": "u:ann"}, None),
    ({"words": "budget", "channel": "g:general"}, None),
    ({"words": "budget", "channel": "g:trading"}, False),
    ({"label": "case"}, None),
]
ONE_RULE = st.tuples(
    st.sampled_from(CONDITIONS),
    st.fixed_dictionaries({}, optional={"retain": st.sampled_from(["1y", "4y", "6y"]), "delete": st.sampled_from(["1y", "3y", "5y"])}).filter(
        bool
    ),
)  # fmt: skip


@settings(max_examples=60)
@given(told=st.lists(ONE_RULE, min_size=1, max_size=5), mode=st.sampled_from(["longest", "specific"]))
@example(told=[(CONDITIONS[0], {"delete": "1y"}), (CONDITIONS[-1], {"delete": "5y"})], mode="longest")
def test_it_goes_when_it_would_go_whichever_of_the_rules_that_may_match_do(told: list[Any], mode: str) -> None:
    """A plain reading of the law in every world: each set of the rules that may match, with those that do."""
    rules = [
        {"name": f"rule {place}", **({"match": match} if match else {}), **ends}
        for place, ((match, _), ends) in enumerate(told)
    ]
    labels = {"case": {"messages": ["m-1"]}}
    whole = policy(*rules, mode=mode, labels=labels)
    reading = World({"rules": rules, "mode": mode, "zone": "UTC"}, [], [], {"emails": {}})
    certain = [rule for rule, ((_, answer), _) in zip(rules, told, strict=True) if answer is True]
    possible = [rule for rule, ((_, answer), _) in zip(rules, told, strict=True) if answer is None]
    worlds = chain.from_iterable(combinations(possible, count) for count in range(len(possible) + 1))
    ends = [reading.verdict([*certain, *world], [], at_ms(OLD))[1] for world in worlds]
    expected = None if None in ends else max(ends)
    assert PushRules(whole, Context()).decide("g:general", at_ms(OLD)).delete_at_ms == expected


class TestHolds:
    @pytest.mark.parametrize(
        ("scope", "covered"),
        [
            ({"custodians": ("u:ann",)}, {UNREAD["sequence"], IN_CHAT["sequence"]}),
            ({"chats": ("g:trading",)}, {UNREAD["sequence"], IN_CHAT["sequence"]}),
            ({"chats": ("g:general",)}, {UNREAD["sequence"]}),
            ({"until_ms": at_ms(date(2010, 1, 1))}, {UNREAD["sequence"], IN_CHAT["sequence"]}),
            ({"from_at_ms": at_ms(OLD) + DAY_MS}, {UNREAD["sequence"], IN_CHAT["sequence"]}),
            ({"from_at_ms": at_ms(OLD) + DAY_MS + 1}, set()),
            ({"expression": "budget"}, {UNREAD["sequence"], IN_CHAT["sequence"]}),
        ],
        ids=str,
    )
    def test_cover_it_unless_its_chat_or_its_reception_rules_that_out(
        self, scope: dict[str, Any], covered: set[int]
    ) -> None:
        archive, head = archived([UNREAD, IN_CHAT])
        before = planned(archive, head, DELETES, TODAY)
        store_plan(archive.store, before)
        head = held(archive, head, "smith", **scope)
        both = {named(UNREAD), named(IN_CHAT)}
        kept = {named(row) for row in (UNREAD, IN_CHAT) if row["sequence"] in covered}
        after = planned(archive, head, DELETES, TODAY)
        assert keys_planned(archive, head) == both - kept
        assert (after.header.held, [one.items for one in after.header.saved]) == (
            len(kept),
            [len(kept)] if kept else [],
        )
        assert {
            key.split("/")[0]
            for key in held_objects(archive.store, head, read_coverage(archive.store, head), executor=InlineExecutor())
        } >= ({"events"} if kept else set())
        # The plan that was made before the hold shrinks by the same.
        if kept == both:
            with pytest.raises(RefusedError, match="a hold keeps all of them"):
                apply(archive, head, before, coverage=read_coverage(archive.store, head))
            return
        done = apply(archive, head, before, coverage=read_coverage(archive.store, head))
        assert (done.certificate.items_held, rows_in_events(archive, done.head)) == (len(kept), len(kept))


class TestApplying:
    def test_removes_its_rows_and_no_other_and_every_byte(self) -> None:
        archive, head = archived()
        words = {"tulip", "orchid", "lupin"}
        assert {word for word in (*words, "dahlia", "yarrow") if places_of(word, objects_of(archive.store))} == {
            *words,
            "dahlia",
            "yarrow",
        }
        gone = {row["body_digest"] for row in (UNREAD, IN_CHAT, FETCHED)}
        expected = rows_but(archive.store, head, lambda table, row: table == "events" and row["body_digest"] in gone)
        plan = planned(archive, head, DELETES, TODAY)
        store_plan(archive.store, plan)

        done = apply(archive, head, plan)

        assert every_row(archive.store, done.head) == expected
        assert {word for word in words if places_of(word, objects_of(archive.store))} == set()
        assert (done.certificate.items, done.certificate.rows) == ({"event": 3}, {"events": 3})
        assert [(share.rule, share.items, share.rows) for share in done.certificate.rules] == [
            ("everything", {"event": 3}, {"events": 3})
        ]
        assert done.head.watermarks == head.watermarks
        with ThreadPoolExecutor(1) as executor:
            outcome = verify(archive.store, level="full", executor=executor)
        assert outcome.damages == ()
        account = outcome.accounts["events"]
        assert (account.written, account.disposed) == (len(ROWS), 3)

    def test_one_that_speaks_of_a_message_goes_with_it_at_the_latest(self) -> None:
        """Both are in the plan, and the row counts once."""
        archive, head = lived(
            [{"messages": [sent("m-1", OLD)], "events": [FETCHED | {"chat_id": "g:general"}, CARRIED]}]
        )
        plan = planned(archive, head, DELETES, TODAY)
        assert plan.header.counts == {"event": 1, "message": 1}
        store_plan(archive.store, plan)
        done = apply(archive, head, plan)
        assert (rows_in_events(archive, done.head), done.certificate.rows) == (0, {"messages": 1, "events": 2})

    def test_refuses_if_there_are_more_than_the_plan_says(self) -> None:
        archive, head = archived([UNREAD, UNREAD | {"received_at": UNREAD["received_at"] + 1}])
        other, other_head = archived([UNREAD])
        plan = planned(archive, head, DELETES, TODAY)
        wrong = planned(other, other_head, DELETES, TODAY)
        forged = plan_of(archive, head, wrong.items.to_pylist(), totals=plan.header.totals)
        with pytest.raises(RefusedError, match="another number of rows"):
            apply(archive, head, forged)

    def test_wherever_it_stops_the_archive_is_whole_and_the_next_run_finishes_it(self) -> None:
        archive, head = archived()
        plan = planned(archive, head, DELETES, TODAY)
        store_plan(archive.store, plan)
        objects = objects_of(archive.store)
        counting = FaultyStore(archive.store)
        expected = every_row(
            archive.store, apply(Archive(counting, archive.facts, archive.facts_digest), head, plan).head
        )
        for number in range(1, counting.operations, 9):
            store = MemoryStore()
            for key, data in objects.items():
                store.create(key, data)
            with pytest.raises(Stopped):
                apply(Archive(FaultyStore(store, stop_at=number), archive.facts, archive.facts_digest), head, plan)
            with ThreadPoolExecutor(1) as executor:
                assert verify(store, level="full", executor=executor).damages == ()
            again = run_again(store)
            if again.sequence == head.sequence:
                again = apply(Archive.open(store), again, plan, attempt="d15905ee").head
            assert every_row(store, again) == expected
            assert {word for word in ("tulip", "orchid", "lupin") if places_of(word, objects_of(store))} == set()

    def test_the_breakers_of_the_policy_count_it(self) -> None:
        archive, head = archived()
        plan = planned(archive, head, policy({"delete": "3y"}, limits={"rows_max": 2}), TODAY)
        with pytest.raises(RefusedError, match="rows_max"):
            apply(archive, head, plan)


class TestExplaining:
    def test_says_what_every_rule_says_and_what_became_of_it(self) -> None:
        archive, head = archived()
        rules = policy({"name": "all", "delete": "3y"}, {"name": "ann", "retain": "5y", "match": {"sender": "u:ann"}})
        as_of_ms = at_ms(TODAY)
        answer = explain(archive, head, rules, "s:1", chat_id=None, as_of_ms=as_of_ms)
        (item,) = answer.items
        assert (item.kind, item.push, item.state, item.rows, item.goes_at) == (
            "event",
            named(UNREAD),
            "due",
            1,
            "2025-03-16T00:00:00.000Z",
        )
        assert [(one.rule, one.is_matching, one.fails) for one in item.explanation.rules] == [
            ("all", True, ()), ("ann", False, ("sender (cannot be told)",)),
        ]  # fmt: skip
        plan = planned(archive, head, rules, TODAY)
        store_plan(archive.store, plan)
        apply(archive, head, plan)
        gone = explain(archive, archive.head(), rules, "s:1", chat_id=None, as_of_ms=as_of_ms)
        assert (gone.state, [one.plan for one in gone.disposed]) == ("disposed", [plan.digest])

    def test_of_one_that_is_held_it_names_the_hold(self) -> None:
        archive, head = archived()
        head = held(archive, head, "smith", custodians=("u:ann",))
        answer = explain(archive, head, DELETES, named(FETCHED), chat_id=None, as_of_ms=at_ms(TODAY))
        assert (answer.state, [one.hold for one in answer.items[0].holds]) == ("held", ["smith"])


def test_a_push_that_came_after_the_plan_is_none_of_it() -> None:
    archive, head = archived([UNREAD])
    plan = planned(archive, head, DELETES, TODAY)
    with pytest.raises(RefusedError):
        apply(archive, added(archive, head, {"events": [IN_CHAT]}), plan)


def rows_in_events(archive: Archive, head: Head) -> int:
    return head.rows.get("events", 0)
