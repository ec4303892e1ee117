"""A restore tells the gaps that concern what was asked for, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive.reader import Archive, Head
from archiver.discovery.restore_missing import gaps
from archiver.discovery.restore_selection import Wanted
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.small_archive import at_ms


def gap(name: str, *, chat_id: str | None, days: tuple[int, int] | None) -> dict[str, object]:
    first, last = (None, None) if days is None else (at_ms(days[0]), at_ms(days[1]))
    return {
        "gap_id": name, "valid_from": at_ms(20), "state": "open", "kind": name, "chat_id": chat_id, "user_id": None,
        "subject": name, "from_at": first, "to_at": last, "count": 1, "evidence": "seen", "state_digest": name,
    }  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Head]:
    folder: Path = tmp_path_factory.mktemp("gaps")
    archive, head = small_archive.build(MemoryStore(), folder)
    rows = [
        gap("early", chat_id="g:one", days=(2, 3)),
        gap("late", chat_id="g:one", days=(20, 21)),
        gap("other", chat_id="g:two", days=(10, 11)),
        gap("all", chat_id=None, days=None),
    ]
    return archive, small_archive.add(archive, head, {"gaps": rows}, attempt="dddddddd")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted(), {"early", "late", "other", "all"}),
        (Wanted(chats=frozenset({"g:one"})), {"early", "late", "all"}),
        (Wanted(from_at_ms=at_ms(9)), {"late", "other", "all"}),
        (Wanted(until_ms=at_ms(12)), {"early", "other", "all"}),
    ],
)
def test_of_chats_and_days(built: tuple[Archive, Head], wanted: Wanted, told: set[str]) -> None:
    ours = {"early", "late", "other", "all"}
    assert {lack.what.split()[0] for lack in gaps(*built, wanted)} & ours == told
