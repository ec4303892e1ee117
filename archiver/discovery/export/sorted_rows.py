"""Rows of messages and of their files, sorted by conversation and as messages come in it: written to files, a few of them read at a time.

What is written and read at once is a *batch*: some messages with all rows of their files. A conversation that has many among the rows that
are sorted together has batches of its own, *apart*, which are read without any neighbour and never written again. Those that have few
share batches, and these are merged with others of their kind, so that what is read for a few conversations is little else.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from archiver.discovery.export.batches import BatchFile, Place, Places, Rows, read_batch
from archiver.discovery.export.order import FIRST, ascends, numbers_of
from archiver.errors import StoreFullError

BATCH_ROWS: Final = 2_048
# Of long messages a batch has fewer rows.
_BATCH_BYTES: Final = 4 * 1024 * 1024
# With fewer rows than these a batch costs more to read for itself than among others.
APART_ROWS_MIN: Final = 128
# Copied by less than so many rows at once, a row costs more than sorting it.
TOGETHER_ROWS_MIN: Final = 16
ORDER: Final = [("chat_id", "ascending"), (FIRST, "ascending"), ("message_uid", "ascending")]

# Behind everything that a conversation has.
_LATEST: Final = (2**63 - 1, "")

# Chat, when its message was first sent in milliseconds since 1970 UTC, uid.
Key = tuple[str, int, str]


class Shared(NamedTuple):
    """A batch of the rows of several chats, sorted, from the first to the last of them."""

    first: str
    last: str
    place: Place


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows that were sorted together: by chat the batches of those that have many, and in order those that the others share."""

    apart: dict[str, Places] = field(default_factory=dict)
    shared: list[Shared] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of files with batches, by number; ``messages`` and ``files`` are the columns that rows have."""

    path: Path
    messages: pa.Schema
    files: pa.Schema
    batch_rows: int = BATCH_ROWS
    apart_rows_min: int = APART_ROWS_MIN
    together_rows_min: int = TOGETHER_ROWS_MIN

    def written(self, parts: Iterable[Rows], number: int) -> Sorted:
        """Write rows to the files with a number, that of `Sorted.apart`, and the next one, that of `Sorted.shared`.

        Parts are sorted, each in one piece and after the one before it, and have no file without its message. Raises `StoreFullError` if
        the folder is full.
        """
        with self._writing(number) as run:
            for part in parts:
                run.add(part)
        return run.made

    def spilled(self, parts: Sequence[Rows], number: int) -> Sorted:
        """Sort rows that stand in any order, each part in one of its own, and write them as `written` does.

        As they come of the archive, the rows of a chat and a day stand together and in order. Where a chat has many of these they go
        straight into its batches, copied once and not three times; what is left is sorted first.
        """
        apart = _apart([rows.messages for rows in parts], self.apart_rows_min, self.together_rows_min)
        files = in_order([rows.files for rows in parts])
        rest = [rows.messages for rows in parts]
        with self._writing(number) as run:
            if apart:
                chats = pa.array(apart, pa.string())
                rest = _without(rest, apart, chats)
                is_apart = pc.is_in(files.column("chat_id"), value_set=chats)
                of_messages = Front(iter([files.filter(is_apart).combine_chunks()]))
                files = files.filter(pc.invert(is_apart)).combine_chunks()
                for chat_id in sorted(apart):
                    run.add_apart(chat_id, _sorted_chat(apart.pop(chat_id)), of_messages)
            run.add(Rows(in_order(rest), files))
        return run.made

    def read(self, place: Place) -> Rows:
        """Return the rows of a batch."""
        return read_batch(self.file(place.file), place, self.messages, self.files)

    @contextmanager
    def _writing(self, number: int) -> Iterator[_Writing]:
        try:
            with ExitStack() as stack:
                yield _Writing(self, number, stack)
        except OSError as error:
            raise StoreFullError(
                f"the folder for temporary files, {self.path.parent}, takes no more: {error.strerror or error}",
                next_step="make space there, or name another by TMPDIR; then give the same command again",
            ) from None

    def merged(self, parts: Sequence[Sorted], number: int) -> Sorted:
        """Merge what is shared, written to files as `written` does, and remove the files that it came from; what is apart stays."""
        found = self.written(self._merging([each.shared for each in parts]), number)
        for each in parts:
            for chat_id, places in each.apart.items():
                found.apart.setdefault(chat_id, Places()).extend(places)
            for file in {shared.place.file for shared in each.shared}:
                self.file(file).unlink()
        return found

    def file(self, number: int) -> Path:
        """Return the path of a file."""
        return self.path / f"{number:08d}"

    def _merging(self, parts: Sequence[Sequence[Shared]]) -> Iterator[Rows]:
        # Of files there are few: they wait here until the last of their messages goes.
        files = self.files.empty_table()
        waiting: list[pa.Table] = []
        waiting_files: list[pa.Table] = []

        def read(shared: Iterable[Shared]) -> Iterator[pa.Table]:
            for each in shared:
                rows = self.read(each.place)
                waiting_files.append(rows.files)
                yield rows.messages

        fronts = [Front(read(shared)) for shared in parts]
        # Up to the least of the last keys that can be told, nothing comes any more but what can be told.
        while until := min((front.last_key for front in fronts if front.last_key is not None), default=None):
            waiting.append(pa.concat_tables([rows for front in fronts for rows in front.take(until)]))
            many = sum(rows.num_rows for rows in waiting) >= 4 * self.batch_rows
            if many or sum(rows.nbytes for rows in waiting) >= 4 * _BATCH_BYTES:
                front_of_files = Front(iter([in_order([files, *waiting_files])]))
                waiting_files.clear()
                taken = pa.concat_tables([self.files.empty_table(), *front_of_files.take(until)])
                files = pa.concat_tables([self.files.empty_table(), *front_of_files.take(None)])
                yield Rows(in_order(waiting), taken.combine_chunks())
                waiting = []
        if waiting:
            yield Rows(in_order(waiting), in_order([files, *waiting_files]))


class _Batch(NamedTuple):
    """Rows to be written at once; ``is_end`` says that nothing of the last chat comes behind them."""

    start: int
    end: int
    first: str
    last: str
    is_apart: bool
    is_end: bool


class _Writing:
    """A run that is being written; ``made`` says what it is of."""

    def __init__(self, folder: Folder, number: int, stack: ExitStack) -> None:
        self.made = Sorted()
        self._folder = folder
        self._apart, self._shared = (BatchFile(folder.file(each), each, stack) for each in (number, number + 1))

    def add(self, part: Rows) -> None:
        """Write sorted rows, which come behind all that were added this way before."""
        of_messages = Front(iter([part.files]))
        for batch in self._batches(part.messages):
            rows = part.messages.slice(batch.start, batch.end - batch.start)
            until = (batch.last, *_LATEST) if batch.is_end else key_of(rows, rows.num_rows - 1)
            files = of_messages.take(until) if part.files.num_rows else []
            if batch.is_apart:
                self.made.apart.setdefault(batch.first, Places()).add(self._apart.write(rows, files))
            else:
                self.made.shared.append(Shared(batch.first, batch.last, self._shared.write(rows, files)))

    def add_apart(self, chat_id: str, messages: pa.Table, of_messages: Front) -> None:
        """Write the sorted rows of a chat; its files are the next of those that are sorted too."""
        places = self.made.apart.setdefault(chat_id, Places())
        rows_max = _rows_at_once(messages, self._folder.batch_rows)
        for start in range(0, messages.num_rows, rows_max):
            rows = messages.slice(start, rows_max)
            is_end = start + rows.num_rows == messages.num_rows
            until = (chat_id, *_LATEST) if is_end else key_of(rows, rows.num_rows - 1)
            places.add(self._apart.write(rows, of_messages.take(until)))

    def _batches(self, rows: pa.Table) -> list[_Batch]:
        """Return sorted rows as batches: those of a chat that has many are by themselves."""
        rows_max = _rows_at_once(rows, self._folder.batch_rows)
        found: list[_Batch] = []
        start = 0
        for item in pc.value_counts(rows.column("chat_id")).to_pylist():
            chat_id, count = item["values"], item["counts"]
            end = start + count
            before = found[-1] if found else None
            if count >= self._folder.apart_rows_min:
                starts = range(start, end, rows_max)
                found.extend(
                    _Batch(at, min(at + rows_max, end), chat_id, chat_id, is_apart=True, is_end=at == starts[-1])
                    for at in starts
                )
            elif before is not None and not before.is_apart and end - before.start <= rows_max:
                found[-1] = before._replace(end=end, last=chat_id)
            else:
                found.append(_Batch(start, end, chat_id, chat_id, is_apart=False, is_end=True))
            start = end
        return found


@dataclass(slots=True)
class Front:
    """The rows of a source that were not taken yet, as far as one batch of them.

    ``last_key`` is the key of the last row that can be told, None at the end.
    """

    source: Iterator[pa.Table]
    last_key: Key | None = field(init=False, default=None)
    _rows: pa.Table | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._go_on()

    def take(self, until: Key | None) -> list[pa.Table]:
        """Return the rows up to a key, included; all that are left if none is given."""
        taken = []
        while self._rows is not None:
            if until is None or (self.last_key is not None and self.last_key <= until):
                taken.append(self._rows)
                self._go_on()
                continue
            if count := _count_until(self._rows, until):
                taken.append(self._rows.slice(0, count))
                self._rows = self._rows.slice(count)
            break
        return taken

    def _go_on(self) -> None:
        self._rows = next((rows for rows in self.source if rows.num_rows), None)
        self.last_key = None if self._rows is None else key_of(self._rows, self._rows.num_rows - 1)


def _count_until(rows: pa.Table, until: Key) -> int:
    """Return how many of sorted rows have a key up to this one, included."""
    chat_id, at_ms, uid = until
    if key_of(rows, 0) > until:
        return 0
    chats, uids = rows.column("chat_id"), rows.column("message_uid")
    places = range(rows.num_rows)
    start = bisect_left(places, chat_id, key=lambda place: chats[place].as_py())
    end = bisect_right(places, chat_id, lo=start, key=lambda place: chats[place].as_py())
    # Instants are looked up where they lie in memory, which takes a fraction of asking for each.
    (instants,) = map(numbers_of, rows.column(FIRST).chunks)
    first, last = bisect_left(instants, at_ms, start, end), bisect_right(instants, at_ms, start, end)
    return bisect_right(places, uid, first, last, key=lambda place: uids[place].as_py())


def in_order(parts: Sequence[pa.Table]) -> pa.Table:
    """Return rows as sorted ones; in one piece, since such are sorted several times as quickly as rows in many."""
    return pa.concat_tables(parts).combine_chunks().sort_by(ORDER)


def _apart(parts: Sequence[pa.Table], rows_min: int, together_rows_min: int) -> dict[str, list[pa.RecordBatch]]:
    """Return, as they stand together in parts, the rows of the chats that have many in all and, on average, many together."""
    rows: Counter[str] = Counter()
    for part in parts:
        for item in pc.value_counts(part.column("chat_id")).to_pylist():
            rows[item["values"]] += item["counts"]
    found: dict[str, list[pa.RecordBatch]] = {chat_id: [] for chat_id, count in rows.items() if count >= rows_min}
    for batch in (batch for part in parts for batch in part.to_batches()):
        start = 0
        stand = pc.run_end_encode(batch.column("chat_id"))
        for chat_id, end in zip(stand.values.to_pylist(), stand.run_ends.to_pylist(), strict=True):
            if (together := found.get(chat_id)) is not None:
                together.append(batch.slice(start, end - start))
            start = end
    return {chat_id: some for chat_id, some in found.items() if rows[chat_id] >= len(some) * together_rows_min}


def _without(
    parts: Sequence[pa.Table], apart: Mapping[str, Sequence[pa.RecordBatch]], chats: pa.StringArray
) -> list[pa.Table]:
    """Return what is left of parts without the rows of some chats, which are those that stand apart."""
    left = sum(rows.num_rows for rows in parts)
    left -= sum(rows.num_rows for together in apart.values() for rows in together)
    if not left:
        return [parts[0].slice(0, 0)]
    return [rows.filter(pc.invert(pc.is_in(rows.column("chat_id"), value_set=chats))) for rows in parts]


def _sorted_chat(parts: Sequence[pa.RecordBatch]) -> pa.Table:
    """Return the rows of one chat, sorted; moving nothing, which takes most of the time, where they are in order already."""
    rows = pa.Table.from_batches(parts).combine_chunks()
    return rows if ascends(rows, (FIRST, "message_uid")) else rows.sort_by(ORDER)


def _rows_at_once(rows: pa.Table, rows_max: int) -> int:
    """Return how many of some rows a batch has, at most ``rows_max`` and one at least."""
    each: int = max(1, rows.nbytes // max(1, rows.num_rows))
    return max(1, min(rows_max, _BATCH_BYTES // each))


def key_of(rows: pa.Table, place: int) -> Key:
    """Return by what a row is sorted."""
    chat_id, first_ms, uid = (rows.column(name)[place].as_py() for name in ("chat_id", FIRST, "message_uid"))
    return chat_id, first_ms, uid


def between(rows: pa.Table, first: str, last: str) -> pa.Table:
    """Return those of sorted rows that are of the chats from one to another."""
    if not rows.num_rows:
        return rows
    chats = rows.column("chat_id")
    if first <= chats[0].as_py() and chats[-1].as_py() <= last:
        return rows
    places = range(rows.num_rows)
    start = bisect_left(places, first, key=lambda place: chats[place].as_py())
    end = bisect_right(places, last, lo=start, key=lambda place: chats[place].as_py())
    return rows.slice(start, end - start)
