"""What an export hands to its writers: conversations in slices, each message with the versions, files and facts that were captured.

Everything is a value read from one head, in one order, so that a writer is a pure function: the same head and the same options give the
same bytes on every machine. Instants are milliseconds since 1970 UTC; what a reader sees of them is in the zone of `Terms`. Texts are as
they were captured, which means hostile: a writer escapes every one of them, and `path_name` is the only name that may become a path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import BinaryIO, Literal
from zoneinfo import ZoneInfo

import msgspec


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who wrote, took part or is a custodian, as the directory knew them when it last told of them."""

    user_id: str
    name: str | None = None
    email: str | None = None
    is_bot: bool = False

    @property
    def shown(self) -> str:
        """What to call them: the name, else the address, else the id."""
        return self.name or self.email or self.user_id


@dataclass(frozen=True, slots=True)
class Conversation:
    """A channel or a one-to-one chat. ``participants`` are sorted by id; of a channel those who were in it in the export's days."""

    chat_id: str
    kind: Literal["channel", "direct"]
    name: str | None
    participants: tuple[Person, ...]
    custodians: tuple[Person, ...] = ()
    path_name: str = ""
    """A name for files and folders: safe on every system and unique in the package."""

    @property
    def shown(self) -> str:
        """What to call it: its name, of a one-to-one chat those of the two."""
        return self.name or ", ".join(person.shown for person in self.participants) or self.chat_id


class File(msgspec.Struct, frozen=True, gc=False):
    """A file of a message. Without ``sha256`` its bytes are not here, and ``reason`` says why: a writer puts a placeholder.

    ``path`` is where its bytes lie in the package, relative to ``data/`` with slashes; None if natives are left out. ``control_number``
    names it in load files.
    """

    ordinal: int
    name: str
    control_number: str
    kind: str
    mime: str | None = None
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    path: str | None = None
    path_name: str = ""
    status: str = "stored"
    reason: str | None = None


class Version(msgspec.Struct, frozen=True, gc=False):
    """One content of a message. ``text`` is what its reader saw (plain_text), after redaction; ``flockml`` the markup as sent, if any."""

    number: int
    observed_at_ms: int
    text: str
    source: str
    captured_by: str
    content_digest: str
    raw_digest: str
    flockml: str | None = None
    notification: str | None = None
    attachments: str | None = None
    mentions: tuple[str, ...] = ()
    raw: str | None = None
    """The message exactly as received, JSON; None where the export is redacted."""
    object_key: str = ""
    """The data object of the archive that holds this version, and the commit that added it."""
    commit: int = 0


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message with its versions, oldest first; the last is the newest, and there is at least one.

    ``is_context`` tells what was not asked for and stands around what was. ``not_returned_since_ms`` is since when Flock did not return it.
    ``reply_to`` is the uid of the message that it seems to reply to, an inference, only where that is in the same conversation.
    ``redactions`` counts the places that were made black in all versions together.
    """

    chat_id: str
    message_uid: str
    control_number: str
    sent_at_ms: int
    sent_at_basis: str
    sender: Person
    versions: tuple[Version, ...]
    files: tuple[File, ...] = ()
    send_as_name: str | None = None
    on_behalf_of: Person | None = None
    app_id: str | None = None
    visible_to: tuple[Person, ...] = ()
    reply_to: str | None = None
    not_returned_since_ms: int | None = None
    is_context: bool = False
    redactions: int = 0

    @property
    def newest(self) -> Version:
        """The newest version."""
        return self.versions[-1]


@dataclass(frozen=True, slots=True)
class GapNote:
    """What may be missing: a gap of the archive's own list, or what the export itself lacks (``kind`` then starts with ``export:``)."""

    gap_id: str
    kind: str
    evidence: str
    count: int
    from_at_ms: int | None = None
    to_at_ms: int | None = None
    subject: str | None = None
    chat_id: str | None = None
    """The conversation that it concerns; None if it is about no single one."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of one conversation: one day in the export's zone, or a part of such a day where it is large.

    ``day`` is that day (YYYY-MM-DD); ``part`` of ``parts`` counts within the day, from 1. Messages are sorted by (sent_at_ms, message_uid).
    ``gaps`` touch this conversation and day. Slices come sorted by (chat_id, day, part). ``captures`` counts the rows of the archive
    that its messages are of; ``left_out`` what of them is not in it, by why.
    """

    conversation: Conversation
    day: str
    part: int
    parts: int
    messages: Sequence[Message]
    gaps: tuple[GapNote, ...] = ()
    captures: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """What every writer of one export is told: whose export it is, of which head, in which zone, and how to have a file's bytes.

    ``made_at_ms`` is the instant of the head's commit, never the clock's: the same head gives the same bytes. ``open_blob`` opens the bytes
    of a stored file for reading and checks them against their digest as they are read. ``executor`` is for what a writer does beside, and
    decides no byte; None where everything is done in one thread. ``half`` is which half of the export is written, and ``is_last``
    whether it is the last one: 1 and true where it has none.
    """

    matter: str
    archive_id: str
    workspace: str
    head_sequence: int
    head_digest: str
    made_at_ms: int
    zone: ZoneInfo
    software: str
    open_blob: Callable[[str], BinaryIO]
    custodians: tuple[Person, ...] = ()
    gaps: tuple[GapNote, ...] = ()
    is_redacted: bool = False
    options: dict[str, str] = field(default_factory=dict)
    executor: Executor | None = None
    half: int = 1
    is_last: bool = True
    replying: frozenset[str] | None = None
    """The conversations in which a message replies to another; None where nothing tells that."""

    @property
    def gaps_at_end(self) -> tuple[GapNote, ...]:
        """The gaps that belong to no conversation's day, for tables, which tell them behind all others: in the last half."""
        return self.gaps if self.is_last else ()
