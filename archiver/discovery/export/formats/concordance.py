"""The Concordance load file: ``dat/loadfile.dat``, with an extracted text for each message and paths of the natives.

Columns are divided by 0x14 and quoted by ``þ``; a newline inside a field is ``®``. Where data holds one of these it is put in another
way and counted, for the text files and the other formats have it as it was: ``þ`` becomes ``th``, ``®`` ``(R)``, 0x14 and other controls
a space. UTF-8 with a byte order mark, without which importers take cp1252; the option ``dat-bom`` = ``no`` leaves it out.

The fields are those of the SEC's data delivery standard (August 2021), the two that everybody maps by hand (``Control Number``, ``Group
Identifier``), and what the archive knows beside them. ``PGCOUNT`` is empty, for no page images are made; so there is no Opticon file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final
from zoneinfo import ZoneInfo

from archiver.discovery.export.formats.load_documents import (
    FACTS,
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

COLUMN = "\x14"
QUOTE = "þ"
NEWLINE = "®"
SEVERAL = ";"
BOM_OPTION = "dat-bom"
"""The name in `Terms.options`; its value ``no`` leaves the byte order mark out."""
LOAD_FILE = "dat/loadfile.dat"
GAPS_FILE = "dat/gaps.txt"

SEC_FIELDS: Final = (
    *(
        "FIRSTBATES",
        "LASTBATES",
        "ATTACHRANGE",
        "BEGATTACH",
        "ENDATTACH",
        "PARENT_BATES",
        "CHILD_BATES",
        "CUSTODIAN",
        "FROM",
    ),
    *("TO", "CC", "BCC", "SUBJECT", "FILE_NAME", "DATE_SENT", "TIME_SENT/TIME_ZONE", "TIME_ZONE", "LINK", "MIME_TYPE"),
    *("FILE_EXTEN", "FILE_SIZE", "PGCOUNT", "MD5HASH", "OCRPATH"),
)

FIELDS: Final = (
    *("Control Number", "Group Identifier"),
    *SEC_FIELDS,
    *("SHA256", "TIME_ZONE_OFFSET", "ALL_CUSTODIANS"),
    *FACTS,
)
NOON_HOUR = 12

# What data may hold that is structure here: its name for the report, and what stands instead. Line ends are all that
# `str.splitlines` breaks at, because some reader breaks at each of them.
_BETWEEN = f"{QUOTE}{COLUMN}{QUOTE}"
_REPLACEMENTS: Final = (
    ("þ in data, as th", re.compile(QUOTE), "th"),
    ("® in data, as (R)", re.compile(NEWLINE), "(R)"),
    ("0x14 in data, as a space", re.compile(COLUMN), " "),
    ("line ends in data, as ®", re.compile("\r\n|[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]"), NEWLINE),
    ("byte order marks in data, as U+2060", re.compile("\ufeff"), "\u2060"),
    ("other controls in data, as a space", re.compile("[\x00-\x08\x0e-\x13\x15-\x1b\x1f\x7f-\x84\x86-\x9f]"), " "),
)
_UNUSUAL = re.compile("|".join(pattern.pattern for _, pattern, _ in _REPLACEMENTS))


class DatWriter:
    """Writes the load file as slices come, the text files beside it, and at the end what may be missing."""

    format: ClassVar[str] = "dat"
    by_half: ClassVar[bool] = False

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._sink = sink
        self._texts = TextFiles(sink, self.format)
        self._gaps = GapList(terms)
        self._counts: Counter[str] = Counter()
        self._replaced: Counter[str] = Counter()
        self._has_bom = terms.options.get(BOM_OPTION) != "no"
        self._load_file = LoadFile(sink, LOAD_FILE, beginning=self._beginning)

    def add(self, part: Slice) -> None:
        """Write a row for each message and each of its files."""
        self._gaps.add(part)
        for document in documents_of(part, self._terms):
            self._counts["messages" if document.file is None else "files"] += 1
            fields = self._fields(document, self._texts.put(document))
            self._load_file.stream().write(self._line(fields[name] for name in FIELDS))

    def finish(self, _: Written | None = None, /) -> Written:
        """Close the load file and write the list of what may be missing."""
        self._load_file.finish()
        with self._sink.open(GAPS_FILE) as out:
            out.write(self._gaps.text())
        return Written(
            self._texts.count + len((LOAD_FILE, GAPS_FILE)),
            self._counts["messages"],
            self._counts["files"],
            replaced={f"dat: {name}": count for name, count in sorted(self._replaced.items())},
            remarks=(
                f"dat: UTF-8 {'with' if self._has_bom else 'without'} a byte order mark; column 0x14, quote þ, newline ®, several values ;",
                f"dat: dates are MM/DD/YYYY, times hh:mm tt zzz in {self._terms.zone.key}; paths are relative to the load file",
            ),
        )

    def close(self) -> None:
        """Leave the load file as one that does not count."""
        self._load_file.abandon()

    def _beginning(self) -> bytes:
        """Return the byte order mark, if there is to be one, and the header line."""
        return (b"\xef\xbb\xbf" if self._has_bom else b"") + self._line(FIELDS)

    def _line(self, values: Iterable[str]) -> bytes:
        fields = list(values)
        if not _UNUSUAL.search("".join(fields)):  # nearly every row, which is looked at once and not field by field
            return (f"{QUOTE}{_BETWEEN.join(fields)}{QUOTE}\r\n").encode()
        return (COLUMN.join(f"{QUOTE}{self._clean(value)}{QUOTE}" for value in fields) + "\r\n").encode()

    def _clean(self, value: str) -> str:
        """Return a value that cannot be taken for structure; counts what it puts in another way."""
        for name, pattern, instead in _REPLACEMENTS:
            value, count = pattern.subn(instead, value)
            if count:
                self._replaced[name] += count
        return value

    def _fields(self, document: LoadDocument, text_path: str | None) -> dict[str, str]:
        message, conversation, zone = document.message, document.part.conversation, self._terms.zone
        is_message = document.file is None
        native = "" if document.native is None else "..\\" + document.native.replace("/", "\\")
        has_family = bool(message.files)
        custodians = sorted(conversation.custodians, key=lambda person: person.user_id)
        sent = _sent(message.sent_at_ms, zone)
        return {
            "Control Number": document.control_number,
            "Group Identifier": message.control_number,
            "FIRSTBATES": document.control_number,
            "LASTBATES": document.control_number,
            "ATTACHRANGE": f"{message.control_number}-{document.ends}" if has_family else "",
            "BEGATTACH": message.control_number if has_family else "",
            "ENDATTACH": document.ends if has_family else "",
            "PARENT_BATES": document.parent or "",
            "CHILD_BATES": SEVERAL.join(document.children),
            "CUSTODIAN": named(custodians[0]) if custodians else "",
            "FROM": named(message.sender) if is_message else "",
            "TO": several(map(named, document.recipients)) if is_message else "",
            "CC": "",
            "BCC": "",
            "SUBJECT": conversation.shown if is_message else "",
            "FILE_NAME": "" if document.file is None else document.file.name,
            "DATE_SENT": sent[0] if is_message else "",
            "TIME_SENT/TIME_ZONE": sent[1] if is_message else "",
            "TIME_ZONE": zone.key,
            "LINK": native,
            "MIME_TYPE": document.mime,
            "FILE_EXTEN": document.extension,
            "FILE_SIZE": "" if document.size is None else str(document.size),
            "PGCOUNT": "",
            "MD5HASH": document.md5,
            "OCRPATH": "" if text_path is None else text_path.replace("/", "\\"),
            "SHA256": document.sha256,
            "TIME_ZONE_OFFSET": sent[2],
            "ALL_CUSTODIANS": several(map(named, custodians)),
            **facts_of_document(document, self._terms),
        }


def _sent(at_ms: int, zone: ZoneInfo) -> tuple[str, str, str]:
    """Return date, time with offset, and offset as the SEC's standard writes them."""
    local = datetime.fromisoformat(local_text(at_ms, zone))
    offset = local_text(at_ms, zone)[-6:] if local.utcoffset() else "+00:00"
    clock = f"{(local.hour - 1) % 12 + 1:02}:{local.minute:02} {'AM' if local.hour < NOON_HOUR else 'PM'}"
    return f"{local.month:02}/{local.day:02}/{local.year:04}", f"{clock} {offset}", offset
