"""A hold beats everything: whatever a plan of anything says, what a hold covers is there afterwards, bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.commit import Author
from archiver.archive.ledger import HeadMovedError, HoldScope
from archiver.archive.reader import Archive, Head
from archiver.clock import DAY_MS
from archiver.errors import RefusedError
from archiver.retention.coverage import read_coverage
from archiver.retention.holds import Placement, Registrar, place
from archiver.retention.plan_document import store_plan
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AT_MS
from tests.faulty_store import FaultyStore
from tests.retention import disposing
from tests.retention.hold_steps import covers

_numbers = count(1)

CHATS = ["g:0", "g:1", "g:2", "g:9", "u:1,u:2"]
SCOPES = st.builds(
    HoldScope,
    custodians=st.lists(st.sampled_from(["u:1", "u:2", "u:3"]), max_size=1).map(tuple),
    chats=st.lists(st.sampled_from(CHATS), max_size=2, unique=True).map(lambda chats: tuple(sorted(chats))),
    from_at_ms=st.none() | st.integers(-1, 5).map(lambda day: AT_MS + day * DAY_MS),
    until_ms=st.none() | st.integers(6, 8).map(lambda day: AT_MS + day * DAY_MS),
)


def hold(store: Store, name: str, scope: HoldScope) -> None:
    number = next(_numbers)
    registrar = Registrar(
        archive=Archive.open(store),
        author=Author(run=f"hold-{number}", actor="lawyer", software="test", writer="desk"),
        now_ms=lambda: AT_MS,
        new_attempt=lambda: f"{number:08x}",
    )
    place(registrar, Placement(name, scope, "a lawsuit", everything=scope == HoldScope()))


def messages_of(store: Store, head: Head) -> list[dict[str, Any]]:
    return disposing.rows_in(store, head, "messages")


@settings(max_examples=6)
@given(scopes=st.lists(SCOPES, min_size=1, max_size=2), placed_before_the_plan=st.booleans())
def test_of_a_plan_of_everything_only_what_no_hold_covers_goes(
    scopes: list[HoldScope], *, placed_before_the_plan: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive, head = disposing.build(MemoryStore(), Path(folder))
    store = archive.store
    before = messages_of(store, head)
    items = sorted({(row["chat_id"], row["message_uid"]) for row in before})
    held = {
        (row["chat_id"], row["message_uid"]) for row in before if any(covers(scope, row, [], {}) for scope in scopes)
    }

    def place_all() -> Head:
        for number, scope in enumerate(scopes):
            hold(store, f"hold-{number}", scope)
        return archive.head()

    if placed_before_the_plan:
        head = place_all()
    plan = disposing.plan_for(archive, head, items)
    store_plan(store, plan)
    head = archive.head() if placed_before_the_plan else place_all()
    coverage = read_coverage(store, head)
    if held == set(items):
        with pytest.raises(RefusedError, match="a hold keeps all of them"):
            disposing.apply(archive, head, plan, coverage=coverage)
    else:
        disposing.apply(archive, head, plan, coverage=coverage)
    after = messages_of(store, archive.head())
    assert {(row["chat_id"], row["message_uid"]) for row in after} == held
    kept = [row for row in before if (row["chat_id"], row["message_uid"]) in held]
    assert sorted(map(repr, after)) == sorted(map(repr, kept))


def test_a_hold_that_is_placed_while_a_plan_is_applied_stops_it(tmp_path: Path) -> None:
    """The disposal has read which holds there are, and is about to say in the ledger what is gone."""

    class Racing(FaultyStore):
        act: Callable[[], None] | None = None

        def create(self, key: str, data: bytes | Path) -> None:
            if key.startswith("ledger/0") and self.act is not None:
                act, self.act = self.act, None
                act()
            super().create(key, data)

    inner = MemoryStore()
    archive, head = disposing.build(Racing(inner), tmp_path)
    plan = disposing.plan_for(archive, head, [disposing.EDITED])
    store_plan(inner, plan)
    before = disposing.every_row(inner, head)
    assert isinstance(archive.store, Racing)
    archive.store.act = lambda: hold(inner, "smith", HoldScope(chats=("g:1",)))
    with pytest.raises(HeadMovedError):
        disposing.apply(archive, head, plan, coverage=read_coverage(inner, head))
    head = Archive.open(inner).head()
    assert list(head.holds) == ["smith"]
    assert disposing.every_row(inner, head) == before
    with pytest.raises(RefusedError, match="a hold keeps all of them"):
        disposing.apply(archive, head, plan, coverage=read_coverage(inner, head), attempt="d15905ee")
