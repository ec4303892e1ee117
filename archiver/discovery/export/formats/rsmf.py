"""RSMF 2.0, the Relativity Short Message Format: a mail whose one attachment, ``rsmf.zip``, holds a manifest and the files it names.

One file is one conversation on one day in the export's zone, of at most 10,000 events and so many bytes that viewers open it; a day that
is split says "part N of M". The zip is stored and not deflated: what zlib makes of the same bytes differs from machine to machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, ClassVar, cast
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from archiver.discovery.export.formats import mime_stream as mime
from archiver.discovery.export.formats.plain_transcript import (
    conversation_title,
    is_embedded,
    local_text,
    one_line,
)
from archiver.discovery.export.formats.portions import ARCHIVE, Portion, pieces_of, transcript
from archiver.discovery.export.formats.rsmf_manifest import (
    GAPS_MAX,
    VERSION,
    attachment_id,
    collection_id,
    events_of,
    manifest_chunks,
    participants,
    placeholder_of,
    span_ms,
)
from archiver.discovery.export.record import Person, Slice, Terms
from archiver.discovery.export.sink import Sink, Written

EVENTS_MAX = 10_000
MEMORY_BYTES_MAX = 8_000_000
"""Of a zip before it goes to a temporary file."""

_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o100644 << 16
_UNIX = 3
_MESSAGES_MAX = EVENTS_MAX - GAPS_MAX - 1


class RsmfWriter:
    """Writes ``rsmf/<conversation>/<day>.rsmf``, and several of them for a day that is split."""

    format: ClassVar[str] = "rsmf"
    by_half: ClassVar[bool] = True

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._sink = sink
        self._counts: Counter[str] = Counter()

    def add(self, part: Slice) -> None:
        """Write the files of a slice; one with neither messages nor gaps has none."""
        if not part.messages and not part.gaps:
            return
        for piece in pieces_of(part, messages_max=_MESSAGES_MAX):
            portion = Portion(self._terms, part, piece)
            path = f"{self.format}/{part.conversation.path_name}/{portion.stem}.rsmf"
            self._counts["paths"] += 1
            self._counts["messages"] += len(piece.messages)
            for file in piece.files:
                self._counts["files"] += 1
                self._counts["too large"] += file.path is not None and not is_embedded(file)
            if not self._sink.has(path):
                with self._sink.open(path) as out:
                    self._write(portion, out)

    def finish(self, _: Written | None = None, /) -> Written:
        """Return what was written."""
        return Written(
            self._counts["paths"],
            self._counts["messages"],
            self._counts["files"],
            counted={
                "rsmf: {count} files are too large for an RSMF; a placeholder names where they lie": self._counts[
                    "too large"
                ]
            },
        )

    def close(self) -> None:
        """Do nothing: no file stays open between slices."""

    def _write(self, portion: Portion, out: BinaryIO) -> None:
        identity = _identity(portion)
        boundary = mime.boundary_of(identity, "rsmf")
        out.write(b"".join(_headers(portion, identity, boundary)))
        out.write(f"\r\n--{boundary}\r\n".encode("ascii"))
        out.write(b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")
        out.writelines(mime.base64_lines(transcript(portion)))
        out.write(f"\r\n--{boundary}\r\n".encode("ascii"))
        out.write(
            b'Content-Type: application/zip; name="rsmf.zip"\r\nContent-Transfer-Encoding: base64\r\n'
            b'Content-Disposition: attachment; filename="rsmf.zip"\r\n\r\n'
        )
        with SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX) as zipped:
            self._zip(portion, cast("IO[bytes]", zipped))
            zipped.seek(0)
            out.writelines(mime.base64_lines(mime.chunks_of(cast("BinaryIO", zipped))))
        out.write(f"\r\n--{boundary}--\r\n".encode("ascii"))

    def _zip(self, portion: Portion, target: IO[bytes]) -> None:
        with ZipFile(target, "w", ZIP_STORED) as archive:
            _put(archive, "rsmf_manifest.json", manifest_chunks(portion))
            for file in portion.piece.files:
                if is_embedded(file) and file.sha256 is not None:
                    with self._terms.open_blob(file.sha256) as stream:
                        _put(archive, attachment_id(file), mime.chunks_of(stream))
                else:
                    _put(archive, attachment_id(file), [placeholder_of(file)])


def _identity(portion: Portion) -> str:
    part = portion.part
    return mime.stable_id(
        portion.terms.archive_id, part.conversation.chat_id, part.day, str(part.part), str(portion.piece.number)
    )


def _headers(portion: Portion, identity: str, boundary: str) -> Iterator[bytes]:
    terms, part = portion.terms, portion.part
    begins_ms, ends_ms = span_ms(portion)
    people = participants(portion)
    sender = portion.piece.messages[0].sender if portion.piece.messages else ARCHIVE
    yield mime.header("X-RSMF-Version", VERSION)
    yield mime.header("X-RSMF-Generator", terms.software)
    yield mime.header("X-RSMF-BeginDate", local_text(begins_ms, terms.zone))
    yield mime.header("X-RSMF-EndDate", local_text(ends_ms, terms.zone))
    yield mime.header("X-RSMF-EventCount", str(events_of(portion)))
    yield mime.header("X-RSMF-AttachmentCount", str(sum(1 for _ in portion.piece.files)))
    yield mime.header("X-RSMF-Application", "Flock")
    yield mime.header("X-RSMF-EventCollectionID", collection_id(portion))
    if portion.custodian is not None:
        yield mime.header("X-RSMF-Custodian", _listed(portion.custodian))
    yield mime.header("X-RSMF-Participants", ", ".join(_listed(person) for person in people))
    yield mime.structured("Date", [mime.date(begins_ms, terms.zone)])
    yield mime.structured("From", [mime.mailbox(sender)])
    yield mime.structured("To", [mime.mailbox(person) for person in people] or ["undisclosed-recipients:;"])
    label = f", {portion.label}" if portion.label else ""
    yield mime.header("Subject", f"{conversation_title(part.conversation)}, {part.day}{label}")
    yield mime.structured("Message-ID", [f"<{identity}@rsmf.flock.invalid>"])
    yield b"MIME-Version: 1.0\r\n"
    yield mime.structured("Content-Type", ["multipart/mixed", f'boundary="{boundary}"'], separator=";")


@lru_cache(maxsize=4_096)
def _listed(person: Person) -> str:
    """Return what the comma separated header calls somebody: their name, in which a comma is a space."""
    return one_line(one_line(person.shown).replace(",", " ")) or one_line(person.user_id)


def _put(archive: ZipFile, name: str, chunks: Iterable[bytes]) -> None:
    entry = ZipInfo(name, _FIXED_TIME)
    entry.compress_type = ZIP_STORED
    entry.create_system = _UNIX
    entry.external_attr = _PLAIN_FILE
    with archive.open(entry, "w") as member:
        for chunk in chunks:
            member.write(chunk)
