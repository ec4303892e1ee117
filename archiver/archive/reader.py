"""What is live at the head of the ledger, and rows out of it.

Opening reads the newest checkpoint and the entries after it. A checkpoint is a cache: it is used only if its SHA-256 is
the one that the ledger entry of its commit names, and `archiver verify` never looks at one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import takewhile
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from archiver.archive import layout, ledger
from archiver.archive.ledger import ArchiveFacts, Entry, FileRecord, HoldChange, HoldScope
from archiver.archive.schema import TABLES
from archiver.archive.tables import read_batches, read_object, read_places, rows_of
from archiver.errors import DamageFoundError, KeyMissingError, UsageError
from archiver.store import Store

CHECKPOINT_EVERY_COMMITS = 64


class PlacedHold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold in force: its scope, why, who placed it, when (ISO 8601 in UTC), and in which entry."""

    scope: HoldScope
    reason: str
    actor: str
    placed_at: str
    sequence: int


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The archive as of one commit: its place in the chain and what is live.

    ``files`` maps each live data object's key to its record, ``settled`` holds the keys whose open rows are dealt
    with, ``watermarks`` is the last sequence held of each spool, ``cursors`` says how far each place that is read in pages
    was read, ``rows`` counts live rows by table. ``holds`` are those in force by name; ``disposed`` counts rows that retention removed,
    by table; ``unerased`` are entries that took objects out of the archive which may still lie in the store.
    """

    sequence: int
    digest: str
    at: str | None
    files: dict[str, FileRecord]
    settled: frozenset[str]
    watermarks: dict[str, int]
    rows: dict[str, int]
    cursors: dict[str, str] = {}
    holds: dict[str, PlacedHold] = {}
    disposed: dict[str, int] = {}
    unerased: tuple[int, ...] = ()


# Bytes of an object that is read at once, whichever columns are asked for.
READ_WHOLE_BYTES_MAX = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that exists: its store and what ``archive.json`` says. Values are read through it, none are kept."""

    store: Store
    facts: ArchiveFacts
    facts_digest: str

    @classmethod
    def open(cls, store: Store) -> Archive:
        """Open an archive; raises `UsageError` if there is none, `NewerFormatError` if it is beyond this version."""
        try:
            facts, digest = ledger.read_facts(store)
        except KeyMissingError:
            raise UsageError(
                f"there is no archive at {store.url}",
                next_step="check 'archive:' in archiver.yaml; `archiver run` founds an archive on its first run",
            ) from None
        return cls(store, facts, digest)

    def head(self, known: Head | None = None) -> Head:
        """Return the newest head; from a head known already only the entries after it are read."""
        head = known or self._from_checkpoint() or self.founding_head()
        return _replay(head, ledger.entries_after(self.store, head.sequence, head.digest))

    def head_at(self, sequence: int) -> Head:
        """Return the head as it was after an entry, by replaying the chain up to it; raises `UsageError` if there is no such entry."""
        head = _replay(self.founding_head(), takewhile(lambda found: found[0].sequence <= sequence, self.entries()))
        if head.sequence != sequence:
            raise UsageError(f"the ledger of {self.store.url} has no entry {sequence}, its last is {head.sequence}")
        return head

    def founding_head(self) -> Head:
        """Return the head before the first commit."""
        return Head(
            sequence=0,
            digest=self.facts_digest,
            at=None,
            files={},
            settled=frozenset(),
            watermarks={},
            rows={},
        )

    def entries(self) -> Iterator[tuple[Entry, str]]:
        """Yield every ledger entry from the first, with its digest; raises `LedgerBrokenError`."""
        return ledger.entries_after(self.store, 0, self.facts_digest)

    def write_checkpoint(self, head: Head) -> None:
        """Cache a head beside the ledger."""
        self.store.replace(layout.checkpoint_key(head.sequence), encode_checkpoint(head))

    def _from_checkpoint(self) -> Head | None:
        sequences = filter(
            None, (layout.sequence_of_checkpoint(info.key) for info in self.store.list(layout.CHECKPOINT_PREFIX))
        )
        for sequence in sorted(sequences, reverse=True):
            try:
                data = self.store.read(layout.checkpoint_key(sequence))
                entry, digest = ledger.read_entry(self.store, sequence)
            except (KeyMissingError, DamageFoundError):
                continue
            if (entry.archive_id, entry.checkpoint) == (self.facts.archive_id, sha256(data).hexdigest()):
                return msgspec.structs.replace(msgspec.json.decode(data, type=Head), digest=digest)
        return None


def is_checkpoint_due(sequence: int) -> bool:
    """Tell whether a checkpoint is taken at a commit."""
    return sequence % CHECKPOINT_EVERY_COMMITS == 0


def encode_checkpoint(head: Head) -> bytes:
    """Return the checkpoint of a head; without its digest, for the entry that is digested names the checkpoint."""
    return ledger.canonical_json(msgspec.structs.replace(head, digest=""))


def advance(head: Head, entry: Entry, digest: str) -> Head:
    """Return the head after one more entry."""
    return _replay(head, [(entry, digest)])


def _replay(head: Head, entries: Iterable[tuple[Entry, str]]) -> Head:
    """Return the head after more entries; the mappings are copied once, so a long chain costs no more than its length."""
    sequence, head_digest, at, watermarks = head.sequence, head.digest, head.at, head.watermarks
    cursors = dict(head.cursors)
    files, rows, settled = dict(head.files), dict(head.rows), set(head.settled)
    holds, disposed, unerased = dict(head.holds), dict(head.disposed), list(head.unerased)
    for entry, digest in entries:
        for removal in entry.removed:
            gone = files.pop(removal.key, None)
            if gone is not None:
                rows[gone.table] -= gone.rows
        for record in entry.added:
            files[record.key] = record
            rows[record.table] = rows.get(record.table, 0) + record.rows
        settled.update(entry.settled)
        cursors.update(entry.cursors)
        if entry.hold is not None:
            _change_hold(holds, entry, entry.hold)
        if entry.disposal is not None:
            unerased.append(entry.sequence)
            for table, count in entry.disposal.rows.items():
                disposed[table] = disposed.get(table, 0) + count
        if entry.erased in unerased:
            unerased.remove(entry.erased)
        sequence, head_digest, at, watermarks = entry.sequence, digest, entry.at, dict(entry.watermarks)
    return Head(
        sequence=sequence,
        digest=head_digest,
        at=at,
        files=files,
        settled=frozenset(settled & files.keys()),
        watermarks=watermarks,
        rows=rows,
        cursors=cursors,
        holds=holds,
        disposed=disposed,
        unerased=tuple(unerased),
    )


def _change_hold(holds: dict[str, PlacedHold], entry: Entry, change: HoldChange) -> None:
    if change.action == "release" or change.scope is None:
        holds.pop(change.name, None)
        return
    holds[change.name] = PlacedHold(
        scope=change.scope, reason=change.reason, actor=entry.actor, placed_at=entry.at, sequence=entry.sequence
    )


def files_of(head: Head, table: str, *, days: frozenset[date] | None = None) -> list[FileRecord]:
    """Return the live data objects of a table in key order, of these days only if any are given."""
    found = [record for record in head.files.values() if record.table == table]
    if days is not None:
        found = [record for record in found if layout.partition_of(record.key)[1] in days]
    return sorted(found, key=attrgetter("key"))


def open_files(head: Head, table: str) -> list[FileRecord]:
    """Return the data objects that hold rows which await work."""
    return [record for record in files_of(head, table) if record.open_rows and record.key not in head.settled]


def read_rows(
    store: Store,
    records: Sequence[FileRecord],
    columns: Sequence[str],
    *,
    keep: Callable[[pa.RecordBatch], Any] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield batches of rows of data objects, with only these columns; ``keep`` returns a mask of rows to keep.

    Raises `DamageFoundError` naming the object that cannot be read.
    """
    for record in records:
        with _readable(store, record), store.open(record.key) as source:
            for batch in read_batches(source, columns):
                kept = batch if keep is None else batch.filter(keep(batch))
                if kept.num_rows:
                    yield kept


def read_columns(
    store: Store,
    record: FileRecord,
    columns: Sequence[str],
    *,
    dictionaries: Sequence[str] = (),
    whole_bytes_max: int = READ_WHOLE_BYTES_MAX,
) -> pa.Table:
    """Return some columns of all rows of one data object; those of ``dictionaries`` stay encoded as they are in the file.

    An object of up to ``whole_bytes_max`` is read at once: asking for the bytes of each column takes longer. A column that an older
    version of the software did not write is null. Raises `DamageFoundError` naming the object that cannot be read.
    """
    with _readable(store, record), store.open(record.key) as source:
        whole = source.read(whole_bytes_max + 1) if record.bytes <= whole_bytes_max else b""
        if 0 < len(whole) <= whole_bytes_max:
            found = read_object(pa.BufferReader(whole), columns, dictionaries=dictionaries)
        else:
            source.seek(0)
            found = read_object(source, columns, dictionaries=dictionaries)
    return _with_all(found, columns, record.table)


def read_column_pieces(store: Store, record: FileRecord, columns: Sequence[str], *, rows: int) -> Iterator[pa.Table]:
    """Yield what `read_columns` returns so many rows at a time, for objects that are too large to be read at once."""
    with _readable(store, record), store.open(record.key) as source:
        for batch in read_batches(source, columns, rows=rows):
            yield _with_all(pa.Table.from_batches([batch]), columns, record.table)


def read_rows_at(store: Store, record: FileRecord, rows: Sequence[int], columns: Sequence[str]) -> pa.Table:
    """Return single rows of one data object by their numbers, counted from 0, in that order; otherwise as `read_columns`.

    Raises `DamageFoundError` naming the object that cannot be read, and `IndexError` for a row that it does not have.
    """
    with _readable(store, record), store.open(record.key) as source:
        found = read_places(source, rows, columns)
    return _with_all(found, columns, record.table)


def _with_all(found: pa.Table, columns: Sequence[str], table: str) -> pa.Table:
    schema = TABLES[table].schema
    there = frozenset(found.column_names)
    arrays = [
        found.column(name) if name in there else pa.nulls(found.num_rows, schema.field(name).type) for name in columns
    ]
    return pa.table(arrays, names=list(columns))


@contextmanager
def _readable(store: Store, record: FileRecord) -> Iterator[None]:
    try:
        yield
    except KeyMissingError:
        raise DamageFoundError(
            f"{record.key} is missing in {store.url}, the ledger names it",
            next_step="run `archiver verify` for a full list, then restore the object from a copy",
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise DamageFoundError(
            f"{record.key} in {store.url} cannot be read as Parquet: {error}",
            next_step="run `archiver verify` for a full list, then restore the object from a copy",
        ) from None


def latest_states(store: Store, head: Head, table: str, key: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the newest row for each key of a table that has one row per change, instants as milliseconds."""
    states: dict[tuple[str, ...], dict[str, Any]] = {}
    add_states(states, key, read_states(store, files_of(head, table), table))
    return states


def add_states(
    states: dict[tuple[str, ...], dict[str, Any]], key: tuple[str, ...], rows: Iterable[dict[str, Any]]
) -> None:
    """Bring the newest row for each key up to date with further rows; of two from one instant the later given counts."""
    for row in rows:
        name = tuple(row[column] for column in key)
        known = states.get(name)
        if known is None or known["valid_from"] <= row["valid_from"]:
            states[name] = row


def read_states(store: Store, records: Sequence[FileRecord], table: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of data objects of a table that has one row per change, instants as milliseconds."""
    for batch in read_rows(store, records, TABLES[table].schema.names):
        yield from rows_of(batch)
