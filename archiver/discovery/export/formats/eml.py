"""Mails (RFC 5322), for whoever has nothing but a mail reader: one for each conversation and day, or one for each message.

A day a mail is the default, because reviewers read chat in its course and 20,000,000 mails of a line each are of no use to them. The
option ``eml`` = ``message`` makes one of each message, with ``In-Reply-To`` where a reply is known. Parts are the text, the same as
HTML, and the files under their own names; a file that is not there is a text that says why. ``Message-ID`` comes from the messages' uids,
``Date`` is when the first was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from archiver.discovery.export.formats import mime_stream as mime
from archiver.discovery.export.formats.eml_page import page_chunks
from archiver.discovery.export.formats.plain_transcript import (
    conversation_title,
    is_embedded,
    local_text,
    placeholder,
    why_missing,
)
from archiver.discovery.export.formats.portions import ARCHIVE, Piece, Portion, pieces_of, transcript
from archiver.discovery.export.record import File, Message, Person, Slice, Terms
from archiver.discovery.export.sink import Sink, Written

MESSAGES_MAX = 10_000
"""Of one mail, as of an RSMF."""
OPTION = "eml"
"""The name in `Terms.options`; its value ``message`` makes a mail of each message."""

_TEXT = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
_HTML = b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"


class EmlWriter:
    """Writes ``eml/<conversation>/<day>.eml``, or ``eml/<conversation>/<day>/<control number>.eml``."""

    format: ClassVar[str] = "eml"
    by_half: ClassVar[bool] = True

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._sink = sink
        self._counts: Counter[str] = Counter()
        self._is_by_message = terms.options.get(OPTION) == "message"

    def add(self, part: Slice) -> None:
        """Write the mails of a slice; one with neither messages nor gaps has none."""
        for stem, portion in self._portions(part):
            path = f"{self.format}/{part.conversation.path_name}/{stem}.eml"
            self._counts["paths"] += 1
            self._counts["messages"] += len(portion.piece.messages)
            for file in portion.piece.files:
                self._counts["files"] += 1
                self._counts["too large"] += file.path is not None and not is_embedded(file)
                self._counts["renamed"] += mime.safe_file_name(file.name) != file.name
            if not self._sink.has(path):
                with self._sink.open(path) as out:
                    self._write(portion, out)

    def finish(self, _: Written | None = None, /) -> Written:
        """Return what was written."""
        renamed = {"eml: names of files that could be paths or move a cursor": self._counts["renamed"]}
        return Written(
            self._counts["paths"],
            self._counts["messages"],
            self._counts["files"],
            replaced=renamed if self._counts["renamed"] else {},
            counted={
                "eml: {count} files are too large for a mail; a placeholder names where they lie": self._counts[
                    "too large"
                ]
            },
        )

    def close(self) -> None:
        """Do nothing: no file stays open between slices."""

    def _portions(self, part: Slice) -> Iterator[tuple[str, Portion]]:
        """Yield what goes into one mail, and its name below the conversation's folder."""
        if not self._is_by_message:
            if part.messages or part.gaps:
                for piece in pieces_of(part, messages_max=MESSAGES_MAX):
                    portion = Portion(self._terms, part, piece)
                    yield portion.stem, portion
            return
        whole = Portion(self._terms, part, Piece((), 1, 1))
        if part.gaps:
            yield f"{part.day}/{whole.stem}_gaps", whole
        quiet = Slice(part.conversation, part.day, part.part, part.parts, part.messages)
        for message in part.messages:
            yield (
                f"{part.day}/{mime.safe_name(message.control_number)}",
                Portion(self._terms, quiet, Piece((message,), 1, 1)),
            )

    def _write(self, portion: Portion, out: BinaryIO) -> None:
        identity = self._identity(portion)
        mixed, alternative = mime.boundary_of(identity, "mixed"), mime.boundary_of(identity, "alternative")
        out.writelines(self._headers(portion, identity, mixed))
        out.write(f"\r\n--{mixed}\r\n".encode("ascii"))
        out.write(
            mime.structured("Content-Type", ["multipart/alternative", f'boundary="{alternative}"'], separator=";")
        )
        for headers, chunks in ((_TEXT, transcript(portion)), (_HTML, page_chunks(portion))):
            out.write(f"\r\n--{alternative}\r\n".encode("ascii") + headers)
            out.writelines(mime.base64_lines(chunks))
        out.write(f"\r\n--{alternative}--\r\n".encode("ascii"))
        for message in portion.piece.messages:
            for file in message.files:
                out.write(f"\r\n--{mixed}\r\n".encode("ascii"))
                self._attach(message, file, out)
        out.write(f"\r\n--{mixed}--\r\n".encode("ascii"))

    def _attach(self, message: Message, file: File, out: BinaryIO) -> None:
        name = mime.safe_file_name(file.name)
        is_here = is_embedded(file) and file.sha256 is not None
        if is_here:
            out.write(mime.structured("Content-Type", [mime.safe_type(file.mime)]))
            out.write(mime.disposition(name))
        else:
            out.write(b"Content-Type: text/plain; charset=utf-8\r\n")
            out.write(mime.disposition(f"{name}.missing.txt"))
            out.write(mime.header("X-Archive-Missing", why_missing(file)))
        out.write(b"Content-Transfer-Encoding: base64\r\n")
        out.write(mime.header("X-Archive-Control-Number", file.control_number))
        out.write(mime.header("X-Archive-Message-UID", message.message_uid))
        if is_here and file.sha256 is not None:
            out.write(mime.header("X-Archive-SHA256", file.sha256) + b"\r\n")
            with self._terms.open_blob(file.sha256) as stream:
                out.writelines(mime.base64_lines(mime.chunks_of(stream)))
        else:
            out.write(b"\r\n")
            out.writelines(mime.base64_lines([placeholder(file).encode()]))

    def _identity(self, portion: Portion) -> str:
        if self._is_by_message and portion.piece.messages:
            return self._identity_of(portion.piece.messages[0].message_uid, portion)
        part = portion.part
        uids = (message.message_uid for message in portion.piece.messages)
        place = (part.day, str(part.part), str(portion.piece.number))
        return mime.stable_id(self._terms.archive_id, part.conversation.chat_id, *place, *uids)

    def _identity_of(self, message_uid: str, portion: Portion) -> str:
        return mime.stable_id(self._terms.archive_id, portion.part.conversation.chat_id, message_uid)

    def _headers(self, portion: Portion, identity: str, boundary: str) -> Iterator[bytes]:
        terms, part, messages = portion.terms, portion.part, portion.piece.messages
        sent_at_ms = messages[0].sent_at_ms if messages else portion.begins_ms
        yield mime.structured("Date", [mime.date(sent_at_ms, terms.zone)])
        yield mime.structured("From", [mime.mailbox(messages[0].sender if messages else ARCHIVE)])
        yield mime.structured("To", list(map(mime.mailbox, self._recipients(portion))) or ["undisclosed-recipients:;"])
        label = f", {portion.label}" if portion.label and not self._is_by_message else ""
        yield mime.header("Subject", f"{conversation_title(part.conversation)}, {part.day}{label}")
        yield mime.structured("Message-ID", [f"<{identity}@eml.flock.invalid>"])
        if self._is_by_message and messages and messages[0].reply_to:
            parent = f"<{self._identity_of(messages[0].reply_to, portion)}@eml.flock.invalid>"
            yield mime.structured("In-Reply-To", [parent])
            yield mime.structured("References", [parent])
        yield b"MIME-Version: 1.0\r\n"
        yield mime.header("X-Archive-Conversation-ID", part.conversation.chat_id)
        yield mime.header("X-Archive-Day", f"{part.day} {terms.zone.key}")
        if self._is_by_message and messages:
            yield from self._message_headers(messages[0])
        yield mime.header("X-Archive-Messages", str(len(messages)))
        yield mime.header("X-Archive-Files", str(sum(1 for _ in portion.piece.files)))
        yield mime.header("X-Archive-Matter", terms.matter)
        yield mime.header("X-Archive-Head", f"{terms.archive_id} {terms.head_sequence} {terms.head_digest}")
        yield mime.structured("Content-Type", ["multipart/mixed", f'boundary="{boundary}"'], separator=";")

    def _message_headers(self, message: Message) -> Iterator[bytes]:
        yield mime.header("X-Archive-Message-UID", message.message_uid)
        yield mime.header("X-Archive-Control-Number", message.control_number)
        yield mime.header("X-Archive-Content-SHA256", message.newest.content_digest)
        if message.not_returned_since_ms is not None:
            yield mime.header(
                "X-Archive-Not-Returned-Since", local_text(message.not_returned_since_ms, self._terms.zone)
            )

    def _recipients(self, portion: Portion) -> tuple[Person, ...]:
        """Return whom a mail is to: those who took part, of a single message the others of them, or the few who saw it."""
        people = portion.part.conversation.participants
        if not (self._is_by_message and portion.piece.messages):
            return people
        message = portion.piece.messages[0]
        return message.visible_to or tuple(person for person in people if person.user_id != message.sender.user_id)
