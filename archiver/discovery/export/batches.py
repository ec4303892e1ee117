"""Batches of rows as they lie in files for a while: some messages with all rows of their files, each batch compressed as a whole."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from archiver.discovery.export.order import FIRST

# By column a batch would be a hundred pieces, many of a few bytes and each as dear as a thousand more.
_CODEC: Final = pa.Codec("lz4_raw")


class Rows(NamedTuple):
    """Rows of messages, and those of files."""

    messages: pa.Table
    files: pa.Table


class Place(NamedTuple):
    """Where a batch lies: when its first message was sent, the number of its file, where it begins there and how many bytes it takes.

    Decompressed it has ``message_bytes`` of messages, and behind them ``file_bytes`` of their files.
    """

    first_ms: int
    file: int
    start: int
    size: int
    message_bytes: int
    file_bytes: int


class Places:
    """The places of many batches, in a few bytes each."""

    def __init__(self) -> None:
        self._numbers = array("q")

    def add(self, place: Place) -> None:
        """Take one more."""
        self._numbers.extend(place)

    def extend(self, other: Places) -> None:
        """Take those of another."""
        self._numbers.extend(other._numbers)

    def __iter__(self) -> Iterator[Place]:
        many = len(Place._fields)
        return map(Place._make, (self._numbers[at : at + many] for at in range(0, len(self._numbers), many)))


class BatchFile:
    """A file that batches are written to, made with the first of them."""

    def __init__(self, path: Path, number: int, stack: ExitStack) -> None:
        self._path = path
        self._number = number
        self._stack = stack
        self._sink: BinaryIO | None = None
        self._end = 0

    def write(self, messages: pa.Table, files: Sequence[pa.Table]) -> Place:
        """Write the rows of some messages, in one piece or several, and those of their files; raises `OSError` if the disk cannot."""
        if self._sink is None:
            self._sink = self._stack.enter_context(self._path.open("wb"))
        data: pa.Buffer | bytes = _bytes_of(messages)
        message_bytes = len(data)
        if files:
            data = b"".join((data, _bytes_of(pa.concat_tables(files))))
        packed = _CODEC.compress(data, asbytes=True)
        self._sink.write(packed)
        start, self._end = self._end, self._end + len(packed)
        first_ms = pc.min(messages.column(FIRST)).as_py()
        return Place(first_ms, self._number, start, len(packed), message_bytes, len(data) - message_bytes)


def read_batch(path: Path, place: Place, messages: pa.Schema, files: pa.Schema) -> Rows:
    """Return the rows of a batch of a file, given the columns that they have."""
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        packed = os.pread(number, place.size, place.start)
    finally:
        os.close(number)
    data = _CODEC.decompress(packed, decompressed_size=place.message_bytes + place.file_bytes)
    return Rows(
        _table(data.slice(0, place.message_bytes), messages),
        _table(data.slice(place.message_bytes), files) if place.file_bytes else files.empty_table(),
    )


def _bytes_of(rows: pa.Table) -> pa.Buffer:
    """Return rows, of which there are some, as a message of Arrow's (IPC)."""
    (batch,) = rows.combine_chunks().to_batches()
    return batch.serialize()


def _table(data: pa.Buffer, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([pa.ipc.read_record_batch(data, schema)], schema)
