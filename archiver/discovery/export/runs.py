"""Rows that come by day and are wanted by conversation, of any number, in little memory: an external sort.

Up to `MEMORY_BYTES_MAX` they stay in memory. Beyond, sorted runs go to a folder for temporary files, compressed: a fraction of what an
export of them takes, and no file of a message is ever among them. What of many runs is shared by conversations with few rows is merged, so
that there are never so many that reading a little of each costs more than the rest; most rows are written once and read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.memory import trim_above
from archiver.discovery.export.batches import Places, Rows
from archiver.discovery.export.given import GROUP_BYTES_MAX, PIECE_BYTES_MIN, Given, InFiles, OfChat, Taken
from archiver.discovery.export.order import repeated
from archiver.discovery.export.sorted_rows import (
    APART_ROWS_MIN,
    BATCH_ROWS,
    TOGETHER_ROWS_MIN,
    Folder,
    Sorted,
    in_order,
)

MEMORY_BYTES_MAX: Final = 24 * 1024 * 1024
MERGED_RUNS: Final = 32
# So many runs are made at once: beside one that is merged of others the next one is sorted and written.
AT_ONCE: Final = 2
# A process that is larger gives back what lies free in its memory; of columns it has half of that in use at most. Two of them share it.
RESIDENT_BYTES: Final = 400_000_000
# And keeps this much of it, at most, where it is one that makes exports and nothing else.
KEPT_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Making:
    """A run that is being made, or was: what returns it then, and how often it was merged."""

    result: Callable[[], Sorted]
    level: int = 0


@dataclass(slots=True)
class Runs:
    """Takes rows by day, and then gives them by conversation. ``folder`` exists, is ours alone, and is removed by who made it.

    ``executor`` sorts and writes beside what chooses the rows, where one is given. Who shares the folder with other runs has another
    ``first_file``, the number from which its files are counted.
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
    first_file: int = 1
    resident_bytes: int = RESIDENT_BYTES
    _waiting: list[Rows] = field(default_factory=list)
    _waiting_bytes: int = 0
    _runs: list[_Making] = field(default_factory=list)
    _files_made: int = 0
    _under_way: list[Future[Sorted]] = field(default_factory=list)
    _chats: dict[str, OfChat] = field(default_factory=dict)
    _rows_folder: Folder | None = None
    _taken: Taken | None = None

    def add(self, messages: pa.Table, files: pa.Table) -> None:
        """Take all rows of some messages, and of their files; raises `StoreFullError` if the folder is full."""
        if not messages.num_rows:
            return
        assert self._taken is None, "rows are given once all were taken"
        each = messages.nbytes // messages.num_rows + 1
        further = _further_rows(messages)
        for item in pc.value_counts(messages.column("chat_id")).to_pylist():
            chat_id, rows = item["values"], item["counts"]
            of_chat = self._chats.setdefault(chat_id, OfChat())
            of_chat.rows += rows
            of_chat.messages += rows - further[chat_id]
            of_chat.size += rows * each
        self._waiting.append(Rows(messages, files))
        self._waiting_bytes += messages.nbytes + files.nbytes
        if self._waiting_bytes > self.memory_bytes_max:
            self._spill()

    def taken(self, *, in_files: bool = False) -> Taken:
        """Return what was taken, after the last of it: in files if it is more than stays in memory, or is to be there whatever it is."""
        if self._taken is None:
            self._taken = self._taken_now(in_files=in_files)
        return self._taken

    def given(self) -> Given:
        """Return what gives again all that was taken."""
        return Given(self.taken(), group_bytes_max=self.group_bytes_max, piece_bytes_min=self.piece_bytes_min)

    def _taken_now(self, *, in_files: bool) -> Taken:
        if self._rows_folder is None and not (in_files and self._waiting):
            waiting, self._waiting = self._waiting, []
            return Taken(self._chats, Rows(*map(in_order, zip(*waiting, strict=True))) if waiting else None)
        if self._waiting:
            self._spill()
        assert self._rows_folder is not None
        found = [making.result() for making in self._runs]
        apart: dict[str, Places] = {}
        for run in found:
            for chat_id, places in run.apart.items():
                apart.setdefault(chat_id, Places()).extend(places)
        return Taken(self._chats, None, InFiles(self._rows_folder, apart, [run.shared for run in found if run.shared]))

    def _spill(self) -> None:
        """Write what waits as a run, and merge runs as long as there are many of one size; beside what goes on if there is an executor."""
        if self._rows_folder is None:
            messages, files = (rows.schema for rows in self._waiting[0])
            self._rows_folder = Folder(
                self.folder, messages, files, self.batch_rows, self.apart_rows_min, self.together_rows_min
            )
        run = partial(_spilled, self._rows_folder, self._waiting, self._new_files(), self.resident_bytes)
        self._waiting, self._waiting_bytes = [], 0
        self._runs.append(_Making(self._begun(run)))
        while (
            len(same := self._runs[-self.merged_runs :]) == self.merged_runs
            and len({making.level for making in same}) == 1
        ):
            together = partial(
                _merged,
                self._rows_folder,
                [making.result for making in same],
                self._new_files(),
                self.resident_bytes,
            )
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
        number = self.first_file + self._files_made
        self._files_made += 2
        return number


def _further_rows(messages: pa.Table) -> Counter[str]:
    """Return by chat how many rows are not the first of their message."""
    are_several = repeated(messages.column("message_uid"))
    if are_several is None:
        return Counter()
    several = messages.select(["chat_id", "message_uid"]).filter(are_several)
    items = several.group_by(["chat_id", "message_uid"]).aggregate([])
    return Counter(several.column("chat_id").to_pylist()) - Counter(items.column("chat_id").to_pylist())


def _same(run: Sorted) -> Sorted:
    return run


def _spilled(folder: Folder, waiting: list[Rows], number: int, resident_bytes: int) -> Sorted:
    run = folder.spilled(waiting, number)
    waiting.clear()
    trim_above(resident_bytes)
    return run


def _merged(folder: Folder, made: Sequence[Callable[[], Sorted]], number: int, resident_bytes: int) -> Sorted:
    """Return as one the runs that others make, which began before: whoever waits for them here, they do not wait for it."""
    run = folder.merged([each() for each in made], number)
    trim_above(resident_bytes)
    return run
