"""What people really wrote, in every load format and read back."""

from __future__ import annotations

import gzip
import json
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pytest

from archiver.clock import from_ms
from archiver.discovery.export.record import Conversation, Person, Slice
from tests.discovery.export import drawn
from tests.discovery.export.slices import TERMS, message, version

MESSAGES = 4_000


def slices_of(path: Path) -> tuple[Slice, ...]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, MESSAGES)]
    numbered = {(row["channel"], row["id"]): number for number, row in enumerate(rows)}

    def day(row: dict[str, Any]) -> tuple[str, str]:
        return row["channel"], from_ms(row["ts_ms"]).astimezone(TERMS.zone).date().isoformat()

    found = []
    chats = {channel: f"chat-{number}" for number, channel in enumerate(sorted({row["channel"] for row in rows}))}
    for (channel, on), group in groupby(sorted(rows, key=lambda row: (*day(row), row["ts_ms"], row["id"])), key=day):
        conversation = Conversation(channel, "channel", channel, (), (), chats[channel])
        messages = [
            message(
                row["id"],
                20,
                Person(row["from"], row["from"]),
                version(row["text"]),
                chat_id=channel,
                sent_at_ms=row["ts_ms"],
                control_number=f"N-{numbered[channel, row['id']]:06}",
            )
            for row in group
        ]
        found.append(Slice(conversation, on, 1, 1, tuple(messages)))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["slack-dd2030", "irc"])
@pytest.mark.parametrize("name", ["rsmf", "eml", "dat", "edrm"])
def test_real_chat_passes_the_check_of_its_format(name: str, source: str, chat_data: Path, tmp_path: Path) -> None:
    parts = slices_of(chat_data / source / "messages.jsonl.gz")
    assert sum(len(part.messages) for part in parts) == MESSAGES
    assert drawn.findings_in(name, tmp_path, parts) == []
