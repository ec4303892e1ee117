"""Base64 comes in the lines that RFC 2045 asks for, whatever the chunks of what is encoded."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.discovery.export.formats.mime_stream import CHUNK_BYTES, LINE_BYTES, base64_lines

BYTES = os.urandom(3 * CHUNK_BYTES)
EDGES = [
    *(0, 1, 2, 3, LINE_BYTES - 1, LINE_BYTES, LINE_BYTES + 1, 2 * LINE_BYTES, 2 * LINE_BYTES + 1),
    *(CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES),
]


def in_lines(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


@pytest.mark.parametrize("size", EDGES)
def test_bytes_of_any_number_are_encoded_in_lines_of_76_characters(size: int) -> None:
    assert b"".join(base64_lines([BYTES[:size]])) == in_lines(BYTES[:size])


@given(cuts=st.lists(st.sampled_from(EDGES), max_size=5))
def test_it_is_nothing_to_the_lines_in_which_chunks_the_bytes_come(cuts: list[int]) -> None:
    chunks = [BYTES[:size] for size in cuts]
    assert b"".join(base64_lines(chunks)) == in_lines(b"".join(chunks))
