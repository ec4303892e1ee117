"""Reads EDRM XML back as a stream: its elements, its documents, the files they name, and what belongs to what.

A document type is refused before anything of it is read, for entities are how XML unpacks to more than it is; so is an attribute or a text
without end. One document is held in memory; the ids of all lie on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final
from xml.parsers import expat

from archiver.discovery.checks.edrm_document import Document, attributes_of, check_place
from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.package_files import PackageFiles, gaps_told_of
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.tree import files_below

HOME: Final = "data/edrm"
XML_FILE: Final = f"{HOME}/edrm.xml"
GAPS_FILE: Final = f"{HOME}/gaps.txt"
TOKEN_BYTES_MAX = 8_000_000
"""Of a tag with its attributes, or of a text."""
DEPTH_MAX = 20

_CHUNK_BYTES = 1 << 18

Told = tuple[str, str, str]


class _RefusedError(Exception):
    """The rest of the file is not read."""


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield what is not as EDRM XML 1.2 or the package's report has it."""
    path = folder / XML_FILE
    if not path.is_file() or path.is_symlink():
        yield Finding(XML_FILE, None, "missing", "there is no XML file")
        return
    with Remembered() as remembered, path.open("rb") as stream:
        reader = _Reader(folder, facts, remembered)
        for place, code, what in reader.read(stream):
            yield Finding(XML_FILE, place or None, code, what)
        yield from reader.afterwards()


class _Reader:
    """What is known across documents."""

    def __init__(self, folder: Path, facts: PackageFacts, remembered: Remembered) -> None:
        self._folder = folder
        self._facts = facts
        self._files = PackageFiles(folder, HOME)
        self._gaps = gaps_told_of(folder / GAPS_FILE)
        self._told: list[Told] = []
        self._open: list[str] = []
        self._text_characters = 0
        self._document: Document | None = None
        self._types = remembered.notes()
        self._children = remembered.notes()
        self._texts = remembered.notes()
        self._counts: Counter[str] = Counter()
        self._by_chat: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, stream: BinaryIO) -> Iterator[Told]:
        """Yield what is wrong with the XML, in its order."""
        fed = 0
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                fed += len(chunk)
                self._parser.Parse(chunk, False)  # noqa: FBT003 - expat takes it by position
                yield from self._taken()
                self._refuse_endless(fed - self._parser.CurrentByteIndex)
            self._parser.Parse(b"", True)  # noqa: FBT003
        except expat.ExpatError as error:
            self._tell("xml", f"it is not well-formed: {expat.ErrorString(error.code)}")
        except _RefusedError as refused:
            self._tell("bomb", f"{refused}; nothing after it was read")
        else:
            self._whole()
        yield from self._taken()

    def afterwards(self) -> Iterator[Finding]:
        """Yield what only the whole file tells: files that no document names, counts that are not the report's."""
        for file in files_below(self._folder, HOME):
            if file.path not in (XML_FILE, GAPS_FILE) and file.path not in self._texts:
                yield Finding(file.path, None, "stray", "no document names this file")
        said = self._facts.formats.get("edrm")
        if said is not None:
            for kind, wanted in (("Message", said.messages), ("File", said.files)):
                if self._counts[kind] != wanted:
                    yield Finding(
                        XML_FILE, None, "count", f"{self._counts[kind]} documents are a {kind}; the report has {wanted}"
                    )
        for chat_id in sorted(self._facts.conversations.keys() | self._by_chat.keys()):
            found, wanted = self._by_chat[chat_id], self._facts.conversations.get(chat_id, 0)
            if found != wanted:
                what = f"{found} documents are messages of {chat_id}; the report has {wanted}"
                yield Finding(XML_FILE, None, "count", what)

    def _taken(self) -> list[Told]:
        told, self._told = self._told, []
        return told

    def _tell(self, code: str, what: str) -> None:
        self._told.append((f"line {self._parser.CurrentLineNumber}", code, what))

    def _refuse_endless(self, token_bytes: int) -> None:
        if token_bytes > TOKEN_BYTES_MAX:
            raise _RefusedError(f"a tag is longer than {TOKEN_BYTES_MAX} bytes")

    def _refuse_doctype(self, *_: object) -> None:
        raise _RefusedError("it has a document type, which may have entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        for code, what in check_place(name, self._open[-1] if self._open else "", attributes):
            self._tell(code, what)
        if len(self._open) >= DEPTH_MAX:
            raise _RefusedError("elements lie too deep")
        self._open.append(name)
        self._text_characters = 0
        self._seen[name] += 1
        if name == "Document":
            self._document = Document(attributes)
        elif name == "Relationship":
            self._relationship(attributes)
        elif self._document is not None:
            self._document.take(name, attributes)

    def _end(self, name: str) -> None:
        self._open.pop()
        if name == "Document" and self._document is not None:
            self._finish(self._document)
            self._document = None
        elif name == "LocationURI" and not self._text_characters:
            self._tell("element", "a LocationURI is empty")
        self._text_characters = 0

    def _characters(self, text: str) -> None:
        if text.isspace():
            return
        self._text_characters += len(text)
        if self._text_characters > TOKEN_BYTES_MAX:
            raise _RefusedError(f"a text is longer than {TOKEN_BYTES_MAX} characters")
        if self._open[-1] not in ("Custodian", "LocationURI"):
            self._tell("element", f"there is text in a {self._open[-1][:40]}")

    def _finish(self, document: Document) -> None:
        if not self._types.put(document.doc_id, document.doc_type):
            self._tell("id", f"the DocID {document.doc_id[:80]!r} stands before")
        self._counts[document.doc_type] += 1
        if document.doc_type == "Message":
            self._by_chat[document.tags.get("CONVERSATION_ID", "")] += 1
        for code, what in document.check(self._files, self._facts.natives, self._texts):
            self._tell(code, what)
        for gap_id in filter(None, document.tags.get("GAP_IDS", "").split(";")):
            if gap_id not in self._gaps:
                self._tell("gap", f"gaps.txt does not tell of {gap_id[:80]!r}")

    def _relationship(self, attributes: dict[str, str]) -> None:
        kind, parent, child = attributes_of(attributes, "Type", "ParentDocId", "ChildDocId")
        for end, wanted in ((parent, "Message"), (child, "File")):
            found = self._types.get(end)
            if found is None:
                self._tell("relationship", f"there is no document {end[:80]!r}")
            elif kind == "Attachment" and found != wanted:
                self._tell("relationship", f"{end[:80]!r} is a {found} and not a {wanted}")
        if not self._children.put(child):
            self._tell("relationship", f"{child[:80]!r} has a second parent")

    def _whole(self) -> None:
        """Look at what can be told only at the end of the file."""
        for name in ("Root", "Batch", "Documents", "Relationships"):
            if self._seen[name] != 1:
                self._tell("element", f"there are {self._seen[name]} elements {name} and not one")
        for doc_id, doc_type in self._types.items():
            if doc_type == "File" and doc_id not in self._children:
                self._tell("relationship", f"the file {doc_id[:80]!r} belongs to no message")
