"""Restoring into another archive: chosen rows and their files, added to it by ordinary commits that name where they come from.

A row that the other archive has already, the same in every column, is not added again; so the same call twice adds nothing, and one that
was stopped goes on. Each commit names among its ``inputs`` the objects of the source that its rows come from, by key and SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import ledger
from archiver.archive.commit import Author, Draft, commit
from archiver.archive.copies import is_copy
from archiver.archive.ledger import ArchiveFacts, BlobRecord, HeadMovedError, InputFile
from archiver.archive.reader import Archive, Head, files_of, read_rows
from archiver.archive.schema import FORMAT, TABLES
from archiver.archive.tables import rows_of
from archiver.discovery import restore_missing as missing
from archiver.discovery.clone_copying import FILE_PIECE_BYTES, verified_pieces
from archiver.discovery.clone_legs import Needed
from archiver.discovery.restore import Progress, Restored, StoredFile, stored_files
from archiver.discovery.restore_missing import Missing
from archiver.discovery.restore_rows import rows_in, verified_object
from archiver.discovery.restore_selection import Part, Wanted, names_in, parts_of
from archiver.errors import DamageFoundError, KeyExistsError, KeyMissingError, RefusedError
from archiver.store import Store

ROWS_PER_COMMIT: Final = 50_000
TRIES_MAX: Final = 20

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Hand:
    """Who commits to the other archive, and how: ``new_attempt`` gives eight random hex digits, ``folder`` takes files on their way."""

    author: Author
    new_attempt: Callable[[], str]
    now_ms: Callable[[], int]
    folder: Path
    executor: Executor
    piece_bytes: int = FILE_PIECE_BYTES


@dataclass(frozen=True, slots=True)
class _Load:
    part: Part
    rows: pa.Table


def open_other(store: Store, source: Archive, *, fresh_id: str, created_at: str) -> Archive:
    """Return the archive that rows are added to, founded now if the place is empty; raises `RefusedError` for a place that must not be.

    A copy of the source is one: it is brought up to date by ``clone``, and anything else that is written to it would part it from it.
    Nothing is written to a place that is refused, not even to try whether it takes anything.
    """
    try:
        ledger.read_facts(store)
    except KeyMissingError:
        if next(iter(store.list("")), None) is not None:
            raise RefusedError(
                f"{store.url} is not empty, and no archive lies there", next_step="name an archive, or an empty place"
            ) from None
        facts = ArchiveFacts(
            format=FORMAT, archive_id=fresh_id, workspace=source.facts.workspace, created_at=created_at
        )
        store.probe()
        try:
            ledger.found(store, facts)
        except KeyExistsError:
            return open_other(store, source, fresh_id=fresh_id, created_at=created_at)
    other = Archive.open(store)
    if is_copy(store) or other.facts.archive_id == source.facts.archive_id:
        raise RefusedError(
            f"{store.url} is the archive itself, or a copy that `archiver clone` keeps",
            next_step="name another archive, or an empty place",
        )
    if other.facts.workspace != source.facts.workspace:
        raise RefusedError(
            f"{store.url} is of the workspace {other.facts.workspace!r}, and what is restored is of {source.facts.workspace!r}",
            next_step="name another archive, or an empty place",
        )
    store.probe()
    return other


def restore_into(
    source: Archive, head: Head, wanted: Wanted, other: Archive, hand: Hand, *, progress: Progress
) -> Restored:
    """Add what is wanted of a head to another archive; damage is collected, and does not keep what is whole from coming."""
    done = Restored()
    found: list[pa.Table] = []
    parts = parts_of(head, wanted)
    other_head = other.head()
    for loads in _in_commits(source, parts, wanted, done):
        for load in loads:
            done.named |= names_in(load.rows) & wanted.names
            if load.part.record.table == "files":
                found.append(load.rows)
        other_head = _add(source, other, other_head, loads, hand=hand, done=done)
        progress("rows", parts.index(loads[-1].part) + 1, len(parts))
    done.missing = [
        *(Missing("damaged", what, 1) for what in done.damages),
        *missing.disposed(source, head, wanted),
        *missing.not_stored(found),
        *missing.gaps(source, head, wanted),
    ]
    return done


def _in_commits(source: Archive, parts: Sequence[Part], wanted: Wanted, done: Restored) -> Iterator[list[_Load]]:
    loads: list[_Load] = []
    for part in parts:
        try:
            rows = rows_in(verified_object(source.store, part), part, wanted)
        except DamageFoundError as error:
            done.damages.append(error.what)
            continue
        if rows.num_rows:
            loads.append(_Load(part, rows))
        if sum(load.rows.num_rows for load in loads) >= ROWS_PER_COMMIT:
            yield loads
            loads = []
    if loads:
        yield loads


def _add(source: Archive, other: Archive, head: Head, loads: list[_Load], *, hand: Hand, done: Restored) -> Head:
    with TemporaryDirectory(dir=hand.folder, prefix="restore-") as folder:
        for tries in range(1, TRIES_MAX + 1):
            fresh = [load for load in (_only_new(other, head, load) for load in loads) if load.rows.num_rows]
            done.kept += sum(load.rows.num_rows for load in loads) - sum(load.rows.num_rows for load in fresh)
            if not fresh:
                return head
            files = _fetch(source, fresh, Path(folder), hand, done)
            fresh = [_without_damaged(load, files) for load in fresh]
            tables: dict[str, list[pa.Table]] = {}
            for load in fresh:
                tables.setdefault(load.part.record.table, []).append(load.rows)
            records = [load.part.record for load in fresh]
            draft = Draft(
                at_ms=hand.now_ms(),
                tables={name: pa.concat_tables(rows) for name, rows in tables.items()},
                blobs=files,
                inputs=tuple(
                    InputFile(name=record.key, sha256=record.sha256, bytes=record.bytes) for record in records
                ),
            )
            try:
                head = commit(
                    other, head, draft, author=hand.author, attempt=hand.new_attempt(), executor=hand.executor
                )
            except HeadMovedError:
                if tries == TRIES_MAX:
                    raise
                done.kept -= sum(load.rows.num_rows for load in loads) - sum(load.rows.num_rows for load in fresh)
                head = other.head(head)
                continue
            for name, rows in draft.tables.items():
                done.rows[name] = done.rows.get(name, 0) + rows.num_rows
            done.files += len(files)
            done.file_bytes += sum(record.bytes for record in files)
            return head
    raise AssertionError("unreachable")


def _only_new(other: Archive, head: Head, load: _Load) -> _Load:
    """Return the rows that the other archive does not have yet; they would lie under the same day there."""
    table = TABLES[load.part.record.table]
    there = _identities(other, head, table.name, load.part.day)
    if not there:
        return load
    keep = [_identity(row) not in there for row in rows_of(load.rows)]
    return _Load(load.part, load.rows.filter(pa.array(keep, pa.bool_())))


def _identities(other: Archive, head: Head, table: str, day: date) -> set[bytes]:
    records = files_of(head, table, days=frozenset({day}))
    batches = read_rows(other.store, records, TABLES[table].schema.names)
    return {_identity(row) for batch in batches for row in rows_of(batch)}


def _identity(row: dict[str, object]) -> bytes:
    return sha256(_encode(row)).digest()


def _fetch(source: Archive, loads: Sequence[_Load], folder: Path, hand: Hand, done: Restored) -> dict[BlobRecord, Path]:
    """Bring the files of rows to this machine, each held against its digest; a damaged one is told."""
    items = stored_files(load.rows for load in loads if load.part.record.table == "files")
    fetched = hand.executor.map(lambda item: _fetch_one(source, item, folder, hand.piece_bytes), items)
    files: dict[BlobRecord, Path] = {}
    for item, outcome in zip(items, fetched, strict=True):
        if isinstance(outcome, str):
            done.damages.append(outcome)
        else:
            files[BlobRecord(item.digest, item.bytes)] = outcome
    return files


def _without_damaged(load: _Load, files: Mapping[BlobRecord, Path]) -> _Load:
    """Return the rows but those that name a file which could not be brought: no archive names what it does not have."""
    if load.part.record.table != "files":
        return load
    digests = pa.array(sorted({record.sha256 for record in files}), pa.string())
    named = load.rows.column("blob_digest")
    keep = pc.or_(pc.is_null(named), pc.is_in(named, value_set=digests))
    return _Load(load.part, load.rows.filter(keep))


def _fetch_one(source: Archive, item: StoredFile, folder: Path, piece_bytes: int) -> Path | str:
    path = folder / item.digest
    try:
        with path.open("wb") as file:
            for piece in verified_pieces(
                source.store, Needed(item.key, item.bytes, item.digest), piece_bytes=piece_bytes, sizes=[]
            ):
                file.write(piece)
    except KeyMissingError:
        return f"{item.key} is missing in {source.store.url}, rows name it"
    except DamageFoundError as error:
        return error.what
    return path
