"""Placing and releasing: what a ledger says of it, what is refused, who wins a race, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.commit import Author
from archiver.archive.ledger import HeadMovedError, HoldScope
from archiver.archive.reader import Archive
from archiver.clock import to_text
from archiver.custody.verify import verify
from archiver.errors import RefusedError, StoreUnreachableError, UsageError
from archiver.retention.holds import (
    COMMIT_TRIES_MAX,
    REASON_CHARACTERS_MAX,
    WORD_CHARACTERS_MAX,
    WORDS_MAX,
    Placement,
    Registrar,
    checked,
    history,
    is_in_force,
    place,
    release,
)
from archiver.scope.days import days_in_zone
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped

AT_MS = small_archive.at_ms(24)
SCOPE = HoldScope(custodians=("u:ann",))

_attempts = count(1)


def registrar(store: Store) -> Registrar:
    """Return what one command enters holds with: a run of its own, as each command is."""
    return Registrar(
        archive=Archive.open(store),
        author=Author(run=f"hold-{next(_attempts)}", actor="lawyer", software="test", writer="desk"),
        now_ms=lambda: AT_MS,
        new_attempt=lambda: f"{next(_attempts):08x}",
    )


def asked(name: str = "smith", scope: HoldScope = SCOPE, reason: str = "Smith v. Acme", **further: Any) -> Placement:
    return Placement(name, scope, reason, **further)


# What cannot be a hold, what is said of it, and what to do.
REFUSED = [
    (
        asked("a b"),
        "'a b' is no name for a hold",
        "use 1 to 64 letters, digits, dots, hyphens and underscores, such as smith-v-acme, a letter or digit at both ends",
    ),
    (
        asked(scope=HoldScope(custodians=("x" * (WORD_CHARACTERS_MAX + 1),))),
        f"'{'x' * WORD_CHARACTERS_MAX}' cannot be a custodian",
        "write 1 to 512 printable characters",
    ),
    (asked(scope=HoldScope(chats=("",))), "'' cannot be a chat", "write 1 to 512 printable characters"),
    (
        asked(scope=HoldScope(chats=tuple(map(str, range(WORDS_MAX + 1))))),
        "a hold names at most 10000 of each kind",
        "place several holds",
    ),
    (
        asked(scope=HoldScope(custodians=("*@acme.com",))),
        "'*@acme.com' names nobody: custodians are named one by one",
        "name each by the user id or the e-mail address",
    ),
    (
        asked(scope=HoldScope(from_at_ms=5, until_ms=5)),
        "the hold smith ends before it begins",
        "exchange the first day and the last",
    ),
    (
        asked(scope=HoldScope(expression="merger", zone="Nowhere/Land")),
        "there is no time zone 'Nowhere/Land'",
        "name one of the IANA database, such as Europe/Berlin or UTC",
    ),
    (
        asked(scope=HoldScope()),
        "the hold smith says nothing of what it covers",
        "name custodians, channels, conversations, dates or a search; or say `everything` alone if all is meant",
    ),
    (
        asked(everything=True),
        "the hold smith covers everything and says what it covers, which is not one thing",
        "name custodians, channels, conversations, dates or a search; or say `everything` alone if all is meant",
    ),
    (
        asked(reason=""),
        "the hold smith needs a reason of 1 to 2000 printable characters",
        "give --reason, such as the matter's name and number: it stays in the ledger",
    ),
]


@pytest.fixture
def store() -> Store:
    store = MemoryStore()
    small_archive.found(store)
    return store


class TestPlacing:
    def test_the_ledger_says_who_placed_what_when_and_why(self, store: Store) -> None:
        placed = place(registrar(store), asked())
        assert (placed.name, placed.is_new) == ("smith", True)
        (entry,) = [entry for entry, _ in Archive.open(store).entries()]
        assert (entry.kind, entry.actor, entry.at, entry.added) == ("hold", "lawyer", to_text(AT_MS), ())
        assert entry.hold is not None
        assert (entry.hold.name, entry.hold.action, entry.hold.reason) == ("smith", "place", "Smith v. Acme")
        hold = Archive.open(store).head().holds["smith"]
        assert hold == placed.hold
        assert (hold.scope, hold.reason, hold.actor, hold.sequence) == (SCOPE, "Smith v. Acme", "lawyer", 1)

    def test_placing_the_same_again_adds_nothing_and_says_so(self, store: Store) -> None:
        first = place(registrar(store), asked())
        again = place(registrar(store), asked(reason="said in other words"))
        assert not again.is_new
        assert again.hold == first.hold
        assert Archive.open(store).head().sequence == 1

    def test_the_order_of_words_makes_no_other_hold(self, store: Store) -> None:
        place(registrar(store), asked(scope=HoldScope(custodians=("u:b", " u:a", "u:b"), chats=("x", "a"))))
        again = place(registrar(store), asked(scope=HoldScope(custodians=("u:a", "u:b"), chats=("a", "x"))))
        assert not again.is_new

    def test_another_scope_under_a_name_in_use_is_refused(self, store: Store) -> None:
        place(registrar(store), asked())
        other = asked(scope=HoldScope(custodians=("u:ann", "u:bob")))
        with pytest.raises(RefusedError) as raised:
            place(registrar(store), other)
        what = f"the hold smith is in force with another scope, placed by lawyer at {to_text(AT_MS)}"
        assert raised.value.what == what
        assert raised.value.next_step == (
            "choose another name: several holds add up; `archiver hold show smith` tells what this one covers"
        )
        with pytest.raises(RefusedError) as raised:
            is_in_force(Archive.open(store).head(), replace(other, place="holds.yaml:3"))
        assert raised.value.what == f"holds.yaml:3: {what}"
        assert Archive.open(store).head().holds["smith"].scope == SCOPE

    def test_a_name_that_differs_in_its_case_alone_is_refused(self, store: Store) -> None:
        place(registrar(store), asked())
        with pytest.raises(RefusedError) as raised:
            place(registrar(store), asked("Smith"))
        assert raised.value.what == "the hold smith is in force, and Smith would be taken for it"
        assert raised.value.next_step == "choose a name that differs in more than its case"
        with pytest.raises(RefusedError) as raised:
            is_in_force(Archive.open(store).head(), asked("Smith", place="holds.yaml:3"))
        assert raised.value.what.startswith("holds.yaml:3: the hold smith")

    @pytest.mark.parametrize("name", ["", "-x", "x-", "a b", "a/b", "../x", "ä", "x" * 65, "a\nb", ".", "a\x1b[2J"])
    def test_a_name_is_a_safe_identifier(self, store: Store, name: str) -> None:
        with pytest.raises(UsageError, match="is no name for a hold"):
            place(registrar(store), asked(name))

    @pytest.mark.parametrize("reason", ["", "  \n ", "x" * (REASON_CHARACTERS_MAX + 1), "a\x1b[2Jb"])
    def test_a_reason_is_required(self, store: Store, reason: str) -> None:
        with pytest.raises(UsageError, match="needs a reason"):
            place(registrar(store), asked(reason=reason))

    def test_a_scope_that_says_nothing_is_refused_unless_everything_is_meant(self, store: Store) -> None:
        with pytest.raises(UsageError, match="says nothing of what it covers"):
            place(registrar(store), asked(scope=HoldScope()))
        assert place(registrar(store), asked(scope=HoldScope(), everything=True)).is_new
        with pytest.raises(UsageError, match="not one thing"):
            place(registrar(store), asked("other", everything=True))

    @pytest.mark.parametrize(
        "scope",
        [
            HoldScope(custodians=("",)),
            HoldScope(custodians=("*@acme.com",)),
            HoldScope(custodians=("u:\x1b[2J",)),
            HoldScope(chats=("x" * 513,)),
            HoldScope(from_at_ms=5, until_ms=5),
        ],
    )
    def test_words_that_cannot_be_meant_are_refused(self, store: Store, scope: HoldScope) -> None:
        with pytest.raises(UsageError):
            place(registrar(store), asked(scope=scope))
        assert Archive.open(store).head().sequence == 0

    def test_a_hold_names_so_many_of_a_kind_and_no_more(self) -> None:
        people = tuple(f"u:{number}" for number in range(WORDS_MAX))
        assert len(checked(asked(scope=HoldScope(custodians=people))).scope.custodians) == WORDS_MAX
        with pytest.raises(UsageError, match=f"at most {WORDS_MAX} of each kind"):
            checked(asked(scope=HoldScope(custodians=(*people, "u:one-more"))))

    @pytest.mark.parametrize("pattern", ["a?n", "a*"])
    def test_custodians_are_no_patterns(self, pattern: str) -> None:
        with pytest.raises(UsageError, match="names nobody"):
            checked(asked(scope=HoldScope(custodians=(pattern,))))

    def test_an_id_is_no_pattern_whatever_stands_in_it(self) -> None:
        assert checked(asked(scope=HoldScope(custodians=("import:irc:a*",)))).scope.custodians == ("import:irc:a*",)

    def test_words_and_reasons_may_be_so_long_and_no_longer(self) -> None:
        scope, reason = HoldScope(chats=("x" * WORD_CHARACTERS_MAX,)), "r" * REASON_CHARACTERS_MAX
        assert checked(asked(scope=scope, reason=reason)) == asked(scope=scope, reason=reason)

    @pytest.mark.parametrize("line", ["", "holds.yaml:3"])
    @pytest.mark.parametrize(("placement", "what", "next_step"), REFUSED)
    def test_what_is_wrong_is_said_with_where_it_was_written_and_what_to_do(
        self, placement: Placement, what: str, next_step: str, line: str
    ) -> None:
        with pytest.raises(UsageError) as raised:
            checked(replace(placement, place=line))
        assert raised.value.what == (f"{line}: {what}" if line else what)
        assert raised.value.next_step == next_step

    def test_days_in_an_expression_are_those_of_utc_unless_a_zone_is_named(self) -> None:
        assert checked(asked(scope=HoldScope(expression="merger"))).scope.zone == "UTC"
        assert checked(asked(scope=HoldScope(expression="merger", zone="Asia/Kolkata"))).scope.zone == "Asia/Kolkata"
        assert checked(asked(scope=HoldScope(custodians=("u:ann",), zone="Asia/Kolkata"))).scope.zone is None


class TestReleasing:
    def test_a_release_is_an_entry_with_its_reason_and_the_hold_stays_in_the_history(self, store: Store) -> None:
        place(registrar(store), asked())
        released = release(registrar(store), "smith", reason="settled")
        assert (released.name, released.sequence, released.hold.scope) == ("smith", 2, SCOPE)
        assert Archive.open(store).head().holds == {}
        events = list(history(Archive.open(store)))
        assert [(event.action, event.reason, event.scope) for event in events] == [
            ("place", "Smith v. Acme", SCOPE), ("release", "settled", None),
        ]  # fmt: skip

    def test_a_name_that_no_hold_has_is_a_mistake_with_the_nearest(self, store: Store) -> None:
        place(registrar(store), asked("smith-v-acme"))
        with pytest.raises(UsageError, match="no hold is called 'smith-v-acne'") as raised:
            release(registrar(store), "smith-v-acne", reason="settled")
        assert raised.value.next_step == "did you mean smith-v-acme?"

    def test_of_many_names_that_are_near_the_nearest_three_are_told(self, store: Store) -> None:
        for number in range(1, 5):
            place(registrar(store), asked(f"smith-{number}"))
        with pytest.raises(UsageError) as raised:
            release(registrar(store), "smith-v", reason="settled")
        told = raised.value.next_step.removeprefix("did you mean ").removesuffix("?").split(" or ")
        assert len(told) == 3
        assert set(told) < {f"smith-{number}" for number in range(1, 5)}

    def test_the_release_of_another_hold_is_not_told_of_a_name_that_none_ever_had(self, store: Store) -> None:
        place(registrar(store), asked())
        release(registrar(store), "smith", reason="settled")
        with pytest.raises(UsageError) as caught:
            release(registrar(store), "jones", reason="settled")
        assert caught.value.what == "no hold is called 'jones'"
        assert caught.value.next_step == "`archiver hold list` has those in force"

    def test_one_that_was_released_before_is_told_with_who_and_when(self, store: Store) -> None:
        place(registrar(store), asked())
        release(registrar(store), "smith", reason="settled")
        with pytest.raises(UsageError) as raised:
            release(registrar(store), "smith", reason="settled")
        assert raised.value.what == (
            f"the hold smith is not in force: lawyer released it at {to_text(AT_MS)}, in entry 2"
        )
        assert raised.value.next_step == "`archiver hold list --all` has the history of all holds"

    def test_a_reason_is_required(self, store: Store) -> None:
        place(registrar(store), asked())
        with pytest.raises(UsageError, match=r"^releasing the hold smith needs a reason"):
            release(registrar(store), "smith", reason=" ")
        assert "smith" in Archive.open(store).head().holds

    def test_a_released_name_may_be_used_again(self, store: Store) -> None:
        place(registrar(store), asked())
        release(registrar(store), "smith", reason="settled")
        placed = place(registrar(store), asked(scope=HoldScope(chats=("deal",))))
        assert placed.is_new
        assert placed.hold.sequence == 3


def is_sound(store: Store) -> bool:
    with ThreadPoolExecutor(1) as executor:
        return not verify(store, level="full", executor=executor).damages


class BusyStore(FaultyStore):
    """Lets another writer commit just before each of the first creates of a ledger entry."""

    def __init__(self, store: Store, others: list[Callable[[], object]]) -> None:
        super().__init__(store)
        self._others = others

    def create(self, key: str, data: bytes | Path) -> None:
        if key.startswith("ledger/0") and self._others:
            self._others.pop(0)()
        super().create(key, data)


class TestRaces:
    def test_a_hold_that_loses_to_a_run_is_entered_on_the_run_s_head(self, store: Store) -> None:
        def a_run_commits() -> None:
            archive = Archive.open(store)
            number = next(_attempts)
            rows = [small_archive.message(f"m-{number}", 20, "hello")]
            small_archive.add(archive, archive.head(), {"messages": rows}, attempt=f"{number:08x}")

        placed = place(registrar(BusyStore(store, [a_run_commits] * 3)), asked())
        assert (placed.is_new, placed.hold.sequence) == (True, 4)
        assert Archive.open(store).head().rows == {"messages": 3}

    def test_of_two_who_place_one_name_the_second_is_refused(self, store: Store) -> None:
        other = HoldScope(custodians=("u:bob",))
        busy = BusyStore(store, [lambda: place(registrar(store), asked(scope=other))])
        with pytest.raises(RefusedError, match="another scope"):
            place(registrar(busy), asked())
        assert Archive.open(store).head().holds["smith"].scope == other

    def test_of_two_who_place_the_same_both_are_told_that_it_is_in_force(self, store: Store) -> None:
        busy = BusyStore(store, [lambda: place(registrar(store), asked())])
        assert not place(registrar(busy), asked()).is_new
        assert Archive.open(store).head().sequence == 1

    def test_a_release_does_not_hit_a_hold_that_was_placed_anew_meanwhile(self, store: Store) -> None:
        place(registrar(store), asked())

        def others() -> None:
            release(registrar(store), "smith", reason="settled")
            place(registrar(store), asked(scope=HoldScope(custodians=("u:bob",))))

        with pytest.raises(RefusedError) as raised:
            release(registrar(BusyStore(store, [others])), "smith", reason="settled")
        assert raised.value.what == (
            f"the hold smith was released and placed anew by lawyer at {to_text(AT_MS)}, while this command ran"
        )
        assert raised.value.next_step == (
            "look at it with `archiver hold show smith`, and release it if that is still meant"
        )
        assert Archive.open(store).head().holds["smith"].scope.custodians == ("u:bob",)

    def test_who_loses_again_and_again_is_told_that_nothing_was_added(self, store: Store) -> None:
        names = count(1)
        others = [lambda: place(registrar(store), asked(f"other-{next(names)}"))] * (COMMIT_TRIES_MAX + 1)
        with pytest.raises(HeadMovedError):
            place(registrar(BusyStore(store, others)), asked())
        assert len(others) == 1
        assert "smith" not in Archive.open(store).head().holds

    def test_many_at_once_all_get_their_holds(self, store: Store) -> None:
        with ThreadPoolExecutor(6) as executor:
            results = list(executor.map(lambda number: place(registrar(store), asked(f"hold-{number}")), range(6)))
        assert all(result.is_new for result in results)
        assert sorted(Archive.open(store).head().holds) == [f"hold-{number}" for number in range(6)]


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_crash_at_any_moment_leaves_the_hold_or_not_and_placing_again_settles_it(effect: Effect) -> None:
    counting = FaultyStore(MemoryStore())
    small_archive.found(counting.inner)
    place(registrar(counting), asked())
    for number in range(1, counting.operations + 1):
        store = MemoryStore()
        small_archive.found(store)
        with pytest.raises(Stopped):
            place(registrar(FaultyStore(store, stop_at=number, effect=effect)), asked())
        assert set(Archive.open(store).head().holds) <= {"smith"}
        place(registrar(store), asked())
        assert Archive.open(store).head().sequence == 1
        assert is_sound(store)


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_answer_that_was_lost_is_found_out_by_asking_again(effect: Effect) -> None:
    counting = FaultyStore(MemoryStore())
    small_archive.found(counting.inner)
    place(registrar(counting), asked())
    for number in range(1, counting.operations + 1):
        store = MemoryStore()
        small_archive.found(store)
        try:
            place(registrar(FaultyStore(store, fail_at=[number], effect=effect)), asked())
        except StoreUnreachableError:
            place(registrar(store), asked())
        assert Archive.open(store).head().sequence == 1


def test_an_archive_with_holds_verifies(tmp_path: Path) -> None:
    archive, _ = small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    place(registrar(archive.store), asked())
    place(registrar(archive.store), asked("all", HoldScope(), everything=True))
    release(registrar(archive.store), "smith", reason="settled")
    assert is_sound(archive.store)
    assert list(Archive.open(archive.store).head().holds) == ["all"]


class TestDays:
    def test_days_are_whole_local_days_of_the_named_zone(self) -> None:
        start, end = days_in_zone(date(2026, 3, 28), date(2026, 3, 29), zone="Europe/Berlin")
        assert start is not None
        assert end is not None
        assert (to_text(start), to_text(end)) == ("2026-03-27T23:00:00.000Z", "2026-03-29T22:00:00.000Z")

    def test_a_midnight_that_comes_twice_or_never_makes_the_span_longer(self) -> None:
        # Havana puts its clock back from one o'clock to midnight, so that 1 November 2026 begins twice.
        start, _ = days_in_zone(date(2026, 11, 1), None, zone="America/Havana")
        _, end = days_in_zone(None, date(2026, 10, 31), zone="America/Havana")
        assert start is not None
        assert end is not None
        assert (to_text(start), to_text(end)) == ("2026-11-01T04:00:00.000Z", "2026-11-01T05:00:00.000Z")

    def test_a_day_that_is_not_given_is_no_bound(self) -> None:
        assert days_in_zone(None, None, zone="UTC") == (None, None)
        assert days_in_zone(None, date.max, zone="UTC") == (None, None)

    def test_the_first_day_of_all_is_a_day(self) -> None:
        assert days_in_zone(date.min, None, zone="Asia/Tokyo")[0] is not None

    @pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", ""])
    def test_a_zone_that_nobody_knows_is_a_mistake(self, zone: str) -> None:
        with pytest.raises(UsageError, match="there is no time zone"):
            days_in_zone(date(2026, 1, 1), None, zone=zone)
