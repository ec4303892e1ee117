"""Reading in another process says the very same as reading here."""

from __future__ import annotations

import json
import pickle

from archiver.capture.reading import pack, read_captures, read_packed, unpack
from archiver.model.capture import NO_ATTRIBUTES, Capture, SpooledCapture

AT_MS = 1_772_440_563_824
CHANNEL = {"from": "u:a", "to": "g:1", "text": "hello", "timestampInMillis": AT_MS}
FILE = {"downloads": [{"src": "https://f.flockusercontent.com/x", "filename": "x.png"}]}


def _spooled() -> list[SpooledCapture]:
    shared = {"content-type": "application/json"}
    bodies = [
        ("webhook", "general", {**CHANNEL, "uid": "1-a-m201"}, NO_ATTRIBUTES),
        ("webhook", "general", {**CHANNEL, "uid": "2-a-m201", "attachments": [FILE]}, shared),
        (
            "event",
            "events",
            {"name": "chat.receiveMessage", "userId": "u:a", "message": {**CHANNEL, "uid": "3"}},
            shared,
        ),
        ("event", "events", {"name": "app.uninstall", "userId": "u:a"}, NO_ATTRIBUTES),
        ("webhook", "sales", "no message at all", {"content-type": "text/plain"}),
    ]
    return [
        SpooledCapture(
            number * 3, Capture(feed, kind, AT_MS + number, f"{kind}-token", json.dumps(body).encode(), facts)
        )  # type: ignore[arg-type]
        for number, (kind, feed, body, facts) in enumerate(bodies, 1)
    ]


def test_what_comes_back_from_another_process_is_what_is_read_here() -> None:
    captures = _spooled()
    here = read_captures(captures, spool_id="s1")
    there = unpack(pickle.loads(pickle.dumps(read_packed(pickle.loads(pickle.dumps(pack(captures, spool_id="s1")))))))
    assert there.messages.equals(here.messages)
    assert there.events.equals(here.events)
    assert (there.capture_of_row, there.with_files, there.unread) == ([0, 1, 2], [1], 1)
    assert (here.capture_of_row, here.with_files, here.unread) == ([0, 1, 2], [1], 1)


def test_facts_that_captures_share_cross_once() -> None:
    captures = [
        SpooledCapture(n, Capture("w", "webhook", AT_MS, "webhook-token", b"{}", NO_ATTRIBUTES)) for n in range(1, 9)
    ]
    assert pack(captures, spool_id="s1").origins == [("w", "webhook", "webhook-token", {})]
