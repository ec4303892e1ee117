"""The verb: previews an export of an archive, makes it, and enters it in the ledger once it is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from archiver.archive import layout
from archiver.archive.commit import Author
from archiver.archive.ledger import MatterAct, entries_after
from archiver.archive.matters import record_act
from archiver.archive.memory import trim_above
from archiver.archive.reader import Archive, Head, files_of
from archiver.clock import from_ms
from archiver.discovery.export.asked import Asked
from archiver.discovery.export.bag import DATA
from archiver.discovery.export.gathering import Gathered, Progress, gather
from archiver.discovery.export.given import Given
from archiver.discovery.export.halves import HALVED_FROM_ROWS, Half, all_of, halves_of, may_be_halved, terms_of_half
from archiver.discovery.export.journal import Begun, Journal
from archiver.discovery.export.opened import Opened, Wanted, assembly_of, open_export, terms_of
from archiver.discovery.export.package import (
    Made,
    Order,
    Packing,
    begun_in,
    export_id,
    require_same,
    whole_package,
)
from archiver.discovery.export.record import Slice, Terms
from archiver.discovery.export.redaction import digest_of
from archiver.discovery.export.replies import Asked as AskedReplies
from archiver.discovery.export.replies import Question, Replies
from archiver.discovery.export.report import Told
from archiver.discovery.export.runs import RESIDENT_BYTES, Runs
from archiver.discovery.export.second import NAME, Job, Second, ToWrite, resident_bytes_each
from archiver.discovery.export.selection import Likely
from archiver.discovery.export.stretches import DAY_ROWS_MAX, weight_of
from archiver.discovery.export.targets import Target
from archiver.discovery.export.writing import Contents, Desk
from archiver.errors import KeyMissingError, RefusedError

# What a package is of: another number, and bytes are no longer promised to be those of before.
PACKAGE_FORMAT: Final = 2


def make(
    archive: Archive,
    wanted: Wanted,
    target: Target,
    *,
    folder: Path,
    software: str,
    sequence: int | None = None,
    executor: Executor | None = None,
    replies: AskedReplies | None = None,
    likely: Likely | None = None,
    progress: Progress | None = None,
    in_two: bool = False,
    halved_from_rows: int = HALVED_FROM_ROWS,
) -> tuple[Made | None, Head]:
    """Make a package in a place, or go on with one; return it with the head that it is of. None is: there is no message to export.

    ``folder`` is one for temporary files. A package that was begun is of the head that it was begun with, whatever came since; a new one is
    of the newest, or of the entry ``sequence``. Raises `RefusedError` if something else is in the place, and `StorageError` if either
    store cannot: then the same call goes on. ``replies`` is asked what messages reply to; without it nothing tells. ``likely`` is asked
    where hits may lie; without it all that was asked for is read, and the package is the same. An export of ``halved_from_rows`` or more
    is made as two halves where it can be (`archiver.discovery.export.halves`), and ``in_two`` processes where that is allowed.
    """
    found = begun_in(target)
    head = _head(archive, found, sequence)
    begun, told = _begun(archive, head, wanted, software)
    if found is not None:
        require_same(found, begun, target.url)
        whole = whole_package(target)
        if whole is not None:
            return whole, head
    rows_min = halved_from_rows if may_be_halved(wanted) else None
    job = Job(archive, head, wanted, target, folder, software)
    with ExitStack() as stack:
        # What is whole of a package that was begun only one process knows.
        hands = _Hands(stack, job, executor, rows_min if in_two and found is None else None)
        opened, gathered = hands.gather(likely, progress)
        if not gathered.chats:
            return None, head
        halves = halves_of(gathered.taken.chats, gathered.unnamed, rows_min=rows_min)
        # Sorting has freed more than asking and writing need.
        trim_above(0)
        said = Replies(folder)
        stack.callback(said.close)
        if replies is not None:
            hands.ask(said, Question(replies, head, gathered.said))
        hands.ready_for(halves)
        journal = Journal(target, folder)
        stack.callback(journal.close)
        stack.callback(target.close)
        # What is in its place is noted, also where something went wrong: the next try goes on from there.
        stack.callback(journal.flush)
        if hands.second is not None:
            stack.callback(hands.second.end)
        if found is None:
            journal.begin(begun)
        else:
            journal.resume()
        shown = replace(told, asked=opened.redaction.asked(told.asked))
        desk = Desk(target, journal, archive.store, hands.executor)
        opened.redaction.log = desk.log
        making = _Making(opened, gathered, desk, said, software, progress, hands)
        return making.package(halves, Order(begun, shown, wanted.formats, wanted.volume_bytes)), head


@dataclass(slots=True)
class _Hands:
    """Who makes an export: this process alone, with threads beside if there is an ``executor``, or a second one too.

    One is begun only for ``rows_min`` rows of the archive or more, and never if that is None.
    """

    stack: ExitStack
    job: Job
    threads: Executor | None
    rows_min: int | None
    second: Second | None = None

    @property
    def executor(self) -> Executor | None:
        """What works beside: threads of two processes that wait for each other take a third more of two processors than one of each."""
        return self.threads if self.second is None else None

    @property
    def resident_bytes(self) -> int:
        """How large this process may be before it gives back what it has free."""
        return RESIDENT_BYTES if self.second is None else self.job.resident_bytes

    def gather(self, likely: Likely | None, progress: Progress | None) -> tuple[Opened, Gathered]:
        """Gather everything; both processes do if nothing is looked for first, and if no day takes the memory of both."""
        records = files_of(self.job.head, "messages")
        days: Counter[date] = Counter()
        for record in records:
            days[layout.partition_of(record.key)[1]] += weight_of([record])
        if self.rows_min is not None and sum(record.rows for record in records) < self.rows_min:
            self.rows_min = None
        asked = self.job.wanted.asked
        is_plain = asked.context is None and asked.scope.expression is None
        if self.rows_min is not None and is_plain and max(days.values()) <= DAY_ROWS_MAX:
            alone = self.job
            self.job = replace(alone, gathers=True, resident_bytes=resident_bytes_each(alone.wanted))
            self._begin()
            if self.second is None:
                self.job = alone
        opened = open_export(self.job.archive, self.job.head, self.job.wanted, executor=self.executor, likely=likely)
        gathered = gather(
            opened,
            Runs(self.job.folder, self.executor, resident_bytes=self.resident_bytes),
            share=None if self.second is None else opened.selection.shares()[0],
            in_files=self.rows_min is not None,
            progress=progress,
        )
        return opened, gathered if self.second is None else gathered.joined(self.second.gathered())

    def ask(self, said: Replies, question: Question) -> None:
        """Ask what replies to what, in a process of its own in place of the second if there may be one: its memory goes with it."""
        if not question.said.chats:
            return
        if self.second is not None:
            self.second.end()
            self.second = None
            self.job = replace(self.job, gathers=False)
        if self.rows_min is None or not said.ask_beside(question):
            said.ask(question)

    def ready_for(self, halves: Sequence[Half]) -> None:
        """Have a second process for a second half, and none without."""
        if self.second is not None and len(halves) == 1:
            self.second.end()
            self.second = None
        elif self.second is None and len(halves) > 1 and self.rows_min is not None:
            self._begin()

    def _begin(self) -> None:
        # Where the system has no room for one more, the package is the same.
        with suppress(OSError):
            self.second = self.stack.enter_context(Second(self.job))


@dataclass(slots=True)
class _Making:
    """Makes a package of what was gathered."""

    opened: Opened
    gathered: Gathered
    desk: Desk
    said: Replies
    software: str
    progress: Progress | None
    hands: _Hands
    messages: int = field(init=False)
    written: int = 0

    def __post_init__(self) -> None:
        self.messages = sum(of_chat.messages for of_chat in self.gathered.taken.chats.values())

    def package(self, halves: Sequence[Half], order: Order) -> Made:
        """Write both halves, or the only one, and all that stands around them."""
        first, *others = halves
        terms = terms_of(
            self.opened, sorted(self.gathered.chats), self.software, replies=self.said, executor=self.desk.executor
        )
        other: Callable[[], Contents] | None = None
        if others:
            other = partial(self._other, terms, others[0], order)
            if self.hands.second is not None:
                gathered = self.gathered
                self.hands.second.write(ToWrite(others[0], gathered.taken, gathered.chats, gathered.unnamed))
        return Packing(self.desk, order).run(
            terms, first, self._slices(first), other=other, progress=self._counted_with_other
        )

    def _other(self, terms: Terms, half: Half, order: Order) -> Contents:
        if self.hands.second is not None:
            return self.hands.second.contents(self.desk.journal, self._counted)
        # What the first half has open stays so meanwhile.
        desk = Desk(self.desk.target, self.desk.journal, self.desk.store, self.desk.executor, name=NAME)
        return desk.write(
            terms_of_half(terms, half), self._slices(half), order.formats, prefix=DATA, progress=self._counted
        )

    def _slices(self, half: Half) -> Iterator[Slice]:
        assembly = assembly_of(
            self.opened,
            self.said,
            unnamed=self.gathered.unnamed,
            executor=self.desk.executor,
            resident_bytes=self.hands.resident_bytes,
        )
        given = Given(self.gathered.taken)
        return all_of(assembly.slices(given, half.chats, numbered_from=half.numbered_from), half)

    def _counted_with_other(self, messages: int) -> None:
        if self.hands.second is not None:
            self.hands.second.heed(self.desk.journal, self._counted)
        self._counted(messages)

    def _counted(self, messages: int) -> None:
        """Tell how many messages were written, of at most so many."""
        self.written += messages
        if self.progress is not None:
            self.progress("writing messages", min(self.written, self.messages), self.messages)


def _head(archive: Archive, found: Begun | None, sequence: int | None) -> Head:
    if found is None:
        return archive.head() if sequence is None else archive.head_at(sequence)
    if found.archive_id != archive.facts.archive_id:
        raise RefusedError(
            "what is there is an export of another archive",
            next_step="name another folder, or the configuration of that archive; nothing was written",
        )
    head = archive.head_at(found.head_sequence if sequence is None else sequence)
    newest = archive.head()
    if not head.files.items() <= newest.files.items():
        gone = sorted(head.files.keys() - newest.files.keys())
        if any(not _is_there(archive, key) for key in gone):
            raise RefusedError(
                f"the export was begun with entry {head.sequence}, and {gone[0]}, which that had, is no longer in the archive",
                next_step="make it anew in another folder: what was removed since cannot be exported any more",
            )
    return head


def _is_there(archive: Archive, key: str) -> bool:
    try:
        archive.store.stat(key)
    except KeyMissingError:
        return False
    return True


def _begun(archive: Archive, head: Head, wanted: Wanted, software: str) -> tuple[Begun, Told]:
    """Return which export is wanted of a head, and what its reports say of the question."""
    asked = wanted.asked
    said = asked_document(wanted)
    identifier = export_id(
        {
            "package": PACKAGE_FORMAT,
            "software": software,
            "matter": asked.matter,
            "archive": archive.facts.archive_id,
            "head": head.digest,
            "asked": said,
            **(
                {} if wanted.redaction is None else {"redaction": digest_of(wanted.redaction), "files": _files_of(head)}
            ),
        }
    )
    begun = Begun(
        export_id=identifier,
        matter=asked.matter,
        archive_id=archive.facts.archive_id,
        head_sequence=head.sequence,
        head_digest=head.digest,
    )
    return begun, Told(identifier, said)


def asked_document(wanted: Wanted) -> dict[str, Any]:
    """Return what was asked, as a report says it; days are those of the zone."""
    asked = wanted.asked
    scope = asked.scope
    context = asked.context
    return {
        "custodians": list(scope.custodians),
        "chats": list(scope.chats),
        "from": None if scope.from_at_ms is None else _day(scope.from_at_ms, asked),
        "until": None if scope.until_ms is None else _day(scope.until_ms - 1, asked),
        "search": scope.expression,
        "zone": asked.zone.key,
        "context": None
        if context is None
        else (f"{context.span_ms // 3_600_000} hours" if context.span_ms else f"{context.messages} messages"),
        "versions": asked.versions,
        "files": asked.with_files,
        "formats": list(wanted.formats),
        "options": dict(wanted.options),
        "volume_bytes": wanted.volume_bytes,
    }


def record(
    archive: Archive, wanted: Wanted, made: Made, head: Head, *, author: Author, now_ms: Callable[[], int]
) -> bool:
    """Enter a whole package in the ledger, once, however often this is called; return whether it was entered now.

    Raises `HeadMovedError` if other writers were quicker again and again, and `StorageError`.
    """
    newest = archive.head()
    for entry, _ in entries_after(archive.store, head.sequence, head.digest):
        act = entry.matter
        if (
            entry.kind == "export"
            and act is not None
            and (act.matter, act.package_sha256) == (wanted.asked.matter, made.digest)
        ):
            return False
    asked = wanted.asked
    act = MatterAct(
        matter=asked.matter,
        head_sequence=head.sequence,
        head_digest=head.digest,
        counts=dict(made.totals),
        scope=asked.scope,
        package_sha256=made.digest,
        detail={
            "formats": " ".join(wanted.formats),
            "versions": asked.versions,
            "files": "in" if asked.with_files else "out",
            **({} if wanted.redaction is None else {"redaction_sha256": digest_of(wanted.redaction) or ""}),
        },
    )
    record_act(archive, newest, "export", act, author=author, now_ms=now_ms)
    return True


def _day(at_ms: int, asked: Asked) -> str:
    return from_ms(at_ms).astimezone(asked.zone).date().isoformat()


def _files_of(head: Head) -> str:
    """Return a digest that only who has the archive can make, so that nobody finds out what is black by making export ids of guesses."""
    return sha256("".join(sorted(record.sha256 for record in head.files.values())).encode()).hexdigest()
