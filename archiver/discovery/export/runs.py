"""Rows that come by day and are wanted by conversation, of any number, in little memory: an external sort.

Up to `MEMORY_BYTES_MAX` they stay in memory. Beyond, sorted runs go to a folder for temporary files, compressed: a fraction of what an
export of them takes, and no file of a message is ever among them. What of many runs is shared by conversations with few rows is merged, so
that there are never so many that reading a little of each costs more than the rest; most rows are written once and read once.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.memory import trim_above
from archiver.discovery.export.batches import Place, Places, Rows
from archiver.discovery.export.order import FIRST
from archiver.discovery.export.sorted_rows import (
    APART_ROWS_MIN,
    BATCH_ROWS,
    TOGETHER_ROWS_MIN,
    Folder,
    Shared,
    Sorted,
    between,
    in_order,
)

MEMORY_BYTES_MAX: Final = 24 * 1024 * 1024
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
# Of a chat that is larger than a group, a run may have a few rows; by themselves they would cost as much as many.
PIECE_BYTES_MIN: Final = 6 * 1024 * 1024
MERGED_RUNS: Final = 32
# So many runs are made at once: beside one that is merged of others the next one is sorted and written.
AT_ONCE: Final = 2
# A process that is larger gives back what lies free in its memory; of columns it has half of that in use at most.
RESIDENT_BYTES: Final = 400_000_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of messages and of their files, some of a group of chats.

    Every message of every later piece of the group was first sent at ``nothing_before_ms`` or later; None if there is none.
    """

    messages: pa.Table
    files: pa.Table
    nothing_before_ms: int | None


@dataclass(frozen=True, slots=True)
class _Making:
    """A run that is being made, or was: what returns it then, and how often it was merged."""

    result: Callable[[], Sorted]
    level: int = 0


@dataclass(slots=True)
class Runs:
    """Takes rows by day, and then gives them by conversation. ``folder`` exists, is ours alone, and is removed by who made it.

    ``executor`` sorts and writes beside what chooses the rows, where one is given.
    """

    folder: Path
    executor: Executor | None = None
    memory_bytes_max: int = MEMORY_BYTES_MAX
    group_bytes_max: int = GROUP_BYTES_MAX
    piece_bytes_min: int = PIECE_BYTES_MIN
    merged_runs: int = MERGED_RUNS
    batch_rows: int = BATCH_ROWS
    apart_rows_min: int = APART_ROWS_MIN
    together_rows_min: int = TOGETHER_ROWS_MIN
    _waiting: list[Rows] = field(default_factory=list)
    _waiting_bytes: int = 0
    _runs: list[_Making] = field(default_factory=list)
    _files_made: int = 0
    _under_way: list[Future[Sorted]] = field(default_factory=list)
    _bytes_by_chat: dict[str, int] = field(default_factory=dict)
    _rows_folder: Folder | None = None
    _given: _InMemory | _InFiles | None = None

    def add(self, messages: pa.Table, files: pa.Table) -> None:
        """Take rows of messages and all rows of their files; raises `StoreFullError` if the folder is full."""
        if not messages.num_rows:
            return
        assert self._given is None, "rows are given once all were taken"
        each = messages.nbytes // messages.num_rows + 1
        for item in pc.value_counts(messages.column("chat_id")).to_pylist():
            self._bytes_by_chat[item["values"]] = self._bytes_by_chat.get(item["values"], 0) + item["counts"] * each
        self._waiting.append(Rows(messages, files))
        self._waiting_bytes += messages.nbytes + files.nbytes
        if self._waiting_bytes > self.memory_bytes_max:
            self._spill()

    def groups(self) -> Iterator[tuple[str, str]]:
        """Yield the chats, in order, as groups from the first to the last of each; only a single chat is larger than a group may be."""
        first = last = ""
        size = 0
        for chat_id, of_chat in sorted(self._bytes_by_chat.items()):
            if first and size + of_chat > self.group_bytes_max:
                yield first, last
                first, size = "", 0
            first, last, size = first or chat_id, chat_id, size + of_chat
        if first:
            yield first, last

    def pieces(self, first: str, last: str) -> Iterator[Piece]:
        """Yield the rows of the chats from one to another, a group: all at once, but of a single large chat by and by."""
        if self._given is None:
            self._given = self._taken()
        is_large = self._bytes_by_chat.get(first, 0) > self.group_bytes_max
        return self._given.pieces(first, last, piece_bytes_min=self.piece_bytes_min if is_large else None)

    def _taken(self) -> _InMemory | _InFiles:
        if self._rows_folder is None:
            waiting, self._waiting = self._waiting, []
            return _InMemory(Rows(*map(in_order, zip(*waiting, strict=True))))
        if self._waiting:
            self._spill()
        found = [making.result() for making in self._runs]
        apart: dict[str, Places] = {}
        for run in found:
            for chat_id, places in run.apart.items():
                apart.setdefault(chat_id, Places()).extend(places)
        return _InFiles(self._rows_folder, apart, [run.shared for run in found if run.shared])

    def _spill(self) -> None:
        """Write what waits as a run, and merge runs as long as there are many of one size; beside what goes on if there is an executor."""
        if self._rows_folder is None:
            messages, files = (rows.schema for rows in self._waiting[0])
            self._rows_folder = Folder(
                self.folder, messages, files, self.batch_rows, self.apart_rows_min, self.together_rows_min
            )
        run = partial(_spilled, self._rows_folder, self._waiting, self._new_files())
        self._waiting, self._waiting_bytes = [], 0
        self._runs.append(_Making(self._begun(run)))
        while (
            len(same := self._runs[-self.merged_runs :]) == self.merged_runs
            and len({making.level for making in same}) == 1
        ):
            together = partial(_merged, self._rows_folder, [making.result for making in same], self._new_files())
            self._runs[-self.merged_runs :] = [_Making(self._begun(together), same[0].level + 1)]

    def _begun(self, making: Callable[[], Sorted]) -> Callable[[], Sorted]:
        """Begin to make a run and return what waits for it; never are more made at once than memory is meant for."""
        if self.executor is None:
            return partial(_same, making())
        self._under_way = [each for each in self._under_way if not each.done()]
        if len(self._under_way) == AT_ONCE:
            self._under_way.pop(0).result()
        self._under_way.append(self.executor.submit(making))
        return self._under_way[-1].result

    def _new_files(self) -> int:
        self._files_made += 2
        return self._files_made - 1


@dataclass(frozen=True, slots=True)
class _InMemory:
    """All rows, sorted."""

    rows: Rows

    def pieces(self, first: str, last: str, *, piece_bytes_min: int | None) -> Iterator[Piece]:
        del piece_bytes_min  # what is in memory can as well be given at once
        yield Piece(between(self.rows.messages, first, last), between(self.rows.files, first, last), None)


@dataclass(frozen=True, slots=True)
class _InFiles:
    """Rows in files: by chat where it has batches of its own, and by run the batches that others share."""

    folder: Folder
    apart: dict[str, Places]
    shared: Sequence[Sequence[Shared]]
    _chats: list[str] = field(init=False)
    # By run the batch that was read last: who asks for the chats in their order meets each batch once, however few rows are of each chat.
    _kept: dict[int, tuple[Place, Rows]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_chats", sorted(self.apart))

    def pieces(self, first: str, last: str, *, piece_bytes_min: int | None) -> Iterator[Piece]:
        """Yield the rows of some chats at once; where ``piece_bytes_min`` is given, those of one chat by time, so many bytes or more."""
        chats = self._chats[bisect_left(self._chats, first) : bisect_right(self._chats, last)]
        places = [place for chat_id in chats for place in sorted(self.apart[chat_id])]
        shared = self._shared(first, last)
        if piece_bytes_min is None:
            yield _piece(chain(map(self.folder.read, places), shared))
            return
        # Of one chat: what it has in shared batches are few rows.
        by_time: list[tuple[int, Place | Rows]] = [(place.first_ms, place) for place in places]
        by_time += [(pc.min(rows.messages.column(FIRST)).as_py(), rows) for rows in shared]
        by_time.sort(key=lambda one: one[0])
        parts: list[Rows] = []
        size = 0
        for number, (_, each) in enumerate(by_time, 1):
            parts.append(each if isinstance(each, Rows) else self.folder.read(each))
            size += parts[-1].messages.nbytes
            if size >= piece_bytes_min and number < len(by_time):
                yield _piece(parts, nothing_before_ms=by_time[number][0])
                parts, size = [], 0
        yield _piece(parts)

    def _shared(self, first: str, last: str) -> Iterator[Rows]:
        for number, run in enumerate(self.shared):
            start = bisect_left(run, first, key=lambda each: each.last)
            end = bisect_right(run, last, lo=start, key=lambda each: each.first)
            for shared in run[start:end]:
                kept = self._kept.get(number)
                if kept is None or kept[0] != shared.place:
                    kept = self._kept[number] = shared.place, self.folder.read(shared.place)
                messages = between(kept[1].messages, first, last)
                if messages.num_rows:
                    yield Rows(messages, between(kept[1].files, first, last))


def _piece(parts: Iterable[Rows], *, nothing_before_ms: int | None = None) -> Piece:
    messages, files = map(pa.concat_tables, zip(*parts, strict=True))
    return Piece(messages, files, nothing_before_ms)


def _same(run: Sorted) -> Sorted:
    return run


def _spilled(folder: Folder, waiting: list[Rows], number: int) -> Sorted:
    run = folder.spilled(waiting, number)
    waiting.clear()
    trim_above(RESIDENT_BYTES)
    return run


def _merged(folder: Folder, made: Sequence[Callable[[], Sorted]], number: int) -> Sorted:
    """Return as one the runs that others make, which began before: whoever waits for them here, they do not wait for it."""
    run = folder.merged([each() for each in made], number)
    trim_above(RESIDENT_BYTES)
    return run
