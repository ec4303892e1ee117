"""A gateway as declared sources may find it, without a socket: messages of one chat in pages, by any kind of cursor, in either order.

What is not promised varies: whether a cursor counts messages or names one, and whether an instant is part of what follows it.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from archiver.capture.history_source import HistorySource, Page, PageRequest, filled, page_reader
from archiver.clock import to_ms
from archiver.errors import FlockMethodError
from archiver.flock.tokens import Secret, UserToken

CHAT = "g:1"
READER = "u:ann"
TOKEN = UserToken(READER, Secret("t"))
Style = Literal["offset", "place", "uid", "timestamp", "timestamp_exclusive", "iso_timestamp"]
STYLES: tuple[Style, ...] = ("offset", "place", "uid", "timestamp", "timestamp_exclusive", "iso_timestamp")


def declared(style: Style = "place", **changes: Any) -> HistorySource:
    """How a source of this style is declared."""
    kind = {"offset": "token", "place": "token", "timestamp_exclusive": "timestamp"}.get(style, style)
    facts: dict[str, Any] = {
        "name": "gateway",
        "method": "chat.history",
        "parameters": {"chat": "{chat}", "limit": "{page_size}", "cursor": "{cursor}"},
        "items": ("messages",),
        "next_cursor": ("next",) if kind == "token" else (),
        "cursor": kind,
        "page_size": 3,
    }
    return HistorySource(**{**facts, **changes})


@dataclass
class Said:
    uid: str
    sent_at_ms: int
    text: str
    is_gone: bool = False

    def raw(self) -> bytes:
        fields = {"uid": self.uid, "from": READER, "to": CHAT, "text": self.text, "timestamp": self.sent_at_ms}
        return json.dumps(fields).encode()


@dataclass
class Gateway:
    """Holds what was said; ``between`` are things that happen one after the other, each after a page was given."""

    source: HistorySource
    style: Style
    said: dict[str, Said] = field(default_factory=dict)
    between: list[Callable[[], object]] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    requests: list[PageRequest] = field(default_factory=list)

    def say(self, sent_at_ms: int, text: str = "hello") -> str:
        uid = f"{sent_at_ms}-{len(self.said):04x}-m201"
        self.said[uid] = Said(uid, sent_at_ms, text)
        return uid

    def edit(self, uid: str, text: str) -> None:
        self.said[uid].text = text

    def delete(self, uid: str) -> None:
        self.said[uid].is_gone = True

    def shown(self) -> dict[str, str]:
        return {said.uid: said.text for said in self.said.values() if not said.is_gone}

    def page(self, token: UserToken, request: PageRequest) -> Page:
        """Answer one request, from its parameters alone."""
        self.requests.append(request)
        cursor = filled(self.source, request).get("cursor")
        found, following = self._found(cursor)
        body: dict[str, Any] = {"messages": [json.loads(said.raw()) for said in found]}
        if self.source.cursor == "token" and following is not None:
            body["next"] = following
        answer = json.dumps(body).encode()
        if self.between:
            self.between.pop(0)()
        return page_reader(self.source)(answer)

    def _found(self, cursor: str | None) -> tuple[list[Said], str | None]:
        live = sorted(
            (said for said in self.said.values() if not said.is_gone), key=lambda said: (said.sent_at_ms, said.uid)
        )
        size, newest_first = self.source.page_size, self.source.newest_first
        if newest_first:
            live.reverse()
        start = 0 if cursor is None else self._start(live, cursor)
        found = live[start : start + size]
        if start + size >= len(live):
            return found, None
        return found, str(start + size) if self.style == "offset" else f"{found[-1].sent_at_ms}/{found[-1].uid}"

    def _start(self, live: list[Said], cursor: str) -> int:
        forward = -1 if self.source.newest_first else 1
        if self.style == "offset":
            return int(cursor)
        if self.style == "place":
            at, _, uid = cursor.partition("/")
            keys = [(forward * said.sent_at_ms, said.uid if forward > 0 else _reversed(said.uid)) for said in live]
            return bisect_right(keys, (forward * int(at), uid if forward > 0 else _reversed(uid)))
        if self.style == "uid":
            uids = [said.uid for said in live]
            if cursor not in uids:
                raise FlockMethodError("no such message", status=400, code="InvalidParameter", parameter="cursor")
            return uids.index(cursor) + 1
        at_ms = int(cursor) if self.style != "iso_timestamp" else to_ms(datetime.fromisoformat(cursor))
        times = [forward * said.sent_at_ms for said in live]
        find = bisect_right if self.style == "timestamp_exclusive" else bisect_left
        return find(times, forward * at_ms)


def _reversed(uid: str) -> tuple[int, ...]:
    return tuple(-ord(sign) for sign in uid)
