"""What a file that is imported consists of: items in an order that never changes, so that an import can go on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from archiver.archive.ledger import InputFile
from archiver.normalise.content import canonical_json
from archiver.normalise.imported import ImportedMessage

SourceKind = Literal["uids", "messages", "slack"]

# What cannot be read is kept; of something larger than this its beginning, and its error says how large it was.
KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
# So many names of parts that are not read are named.
NAMES_KEPT_MAX: Final = 1_000


class Said(msgspec.Struct, frozen=True, gc=False):
    """A message that a record states."""

    place: str
    message: ImportedMessage


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A message of Flock's that somebody wants archived: its chat as the archive names it, its uid, and whom to ask as, if given."""

    place: str
    chat_id: str
    user_id: str
    uid: str


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A record that is no message and is kept all the same, under a name for what it is."""

    place: str
    name: str
    raw: bytes
    chat_id: str | None = None


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A record that cannot be read, and why; ``raw`` are its bytes, or the first of them."""

    place: str
    error: str
    raw: bytes


Item = Said | Wanted | Noted | Unreadable


@dataclass(slots=True)
class Tally:
    """What a reading met beside its items: parts of the file that are not read, and fields that no record had.

    ``renames`` are, by chat, when it was renamed from what to what.
    """

    not_read: list[str] = field(default_factory=list)
    unseen_fields: Collection[str] = ()
    renames: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    def leave(self, name: str) -> None:
        """Name a part of the file that is not read; beyond `NAMES_KEPT_MAX` they are counted under one name."""
        if len(self.not_read) < NAMES_KEPT_MAX:
            self.not_read.append(name)
        elif len(self.not_read) == NAMES_KEPT_MAX:
            self.not_read.append("and more")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody that a file tells of; ``changed_at_ms`` is since when this holds, None if it does not say."""

    user_id: str
    state: Mapping[str, str]
    raw: str
    changed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """A chat that a file tells of; ``names`` are its names with the instants since which it had them, oldest first.

    ``participants`` are the two of a one-to-one chat, ``members`` those who were in a channel when the file was made.
    """

    chat_id: str
    chat_kind: Literal["channel", "direct"]
    names: tuple[tuple[int | None, str | None], ...]
    raw: str
    purpose: str | None = None
    participants: tuple[str, str] | None = None
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """Who and what a file tells of beside its messages."""

    people: tuple[Person, ...] = ()
    rooms: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is open for import.

    ``reading`` says how it is read: options, the digest of the mapping. With the file's own digest it is the import's identity: the
    same file read in the same way is the same import. ``mapping`` is the mapping's own text, if there is one. ``items`` may
    be called again and yields the same each time; what they tell of beside messages ``directory`` makes of a whole reading's
    tally. ``check_unchanged`` raises if the file was changed since it was opened.
    """

    kind: SourceKind
    file: InputFile
    reading: Mapping[str, str]
    items: Callable[[Tally], Iterator[Item]]
    check_unchanged: Callable[[], None]
    directory: Callable[[Tally], Directory] = lambda _tally: Directory()
    mapping: bytes | None = None
    mapping_file: InputFile | None = None

    @property
    def captured_by(self) -> str:
        """What stands for this file in the archive's rows."""
        return f"import:{self.kind}:{self.digest[:16]}"

    @property
    def digest(self) -> str:
        """The SHA-256 of which file it is and how it is read."""
        return sha256(canonical_json({**self.reading, "kind": self.kind, "sha256": self.file.sha256})).hexdigest()

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """The files that the ledger names."""
        return (self.file,) if self.mapping_file is None else (self.file, self.mapping_file)

    def facts(self) -> dict[str, Any]:
        """Return what the archive keeps of which file it was and how it was read."""
        return {
            "kind": self.kind,
            "file": self.file.name,
            "sha256": self.file.sha256,
            "bytes": self.file.bytes,
            **self.reading,
        }


def unreadable(place: str, error: str, raw: bytes) -> Unreadable:
    """Return an item that cannot be read, with as many of its bytes as are kept."""
    if len(raw) > KEPT_BYTES_MAX:
        error, raw = f"{error} (the first {KEPT_BYTES_MAX} of {len(raw)} bytes are kept)", raw[:KEPT_BYTES_MAX]
    return Unreadable(place, error, raw)
