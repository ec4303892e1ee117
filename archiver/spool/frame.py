"""A batch of captures as one run of bytes: MessagePack, column by column.

What the captures of a feed have in common is stored once a batch, so that reading builds only what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from archiver.model.capture import Capture, FeedKind

BATCH_CAPTURES_MAX: Final = 256
BATCH_BYTES_MAX: Final = 1_048_576


def batches_of(captures: Sequence[Capture]) -> Iterator[Sequence[Capture]]:
    """Split captures, in order, into batches of at most `BATCH_CAPTURES_MAX` and, unless one alone is larger, `BATCH_BYTES_MAX`."""
    start = 0
    while start < len(captures):
        end = start
        body_bytes = 0
        while end < len(captures) and end - start < BATCH_CAPTURES_MAX:
            body_bytes += len(captures[end].body)
            if end > start and body_bytes > BATCH_BYTES_MAX:
                break
            end += 1
        yield captures[start:end]
        start = end


def encoded(captures: Sequence[Capture]) -> bytes:
    """Return the frame of a batch."""
    origins: list[Origin] = []
    # Attributes are told apart by identity: equal ones that are two objects only cost a few bytes more.
    index: dict[tuple[str, str, str, int], int] = {}
    origin_of: list[int] = []
    for capture in captures:
        key = (capture.feed, capture.feed_kind, capture.verified, id(capture.attributes))
        at = index.get(key)
        if at is None:
            at = index[key] = len(origins)
            origins.append(Origin(capture.feed, capture.feed_kind, capture.verified, dict(capture.attributes)))
        origin_of.append(at)
    return _encoder.encode(
        Columns(
            origins,
            origin_of if len(origins) > 1 else [],
            [capture.received_at_ms for capture in captures],
            [capture.body for capture in captures],
        )
    )


def decoded_columns(frame: bytes) -> Columns:
    """Return the batch of a frame that `encoded` made, column by column."""
    return _decoder.decode(frame)


def decoded(frame: bytes) -> list[Capture]:
    """Return the batch of a frame that `encoded` made; captures of one origin share one read-only mapping of attributes."""
    columns = decoded_columns(frame)
    shared = [
        (origin.feed, origin.feed_kind, origin.verified, MappingProxyType(origin.attributes))
        for origin in columns.origins
    ]
    rows = zip(columns.received_at_ms, columns.bodies, strict=True)
    if not columns.origin_of:
        ((feed, kind, verified, attributes),) = shared
        return [Capture(feed, kind, at_ms, verified, body, attributes) for at_ms, body in rows]
    captures = []
    for at, (at_ms, body) in zip(columns.origin_of, rows, strict=True):
        feed, kind, verified, attributes = shared[at]
        captures.append(Capture(feed, kind, at_ms, verified, body, attributes))
    return captures


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """What the captures of a feed have in common."""

    feed: str
    feed_kind: FeedKind
    verified: str
    attributes: dict[str, str]


class Columns(msgspec.Struct, array_like=True, gc=False):
    """A batch column by column; ``origin_of`` is empty where all captures have the first origin."""

    origins: list[Origin]
    origin_of: list[int]
    received_at_ms: list[int]
    bodies: list[bytes]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Columns)
