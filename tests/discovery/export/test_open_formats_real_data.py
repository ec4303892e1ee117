"""Real people's chat through every readable and open format: nothing in it that a format cannot hold, and no text that comes back another."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from archiver.clock import from_ms
from archiver.discovery.export.record import Conversation, Message, Person, Slice
from tests.discovery.export.packages import package
from tests.discovery.export.slices import TERMS, version

MESSAGES_MAX = 15_000
PART_MESSAGES = 700

pytestmark = pytest.mark.slow


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        yield from map(json.loads, lines)


def slices_of(folder: Path) -> tuple[Slice, ...]:
    records = [record for record, _ in zip(read(folder, "messages"), range(MESSAGES_MAX), strict=False)]
    records.sort(key=lambda record: (record["channel"], record["ts_ms"], record["id"]))
    parts: list[Slice] = []
    for number, (channel, of_channel) in enumerate(groupby(records, key=lambda record: record["channel"])):
        room = Conversation(channel, "channel", channel, (), (), f"room-{number}")
        messages = [message_of(record, number * 1_000_000 + at) for at, record in enumerate(of_channel)]
        for day, of_day in groupby(messages, key=day_of):
            whole = tuple(of_day)
            cut = [whole[at : at + PART_MESSAGES] for at in range(0, len(whole), PART_MESSAGES)]
            parts += [Slice(room, day, at, len(cut), part) for at, part in enumerate(cut, 1)]
    return tuple(parts)


def message_of(record: dict[str, Any], number: int) -> Message:
    said = [version(record["text"], raw=json.dumps(record))]
    if "edited_ts_ms" in record:
        said.append(replaced_text(record, said[0].text))
    return Message(
        chat_id=record["channel"],
        message_uid=record["id"],
        control_number=f"REAL-{number:08d}",
        sent_at_ms=record["ts_ms"],
        sent_at_basis="timestampInMillis",
        sender=Person(record["from"], record["from"]),
        versions=tuple(said),
        reply_to=record.get("thread_id") if record.get("thread_id") != record["id"] else None,
    )


def replaced_text(record: dict[str, Any], before: str) -> Any:
    """A second version of a message that was edited: its words in another order, so that there is something to compare."""
    return version(" ".join(reversed(before.split(" "))), 2, observed_at_ms=record["edited_ts_ms"])


def day_of(message: Message) -> str:
    local: datetime = from_ms(message.sent_at_ms).astimezone(TERMS.zone)
    return local.date().isoformat()


@pytest.mark.parametrize("source", ["slack-dd2030", "irc"])
@pytest.mark.parametrize("name", ["html", "csv", "jsonl", "parquet", "slack"])
def test_real_chat_is_written_and_read_back(source: str, name: str, chat_data: Path, tmp_path: Path) -> None:
    parts = slices_of(chat_data / source)
    made = package(name, tmp_path, terms=replace(TERMS, gaps=()), slices=parts)
    assert made.written.messages == sum(len(part.messages) for part in parts)
    assert made.findings() == []
    if name == "jsonl":
        texts = [
            json.loads(line)["versions"][0]["text"]
            for path in sorted(made.data.glob("messages-*"))
            for line in path.read_bytes().split(b"\n")[:-1]
        ]
        assert texts == [message.versions[0].text for part in parts for message in part.messages]
