"""What writers of pages and tables share: files cut at a size, gap notes at their place in a day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from typing import BinaryIO, Final

from archiver.discovery.export.record import GapNote, Message, Slice, Terms
from archiver.discovery.export.sink import Sink

# Small enough that an interrupted export has little to write again, and that most tools open a part.
PART_BYTES_MAX: Final = 128 * 1024 * 1024


class _AbandonedError(Exception):
    """A file that is left before its end, so that the sink does not count it."""


class Held:
    """One open file of a sink, for writers whose files stay open from one slice to the next.

    It only writes, wherever the package lies, so that what a library makes of it in a folder has the same bytes as in a bucket. After
    `abandon` it takes what a library still writes as it goes, and drops it.
    """

    closed = False

    def __init__(self, sink: Sink, path: str) -> None:
        self.path = path
        self._context: AbstractContextManager[BinaryIO] | None = sink.open(path)
        self._stream = self._context.__enter__()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write the next bytes."""
        return len(data) if self._context is None else self._stream.write(data)

    def writelines(self, pieces: Sequence[memoryview], /) -> None:
        """Write several pieces, one behind another."""
        if self._context is not None:
            self._stream.writelines(pieces)

    def flush(self) -> None:
        """Leave that to the sink."""

    def close(self) -> None:
        """End the file whole."""
        if (context := self._context) is not None:
            self._context = None
            context.__exit__(None, None, None)

    def abandon(self) -> None:
        """Leave the file as one that does not count; harmless after `close`."""
        if (context := self._context) is not None:
            self._context = None
            error = _AbandonedError()
            with suppress(_AbandonedError):
                context.__exit__(_AbandonedError, error, None)


def stem_of(terms: Terms, name: str) -> str:
    """Return what the files of a table are called: ``<name>-00001`` and so on, those of the second half ``<name>-2-00001``."""
    return name if terms.half == 1 else f"{name}-{terms.half}"


class PartFiles:
    """The files of one table: ``<stem>-00001.<ending>`` and so on, cut after the block that reaches ``bytes_max``.

    ``opening`` stands at the beginning of each. There is always a first one, so that an empty table is told from a missing one.
    """

    def __init__(
        self, sink: Sink, stem: str, ending: str, *, opening: bytes = b"", bytes_max: int = PART_BYTES_MAX
    ) -> None:
        self.paths: list[str] = []
        self._sink = sink
        self._stem = stem
        self._ending = ending
        self._opening = opening
        self._bytes_max = bytes_max
        self._bytes = 0
        self._held: Held | None = None

    def write(self, *blocks: bytes | bytearray | memoryview) -> None:
        """Write whole lines, all of them into one file."""
        self._cut_if_full()
        for block in filter(len, blocks):
            self._put(block)

    def write_on(self, pieces: Sequence[memoryview], starts: Callable[[], Iterable[int]]) -> None:
        """Write lines of several blocks, which begin at ``starts`` of the bytes of all pieces; what is before these is of the block before.

        Where a block begins is only asked if a file may be full before the last of them.
        """
        if self._held is None:
            self._open()
        size = sum(map(len, pieces))
        if self._bytes + size < self._bytes_max:
            assert self._held is not None
            self._held.writelines(pieces)
            self._bytes += size
            return
        lines = memoryview(b"".join(pieces))
        place = 0
        for start in starts():
            self._put(lines[place:start])
            self._cut_if_full()
            place = start
        self._put(lines[place:])

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        if self._held is None:
            self._open()
        assert self._held is not None
        if data:
            self._held.write(data)
            self._bytes += len(data)

    def _cut_if_full(self) -> None:
        if self._held is not None and self._bytes >= self._bytes_max:
            self._held.close()
            self._held = None

    def finish(self) -> None:
        """End the last file whole; with nothing written, an empty table."""
        if not self.paths:
            self._open()
        if self._held is not None:
            self._held.close()

    def abandon(self) -> None:
        """Leave the open file as one that does not count."""
        if self._held is not None:
            self._held.abandon()

    def _open(self) -> None:
        path = f"{self._stem}-{len(self.paths) + 1:05d}.{self._ending}"
        self._held = Held(self._sink, path)
        self.paths.append(path)
        self._bytes = len(self._opening)
        self._held.write(self._opening)


class GapPlaces:
    """Puts the gap notes of a conversation's day where they begin among its messages, each once, over all parts of the day."""

    def __init__(self) -> None:
        self._of: tuple[str, str] | None = None
        self._told: set[GapNote] = set()
        self._waiting: dict[GapNote, int] = {}

    def new_in(self, part: Slice) -> list[GapNote]:
        """Return the notes of a slice that its day has not told yet, for writers that keep them apart from messages."""
        self._begin(part)
        found = [gap for gap in dict.fromkeys(part.gaps) if gap not in self._told]
        self._told.update(found)
        return found

    def in_place(self, part: Slice) -> Iterator[Message | GapNote]:
        """Yield the messages of a slice in order, with each gap note before the first message that was sent after it began.

        A gap that began on an earlier day, or at no known time, stands at the beginning of the day.
        """
        for gap in self.new_in(part):
            self._waiting[gap] = _FIRST if gap.from_at_ms is None else gap.from_at_ms
        if not self._waiting:
            yield from part.messages
            return
        waiting = sorted(self._waiting.items(), key=lambda one: (one[1], one[0].gap_id, one[0].kind))
        at = 0
        for message in part.messages:
            while at < len(waiting) and waiting[at][1] <= message.sent_at_ms:
                yield waiting[at][0]
                at += 1
            yield message
        if part.part >= part.parts:
            yield from (gap for gap, _ in waiting[at:])
            at = len(waiting)
        self._waiting = dict(waiting[at:])

    def _begin(self, part: Slice) -> None:
        of = (part.conversation.chat_id, part.day)
        if of != self._of:
            self._of = of
            self._told = set()
            self._waiting = {}


_FIRST: Final = -(2**63)
