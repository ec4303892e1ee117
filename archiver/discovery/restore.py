"""`archiver restore`: days, conversations or files come back out of the archive as they were, or it is said what does not.

Every byte is held against the ledger on its way. What cannot be vouched for is named and left out, and everything else comes all the same.
Objects of which all rows are wanted come back byte by byte; of others the chosen rows do, in the archive's own layout. Files come under
safe names, once for each content.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import pyarrow as pa

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.discovery import restore_missing as missing
from archiver.discovery.clone_copying import FILE_PIECE_BYTES, verified_pieces
from archiver.discovery.clone_legs import Needed
from archiver.discovery.restore_folder import RestoreFolder
from archiver.discovery.restore_missing import Missing
from archiver.discovery.restore_names import safe_name
from archiver.discovery.restore_rows import RowFormat, as_json_lines, as_parquet, rows_in, verified_object
from archiver.discovery.restore_selection import Part, Wanted, names_in, parts_of
from archiver.discovery.restore_thaw import Cold, Stored, find_cold
from archiver.errors import DamageFoundError, KeyMissingError

FORMATS: Final[tuple[RowFormat, ...]] = ("parquet", "jsonl")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose bytes the archive has: its SHA-256, its size, and what its first sender called it."""

    digest: str
    bytes: int
    name: str | None

    @property
    def key(self) -> str:
        """The key of its blob."""
        return layout.blob_key(self.digest)

    @property
    def path(self) -> str:
        """Where a restore writes it."""
        return f"files/{safe_name(self.digest, self.name)}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a restore would bring, and what of it lies cold.

    ``files`` are None while rows of ``files`` themselves lie cold: which files there are is known only when those were read.
    """

    parts: tuple[Part, ...]
    files: tuple[StoredFile, ...] | None
    cold: Cold

    @property
    def bytes(self) -> int:
        """The bytes that are read, as far as known."""
        return sum(part.record.bytes for part in self.parts) + sum(item.bytes for item in self.files or ())


@dataclass(slots=True)
class Restored:
    """What came back: rows by table, files and their bytes; what did not; and the SHA-256 of the list of everything.

    ``kept`` counts files that an earlier call had written, ``named`` are those of the names asked for of which something came.
    """

    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    file_bytes: int = 0
    kept: int = 0
    named: set[str] = field(default_factory=set)
    missing: list[Missing] = field(default_factory=list)
    damages: list[str] = field(default_factory=list)
    manifest_sha256: str = ""


def survey(archive: Archive, head: Head, wanted: Wanted, *, executor: Executor) -> Survey:
    """Return what a restore of a head would bring; raises `DamageFoundError` if it cannot be told."""
    parts = parts_of(head, wanted)
    stored = [Stored(part.record.key, part.record.bytes) for part in parts]
    cold = find_cold(archive.store, stored, executor=executor)
    telling = {part.record.key for part in parts if part.record.table == "files"}
    if any(item.key in telling for item in cold.objects):
        return Survey(tuple(parts), None, cold)
    tables = executor.map(lambda part: _rows_of_files(archive, part, wanted), _of_files(parts))
    files = stored_files(table for table in tables if table is not None)
    blobs = [Stored(item.key, item.bytes) for item in files]
    return Survey(tuple(parts), tuple(files), find_cold(archive.store, [*stored, *blobs], executor=executor))


def restore(
    archive: Archive,
    head: Head,
    wanted: Wanted,
    folder: RestoreFolder,
    *,
    formats: Collection[RowFormat],
    executor: Executor,
    progress: Progress,
    piece_bytes: int = FILE_PIECE_BYTES,
) -> Restored:
    """Fill a folder, which was opened, with what is wanted, all but its report and list; nothing may be cold any more.

    Damage is collected in the result, and does not keep what is whole from coming. Raises `ObjectColdError` and `StorageError`.
    """
    done = Restored()
    parts = parts_of(head, wanted)
    found: list[pa.Table] = []
    tasks = executor.map(lambda part: _bring_rows(archive, part, wanted, folder, formats), parts)
    for number, (part, outcome) in enumerate(zip(parts, tasks, strict=True), 1):
        if isinstance(outcome, str):
            done.damages.append(outcome)
        else:
            table = part.record.table
            if outcome.rows:
                done.rows[table] = done.rows.get(table, 0) + outcome.rows
            done.kept += outcome.kept
            done.named |= outcome.named
            if outcome.files is not None:
                found.append(outcome.files)
        progress("rows", number, len(parts))
    files = stored_files(found)
    brought = executor.map(lambda item: _bring_file(archive, item, folder, piece_bytes), files)
    for number, (item, result) in enumerate(zip(files, brought, strict=True), 1):
        if isinstance(result, str):
            done.damages.append(result)
        else:
            done.files += 1
            done.file_bytes += item.bytes
            done.kept += not result
        progress("files", number, len(files))
    done.missing = [
        *(Missing("damaged", what, 1) for what in done.damages),
        *(
            Missing("not captured", f"nothing called {name} is in the archive", 1)
            for name in sorted(wanted.names - done.named)
        ),
        *missing.disposed(archive, head, wanted),
        *missing.not_stored(found),
        *missing.gaps(archive, head, wanted),
    ]
    return done


def stored_files(tables: Iterable[pa.Table]) -> list[StoredFile]:
    """Return the files that rows of ``files`` say are stored, each content once, in order of their digests."""
    names = ["blob_digest", "blob_bytes", "name", "status"]
    found: dict[str, StoredFile] = {}
    for table in tables:
        for row in table.select(names).to_pylist():
            if row["status"] == "stored" and row["blob_digest"] is not None:
                found.setdefault(
                    row["blob_digest"], StoredFile(row["blob_digest"], row["blob_bytes"] or 0, row["name"])
                )
    return [found[digest] for digest in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Brought:
    """How many rows of an object came, how many files were there already, its rows if they tell of files, and names asked for."""

    rows: int
    kept: int
    files: pa.Table | None
    named: frozenset[str] = frozenset()


def _bring_rows(
    archive: Archive, part: Part, wanted: Wanted, folder: RestoreFolder, formats: Collection[RowFormat]
) -> _Brought | str:
    """Write the wanted rows of one object; returns a sentence instead if it is damaged."""
    tells_of_files = part.record.table == "files"
    stem = f"rows/{part.record.key.removesuffix('.parquet')}"
    # Nothing needs to be read in it then, and if it is there it need not even be fetched.
    is_plain = part.is_whole and not tells_of_files and set(formats) == {"parquet"}
    if is_plain and folder.holds(f"{stem}.parquet", part.record.sha256):
        return _Brought(part.record.rows, 1, None)
    kept = 0
    try:
        data = verified_object(archive.store, part)
        if is_plain:
            folder.write(f"{stem}.parquet", [data])
            return _Brought(part.record.rows, 0, None)
        rows = rows_in(data, part, wanted)
    except DamageFoundError as error:
        return error.what
    if rows.num_rows:
        for row_format in formats:
            kept += _write_once(folder, f"{stem}.{row_format}", _encoded(part, rows, data, row_format))
    named = names_in(rows) & wanted.names if wanted.names else frozenset[str]()
    return _Brought(rows.num_rows, kept, rows if tells_of_files else None, named)


def _encoded(part: Part, rows: pa.Table, data: bytes, row_format: RowFormat) -> bytes:
    if row_format == "jsonl":
        return as_json_lines(part, rows)
    return data if part.is_whole else as_parquet(part, rows)


def _write_once(folder: RestoreFolder, name: str, content: bytes) -> bool:
    """Write a file unless it is there; returns whether it was."""
    if folder.holds(name, sha256(content).hexdigest()):
        return True
    folder.write(name, [content])
    return False


def _bring_file(archive: Archive, item: StoredFile, folder: RestoreFolder, piece_bytes: int) -> bool | str:
    """Write a file unless it is there; returns whether it was written, or a sentence if it is damaged."""
    if folder.holds(item.path, item.digest):
        return False
    needed = Needed(item.key, item.bytes, item.digest)
    try:
        folder.write(item.path, verified_pieces(archive.store, needed, piece_bytes=piece_bytes, sizes=[]))
    except KeyMissingError:
        return f"{item.key} is missing in {archive.store.url}, rows name it"
    except DamageFoundError as error:
        return error.what
    return True


def _of_files(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.record.table == "files"]


def _rows_of_files(archive: Archive, part: Part, wanted: Wanted) -> pa.Table | None:
    """Return the wanted rows of an object of ``files``, None if it is damaged, which the restore itself tells."""
    try:
        return rows_in(verified_object(archive.store, part), part, wanted)
    except DamageFoundError:
        return None
