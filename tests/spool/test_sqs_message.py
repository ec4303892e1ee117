"""What stands in a message of the queue: ASCII text of a bounded size that says the same when it is read."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import UnparseableError
from archiver.model.capture import Capture
from archiver.spool import frame
from archiver.spool.sqs_message import FORMAT, Part, captures_payload, frame_of, read_text, text_of, texts_of


def whole(payload: bytes) -> Part:
    return Part(format=FORMAT, kind="captures", sender="0" * 32, number=2**62, sent_at_ms=2**45, payload=payload)


@given(st.binary(max_size=20_000), st.sampled_from([1_024, 1_500, 262_144]))
def test_the_texts_of_a_message_fit_the_queue_and_come_together_again(payload, bytes_max):
    texts = list(texts_of(whole(payload), bytes_max=bytes_max))
    parts = [read_text(text) for text in texts]

    assert all(text.isascii() and text.isprintable() and 1 <= len(text) <= bytes_max for text in texts)
    assert b"".join(part.payload for part in parts) == payload
    assert [(part.part, part.parts) for part in parts] == [(n, len(parts)) for n in range(1, len(parts) + 1)]
    assert {(part.sender, part.number) for part in parts} == {("0" * 32, 2**62)}


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=10))
def test_captures_come_out_of_their_payload_as_they_went_in(bodies):
    captures = [Capture("feed", "webhook", n, "webhook-token", body) for n, body in enumerate(bodies)]

    assert frame.decoded(frame_of(captures_payload(captures))) == captures


@given(st.binary(max_size=200))
def test_any_bytes_as_payload_are_a_frame_or_an_error(payload):
    with contextlib.suppress(UnparseableError):
        frame_of(payload)


def test_a_payload_that_would_fill_the_memory_is_refused():
    with pytest.raises(UnparseableError, match="larger than any"):
        frame_of(zlib.compress(bytes(1_000_001)), bytes_max=1_000_000)
    assert frame_of(zlib.compress(bytes(1_000_000)), bytes_max=1_000_000) == bytes(1_000_000)


def test_a_payload_that_is_cut_off_or_changed_is_noticed():
    good = captures_payload([Capture("feed", "webhook", 1, "webhook-token", random.Random(1).randbytes(1_000))])

    with pytest.raises(UnparseableError):
        frame_of(good[:-1])
    for at in range(len(good)):
        with pytest.raises(UnparseableError):
            frame_of(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])


GOOD = json.loads(text_of(whole(b"x")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a message of the archiver"),
        ("hello", "not a message of the archiver"),
        ("[]", "not a message of the archiver"),
        ("{}", "not a message of the archiver"),
        ('{"format":1}', "not a message of the archiver"),
        (json.dumps(GOOD | {"format": FORMAT + 1, "kind": "news"}), "format 2, and this version reads"),
        (json.dumps(GOOD | {"kind": "news"}), "not a message of the archiver"),
        (json.dumps(GOOD | {"payload": "*"}), "not a message of the archiver"),
        (json.dumps(GOOD | {"part": 0}), "part 0 of 1"),
        (json.dumps(GOOD | {"part": 3, "parts": 2}), "part 3 of 2"),
        (json.dumps(GOOD | {"parts": 10**9}), "part 1 of 1000000000"),
        ('{"format":1,"more":' + "[" * 100_000, "not a message of the archiver"),
        ("[" * 100_000, "not a message of the archiver"),
    ],
)
def test_what_is_no_message_of_ours_is_told_apart(text, told):
    with pytest.raises(UnparseableError, match=told):
        read_text(text)


def test_a_payload_is_plain_base64_so_that_anybody_can_read_it():
    assert base64.b64decode(GOOD["payload"]) == b"x"
