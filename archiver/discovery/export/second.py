"""A second process for an export: it opens the archive for itself, gathers some days, and writes one half while the first writes the other.

Python runs one of a process's threads at a time, so that a second processor has little to do without it. The first process alone keeps
the notes of what is whole, and decides what each does; the second tells it whatever it has put in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from archiver.archive.memory import give_memory_back, trim_above
from archiver.archive.reader import Archive, Head
from archiver.discovery.export.bag import DATA
from archiver.discovery.export.beside import Beside
from archiver.discovery.export.gathering import Gathered, gather
from archiver.discovery.export.given import Given, Taken
from archiver.discovery.export.halves import Half, all_of, terms_of_half
from archiver.discovery.export.journal import Journal, decode_lines
from archiver.discovery.export.opened import Opened, Wanted, assembly_of, open_export, terms_of
from archiver.discovery.export.replies import Replies
from archiver.discovery.export.runs import KEPT_BYTES_MAX, RESIDENT_BYTES, Runs
from archiver.discovery.export.targets import Target
from archiver.discovery.export.writing import Contents, Desk

NAME: Final = "second-"
# No runs of one process have so many files.
FIRST_FILE: Final = 10_000_000
_RESIDENT_BYTES_EACH: Final = RESIDENT_BYTES // 2
# JSON lines alone, for which no message is made, need less beside: they may keep more, for what is given back must be found again.
_RESIDENT_BYTES_EACH_OF_LINES: Final = 240_000_000
# What was looked for, or lies under days of very many messages, was gathered by one process, which still has some of what that took.
RESIDENT_BYTES_EACH_AFTER_ONE: Final = 150_000_000
# Told less often, so that telling costs nothing.
_PROGRESS_MESSAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Job:
    """What an export is of and where it goes, for who opens both again. ``folder`` is the one for temporary files, which both use.

    With ``gathers`` the second share of what is chosen is gathered first. A process that has more than ``resident_bytes`` in memory gives
    back what it has free.
    """

    archive: Archive
    head: Head
    wanted: Wanted
    target: Target
    folder: Path
    software: str
    gathers: bool = False
    resident_bytes: int = RESIDENT_BYTES_EACH_AFTER_ONE


def resident_bytes_each(wanted: Wanted) -> int:
    """Return how large each of two processes that gather may be before it gives back what it has free."""
    return _RESIDENT_BYTES_EACH_OF_LINES if wanted.formats == ("jsonl",) else _RESIDENT_BYTES_EACH


@dataclass(frozen=True, slots=True)
class ToWrite:
    """A half to be written: out of what was taken, which is of these chats as the archive has them."""

    half: Half
    taken: Taken
    chats: frozenset[str]
    unnamed: Counter[tuple[str, str]]


class Second(Beside):
    """The second process, as the first one has it."""

    def __init__(self, job: Job) -> None:
        self._contents: Contents | None = None
        super().__init__(_serve, job, called="second")

    def gathered(self) -> Gathered:
        """Wait for what it has gathered; raises what went wrong there."""
        _, found = self.received()
        assert isinstance(found, Gathered)
        return found

    def write(self, order: ToWrite) -> None:
        """Let it write a half, and go on."""
        self.send(order)

    def heed(self, journal: Journal, progress: Callable[[int], None] | None) -> None:
        """Note what it has told so far, and raise what went wrong there; nothing is waited for."""
        while self._contents is None and self.has_told():
            self._heed_one(journal, progress)

    def contents(self, journal: Journal, progress: Callable[[int], None] | None) -> Contents:
        """Wait until its half is written, and note what it tells; raises what went wrong there."""
        while self._contents is None:
            self._heed_one(journal, progress)
        return self._contents

    def _heed_one(self, journal: Journal, progress: Callable[[int], None] | None) -> None:
        kind, found = self.received()
        if kind == "notes":
            for line in decode_lines(found):
                journal.note(line)
        elif kind == "contents":
            self._contents = found
        elif progress is not None:
            progress(found)


def _serve(connection: Connection, job: Job) -> None:
    give_memory_back(kept_bytes_max=KEPT_BYTES_MAX)
    # What stands around hits was looked for by the first process, if it was asked for.
    opened = open_export(job.archive, job.head, replace(job.wanted, asked=replace(job.wanted.asked, context=None)))
    if job.gathers:
        runs = Runs(job.folder, first_file=FIRST_FILE, resident_bytes=job.resident_bytes)
        found = gather(opened, runs, share=opened.selection.shares()[1], in_files=True)
        connection.send(("gathered", found))
        trim_above(0)
    connection.send(("contents", _written(connection, job, opened, connection.recv())))


def _written(connection: Connection, job: Job, opened: Opened, order: ToWrite) -> Contents:
    replies = Replies(job.folder)
    replies.take_up()
    folder = job.folder / NAME.rstrip("-")
    folder.mkdir(exist_ok=True)
    journal = Journal(job.target, folder, tell=lambda lines: connection.send(("notes", lines)))
    desk = Desk(job.target, journal, job.archive.store, name=NAME)
    half = order.half
    slices = assembly_of(opened, replies, unnamed=order.unnamed, resident_bytes=job.resident_bytes).slices(
        Given(order.taken), half.chats, numbered_from=half.numbered_from
    )
    terms = terms_of_half(terms_of(opened, sorted(order.chats), job.software, replies=replies), half)
    try:
        return desk.write(terms, all_of(slices, half), job.wanted.formats, prefix=DATA, progress=_Progress(connection))
    finally:
        journal.flush()
        journal.close()
        replies.close()


@dataclass(slots=True)
class _Progress:
    """Tells how many messages were written since it last did."""

    connection: Connection
    messages: int = 0

    def __call__(self, messages: int) -> None:
        self.messages += messages
        if self.messages >= _PROGRESS_MESSAGES:
            self.connection.send(("messages", self.messages))
            self.messages = 0
