"""Rows that come by day and are wanted by conversation, of any number, in little memory: an external sort.

Up to `MEMORY_BYTES_MAX` they stay in memory. Beyond, sorted runs go to a folder for temporary files, compressed: a fraction of what an
export of them takes, and no file of a message is ever among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.errors import StoreFullError

MEMORY_BYTES_MAX: Final = 24 * 1024 * 1024
GROUP_BYTES_MAX: Final = 16 * 1024 * 1024
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
class _Run:
    """A sorted run, in memory or as a file: its rows' chats batch by batch, and when the first of them was sent."""

    messages: pa.Table | Path
    files: pa.Table | Path
    chats: tuple[tuple[str, str], ...]
    file_chats: tuple[tuple[str, str], ...]
    first_ms: int


@dataclass(slots=True)
class Runs:
    """Takes rows by day, and gives them by conversation. ``folder`` exists, is ours alone, and is removed by who made it."""

    folder: Path
    memory_bytes_max: int = MEMORY_BYTES_MAX
    group_bytes_max: int = GROUP_BYTES_MAX
    _waiting: list[tuple[pa.Table, pa.Table]] = field(default_factory=list)
    _waiting_bytes: int = 0
    _runs: list[_Run] = field(default_factory=list)
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
            self._last = _run_of(*self._joined())
        runs = [*self._runs, *([] if self._last is None else [self._last])]
        is_large = self._bytes_by_chat.get(first, 0) > self.group_bytes_max
        found = (
            [
                (_read(run.messages, run.chats, first, last), _read(run.files, run.file_chats, first, last))
                for run in runs
            ]
            if not is_large
            else []
        )
        if not is_large:
            yield Piece(
                pa.concat_tables([part for part, _ in found]), pa.concat_tables([part for _, part in found]), None
            )
            return
        for place, run in enumerate(runs):
            later = [other.first_ms for other in runs[place + 1 :]]
            yield Piece(
                _read(run.messages, run.chats, first, last),
                _read(run.files, run.file_chats, first, last),
                min(later) if later else None,
            )

    def _joined(self) -> tuple[pa.Table, pa.Table]:
        # Rows in one piece are sorted several times as quickly as rows in many.
        messages = pa.concat_tables([part for part, _ in self._waiting]).combine_chunks().sort_by(_ORDER)
        files = pa.concat_tables([part for _, part in self._waiting]).combine_chunks().sort_by(_ORDER)
        self._waiting = [(messages, files)]
        return messages, files

    def _spill(self) -> None:
        messages, files = self._joined()
        run = _run_of(messages, files)
        number = len(self._runs)
        paths = self.folder / f"{number:06d}-messages", self.folder / f"{number:06d}-files"
        _write(paths[0], messages)
        _write(paths[1], files)
        self._runs.append(_Run(paths[0], paths[1], run.chats, run.file_chats, run.first_ms))
        self._waiting, self._waiting_bytes, self._last = [], 0, None


def _run_of(messages: pa.Table, files: pa.Table) -> _Run:
    first = pc.min(pc.cast(messages.column("sent_at"), pa.int64())).as_py()
    return _Run(messages, files, _chats(messages), _chats(files), first)


def _chats(rows: pa.Table) -> tuple[tuple[str, str], ...]:
    """Return the first and the last chat of each batch of sorted rows."""
    chats = rows.column("chat_id")
    return tuple(
        (chats[start].as_py(), chats[min(start + BATCH_ROWS, len(chats)) - 1].as_py())
        for start in range(0, len(chats), BATCH_ROWS)
    )


def _write(path: Path, rows: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=options) as writer:
            for start in range(0, rows.num_rows, BATCH_ROWS):
                writer.write_table(rows.slice(start, BATCH_ROWS).combine_chunks())
    except OSError as error:
        raise StoreFullError(
            f"the folder for temporary files, {path.parent.parent}, takes no more: {error.strerror or error}",
            next_step="make space there, or name another by TMPDIR; then give the same command again",
        ) from None


def _read(rows: pa.Table | Path, chats: tuple[tuple[str, str], ...], first: str, last: str) -> pa.Table:
    wanted = [place for place, (least, greatest) in enumerate(chats) if least <= last and greatest >= first]
    if isinstance(rows, Path):
        with pa.OSFile(str(rows), "rb") as source:
            reader = pa.ipc.open_file(source)
            parts = pa.Table.from_batches([reader.get_batch(place) for place in wanted], reader.schema)
    else:
        parts = rows.slice(0, 0)
        if wanted:
            parts = rows.slice(wanted[0] * BATCH_ROWS, (wanted[-1] - wanted[0] + 1) * BATCH_ROWS)
    chat_ids = parts.column("chat_id")
    return parts.filter(pc.and_(pc.greater_equal(chat_ids, first), pc.less_equal(chat_ids, last)))
