"""Rows as they are given again: by conversation, a group of conversations at a time, out of memory or out of files."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.discovery.export.batches import Place, Places, Rows
from archiver.discovery.export.order import FIRST
from archiver.discovery.export.sorted_rows import Folder, Shared, between

GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
# Of a chat that is larger than a group, a run may have a few rows; by themselves they would cost as much as many.
PIECE_BYTES_MIN: Final = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of messages and of their files, some of a group of chats.

    Every message of every later piece of the group was first sent at ``nothing_before_ms`` or later; None if there is none.
    """

    messages: pa.Table
    files: pa.Table
    nothing_before_ms: int | None


@dataclass(slots=True)
class OfChat:
    """What was taken of a chat: rows, the messages that they are of, and about how many bytes they take in memory."""

    rows: int = 0
    messages: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """What runs have taken, by chat, and where it lies: all of it sorted in memory, or in files of a folder."""

    chats: dict[str, OfChat]
    rows: Rows | None = None
    files: InFiles | None = None


@dataclass(frozen=True, slots=True)
class InFiles:
    """Rows in files: by chat where it has batches of its own, and by run the batches that others share."""

    folder: Folder
    apart: dict[str, Places]
    shared: list[list[Shared]]


def together(parts: Sequence[Taken]) -> Taken:
    """Return as one what several have taken into files of the same folder, no two of them rows of the same message."""
    chats: dict[str, OfChat] = {}
    apart: dict[str, Places] = {}
    shared: list[list[Shared]] = []
    folder: Folder | None = None
    for part in parts:
        for chat_id, of_part in part.chats.items():
            of_chat = chats.setdefault(chat_id, OfChat())
            of_chat.rows += of_part.rows
            of_chat.messages += of_part.messages
            of_chat.size += of_part.size
        if part.files is None:
            assert part.rows is None, "what is put together lies in files"
            continue
        folder = part.files.folder
        for chat_id, places in part.files.apart.items():
            apart.setdefault(chat_id, Places()).extend(places)
        shared += part.files.shared
    return Taken(chats, None, None if folder is None else InFiles(folder, apart, shared))


class Given:
    """Gives what was taken, and may be asked again."""

    def __init__(
        self, taken: Taken, *, group_bytes_max: int = GROUP_BYTES_MAX, piece_bytes_min: int = PIECE_BYTES_MIN
    ) -> None:
        self._taken = taken
        self._group_bytes_max = group_bytes_max
        self._piece_bytes_min = piece_bytes_min
        self._from_files = None if taken.files is None else _FromFiles(taken.files)

    def groups(self, chats: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
        """Yield the chats, in order, as groups from the first to the last of each; only a single chat is larger than a group may be.

        With ``chats`` only these, which stand together in that order.
        """
        first = last = ""
        size = 0
        for chat_id in sorted(self._taken.chats if chats is None else chats):
            of_chat = self._taken.chats[chat_id].size
            if first and size + of_chat > self._group_bytes_max:
                yield first, last
                first, size = "", 0
            first, last, size = first or chat_id, chat_id, size + of_chat
        if first:
            yield first, last

    def pieces(self, first: str, last: str) -> Iterator[Piece]:
        """Yield the rows of the chats from one to another, a group: all at once, but of a single large chat by and by."""
        if self._from_files is None:
            assert self._taken.rows is not None, "there is no group of nothing"
            # What is in memory can as well be given at once.
            messages, files = self._taken.rows
            yield Piece(between(messages, first, last), between(files, first, last), None)
            return
        is_large = first in self._taken.chats and self._taken.chats[first].size > self._group_bytes_max
        yield from self._from_files.pieces(first, last, piece_bytes_min=self._piece_bytes_min if is_large else None)


@dataclass(frozen=True, slots=True)
class _FromFiles:
    """Reads rows in files."""

    rows: InFiles
    _chats: list[str] = field(init=False)
    # By run the batch that was read last: who asks for the chats in their order meets each batch once, however few rows are of each chat.
    _kept: dict[int, tuple[Place, Rows]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_chats", sorted(self.rows.apart))

    def pieces(self, first: str, last: str, *, piece_bytes_min: int | None) -> Iterator[Piece]:
        """Yield the rows of some chats at once; where ``piece_bytes_min`` is given, those of one chat by time, so many bytes or more."""
        read = self.rows.folder.read
        chats = self._chats[bisect_left(self._chats, first) : bisect_right(self._chats, last)]
        places = [place for chat_id in chats for place in sorted(self.rows.apart[chat_id])]
        shared = self._shared(first, last)
        if piece_bytes_min is None:
            yield _piece(chain(map(read, places), shared))
            return
        # Of one chat: what it has in shared batches are few rows.
        by_time: list[tuple[int, Place | Rows]] = [(place.first_ms, place) for place in places]
        by_time += [(pc.min(rows.messages.column(FIRST)).as_py(), rows) for rows in shared]
        by_time.sort(key=lambda one: one[0])
        parts: list[Rows] = []
        size = 0
        for number, (_, each) in enumerate(by_time, 1):
            parts.append(each if isinstance(each, Rows) else read(each))
            size += parts[-1].messages.nbytes
            if size >= piece_bytes_min and number < len(by_time):
                yield _piece(parts, nothing_before_ms=by_time[number][0])
                parts, size = [], 0
        yield _piece(parts)

    def _shared(self, first: str, last: str) -> Iterator[Rows]:
        for number, run in enumerate(self.rows.shared):
            start = bisect_left(run, first, key=lambda each: each.last)
            end = bisect_right(run, last, lo=start, key=lambda each: each.first)
            for shared in run[start:end]:
                kept = self._kept.get(number)
                if kept is None or kept[0] != shared.place:
                    kept = self._kept[number] = shared.place, self.rows.folder.read(shared.place)
                messages = between(kept[1].messages, first, last)
                if messages.num_rows:
                    yield Rows(messages, between(kept[1].files, first, last))


def _piece(parts: Iterable[Rows], *, nothing_before_ms: int | None = None) -> Piece:
    messages, files = map(pa.concat_tables, zip(*parts, strict=True))
    return Piece(messages, files, nothing_before_ms)
