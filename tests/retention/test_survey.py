"""What a hold covers now, counted: whole messages with all their versions and files, each once, wherever they lie."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.reader import PlacedHold
from archiver.retention.coverage import Coverage
from archiver.retention.survey import ChatShare, Survey, survey
from archiver.scope.membership import Membership
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.archive.archive_steps import InlineExecutor
from tests.retention.hold_steps import placed
from tests.retention.lived import at_ms, attached, lived, sent, stated_uid

FIRST, SECOND, THIRD = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 9)


def surveyed(tmp_path: Path, hold: PlacedHold) -> Survey:
    archive, head = small_archive.build(MemoryStore(), tmp_path)
    return survey(archive.store, head, Coverage({"h": hold}, Membership()), executor=InlineExecutor())["h"]


def test_each_hold_counts_chats_versions_days_files_and_each_content_once() -> None:
    """The chat with the most messages first, then by id; a chat's name is its latest; a file keeps its bytes through all its versions."""
    stored: dict[str, Any] = {"status": "stored", "blob_digest": "aa" * 32, "blob_bytes": 100}
    other: dict[str, Any] = {"status": "stored", "blob_digest": "bb" * 32, "blob_bytes": 23}
    named: dict[str, Any] = {"chat_id": "g:general", "chat_kind": "channel", "captured_by": "x", "state_digest": "00"}
    straddling = stated_uid(FIRST)
    archive, head = lived(
        [
            {
                "messages": [
                    sent(straddling, FIRST), sent("m-2", SECOND), sent("m-3", SECOND, chat_id="g:z"), sent("m-4", THIRD, chat_id="g:b"),
                    sent("m-5", THIRD, chat_id="g:b", sender_id="u:bob"), sent("m-6", SECOND, chat_id="g:a", sender_id="u:bob"),
                ],
                "files": [
                    attached(straddling, FIRST, 0, **stored), attached(straddling, FIRST, 1), attached("m-2", SECOND, 0, **stored),
                    attached("m-4", THIRD, 0, chat_id="g:b", **other),
                ],
                "conversations": [{**named, "name": "lobby", "valid_from": at_ms(FIRST)}, {**named, "name": "hall", "valid_from": at_ms(SECOND)}],
            },
            {"messages": [sent(straddling, THIRD, version=2)], "files": [attached(straddling, THIRD, 0, version=2, **stored)]},
        ]
    )  # fmt: skip
    holds = {"ann": placed(custodians=("u:ann",)), "b": placed(chats=("g:b",)), "none": placed(chats=("g:none",))}
    first, second, third = (day.isoformat() for day in (FIRST, SECOND, THIRD))
    of_b = ChatShare("g:b", None, 2, 2, 1, third, third)
    assert survey(archive.store, head, Coverage(holds, Membership()), executor=InlineExecutor()) == {
        "ann": Survey(
            messages=4,
            versions=5,
            files=4,
            stored_files=3,
            file_bytes=123,
            first_on=first,
            last_on=third,
            chats=(
                ChatShare("g:general", "hall", 2, 3, 3, first, third),
                ChatShare("g:b", None, 1, 1, 1, third, third),
                ChatShare("g:z", None, 1, 1, 0, second, second),
            ),
            unlisted=("g:b", "g:general", "g:z"),
        ),
        "b": Survey(2, 2, 1, 1, 23, third, third, (of_b,)),
        "none": Survey(0, 0, 0, 0, 0, None, None, ()),
    }


def test_everything_is_every_message_and_file_with_first_and_last_day(tmp_path: Path) -> None:
    found = surveyed(tmp_path, placed())
    assert (found.messages, found.versions) == (small_archive.MESSAGES, small_archive.MESSAGE_ROWS)
    assert (found.files, found.stored_files, found.file_bytes) == (1, 1, len(small_archive.FILE_BYTES))
    assert (found.first_on, found.last_on) == ("2026-11-20", "2026-11-22")
    assert [(chat.chat_id, chat.messages, chat.files) for chat in found.chats] == [
        ("g:general", 5, 1),
        ("u:ann,u:bob", 1, 0),
    ]


def test_by_chat_with_its_days(tmp_path: Path) -> None:
    found = surveyed(tmp_path, placed(chats=("u:ann,u:bob",)))
    assert found.chats == (ChatShare("u:ann,u:bob", None, 1, 1, 0, "2026-11-22", "2026-11-22"),)
    assert (found.messages, found.files, found.file_bytes) == (1, 0, 0)


def test_what_covers_nothing_is_nothing(tmp_path: Path) -> None:
    found = surveyed(tmp_path, placed(custodians=("u:nobody",)))
    assert found == Survey(0, 0, 0, 0, 0, None, None, ())


def test_days_outside_the_dates_are_not_read(tmp_path: Path) -> None:
    class Watched(MemoryStore):
        opened: list[str]

        def open(self, key: str) -> Any:
            self.opened.append(key)
            return super().open(key)

    store = Watched()
    store.opened = []
    archive, head = small_archive.build(store, tmp_path)
    store.opened.clear()
    hold = placed(from_at_ms=small_archive.at_ms(21, 0), until_ms=small_archive.at_ms(22, 0))
    found = survey(archive.store, head, Coverage({"h": hold}, Membership()), executor=InlineExecutor())["h"]
    assert (found.messages, found.files) == (2, 1)
    assert {key.split("/")[1] for key in store.opened} == {"dt=2026-11-21"}


def test_one_version_that_is_covered_holds_all_of_the_message(tmp_path: Path) -> None:
    archive = small_archive.found(MemoryStore())
    rows = [
        small_archive.message("m-1", 20, "one"),
        small_archive.message("m-1", 20, "two", version=2, on_behalf_of="u:bob"),
        small_archive.message("m-2", 20, "three"),
    ]
    head = small_archive.add(archive, archive.founding_head(), {"messages": rows}, attempt="aaaaaaaa")
    found = survey(
        archive.store, head, Coverage({"h": placed(custodians=("u:bob",))}, Membership()), executor=InlineExecutor()
    )["h"]
    assert (found.messages, found.versions) == (1, 2)


def test_progress_is_told_by_days(tmp_path: Path) -> None:
    archive, head = small_archive.build(MemoryStore(), tmp_path)
    told: list[tuple[int, int]] = []
    coverage = Coverage({"h": placed()}, Membership())
    survey(archive.store, head, coverage, executor=InlineExecutor(), progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("uid", [stated_uid(FIRST), "m-1"])
@pytest.mark.parametrize("on", [FIRST, THIRD])
def test_under_whichever_day_the_covered_version_lies_the_message_is_counted_once_and_whole(uid: str, on: date) -> None:
    archive, head = lived(
        [
            {"messages": [sent(uid, FIRST), sent("m-2", SECOND)], "files": [attached(uid, FIRST)]},
            {"messages": [sent(uid, THIRD, version=2)], "files": [attached(uid, THIRD, version=2)]},
        ]
    )
    hold = placed(from_at_ms=at_ms(on, 0), until_ms=at_ms(on, 23))
    found = survey(archive.store, head, Coverage({"h": hold}, Membership()), executor=InlineExecutor())["h"]
    assert (found.messages, found.versions, found.files) == (1, 2, 1)
    assert (found.first_on, found.last_on) == (FIRST.isoformat(), THIRD.isoformat())
