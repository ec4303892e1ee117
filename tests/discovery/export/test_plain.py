"""Plain messages are made column by column, and all others with care: nobody can tell by a message which way it was made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.schema import TABLES
from archiver.discovery.export.assembly import BLOCK_ROWS, MESSAGE_COLUMNS, Assembly
from archiver.discovery.export.record import Message, Slice
from archiver.discovery.export.runs import Runs
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import OBJECT
from archiver.discovery.export.verb import assembly_of
from tests.discovery.export import lived
from tests.discovery.export.lived import at_ms, wanted

MINUTE_MS = 60_000
TEXTS = st.text(max_size=2)
PEOPLE = ("u:ann", "u:bob", "u:nobody-knows", "u:Bot00000000000")


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return assembly_of(lived.opened(lived.fresh(tmp_path_factory.mktemp("lived")), wanted()))


def some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), of)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One row for each message, in a few conversations and days."""
    return [
        {
            "chat_id": draw(st.sampled_from(["g:deal", "g:lunch", "g:unknown"])),
            "chat_kind": "channel",
            "message_uid": f"m-{number}",
            "version": draw(st.integers(1, 2)),
            "sent_at": at_ms(20) + draw(st.integers(-3_000, 3_000)) * MINUTE_MS,
            "sent_at_basis": "timestampInMillis",
            "observed_at": at_ms(23) + number,
            "source": draw(st.sampled_from(["webhook", "fetch"])),
            "captured_by": "general",
            "sender_id": draw(st.sampled_from(PEOPLE)),
            "sender_name": draw(some(TEXTS)),
            "send_as_name": draw(some(TEXTS)),
            "on_behalf_of": draw(some(st.sampled_from(PEOPLE))),
            "app_id": draw(some(st.just("app-1"))),
            "flockml": draw(some(TEXTS)),
            "notification": draw(some(TEXTS)),
            "plain_text": draw(TEXTS),
            "mentions": draw(some(st.lists(st.sampled_from(PEOPLE), max_size=2))),
            "visible_to": draw(some(st.lists(st.sampled_from(PEOPLE), max_size=2))),
            "attachments": draw(some(TEXTS)),
            "raw": draw(TEXTS),
            "raw_digest": f"raw {number}",
            "content_digest": f"content {number}",
            OBJECT: 0,
            IS_CONTEXT: draw(st.booleans()),
        }
        for number in range(draw(st.integers(1, 6)))
    ]


def slices(assembly: Assembly, given_rows: list[dict[str, Any]], block_rows: int = BLOCK_ROWS) -> list[Slice]:
    fields = [TABLES["messages"].schema.field(name) for name in MESSAGE_COLUMNS]
    schema = pa.schema([*fields, pa.field(OBJECT, pa.int32()), pa.field(IS_CONTEXT, pa.bool_())])
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        table = pa.Table.from_pylist(given_rows, schema=schema)
        runs.add(table, TABLES["files"].schema.empty_table())
        return list(replace(assembly, block_rows=block_rows).slices(runs))


def messages(parts: list[Slice]) -> Iterator[Message]:
    return (message for part in parts for message in part.messages)


@settings(max_examples=20)
@given(drawn=rows(), zone=st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]))
def test_a_message_that_was_captured_again_is_told_as_one_that_was_not(
    assembly: Assembly, drawn: list[dict[str, Any]], zone: str
) -> None:
    assembly = replace(assembly, zone=ZoneInfo(zone))
    again = [{**row, "observed_at": row["observed_at"] + 1, "captured_by": "u:bob"} for row in drawn]
    once, twice = slices(assembly, drawn), slices(assembly, drawn + again)
    assert [replace(part, captures=0, left_out={}) for part in once] == [
        replace(part, captures=0, left_out={}) for part in twice
    ]
    assert (sum(part.captures for part in once), sum(part.captures for part in twice)) == (len(drawn), 2 * len(drawn))


@settings(max_examples=10)
@given(drawn=rows(), again=st.sets(st.integers(0, 5)), block_rows=st.integers(1, 6))
def test_slices_are_the_same_however_many_are_made_at_once(
    assembly: Assembly, drawn: list[dict[str, Any]], again: set[int], block_rows: int
) -> None:
    captured = drawn + [{**drawn[place], "source": "history"} for place in again if place < len(drawn)]
    assert slices(assembly, captured) == slices(assembly, captured, block_rows=block_rows)


@settings(max_examples=10)
@given(drawn=rows())
def test_all_are_there_once_in_order_and_numbered_by_it(assembly: Assembly, drawn: list[dict[str, Any]]) -> None:
    parts = slices(replace(assembly, zone=ZoneInfo("Asia/Tokyo")), drawn)
    order = [(part.conversation.chat_id, part.day) for part in parts]
    assert order == sorted(set(order))
    for part in parts:
        keys = [(message.sent_at_ms, message.message_uid) for message in part.messages]
        assert all(one < other for one, other in pairwise(keys))
    assert {message.message_uid for message in messages(parts)} == {row["message_uid"] for row in drawn}
    numbers = [message.control_number for message in messages(parts)]
    assert numbers == [f"SMITH-V-ACME-{number:08d}" for number in range(1, len(drawn) + 1)]
