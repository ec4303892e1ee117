"""What an RSMF says of a piece of a conversation-day: its participants, its conversation, its events (formats.md, RSMF 2.0).

- An event's id is the message's uid, of a gap ``gap:`` and its id. Events are sorted by (timestamp, id).
- ``edits`` are the steps from each version to the next, at the time at which the archive saw the new one: Flock tells of no other.
- ``deleted`` is never claimed. Flock says of no message that it was deleted; it only stops returning it, for more reasons than one. So
  ``custom`` has since when, and what that may mean.
- ``direction`` is seen from the conversation's ``custodian``, the first in order of ids where there are several.
- A reply that was inferred is a ``parent`` where that is in the same file and not later; else ``custom`` names it.
- What may be missing is a ``disclaimer`` at the moment it began, or at the start of the day where that was earlier or is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from archiver.discovery.export.formats.mime_stream import safe_file_name, safe_name
from archiver.discovery.export.formats.plain_transcript import (
    NOT_RETURNED_MEANING,
    gap_text,
    is_embedded,
    local_text,
    placeholder,
    why_missing,
)
from archiver.discovery.export.formats.portions import Portion, day_span_ms
from archiver.discovery.export.record import File, GapNote, Message, Person, Version

VERSION = "2.0.0"
PLATFORM = "Flock"
EVENTS_A_CHUNK = 100
GAPS_MAX = 100
"""Gaps told of in one file; a further event counts the rest."""

Custom = list[dict[str, str]]


def events_of(portion: Portion) -> int:
    """Return how many events a portion has."""
    return len(portion.piece.messages) + min(len(portion.part.gaps), GAPS_MAX + 1)


def participants(portion: Portion) -> tuple[Person, ...]:
    """Return everybody whom the manifest names: who took part first, then who else is named, in order of appearance."""
    known = {person.user_id: person for person in portion.part.conversation.participants}
    for message in portion.piece.messages:
        for person in (message.sender, message.on_behalf_of, *message.visible_to):
            if person is not None:
                known.setdefault(person.user_id, person)
    for person in portion.part.conversation.custodians:
        known.setdefault(person.user_id, person)
    return tuple(known.values())


def attachment_id(file: File) -> str:
    """Return the name of a file in the zip, unique by its control number; a placeholder's says what it is."""
    own = safe_file_name(file.path_name or file.name)
    if not is_embedded(file):
        own += ".missing.txt"
    elif "." not in own:
        own += ".bin"
    return f"{safe_name(file.control_number)}_{own}"


def placeholder_of(file: File) -> bytes:
    """Return the bytes that stand in the zip in place of a file."""
    return placeholder(file).encode("utf-8")


def manifest_chunks(portion: Portion) -> Iterator[bytes]:
    """Yield the manifest as JSON, some events at a time."""
    people = b",".join(map(_participant, participants(portion)))
    yield b'{"version":' + _json(VERSION) + b',"eventcollectionid":' + _json(collection_id(portion))
    yield (b',"participants":[' + people + b'],"conversations":' + _json([_conversation(portion)]) + b',"events":[\n')
    sent = {message.message_uid: message.sent_at_ms for message in portion.piece.messages}
    held: list[bytes] = []
    separator = b""
    for at_ms, event_id, of in sorted(_events(portion), key=itemgetter(0, 1)):
        held.append(separator + _event(at_ms, event_id, of, portion, sent))
        separator = b",\n"
        if len(held) == EVENTS_A_CHUNK:
            yield b"".join(held)
            held.clear()
    yield b"".join([*held, b"\n]}\n"])


def collection_id(portion: Portion) -> str:
    """Return the id that all files of one conversation share."""
    return f"{portion.terms.archive_id}:{portion.part.conversation.chat_id}"


def span_ms(portion: Portion) -> tuple[int, int]:
    """Return the instants of the first and the last event."""
    instants = [at_ms for at_ms, _, _ in _events(portion)]
    return min(instants), max(instants)


def _events(portion: Portion) -> list[tuple[int, str, Message | GapNote | int]]:
    """Return instant, id and what it tells of for each event, in any order; a number counts the gaps that have none of their own."""
    events: list[tuple[int, str, Message | GapNote | int]] = [
        (message.sent_at_ms, message.message_uid, message) for message in portion.piece.messages
    ]
    begins_ms, ends_ms = day_span_ms(portion.part.day, portion.terms.zone)
    for gap in portion.part.gaps[:GAPS_MAX]:
        at_ms = begins_ms if gap.from_at_ms is None else min(max(gap.from_at_ms, begins_ms), ends_ms)
        events.append((at_ms, f"gap:{gap.gap_id}", gap))
    if (further := len(portion.part.gaps) - GAPS_MAX) > 0:
        events.append((begins_ms, "gap:further", further))
    return events


def _event(at_ms: int, event_id: str, of: Message | GapNote | int, portion: Portion, sent: dict[str, int]) -> bytes:
    if isinstance(of, Message):
        return _message_event(of, portion, sent)
    zone = portion.terms.zone
    if isinstance(of, int):
        body, custom = f"{of} more gaps touch this day; the report of the package has all of them", []
    else:
        body = gap_text(of, zone)
        custom = _custom(
            gap_kind=of.kind,
            gap_count=str(of.count),
            gap_from=None if of.from_at_ms is None else local_text(of.from_at_ms, zone),
            gap_to=None if of.to_at_ms is None else local_text(of.to_at_ms, zone),
            gap_subject=of.subject,
        )
    return _json(
        {
            "id": event_id,
            "type": "disclaimer",
            "conversation": portion.part.conversation.chat_id,
            "timestamp": local_text(at_ms, zone),
            "body": body,
            "custom": custom,
        }
    )


def _message_event(message: Message, portion: Portion, sent: dict[str, int]) -> bytes:
    zone = portion.terms.zone
    parent_ms = sent.get(message.reply_to) if message.reply_to and message.reply_to != message.message_uid else None
    has_parent = parent_ms is not None and parent_ms <= message.sent_at_ms
    further: dict[str, Any] = {}
    if portion.custodian is not None:
        is_own = message.sender.user_id == portion.custodian.user_id
        further["direction"] = "outgoing" if is_own else "incoming"
    if message.files:
        further["attachments"] = [
            {
                "id": attachment_id(file),
                "display": file.name,
                "size": file.size if is_embedded(file) and file.size is not None else len(placeholder_of(file)),
            }
            for file in message.files
        ]
    if len(message.versions) > 1:
        further["edits"] = list(_edits(message, zone))
    facts = [*_facts(message, zone), *_file_facts(message)]
    # Of most messages there is little else, and put together so an event takes half of what an object of all of it does.
    return b"".join(
        (
            b'{"id":',
            _json(message.message_uid),
            b',"type":"message"',
            b',"parent":' + _json(message.reply_to) if has_parent else b"",
            b',"conversation":',
            _again(message.chat_id),
            b',"participant":',
            _again(message.sender.user_id),
            b',"timestamp":',
            _json(local_text(message.sent_at_ms, zone)),
            b',"body":',
            _json(message.newest.text),
            b"," + _json(further)[1:-1] if further else b"",
            b',"custom":',
            # There is always a control number before them.
            _json(facts)[:-1],
            *[_version_facts(version, zone) for version in message.versions],
            b"]}",
        )
    )


def _edits(message: Message, zone: ZoneInfo) -> Iterator[dict[str, Any]]:
    last_ms: int | None = None
    for old, new in zip(message.versions, message.versions[1:], strict=False):
        edit: dict[str, Any] = {"participant": message.sender.user_id}
        if last_ms is None or new.observed_at_ms >= last_ms:  # else the order of the edits and of their times differ
            edit["timestamp"] = local_text(new.observed_at_ms, zone)
            last_ms = new.observed_at_ms
        yield edit | {"previous": old.text, "new": new.text}


def _facts(message: Message, zone: ZoneInfo) -> Custom:
    newest = message.newest
    facts: list[tuple[str, str | None]] = [("control_number", message.control_number)]
    if message.is_context:
        facts.append(("context", "yes: not asked for, stands around what was"))
    if message.not_returned_since_ms is not None:
        facts.append(("not_returned_by_flock_since", local_text(message.not_returned_since_ms, zone)))
        facts.append(("not_returned_by_flock_means", NOT_RETURNED_MEANING))
    facts += (
        ("reply_to_inferred", message.reply_to),
        ("send_as_name", message.send_as_name),
        ("on_behalf_of", None if message.on_behalf_of is None else message.on_behalf_of.user_id),
        ("app_id", message.app_id),
        ("visible_to", ", ".join([person.user_id for person in message.visible_to]) if message.visible_to else None),
        ("mentions", ", ".join(newest.mentions) if newest.mentions else None),
        ("flockml", newest.flockml),
        ("notification", newest.notification),
        ("attachments_json", newest.attachments),
        ("redactions", str(message.redactions) if message.redactions else None),
        ("sent_at_basis", message.sent_at_basis),
    )
    return [{"name": name, "value": value} for name, value in facts if value]


def _file_facts(message: Message) -> Iterator[dict[str, str]]:
    for file in message.files:
        name = attachment_id(file)
        yield {"name": f"control_number of {name}", "value": file.control_number}
        if is_embedded(file) and file.sha256 is not None:
            yield {"name": f"sha256 of {name}", "value": file.sha256}
        else:
            yield {"name": f"missing {name}", "value": why_missing(file)}


def _version_facts(version: Version, zone: ZoneInfo) -> bytes:
    observed_at, content_digest, raw_digest, archived, captured = _version_names(version.number)
    return b"".join(
        (
            observed_at,
            _json(local_text(version.observed_at_ms, zone)),
            content_digest,
            _json(version.content_digest),
            raw_digest,
            _json(version.raw_digest),
            archived,
            _archived(version.commit, version.object_key),
            captured,
            _captured(version.source, version.captured_by),
            b"}",
        )
    )


@lru_cache(maxsize=4_096)
def _version_names(number: int) -> tuple[bytes, ...]:
    """Return what stands before each fact about a version."""
    names = ("observed_at", "content_digest", "raw_digest", "archived", "captured")
    begins = [f'{{"name":"version_{number}_{name}","value":' for name in names]
    return tuple(f"{'},' if place else ','}{begin}".encode() for place, begin in enumerate(begins))


@lru_cache(maxsize=4_096)
def _archived(commit: int, object_key: str) -> bytes:
    return _json(f"commit {commit}, {object_key}")


@lru_cache(maxsize=4_096)
def _captured(source: str, captured_by: str) -> bytes:
    return _json(f"{source} by {captured_by}")


@lru_cache(maxsize=4_096)
def _participant(person: Person) -> bytes:
    known: dict[str, Any] = {"id": person.user_id, "display": person.shown, "account_id": person.user_id}
    if person.email:
        known["email"] = person.email
    if person.is_bot:
        known["custom"] = _custom(is_bot="yes")
    return _json(known)


def _conversation(portion: Portion) -> dict[str, Any]:
    conversation, terms = portion.part.conversation, portion.terms
    members = dict.fromkeys(person.user_id for person in conversation.participants)
    members |= dict.fromkeys(message.sender.user_id for message in portion.piece.messages)
    known: dict[str, Any] = {
        "id": conversation.chat_id,
        "platform": PLATFORM,
        "display": conversation.shown,
        "type": conversation.kind,
        "participants": list(members),
    }
    if portion.custodian is not None:
        known["custodian"] = portion.custodian.user_id
    known["custom"] = _custom(
        custodians=", ".join(person.user_id for person in conversation.custodians) or None,
        day=portion.part.day,
        part=portion.label or None,
        time_zone=terms.zone.key,
        matter=terms.matter,
        workspace=terms.workspace,
        archive_id=terms.archive_id,
        ledger_head=f"{terms.head_sequence} {terms.head_digest}",
        is_redacted="yes" if terms.is_redacted else None,
    )
    return known


def _custom(**facts: str | None) -> Custom:
    return [{"name": name, "value": value} for name, value in facts.items() if value]


_json = msgspec.json.Encoder().encode


@lru_cache(maxsize=4_096)
def _again(text: str) -> bytes:
    """Return as JSON what many events say."""
    return _json(text)
