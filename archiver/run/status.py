"""How things stand: the head, the last runs, what the archive holds, what waits in the spool."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archiver.archive import ledger
from archiver.archive.ledger import Entry
from archiver.archive.reader import Archive, Head, latest_states
from archiver.capture.gaps import open_gaps
from archiver.run.session import STATE_KEYS
from archiver.spool import QueueDepth, SpoolDepth

if TYPE_CHECKING:
    from archiver.discovery.index import IndexState

RUNS_SHOWN_MAX = 10
# Looking back further would make the cost grow with the archive; ten runs rarely need more.
ENTRIES_READ_MAX = 200


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run as the ledger tells it: its id, when it last committed, how many commits, and the rows it added by table."""

    run: str
    actor: str
    at: str
    commits: int
    rows: dict[str, int]
    gaps: int


@dataclass(frozen=True, slots=True)
class CatalogStanding:
    """A catalog, whether runs publish in it, and the commit that it shows; None if it was never published."""

    name: str
    in_runs: bool
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """The archive and the spool at one moment; ``at`` is when the newest commit was made, ISO 8601 in UTC.

    ``open_rows`` counts the rows in objects to which a later run will come back; ``open_gaps`` counts what may be missing, by
    kind, as the last run left it; ``spool`` is this machine's own, None where it has none, and ``queue`` the one that several
    listeners share, None where there is none. ``index`` is the index of searches on this machine, None where there is none.
    """

    location: str
    archive_id: str
    workspace: str
    format: int
    sequence: int
    digest: str
    at: str | None
    rows: dict[str, int]
    objects: int
    object_bytes: int
    open_rows: int
    open_gaps: dict[str, int]
    runs: tuple[RunSummary, ...]
    spool: SpoolDepth | None
    queue: QueueDepth | None
    index: IndexState | None
    catalogs: tuple[CatalogStanding, ...]


def read_status(
    archive: Archive,
    spool: SpoolDepth | None,
    *,
    head: Head | None = None,
    queue: QueueDepth | None = None,
    index: IndexState | None = None,
    catalogs: tuple[CatalogStanding, ...] = (),
) -> Status:
    """Return how things stand at a head, by default the newest; reads it and the entries of the last runs."""
    head = head or archive.head()
    return Status(
        location=archive.store.url,
        archive_id=archive.facts.archive_id,
        workspace=archive.facts.workspace,
        format=archive.facts.format,
        sequence=head.sequence,
        digest=head.digest,
        at=head.at,
        rows=dict(sorted(head.rows.items())),
        objects=len(head.files),
        object_bytes=sum(record.bytes for record in head.files.values()),
        open_rows=sum(record.open_rows for record in head.files.values() if record.key not in head.settled),
        open_gaps=_open_gaps(archive, head),
        runs=_last_runs(archive, head),
        spool=spool,
        queue=queue,
        index=index,
        catalogs=catalogs,
    )


def _open_gaps(archive: Archive, head: Head) -> dict[str, int]:
    known = latest_states(archive.store, head, "gaps", STATE_KEYS["gaps"])
    return dict(sorted(Counter(gap.kind for gap in open_gaps(known)).items()))


def _last_runs(archive: Archive, head: Head) -> tuple[RunSummary, ...]:
    """Return the runs whose commits are among the last `ENTRIES_READ_MAX`, the one that committed last first.

    A run that began before these is left out, because it would be shown with too few commits; unless it is the only one.
    """
    first = max(0, head.sequence - ENTRIES_READ_MAX)
    before, digest = ledger.read_entry(archive.store, first) if first else (None, archive.facts_digest)
    by_run: dict[str, list[Entry]] = {}
    for entry, _ in ledger.entries_after(archive.store, first, digest):
        if entry.kind == "capture":
            # Two machines may commit in turn: a run is in order of its last commit, and all of it in one place.
            entries = by_run.pop(entry.run, [])
            entries.append(entry)
            by_run[entry.run] = entries
    if before is not None and len(by_run) > 1:
        by_run.pop(before.run, None)
    return tuple(_summary(run, entries) for run, entries in list(by_run.items())[: -RUNS_SHOWN_MAX - 1 : -1])


def _summary(run: str, entries: list[Entry]) -> RunSummary:
    rows: dict[str, int] = {}
    for entry in entries:
        for table, count in entry.counts.items():
            rows[table] = rows.get(table, 0) + count
    return RunSummary(
        run=run,
        actor=entries[-1].actor,
        at=entries[-1].at,
        commits=len(entries),
        rows=dict(sorted(rows.items())),
        gaps=sum(gap.count for entry in entries for gap in entry.gaps),
    )
