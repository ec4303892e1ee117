"""What load files list: a document for each message and, right after it, one for each of its files. The message is their parent.

A document a message and not a conversation-day, because every field of a load file has one value: who sent it, when, to whom,
whether it was edited or is no longer returned. What belongs together is told by ``CONVERSATION_ID`` and ``CONVERSATION_DAY``; RSMF and EML
have the days. Values are as they were captured: each load file puts in another way, and counts, what it cannot hold.

Every message has a text file with all its versions; a file has its native, or a text file that says why that is missing. Hashes are of the
native, else of the text file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import md5, sha256
from typing import BinaryIO

from archiver.discovery.export.formats.mime_stream import chunks_of, safe_name
from archiver.discovery.export.formats.plain_transcript import (
    conversation_title,
    gap_text,
    local_text,
    message_lines,
    placeholder,
    why_missing,
)
from archiver.discovery.export.record import File, GapNote, Message, Person, Slice, Terms
from archiver.discovery.export.sink import Sink

TEXTS_A_FOLDER = 1_000
"""Text files in one folder, so that it can still be listed."""

FACTS = (
    *("CONVERSATION_ID", "CONVERSATION", "CONVERSATION_KIND", "CONVERSATION_DAY", "MESSAGE_UID", "DATETIME_SENT"),
    *("DATETIME_SENT_BASIS", "SENDER_ID", "SEND_AS", "ON_BEHALF_OF", "APP_ID", "VISIBLE_TO", "REPLY_TO_INFERRED"),
    *(
        "IS_CONTEXT",
        "VERSIONS",
        "LAST_VERSION_SEEN",
        "NOT_RETURNED_SINCE",
        "REDACTIONS",
        "CONTENT_SHA256",
        "RAW_SHA256",
    ),
    *("OBJECT_KEY", "COMMIT", "LEDGER_HEAD", "FILE_STATUS", "FILE_MISSING_BECAUSE", "FILE_SHA256", "GAP_IDS"),
)
"""The names of `facts_of_document`."""

_EXTENSION_CHARACTERS_MAX = 16


@dataclass(frozen=True, slots=True)
class LoadDocument:
    """A row of a load file. ``file`` is None for a message; ``native`` is where a file's bytes lie, relative to ``data/``.

    ``begins`` and ``ends`` are the first and the last control number of its family.
    """

    control_number: str
    part: Slice
    message: Message
    file: File | None
    text: bytes | None
    native: str | None
    mime: str
    size: int | None
    md5: str
    sha256: str

    @property
    def parent(self) -> str | None:
        """The control number of the message that a file belongs to."""
        return None if self.file is None else self.message.control_number

    @property
    def children(self) -> tuple[str, ...]:
        """The control numbers of a message's files."""
        return tuple(file.control_number for file in self.message.files) if self.file is None else ()

    @property
    def ends(self) -> str:
        """The last control number of the family."""
        return self.message.files[-1].control_number if self.message.files else self.message.control_number

    @property
    def extension(self) -> str:
        """The ending of the file's name without its dot, of a message ``txt``."""
        if self.file is None:
            return "txt"
        _, dot, ending = self.file.name.rpartition(".")
        return ending if dot and ending.isalnum() and len(ending) <= _EXTENSION_CHARACTERS_MAX else ""

    @property
    def recipients(self) -> tuple[Person, ...]:
        """Whom a message is to: the few who saw it, else the others of the conversation."""
        people = self.message.visible_to or self.part.conversation.participants
        return tuple(person for person in people if person.user_id != self.message.sender.user_id)


def documents_of(part: Slice, terms: Terms) -> Iterator[LoadDocument]:
    """Yield the documents of a slice, families together."""
    for message in part.messages:
        heading = f"{conversation_title(part.conversation)}, {part.day} ({terms.zone.key})"
        text = _text(heading, *message_lines(message, terms.zone))
        yield LoadDocument(
            message.control_number, part, message, None, text, None, "text/plain", len(text), *_hashes(text)
        )
        for file in message.files:
            yield _file_document(file, message, part, terms)


def facts_of_document(document: LoadDocument, terms: Terms) -> dict[str, str]:
    """Return what the archive knows of a document beside the fields that load files have names for, by name; values may be empty."""
    part, message, file = document.part, document.message, document.file
    zone, conversation, newest = terms.zone, part.conversation, message.newest
    return {
        "CONVERSATION_ID": conversation.chat_id,
        "CONVERSATION": conversation.shown,
        "CONVERSATION_KIND": conversation.kind,
        "CONVERSATION_DAY": part.day,
        "MESSAGE_UID": message.message_uid,
        "DATETIME_SENT": local_text(message.sent_at_ms, zone),
        "DATETIME_SENT_BASIS": message.sent_at_basis,
        "SENDER_ID": message.sender.user_id,
        "SEND_AS": message.send_as_name or "",
        "ON_BEHALF_OF": "" if message.on_behalf_of is None else named(message.on_behalf_of),
        "APP_ID": message.app_id or "",
        "VISIBLE_TO": several(named(person) for person in message.visible_to),
        "REPLY_TO_INFERRED": message.reply_to or "",
        "IS_CONTEXT": "Y" if message.is_context else "N",
        "VERSIONS": str(len(message.versions)),
        "LAST_VERSION_SEEN": local_text(newest.observed_at_ms, zone),
        "NOT_RETURNED_SINCE": ""
        if message.not_returned_since_ms is None
        else local_text(message.not_returned_since_ms, zone),
        "REDACTIONS": str(message.redactions),
        "CONTENT_SHA256": newest.content_digest,
        "RAW_SHA256": newest.raw_digest,
        "OBJECT_KEY": newest.object_key,
        "COMMIT": str(newest.commit),
        "LEDGER_HEAD": f"{terms.head_sequence} {terms.head_digest}",
        "FILE_STATUS": "" if file is None else file.status,
        "FILE_MISSING_BECAUSE": "" if file is None or file.path is not None else why_missing(file),
        "FILE_SHA256": "" if file is None else file.sha256 or "",
        "GAP_IDS": several(gap.gap_id for gap in part.gaps),
    }


def named(person: Person) -> str:
    """Return a person's name with their address and id, each only once, as they were captured."""
    further = [part for part in (person.email, person.user_id) if part and part != person.shown]
    return f"{person.shown} ({', '.join(further)})" if further else person.shown


def several(values: Iterable[str]) -> str:
    """Join values as load files do, with semicolons; one inside a value becomes a comma."""
    return ";".join(value.replace(";", ",") for value in values)


class TextFiles:
    """Writes the text files of documents under ``<format>/text/``, so many to a folder."""

    def __init__(self, sink: Sink, format_name: str) -> None:
        self._sink = sink
        self._format = format_name
        self.count = 0

    def put(self, document: LoadDocument) -> str | None:
        """Write a document's text, if it has one; returns its path relative to the format's folder."""
        if document.text is None:
            return None
        folder = self.count // TEXTS_A_FOLDER + 1
        relative = f"text/{folder:06}/{safe_name(document.control_number)}.txt"
        path = f"{self._format}/{relative}"
        self.count += 1
        if not self._sink.has(path):
            with self._sink.open(path) as out:
                out.write(document.text)
        return relative


class LoadFile:
    """The one file that grows from the first slice to the last, opened with ``beginning`` when it is first asked for."""

    def __init__(self, sink: Sink, path: str, *, beginning: Callable[[], bytes]) -> None:
        self._sink = sink
        self._path = path
        self._beginning = beginning
        self._open = ExitStack()
        self._stream: BinaryIO | None = None

    def stream(self) -> BinaryIO:
        """Return the file, its beginning written."""
        if self._stream is None:
            self._stream = self._open.enter_context(self._sink.open(self._path))
            self._stream.write(self._beginning())
        return self._stream

    def finish(self) -> None:
        """Close it as one that is whole, be it only its beginning."""
        self.stream()
        self._open.close()

    def abandon(self) -> None:
        """Leave it as a file that does not count; harmless after `finish`."""
        abandoned = RuntimeError(f"{self._path} was left unfinished")
        self._open.__exit__(RuntimeError, abandoned, None)


class GapList:
    """The gaps that an export has met, each once, for a text that says all of them; load files have no place for what is not there."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._gaps: dict[str, GapNote] = {gap.gap_id: gap for gap in terms.gaps}

    def add(self, part: Slice) -> None:
        """Take the gaps of a slice."""
        for gap in part.gaps:
            self._gaps.setdefault(gap.gap_id, gap)

    def text(self) -> bytes:
        """Return the text, in the order of the gaps' beginnings."""
        ordered = sorted(self._gaps.values(), key=lambda gap: (gap.from_at_ms or 0, gap.gap_id))
        lines = [gap_text(gap, self._terms.zone) for gap in ordered]
        head = "What may be missing" if lines else "Nothing is known to be missing of what was exported"
        return _text(f"{head} ({self._terms.zone.key})", *lines)


def _file_document(file: File, message: Message, part: Slice, terms: Terms) -> LoadDocument:
    if file.path is None or file.sha256 is None:
        text = _text(*placeholder(file).splitlines())
        return LoadDocument(
            file.control_number, part, message, file, text, None, file.mime or "", file.size, *_hashes(text)
        )
    return LoadDocument(
        control_number=file.control_number,
        part=part,
        message=message,
        file=file,
        text=None,
        native=file.path,
        mime=file.mime or "",
        size=file.size,
        md5=file.md5 or _md5_of(file.sha256, terms),
        sha256=file.sha256,
    )


def _hashes(data: bytes) -> tuple[str, str]:
    return md5(data, usedforsecurity=False).hexdigest(), sha256(data).hexdigest()


def _md5_of(digest: str, terms: Terms) -> str:
    found = md5(usedforsecurity=False)
    with terms.open_blob(digest) as stream:
        for chunk in chunks_of(stream):
            found.update(chunk)
    return found.hexdigest()


def _text(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()
