"""Which outgoing webhook delivered of which chat, since when and when last: what the list of gaps remembers from run to run.

Flock has no method that lists webhooks (flock-api.md 11.1), so a feed is known by what it delivers. The ledger's cursors hold the
first and the newest push of each feed and chat; each run adds what was archived since, and never has to look at older events again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

_CURSOR_PREFIX: Final = "feeds/"
# A webhook belongs to one channel; more than a few chats under one name are somebody's play with it.
_CHATS_PER_FEED_MAX: Final = 100


class Span(msgspec.Struct, frozen=True, array_like=True):
    """When the first and the newest of some pushes were received."""

    first_at_ms: int
    last_at_ms: int


_decode = msgspec.json.Decoder(dict[str, Span]).decode
_encode = msgspec.json.Encoder(order="sorted").encode

# By feed, then by chat, when it delivered; the chat is empty for pushes that could not be read.
Feeds = Mapping[str, Mapping[str, Span]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one feed delivered of one chat: its first and last push of those that are new."""

    feed: str
    chat_id: str
    first_at_ms: int
    last_at_ms: int


def read_feeds(cursors: Mapping[str, str]) -> dict[str, dict[str, Span]]:
    """Return the feeds that an archive's cursors tell of; what cannot be read counts as not known."""
    feeds = {}
    for name, cursor in cursors.items():
        if name.startswith(_CURSOR_PREFIX):
            try:
                feeds[name.removeprefix(_CURSOR_PREFIX)] = _decode(cursor)
            except msgspec.MsgspecError:
                continue
    return feeds


def after(feeds: Feeds, deliveries: Iterable[Delivery]) -> dict[str, dict[str, Span]]:
    """Return the feeds after more deliveries, whatever order these come in."""
    grown = {name: dict(chats) for name, chats in feeds.items()}
    for delivery in deliveries:
        chats = grown.setdefault(delivery.feed, {})
        known = chats.get(delivery.chat_id, Span(delivery.first_at_ms, delivery.last_at_ms))
        chats[delivery.chat_id] = Span(
            min(known.first_at_ms, delivery.first_at_ms), max(known.last_at_ms, delivery.last_at_ms)
        )
    for name, chats in grown.items():
        if len(chats) > _CHATS_PER_FEED_MAX:
            newest = sorted(chats.items(), key=lambda item: (-item[1].last_at_ms, item[0]))[:_CHATS_PER_FEED_MAX]
            grown[name] = dict(newest)
    return grown


def cursors_of(feeds: Feeds, *, known: Feeds) -> dict[str, str]:
    """Return the cursors of the feeds that differ from the known ones."""
    return {
        f"{_CURSOR_PREFIX}{name}": _encode(chats).decode() for name, chats in feeds.items() if known.get(name) != chats
    }


def last_push_by_chat(feeds: Feeds) -> dict[str, int]:
    """Return when the newest push of each chat was received, by whichever feed."""
    newest: dict[str, int] = {}
    for chats in feeds.values():
        for chat_id, span in chats.items():
            if chat_id:
                newest[chat_id] = max(newest.get(chat_id, span.last_at_ms), span.last_at_ms)
    return newest
