"""The index of an archive's words, so that a search need not read every message: a cache in this machine's own folder.

It can be thrown away at any time. What it says is never shown: it tells where to look, and what is found is read from the archive. It is
made of shards (`archiver.discovery.index_shard`), each of some data objects, and ``index.json`` names those that count. An object that it
does not have yet is read by whoever searches, so an index that is behind makes a search slower and not wrong.

Bringing it up to date makes shards of new objects only, and one of many small ones, so that each message is indexed a few times at most
however many nights there are. An object that went out of the archive takes its shard with it, words and all; what else that shard had is
indexed anew. One process at a time does so, under a lock that the kernel releases; those who search take no lock, for no file of a shard
ever changes.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Final

import msgspec

from archiver.archive.layout import partition_of, sequence_of_data
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head
from archiver.discovery.index_shard import Shard, ShardBrokenError, ShardRecord, build
from archiver.discovery.index_words import INDEX_VERSION
from archiver.store import Store

INDEX_FOLDER: Final = "search"
TABLES_INDEXED: Final = ("messages", "observations")
# Large enough that few are asked, small enough that one is made in little memory and made anew in little time.
SHARD_ROWS_MAX: Final = 1_000_000
# So many shards of about one size are made into one; each size is so many times the one before.
SHARDS_OF_A_SIZE_MAX: Final = 8
SMALLEST_SHARD_ROWS: Final = 2_000

_MANIFEST: Final = "index.json"
_LOCK: Final = "index.lock"

# Makes one shard in an empty folder; a task of an executor.
Build = Callable[[Path, Sequence[FileRecord]], ShardRecord]
Progress = Callable[[int, int], None]


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    made_with: str
    shards: tuple[ShardRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexState:
    """How an index stands to a head: its size, and the data objects of the head and their rows that it does not have.

    ``sequence`` is the last commit of which it has everything that is live.
    """

    sequence: int
    bytes: int
    shards: int
    rows: int
    objects_behind: int
    rows_behind: int


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """Shards of what is live at a head, and the data objects that are in none of them. Without an index those are all."""

    shards: tuple[Shard, ...]
    others: tuple[FileRecord, ...]


def without_index(head: Head) -> OpenIndex:
    """Return what a search reads that uses no index."""
    return OpenIndex((), tuple(_live(head).values()))


class Index:
    """The index of one archive. Nothing is made before `refresh`, and nothing but `refresh` and `forget` changes anything."""

    def __init__(self, state: Path, *, archive_id: str) -> None:
        # An archive's id is hex that its founder drew; what somebody else wrote there must not lead out of the folder.
        name = archive_id if archive_id.isalnum() and archive_id.isascii() else archive_id.encode().hex()[:64]
        self.folder = state / INDEX_FOLDER / name

    def exists(self) -> bool:
        """Tell whether there is an index, of whatever age, and nobody has dropped it."""
        return bool(self._read().shards)

    def state(self, head: Head) -> IndexState:
        """Return how the index stands to a head."""
        shards = self._read().shards
        behind = _missing(head, shards)
        return IndexState(
            sequence=min((sequence_of_data(record.key) - 1 for record in behind), default=head.sequence),
            bytes=sum(shard.bytes for shard in shards),
            shards=len(shards),
            rows=sum(shard.rows for shard in shards),
            objects_behind=len(behind),
            rows_behind=sum(record.rows for record in behind),
        )

    def is_stale(self, head: Head) -> bool:
        """Tell whether a shard has words of a data object that is not in the archive any more."""
        live = _live(head)
        return not all(live.keys() >= set(shard.keys) for shard in self._read().shards)

    def open(self, head: Head, *, reads_all: bool = False) -> OpenIndex:
        """Open what of the index can be used for a head; a shard that cannot be read is left out, and made anew by `refresh`.

        With ``reads_all`` every byte of it is held against its digest first, about a second for a gigabyte.
        """
        live = _live(head)
        shards = []
        for record in self._read().shards:
            if live.keys() >= set(record.keys):
                try:
                    shards.append(Shard(self.folder / record.name, record, reads_all=reads_all))
                except ShardBrokenError:
                    continue
        return OpenIndex(tuple(shards), tuple(_missing(head, [shard.record for shard in shards])))

    def refresh(self, head: Head, build: Build, *, executor: Executor, progress: Progress | None = None) -> bool:
        """Bring the index up to a head; False if another process is just doing so, and nothing was done.

        Raises `OSError` if this machine's folder cannot be written, and `DamageFoundError` if a data object cannot be read.
        """
        with self._locked() as is_ours:
            if not is_ours:
                return False
            kept = self._usable(head)
            self._write(kept)
            fresh, merged = _plan(_missing(head, kept), kept, _live(head))
            total = sum(record.rows for group in (*fresh, *merged) for record in group)
            done = 0

            def made(groups: Sequence[Sequence[FileRecord]]) -> Iterator[ShardRecord]:
                nonlocal done
                folders = [self._new_folder() for _ in groups]
                for group, shard in zip(groups, executor.map(build, folders, groups), strict=True):
                    done += sum(record.rows for record in group)
                    if progress is not None:
                        progress(done, total)
                    yield shard

            for shard in made(fresh):
                kept = [*kept, shard]
                self._write(kept)
            if merged:
                joined = list(made(merged))
                taken = {key for shard in joined for key in shard.keys}
                kept = [*(shard for shard in kept if taken.isdisjoint(shard.keys)), *joined]
            self._write(kept)
            self._clean(kept)
        return True

    def forget(self, head: Head) -> int:
        """Remove every shard that has words of a data object which is not in the archive any more, and return how many.

        Waits for a `refresh` that is under way, which might be indexing such an object. Raises `OSError` if it cannot.
        """
        if not self.folder.exists():
            return 0
        with self._locked(waits=True):
            live = _live(head)
            shards = self._read().shards
            kept = [shard for shard in shards if live.keys() >= set(shard.keys)]
            self._write(kept)
            self._clean(kept)
        return len(shards) - len(kept)

    def drop(self) -> None:
        """Throw the index away; raises `OSError` if it cannot."""
        if self.folder.exists():
            with self._locked(waits=True):
                self._write([])
                self._clean([])

    def _usable(self, head: Head) -> list[ShardRecord]:
        """Return the shards that have nothing but what is live, and whose files can be read."""
        live = _live(head)
        usable = []
        for record in self._read().shards:
            if live.keys() >= set(record.keys):
                try:
                    Shard(self.folder / record.name, record)
                except ShardBrokenError:
                    continue
                usable.append(record)
        return usable

    def _read(self) -> _Manifest:
        """Return which shards count; none where there is no index, or one that something else wrote or made with other rules."""
        try:
            manifest = msgspec.json.decode((self.folder / _MANIFEST).read_bytes(), type=_Manifest)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return _Manifest(made_with=_made_with())
        if manifest.made_with != _made_with() or not all(_is_name(shard.name) for shard in manifest.shards):
            return _Manifest(made_with=_made_with())
        return manifest

    def _write(self, shards: Sequence[ShardRecord]) -> None:
        path = self.folder / _MANIFEST
        temporary = path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(_Manifest(made_with=_made_with(), shards=tuple(shards))))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _clean(self, kept: Sequence[ShardRecord]) -> None:
        """Remove the folders of shards that do not count: those that are replaced, gone, or left by a crash."""
        names = {shard.name for shard in kept}
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name not in names:
                shutil.rmtree(path)

    def _new_folder(self) -> Path:
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return folder

    @contextmanager
    def _locked(self, *, waits: bool = False) -> Iterator[bool]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)


def build_from(open_store: Callable[[], Store], folder: Path, records: Sequence[FileRecord]) -> ShardRecord:
    """Make one shard in any process, which opens the store itself."""
    return build(open_store(), folder, records)


def _made_with() -> str:
    """Return what an index depends on beside the archive; one that was made with something else is not used."""
    return f"{INDEX_VERSION}, tantivy {version('tantivy')}, Unicode {unicodedata.unidata_version}"


def _is_name(name: str) -> bool:
    return name.isascii() and name.isalnum()


def _live(head: Head) -> dict[str, FileRecord]:
    return {key: record for key, record in head.files.items() if record.table in TABLES_INDEXED}


def _missing(head: Head, shards: Sequence[ShardRecord]) -> list[FileRecord]:
    known = {key for shard in shards for key in shard.keys}
    return [record for key, record in _live(head).items() if key not in known]


def _plan(
    missing: Sequence[FileRecord], kept: Sequence[ShardRecord], live: dict[str, FileRecord]
) -> tuple[list[list[FileRecord]], list[list[FileRecord]]]:
    """Return which shards to make of new data objects alone, and which of them and of small shards that they replace."""
    fresh = _grouped(missing)
    small = [[live[key] for key in shard.keys] for shard in kept if shard.rows < SHARD_ROWS_MAX // 2]
    merged: list[list[FileRecord]] = []
    size = SMALLEST_SHARD_ROWS
    while size < SHARD_ROWS_MAX:
        of_size = [group for group in (*small, *fresh, *merged) if sum(map(_rows, group)) < size]
        if len(of_size) >= SHARDS_OF_A_SIZE_MAX:
            small, fresh, merged = (
                [group for group in groups if group not in of_size] for groups in (small, fresh, merged)
            )
            merged += _grouped([record for group in of_size for record in group])
        size *= SHARDS_OF_A_SIZE_MAX
    return fresh, merged


def _grouped(records: Sequence[FileRecord]) -> list[list[FileRecord]]:
    """Return data objects in the order of their days, in groups of as many rows as a shard has."""
    groups: list[list[FileRecord]] = []
    rows = 0
    for record in sorted(records, key=lambda record: (partition_of(record.key)[1], record.key)):
        if not groups or rows + record.rows > SHARD_ROWS_MAX:
            groups.append([])
            rows = 0
        groups[-1].append(record)
        rows += record.rows
    return groups


_rows = attrgetter("rows")
