"""What stands in a message of the queue: a batch of captures or a part of it, a listener's beat, or a probe.

A message is JSON with the payload in base64, because a queue takes text only and not every character of it. The payload of
captures is one frame (`archiver.spool.frame`), compressed; a push that is larger than a message may be, up to whatever the
listener takes, is cut into parts, and the parts count only together. Sender and number name a message for good: whatever the
queue delivers again, or a client sent again because an answer was lost, has the same two.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from archiver.errors import UnparseableError
from archiver.model.capture import Capture
from archiver.spool import frame

FORMAT: Final = 1

# Everything in a message beside its payload comes to less than 200.
_HEAD_BYTES_MAX: Final = 512
# Chat shrinks to a fifth at the quickest level already, and what is smaller is fewer and cheaper messages.
_COMPRESSION_LEVEL: Final = 1
# A batch is the bodies of one frame, or one body of at most 64 MiB; more than this was not made by us.
FRAME_BYTES_MAX: Final = 134_217_728
_PARTS_MAX: Final = 100_000

Kind = Literal["captures", "beat", "probe"]


class Part(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One message of the queue. ``sender`` is one opening of the spool, ``number`` counts what it sent.

    ``sent_at_ms`` never goes back at one sender. ``payload`` is a part of a compressed frame, or the name of the listener that
    beats.
    """

    format: int
    kind: Kind
    sender: str
    number: int
    sent_at_ms: int
    part: int = 1
    parts: int = 1
    payload: bytes = b""


class _Format(msgspec.Struct, frozen=True):
    format: int


def captures_payload(captures: Sequence[Capture]) -> bytes:
    """Return the payload of a batch of captures."""
    return zlib.compress(frame.encoded(captures), _COMPRESSION_LEVEL)


def frame_of(payload: bytes, *, bytes_max: int = FRAME_BYTES_MAX) -> bytes:
    """Return the frame in a whole payload; raises `UnparseableError` if there is none, or one of more than ``bytes_max``."""
    decompressor = zlib.decompressobj()
    try:
        unpacked = decompressor.decompress(payload, bytes_max)
    except zlib.error as error:
        raise UnparseableError(f"its payload is damaged ({error})") from error
    if not decompressor.eof:
        raise UnparseableError("its payload is cut off, or larger than any that this program sends")
    return unpacked


def texts_of(whole: Part, *, bytes_max: int) -> Iterator[str]:
    """Return the texts to send for a message whose payload is not cut yet, each of at most ``bytes_max`` ASCII characters."""
    step = (bytes_max - _HEAD_BYTES_MAX) // 4 * 3
    starts = range(0, len(whole.payload), step) or range(1)
    for part, start in enumerate(starts, 1):
        yield text_of(
            msgspec.structs.replace(whole, part=part, parts=len(starts), payload=whole.payload[start : start + step])
        )


def text_of(part: Part) -> str:
    """Return the text of one message."""
    return _encoder.encode(part).decode("ascii")


def read_text(text: str) -> Part:
    """Return what a message says; raises `UnparseableError` if it is none of ours, or of a newer version."""
    try:
        version = msgspec.json.decode(text, type=_Format).format
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UnparseableError("it is not a message of the archiver") from error
    if version > FORMAT:
        raise UnparseableError(
            f"it has format {version}, and this version reads formats up to {FORMAT}",
            next_step="install the version that the listeners have",
        )
    try:
        part = _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnparseableError(f"it is not a message of the archiver ({error})") from error
    if not 1 <= part.part <= part.parts <= _PARTS_MAX:
        raise UnparseableError(f"it is part {part.part} of {part.parts}")
    return part


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Part)
