"""What may be missing, and why: the rules, and the rows that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.ledger import Gap
from archiver.capture import gaps
from archiver.capture.gaps import CLOSED, OPEN, Findings, GapRules, changed_rows, gap_id, gap_of, open_gaps
from archiver.capture.token_pool import RefusedToken
from archiver.clock import DAY_MS
from archiver.spool import Uptime

Row = dict[str, Any]
States = dict[tuple[str, ...], Row]
KIND = "channel-without-feed"
JUDGED = frozenset({KIND})
MINUTE_MS = 60_000
RULES = GapRules(silent_days_max=14, listener_hole_ms_max=MINUTE_MS, expects_pushes=True)


def gap(chat_id: str = "g:1", *, kind: str = KIND, count: int = 1, **further: Any) -> Gap:
    return Gap(kind=kind, count=count, evidence="seen", chat_id=chat_id, **further)


def after(known: States, rows: list[Row]) -> States:
    return {**known, **{(row["gap_id"],): row for row in rows}}


def states(**rows: Mapping[str, Any]) -> States:
    """Return states by their keys; a key of several columns is written with two underscores."""
    return {tuple(part.replace("_", ":") for part in key.split("__")): dict(row) for key, row in rows.items()}


class TestRows:
    def test_a_gap_that_is_found_opens_once(self) -> None:
        (row,) = changed_rows({}, Findings(present=[gap()], judged=JUDGED), at_ms=5)
        assert (row["state"], row["valid_from"], row["chat_id"], row["gap_id"]) == (OPEN, 5, "g:1", gap_id(gap()))
        assert changed_rows(after({}, [row]), Findings(present=[gap()], judged=JUDGED), at_ms=9) == []

    def test_it_closes_when_it_is_no_longer_found(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap()]), at_ms=5))
        (row,) = changed_rows(known, Findings(judged=JUDGED), at_ms=9)
        assert (row["state"], row["valid_from"], row["to_at"]) == (CLOSED, 9, 9)
        assert changed_rows(after(known, [row]), Findings(judged=JUDGED), at_ms=12) == []

    def test_it_closes_as_of_when_its_cause_ended(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap()]), at_ms=5))
        (row,) = changed_rows(known, Findings(judged=JUDGED, ended_at_ms={gap_id(gap()): 7}), at_ms=9)
        assert (row["valid_from"], row["to_at"]) == (9, 7)

    def test_it_stays_open_while_nobody_looked(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap()]), at_ms=5))
        assert changed_rows(known, Findings(judged={"another-kind"}), at_ms=9) == []

    def test_a_count_that_changes_is_a_row_of_the_same_gap(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap(count=1)]), at_ms=5))
        (row,) = changed_rows(known, Findings(present=[gap(count=3)]), at_ms=9)
        assert (row["gap_id"], row["count"], row["state"]) == (gap_id(gap()), 3, OPEN)

    def test_it_opens_again(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap()]), at_ms=5))
        known = after(known, changed_rows(known, Findings(judged=JUDGED), at_ms=6))
        (row,) = changed_rows(known, Findings(present=[gap()]), at_ms=7)
        assert (row["state"], row["to_at"]) == (OPEN, None)

    def test_what_is_over_when_it_is_found_is_closed_from_the_start(self) -> None:
        over = gap(kind="listener-down", from_at_ms=1, to_at_ms=3)
        (row,) = changed_rows({}, Findings(past=[over], judged={"listener-down"}), at_ms=5)
        assert (row["state"], row["from_at"], row["to_at"]) == (CLOSED, 1, 3)
        assert changed_rows(after({}, [row]), Findings(past=[over], judged={"listener-down"}), at_ms=9) == []

    def test_what_goes_on_and_then_is_over_is_one_gap(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap(from_at_ms=1)]), at_ms=5))
        (row,) = changed_rows(known, Findings(past=[gap(from_at_ms=1, to_at_ms=8)], judged=JUDGED), at_ms=9)
        assert (row["state"], row["to_at"]) == (CLOSED, 8)

    def test_a_clock_that_was_set_back_does_not_make_an_older_row_the_newest(self) -> None:
        known = after({}, changed_rows({}, Findings(present=[gap()]), at_ms=500))
        (row,) = changed_rows(known, Findings(judged=JUDGED), at_ms=9)
        assert row["valid_from"] == 501

    def test_a_row_tells_the_whole_gap(self) -> None:
        whole = Gap(
            kind="k", count=2, evidence="e", chat_id="c", user_id="u", subject="s", from_at_ms=1, to_at_ms=2
        )  # fmt: skip
        (row,) = changed_rows({}, Findings(present=[whole]), at_ms=5)
        assert gap_of(row) == whole

    def test_gaps_that_concern_different_things_are_different(self) -> None:
        ids = {
            gap_id(Gap(kind="k", count=1, evidence="", **where))
            for where in ({}, {"chat_id": "x"}, {"user_id": "x"}, {"subject": "x"}, {"chat_id": "", "subject": "x"})
        }
        assert len(ids) == 5


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)),
            st.sets(st.sampled_from(["one", "other"])),
        ),
        max_size=8,
    )
)
def test_what_is_open_is_what_was_found_and_finding_it_again_adds_nothing(nights) -> None:
    """Chats a, b are of one kind, c, d of another; a night judges some kinds, and of the others it may find something too."""
    known: States = {}
    expected: dict[str, int] = {}
    kinds = {"a": "one", "b": "one", "c": "other", "d": "other"}
    for night, (found, judged) in enumerate(nights):
        findings = Findings(present=[gap(chat, kind=kinds[chat], count=n) for chat, n in found.items()], judged=judged)
        before = known
        known = after(known, changed_rows(known, findings, at_ms=night))
        expected = {chat: n for chat, n in expected.items() if kinds[chat] not in judged} | found
        assert {item.chat_id: item.count for item in open_gaps(known)} == expected
        assert changed_rows(known, findings, at_ms=night + 1) == []
        # A gap keeps its history: no row says what the row before it said.
        assert all(before.get(key) != row or row is before[key] for key, row in known.items())


class TestTokens:
    REFUSED = RefusedToken("u:ann", "f1", "InvalidToken", "Flock refuses the token", "")

    def refused(self, known=(), refused=(), *, given=("u:ann",), accepted=()):
        return [
            (item.user_id, item.subject) for item in gaps.still_refused(known, refused, given=given, accepted=accepted)
        ]

    def test_a_refused_token_is_a_gap_once_and_stays_as_it_was_said_first(self) -> None:
        first = gaps.refused_token(self.REFUSED)
        again = RefusedToken("u:ann", "f1", "InvalidToken", "Flock refuses the token (at 1; tried again on 2)", "")
        assert gaps.still_refused([first], [again], given=["u:ann"], accepted=[]) == [first]

    def test_it_stands_until_flock_lets_its_user_in(self) -> None:
        known = [gaps.refused_token(self.REFUSED)]
        assert self.refused(known) == [("u:ann", "f1")]
        assert self.refused(known, accepted=["u:ann"]) == []

    def test_it_stands_no_more_where_the_user_has_no_token_or_another_that_is_refused(self) -> None:
        known = [gaps.refused_token(self.REFUSED)]
        assert self.refused(known, given=["u:bob"]) == []
        other = RefusedToken("u:ann", "f2", "InvalidToken", "no", "")
        assert self.refused(known, [other]) == [("u:ann", "f2")]

    def test_users_without_a_token_are_people_who_are_not_told_of_already(self) -> None:
        users = states(u_ann={}, u_bob={}, u_cid={}, u_Bot0={}, b_old={})
        told = [gaps.refused_token(self.REFUSED)]
        found = gaps.users_without_token(users, usable=["u:bob"], refused=told)
        assert [item.user_id for item in found] == ["u:cid"]


class TestChannels:
    CHANNELS = states(
        g_1={"state": "listed", "captured_by": "u:ann"},
        g_2={"state": "listed", "captured_by": "u:ann"},
        g_3={"state": "unlisted", "captured_by": "u:ann"},
    )

    def test_a_listed_channel_of_which_no_webhook_delivered_is_without_a_feed(self) -> None:
        found = gaps.channels_without_feed(self.CHANNELS, {"g:1"})
        assert [item.chat_id for item in found] == ["g:2"]

    def test_a_channel_is_silent_when_others_speak_for_longer_than_the_bound(self) -> None:
        last = {"g:1": 0, "g:2": 14 * DAY_MS}
        assert gaps.silent_channels(self.CHANNELS, last, days_max=14) == []
        (found,) = gaps.silent_channels(self.CHANNELS, {**last, "g:2": 14 * DAY_MS + 1}, days_max=14)
        assert (found.chat_id, found.from_at_ms) == ("g:1", 0)

    def test_while_nobody_speaks_nobody_is_silent(self) -> None:
        assert gaps.silent_channels(self.CHANNELS, {"g:1": 0, "g:2": 5}, days_max=14) == []
        assert gaps.silent_channels(self.CHANNELS, {}, days_max=14) == []

    def test_a_channel_that_is_gone_is_not_silent(self) -> None:
        assert gaps.silent_channels(self.CHANNELS, {"g:3": 0, "g:2": 99 * DAY_MS}, days_max=14) == []

    def test_a_channel_that_only_its_feed_knows_may_be_silent(self) -> None:
        (found,) = gaps.silent_channels(self.CHANNELS, {"g:9": 0, "g:2": 99 * DAY_MS}, days_max=14)
        assert found.chat_id == "g:9"


class TestReadableChats:
    def unreadable(self, *, channels=None, groups=None, conversations=None, usable=("u:ann",)) -> set[str | None]:
        found = gaps.unreadable_chats(
            channels=channels or {}, groups=groups or {}, conversations=conversations or {}, usable=usable
        )
        return {item.chat_id for item in found}

    def test_a_channel_is_readable_as_a_member_or_as_whoever_listed_it(self) -> None:
        channels = states(
            g_1={"state": "listed", "captured_by": "u:zoe"}, g_2={"state": "listed", "captured_by": "u:ann"}
        )
        groups = states(g_1__u_ann={"state": "member"})
        assert self.unreadable(channels=channels, groups=groups) == set()
        assert self.unreadable(channels=channels, groups=groups, usable=()) == {"g:1", "g:2"}

    def test_a_channel_that_its_only_reader_left_or_that_nobody_lists_is_not(self) -> None:
        channels = states(
            g_1={"state": "listed", "captured_by": "u:ann"}, g_2={"state": "unlisted", "captured_by": "u:ann"}
        )
        groups = states(g_1__u_ann={"state": "left"}, g_2__u_ann={"state": "member"})
        assert self.unreadable(channels=channels, groups=groups) == {"g:1", "g:2"}

    def test_a_one_to_one_chat_is_readable_as_one_of_the_two(self) -> None:
        chats = {("u:ann,u:bob",): {"chat_kind": "direct"}, ("u:bob,u:cid",): {"chat_kind": "direct"}}
        assert self.unreadable(conversations=chats) == {"u:bob,u:cid"}

    def test_a_channel_that_no_directory_lists_is_known_by_its_feed_alone(self) -> None:
        chats = states(g_9={"chat_kind": "channel"})
        channels = states(g_1={"state": "listed", "captured_by": "u:ann"})
        assert self.unreadable(channels=channels, conversations=chats) == {"g:9"}
        # While the directory is yet to be crawled nothing can be said; without tokens it never will be.
        assert self.unreadable(conversations=chats) == set()
        assert self.unreadable(conversations=chats, usable=()) == {"g:9"}


class TestListeners:
    def found(self, *uptimes: Uptime, now_ms: int = 0, rules: GapRules = RULES) -> tuple[list[Any], list[Any]]:
        present, past = gaps.listener_gaps(uptimes, spool_id="spool", now_ms=now_ms, rules=rules)
        return (
            [(item.kind, item.from_at_ms, item.to_at_ms) for item in present],
            [(item.kind, item.from_at_ms, item.to_at_ms) for item in past],
        )

    def test_one_that_never_started_is_missed_only_where_webhooks_are_expected(self) -> None:
        assert self.found() == ([("no-listener", None, None)], [])
        assert self.found(rules=GapRules(expects_pushes=False)) == ([], [])

    def test_a_hole_longer_than_the_bound_is_over(self) -> None:
        first, second = Uptime("a", 0, 10), Uptime("b", 10 + MINUTE_MS + 1, 2 * MINUTE_MS)
        assert self.found(first, second, now_ms=2 * MINUTE_MS) == ([], [("listener-down", 10, 10 + MINUTE_MS + 1)])

    def test_a_hole_within_the_bound_is_none(self) -> None:
        first, second = Uptime("a", 0, 10), Uptime("b", 10 + MINUTE_MS, 2 * MINUTE_MS)
        assert self.found(first, second, now_ms=2 * MINUTE_MS) == ([], [])

    def test_a_listener_that_is_gone_goes_on_to_be_missed_and_its_hole_is_one_gap(self) -> None:
        assert self.found(Uptime("a", 0, 10), now_ms=10 + MINUTE_MS) == ([], [])
        assert self.found(Uptime("a", 0, 10), now_ms=11 + MINUTE_MS) == ([("listener-down", 10, None)], [])
        present, _ = gaps.listener_gaps([Uptime("a", 0, 10)], spool_id="s", now_ms=DAY_MS, rules=RULES)
        both = [Uptime("a", 0, 10), Uptime("b", DAY_MS, DAY_MS)]
        _, past = gaps.listener_gaps(both, spool_id="s", now_ms=DAY_MS, rules=RULES)
        assert gap_id(present[0]) == gap_id(past[0])

    def test_a_beat_of_a_clock_that_was_ahead_hides_no_hole_and_makes_none(self) -> None:
        """Somebody set a clock right that was a year ahead: until that year comes, its beats say nothing of now."""
        uptimes = [Uptime("a", 0, 10), Uptime("a", 365 * DAY_MS, 365 * DAY_MS), Uptime("a", 20, 30)]
        kept = gaps.believable(uptimes, now_ms=31, rules=RULES)
        assert self.found(*kept, now_ms=31) == ([], [])
        assert self.found(*kept, now_ms=31 + MINUTE_MS) == ([("listener-down", 30, None)], [])
        assert gaps.newest_uptime_from(kept, rules=RULES) == 0

    def test_while_another_one_listens_nothing_is_missed(self) -> None:
        uptimes = Uptime("a", 0, 10), Uptime("b", 5, 5 * MINUTE_MS), Uptime("a", 4 * MINUTE_MS, 9 * MINUTE_MS)
        assert self.found(*uptimes, now_ms=9 * MINUTE_MS) == ([], [])

    @given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=6), st.integers(0, 20))
    def test_holes_are_just_the_times_at_which_nobody_was_alive(self, spans, more) -> None:
        rules = GapRules(listener_hole_ms_max=2)
        uptimes = [Uptime(str(n), start, start + length) for n, (start, length) in enumerate(spans)]
        now_ms = max((item.to_at_ms for item in uptimes), default=0) + more
        present, past = gaps.listener_gaps(uptimes, spool_id="s", now_ms=now_ms, rules=rules)
        alive = [any(item.from_at_ms <= at <= item.to_at_ms for item in uptimes) for at in range(now_ms + 1)]
        told = {at for hole in [*present, *past] for at in range(hole.from_at_ms + 1, hole.to_at_ms or now_ms + 1)}
        assert not any(alive[at] for at in told)
        ends = [item.to_at_ms for item in uptimes if not any(alive[item.to_at_ms + 1 : item.to_at_ms + 3])]
        assert all(end + 1 in told for end in ends if now_ms - end > 2)
        since = gaps.newest_uptime_from(uptimes, rules=rules)
        if since is None:
            assert not uptimes
            return
        # What may be forgotten has been told: the same holes follow from what stays, but for those that are over.
        kept = [item for item in uptimes if item.to_at_ms >= since]
        assert gaps.listener_gaps(kept, spool_id="s", now_ms=now_ms, rules=rules) == (present, [])
