"""Rows that come by day and are wanted by conversation, of any number, in little memory: an external sort.

Up to `MEMORY_BYTES_MAX` they stay in memory. Beyond, sorted runs go to a folder for temporary files, compressed: a fraction of what an
export of them takes, and no file of a message is ever among them. Runs that came one after another are merged when there are many, so that
there are never so many that reading a little of each costs more than the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.memory import trim_above
from archiver.discovery.export.sorted_rows import BATCH_ROWS, Front, SortedRows, in_memory, key_of, merged

MEMORY_BYTES_MAX: Final = 12 * 1024 * 1024
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
# Of a chat that is larger than a group, a run may have a few rows; by themselves they would cost as much as many.
PIECE_BYTES_MIN: Final = 6 * 1024 * 1024
MERGED_RUNS: Final = 32
# So many runs are made at once: beside one that is merged of others the next one is sorted and written.
AT_ONCE: Final = 2
# A process that is larger gives back what lies free in its memory; of columns it has half of that in use at most.
RESIDENT_BYTES: Final = 320_000_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of messages and of their files, some of a group of chats.

    Every row of every later piece of the group was sent at ``nothing_before_ms`` or later; None if there is none.
    """

    messages: pa.Table
    files: pa.Table
    nothing_before_ms: int | None


@dataclass(frozen=True, slots=True)
class _Run:
    """A sorted run: rows of messages and of their files, and when the first message was sent."""

    messages: SortedRows
    files: SortedRows
    first_ms: int

    def remove(self) -> None:
        self.messages.remove()
        self.files.remove()


@dataclass(frozen=True, slots=True)
class _Making:
    """A run that is being made, or was: what returns it then, and how often it was merged."""

    result: Callable[[], _Run]
    level: int = 0


@dataclass(slots=True)
class Runs:
    """Takes rows by day, and gives them by conversation. ``folder`` exists, is ours alone, and is removed by who made it.

    ``executor`` sorts and writes beside what chooses the rows, where one is given.
    """

    folder: Path
    executor: Executor | None = None
    memory_bytes_max: int = MEMORY_BYTES_MAX
    group_bytes_max: int = GROUP_BYTES_MAX
    piece_bytes_min: int = PIECE_BYTES_MIN
    merged_runs: int = MERGED_RUNS
    batch_rows: int = BATCH_ROWS
    _waiting: list[tuple[pa.Table, pa.Table]] = field(default_factory=list)
    _waiting_bytes: int = 0
    _runs: list[_Making] = field(default_factory=list)
    _files_made: int = 0
    _under_way: list[Future[_Run]] = field(default_factory=list)
    _last: _Run | None = None
    _bytes_by_chat: dict[str, int] = field(default_factory=dict)

    def add(self, messages: pa.Table, files: pa.Table) -> None:
        """Take rows of the days after those before; raises `StoreFullError` if the folder is full."""
        if not messages.num_rows:
            return
        each = messages.nbytes // messages.num_rows + 1
        for item in pc.value_counts(messages.column("chat_id")).to_pylist():
            self._bytes_by_chat[item["values"]] = self._bytes_by_chat.get(item["values"], 0) + item["counts"] * each
        self._last = None
        self._waiting.append((messages, files))
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
        """Yield the rows of the chats from one to another: all at once, but of a single large chat by and by."""
        if self._waiting and self._last is None:
            self._last = _run_of(self._waiting, self.batch_rows)
            self._waiting = [(self._last.messages.rows, self._last.files.rows)]
        runs = [*(making.result() for making in self._runs), *([] if self._last is None else [self._last])]
        if self._bytes_by_chat.get(first, 0) > self.group_bytes_max:
            yield from self._pieces_of_one(first, runs)
            return
        messages = [run.messages.of_chats(first, last) for run in runs]
        files = [run.files.of_chats(first, last) for run in runs]
        yield Piece(pa.concat_tables(messages), pa.concat_tables(files), None)

    def _pieces_of_one(self, chat_id: str, runs: list[_Run]) -> Iterator[Piece]:
        messages: list[pa.Table] = []
        files: list[pa.Table] = []
        for place, run in enumerate(runs):
            files.append(run.files.schema.empty_table())
            of_run = Front(run.files.by_batch(chat_id, chat_id))
            batches = run.messages.by_batch(chat_id, chat_id)
            of_later = [other.first_ms for other in runs[place + 1 :]]
            batch = next(batches, None)
            while batch is not None:
                messages.append(batch)
                following = next(batches, None)
                later = [*of_later, *([] if following is None else [key_of(following, 0)[1]])]
                is_enough = sum(part.nbytes for part in messages) >= self.piece_bytes_min
                if is_enough and later:
                    files += of_run.take(None if following is None else key_of(batch, batch.num_rows - 1))
                    yield Piece(pa.concat_tables(messages), pa.concat_tables(files), min(later))
                    messages, files = [], [run.files.schema.empty_table()]
                batch = following
            files += of_run.take(None)
        # The last one may have no rows, and says that none come any more.
        messages.append(runs[-1].messages.schema.empty_table())
        yield Piece(pa.concat_tables(messages), pa.concat_tables(files), None)

    def _spill(self) -> None:
        """Write what waits as a run, and merge runs as long as there are many of one size; beside what goes on if there is an executor."""
        run = partial(_spilled, self._waiting, self._new_places(), self.batch_rows)
        self._waiting, self._waiting_bytes, self._last = [], 0, None
        self._runs.append(_Making(self._begun(run)))
        while (
            len(same := self._runs[-self.merged_runs :]) == self.merged_runs
            and len({making.level for making in same}) == 1
        ):
            together = partial(_merged, [making.result for making in same], self._new_places())
            self._runs[-self.merged_runs :] = [_Making(self._begun(together), same[0].level + 1)]

    def _begun(self, making: Callable[[], _Run]) -> Callable[[], _Run]:
        """Begin to make a run and return what waits for it; never are more made at once than memory is meant for."""
        if self.executor is None:
            return partial(_same, making())
        self._under_way = [each for each in self._under_way if not each.done()]
        if len(self._under_way) == AT_ONCE:
            self._under_way.pop(0).result()
        self._under_way.append(self.executor.submit(making))
        return self._under_way[-1].result

    def _new_places(self) -> tuple[Path, Path]:
        self._files_made += 1
        return self.folder / f"{self._files_made:06d}-messages", self.folder / f"{self._files_made:06d}-files"


def _same(run: _Run) -> _Run:
    return run


def _spilled(waiting: list[tuple[pa.Table, pa.Table]], places: tuple[Path, Path], batch_rows: int) -> _Run:
    run = _run_of(waiting, batch_rows)
    written = replace(run, messages=run.messages.written(places[0]), files=run.files.written(places[1]))
    del run
    trim_above(RESIDENT_BYTES)
    return written


def _merged(made: Sequence[Callable[[], _Run]], places: tuple[Path, Path]) -> _Run:
    """Return as one the runs that others make, which began before: whoever waits for them here, they do not wait for it."""
    runs = [each() for each in made]
    together = _Run(
        merged([run.messages for run in runs], places[0]),
        merged([run.files for run in runs], places[1]),
        min(run.first_ms for run in runs),
    )
    for run in runs:
        run.remove()
    trim_above(RESIDENT_BYTES)
    return together


def _run_of(waiting: list[tuple[pa.Table, pa.Table]], batch_rows: int) -> _Run:
    """Return what waits, and waits no longer, as a run in memory."""
    messages, files = (pa.concat_tables(parts).combine_chunks() for parts in zip(*waiting, strict=True))
    waiting.clear()  # what is sorted is then there once, and twice only while it is sorted
    first = pc.min(pc.cast(messages.column("sent_at"), pa.int64())).as_py()
    return _Run(in_memory(messages, batch_rows=batch_rows), in_memory(files, batch_rows=batch_rows), first)
