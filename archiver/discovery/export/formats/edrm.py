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
from contextlib import ExitStack, contextmanager
from io import StringIO
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, ClassVar, Final
from urllib.parse import quote
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from archiver.discovery.export.formats.load_documents import (
    GapList,
    LoadDocument,
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


class EdrmWriter:
    """Writes documents as slices come; what belongs together waits in a temporary file, for XML has it at the end."""

    format: ClassVar[str] = "edrm"

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._sink = sink
        self._texts = TextFiles(sink, self.format)
        self._gaps = GapList(terms)
        self._counts: Counter[str] = Counter()
        self._replaced = 0
        self._open = ExitStack()
        self._out: BinaryIO | None = None
        families = SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX)  # noqa: SIM115 - it lives as long as the writer
        self._families = self._open.enter_context(families)
        self._buffer = StringIO()
        self._xml = XMLGenerator(self._buffer, "UTF-8", short_empty_elements=True)

    def add(self, part: Slice) -> None:
        """Write a document for each message and each of its files."""
        self._gaps.add(part)
        for document in documents_of(part, self._terms):
            self._counts["messages" if document.file is None else "files"] += 1
            if document.parent is not None:
                pair = json.dumps([document.parent, document.control_number])
                self._families.write(f"{pair}\n".encode())
            out = self._started()
            self._document(document, self._texts.put(document))
            out.write(self._taken())

    def finish(self) -> Written:
        """Write what belongs together, close the XML and write the list of what may be missing."""
        out = self._started()
        self._end("Documents")
        self._begin("Relationships")
        self._families.seek(0)
        for line in self._families:
            parent, child = json.loads(line)
            with self._element("Relationship", Type="Attachment", ParentDocId=parent, ChildDocId=child):
                pass
            out.write(self._taken())
        self._end("Relationships")
        self._end("Batch")
        self._end("Root")
        self._xml.endDocument()
        out.write(self._taken())
        self._open.close()
        with self._sink.open(GAPS_FILE) as gaps:
            gaps.write(self._gaps.text())
        return Written(
            (XML_FILE, *self._texts.paths, GAPS_FILE),
            self._counts["messages"],
            self._counts["files"],
            replaced={"edrm: characters that XML cannot hold, as U+FFFD": self._replaced} if self._replaced else {},
            remarks=(
                "edrm: FilePath is relative to edrm.xml, with slashes; Hash is MD5, the tag SHA256 has the other",
            ),
        )

    def close(self) -> None:
        """Leave the XML as a file that does not count."""
        abandoned = RuntimeError("the XML was left unfinished")
        self._open.__exit__(RuntimeError, abandoned, None)

    def _started(self) -> BinaryIO:
        """Return the XML file, opened with everything before the first document at the first call."""
        if self._out is None:
            self._out = self._open.enter_context(self._sink.open(XML_FILE))
            self._xml.startDocument()
            terms = self._terms
            self._begin(
                "Root",
                MajorVersion="1",
                MinorVersion="2",
                Description=f"Matter {terms.matter}, archive {terms.archive_id}, commit {terms.head_sequence} {terms.head_digest}",
                Locale="US",
                DataInterchangeType="Update",
            )
            self._begin("Batch")
            self._begin("Documents")
        return self._out

    def _document(self, document: LoadDocument, text_path: str | None) -> None:
        doc_type = "Message" if document.file is None else "File"
        with self._element("Document", DocID=document.control_number, DocType=doc_type, MimeType=document.mime):
            with self._element("Tags"):
                for name, value in self._tags(document):
                    with self._element("Tag", TagName=name, TagValue=value, TagDataType=TAG_TYPES.get(name, "Text")):
                        pass
            with self._element("Files"):
                self._file(document, text_path)
            with self._element("Locations"):
                self._locations(document)

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

    def _file(self, document: LoadDocument, text_path: str | None) -> None:
        if document.native is not None:
            file_type, path, size = "Native", f"../{document.native}", document.size
        else:
            file_type, path, size = "Text", text_path or "", len(document.text or b"")
        folder, _, name = path.rpartition("/")
        with (
            self._element("File", FileType=file_type),
            self._element(
                "ExternalFile",
                FilePath=folder,
                FileName=name,
                FileSize=str(size),
                Hash=document.md5,
                HashType="MD5",
            ),
        ):
            pass

    def _locations(self, document: LoadDocument) -> None:
        place = f"archive:{quote(self._terms.archive_id)}/{quote(document.message.newest.object_key)}"
        custodians = sorted(document.part.conversation.custodians, key=lambda person: person.user_id)
        for custodian in [*map(named, custodians)] or [""]:
            with self._element("Location"):
                if custodian:
                    with self._element("Custodian"):
                        self._xml.characters(self._clean(custodian))
                with self._element("LocationURI"):
                    self._xml.characters(place)

    @contextmanager
    def _element(self, name: str, **attributes: str) -> Iterator[None]:
        self._begin(name, **attributes)
        yield
        self._end(name)

    def _begin(self, name: str, **attributes: str) -> None:
        clean = {key: self._clean(value) for key, value in attributes.items()}
        self._xml.startElement(name, AttributesImpl(clean))
        if name not in ("Tag", "ExternalFile", "Relationship", "Custodian", "LocationURI"):
            self._xml.ignorableWhitespace("\n")

    def _end(self, name: str) -> None:
        self._xml.endElement(name)
        self._xml.ignorableWhitespace("\n")

    def _clean(self, value: str) -> str:
        clean, count = _NOT_XML.subn("\ufffd", value)
        self._replaced += count
        return clean

    def _taken(self) -> bytes:
        """Return what was generated since the last call."""
        data = self._buffer.getvalue().encode()
        self._buffer.seek(0)
        self._buffer.truncate()
        return data
