"""A document of EDRM XML 1.2 by itself: which elements and attributes it may have, its tags, the file that it names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from archiver.discovery.checks.package_files import Measured, PackageFiles
from archiver.discovery.checks.remembered import Notes

Told = tuple[str, str]
"""A code and a sentence."""

# Of each element: the one it lies in, the attributes it must have, and those it may have.
_ELEMENTS: Final[dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]] = {
    "Root": ("", ("MajorVersion", "MinorVersion", "DataInterchangeType"), ("Description", "Locale")),
    "Batch": ("Root", (), ()),
    "Documents": ("Batch", (), ()),
    "Document": ("Documents", ("DocID", "DocType", "MimeType"), ()),
    "Tags": ("Document", (), ()),
    "Tag": ("Tags", ("TagName", "TagValue", "TagDataType"), ()),
    "Files": ("Document", (), ()),
    "File": ("Files", ("FileType",), ()),
    "ExternalFile": ("File", ("FilePath", "FileName", "FileSize", "Hash", "HashType"), ()),
    "Locations": ("Document", (), ()),
    "Location": ("Locations", (), ()),
    "Custodian": ("Location", (), ()),
    "LocationURI": ("Location", (), ()),
    "Relationships": ("Batch", (), ()),
    "Relationship": ("Relationships", ("Type", "ParentDocId", "ChildDocId"), ()),
}
_VALUES: Final = {
    ("Root", "MajorVersion"): {"1"},
    ("Root", "MinorVersion"): {"2"},
    ("Document", "DocType"): {"Message", "File"},
    ("File", "FileType"): {"Native", "Text"},
    ("ExternalFile", "HashType"): {"MD5", "SHA256"},
    ("Relationship", "Type"): {"Attachment"},
}
TAGS_MAX = 1_000
"""Of one document, and of its files; what follows is counted and not kept."""

_NEEDED_TAGS: Final = {"Message": ("#From", "#To", "#DateSent"), "File": ("#FileName",)}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_NUMBER = re.compile(r"\d{1,18}")


def attributes_of(attributes: Mapping[str, str], *names: str) -> tuple[str, ...]:
    """Return attributes by name, empty where they are not there."""
    return tuple(attributes.get(name, "") for name in names)


def check_place(name: str, parent: str, attributes: Mapping[str, str]) -> Iterator[Told]:
    """Yield what is wrong with an element where it stands, and with its attributes."""
    known = _ELEMENTS.get(name)
    if known is None or known[0] != parent:
        yield "element", f"a {name[:40]} stands in {parent[:40] or 'nothing'}"
        return
    _, needed, allowed = known
    for attribute in needed:
        if attribute not in attributes:
            yield "attribute", f"a {name} has no {attribute}"
    for attribute, value in attributes.items():
        if attribute not in needed + allowed:
            yield "attribute", f"a {name} has an unknown attribute {attribute[:40]}"
        elif value not in _VALUES.get((name, attribute), {value}):
            yield "attribute", f"{attribute} of a {name} is {value[:40]!r}"


@dataclass(slots=True)
class Document:
    """What was read of one document."""

    attributes: Mapping[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    tag_types: list[tuple[str, str, str]] = field(default_factory=list)
    files: list[Mapping[str, str]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def doc_id(self) -> str:
        """Its id."""
        return self.attributes.get("DocID", "")

    @property
    def doc_type(self) -> str:
        """``Message`` or ``File``."""
        return self.attributes.get("DocType", "")

    def take(self, name: str, attributes: Mapping[str, str]) -> None:
        """Take an element that lies in it."""
        self.seen[name] += 1
        if self.seen[name] > TAGS_MAX:
            return
        if name == "Tag":
            tag, value, kind = attributes_of(attributes, "TagName", "TagValue", "TagDataType")
            self.tag_types.append((tag, value, kind))
            self.tags[tag] = value
        elif name == "File":
            self.kinds.append(attributes.get("FileType", ""))
        elif name == "ExternalFile":
            self.files.append(attributes)

    def check(self, files: PackageFiles, natives: Mapping[str, str], texts: Notes) -> Iterator[Told]:
        """Yield what is wrong with it; adds the text files that it names to ``texts``."""
        if not self.doc_id:
            yield "id", "a document has no DocID"
        for name in ("Tags", "Files", "Locations", "Location", "LocationURI"):
            if not self.seen[name]:
                yield "element", f"the document {self.doc_id[:80]!r} has no {name}"
        if max(self.seen.values(), default=0) > TAGS_MAX:
            yield "tag", f"the document {self.doc_id[:80]!r} has more than {TAGS_MAX} tags, or files"
        yield from self._check_tags()
        if not self.files or len(self.files) != len(self.kinds):
            yield "path", f"the document {self.doc_id[:80]!r} names no file, or not one for each File"
        for kind, external in zip(self.kinds, self.files, strict=False):
            yield from self._check_file(kind, external, files, natives=natives, texts=texts)

    def _check_tags(self) -> Iterator[Told]:
        if len(self.tags) != len(self.tag_types):
            yield "tag", f"a tag of {self.doc_id[:80]!r} stands more than once"
        for name in _NEEDED_TAGS.get(self.doc_type, ()):
            if name not in self.tags:
                yield "tag", f"the document {self.doc_id[:80]!r} has no tag {name}"
        for name, value, kind in self.tag_types:
            if not _has_type(value, kind):
                yield "tag", f"{name[:40]} of {self.doc_id[:80]!r} is no {kind[:40]}: {value[:40]!r}"

    def _check_file(
        self,
        kind: str,
        external: Mapping[str, str],
        files: PackageFiles,
        *,
        natives: Mapping[str, str],
        texts: Notes,
    ) -> Iterator[Told]:
        folder, name, size, digest, hash_type = attributes_of(
            external, "FilePath", "FileName", "FileSize", "Hash", "HashType"
        )
        path = files.inside(f"{folder}/{name}" if folder else name) if name and "/" not in name else None
        measured = None if path is None else files.measure(path)
        if path is None or measured is None:
            yield "path", f"FilePath and FileName of {self.doc_id[:80]!r} lead to nothing inside the package"
            return
        if kind == "Text":
            texts.put(path)
        elif natives.get(path, measured.sha256) != measured.sha256:
            yield "digest", f"the native of {self.doc_id[:80]!r} is not the one that the report has"
        if size != str(measured.size):
            yield "size", f"FileSize of {self.doc_id[:80]!r} is {size[:20]!r}; the file has {measured.size} bytes"
        if not _is_hash(digest, hash_type, measured) or self.tags.get("SHA256", measured.sha256) != measured.sha256:
            yield "digest", f"the hashes of {self.doc_id[:80]!r} are not those of its file"


def _has_type(value: str, kind: str) -> bool:
    if kind == "DateTime":
        try:
            return bool(_RFC_3339.fullmatch(value)) and datetime.fromisoformat(value).utcoffset() is not None
        except ValueError:
            return False
    if kind == "LongInteger":
        return bool(_NUMBER.fullmatch(value))
    return kind in ("Text", "LongText")


def _is_hash(digest: str, hash_type: str, measured: Measured) -> bool:
    return digest.lower() == (measured.md5 if hash_type == "MD5" else measured.sha256)
