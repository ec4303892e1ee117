"""EDRM XML 1.2: ``edrm/edrm.xml``, a document for each message and each file, with paths, hashes, and which file belongs to which message.

The standard tags are those that we know the truth of: ``#From #To #Subject #DateSent`` of messages, ``#FileName #FileExtension
#FileSize`` of files. ``#DateCreated`` and ``#DateModified`` would be claims about files that nobody made. Further tags are named as the
load file's columns. Characters that XML 1.0 cannot hold become U+FFFD and are counted. What may be missing stands in ``edrm/gaps.txt``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import ClassVar, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from archiver.discovery.export.formats.load_documents import (
    GapList,
    LoadDocument,
    LoadFile,
    TextFiles,
    documents_of,
    facts_of_document,
    named,
    several,
)
from archiver.discovery.export.formats.plain_transcript import local_text
from archiver.discovery.export.record import Slice, Terms
from archiver.discovery.export.sink import Sink, Written

XML_FILE = "edrm/edrm.xml"
GAPS_FILE = "edrm/gaps.txt"
MEMORY_BYTES_MAX = 8_000_000
"""Of relationships before they go to a temporary file: XML wants them after all documents."""

TAG_TYPES: Final = {
    "#DateSent": "DateTime",
    "#FileSize": "LongInteger",
    **dict.fromkeys(("DATETIME_SENT", "LAST_VERSION_SEEN", "NOT_RETURNED_SINCE"), "DateTime"),
    **dict.fromkeys(("VERSIONS", "REDACTIONS", "COMMIT"), "LongInteger"),
}

# XML 1.0 (2.2) has tab, line feed and carriage return of the controls, and neither surrogates nor the two ends of the plane.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What `quoteattr` would change in a value, or XML cannot hold; nearly no value has any of it.
_UNUSUAL = re.compile('[\x00-\x1f&<>"\ud800-\udfff\ufffe\uffff]')


class EdrmWriter:
    """Writes documents as slices come; what belongs together waits in a temporary file, for XML has it at the end."""

    format: ClassVar[str] = "edrm"
    by_half: ClassVar[bool] = False

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._sink = sink
        self._texts = TextFiles(sink, self.format)
        self._gaps = GapList(terms)
        self._counts: Counter[str] = Counter()
        self._replaced = 0
        self._xml = LoadFile(sink, XML_FILE, beginning=self._beginning)
        self._families = SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX)  # noqa: SIM115 - it lives as long as the writer

    def add(self, part: Slice) -> None:
        """Write a document for each message and each of its files."""
        self._gaps.add(part)
        for document in documents_of(part, self._terms):
            self._counts["messages" if document.file is None else "files"] += 1
            if document.parent is not None:
                pair = json.dumps([document.parent, document.control_number])
                self._families.write(f"{pair}\n".encode())
            self._xml.stream().write(self._document(document, self._texts.put(document)).encode())

    def finish(self, _: Written | None = None, /) -> Written:
        """Write what belongs together, close the XML and write the list of what may be missing."""
        out = self._xml.stream()
        out.write(b"</Documents>\n<Relationships>\n")
        self._families.seek(0)
        for line in self._families:
            parent, child = map(self._value, json.loads(line))
            out.write(f'<Relationship Type="Attachment" ParentDocId={parent} ChildDocId={child}/>\n'.encode())
        out.write(b"</Relationships>\n</Batch>\n</Root>\n")
        self._families.close()
        self._xml.finish()
        with self._sink.open(GAPS_FILE) as gaps:
            gaps.write(self._gaps.text())
        return Written(
            self._texts.count + len((XML_FILE, GAPS_FILE)),
            self._counts["messages"],
            self._counts["files"],
            replaced={"edrm: characters that XML cannot hold, as U+FFFD": self._replaced} if self._replaced else {},
            remarks=(
                "edrm: FilePath is relative to edrm.xml, with slashes; Hash is MD5, the tag SHA256 has the other",
            ),
        )

    def close(self) -> None:
        """Leave the XML as a file that does not count."""
        self._families.close()
        self._xml.abandon()

    def _beginning(self) -> bytes:
        """Return everything before the first document."""
        terms = self._terms
        said = f"Matter {terms.matter}, archive {terms.archive_id}, commit {terms.head_sequence} {terms.head_digest}"
        return (
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Root MajorVersion="1" MinorVersion="2" '
            + f"Description={self._value(said)} ".encode()
            + b'Locale="US" DataInterchangeType="Update">\n<Batch>\n<Documents>\n'
        )

    def _document(self, document: LoadDocument, text_path: str | None) -> str:
        value = self._value
        doc_type = "Message" if document.file is None else "File"
        tags = "".join(
            f'<Tag TagName="{name}" TagValue={value(text)} TagDataType="{TAG_TYPES.get(name, "Text")}"/>\n'
            for name, text in self._tags(document)
        )
        return (
            f'<Document DocID={value(document.control_number)} DocType="{doc_type}" MimeType={value(document.mime)}>\n'
            f"<Tags>\n{tags}</Tags>\n<Files>\n{self._file(document, text_path)}</Files>\n"
            f"<Locations>\n{self._locations(document)}</Locations>\n</Document>\n"
        )

    def _tags(self, document: LoadDocument) -> Iterator[tuple[str, str]]:
        """Yield the tags of a document that have a value."""
        message, file = document.message, document.file
        if file is None:
            yield "#From", named(message.sender)
            yield "#To", several(map(named, document.recipients))
            yield "#Subject", document.part.conversation.shown
            yield "#DateSent", local_text(message.sent_at_ms, self._terms.zone)
        else:
            yield "#FileName", file.name
            if document.extension:
                yield "#FileExtension", document.extension
            if document.size is not None:
                yield "#FileSize", str(document.size)
        yield "GROUP_IDENTIFIER", message.control_number
        yield "SHA256", document.sha256
        for name, value in facts_of_document(document, self._terms).items():
            if value:
                yield name, value

    def _file(self, document: LoadDocument, text_path: str | None) -> str:
        if document.native is not None:
            file_type, path, size = "Native", f"../{document.native}", document.size
        else:
            file_type, path, size = "Text", text_path or "", len(document.text or b"")
        folder, _, name = path.rpartition("/")
        return (
            f'<File FileType="{file_type}">\n<ExternalFile FilePath={self._value(folder)} FileName={self._value(name)} '
            f'FileSize="{size}" Hash="{document.md5}" HashType="MD5"/>\n</File>\n'
        )

    def _locations(self, document: LoadDocument) -> str:
        place = f"archive:{quote(self._terms.archive_id)}/{quote(document.message.newest.object_key)}"
        found = []
        for custodian in sorted(document.part.conversation.custodians, key=lambda person: person.user_id):
            name = escape(self._clean(named(custodian)), {"\r": "&#13;"})
            found.append(
                f"<Location>\n<Custodian>{name}</Custodian>\n<LocationURI>{place}</LocationURI>\n</Location>\n"
            )
        return "".join(found) or f"<Location>\n<LocationURI>{place}</LocationURI>\n</Location>\n"

    def _value(self, text: str) -> str:
        """Return a text as the quoted value of an attribute."""
        return quoteattr(self._clean(text)) if _UNUSUAL.search(text) else f'"{text}"'

    def _clean(self, text: str) -> str:
        clean, count = _NOT_XML.subn("\ufffd", text)
        self._replaced += count
        return clean
