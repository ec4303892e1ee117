"""What people really wrote, most of it Japanese, is found with the index as it is without."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest

from archiver.discovery.search_count import count_messages
from archiver.store.memory import MemoryStore
from tests.discovery.searched import all_pages, places_of, refreshed
from tests.expression.expressions import parsed
from tests.small_archive import add, found, message

ASKED = [
    *(
        "会議",
        "テスト OR デモ",
        '"ありがとう"',
        "github*",
        '"of the"',
        "👍",
        '"install error"~5',
        "ＡＩ",  # noqa: RUF001 - full width is what is tested
        "µ",
        "選挙 NOT github*",
    ),
    *('"の 会議"~20', "ubuntu kernel", "from:u:3 の"),
]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["slack-dd2030", "irc"])
def test_real_chat_is_found_with_the_index_as_without(chat_data: Path, tmp_path: Path, source: str) -> None:
    with gzip.open(chat_data / source / "messages.jsonl.gz", "rt", encoding="utf-8") as lines:
        said = [json.loads(line)["text"] for line in islice(lines, 12_000)]
    archive = found(MemoryStore())
    rows = [
        message(f"m-{number:05}", 1 + number % 28, text, sender_id=f"u:{number % 7}", raw="{}")
        for number, text in enumerate(said)
    ]
    head = add(archive, archive.founding_head(), {"messages": rows}, attempt="aaaaaaaa")
    index = refreshed(archive, head, tmp_path).open(head)
    for text in ASKED:
        expression = parsed(text)
        indexed, read = (places_of(archive, head, opened, expression) for opened in (index, None))
        hits = all_pages(indexed, expression)
        assert hits == all_pages(read, expression), text
        assert count_messages(indexed, expression, at_any_cost=True) == len(hits), text
