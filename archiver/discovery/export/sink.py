"""Where the writers of an export write: files of one package, by path, each written once from beginning to end."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, Protocol

from archiver.discovery.export.record import Slice, Terms


class Sink(Protocol):
    """The payload of a package. Paths are relative to ``data/``, with slashes, of safe names only.

    A package that is being resumed has files already: `has` tells so, and a writer may then leave out what it would have written there.
    Opening such a path anyway gives something that takes the bytes and checks that they are the same.
    """

    def has(self, path: str) -> bool:
        """Tell whether a file is there whole, from an earlier try."""

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing; it counts only if the block ends without an exception."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer wrote: how many files, how many messages and files of messages are in them, and what its readers must be told.

    Only counts, because a form that has a file for each message may have as many as an archive has; which they are tells the manifest.
    ``replaced`` counts by name what the format could not hold and was put in another way (delimiters in a load file, say). ``counted`` are
    remarks about how many of something there are, ``{count}`` standing for the number. ``listed`` is what a second half leaves for the
    first to put into a list of all.
    """

    path_count: int
    messages: int
    files: int
    replaced: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    counted: Mapping[str, int] = field(default_factory=dict)
    listed: tuple[Any, ...] = ()

    @property
    def all_remarks(self) -> tuple[str, ...]:
        """What readers must be told, in sentences."""
        return (*self.remarks, *(words.format(count=count) for words, count in self.counted.items() if count))

    def joined(self, other: Written) -> Written:
        """Return what this and another of the same format come to."""
        return Written(
            self.path_count + other.path_count,
            self.messages + other.messages,
            self.files + other.files,
            _added(self.replaced, other.replaced),
            self.remarks,
            _added(self.counted, other.counted),
        )


class Writer(Protocol):
    """A format. It is given all slices of an export, in order, once; it holds at most a slice of them at a time.

    ``format`` is the name that ``--format`` takes and the folder under ``data/`` that all its paths begin with. `finish` is called once,
    after the last slice. Of those ``by_half`` two may write an export at the same time, each one of its halves
    (`archiver.discovery.export.halves`): they have no file of all of it, but for lists that the first one writes when it is told in
    `finish` what the second has written.
    """

    format: ClassVar[str]
    by_half: ClassVar[bool]

    def __init__(self, terms: Terms, sink: Sink) -> None: ...

    def add(self, part: Slice) -> None:
        """Take the next slice."""

    def finish(self, second: Written | None = None, /) -> Written:
        """Write what stands at the end and close everything; return what this one wrote, without what the ``second`` did."""

    def close(self) -> None:
        """Let go of open files without finishing, after an error; harmless after `finish`."""


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in dict.fromkeys((*one, *other))}
