"""The verb: previews an export of an archive, makes it, and enters it in the ledger once it is whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

from archiver.archive import layout
from archiver.archive.commit import Author
from archiver.archive.ledger import MatterAct, entries_after
from archiver.archive.matters import record_act
from archiver.archive.memory import trim_above
from archiver.archive.reader import Archive, Head
from archiver.clock import from_ms, from_text
from archiver.discovery.export.absences import read_absences
from archiver.discovery.export.asked import Asked, Question, question_of
from archiver.discovery.export.assembly import MESSAGE_COLUMNS, Assembly
from archiver.discovery.export.context import windows_of
from archiver.discovery.export.identities import read_identities
from archiver.discovery.export.journal import Begun, Journal
from archiver.discovery.export.missing import Gaps, read_gaps
from archiver.discovery.export.package import (
    Made,
    Order,
    Packing,
    begun_in,
    export_id,
    require_same,
    whole_package,
)
from archiver.discovery.export.people import People, read_people
from archiver.discovery.export.record import GapNote, Slice, Terms
from archiver.discovery.export.redaction import Redaction, digest_of, read_redaction
from archiver.discovery.export.replies import Asked as AskedReplies
from archiver.discovery.export.replies import Replies
from archiver.discovery.export.report import Told
from archiver.discovery.export.runs import Runs
from archiver.discovery.export.selection import Likely, Selection
from archiver.discovery.export.stretches import open_source
from archiver.discovery.export.targets import Target
from archiver.errors import DamageFoundError, KeyMissingError, RefusedError
from archiver.scope.membership import Membership, read_membership

PREFIX_CHARACTERS_MAX: Final = 24
# What a package is of: another number, and bytes are no longer promised to be those of before.
PACKAGE_FORMAT: Final = 1

# Told how much is done and how much there is, in rows looked at and then in messages written.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An export that somebody wants: the question, formats by name with options, a redaction file, and the size of volumes in bytes."""

    asked: Asked
    formats: tuple[str, ...] = ()
    redaction: Path | None = None
    volume_bytes: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Opened:
    """An archive at one head, and what an export of it must know before it begins."""

    archive: Archive
    head: Head
    wanted: Wanted
    membership: Membership
    question: Question
    selection: Selection
    redaction: Redaction
    people: People
    gaps: Gaps

    def touching(self, chats: Sequence[str]) -> tuple[GapNote, ...]:
        """Return what may be missing of an export that has these chats."""
        reach = self.question.reach
        named = set(chats) | (reach.chats or frozenset())
        return self.gaps.touching(named, self.question.custodians, from_ms=reach.from_at_ms, until_ms=reach.until_ms)


def open_export(
    archive: Archive, head: Head, wanted: Wanted, *, executor: Executor | None = None, likely: Likely | None = None
) -> Opened:
    """Read what an export must know; raises `UsageError` for what cannot be asked, `DamageFoundError` for what cannot be read."""
    store = archive.store
    membership = read_membership(store, head)
    question = question_of(wanted.asked, membership)
    redaction = Redaction() if wanted.redaction is None else read_redaction(wanted.redaction, membership)
    identities = read_identities(store, head)
    source = open_source(store, head, identities, executor=executor)
    selection = Selection(question, source, membership.directory, read_absences(store, head), identities)
    if likely is not None and question.expression is not None:
        selection = replace(selection, likely=likely(head, question.expression, membership.directory))
    if wanted.asked.context is not None:
        selection = replace(selection, windows=windows_of(selection, wanted.asked.context))
    scope = wanted.asked.scope
    people = read_people(
        store,
        head,
        membership,
        custodians=question.custodians,
        days_ms=(scope.from_at_ms, scope.until_ms),
        shown=redaction.shown,
        hidden=redaction.hidden,
    )
    gaps = read_gaps(store, head, shown=redaction.shown, shown_chat=redaction.shown_chat)
    return Opened(archive, head, wanted, membership, question, selection, redaction, people, gaps)


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
) -> tuple[Made | None, Head]:
    """Make a package in a place, or go on with one; return it with the head that it is of. None is: there is no message to export.

    ``folder`` is one for temporary files. A package that was begun is of the head that it was begun with, whatever came since; a new one is
    of the newest, or of the entry ``sequence``. Raises `RefusedError` if something else is in the place, and `StorageError` if either
    store cannot: then the same call goes on. ``replies`` is asked what messages reply to; without it nothing tells. ``likely`` is asked
    where hits may lie; without it all that was asked for is read, and the package is the same.
    """
    found = begun_in(target)
    head = _head(archive, found, sequence)
    begun, told = _begun(archive, head, wanted, software)
    if found is not None:
        require_same(found, begun, target.url)
        whole = whole_package(target)
        if whole is not None:
            return whole, head
    opened = open_export(archive, head, wanted, executor=executor, likely=likely)
    runs = Runs(folder, executor)
    said = Replies(folder)
    chats, messages = _gather(opened, runs, said, progress)
    if not messages:
        return None, head
    journal = Journal(target, folder)
    try:
        if found is None:
            journal.begin(begun)
        else:
            journal.resume()
        # Sorting has freed more than writing needs, and who tells of replies has memory of its own to use.
        trim_above(0)
        if replies is not None:
            said.ask(replies, head)
        shown = replace(told, asked=opened.redaction.asked(told.asked))
        order = Order(begun, shown, wanted.formats, wanted.volume_bytes)
        packing = Packing(target, journal, order, store=archive.store, executor=executor)
        opened.redaction.log = packing.log
        counting = None if progress is None else _Counting(progress, messages)
        slices = _all_of(assembly_of(opened, said).slices(runs), messages + opened.selection.unnamed.total())
        return packing.run(_terms(opened, chats, software), slices, progress=counting), head
    finally:
        # What is in its place is noted, also where something went wrong: the next try goes on from there.
        journal.flush()
        target.close()
        journal.close()
        said.close()


@dataclass(slots=True)
class _Counting:
    """Tells how many messages were written, of at most so many."""

    progress: Progress
    total: int
    written: int = 0

    def __call__(self, messages: int) -> None:
        self.written += messages
        self.progress("writing messages", min(self.written, self.total), self.total)


def _gather(opened: Opened, runs: Runs, replies: Replies, progress: Progress | None) -> tuple[list[str], int]:
    """Put what was chosen into runs; return the chats that it is of and how many messages there are at most."""
    total = opened.selection.rows()
    looked = rows = 0
    chats: set[str] = set()
    columns = MESSAGE_COLUMNS
    for found, count in opened.selection.chosen(columns):
        looked += count
        rows += found.messages.num_rows
        chats.update(found.messages.column("chat_id").unique().to_pylist())
        replies.see(found.messages)
        runs.add(opened.redaction.chats(_plain(found.messages)), opened.redaction.chats(found.files))
        if progress is not None:
            progress("looking through messages", min(looked, total), total)
    return sorted(chats), rows


def _plain(rows: pa.Table) -> pa.Table:
    """Return rows without the columns that only the question needed."""
    unneeded = [name for name in ("text", "client_id") if name in rows.column_names]
    return rows.drop_columns(unneeded) if unneeded else rows


def assembly_of(opened: Opened, replies: Replies | None = None) -> Assembly:
    """Return what makes slices of the rows that an export takes."""
    asked = opened.wanted.asked
    withheld = None
    if not asked.with_files:
        withheld = "files were left out, as was asked"
    elif opened.redaction.withholds_files:
        withheld = "files are left out of a redacted export"
    return Assembly(
        people=opened.people,
        absences=opened.selection.absences,
        gaps=opened.gaps,
        zone=asked.zone,
        keys=opened.selection.source.keys,
        prefix=control_prefix(asked.matter),
        is_last_only=asked.versions == "last",
        redaction=opened.redaction,
        withheld=withheld,
        replies=replies,
        unnamed=opened.selection.unnamed,
        executor=opened.selection.source.executor,
    )


def _all_of(slices: Iterator[Slice], captures: int) -> Iterator[Slice]:
    """Yield slices; raises `DamageFoundError` if they are not of all the rows that were chosen, so that no package lacks some unsaid."""
    found = 0
    for part in slices:
        found += part.captures
        yield part
    if found != captures:
        raise DamageFoundError(
            f"{captures} rows of the archive were chosen, and the export came to {found} of them",
            next_step="report it: it must not happen; the package is not whole, and nothing was entered in the ledger",
        )


def _terms(opened: Opened, chats: Sequence[str], software: str) -> Terms:
    facts, head = opened.archive.facts, opened.head
    return Terms(
        matter=opened.wanted.asked.matter,
        archive_id=facts.archive_id,
        workspace=facts.workspace,
        head_sequence=head.sequence,
        head_digest=head.digest,
        made_at_ms=from_text(head.at or facts.created_at),
        zone=opened.wanted.asked.zone,
        software=software,
        open_blob=_blobs_of(opened.archive),
        custodians=tuple(opened.people.person(user_id) for user_id in opened.question.custodians),
        gaps=opened.touching(chats),
        is_redacted=opened.redaction.is_active,
        options={"control_prefix": control_prefix(opened.wanted.asked.matter), **opened.wanted.options},
        executor=opened.selection.source.executor,
    )


def _blobs_of(archive: Archive) -> Callable[[str], BinaryIO]:
    return lambda digest: archive.store.open(layout.blob_key(digest))


def control_prefix(matter: str) -> str:
    """Return what the control numbers of a matter begin with."""
    return re.sub(r"[^A-Z0-9]+", "-", matter.upper()).strip("-")[:PREFIX_CHARACTERS_MAX].strip("-")


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
