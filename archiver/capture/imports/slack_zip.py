"""A Slack export as the zip that it is: members by name, read one at a time into memory and never unpacked.

Everything about a zip is hostile: names that would lead out of a folder, names that stand twice, members that are encrypted, damaged, or
bombs that unpack to far more than they are. A name is text to compare with, never a path; a member is read up to a size.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Final
from unicodedata import normalize

from archiver.capture.imports.json_lists import BrokenListError, elements_of
from archiver.capture.imports.records import Unreadable, unreadable
from archiver.errors import UnparseableError, UsageError

MEMBER_BYTES_MAX: Final = 128 * 1024 * 1024
MEMBERS_MAX: Final = 10_000_000
# JSON of chats packs to a tenth or so; what claims to be so much smaller than it is, is a bomb.
RATIO_MAX: Final = 400
RATIO_BYTES_MIN: Final = 8 * 1024 * 1024

_ENCRYPTED: Final = 0x1
_IS_UTF8: Final = 0x800
_DAY_FILE: Final = re.compile(r"([^/\\]+)/(\d{4}-\d{2}-\d{2})\.json")
_DAY_LIKE: Final = re.compile(r".*\d{4}-\d{2}-\d{2}\.json", re.DOTALL)
_NO_FOLDERS: Final = frozenset({".", ".."})
# Where a zip was packed again on a Mac, these come along.
_LITTER: Final = re.compile(r"(.*/)?(__MACOSX/.*|\.DS_Store)", re.DOTALL)
LISTS: Final = ("users.json", "channels.json", "groups.json", "dms.json", "mpims.json")
# How zipfile and zlib say that they cannot go on, whatever the reason.
_DAMAGE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    IndexError,
    KeyError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True, slots=True)
class DayFile:
    """A member with the messages of one chat and one day, if ``error`` does not say why it is none."""

    folder: str
    day: str
    info: zipfile.ZipInfo
    name: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class SlackZip:
    """What stands in an export: the lists at its top, the days in order, and the names of members that are something else."""

    archive: zipfile.ZipFile
    lists: dict[str, Sequence[zipfile.ZipInfo]]
    days: tuple[DayFile, ...]
    others: tuple[str, ...]

    def bytes_of(self, info: zipfile.ZipInfo) -> bytes:
        """Return the bytes of a member that is kept without being read, none if they cannot be had."""
        try:
            return self.read(info)
        except UnparseableError:
            return b""

    def elements(self, info: zipfile.ZipInfo) -> Iterator[bytes | Unreadable]:
        """Yield the elements of the JSON list in a member, and at its end what of it cannot be read."""
        name, number = name_of(info), 0
        try:
            for raw in elements_of(self.read(info)):
                yield raw
                number += 1
        except BrokenListError as error:
            yield unreadable(f"{name}[{number}]" if number else name, error.what, error.rest)
        except UnparseableError as error:
            yield unreadable(name, error.what, b"")

    def read(self, info: zipfile.ZipInfo) -> bytes:
        """Return a member's bytes; raises `UnparseableError` with the reason where it cannot or must not be read."""
        if info.flag_bits & _ENCRYPTED:
            raise UnparseableError("it is encrypted")
        if info.file_size > MEMBER_BYTES_MAX:
            raise UnparseableError(f"it is larger than {MEMBER_BYTES_MAX} bytes")
        if info.file_size > RATIO_BYTES_MIN and info.file_size > RATIO_MAX * max(info.compress_size, 1):
            raise UnparseableError(f"it unpacks to more than {RATIO_MAX} times its size, as a zip bomb does")
        try:
            with self.archive.open(info) as member:
                data = member.read(MEMBER_BYTES_MAX + 1)
        except _DAMAGE as error:
            raise UnparseableError(f"it cannot be unpacked: {error}") from None
        if len(data) > MEMBER_BYTES_MAX:
            raise UnparseableError(f"it is larger than {MEMBER_BYTES_MAX} bytes")
        return data


def open_zip(handle: IO[bytes], name: str) -> SlackZip:
    """Read the names in a zip; raises `UsageError` if it is none, or no export of Slack."""
    handle.seek(0)
    try:
        archive = zipfile.ZipFile(handle)
        infos = archive.infolist()
    except _DAMAGE as error:
        raise UsageError(
            f"{name} is no zip file that can be read: {error}",
            next_step="bring the zip as Slack made it; download it again if it is cut off",
        ) from None
    if len(infos) > MEMBERS_MAX:
        raise UsageError(f"{name} has {len(infos)} members, more than {MEMBERS_MAX}")
    top = _top(map(name_of, infos))
    if top is None:
        raise UsageError(
            f"{name} has no channels.json, groups.json, dms.json or users.json, so it is no export of Slack",
            next_step="bring the zip that Slack's export page gives",
        )
    return _sorted_out(archive, infos, top)


def name_of(info: zipfile.ZipInfo) -> str:
    """Return a member's name; one that does not say that it is UTF-8 is so all the same, if it can be."""
    name = info.filename
    if not info.flag_bits & _IS_UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    # A Mac that packs an export again takes letters and their accents apart.
    return normalize("NFC", name)


def _top(names: Iterable[str]) -> str | None:
    """Return what stands before the names of the lists: nothing, or a folder where the export was packed again."""
    tops = [
        found.removesuffix(name)
        for found in names
        for name in LISTS
        if found == name or found.endswith(f"/{name}")
        if not _LITTER.fullmatch(found)
    ]
    return min(tops, key=lambda top: (top.count("/"), top), default=None)


def _sorted_out(archive: zipfile.ZipFile, infos: Sequence[zipfile.ZipInfo], top: str) -> SlackZip:
    lists: dict[str, list[zipfile.ZipInfo]] = {name: [] for name in LISTS}
    days, others = [], []
    seen: Counter[str] = Counter()
    for info in infos:
        full_name = name_of(info)
        seen[full_name] += 1
        if info.is_dir() or _LITTER.fullmatch(full_name):
            continue
        name = full_name.removeprefix(top) if full_name.startswith(top) else ""
        if name in lists:
            lists[name].append(info)
            continue
        day = _day_of(name, full_name, info, is_repeated=seen[full_name] > 1)
        if day is not None:
            days.append(day)
        else:
            others.append(full_name)
    # Day by day, so that the commits of an import are of few days each.
    days.sort(key=lambda found: (found.day, found.folder, found.info.header_offset))
    return SlackZip(archive, dict(lists), tuple(days), tuple(others))


def _day_of(name: str, full_name: str, info: zipfile.ZipInfo, *, is_repeated: bool) -> DayFile | None:
    """Return what a member is if its name says that it holds the messages of a day, also where it must not be believed."""
    found = _DAY_FILE.fullmatch(name)
    if found is None or found[1] in _NO_FOLDERS:
        if not _DAY_LIKE.fullmatch(full_name):
            return None
        return DayFile("", "", info, full_name, "its name is none that Slack gives to a day of a chat")
    error = "a member of this name stood before it" if is_repeated else ""
    return DayFile(found[1], found[2], info, full_name, error)
