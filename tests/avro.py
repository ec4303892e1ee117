"""Avro's object container files taken apart by their own rules, so that nothing in one is overlooked because a reader passes over it."""

from __future__ import annotations

import zlib

SYNC_BYTES = 16
# The window of a raw deflate stream, as Avro has it ("The deflate codec writes the data block using the deflate algorithm").
RAW_DEFLATE = -15


def blocks(data: bytes) -> bytes:
    """Return the blocks of a file that is compressed by deflate, unpacked. Each begins with two numbers and ends with the file's marker."""
    assert b"avro.codec\x0edeflate" in data
    parts = data.split(data[-SYNC_BYTES:])[1:-1]
    return b"".join(zlib.decompress(_after_number(_after_number(part)), RAW_DEFLATE) for part in parts)


def _after_number(data: bytes) -> bytes:
    """Return what follows a number of variable length: all its bytes but the last have the highest bit."""
    length = next(place for place, byte in enumerate(data, start=1) if byte < 0x80)
    return data[length:]
