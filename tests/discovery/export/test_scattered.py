"""Which messages have rows under several days, and how little is read to know it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.reader import Head
from archiver.discovery.export.identities import Identities, read_identities
from archiver.discovery.export.scattered import read_scattered
from archiver.scope.reach import BETWEEN
from archiver.store.memory import MemoryStore
from tests.small_archive import add, at_ms, found, message

DAYS = range(17, 22)
IMPORTED = ["1", "10", "2", "b-7", "1795", "z"]
Row = tuple[str, str, int]


class Recording(MemoryStore):
    """Remembers under which days objects of messages were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.days: list[int] = []

    def open(self, key: str) -> BinaryIO:
        if key.startswith("messages/"):
            self.days.append(int(key[len("messages/dt=2026-11-") :][:2]))
        return super().open(key)


def own(day: int, name: str = "x") -> str:
    """A uid as Flock makes them, which states when the message was sent."""
    return f"{at_ms(day)}-{name}"


def slack(day: int, number: int) -> str:
    """A uid as Slack makes them: seconds and a number."""
    return f"{at_ms(day) // 1_000}.{number:06}"


def archived(rows: Sequence[Row], *, basis: str = "timestampInMillis") -> tuple[Recording, Head]:
    store = Recording()
    archive = found(store)
    messages = [
        message(uid, day, "x", chat_id=chat, sent_at_basis=basis, observed_at=at_ms(day) + number)
        for number, (chat, uid, day) in enumerate(rows)
    ]
    return store, add(archive, archive.founding_head(), {"messages": messages}, attempt="aaaaaaaa")


def scattered(store: MemoryStore, head: Head, **limits: int) -> dict[tuple[str, ...], set[int]]:
    """By message the days under which it is looked for."""
    return {
        tuple(key.split(BETWEEN)): {on.day for on in some.days}
        for some in read_scattered(store, head, Identities(), **limits)
        for key in some.keys.to_pylist()
    }


def several(rows: Sequence[Row]) -> dict[tuple[str, str], set[int]]:
    days: dict[tuple[str, str], set[int]] = {}
    for chat, uid, day in rows:
        days.setdefault((chat, uid), set()).add(day)
    return {key: lies for key, lies in days.items() if len(lies) > 1}


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["g:1", "u:1,u:2"]),
        st.sampled_from([*IMPORTED, *(own(day) for day in DAYS), *(slack(day, 1) for day in DAYS)]),
        st.sampled_from(list(DAYS)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(rows=ROWS, limit=st.sampled_from([1, 3, 1_000]))
def test_it_is_just_those_that_have_rows_under_several_days_or_lie_astray(rows: list[Row], limit: int) -> None:
    store, head = archived(rows)
    days = scattered(store, head, messages_max=limit, uids_max=limit)
    astray = {(chat, uid) for chat, uid, day in rows if uid[13:14] == "-" and uid != own(day)}
    assert days.keys() == several(rows).keys() | astray
    for key, lies in several(rows).items():
        assert lies <= days[key]


class TestWhatIsRead:
    def read(self, rows: Sequence[Row]) -> list[int]:
        store, head = archived(rows)
        store.days.clear()
        scattered(store, head)
        return sorted(store.days)

    def test_nothing_where_every_uid_states_its_time(self) -> None:
        assert self.read([("g:1", own(day, name), day) for day in DAYS for name in "ab"]) == []

    def test_nothing_of_what_came_from_slack_whose_uids_are_times_too(self) -> None:
        """Also where both stand in one object, between whose ends others stand."""
        rows = [("g:1", slack(day, number), day) for day in DAYS for number in (1, 2)]
        assert self.read(rows) == []
        assert self.read([*rows, *(("g:1", own(day), day) for day in DAYS)]) == []

    def test_a_day_with_another_uid_is_read_and_the_others_only_where_it_may_stand(self) -> None:
        rows = [("g:1", own(day), day) for day in DAYS]
        assert self.read([*rows, ("g:1", "z", 18)]) == [18]
        between = f"{at_ms(20)}+"
        assert between < own(20)
        rows += [("g:1", f"{at_ms(20) - 1}-x", 20), ("g:1", between, 18)]
        assert self.read(rows) == [18, 20]

    def test_days_whose_ranges_meet_are_read(self) -> None:
        assert self.read([("g:1", "1", 17), ("g:1", "3", 17), ("g:1", "2", 18), ("g:1", "4", 19)]) == [17, 18]


def test_a_message_that_tells_no_time_at_all_is_found_wherever_else_it_lies() -> None:
    rows = [("g:1", "7", 17), ("g:1", "7", 19)]
    store, head = archived(rows, basis="observed")
    assert scattered(store, head) == {("g:1", "7"): {17, 19}}


@pytest.fixture
def reconciled() -> tuple[MemoryStore, Head]:
    """A message that came without a uid, then with one of an import's, and then again by which it lies under another day."""
    store = MemoryStore()
    archive = found(store)
    nameless = "provisional:" + "0" * 32
    same: dict[str, Any] = {"client_id": "c-1", "sent_at": at_ms(17)}
    rows = [
        message(nameless, 17, "the same", **same),
        message("7", 17, "the same", **same),
        message("7", 19, "another", version=2, supersedes="00"),
    ]
    return store, add(archive, archive.founding_head(), {"messages": rows}, attempt="aaaaaaaa")


def test_what_turned_out_to_be_a_scattered_message_stands_with_it(reconciled: tuple[MemoryStore, Head]) -> None:
    store, head = reconciled
    identities = read_identities(store, head)
    [some] = read_scattered(store, head, identities, messages_max=1)
    assert len(some.keys) == 2
    assert some.days == {date(2026, 11, 17), date(2026, 11, 19)}
