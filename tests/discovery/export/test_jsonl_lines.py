"""Lines of JSON that were made of rows are to the byte those that are made of messages, whatever is in them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver.discovery.export.assembly import Assembly
from archiver.discovery.export.formats.jsonl import JsonlWriter
from archiver.discovery.export.formats.jsonl_lines import LINES_AT_ONCE_MAX
from archiver.discovery.export.formats.parts import PART_BYTES_MAX
from archiver.discovery.export.record import Slice
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.tally import Tally
from tests.discovery.export.lived import at_ms
from tests.discovery.export.slices import TERMS
from tests.discovery.export.test_plain import PEOPLE, assembly, row, rows, slices

ZONES = ["UTC", "Asia/Tokyo", "America/New_York", "Africa/Monrovia", "Australia/Lord_Howe"]
# What JSON escapes, what it need not, and what takes more than one byte.
HOSTILE = "".join(map(chr, range(32))) + '"\\/\x7f\x85\u2028\ufffdß田🙂'

__all__ = ["assembly"]


class Files:
    """A sink that keeps what is written, by path."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}

    def has(self, path: str) -> bool:
        return False

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        stream = io.BytesIO()
        yield stream
        self.written[path] = stream.getvalue()


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def written(
    parts: Sequence[Slice], zone: str, executor: Executor | None = None, *, part_bytes_max: int = PART_BYTES_MAX
) -> dict[str, bytes]:
    files = Files()
    terms = replace(TERMS, zone=ZoneInfo(zone), executor=executor)
    writer = JsonlWriter(terms, files, part_bytes_max=part_bytes_max)
    for part in parts:
        writer.add(part)
    writer.finish()
    return files.written


def as_made(parts: Sequence[Slice]) -> list[Slice]:
    """The same slices, of messages that were made."""
    return [replace(part, messages=tuple(part.messages)) for part in parts]


@settings(max_examples=25)
@given(drawn=rows(), zone=st.sampled_from(ZONES), again=st.sets(st.integers(0, 5), max_size=2))
@example(
    drawn=[
        row(number, plain_text=HOSTILE, raw=HOSTILE, sender_name=HOSTILE, attachments=text, mentions=[HOSTILE])
        for number, text in enumerate(["", None, HOSTILE])
    ],
    zone="UTC",
    again=set(),
)
@example(  # two slices with the first instants of 1970 and the last before it, of a zone that was seconds off
    drawn=[row(0, sent_at=-1), row(1, sent_at=-60_001), row(2, sent_at=0), row(3, chat_id="g:lunch", sent_at=1)],
    zone="Africa/Monrovia",
    again=set(),
)
def test_lines_of_rows_are_those_of_messages(
    assembly: Assembly, pool: Executor, drawn: list[dict[str, Any]], zone: str, again: set[int]
) -> None:
    assembly = replace(assembly, zone=ZoneInfo(zone))
    captured = drawn + [{**drawn[place], "source": "history"} for place in again if place < len(drawn)]
    parts = slices(assembly, captured)
    assert written(parts, zone, pool) == written(parts, zone) == written(as_made(parts), zone)


def test_lines_of_many_rows_are_those_of_messages(assembly: Assembly, pool: Executor) -> None:
    many = LINES_AT_ONCE_MAX + 100
    drawn = [
        row(
            number,
            chat_id="g:deal" if number % 3 else "g:lunch",
            sent_at=at_ms(20) + number * 37_123,
            sender_id=PEOPLE[number % len(PEOPLE)],
            mentions=[PEOPLE[number % len(PEOPLE)]],
            on_behalf_of=PEOPLE[0] if number % 97 == 0 else None,
        )
        for number in range(many)
    ]
    # Of a message that was captured twice there are two rows, and what comes behind them is of later rows than places.
    parts = slices(assembly, drawn + [{**each, "source": "history"} for each in drawn[::89]])
    assert sum(len(part.messages) for part in parts) == many
    # A volume may begin or end between any two slices of a block.
    for some in (parts, parts[1:], parts[:-1]):
        assert written(some, "UTC", pool) == written(some, "UTC") == written(as_made(some), "UTC")


@pytest.mark.parametrize("odd_every", [2, 50, 10_000])
def test_files_are_cut_between_the_same_messages_however_lines_are_made(
    assembly: Assembly, pool: Executor, odd_every: int
) -> None:
    drawn = [
        row(number, sent_at=at_ms(20) + number * 1_000_003, on_behalf_of=PEOPLE[0] if number % odd_every == 1 else None)
        for number in range(2000)
    ]
    parts = slices(assembly, drawn)[1:]
    found = written(parts, "UTC", pool, part_bytes_max=100_000)
    assert len(found) > 5
    assert found == written(as_made(parts), "UTC", part_bytes_max=100_000)


@settings(max_examples=15)
@given(drawn=rows())
@example(  # what is odd is counted by itself, and not again by what its row has
    drawn=[
        row(number, version=2, app_id="app-1", on_behalf_of=PEOPLE[0] if number % 2 else None, **{IS_CONTEXT: True})
        for number in range(4)
    ]
)
def test_what_is_counted_of_rows_is_what_is_counted_of_messages(
    assembly: Assembly, drawn: list[dict[str, Any]]
) -> None:
    of_rows, of_messages = Tally(), Tally()
    parts = slices(assembly, drawn)
    for part in parts:
        of_rows.add(part)
    for part in as_made(parts):
        of_messages.add(part)
    assert of_rows == of_messages
