"""An expression finds exactly the rows that it is true of, however quickly it looks."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.schema import MESSAGES
from archiver.expression import Directory, Facts, Known, fold, matching_rows, parse_expression
from archiver.expression.nodes import Near, Words, terms_of
from archiver.expression.prefilter import characters_that_fold, could_say
from archiver.expression.saying import says
from tests.expression.expressions import CHATS, EXPRESSIONS, PEOPLE, TEXTS, is_said, is_true, parsed

DIRECTORY = Directory(
    people={user: Known(tuple(names), tuple(emails)) for user, (names, emails) in PEOPLE.items()},
    chats={chat: Known(tuple(names)) for chat, names in CHATS.items()},
)
# Around midnights in Berlin, the turns of the clocks among them.
INSTANTS = [
    datetime(2026, 2, 28, 22, 59, 59, 999_000, UTC),
    datetime(2026, 2, 28, 23, 0, tzinfo=UTC),
    datetime(2026, 3, 31, 21, 59, tzinfo=UTC),
    datetime(2026, 3, 31, 22, 0, tzinfo=UTC),
    datetime(2025, 12, 31, 23, 0, tzinfo=UTC),
    datetime(2026, 10, 24, 22, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 22, 30, tzinfo=UTC),
]
MESSAGE = st.fixed_dictionaries(
    {
        "chat": st.sampled_from(
            [("g:1", "channel"), ("g:2", "channel"), ("u:ann,u:bob", "direct"), ("u:ann,u:ann", "direct")]
        ),
        "sender_id": st.sampled_from(["u:ann", "u:bob", "u:Bot"]),
        "sent_at": st.sampled_from(INSTANTS),
        "app_id": st.sampled_from([None, None, "app"]),
        "visible_to": st.sampled_from([None, None, ["u:bob"], []]),
        "mimes": st.sampled_from([[], [], ["image/png"], ["application/pdf", "image/png"]]),
        "is_missing": st.booleans(),
        "is_contract": st.booleans(),
        "versions": st.lists(
            st.fixed_dictionaries(
                {
                    "plain_text": TEXTS,
                    "text": st.one_of(st.none(), TEXTS),
                    "notification": st.one_of(st.none(), TEXTS),
                    "attached": st.one_of(st.none(), TEXTS),
                }
            ),
            min_size=1,
            max_size=2,
        ),
    }
)


def rows_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the messages: their columns, and beside them the facts that the plain reading asks for."""
    rows = []
    for number, message in enumerate(messages):
        for version, texts in enumerate(message["versions"], 1):
            text = texts["plain_text"] if texts["text"] is None else texts["text"]
            rows.append(
                {key: value for key, value in message.items() if key not in ("versions", "chat")}
                | {
                    "chat_id": message["chat"][0],
                    "chat_kind": message["chat"][1],
                    "message_uid": f"m{number}",
                    "version": version,
                    "sender_name": PEOPLE[message["sender_id"]][0][-1],
                    "plain_text": texts["plain_text"],
                    "text": text,
                    "notification": texts["notification"],
                    "attachments": texts["attached"] and json.dumps([{"title": texts["attached"], "url": "merger"}]),
                    "texts": [
                        found
                        for found in (texts["plain_text"], text, texts["notification"], texts["attached"])
                        if found
                    ],
                    "is_edited": len(message["versions"]) > 1,
                }
            )
    return rows


def table_of(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=pa.schema([MESSAGES.schema.field(name) for name in columns]))


def facts_of(rows: list[dict[str, Any]]) -> Facts:
    uid = pa.schema([("chat_id", pa.string()), ("message_uid", pa.string())])
    files = [row | {"mime": mime, "mime_received": None} for row in rows for mime in row["mimes"]]
    return Facts(
        directory=DIRECTORY,
        files=pa.Table.from_pylist(
            files, schema=uid.append(pa.field("mime", pa.string())).append(pa.field("mime_received", pa.string()))
        ),
        missing=pa.Table.from_pylist([row for row in rows if row["is_missing"]], schema=uid),
        labels={
            "Contract": pa.array([row["is_contract"] for row in rows], pa.bool_()),
            "other": pa.nulls(len(rows), pa.bool_()),
        },
    )


@settings(max_examples=60)
@given(EXPRESSIONS, st.lists(MESSAGE, max_size=8))
def test_an_expression_finds_what_a_plain_reading_finds(text: str, messages: list[dict[str, Any]]) -> None:
    expression = parsed(text)
    rows = rows_of(messages)
    found = matching_rows(expression, table_of(rows, expression.columns), facts_of(rows))
    assert found.type == pa.bool_()
    assert found.to_pylist() == [is_true(expression.root, row) for row in rows]


@settings(max_examples=60)
@given(EXPRESSIONS, TEXTS)
def test_the_quick_look_misses_nothing(text: str, said: str) -> None:
    for term in terms_of(parsed(text).root):
        if isinstance(term, (Words, Near)):
            assert says(term)(said) == is_said(term, fold.words(said))
            assert could_say(term, pa.array([said, None])).to_pylist()[0] >= says(term)(said)


def test_the_quick_look_finds_characters_of_every_kind_by_their_own_words() -> None:
    """Whatever folds to something else is found by what it folds to: alone, twice in one word, and with accents."""
    characters = [character for character in characters_that_fold() if fold.words(character)]
    missed = []
    for character in characters[::19]:
        said = f"x {character}\u0301{character} y"
        for wanted in (fold.words(said)[1:-1], fold.words(said)[1:2]):
            term = Words(tuple(wanted))
            assert says(term)(said)
            if not could_say(term, pa.array([said]))[0].as_py():
                missed.append(hex(ord(character)))
    assert not missed


def test_columns_of_several_chunks_and_dictionaries_are_read_as_well() -> None:
    expression = parsed("merger from:u:ann")
    part = table_of(rows_of([]), expression.columns)
    rows = [
        {"plain_text": text, "text": text, "sender_id": sender}
        for text in ("the merger", "other")
        for sender in ("u:ann", "u:bob")
    ]
    whole = pa.concat_tables([part, table_of(rows, expression.columns), part, table_of(rows[:1], expression.columns)])
    for name in ("sender_id", "plain_text"):
        whole = whole.set_column(whole.schema.get_field_index(name), name, whole[name].dictionary_encode())
    assert matching_rows(expression, whole, Facts()).to_pylist() == [True, False, False, False, True]


def test_an_expression_without_its_facts_is_refused() -> None:
    for text in ("has:file", "mime:image/*", "is:missing", "label:x"):
        expression = parsed(text)
        with pytest.raises(ValueError, match="nobody brought"):
            matching_rows(expression, table_of([], expression.columns), Facts())


def test_a_day_that_the_zone_leapt_over_has_no_messages() -> None:
    """Samoa had no 30 December 2011."""
    zone = ZoneInfo("Pacific/Apia")
    leap = datetime(2011, 12, 30, 10, 0, tzinfo=UTC)
    instants = pa.table(
        {
            "sent_at": pa.array([leap.timestamp() * 1000 - 1, leap.timestamp() * 1000], pa.float64())
            .cast(pa.int64())
            .cast(pa.timestamp("ms", "UTC"))
        }
    )
    days = {
        day: matching_rows(parse_expression(f"on:{day}", zone=zone), instants, Facts()).to_pylist()
        for day in ("2011-12-29", "2011-12-30", "2011-12-31")
    }
    assert days == {"2011-12-29": [True, False], "2011-12-30": [False, False], "2011-12-31": [False, True]}


@pytest.mark.parametrize("source", ["slack-dd2030", "irc"])
def test_what_people_really_wrote_is_found_as_a_plain_reading_finds_it(chat_data: Path, source: str) -> None:
    with gzip.open(chat_data / source / "messages.jsonl.gz", "rt", encoding="utf-8") as lines:
        said = [json.loads(line)["text"] for line in islice(lines, 0, None, 8 if source.startswith("slack") else 160)]
    words = [fold.words(text) for text in said]
    for text in (
        "会議",
        "テスト OR デモ",
        "が*",
        '"ありがとう"',
        "github*",
        '"of the"',
        "👍",
        "NOT the",
        '"install error"~5',
        "ＡＩ",
        "µ",
        "1",
    ):
        expression = parsed(text)
        found = matching_rows(
            expression, table_of([{"plain_text": each, "text": each} for each in said], expression.columns), Facts()
        )
        plain = [is_true(expression.root, {"texts": [each]}) for each in said] if "NOT" in text else None
        terms = terms_of(expression.root)
        assert found.to_pylist() == (plain or [any(is_said(term, each) for term in terms) for each in words]), text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"a a a a a a a a b"', "a " * 50_000),
        ('"a b"~1000', "a " * 50_000),
        ('"a b c d e f g h"~0', "a b c d e f g " * 7_000),
        ("aaaaaaaaaaaaaaaaaaaa*", "aaaaaaaaaaaaaaaaaaa " * 5_000),
        ("会会会会会会会会議", "会" * 50_000),
        ('"' + "会" * 400 + '議"', "会" * 50_000),
        ("हिन्दी", "\u094d\u093c" * 50_000),
        ("x", "e" + "\u0301" * 100_000),
    ],
)
def test_a_hostile_text_takes_no_longer_than_its_length(text: str, said: str) -> None:
    expression = parsed(text)

    def took(length: int) -> float:
        table = table_of([{"plain_text": said[:length], "text": said[:length]}], expression.columns)
        start = time.process_time()
        matching_rows(expression, table, Facts())
        return time.process_time() - start

    took(10)
    assert took(len(said)) < max(1.0, 8 * took(len(said) // 4))
