"""Reads a Concordance load file back: its bytes, its rows, its families, the files it names, and whether they are what the report has.

One family of it is held in memory; control numbers and the paths of texts lie on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from archiver.discovery.checks.concordance_family import Family, Row
from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.package_files import PackageFiles, gaps_told_of
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.tree import files_below

HOME: Final = "data/dat"
LOAD_FILE: Final = f"{HOME}/loadfile.dat"
GAPS_FILE: Final = f"{HOME}/gaps.txt"
LINE_BYTES_MAX = 16_000_000

_BOM = b"\xef\xbb\xbf"
_QUOTE = "þ"
_COLUMN = "\x14"
_BETWEEN = f"{_QUOTE}{_COLUMN}{_QUOTE}"
_REQUIRED: Final = (
    *("Control Number", "Group Identifier", "FIRSTBATES", "LASTBATES", "ATTACHRANGE", "BEGATTACH", "ENDATTACH"),
    *("PARENT_BATES", "CHILD_BATES", "CUSTODIAN", "FROM", "TO", "CC", "BCC", "SUBJECT", "FILE_NAME", "DATE_SENT"),
    *(
        "TIME_SENT/TIME_ZONE",
        "TIME_ZONE",
        "LINK",
        "MIME_TYPE",
        "FILE_EXTEN",
        "FILE_SIZE",
        "PGCOUNT",
        "MD5HASH",
        "OCRPATH",
    ),
    *("SHA256", "CONVERSATION_ID", "DATETIME_SENT", "GAP_IDS"),
)


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield what is not as load files, the SEC's standard or the package's report have it."""
    path = folder / LOAD_FILE
    if not path.is_file() or path.is_symlink():
        yield Finding(LOAD_FILE, None, "missing", "there is no load file")
        return
    with Remembered() as remembered, path.open("rb") as stream:
        reader = _Reader(folder, facts, remembered)
        for line, code, what in reader.read(stream):
            yield Finding(LOAD_FILE, f"line {line}" if line else None, code, what)
        yield from reader.afterwards()


Told = tuple[int, str, str]


class _Reader:
    """What is known across rows."""

    def __init__(self, folder: Path, facts: PackageFacts, remembered: Remembered) -> None:
        self._folder = folder
        self._facts = facts
        self._files = PackageFiles(folder, HOME)
        self._names: list[str] = []
        self._numbers = remembered.notes()
        self._groups = remembered.notes()
        self._family: Family | None = None
        self._texts = remembered.notes()
        self._counts: Counter[str] = Counter()
        self._by_chat: Counter[str] = Counter()
        self._gaps = gaps_told_of(folder / GAPS_FILE)

    def read(self, stream: BinaryIO) -> Iterator[Told]:
        """Yield what is wrong with the load file itself."""
        number = 0
        while line := stream.readline(LINE_BYTES_MAX + 1):
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            if len(line) > LINE_BYTES_MAX:
                yield number, "line-length", f"a line is longer than {LINE_BYTES_MAX} bytes; nothing after it was read"
                break
            values = yield from _values(line, number)
            if values is None:
                continue
            if not self._names:
                self._names = values
                yield from _header(values)
            elif len(values) != len(self._names):
                yield number, "fields", f"the row has {len(values)} fields and the header {len(self._names)}"
            else:
                yield from self._row(Row(number, dict(zip(self._names, values, strict=True))))
        if not self._names:
            yield 0, "header", "there is no header line"
        yield from self._close_family()

    def afterwards(self) -> Iterator[Finding]:
        """Yield what only the whole load file tells: files that no row names, counts that are not the report's."""
        for file in files_below(self._folder, HOME):
            if file.path not in (LOAD_FILE, GAPS_FILE) and file.path not in self._texts:
                yield Finding(file.path, None, "stray", "no row names this file")
        said = self._facts.formats.get("dat")
        if said is not None:
            for kind, wanted in (("messages", said.messages), ("files", said.files)):
                if self._counts[kind] != wanted:
                    yield Finding(
                        LOAD_FILE, None, "count", f"{self._counts[kind]} rows are {kind}; the report has {wanted}"
                    )
        for chat_id in sorted(self._facts.conversations.keys() | self._by_chat.keys()):
            found, wanted = self._by_chat[chat_id], self._facts.conversations.get(chat_id, 0)
            if found != wanted:
                yield Finding(
                    LOAD_FILE, None, "count", f"{found} rows are messages of {chat_id}; the report has {wanted}"
                )

    def _row(self, row: Row) -> Iterator[Told]:
        number = row["Control Number"]
        if not number or not self._numbers.put(number):
            yield (
                row.line,
                "id",
                f"the control number {number[:80]!r} stands before" if number else "there is no control number",
            )
        if row["PARENT_BATES"]:
            self._counts["files"] += 1
        else:
            self._counts["messages"] += 1
            self._by_chat[row["CONVERSATION_ID"]] += 1
        yield from self._into_family(row)
        yield from _dates(row, self._facts.zone)
        yield from self._named(row)
        for gap_id in filter(None, row["GAP_IDS"].split(";")):
            if gap_id not in self._gaps:
                yield row.line, "gap", f"gaps.txt does not tell of {gap_id[:80]!r}"

    def _into_family(self, row: Row) -> Iterator[Told]:
        group = row["Group Identifier"]
        if self._family is None or self._family.group != group:
            yield from self._close_family()
            if not self._groups.put(group):
                yield row.line, "family", f"the family {group[:80]!r} stands in more than one place"
            self._family = Family(group)
        self._family.rows.append(row)

    def _close_family(self) -> Iterator[Told]:
        if self._family is not None:
            yield from self._family.check()
        self._family = None

    def _named(self, row: Row) -> Iterator[Told]:
        """Look at the files that a row names; its hashes and its size are of the native, else of the text."""
        measured = None
        for name in ("OCRPATH", "LINK"):  # the native last, so that it is what the hashes are held against
            if not row[name]:
                continue
            path = self._files.inside(row[name].replace("\\", "/")) if "/" not in row[name] else None
            if path is None:
                yield (
                    row.line,
                    "path",
                    f"{name} is no relative path with backslashes inside the package: {row[name][:100]!r}",
                )
                return
            measured = self._files.measure(path)
            if measured is None:
                yield row.line, "path", f"{name} leads to nothing: {row[name][:100]!r}"
                return
            if name == "OCRPATH":
                self._texts.put(path)
            elif self._facts.natives.get(path, measured.sha256) != measured.sha256:
                yield row.line, "digest", f"the native is not the one that the report has: {row[name][:100]!r}"
        if measured is None:
            yield row.line, "path", "the row names neither a native nor a text"
            return
        if row["MD5HASH"].lower() != measured.md5 or row["SHA256"].lower() != measured.sha256:
            yield row.line, "digest", "the hashes of the row are not those of its file"
        if (row["LINK"] or not row["PARENT_BATES"]) and row["FILE_SIZE"] != str(measured.size):
            yield row.line, "size", f"FILE_SIZE is {row['FILE_SIZE'][:20]!r}; the file has {measured.size} bytes"


def _values(line: bytes, number: int) -> Generator[Told, None, list[str] | None]:
    """Return the values of a line, None where they cannot be told apart; yields why not."""
    if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
        yield number, "line-end", "the line does not end in CRLF, or has a CR inside"
    try:
        text = line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError:
        yield number, "encoding", "the line is not UTF-8"
        return None
    if "\ufeff" in text:
        yield number, "encoding", "there is a byte order mark inside the file"
    values = text.removeprefix(_QUOTE).removesuffix(_QUOTE).split(_BETWEEN)
    is_quoted = len(text) > 1 and text.startswith(_QUOTE) and text.endswith(_QUOTE)
    if not is_quoted or any(_QUOTE in value or _COLUMN in value for value in values):
        yield number, "quote", "a field is not quoted, or a delimiter stands inside one"
        return None
    return values


def _header(names: list[str]) -> Iterator[Told]:
    for name, count in Counter(names).items():
        if count > 1 or not name:
            yield 1, "header", f"{count} columns are called {name[:80]!r}"
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        yield 1, "header", f"there is no column {', '.join(missing)}"


def _dates(row: Row, zone: str) -> Iterator[Told]:
    if row["TIME_ZONE"] != zone:
        yield row.line, "zone", f"TIME_ZONE is {row['TIME_ZONE'][:40]!r}, and the export's is {zone}"
    if row["PARENT_BATES"] and not row["DATE_SENT"]:
        return
    try:
        sent = datetime.strptime(f"{row['DATE_SENT']} {row['TIME_SENT/TIME_ZONE']}", "%m/%d/%Y %I:%M %p %z")
    except ValueError:
        yield row.line, "date", "DATE_SENT and TIME_SENT/TIME_ZONE are not MM/DD/YYYY and hh:mm tt zzz"
        return
    try:
        exactly = datetime.fromisoformat(row["DATETIME_SENT"])
    except ValueError:
        exactly = None
    if exactly is None or exactly.replace(second=0, microsecond=0) != sent:
        yield row.line, "date", "DATETIME_SENT is no instant, or another one than DATE_SENT"
