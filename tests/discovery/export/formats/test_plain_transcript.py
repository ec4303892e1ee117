"""Messages as plain text: what is said of them, and that nothing in them can pass for something else."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from archiver.clock import EARLIEST_MS, LATEST_MS
from archiver.discovery.export.formats.plain_transcript import (
    local_text,
    one_line,
    part_of_day,
    placeholder,
    why_missing,
)
from tests.discovery.export import slices

STORED = slices.stored("minutes.txt", "minutes", "N-1")


@pytest.mark.parametrize(
    ("zone", "at_ms", "text"),
    [
        ("UTC", 0, "1970-01-01T00:00:00.000+00:00"),
        ("Asia/Kolkata", 1, "1970-01-01T05:30:00.001+05:30"),
        ("Europe/Berlin", 1_774_745_999_999, "2026-03-29T01:59:59.999+01:00"),
        ("Europe/Berlin", 1_774_746_000_000, "2026-03-29T03:00:00.000+02:00"),
        ("Europe/Berlin", -2_500_000_000_000, "1890-10-11T19:33:20.000Z"),  # 53 minutes and 28 seconds from UTC
        ("Asia/Tokyo", LATEST_MS, "9999-12-31T23:59:59.999Z"),
        ("America/New_York", EARLIEST_MS, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_an_instant_always_has_an_offset_that_rfc_3339_can_say(zone: str, at_ms: int, text: str) -> None:
    assert local_text(at_ms, ZoneInfo(zone)) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann  Lee", "Ann Lee"),
        (" Ann\r\nBob\x00 ", "Ann Bob"),
        ("gnp\u202eexe", "gnp\ufffdexe"),
        ("a\u2028b\x85c", "a b c"),
        ("田中\u3000健二", "田中\u3000健二"),
        ("é 😀", "é 😀"),
    ],
)
def test_a_name_stays_in_its_line_and_turns_nothing_round(name: str, shown: str) -> None:
    assert one_line(name) == shown


@pytest.mark.parametrize(
    ("part", "parts", "piece", "pieces", "said"),
    [
        (1, 1, 1, 1, ""),
        (2, 3, 1, 1, "part 2 of 3"),
        (1, 1, 2, 4, "part 2 of 4"),
        (2, 3, 1, 4, "part 2 of 3, piece 1 of 4"),
    ],
)
def test_a_day_in_parts_says_which_one_it_is(part: int, parts: int, *, piece: int, pieces: int, said: str) -> None:
    assert part_of_day(part, parts, piece=piece, pieces=pieces) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": None}, "the bytes of files were left out of this export; the SHA-256 of its bytes is"),
        (
            {"path": None, "status": "lost", "reason": "they are damaged"},
            "its bytes are not here (lost): they are damaged; the SHA-256",
        ),
        ({"path": None, "sha256": None, "status": "failed"}, "its bytes are not here (failed): no reason is known"),
        (
            {"size": 2_000_000_000},
            "its 2000000000 bytes are too many to stand here; they lie in the package at data/natives/",
        ),
    ],
)
def test_why_a_file_is_not_there_is_said_as_it_is_known(changes: dict[str, object], said: str) -> None:
    file = structs.replace(STORED, **changes)
    assert why_missing(file).startswith(said)
    assert said in placeholder(file)
