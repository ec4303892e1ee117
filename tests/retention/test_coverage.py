"""What a hold covers: the rules of retention.md, and the set-based reading held against the plainest one on random histories."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.ledger import HoldChange, HoldScope
from archiver.archive.reader import PlacedHold
from archiver.expression import Directory, Known
from archiver.retention.coverage import Coverage, Doubt, any_of, read_coverage
from archiver.scope.membership import Membership
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.retention.hold_steps import Row, covers, file, files, groups, knowing, member, message, messages, placed

HISTORY = [
    member("g:deal", "u:zoe", 100),
    member("g:deal", "u:ann", 200),
    member("g:deal", "u:ann", 600, "left"),
    member("g:hall", "u:bob", 100),
]


def covered(hold: PlacedHold, rows: list[Row], membership: Membership | None = None) -> list[str]:
    """Return the uids of the messages that a hold covers."""
    mask = Coverage({"h": hold}, knowing(HISTORY) if membership is None else membership).of_messages(messages(rows))[
        "h"
    ]
    return [row["message_uid"] for row, held in zip(rows, mask.to_pylist(), strict=True) if held]


class TestCustodians:
    def test_what_they_sent_is_covered_wherever_they_sent_it(self) -> None:
        rows = [message("1", 5, "g:hall", "u:ann"), message("2", 5, "g:hall", "u:bob")]
        assert covered(placed(custodians=("u:ann",)), rows) == ["1"]

    def test_what_a_bot_sent_on_their_behalf_is_what_they_sent(self) -> None:
        rows = [
            message("1", 5, "g:hall", "u:Bot", on_behalf_of="u:ann"),
            message("2", 5, "g:hall", "u:Bot", on_behalf_of="u:bob"),
        ]
        assert covered(placed(custodians=("u:ann",)), rows) == ["1"]

    def test_what_was_sent_to_them_directly_is_covered(self) -> None:
        rows = [message("1", 5, "u:ann,u:bob", "u:bob"), message("2", 5, "u:bob,u:cid", "u:bob")]
        assert covered(placed(custodians=("u:ann",)), rows) == ["1"]

    def test_what_only_they_could_see_in_a_channel_was_sent_to_them_directly(self) -> None:
        rows = [
            message("1", 5, "g:hall", "u:bob", visible_to=["u:cid", "u:ann"]),
            message("2", 5, "g:hall", "u:bob", visible_to=["u:cid"]),
            message("3", 5, "g:hall", "u:bob", visible_to=[]),
            message("4", 5, "g:hall", "u:bob"),
        ]
        assert covered(placed(custodians=("u:ann",)), rows) == ["1"]

    def test_a_channel_is_covered_while_they_were_in_it_and_not_before_or_after(self) -> None:
        rows = [message(str(at_ms), at_ms, "g:deal") for at_ms in (50, 99, 100, 150, 250, 599, 600, 700)]
        assert covered(placed(custodians=("u:ann",)), rows) == ["100", "150", "250", "599"]

    def test_who_came_back_again_and_again_is_covered_for_each_stay(self) -> None:
        history = [member("g:deal", "u:zoe", at_ms) for at_ms in range(0, 100, 10)]
        for at_ms, state in ((10, "member"), (20, "left"), (50, "member"), (60, "left"), (90, "member")):
            history.append(member("g:deal", "u:ann", at_ms, state))
        rows = [message(str(at_ms), at_ms, "g:deal") for at_ms in range(5, 100, 10)] + [message("else", 95, "g:hall")]
        assert covered(placed(custodians=("u:ann",)), rows, knowing(history)) == ["5", "15", "45", "55", "85", "95"]

    def test_being_mentioned_is_not_being_sent_to(self) -> None:
        assert covered(placed(custodians=("u:ann",)), [message("1", 5, "g:hall", mentions=["u:ann"])]) == []

    def test_an_address_means_whoever_ever_had_it(self) -> None:
        known = knowing(HISTORY, addresses={"ann@acme.com": frozenset({"u:ann", "import:slack-T1:U1"})})
        rows = [
            message("1", 5, "g:hall", "u:ann"),
            message("2", 5, "g:hall", "import:slack-T1:U1"),
            message("3", 250, "g:deal"),
        ]
        assert covered(placed(custodians=("ANN@acme.com",)), rows, known) == ["1", "2", "3"]

    def test_an_address_that_nobody_has_is_said_and_never_silent(self) -> None:
        coverage = Coverage({"h": placed(custodians=("nobody@acme.com",))}, knowing(HISTORY))
        (doubt,) = coverage.doubts
        assert (doubt.hold, doubt.code) == ("h", "unknown-custodian")
        assert "nobody@acme.com" in doubt.what
        assert doubt.next_step

    def test_each_of_several_that_nobody_knows_is_said(self) -> None:
        coverage = Coverage({"h": placed(custodians=("nobody@acme.com", "u:guest"))}, knowing(HISTORY))
        address, user = sorted(coverage.doubts, key=lambda doubt: doubt.what)[::-1]
        assert "nobody with the address 'nobody@acme.com'" in address.what
        assert "nothing is covered" in address.what
        assert "nobody called 'u:guest'" in user.what
        assert "only what bears this id" in user.what

    @pytest.mark.parametrize("user_id", ["u:guest", "import:mail:guest@acme.com"])
    def test_an_id_that_the_directory_does_not_know_covers_what_bears_it_and_is_said(self, user_id: str) -> None:
        coverage = Coverage({"h": placed(custodians=(user_id,))}, knowing(HISTORY))
        assert coverage.of_messages(messages([message("1", 5, "g:hall", user_id)]))["h"].to_pylist() == [True]
        (doubt,) = coverage.doubts
        assert (doubt.code, doubt.what) == (
            "unknown-custodian",
            f"the directory knows nobody called {user_id!r}; only what bears this id as its sender or in its chat is covered",
        )

    def test_who_was_never_seen_in_a_channel_is_said(self) -> None:
        coverage = Coverage({"h": placed(custodians=("u:cid",))}, knowing(HISTORY, users=frozenset({"u:cid"})))
        assert [doubt.code for doubt in coverage.doubts] == ["no-channels"]

    def test_an_imported_conversation_that_names_them_is_one_that_they_are_in(self) -> None:
        known = knowing(HISTORY, talks={"u:ann": frozenset({"import:slack-T1:D1"})})
        assert covered(placed(custodians=("u:ann",)), [message("1", 5, "import:slack-T1:D1")], known) == ["1"]

    def test_where_they_wrote_and_no_list_shows_them_is_told(self) -> None:
        coverage = Coverage({"h": placed(custodians=("u:ann",), from_at_ms=10), "all": placed()}, knowing(HISTORY))
        rows = [
            message("listed", 250, "g:deal", "u:ann"),
            message("after", 700, "g:deal", "u:ann"),
            message("never", 250, "g:hall", "u:ann"),
            message("too-early", 5, "g:early", "u:ann"),
            message("direct", 250, "u:ann,u:bob", "u:ann"),
            message("other", 250, "g:other", "u:bob"),
        ]
        assert coverage.unlisted(messages(rows)) == {"h": {"g:deal", "g:hall"}}
        assert coverage.unlisted(messages(rows[:1])) == {"h": frozenset()}


class TestOtherParts:
    def test_a_channel_is_covered_by_its_id_or_any_name_it_has_had(self) -> None:
        known = knowing(HISTORY, names={"deal": frozenset({"g:deal"}), "deal-closed": frozenset({"g:deal"})})
        rows = [message("1", 5, "g:deal"), message("2", 5, "g:hall")]
        for said in ("g:deal", "deal", "#Deal-Closed", "deal*"):
            assert covered(placed(chats=(said,)), rows, known) == ["1"]

    def test_a_channel_that_takes_the_name_later_is_covered_then(self) -> None:
        hold, rows = placed(chats=("project-*",)), [message("1", 5, "g:new")]
        assert covered(hold, rows) == []
        assert covered(hold, rows, knowing(names={"project-x": frozenset({"g:new"})})) == ["1"]

    def test_a_chat_that_the_directory_does_not_know_is_covered_by_its_id_and_said(self) -> None:
        coverage = Coverage({"h": placed(chats=("g:gone",))}, knowing(HISTORY))
        assert coverage.of_messages(messages([message("1", 5, "g:gone")]))["h"].to_pylist() == [True]
        assert [doubt.code for doubt in coverage.doubts] == ["unknown-chat"]

    def test_a_push_that_cannot_be_read_is_covered_by_a_pattern_of_its_chat_and_by_no_other(self) -> None:
        rows = messages([message("1", 5, "g:gone-1"), message("2", 5, "g:hall")])
        coverage = Coverage({"h": placed(chats=("g:gone-*",))}, knowing(HISTORY))
        assert coverage.of_pushes(rows)["h"].to_pylist() == [True, False]

    def test_a_pattern_of_ids_covers_chats_that_the_directory_does_not_know(self) -> None:
        rows = [message("1", 5, "import:slack-T1:C1"), message("2", 5, "g:hall")]
        assert covered(placed(chats=("import:slack-T1:*",)), rows) == ["1"]

    def test_a_one_to_one_chat_is_covered_in_whatever_order_its_two_are_named(self) -> None:
        rows = [message("1", 5, "u:ann,u:bob"), message("2", 5, "u:ann,u:cid")]
        assert covered(placed(chats=("u:bob,u:ann",)), rows) == ["1"]

    def test_dates_are_from_an_instant_until_before_another(self) -> None:
        rows = [message(str(at_ms), at_ms) for at_ms in (9, 10, 19, 20)]
        assert covered(placed(from_at_ms=10, until_ms=20), rows) == ["10", "19"]
        assert covered(placed(from_at_ms=10), rows) == ["10", "19", "20"]
        assert covered(placed(until_ms=20), rows) == ["9", "10", "19"]

    def test_an_instant_of_zero_is_an_instant(self) -> None:
        rows = [message("before", -1), message("after", 0)]
        assert covered(placed(from_at_ms=0), rows) == ["after"]
        assert covered(placed(until_ms=0), rows) == ["before"]

    def test_parts_are_met_together_and_of_values_one_is_enough(self) -> None:
        rows = [
            message("1", 5, "g:hall", "u:ann"),
            message("2", 5, "g:other", "u:ann"),
            message("3", 5, "g:hall", "u:bob"),
            message("4", 50, "g:hall", "u:ann"),
            message("5", 5, "g:more", "u:cid"),
        ]
        scope = placed(custodians=("u:ann", "u:cid"), chats=("g:hall", "g:more"), until_ms=10)
        assert covered(scope, rows) == ["1", "5"]

    def test_an_empty_scope_asks_for_nothing_and_so_covers_everything(self) -> None:
        assert covered(placed(), [message("1", 5)]) == ["1"]

    def test_an_expression_that_cannot_be_read_makes_a_hold_wider_and_never_narrower(self) -> None:
        hold = placed(chats=("g:hall",), expression="((")
        coverage = Coverage({"h": hold}, knowing(HISTORY))
        rows = messages([message("1", 5, "g:hall"), message("2", 5, "g:deal")])
        assert coverage.of_messages(rows)["h"].to_pylist() == [True, False]
        assert [doubt.code for doubt in coverage.doubts] == ["unread-expression"]


def test_what_a_hold_may_not_cover_is_told_of_each_with_what_to_do() -> None:
    holds = {
        "unread": placed(expression="((", chats=("g:gone",)),
        "shrinking": placed(expression="NOT from:ann", custodians=("nobody@acme.com", "u:guest", "u:cid")),
    }
    coverage = Coverage(holds, knowing(HISTORY, users=frozenset({"u:cid"})))
    by_id = (
        "Flock tells the addresses only of users who installed the app: name the user by the id instead, which "
        '`archiver query "SELECT user_id, first_name, last_name, email FROM users"` lists'
    )
    assert coverage.doubts == (
        Doubt(
            "shrinking",
            "may-shrink",
            "the expression 'NOT from:ann' leaves out what may become true of a message later, by a new name or a file, "
            "and what it covered would be let go of then",
            "if that is not meant, say what to hold and not what to leave out",
        ),
        Doubt(
            "unread",
            "unread-expression",
            "the expression '((' cannot be read (search expression, character 2: nothing closes this parenthesis), so the "
            "hold covers whatever meets its other parts",
            "use the version that it was placed with, or a newer one",
        ),
        Doubt(
            "shrinking",
            "unknown-custodian",
            "the directory knows nobody with the address 'nobody@acme.com'; nothing is covered for it until somebody has it",
            by_id,
        ),
        Doubt(
            "shrinking",
            "unknown-custodian",
            "the directory knows nobody called 'u:guest'; only what bears this id as its sender or in its chat is covered",
            by_id,
        ),
        Doubt(
            "shrinking",
            "no-channels",
            "no list of members ever showed 'u:cid', so that of channels only what they sent is covered",
            "name the channels by --channel in a hold of their own if they were in any",
        ),
        Doubt(
            "unread",
            "unknown-chat",
            "the directory knows no chat 'g:gone'; the hold covers it as soon as there is one",
            'if it is misspelt, place the hold anew; `archiver query "SELECT chat_id, name FROM conversations"` lists chats',
        ),
    )


def test_what_a_hold_comes_to_says_what_is_searched_and_whom_that_means_now() -> None:
    known = knowing(HISTORY, directory=Directory(people={"u:ann": Known(names=("Ann",))}))
    reach = Coverage({"h": placed(expression="from:ann merger", zone="Europe/Berlin")}, known).reaches["h"]
    assert (reach.search, reach.meant) == (("from:ann merger", "Europe/Berlin"), (("u:ann",),))


@pytest.mark.parametrize(
    ("first_ms", "last_ms", "may"), [(5, 9, False), (5, 10, True), (12, 15, True), (19, 30, True), (20, 30, False)]
)
def test_what_was_sent_outside_of_all_dates_need_not_be_read(first_ms: int, last_ms: int, *, may: bool) -> None:
    coverage = Coverage({"h": placed(from_at_ms=10, until_ms=20), "g": placed(until_ms=-5)}, knowing())
    assert coverage.may_cover(first_ms, last_ms) is may
    assert not Coverage({}, knowing()).may_cover(first_ms, last_ms)


class TestFiles:
    HOLD = placed(custodians=("u:ann",))

    def held(self, rows: list[Row], of: list[Row], hold: PlacedHold = HOLD) -> list[bool]:
        found: list[bool] = Coverage({"h": hold}, knowing(HISTORY)).of_files(files(rows), messages(of))["h"].to_pylist()
        return found

    def test_a_file_is_held_with_its_message(self) -> None:
        of = [message("1", 5, "g:hall", "u:ann"), message("2", 5, "g:hall", "u:bob")]
        rows = [file("2", 5, "g:hall"), file("1", 5, "g:hall"), file("1", 5, "g:hall", 1)]
        assert self.held(rows, of) == [False, True, True]

    def test_any_version_of_the_message_is_enough(self) -> None:
        of = [message("1", 5, "g:hall", "u:bob"), message("1", 5, "g:hall", "u:bob", on_behalf_of="u:ann", version=2)]
        assert self.held([file("1", 5, "g:hall")], of) == [True]

    def test_one_uid_in_two_chats_is_two_messages(self) -> None:
        of = [message("1", 5, "g:hall", "u:ann"), message("1", 5, "g:deal", "u:bob")]
        assert self.held([file("1", 5, "g:deal"), file("1", 5, "g:hall")], of) == [False, True]

    def test_a_file_whose_message_is_not_there_is_covered_unless_its_own_facts_say_no(self) -> None:
        hold = placed(custodians=("u:ann",), chats=("g:hall",), until_ms=10)
        rows = [file("1", 5, "g:hall"), file("2", 5, "g:deal"), file("3", 50, "g:hall")]
        assert self.held(rows, [], hold) == [True, False, False]


@pytest.mark.parametrize("count", [0, 1])
def test_tables_of_no_rows_and_of_several_pieces_are_tables(count: int) -> None:
    coverage = Coverage({"h": placed(custodians=("u:ann",), chats=("g:hall",))}, knowing(HISTORY))
    rows = messages([message("1", 5, "g:hall", "u:ann")])
    pieces = pa.concat_tables([rows.slice(0, 0), *[rows] * count])
    assert coverage.of_messages(pieces)["h"].to_pylist() == [True] * count
    encoded = pieces.set_column(
        pieces.schema.get_field_index("chat_id"), "chat_id", pieces.column("chat_id").dictionary_encode()
    )
    assert coverage.of_messages(encoded)["h"].to_pylist() == [True] * count
    assert coverage.of_files(files([]), pieces)["h"].to_pylist() == []


def test_only_the_columns_that_are_asked_for_are_needed() -> None:
    rows = messages([message("1", 5, "g:hall", "u:ann")])
    for hold in (placed(custodians=("u:ann",)), placed(chats=("g:hall",)), placed(until_ms=9)):
        coverage = Coverage({"h": hold}, knowing(HISTORY))
        assert coverage.of_messages(rows.select(coverage.message_columns))["h"].to_pylist() == [True]
    for coverage in (Coverage({"h": placed(until_ms=9)}, knowing()), Coverage({}, Membership())):
        assert coverage.message_columns == coverage.file_columns == ("chat_id", "message_uid", "sent_at")


def test_where_nothing_is_held_nothing_is_covered() -> None:
    assert Coverage({}, Membership()).of_messages(messages([message("1", 5)])) == {}
    assert any_of({}, rows=2).to_pylist() == [False, False]


def test_any_hold_is_enough() -> None:
    coverage = Coverage({"a": placed(chats=("g:hall",)), "b": placed(chats=("g:deal",))}, knowing(HISTORY))
    masks = coverage.of_messages(
        messages([message("1", 5, "g:hall"), message("2", 5, "g:deal"), message("3", 5, "g:x")])
    )
    assert list(masks) == ["a", "b"]
    assert any_of(masks, rows=3).to_pylist() == [True, True, False]


def test_what_is_captured_after_a_hold_was_placed_is_covered() -> None:
    """Also where it rests on what the directory tells later: here, that somebody is in a channel."""
    archive = small_archive.found(MemoryStore())
    head = archive.founding_head()
    head = small_archive.add(
        archive, head, {}, attempt="aaaaaaaa", hold=hold_change("h", custodians=("u:ann",)), kind="hold"
    )
    row = message("m-1", small_archive.at_ms(20), "g:new", "u:bob")
    head = small_archive.add(archive, head, {"messages": [row]}, attempt="bbbbbbbb")
    assert read_coverage(archive.store, head).of_messages(messages([row]))["h"].to_pylist() == [False]
    head = small_archive.add(
        archive, head, {"groups": [member("g:new", "u:ann", small_archive.at_ms(22))]}, attempt="cccccccc"
    )
    assert read_coverage(archive.store, head).of_messages(messages([row]))["h"].to_pylist() == [True]


def hold_change(name: str, **scope: Any) -> HoldChange:
    return HoldChange(name=name, action="place", reason="a lawsuit", scope=HoldScope(**scope))


# Small worlds, in which everybody meets everybody: few people, few channels, few instants.
PEOPLE = ["u:ann", "u:bob", "u:cid"]
CHANNELS = ["g:1", "g:2"]
ADDRESSES = {"ann@acme.com": {"u:ann"}, "team@acme.com": {"u:bob", "u:cid"}}
INSTANTS = st.integers(-2, 8)

histories = st.lists(
    st.builds(
        member, st.sampled_from(CHANNELS), st.sampled_from(PEOPLE), INSTANTS, st.sampled_from(["member", "left"])
    ),
    max_size=24,
)
CHATS = [*CHANNELS, "u:ann,u:bob", "u:bob,u:cid"]
rows_sent = st.lists(
    st.builds(
        message,
        st.sampled_from(["1", "2", "3"]),
        INSTANTS,
        st.sampled_from(CHATS),
        st.sampled_from([*PEOPLE, "u:zoe"]),
        on_behalf_of=st.none() | st.sampled_from(PEOPLE),
        visible_to=st.none() | st.lists(st.sampled_from(PEOPLE), max_size=2),
    ),
    max_size=12,
)
scopes = st.builds(
    HoldScope,
    custodians=st.lists(st.sampled_from([*PEOPLE, *ADDRESSES, "nobody@acme.com"]), max_size=2, unique=True).map(tuple),
    chats=st.lists(st.sampled_from(CHATS), max_size=2, unique=True).map(tuple),
    from_at_ms=st.none() | INSTANTS,
    until_ms=st.none() | INSTANTS,
)


def membership_of(history: list[Row]) -> Membership:
    addresses = {address: frozenset(users) for address, users in ADDRESSES.items()}
    return Membership(groups=groups(history), addresses=addresses, users=frozenset(PEOPLE), chats=frozenset(CHATS))


def mask_of(scope: HoldScope, rows: list[Row], history: list[Row]) -> list[bool]:
    hold = PlacedHold(scope=scope, reason="", actor="", placed_at="", sequence=1)
    found: list[bool] = Coverage({"h": hold}, membership_of(history)).of_messages(messages(rows))["h"].to_pylist()
    return found


@given(scope=scopes, rows=rows_sent, history=histories)
def test_a_plain_reading_of_the_law_says_the_same(scope: HoldScope, rows: list[Row], history: list[Row]) -> None:
    assert mask_of(scope, rows, history) == [covers(scope, row, history, ADDRESSES) for row in rows]


@given(
    scope=scopes, further=st.sampled_from([*PEOPLE, *ADDRESSES, "nobody@acme.com"]), rows=rows_sent, history=histories
)
def test_naming_one_more_custodian_never_covers_less(
    scope: HoldScope, further: str, rows: list[Row], history: list[Row]
) -> None:
    if not scope.custodians:
        return  # a scope that asks for nobody covers everybody's
    wider = HoldScope(
        custodians=(*scope.custodians, further), chats=scope.chats, from_at_ms=scope.from_at_ms, until_ms=scope.until_ms
    )
    before, after = mask_of(scope, rows, history), mask_of(wider, rows, history)
    assert all(now for was, now in zip(before, after, strict=True) if was)


@given(scope=scopes, rows=rows_sent, history=histories, seed=st.randoms(use_true_random=False))
def test_the_order_of_rows_and_of_history_never_matters(
    scope: HoldScope, rows: list[Row], history: list[Row], seed: Any
) -> None:
    expected = Counter(zip(map(str, rows), mask_of(scope, rows, history), strict=True))
    seed.shuffle(rows)
    seed.shuffle(history)
    assert Counter(zip(map(str, rows), mask_of(scope, rows, history), strict=True)) == expected


@given(scope=scopes, rows=rows_sent, history=histories)
def test_files_are_held_exactly_with_their_messages(scope: HoldScope, rows: list[Row], history: list[Row]) -> None:
    hold = PlacedHold(scope=scope, reason="", actor="", placed_at="", sequence=1)
    of_files = [file(row["message_uid"], row["sent_at"], row["chat_id"]) for row in rows]
    found = Coverage({"h": hold}, membership_of(history)).of_files(files(of_files), messages(rows))["h"].to_pylist()
    held = {
        (row["chat_id"], row["message_uid"])
        for row, is_held in zip(rows, mask_of(scope, rows, history), strict=True)
        if is_held
    }
    assert found == [(row["chat_id"], row["message_uid"]) in held for row in rows]
