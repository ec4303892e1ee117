"""Plain messages are made column by column, and all others with care: nobody can tell by a message which way it was made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.schema import TABLES
from archiver.discovery.export.assembly import BLOCK_ROWS, MESSAGE_COLUMNS, WITHOUT_UID, Assembly
from archiver.discovery.export.opened import assembly_of
from archiver.discovery.export.order import DAY, in_order, with_first
from archiver.discovery.export.record import Message, Slice
from archiver.discovery.export.redaction import Redaction, Rule
from archiver.discovery.export.runs import Runs
from archiver.discovery.export.selection import IS_CONTEXT
from archiver.discovery.export.stretches import OBJECT
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


def row(number: int, **further: Any) -> dict[str, Any]:
    """A row of a plain message, the only one of it."""
    return {
        "chat_id": "g:deal",
        "chat_kind": "channel",
        "message_uid": f"m-{number}",
        "version": 1,
        "sent_at": at_ms(20) + number,
        "sent_at_basis": "timestampInMillis",
        "observed_at": at_ms(23) + number,
        "source": "webhook",
        "captured_by": "general",
        "sender_id": PEOPLE[0],
        "plain_text": f"text {number}",
        "raw": "{}",
        "raw_digest": f"raw {number}",
        "content_digest": f"content {number}",
        OBJECT: 0,
        IS_CONTEXT: False,
        **further,
    }


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One row for each message, in a few conversations and days."""
    return [
        row(
            number,
            chat_id=draw(st.sampled_from(["g:deal", "g:lunch", "g:unknown"])),
            version=draw(st.integers(1, 2)),
            sent_at=at_ms(20) + draw(st.integers(-3_000, 3_000)) * MINUTE_MS,
            source=draw(st.sampled_from(["webhook", "fetch"])),
            sender_id=draw(st.sampled_from(PEOPLE)),
            sender_name=draw(some(TEXTS)),
            send_as_name=draw(some(TEXTS)),
            on_behalf_of=draw(some(st.sampled_from(PEOPLE))),
            app_id=draw(some(st.just("app-1"))),
            flockml=draw(some(TEXTS)),
            notification=draw(some(TEXTS)),
            plain_text=draw(TEXTS),
            mentions=draw(some(st.lists(st.sampled_from(PEOPLE), max_size=2))),
            visible_to=draw(some(st.lists(st.sampled_from(PEOPLE), max_size=2))),
            attachments=draw(some(TEXTS)),
            raw=draw(TEXTS),
            **{IS_CONTEXT: draw(st.booleans())},
        )
        for number in range(draw(st.integers(1, 6)))
    ]


def slices(assembly: Assembly, given_rows: list[dict[str, Any]], block_rows: int = BLOCK_ROWS) -> list[Slice]:
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        runs.add(table(given_rows), no_files())
        return list(replace(assembly, block_rows=block_rows).slices(runs.given()))


def table(given_rows: list[dict[str, Any]]) -> pa.Table:
    fields = [TABLES["messages"].schema.field(name) for name in MESSAGE_COLUMNS]
    schema = pa.schema([*fields, pa.field(OBJECT, pa.int32()), pa.field(IS_CONTEXT, pa.bool_())])
    return with_first(pa.Table.from_pylist(given_rows, schema=schema), TABLES["files"].schema.empty_table())[0]


def no_files() -> pa.Table:
    files = TABLES["files"].schema.empty_table()
    return with_first(TABLES["messages"].schema.empty_table(), files)[1]


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


@settings(max_examples=20)
@given(drawn=rows(), order=st.randoms(use_true_random=False), zone=st.sampled_from(["UTC", "America/New_York"]))
def test_rows_are_in_the_same_order_however_they_came(drawn: list[dict[str, Any]], order: Random, zone: str) -> None:
    ordered = in_order(table(drawn), ZoneInfo(zone))
    order.shuffle(drawn)
    assert in_order(table(drawn), ZoneInfo(zone)).to_pylist() == ordered.to_pylist()
    # Those that are in order stay as they are.
    assert in_order(ordered.drop_columns([DAY]), ZoneInfo(zone)).to_pylist() == ordered.to_pylist()


def test_versions_of_a_message_are_put_in_order_where_only_they_are_not() -> None:
    newest = row(1, version=2, observed_at=at_ms(24))
    ordered = in_order(table([row(0), newest, row(1, observed_at=at_ms(23)), row(2)]), ZoneInfo("UTC"))
    assert ordered.column("version").to_pylist() == [1, 1, 2, 1]


def test_what_turned_out_to_be_a_message_is_counted_with_it_also_where_its_conversation_is_called_otherwise(
    assembly: Assembly,
) -> None:
    redaction = Redaction((Rule("pattern bob", "bob"),), {"u:bob": "person-1"}, is_active=True)
    true_chat = "u:ann,u:bob"
    shown_chat = redaction.shown_chat(true_chat)
    assert shown_chat != true_chat
    redacted = replace(assembly, redaction=redaction, unnamed={(true_chat, "m-1"): 2})
    found = slices(redacted, [row(number, chat_id=shown_chat) for number in range(3)])
    assert [(part.captures, part.left_out[WITHOUT_UID]) for part in found] == [(5, 2)]


def test_rows_that_went_through_files_written_beside_come_back_as_they_were(assembly: Assembly, tmp_path: Path) -> None:
    chats = ["g:deal", "g:lunch", "g:unknown"]
    drawn = [row(number, chat_id=chats[number * 7 % 3], sent_at=at_ms(20) + number * MINUTE_MS) for number in range(90)]
    with ThreadPoolExecutor(1) as executor:
        runs = Runs(tmp_path, executor, memory_bytes_max=1, group_bytes_max=1, piece_bytes_min=1)
        for start in range(0, len(drawn), 20):
            runs.add(table(drawn[start : start + 20]), no_files())
        assert list(assembly.slices(runs.given())) == slices(assembly, drawn)
    assert len(list(tmp_path.iterdir())) == 5
