"""The spool of one machine: a SQLite file that a listener appends to while a run reads and discards.

A row holds a batch, that is what one `append` brought, as one frame (see `frame`). Measured against a row for each capture,
this reads three times and discards forty times as fast, and one commit is one statement, so that the writing thread gives up
the interpreter lock once instead of once a capture.

A batch is keyed by the sequence of its last capture. SQLite's AUTOINCREMENT remembers the highest key ever used, in the same
transaction, so sequences go on where they stopped even after everything was discarded. They have no holes, so the first and the
last row tell how much waits.

Durability: write-ahead log with ``synchronous=FULL``, so a commit returns after the log is on disk. What was discarded is not
overwritten at once (that would cost as much as writing it); its pages are used again, or given back to the file system when
the spool is closed.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from archiver.errors import SpoolError
from archiver.model.capture import Capture, SpooledCapture
from archiver.spool import SpoolDepth, SpooledBlock, frame
from archiver.spool.scrubbing import give_back, scrub
from archiver.spool.uptime import SqliteUptimes

FORMAT: Final = 1
BUSY_TIMEOUT_SECONDS: Final = 10.0
# How long appends may go on in a file that lost its name: whoever removed it removed everything that waited in it too.
PLACE_CHECKED_SECONDS: Final = 1.0

# "FLKS": SQLite's own mark of whose file this is, so that another program's database is never taken for a spool.
_APPLICATION_ID: Final = 0x464C4B53
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_WAL_BYTES_KEPT: Final = 67_108_864

_CHECKSUM_PIECE_BYTES: Final = 5_120

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE batches (
  last_sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  captures      INTEGER NOT NULL,
  body_bytes    INTEGER NOT NULL,
  bytes_through INTEGER NOT NULL,  -- body bytes of this batch and of those that waited before it when it came
  first_at_ms   INTEGER NOT NULL,  -- when its first capture arrived
  crc32         INTEGER NOT NULL,  -- of the frame: SQLite itself does not notice a byte that changed on the disk
  frame         BLOB NOT NULL
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {FORMAT};
COMMIT;
"""
# One statement that is a whole append, see `SqliteSpool.append`.
_INSERT: Final = """
INSERT INTO batches VALUES (
  coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'batches'), 0) + ?1,
  ?1,
  ?2,
  coalesce((SELECT bytes_through FROM batches ORDER BY last_sequence DESC LIMIT 1), 0) + ?2,
  ?3, ?4, ?5
)
"""
_READ: Final = (
    "SELECT last_sequence, captures, body_bytes, crc32, frame FROM batches"
    " WHERE last_sequence > ? ORDER BY last_sequence"
)
_DEPTH: Final = """
SELECT last.last_sequence - first.last_sequence + first.captures,
       last.bytes_through - first.bytes_through + first.body_bytes,
       first.first_at_ms
FROM (SELECT last_sequence, captures, body_bytes, bytes_through, first_at_ms
      FROM batches ORDER BY last_sequence LIMIT 1) AS first,
     (SELECT last_sequence, bytes_through FROM batches ORDER BY last_sequence DESC LIMIT 1) AS last
"""

_FULL: Final = "free some space on its disk, or point `state` at a larger one; nothing that was answered 200 is lost"
_DENIED: Final = "give the user that runs the archiver the right to write this file and its directory"
_BUSY: Final = "another process holds its write lock; stop it, or wait until it is done"
_DAMAGED: Final = (
    "stop the listener, keep a copy, save what can be read with `sqlite3 FILE .recover`, and move the file away; "
    "a new spool is made at the next start"
)
_RESTART: Final = "start this command again; put the file that was there back first, if it still exists"
_DISK: Final = "look at the system log for errors of this disk; nothing that was answered 200 is lost"

_REASONS: Final[Mapping[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: ("has no space left to grow", _FULL),
    sqlite3.SQLITE_READONLY: ("cannot be written", _DENIED),
    sqlite3.SQLITE_PERM: ("cannot be opened", _DENIED),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", _DENIED),
    sqlite3.SQLITE_BUSY: ("is locked", _BUSY),
    sqlite3.SQLITE_LOCKED: ("is locked", _BUSY),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _DAMAGED),
    sqlite3.SQLITE_NOTADB: ("is not a spool, or is damaged", _DAMAGED),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", _DISK),
}
_PRIMARY_CODE_MASK: Final = 0xFF


class SqliteSpool(SqliteUptimes):
    """A `Spool` in one file, created with mode 0600 (its directory with 0700) if it is not there.

    One object may be used from several threads, and several processes may open one file: writers wait for each other up to
    ``busy_timeout_seconds``, readers never wait. The constructor raises `SpoolError` as every method does.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._has_discarded = False
        with _explained(path):
            _create_if_missing(path)
            self._connection = sqlite3.connect(
                path, timeout=busy_timeout_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                self._spool_id = _opened_spool_id(self._connection, path)
                self._identity = _identity(path)
                self._place_checked_at = monotonic()
            except BaseException:
                self._connection.close()
                raise

    @property
    def spool_id(self) -> str:
        """Name of this very file's content, a UUID; a new file gets a new one."""
        return self._spool_id

    def append(self, captures: Sequence[Capture]) -> None:
        """Make captures durable, all or none of them, in order: one transaction, one sync."""
        if not captures:
            return
        rows = []
        for batch in frame.batches_of(captures):
            encoded = frame.encoded(batch)
            body_bytes = sum([len(capture.body) for capture in batch])
            rows.append((len(batch), body_bytes, batch[0].received_at_ms, _checksum(encoded), encoded))
        if len(rows) > 1:
            with self._transaction() as connection:
                connection.executemany(_INSERT, rows)
            return
        # The usual append is one statement, its own transaction: the thread that calls gives up the interpreter lock once and
        # not at every step. Beside a busy event loop each time costs both threads dear, which more than halved the pushes a
        # second. (`execute` would give it up once more than `executemany`, to ask for a row id.)
        with self._locked() as connection:
            if self._monotonic() >= self._place_checked_at + PLACE_CHECKED_SECONDS:
                self._check_place()
            connection.executemany(_INSERT, rows)

    def read(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledCapture]:
        """Return the next captures above ``after``, in order; a frame at most is held in memory beyond ``bytes_max``."""
        return [
            SpooledCapture(sequence, capture)
            for block in self._read(after=after, captures_max=captures_max, bytes_max=bytes_max, fill=True)
            for sequence, capture in enumerate(frame.decoded(block.frame), block.first_sequence)
        ]

    def read_blocks(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledBlock]:
        """Return the next captures above ``after`` in blocks as they were appended; only the first may have to be cut."""
        return self._read(after=after, captures_max=captures_max, bytes_max=bytes_max, fill=False)

    def _read(self, *, after: int, captures_max: int, bytes_max: int, fill: bool) -> list[SpooledBlock]:
        """Return the next captures up to both limits; to ``fill`` them, the last block is cut as well."""
        found: list[SpooledBlock] = []
        captures_left, bytes_left = captures_max, bytes_max
        with self._locked() as connection, closing(connection.execute(_READ, (after,))) as rows:
            for last_sequence, count, body_bytes, crc32, encoded in rows:
                self._check(encoded, crc32=crc32, last_sequence=last_sequence)
                block = SpooledBlock(last_sequence - count + 1, count, body_bytes, encoded)
                if block.first_sequence <= after or count > captures_left or body_bytes > bytes_left:
                    if found and not fill:
                        break
                    block = _cut(
                        block, after=after, captures_max=captures_left, bytes_max=bytes_left, one_at_least=not found
                    )
                if block.captures:
                    found.append(block)
                if block.captures == 0 or block.last_sequence < last_sequence:
                    break
                captures_left -= block.captures
                bytes_left -= block.body_bytes
        return found

    def discard(self, *, through: int) -> None:
        """Forget the captures up to a sequence; a batch that reaches beyond it keeps its later captures."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM batches WHERE last_sequence <= ?", (through,))
            row = connection.execute(_READ + " LIMIT 1", (through,)).fetchone()
            if row is not None:
                last_sequence, count, _, crc32, encoded = row
                if last_sequence - count < through:
                    self._check(encoded, crc32=crc32, last_sequence=last_sequence)
                    _replace(connection, last_sequence, frame.decoded(encoded)[through - last_sequence :])
        self._has_discarded = True

    def depth(self) -> SpoolDepth:
        """Return how much waits, from the first and the last row alone."""
        with self._locked() as connection:
            row = connection.execute(_DEPTH).fetchone()
        if row is None:
            return SpoolDepth(captures=0, body_bytes=0, oldest_at_ms=None)
        captures, body_bytes, oldest_at_ms = row
        return SpoolDepth(captures=captures, body_bytes=body_bytes, oldest_at_ms=oldest_at_ms)

    def probe(self) -> None:
        """Write and sync a few bytes that are no capture; raises `SpoolError` if an append would fail too."""
        with self._transaction() as connection:
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'probes'")

    def scrub(self) -> bool:
        """Leave no byte of what was discarded in the file or its log; False if another process is in the way."""
        with self._locked() as connection:
            return scrub(connection)

    def close(self) -> None:
        """Close, and give what was discarded back to the file system as far as no other process is in the way; twice is fine."""
        with self._lock:
            if self._has_discarded:
                give_back(self._connection)
            self._connection.close()

    def _check(self, encoded: bytes, *, crc32: int, last_sequence: int) -> None:
        if zlib.crc32(encoded) != crc32:
            raise SpoolError(f"the spool {self._path} is damaged at sequence {last_sequence}", next_step=_DAMAGED)

    def _check_place(self) -> None:
        if _identity(self._path) != self._identity:
            raise SpoolError(f"the spool {self._path} was replaced while it was open", next_step=_RESTART)
        self._place_checked_at = self._monotonic()

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self._path):
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # IMMEDIATE takes the write lock at once, where waiting for it works; a read that turns into a write could only fail.
        with self._locked() as connection:
            self._check_place()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, such as a full disk.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def _cut(block: SpooledBlock, *, after: int, captures_max: int, bytes_max: int, one_at_least: bool) -> SpooledBlock:
    """Return the captures of a block above ``after``, as many as both limits allow; maybe none, unless one at least is wanted."""
    batch = frame.decoded(block.frame)
    first = max(0, after + 1 - block.first_sequence)
    end, body_bytes = first, 0
    while end < len(batch):
        more = body_bytes + len(batch[end].body)
        if (end - first >= captures_max or more > bytes_max) and not (one_at_least and end == first):
            break
        end, body_bytes = end + 1, more
    chosen = batch[first:end]
    return SpooledBlock(block.first_sequence + first, len(chosen), body_bytes, frame.encoded(chosen) if chosen else b"")


def _create_if_missing(path: Path) -> None:
    """Put a whole, empty spool under ``path`` unless something is there.

    It is built beside and linked into place, so that a listener and a run that start together on a new machine never see
    half a spool, nor meet while the journal mode changes, which SQLite does not let them wait for.
    """
    if path.exists():
        return
    path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    spool_id = str(uuid.uuid4())
    beside = path.with_name(f"{path.name}.{spool_id}.new")
    try:
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_RDWR, _FILE_MODE))
        with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO meta VALUES ('spool_id', ?), ('probes', 0)", (spool_id,))
        try:
            os.link(beside, path)
        except FileExistsError:
            return  # Another process was faster, and its spool is as good.
        _sync_directory(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _checksum(encoded: bytes) -> int:
    """Return the CRC-32 in pieces so small that zlib keeps the interpreter lock, for the reason that `append` gives."""
    crc32 = 0
    with memoryview(encoded) as view:
        for start in range(0, len(view), _CHECKSUM_PIECE_BYTES):
            crc32 = zlib.crc32(view[start : start + _CHECKSUM_PIECE_BYTES], crc32)
    return crc32


def _identity(path: Path) -> tuple[int, int]:
    """Tell a file from another that took its name: what is written to a file without a name is lost."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened_spool_id(connection: sqlite3.Connection, path: Path) -> str:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != _APPLICATION_ID:
        raise SpoolError(
            f"{path} is not a spool of the archiver",
            next_step="point `state` at a directory of the archiver's own, or move this file away",
        )
    if version > FORMAT:
        raise SpoolError(
            f"the spool {path} has format {version}; this version reads formats up to {FORMAT}",
            next_step="install the newer flock-archiver that wrote it, or let that version drain it first",
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
    # Some builds overwrite deleted content by default, which makes a discard as dear as the append was.
    connection.execute("PRAGMA secure_delete = FAST")
    (spool_id,) = connection.execute("SELECT value FROM meta WHERE key = 'spool_id'").fetchone()
    return str(spool_id)


def _replace(connection: sqlite3.Connection, last_sequence: int, captures: Sequence[Capture]) -> None:
    encoded = frame.encoded(captures)
    connection.execute(
        "UPDATE batches SET captures = ?, body_bytes = ?, first_at_ms = ?, crc32 = ?, frame = ? WHERE last_sequence = ?",
        (
            len(captures),
            sum(len(capture.body) for capture in captures),
            captures[0].received_at_ms,
            zlib.crc32(encoded),
            encoded,
            last_sequence,
        ),
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into a `SpoolError` that says what to do."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise SpoolError(f"the spool {path} is closed", next_step="open it again") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE_MASK
        what, next_step = _REASONS.get(code, ("failed", _DISK))
        raise SpoolError(f"the spool {path} {what} ({error})", next_step=next_step) from error
    except OSError as error:
        raise SpoolError(f"the spool {path} cannot be reached ({error.strerror})", next_step=_DENIED) from error
