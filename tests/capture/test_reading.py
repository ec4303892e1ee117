"""Reading blocks of captures: the quick way says what the careful way says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver.archive.tables import messages_to_table, rows_of
from archiver.capture.reading import ReadCaptures, read_blocks
from archiver.errors import UnparseableError
from archiver.model.capture import NO_ATTRIBUTES, Capture, FeedKind
from archiver.normalise.push import read_push
from archiver.spool import SpooledBlock, frame

AT_MS = 1_772_440_563_824
CHANNEL = {"from": "u:a", "to": "g:1", "text": "hello", "timestampInMillis": AT_MS}
FILE = {"downloads": [{"src": "https://f.flockusercontent.com/x", "filename": "x.png"}]}


def blocks_of(captures: Sequence[Capture], *, size: int = 3) -> list[SpooledBlock]:
    """Return captures as a spool hands them out, with a hole in the sequences between two blocks."""
    return [
        SpooledBlock(1 + start * 10, len(some), sum(len(capture.body) for capture in some), frame.encoded(some))
        for start in range(0, len(captures), size)
        for some in (captures[start : start + size],)
    ]


def webhook(
    body: Any, *, feed: str = "general", at_ms: int = AT_MS, facts: Mapping[str, str] = NO_ATTRIBUTES
) -> Capture:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Capture(feed, "webhook", at_ms, "webhook-token", raw, facts)


def event(body: Any, *, kind: FeedKind = "event") -> Capture:
    return Capture(
        "events", kind, AT_MS, "event-token", json.dumps(body).encode(), {"content-type": "application/json"}
    )


MIXED = [
    webhook({**CHANNEL, "uid": "1-a-m201"}),
    webhook({**CHANNEL, "uid": "2-a-m201", "attachments": [FILE]}, facts={"content-type": "application/json"}),
    event({"name": "chat.receiveMessage", "userId": "u:a", "message": {**CHANNEL, "uid": "3"}}),
    event({"name": "app.uninstall", "userId": "u:a"}),
    webhook("no message at all", feed="sales", facts={"content-type": "text/plain"}),
    webhook({**CHANNEL, "uid": "4-a-m201", "text": "bye"}, feed="sales"),
]


def carefully(captures: Sequence[Capture]) -> tuple[pa.Table, list[int], list[str]]:
    """Return message rows, the capture of each, and the outcome of each capture, read one by one."""
    messages, numbers, outcomes = [], [], []
    for number, capture in enumerate(captures):
        try:
            push = read_push(capture)
        except UnparseableError:
            outcomes.append("unparsed")
            continue
        outcomes.append("archived" if push.messages else "noted")
        messages += push.messages
        numbers += [number] * len(push.messages)
    return messages_to_table(messages), numbers, outcomes


def assert_same(read: ReadCaptures, captures: Sequence[Capture]) -> None:
    messages, numbers, outcomes = carefully(captures)
    in_order = pa.array(sorted(range(len(numbers)), key=read.capture_of_row.__getitem__), pa.int64())
    assert rows_of(read.messages.take(in_order)) == rows_of(messages)
    assert read.messages.schema == messages.schema
    assert [read.capture_of_row[row] for row in in_order.to_pylist()] == numbers
    assert read.events.column("outcome").to_pylist() == outcomes
    assert read.events.column("body_digest").to_pylist() == [sha256(each.body).hexdigest() for each in captures]
    assert read.unread == outcomes.count("unparsed")
    assert read.messages.validate(full=True) is None


def test_every_kind_of_capture_becomes_one_event_row_and_its_messages() -> None:
    read = read_blocks(blocks_of(MIXED), spool_id="s1")
    assert_same(read, MIXED)
    assert [read.messages.column("message_uid")[row].as_py() for row in read.with_files] == ["2-a-m201"]
    events = rows_of(read.events)
    assert [row["sequence"] for row in events] == [1, 2, 3, 31, 32, 33]
    assert [row["feed"] for row in events] == ["general", "general", "events", "events", "sales", "sales"]
    assert [row["name"] for row in events] == [None, None, "chat.receiveMessage", "app.uninstall", None, None]
    assert [row["message_uid"] for row in events] == ["1-a-m201", "2-a-m201", "3", None, None, "4-a-m201"]
    assert [row["attributes"] for row in events] == [
        None,
        '{"content-type":"application/json"}',
        '{"content-type":"application/json"}',
        '{"content-type":"application/json"}',
        '{"content-type":"text/plain"}',
        None,
    ]


def test_no_captures_are_no_rows() -> None:
    read = read_blocks([], spool_id="s1")
    assert (read.messages.num_rows, read.events.num_rows, read.capture_of_row, read.unread) == (0, 0, [], 0)


# Values on both sides of every border between plain and not: empty and absent, too long, of another type, of another world.
identifiers = st.sampled_from(
    ["g:1", "u:a", "u:B1", "a@go.to/desktop", "1@groups.go.to", "", "g:" + "x" * 511, "\u200f", 7, None]
)
uids = st.sampled_from(["1772440563824-aBc-m201", "abc", "", "x" * 513, "é", 12, 0, None])
times = st.sampled_from(
    [AT_MS, str(AT_MS), AT_MS + 10**9, 0, -1, 2**63, 1.5e12, 1772440563824.0, None, "2026-03-02T08:36:03.824Z", [], {}]
)
texts = st.one_of(st.text(max_size=20), st.sampled_from(["", "\x00\x1f\x7f", "\\u2028", "\U0001f44d", None, 5]))
further = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["d_1", "", None, 5, ["x"]]),
        "timestamp": times,
        "flockml": st.sampled_from(["", "<flockml>hi <b>there</b></flockml>", None, 3]),
        "notification": st.sampled_from(["", "hello", "note", None]),
        "appId": st.sampled_from(["", "a1", None]),
        "mentions": st.sampled_from([[], ["u:b"], None, "u:b"]),
        "sendAs": st.sampled_from([None, {}, {"name": "Build"}, {"name": 5}]),
        "attachments": st.sampled_from([[], [FILE], [{"id": "x"}], None]),
        "onBehalfOf": st.sampled_from(["", "u:c", None]),
        "visibleTo": st.sampled_from([[], ["u:d"], None]),
        "type": st.sampled_from(["message", "edit", None]),
        "threadId": st.sampled_from([None, "t", {"a": [1]}]),
    },
)
PLAIN = {
    **CHANNEL,
    "uid": "1772440563824-aBc-m201",
    "id": "d_1",
    "timestamp": "2026-03-02T08:36:03.824Z",
    "visibleTo": [],
}
required = st.fixed_dictionaries(
    {}, optional={"uid": uids, "from": identifiers, "to": identifiers, "timestampInMillis": times, "text": texts}
)


@st.composite
def nearly_plain(draw: st.DrawFn) -> dict[str, Any]:
    """Return a plain message of which a few fields are otherwise: that is where the two ways could part."""
    changes = {**draw(required), **draw(further)}
    names = draw(st.lists(st.sampled_from(sorted(changes)), max_size=2)) if changes else []
    return {**PLAIN, **{name: changes[name] for name in names}}


messages = nearly_plain()
pretty = st.sampled_from([None, 1])
bodies = st.one_of(
    st.builds(lambda message, indent, ascii_: json.dumps(message, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass"),
              messages, pretty, st.booleans()),
    st.sampled_from([
        b"", b"{}", b"[]", b"null", b"\xff", b'{"uid":"1","from":"u:a","to":"g:1","text":"\xff","timestampInMillis":1772440563824}',
        b'{"uid":"1","uid":"2","from":"u:a","to":"g:1","text":"twice","timestampInMillis":1772440563824}',
        b'{"uid":"1","from":"u:a","to":"g:1","text":"\\ud83d","timestampInMillis":1772440563824}',
        b'{"uid":"1","from":"u:a","to":"g:1","text":"x","timestampInMillis":1772440563824}, {}',
        b'\xef\xbb\xbf{"uid":"1","from":"u:a","to":"g:1","text":"x","timestampInMillis":1772440563824}',
        b'{"uid":"1","from":"u:a","to":"g:1","text":"x","timestampInMillis":1772440563824,"id":"\xed\xa0\x80"}',
        b'{"uid":"1","from":"u:a","to":"g:1","text":"x","timestampInMillis":1.772440563824e12}',
    ]),
)  # fmt: skip


NEST = b"[" * 120 + b"]" * 120
ONE = b'{"uid":"1","from":"u:a","to":"g:1","text":"x","timestampInMillis":1772440563824'


@settings(max_examples=100)
@given(st.lists(bodies, max_size=8), st.integers(1, 4))
@example([ONE + b',"new":' + NEST + b"}"], 1)
@example([ONE + b',"timestamp":' + NEST + b"}"], 1)
@example([b'{"uid":"1","from":"u:a","to":"g:1","text":"x","timestampInMillis":1772440563824.0}'], 1)
@example([json.dumps({**PLAIN, "timestampInMillis": AT_MS + 10**9}).encode()], 1)
@example([json.dumps({**PLAIN, "timestampInMillis": 1}).encode()], 1)
@example([json.dumps({**PLAIN, "from": "a@go.to/desktop"}).encode()], 1)
@example([json.dumps({**PLAIN, "mentions": ["u:b", None]}).encode()], 1)
@example([json.dumps({**PLAIN, "uid": "x" * 513}).encode()], 1)
def test_the_quick_way_says_what_the_careful_way_says(raws: list[bytes], size: int) -> None:
    captures = [webhook(raw, feed=f"feed-{number % 2}", at_ms=AT_MS + number) for number, raw in enumerate(raws)]
    assert_same(read_blocks(blocks_of(captures, size=size), spool_id="s1"), captures)


@given(st.lists(st.one_of(bodies.map(webhook), st.sampled_from(MIXED)), max_size=8))
def test_so_it_does_among_events(captures: list[Capture]) -> None:
    assert_same(read_blocks(blocks_of(captures), spool_id="s1"), captures)
