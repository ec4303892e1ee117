"""Rows that come by day and are wanted by conversation, of any number, in little memory: an external sort.

Up to `MEMORY_BYTES_MAX` they stay in memory. Beyond, sorted runs go to a folder for temporary files, compressed: a fraction of what an
export of them takes, and no file of a message is ever among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.errors import StoreFullError

MEMORY_BYTES_MAX: Final = 12 * 1024 * 1024
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
# Of a chat that is larger than a group, a run may have a few rows; by themselves they would cost as much as many.
PIECE_BYTES_MIN: Final = 6 * 1024 * 1024
BATCH_ROWS: Final = 4_096

_ORDER: Final = [("chat_id", "ascending"), ("sent_at", "ascending"), ("message_uid", "ascending")]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of messages and of their files, some of a group of chats.

    Every row of every later piece of the group was sent at ``nothing_before_ms`` or later; None if there is none.
    """

    messages: pa.Table
    files: pa.Table
    nothing_before_ms: int | None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of a run that are written and read at once: from where to where, and of which chats they are, from the first to the last."""

    start: int
    end: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Sorted rows, in memory or in a file, batch by batch."""

    rows: pa.Table | Path
    schema: pa.Schema
    batches: tuple[_Batch, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """A sorted run: rows of messages and of their files, and when the first message was sent."""

    messages: _Sorted
    files: _Sorted
    first_ms: int


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
    _waiting: list[tuple[pa.Table, pa.Table]] = field(default_factory=list)
    _waiting_bytes: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _spilled: int = 0
    _spilling: Future[_Run] | None = None
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
        self._settle()
        if self._waiting and self._last is None:
            self._waiting = [_joined(self._waiting)]
            self._last = _run_of(*self._waiting[0])
        runs = [*self._runs, *([] if self._last is None else [self._last])]
        is_large = self._bytes_by_chat.get(first, 0) > self.group_bytes_max
        if not is_large:
            messages = [_read(run.messages, first, last) for run in runs]
            files = [_read(run.files, first, last) for run in runs]
            yield Piece(pa.concat_tables(messages), pa.concat_tables(files), None)
            return
        messages, files = [], []
        for place, run in enumerate(runs):
            messages.append(_read(run.messages, first, last))
            files.append(_read(run.files, first, last))
            later = [other.first_ms for other in runs[place + 1 :]]
            if not later or sum(part.nbytes for part in messages) >= self.piece_bytes_min:
                yield Piece(pa.concat_tables(messages), pa.concat_tables(files), min(later) if later else None)
                messages, files = [], []

    def _spill(self) -> None:
        """Write what waits as a run, beside what goes on if there is an executor, but never two at once."""
        self._settle()
        waiting, number = self._waiting, self._spilled
        self._waiting, self._waiting_bytes, self._last = [], 0, None
        self._spilled += 1
        if self.executor is None:
            self._runs.append(self._spill_of(waiting, number))
        else:
            self._spilling = self.executor.submit(self._spill_of, waiting, number)

    def _settle(self) -> None:
        """Wait for the run that is being written."""
        spilling, self._spilling = self._spilling, None
        if spilling is not None:
            self._runs.append(spilling.result())

    def _spill_of(self, waiting: list[tuple[pa.Table, pa.Table]], number: int) -> _Run:
        run = _run_of(*_joined(waiting))
        return replace(
            run,
            messages=_written(run.messages, self.folder / f"{number:06d}-messages"),
            files=_written(run.files, self.folder / f"{number:06d}-files"),
        )


def _joined(waiting: list[tuple[pa.Table, pa.Table]]) -> tuple[pa.Table, pa.Table]:
    """Return rows sorted and in one piece, since those are sorted several times as quickly as rows in many."""
    messages, files = (pa.concat_tables(parts).combine_chunks().sort_by(_ORDER) for parts in zip(*waiting, strict=True))
    return messages, files


def _run_of(messages: pa.Table, files: pa.Table) -> _Run:
    first = pc.min(pc.cast(messages.column("sent_at"), pa.int64())).as_py()
    found, of_files = (_Sorted(rows, rows.schema, _batches(rows)) for rows in (messages, files))
    return _Run(found, of_files, first)


def _batches(rows: pa.Table) -> tuple[_Batch, ...]:
    """Return sorted rows as batches: those of a chat that has many are by themselves, so that a chat is read without its neighbours."""
    found: list[_Batch] = []
    start = 0
    for item in pc.value_counts(rows.column("chat_id")).to_pylist():
        chat_id, count = item["values"], item["counts"]
        if found and found[-1].end - found[-1].start + count <= BATCH_ROWS:
            found[-1] = replace(found[-1], end=start + count, last=chat_id)
        else:
            found.extend(
                _Batch(place, min(place + BATCH_ROWS, start + count), chat_id, chat_id)
                for place in range(start, start + count, BATCH_ROWS)
            )
        start += count
    return tuple(found)


def _written(found: _Sorted, path: Path) -> _Sorted:
    """Return sorted rows as those of a file, which is written."""
    rows, options = found.rows, pa.ipc.IpcWriteOptions(compression="lz4")
    assert isinstance(rows, pa.Table)
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, found.schema, options=options) as writer:
            for batch in found.batches:
                writer.write_table(rows.slice(batch.start, batch.end - batch.start))
    except OSError as error:
        raise StoreFullError(
            f"the folder for temporary files, {path.parent.parent}, takes no more: {error.strerror or error}",
            next_step="make space there, or name another by TMPDIR; then give the same command again",
        ) from None
    return replace(found, rows=path)


def _read(found: _Sorted, first: str, last: str) -> pa.Table:
    """Return the rows of the chats from one to another."""
    batches = found.batches
    wanted = [place for place, batch in enumerate(batches) if batch.first <= last and batch.last >= first]
    if not wanted:
        return found.schema.empty_table()
    if isinstance(found.rows, Path):
        with pa.OSFile(str(found.rows), "rb") as source:
            reader = pa.ipc.open_file(source)
            parts = pa.Table.from_batches([reader.get_batch(place) for place in wanted], found.schema)
    else:
        start = batches[wanted[0]].start
        parts = found.rows.slice(start, batches[wanted[-1]].end - start)
    if batches[wanted[0]].first >= first and batches[wanted[-1]].last <= last:
        return parts
    chat_ids = parts.column("chat_id")
    return parts.filter(pc.and_(pc.greater_equal(chat_ids, first), pc.less_equal(chat_ids, last)))
