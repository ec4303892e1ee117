"""Which days are read again, and whether the promise is kept: rules, without asking anybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.capture.fetch import BUDGET_SPENT, NO_USABLE_ANSWER, TOKENS_REFUSED, UidOutcome
from archiver.capture.sweep import (
    ArchivedDay,
    Conversation,
    Night,
    Place,
    SweepRules,
    believable,
    bound_gaps,
    cursor_text,
    cut,
    due_after_ms,
    due_days,
    is_hot,
    night_from,
    place_from,
    requests_of,
    sweep_bound,
    tonight,
)
from archiver.capture.swept import SweptConversation, gone_after, observe, settled_part
from archiver.clock import DAY_MS, to_ms

RULES = SweepRules()
TODAY = date(2026, 11, 23)
NOW_MS = to_ms(datetime(2026, 11, 23, 2, 15, tzinfo=UTC))
HOUR_MS = 3_600_000


def day(
    days_ago: int, *, read_days_ago: float | None = None, archived_days_ago: float = 0.0, rows: int = 10
) -> ArchivedDay:
    """Return a day of messages, read again so long ago, or never."""
    age = archived_days_ago if read_days_ago is None else read_days_ago
    place = Place(NOW_MS - int(age * DAY_MS), is_swept=read_days_ago is not None)
    return ArchivedDay(TODAY - timedelta(days=days_ago), rows, place)


def due(*days: ArchivedDay, rules: SweepRules = RULES) -> list[int]:
    """Return how many days ago the days were that are due, in their order."""
    return [(TODAY - item.day).days for item in due_days(days, now_ms=NOW_MS, rules=rules)]


class TestHotDays:
    def test_are_the_last_ones_today_included(self) -> None:
        hot = [ago for ago in range(-3, 12) if is_hot(TODAY - timedelta(days=ago), now_ms=NOW_MS, rules=RULES)]
        assert hot == [-1, 0, 1, 2, 3, 4, 5, 6]

    def test_are_due_every_night_and_at_once_if_they_were_never_read(self) -> None:
        assert due(day(0), day(1, read_days_ago=1), day(2, read_days_ago=0.6), day(6, read_days_ago=0.9)) == [
            0,
            1,
            6,
            2,
        ]

    def test_are_left_alone_between_two_nights(self) -> None:
        assert due(*(day(ago, read_days_ago=0.4) for ago in range(7))) == []

    def test_come_before_all_others(self) -> None:
        assert due(day(300, read_days_ago=200), day(3, read_days_ago=1)) == [3, 300]

    def test_none_are_hot_where_none_are_wanted(self) -> None:
        assert due(day(1, archived_days_ago=1), rules=replace(RULES, hot_days=0)) == []


class TestOlderDays:
    def test_come_due_in_time_and_the_longest_unread_first(self) -> None:
        days = [day(100 + ago, read_days_ago=ago) for ago in (27, 29, 45, 28)]
        assert due(*days) == [145, 129, 128, 127]

    def test_that_were_just_archived_wait_as_if_they_had_been_read(self) -> None:
        assert due(day(400, archived_days_ago=0.1)) == []
        assert due(day(400, archived_days_ago=28)) == [400]

    def test_whose_reading_has_begun_stay_due_until_it_is_finished(self) -> None:
        begun = replace(day(50), place=Place(NOW_MS, is_swept=True, began_ms=NOW_MS - 5, after=("g:1", "7")))
        assert due(begun) == [50]

    def test_do_not_all_come_due_in_one_night_because_they_were_archived_in_one(self) -> None:
        """A history of years that was imported on one day is read again over half of the time that there is."""
        imported = [day(ago) for ago in range(30, 2_030)]
        nights = [
            len(due_days(imported, now_ms=NOW_MS + night * DAY_MS, rules=RULES))
            - len(due_days(imported, now_ms=NOW_MS + (night - 1) * DAY_MS, rules=RULES))
            for night in range(1, 30)
        ]
        assert sum(nights) == len(imported)
        assert max(nights) < len(imported) / 8

    @given(ago=st.integers(8, 20_000), within=st.integers(1, 400))
    def test_each_comes_due_long_enough_before_the_bound(self, ago: int, within: int) -> None:
        rules = SweepRules(full_within_days=within)
        after = due_after_ms(TODAY - timedelta(days=ago), rules)
        # A night later than that is still in time; where every night is needed, every night it is.
        assert after <= max(rules.between_ms, (within - 1.5) * DAY_MS)

    def test_far_in_the_future_are_no_hot_days(self) -> None:
        assert due(ArchivedDay(date(9999, 12, 31), 1, Place(NOW_MS))) == []


class TestANight:
    def test_that_began_not_long_ago_goes_on_with_what_it_has_spent(self) -> None:
        assert tonight(Night(NOW_MS - 3 * HOUR_MS, 40), now_ms=NOW_MS, rules=RULES) == Night(NOW_MS - 3 * HOUR_MS, 40)

    @pytest.mark.parametrize("began_ms", [NOW_MS - 12 * HOUR_MS, NOW_MS - 24 * HOUR_MS, NOW_MS + 1])
    def test_is_a_new_one_after_the_time_between_and_after_a_clock_that_was_wrong(self, began_ms: int) -> None:
        assert tonight(Night(began_ms, 40), now_ms=NOW_MS, rules=RULES) == Night(NOW_MS, 0)

    def test_is_kept_in_a_cursor_and_so_is_a_place(self) -> None:
        place = Place(5, is_swept=True, began_ms=7, after=("g:1", "1795-\u00e4"))
        assert place_from(cursor_text(place)) == place
        assert night_from(cursor_text(Night(3, 4))) == Night(3, 4)

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"since_ms":"x"}', "\ud800"])
    def test_a_cursor_that_cannot_be_read_is_none(self, text: str) -> None:
        assert place_from(text) is None
        assert night_from(text) is None


class TestAClockThatWasAhead:
    def test_tells_no_time_so_what_it_read_counts_as_unread_since_it_was_sent(self) -> None:
        ahead = Place(NOW_MS + 400 * DAY_MS, is_swept=True)
        sent_on = TODAY - timedelta(days=50)
        place = believable(sent_on, ahead, now_ms=NOW_MS, rules=RULES)
        assert place == Place(to_ms(datetime(2026, 10, 4, tzinfo=UTC)))
        assert due(replace(day(50), place=place)) == [50]
        assert believable(TODAY + timedelta(days=3), ahead, now_ms=NOW_MS, rules=RULES) == Place(NOW_MS)

    def test_begins_a_reading_that_is_begun_anew(self) -> None:
        begun = Place(NOW_MS - DAY_MS, is_swept=True, began_ms=NOW_MS + DAY_MS, after=("g:1", "7"))
        assert believable(TODAY, begun, now_ms=NOW_MS, rules=RULES).after is None

    def test_by_a_little_is_believed(self) -> None:
        place = Place(NOW_MS + RULES.between_ms, is_swept=True)
        assert believable(TODAY, place, now_ms=NOW_MS, rules=RULES) == place


class TestWhatFits:
    def test_are_whole_conversations_in_their_order(self) -> None:
        talks = [talk("a", 30), talk("b", 25), talk("c", 1)]
        assert cut(talks, uids_max=60, requests_max=3, may_split=True) == talks[:2]
        assert cut(talks, uids_max=60, requests_max=4, may_split=True) == talks
        assert cut(talks, uids_max=54, requests_max=9, may_split=True) == talks[:1]

    def test_is_a_part_of_the_first_where_nothing_else_would_move(self) -> None:
        assert cut([talk("a", 90)], uids_max=60, requests_max=9, may_split=True) == [talk("a", 60)]
        assert cut([talk("a", 90)], uids_max=100, requests_max=2, may_split=True) == [talk("a", 50)]
        assert cut([talk("a", 90)], uids_max=100, requests_max=2, may_split=False) == []
        assert cut([talk("a", 90)], uids_max=100, requests_max=0, may_split=True) == []

    @given(
        sizes=st.lists(st.integers(1, 200), max_size=20),
        uids_max=st.integers(0, 300),
        requests_max=st.integers(0, 12),
        may_split=st.booleans(),
    )
    def test_never_exceeds_what_there_is(
        self, sizes: list[int], uids_max: int, requests_max: int, may_split: bool
    ) -> None:
        talks = [talk(str(number), size) for number, size in enumerate(sizes)]
        taken = cut(talks, uids_max=uids_max, requests_max=requests_max, may_split=may_split)
        assert sum(len(item.uids) for item in taken) <= uids_max
        assert requests_of(len(item.uids) for item in taken) <= requests_max
        assert [item.chat_id for item in taken] == [item.chat_id for item in talks[: len(taken)]]
        if talks and may_split and uids_max and requests_max:
            assert taken, "nothing would ever move"


def test_a_request_asks_for_25_uids_of_one_chat() -> None:
    assert [requests_of([count]) for count in (0, 1, 25, 26, 50, 51)] == [0, 1, 1, 2, 2, 3]
    assert requests_of([1, 1, 30]) == 4


def talk(chat_id: str, count: int) -> Conversation:
    return Conversation(chat_id, tuple(f"{number:04}" for number in range(count)))


class TestTheBound:
    def test_is_kept_while_nothing_waits_longer_than_promised(self) -> None:
        bound = sweep_bound([day(1, read_days_ago=0.1), day(90, read_days_ago=30)], now_ms=NOW_MS, rules=RULES)
        assert bound.is_kept
        assert bound_gaps(bound, rules=RULES) == []
        assert sweep_bound([], now_ms=NOW_MS, rules=RULES).is_kept

    def test_is_broken_by_an_older_day_that_waits_longer(self) -> None:
        days = [day(90, read_days_ago=31), day(91, read_days_ago=3), day(80, archived_days_ago=33)]
        bound = sweep_bound(days, now_ms=NOW_MS, rules=RULES)
        assert [(TODAY - late).days for late in bound.overdue] == [90, 80]
        (gap,) = bound_gaps(bound, rules=RULES)
        assert (gap.kind, gap.subject, gap.count) == ("sweep-bound", "full", 2)
        assert "re-read within 30 nights: no" in gap.evidence
        assert "2026-09-04 since 2026-10-21" in gap.evidence

    def test_is_broken_by_a_hot_day_that_a_night_did_not_read(self) -> None:
        days = [day(1, read_days_ago=1.1), day(2, read_days_ago=1.6)]
        assert sweep_bound(days, now_ms=NOW_MS, rules=RULES).hot_unread == (TODAY - timedelta(days=2),)
        # Right after a sweep, what is still due was not read.
        bound = sweep_bound(days, now_ms=NOW_MS, rules=RULES, hot_unread_ms=RULES.between_ms)
        assert len(bound.hot_unread) == 2
        (gap,) = bound_gaps(bound, rules=RULES)
        assert (gap.kind, gap.subject, gap.count) == ("sweep-bound", "hot", 2)

    def test_names_the_day_that_was_unread_longest(self) -> None:
        days = [day(90, read_days_ago=3), day(91, read_days_ago=9)]
        assert sweep_bound(days, now_ms=NOW_MS, rules=RULES).oldest == days[1]


# Many nights


class Archive:
    """Days of messages, each of so many requests, and nights that read them as the stage does: in order, while the budget lasts."""

    def __init__(self, costs: Mapping[date, int], *, began_ms: int, rules: SweepRules) -> None:
        self.days = {at: ArchivedDay(at, cost, Place(began_ms)) for at, cost in costs.items()}
        self.rules = rules
        self.read: list[tuple[date, int]] = []

    def night(self, now_ms: int) -> int:
        """Read what is due and affordable; return what it cost."""
        spent = 0
        for item in due_days(self.days.values(), now_ms=now_ms, rules=self.rules):
            if spent + item.rows > self.rules.requests_max:
                break
            spent += item.rows
            self.days[item.day] = replace(item, place=Place(now_ms, is_swept=True))
            self.read.append((item.day, now_ms))
        return spent

    def oldest_due(self, now_ms: int) -> list[ArchivedDay]:
        return [
            item
            for item in due_days(self.days.values(), now_ms=now_ms, rules=self.rules)
            if not is_hot(item.day, now_ms=now_ms, rules=self.rules)
        ]


@given(
    costs=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    hot_days=st.integers(0, 10),
    within=st.integers(3, 40),
    slack=st.integers(0, 50),
    lateness=st.lists(st.integers(0, 3 * HOUR_MS), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_archived_is_read_again_in_time_if_the_budget_suffices(
    costs: list[int], hot_days: int, within: int, slack: int, lateness: list[int]
) -> None:
    """It suffices if every night can pay for the hot days, and for all others once in the nights that there are, but for a reserve."""
    spread = within - max(1.5, within * 0.1)
    hot, older = sum(sorted(costs)[-(hot_days + 1) :]), sum(costs)
    per_night = hot + int(older / max(1.0, spread - 1)) + max(costs) + 1 + slack
    rules = SweepRules(hot_days=hot_days, full_within_days=within, requests_max=per_night)
    archive = Archive(
        {TODAY - timedelta(days=ago): cost for ago, cost in enumerate(costs)}, began_ms=NOW_MS, rules=rules
    )
    for night in range(1, 3 * within + 2):
        now_ms = NOW_MS + night * DAY_MS + lateness[night % len(lateness)]
        late = [item for item in archive.days.values() if now_ms - item.place.since_ms > within * DAY_MS + 3 * HOUR_MS]
        assert not late
        assert archive.night(now_ms) <= rules.requests_max
        assert sweep_bound(archive.days.values(), now_ms=now_ms, rules=rules, hot_unread_ms=rules.between_ms).is_kept


@given(
    costs=st.lists(st.integers(1, 20), min_size=1, max_size=40), budget=st.integers(20, 60), nights=st.integers(1, 60)
)
@settings(max_examples=60, deadline=None)
def test_a_budget_is_never_exceeded_and_nothing_waits_for_ever(costs: list[int], budget: int, nights: int) -> None:
    """Too small a budget breaks the bound, and still every day has its turn."""
    rules = SweepRules(hot_days=0, full_within_days=2, requests_max=budget)
    archive = Archive(
        {TODAY - timedelta(days=30 + n): cost for n, cost in enumerate(costs)}, began_ms=NOW_MS, rules=rules
    )
    enough = 2 * (sum(costs) // (budget - max(costs) + 1) + 2)
    for night in range(1, max(enough, nights) + 1):
        now_ms = NOW_MS + night * DAY_MS
        waiting = archive.oldest_due(now_ms)
        before = len(archive.read)
        assert archive.night(now_ms) <= budget
        # Those that were read are those that waited longest.
        assert [at for at, _ in archive.read[before:]] == [item.day for item in waiting[: len(archive.read) - before]]
    assert {at for at, _ in archive.read} == archive.days.keys()


def test_a_bound_that_cannot_be_kept_is_said_to_be_broken() -> None:
    rules = SweepRules(hot_days=0, full_within_days=5, requests_max=10)
    archive = Archive({TODAY - timedelta(days=30 + n): 10 for n in range(20)}, began_ms=NOW_MS, rules=rules)
    kept = []
    for night in range(1, 15):
        archive.night(NOW_MS + night * DAY_MS)
        kept.append(sweep_bound(archive.days.values(), now_ms=NOW_MS + night * DAY_MS, rules=rules).is_kept)
    assert kept == [True] * 5 + [False] * 9


# What came of it

AT_MS = NOW_MS


def reply(uid: str, outcome: str, reason: str = "") -> UidOutcome:
    return UidOutcome(uid, outcome, "u:ada", reason)  # type: ignore[arg-type]


def swept(*outcomes: str) -> SweptConversation:
    uids = tuple(f"{number}" for number in range(len(outcomes)))
    return SweptConversation(
        TODAY,
        Conversation("g:1", uids),
        {uid: reply(uid, outcome) for uid, outcome in zip(uids, outcomes, strict=True)},
    )


def said(rows: Iterable[Mapping[str, object]]) -> list[tuple[object, object]]:
    return [(row["message_uid"], row["outcome"]) for row in rows]


class TestObservations:
    def test_one_row_tells_of_the_conversation_and_one_of_each_change(self) -> None:
        found = observe([swept("returned", "not_returned", "returned")], gone={("g:1", "2"), ("g:2", "1")}, at_ms=AT_MS)
        assert said(found.rows) == [("1", "not_returned"), ("2", "returned"), (None, "swept")]
        row = found.rows[-1]
        assert (row["day_on"], row["asked"], row["returned"], row["not_returned"]) == (TODAY, 3, 2, ["1"])
        assert dict(found.counts) == {
            "conversations": 1, "asked": 3, "returned": 2, "gone": 1, "came_back": 1, "unreadable": 0, "failed": 0,
        }  # fmt: skip

    def test_what_is_known_not_to_come_back_is_no_news_and_stays_listed(self) -> None:
        found = observe([swept("not_returned", "returned")], gone={("g:1", "0")}, at_ms=AT_MS)
        assert said(found.rows) == [(None, "swept")]
        assert found.rows[0]["not_returned"] == ["0"]

    def test_a_chat_that_nobody_may_read_any_more_forgets_nothing_and_tells_nothing_new(self) -> None:
        found = observe([swept("unknown_chat", "unknown_chat")], gone={("g:1", "0")}, at_ms=AT_MS)
        assert said(found.rows) == [(None, "unknown_chat")]
        assert (found.rows[0]["returned"], found.rows[0]["not_returned"]) == (0, ["0"])

    def test_what_flock_refused_is_counted_and_not_taken_for_gone(self) -> None:
        item = swept("returned", "failed")
        item = replace(item, replies={**item.replies, "1": reply("1", "failed", "InvalidParameter")})
        found = observe([item], gone=(), at_ms=AT_MS)
        assert said(found.rows) == [(None, "swept")]
        assert (found.rows[0]["not_returned"], found.rows[0]["reason"]) == (None, "1 refused by Flock")
        assert list(found.reasons) == ["InvalidParameter"]

    def test_a_uid_that_lies_under_two_days_is_told_of_once(self) -> None:
        found = observe([swept("not_returned"), swept("not_returned")], gone=(), at_ms=AT_MS)
        assert said(found.rows) == [("0", "not_returned"), (None, "swept"), (None, "swept")]

    @given(
        st.lists(
            st.lists(st.sampled_from(["returned", "not_returned", "unknown_chat"]), min_size=3, max_size=3), max_size=8
        )
    )
    def test_rows_tell_all_changes_and_only_changes(self, nights: list[list[str]]) -> None:
        """Whoever knows the rows knows which uids are gone, and no uid is told twice in a row to be the same."""
        gone: set[tuple[str, str]] = set()
        truth: dict[str, str] = {}
        told: dict[str, str] = {}
        for night in nights:
            rows = observe([swept(*night)], gone=gone, at_ms=AT_MS).rows
            for row in rows:
                if row["message_uid"] is not None:
                    assert told.get(row["message_uid"], "returned") != row["outcome"]
                    told[row["message_uid"]] = row["outcome"]
            gone_after(gone, rows)
            truth |= {str(uid): outcome for uid, outcome in enumerate(night) if outcome != "unknown_chat"}
            assert gone == {("g:1", uid) for uid, outcome in truth.items() if outcome == "not_returned"}
            # The list alone, as a later night reads it, tells the same of this conversation.
            again: set[tuple[str, str]] = set()
            gone_after(again, rows[-1:])
            assert again == gone


@pytest.mark.parametrize("reason", [NO_USABLE_ANSWER, TOKENS_REFUSED, BUDGET_SPENT])
def test_what_could_not_be_asked_for_is_where_the_next_night_goes_on(reason: str) -> None:
    replies = {("g:1", uid): reply(uid, "returned") for uid in ("0000", "0001", "0003")}
    replies["g:1", "0002"] = reply("0002", "failed", reason)
    assert settled_part(talk("g:1", 4), replies).uids == ("0000", "0001")
    replies["g:1", "0002"] = reply("0002", "failed", "InvalidParameter")
    assert settled_part(talk("g:1", 4), replies) == talk("g:1", 4)
    assert settled_part(talk("g:1", 5), replies).uids == talk("g:1", 4).uids
