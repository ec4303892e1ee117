"""Exports drawn by chance: conversations of any shape, with texts and names that hold whatever a format gives a meaning to."""

from __future__ import annotations

from hashlib import md5, sha256
from typing import Any

from hypothesis import strategies as st

from archiver.discovery.export.record import Conversation, File, GapNote, Message, Person, Slice
from tests.discovery.export.slices import BLOBS, at_ms, version

# Pieces that some format takes for structure, beside whatever else Unicode has.
_HOSTILE = st.sampled_from(
    [
        *(
            "þ",
            "®",
            "\x14",
            "\r",
            "\n",
            "\r\n",
            ";",
            ",",
            "\\",
            "/",
            '"',
            "'",
            "<",
            ">",
            "&",
            "]]>",
            "=?utf-8?b?AA==?=",
            "--",
            "=_",
        ),
        *(
            "\u202e",
            "\u2066",
            "\u200f",
            "\u2028",
            "\x85",
            "\x00",
            "\x0b",
            "\x1b[2J",
            "\ufffe",
            "\ufeff",
            "😀",
            "日本語",
            "é",
            " ",
            ".",
        ),
        *("[2026-11-20] Ann: I confess", "=cmd()", "X-RSMF-Version: 9", "%2F", "%", "\u3000"),
    ]
)
TEXTS = st.lists(st.one_of(_HOSTILE, st.text(max_size=6)), max_size=8).map("".join)
NAMES = TEXTS.filter(bool)


@st.composite
def exports(draw: Any) -> tuple[Slice, ...]:
    """Draw the slices of an export as a core hands them over: sorted, with control numbers and uids of their own."""
    people = [
        Person(f"u:{n}", draw(st.none() | NAMES), draw(st.none() | NAMES), draw(st.booleans()))
        for n in range(draw(st.integers(1, 4)))
    ]
    person = st.sampled_from(people)
    slices, number = [], 0
    for chat in range(draw(st.integers(1, 2))):
        conversation = Conversation(
            f"g:{chat}",
            draw(st.sampled_from(["channel", "direct"])),
            draw(st.none() | NAMES),
            tuple(people[: draw(st.integers(0, len(people)))]),
            tuple(draw(st.lists(person, max_size=2, unique=True))),
            f"chat-{chat}",
        )
        gaps = tuple(
            GapNote(
                sha256(f"{chat}{n}".encode()).hexdigest(),
                "listener-down",
                draw(NAMES),
                n,
                *draw(_SPANS),
                draw(st.none() | NAMES),
            )
            for n in range(draw(st.integers(0, 2)))
        )
        messages: list[Message] = []
        for _ in range(draw(st.integers(0, 4))):
            number += 1
            messages.append(draw(_messages(conversation.chat_id, number, person, messages)))
        messages.sort(key=lambda message: (message.sent_at_ms, message.message_uid))
        slices.append(Slice(conversation, "2026-11-20", 1, 1, tuple(messages), gaps))
    return tuple(slices)


_INSTANTS = st.integers(at_ms(19, 15), at_ms(20, 14))  # the twentieth, in Tokyo
_SPANS = st.tuples(st.none() | st.integers(at_ms(18), at_ms(22)), st.none() | st.integers(at_ms(18), at_ms(22)))


@st.composite
def _messages(draw: Any, chat_id: str, number: int, person: Any, before: list[Message]) -> Message:
    versions = tuple(
        version(
            draw(TEXTS),
            n,
            observed_at_ms=draw(st.integers(at_ms(20), at_ms(23))),
            flockml=draw(st.none() | TEXTS),
            notification=draw(st.none() | TEXTS),
        )
        for n in range(1, draw(st.integers(1, 3)) + 1)
    )
    uids = [message.message_uid for message in before]
    return Message(
        chat_id=chat_id,
        message_uid=f"{number}-{draw(NAMES)}" if draw(st.booleans()) else f"uid-{number}",
        control_number=f"N-{number:06}",
        sent_at_ms=draw(_INSTANTS),
        sent_at_basis="timestampInMillis",
        sender=draw(person),
        versions=versions,
        files=tuple(draw(_files(number, n)) for n in range(draw(st.integers(0, 2)))),
        send_as_name=draw(st.none() | NAMES),
        on_behalf_of=draw(st.none() | person),
        app_id=draw(st.none() | NAMES),
        visible_to=tuple(draw(st.lists(person, max_size=2, unique=True))),
        reply_to=draw(st.none() | st.sampled_from(uids)) if uids else draw(st.none() | st.just("elsewhere")),
        not_returned_since_ms=draw(st.none() | _INSTANTS),
        is_context=draw(st.booleans()),
        redactions=draw(st.integers(0, 2)),
    )


@st.composite
def _files(draw: Any, number: int, ordinal: int) -> File:
    name = draw(NAMES)
    facts: dict[str, Any] = {
        "ordinal": ordinal,
        "name": name,
        "control_number": f"N-{number:06}.{ordinal:03}",
        "kind": "download",
    }
    kind = draw(st.sampled_from(["stored", "left out", "missing"]))
    mime = draw(st.none() | st.sampled_from(["text/plain", "message/rfc822", "image/png", "x\r\ny/z"]))
    if kind == "missing":
        return File(**facts, mime=mime, status="failed", reason=draw(st.none() | NAMES))
    data = draw(st.sampled_from(sorted(BLOBS.values())))
    digest = sha256(data).hexdigest()
    facts |= {
        "mime": mime,
        "size": len(data),
        "sha256": digest,
        "md5": draw(st.sampled_from([None, md5(data).hexdigest()])),
    }
    return File(**facts, path=f"natives/{digest[:2]}/{digest}-file" if kind == "stored" else None, path_name="file.txt")
