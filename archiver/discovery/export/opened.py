"""An archive opened for an export: the question, and what must be known of everything but the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.clock import from_text
from archiver.discovery.export.absences import read_absences
from archiver.discovery.export.asked import Asked, Question, question_of
from archiver.discovery.export.assembly import BLOCK_ROWS, MADE_BLOCK_ROWS, Assembly
from archiver.discovery.export.context import windows_of
from archiver.discovery.export.identities import read_identities
from archiver.discovery.export.missing import Gaps, read_gaps
from archiver.discovery.export.people import People, read_people
from archiver.discovery.export.record import GapNote, Terms
from archiver.discovery.export.redaction import Redaction, read_redaction
from archiver.discovery.export.replies import Replies
from archiver.discovery.export.runs import RESIDENT_BYTES
from archiver.discovery.export.selection import Likely, Selection
from archiver.discovery.export.stretches import open_source
from archiver.scope.membership import Membership, read_membership

PREFIX_CHARACTERS_MAX: Final = 24


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


def assembly_of(
    opened: Opened,
    replies: Replies | None = None,
    *,
    unnamed: Mapping[tuple[str, str], int] | None = None,
    executor: Executor | None = None,
    resident_bytes: int = RESIDENT_BYTES,
) -> Assembly:
    """Return what makes slices of the rows that an export takes.

    ``unnamed`` counts the rows left out because they are of a message that is there, if the selection alone does not know all of them.
    """
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
        unnamed=opened.selection.unnamed if unnamed is None else unnamed,
        resident_bytes=resident_bytes,
        block_rows=BLOCK_ROWS if opened.wanted.formats == ("jsonl",) else MADE_BLOCK_ROWS,
        executor=executor,
    )


def terms_of(
    opened: Opened,
    chats: Sequence[str],
    software: str,
    *,
    replies: Replies | None = None,
    executor: Executor | None = None,
) -> Terms:
    """Return what the writers of an export that has these chats are told."""
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
        executor=executor,
        # Of a redacted export chats may be called otherwise.
        replying=None if replies is None or opened.redaction.is_active else replies.chats,
    )


def _blobs_of(archive: Archive) -> Callable[[str], BinaryIO]:
    return lambda digest: archive.store.open(layout.blob_key(digest))


def control_prefix(matter: str) -> str:
    """Return what the control numbers of a matter begin with."""
    return re.sub(r"[^A-Z0-9]+", "-", matter.upper()).strip("-")[:PREFIX_CHARACTERS_MAX].strip("-")
