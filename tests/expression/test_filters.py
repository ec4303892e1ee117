"""Each filter, by example: which messages it is true of, and whom and what a pattern means."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from archiver.archive.schema import MESSAGES
from archiver.expression import Directory, Facts, Known, matching_rows, parse_expression
from archiver.expression.facts import chat_like, person_like

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW: dict[str, Any] = {
    "chat_id": "g:1",
    "chat_kind": "channel",
    "version": 1,
    "sent_at": NOON,
    "sender_id": "u:ann",
    "sender_name": None,
    "app_id": None,
    "visible_to": None,
    "plain_text": "good morning",
    "text": "good morning",
    "notification": None,
    "attachments": None,
}
DIRECT = {"chat_id": "u:ann,u:bob", "chat_kind": "direct"}
# Named by what tells each from the others.
ROWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "by bob": {"sender_id": "u:bob"},
    "by a stranger with a name": {"sender_id": "u:xyz", "sender_name": "Ann Lee"},
    "by a bot": {"sender_id": "u:Bot"},
    "by an app": {"app_id": "app"},
    "ann to bob": DIRECT,
    "bob to ann": {**DIRECT, "sender_id": "u:bob"},
    "ann to herself": {**DIRECT, "chat_id": "u:ann,u:ann"},
    "shown to bob": {"visible_to": ["u:carol", "u:bob"]},
    "shown to nobody": {"visible_to": []},
    "in another channel": {"chat_id": "g:2"},
    "edited, first": {"message_uid": "edited"},
    "edited, second": {"message_uid": "edited", "version": 2},
    "same uid elsewhere": {"message_uid": "edited", "chat_id": "g:2"},
    "with a picture": {},
    "not returned": {},
    "labelled": {},
    "merger in the text alone": {"text": "merger"},
    "merger in the notification": {"notification": "merger"},
    "merger in an attachment": {
        "attachments": json.dumps([{"title": "m\u0065rger", "url": "https://example.org/other"}])
    },
    "merger in its markup": {"attachments": '[{"views": {"flockml": "<b>mer\\u0067er</b> &amp; co"}}]'},
    "merger in the name of a file": {
        "attachments": '[{"downloads": [{"filename": "merger.pdf", "src": "https://x"}]}]'
    },
    "merger in an address": {
        "attachments": '[{"url": "https://example.org/merger", "views": {"html": {"inline": "<merger/>"}}}]'
    },
    "merger in what is no JSON": {"attachments": "[{merger"},
}
NAMES = list(ROWS)
DIRECTORY = Directory(
    people={
        "u:ann": Known(("Ann Lee", "Änne Lee-Smith"), ("ann@acme.example", "a.lee@OLD.example")),
        "u:bob": Known(("Bob",), ("bob@acme.example",)),
    },
    chats={"g:1": Known(("General", "lobby")), "g:2": Known(("Legal  Team",))},
)
OTHERS = set(NAMES) - {"by bob", "by a stranger with a name", "by a bot", "bob to ann"}
ELSEWHERE = {"in another channel", "same uid elsewhere"}
TALKS = {"ann to bob", "bob to ann", "ann to herself"}


def table() -> pa.Table:
    rows = [{**ROW, "message_uid": name, **row} for name, row in ROWS.items()]
    return pa.Table.from_pylist(rows, schema=pa.schema([MESSAGES.schema.field(name) for name in rows[0]]))


def facts() -> Facts:
    keys = pa.schema([("chat_id", pa.string()), ("message_uid", pa.string())])
    files = [{"chat_id": "g:1", "message_uid": "with a picture", "mime": None, "mime_received": "Image/PNG"}]
    return Facts(
        directory=DIRECTORY,
        files=pa.Table.from_pylist(
            files, schema=keys.append(pa.field("mime", pa.string())).append(pa.field("mime_received", pa.string()))
        ),
        missing=pa.Table.from_pylist([{"chat_id": "g:1", "message_uid": "not returned"}], schema=keys),
        labels={
            "Contract": pa.array([name == "labelled" for name in NAMES]),
            "other": pa.array([name == "plain" for name in NAMES]),
        },
    )


def found(text: str, zone: str = "UTC") -> set[str]:
    mask = matching_rows(parse_expression(text, zone=ZoneInfo(zone)), table(), facts())
    return {name for name, is_found in zip(NAMES, mask.to_pylist(), strict=True) if is_found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from:u:ann", OTHERS),
        ("from:u:Ann", set()),
        ("from:u:bob", {"by bob", "bob to ann"}),
        ("from:BOB@acme.example", {"by bob", "bob to ann"}),
        ("from:a.lee@old.example", OTHERS),
        ('from:"ann lee"', {*OTHERS, "by a stranger with a name"}),
        ("from:anne", OTHERS),
        ("from:lee-smith", OTHERS),
        ("from:an", set()),
        ('from:"ann *"', {*OTHERS, "by a stranger with a name"}),
        ("from:*@acme.example", {*OTHERS, "by bob", "bob to ann"}),
        ("from:u:x*", {"by a stranger with a name"}),
        ("from:...", set()),
        ("to:bob", {"ann to bob", "shown to bob"}),
        ("to:bob@acme.example", {"ann to bob", "shown to bob"}),
        ("to:u:ann", {"bob to ann", "ann to herself"}),
        ("to:u:*", {"ann to bob", "bob to ann", "ann to herself", "shown to bob"}),
        ("to:u:carol", {"shown to bob"}),
        ("in:g:2", ELSEWHERE),
        ("in:G:2", set()),
        ("in:#general", set(NAMES) - ELSEWHERE - TALKS),
        ("in:LOBBY", set(NAMES) - ELSEWHERE - TALKS),
        ('in:"legal team"', ELSEWHERE),
        ("in:legal", set()),
        ("in:legal*", ELSEWHERE),
        ("in:*ob*y", set(NAMES) - ELSEWHERE - TALKS),
        ("in:lob*obby", set()),
        ("in:*ob*ob*", set()),
        ("in:u:ann,u:bob", {"ann to bob", "bob to ann"}),
        ("has:file", {"with a picture"}),
        ("mime:image/*", {"with a picture"}),
        ("mime:image/png", {"with a picture"}),
        ("mime:image", set()),
        ("is:edited", {"edited, first", "edited, second"}),
        ("is:missing", {"not returned"}),
        ("label:contract", {"labelled"}),
        ("label:*", {"labelled", "plain"}),
        ("type:direct", TALKS),
        ("type:channel", set(NAMES) - TALKS),
        ("type:app", {"by a bot", "by an app"}),
        ("type:person", set(NAMES) - {"by a bot", "by an app"}),
        ("on:2026-03-01", set(NAMES)),
        ("before:2026-03-01", set()),
        ("after:2026-03-01", set()),
        ("after:2026-02-28", set(NAMES)),
        ("before:2026-03-02", set(NAMES)),
        ("on:2026-03", set(NAMES)),
        ("on:2026", set(NAMES)),
        ("after:2026-02", set(NAMES)),
        ("before:2026", set()),
        ("merger", {name for name in NAMES if name.startswith("merger") and "address" not in name}),
        ("NOT merger", {name for name in NAMES if not name.startswith("merger") or "address" in name}),
        ("NOT (NOT is:missing OR from:bob)", {"not returned"}),
    ],
)
def test_a_filter_is_true_of_these(text: str, expected: set[str]) -> None:
    assert found(text) == expected


def test_a_day_begins_and_ends_in_the_zone() -> None:
    assert found("on:2026-03-02", "Pacific/Kiritimati") == set(NAMES)
    assert found("on:2026-03-01", "Pacific/Kiritimati") == set()


@pytest.mark.parametrize(
    ("zone", "day"),
    [("America/St_Johns", "2010-11-06"), ("Europe/Berlin", "2026-10-25"), ("America/Havana", "2026-03-08")],
)
def test_no_instant_is_between_two_days(zone: str, day: str) -> None:
    """St John's put its clocks back over midnight, Havana puts them forward at midnight."""
    first = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())
    instants = [first + minutes * 60 for minutes in range(-24 * 60, 48 * 60)]
    rows = pa.table({"sent_at": pa.array([instant * 1_000 for instant in instants], pa.timestamp("ms", "UTC"))})
    masks = [
        matching_rows(parse_expression(f"{relation}:{day}", zone=ZoneInfo(zone)), rows, Facts()).to_pylist()
        for relation in ("before", "on", "after")
    ]
    wall = [datetime.fromtimestamp(instant, ZoneInfo(zone)).date().isoformat() for instant in instants]
    for before, on, after, date in zip(*masks, wall, strict=True):
        assert before + on + after == 1
        assert not (date == day and not on)


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    hostile = person_like("*a" * 100 + "b")
    assert not hostile("u:x", Known(("a" * 50_000,)))


def test_a_chat_is_meant_by_a_whole_name_and_a_person_by_words_of_it() -> None:
    assert person_like("lee")("u:1", Known(("Ann Lee",)))
    assert not chat_like("team")("g:1", Known(("legal team",)))
    assert chat_like("ab*ba")("g:1", Known(("abba",)))
    assert not chat_like("ab*ba")("g:1", Known(("aba",)))


def test_what_a_pattern_means_is_found_out_once() -> None:
    directory = Directory(people={"u:1": Known(("Ann",))})
    assert directory.people_like("ann") is directory.people_like("ann")
    assert directory.chats_like("ann") == frozenset()
