"""What one machine knows of a queue: which messages came, in which place each capture stands, and what is archived already.

A queue has no order and no places, and it may deliver anything twice. The journal, a SQLite file in the state folder, gives each
capture a sequence that stays, holds the captures until they are committed so that they can be read again and again, and remembers
every message for `ARCHIVED_REMEMBERED_MS` after that. Nothing in it is the only copy: a message leaves the queue after the
commit, so a lost journal loses no push.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from archiver.errors import SpoolError, UnparseableError
from archiver.model.capture import Capture
from archiver.spool import BEAT_HOLE_MS_MAX, SpoolDepth, SpooledBlock, frame
from archiver.spool.scrubbing import scrub
from archiver.spool.sqs_message import Part, frame_of
from archiver.spool.uptime import SqliteUptimes

FORMAT: Final = 1
BUSY_TIMEOUT_SECONDS: Final = 10.0
_DAY_MS: Final = 86_400_000
# A queue keeps a message for 14 days at most, and 14 more if somebody moves it back from a dead-letter queue.
ARCHIVED_REMEMBERED_MS: Final = 30 * _DAY_MS
# After the queue's 14 days a part that is missing cannot come any more.
INCOMPLETE_KEPT_MS: Final = 15 * _DAY_MS

# "FLKQ", as a spool's own file has "FLKS".
_APPLICATION_ID: Final = 0x464C4B51
_DIRECTORY_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_WAL_BYTES_KEPT: Final = 67_108_864

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
  key           INTEGER PRIMARY KEY,
  sender        TEXT NOT NULL,
  number        INTEGER NOT NULL,
  sent_at_ms    INTEGER NOT NULL,
  parts         INTEGER NOT NULL,
  taken_at_ms   INTEGER NOT NULL,
  last_sequence INTEGER,  -- and the next three, NULL until the message has its place
  captures      INTEGER,
  body_bytes    INTEGER,
  first_at_ms   INTEGER,
  UNIQUE (sender, number)
);
CREATE UNIQUE INDEX IF NOT EXISTS by_sequence ON messages (last_sequence);
CREATE TABLE IF NOT EXISTS parts (
  message INTEGER NOT NULL,
  part    INTEGER NOT NULL,
  bytes   INTEGER NOT NULL,
  receipt TEXT NOT NULL,
  payload BLOB NOT NULL,
  UNIQUE (message, part)
);
CREATE INDEX IF NOT EXISTS by_size ON parts (bytes);
CREATE TABLE IF NOT EXISTS archived (
  sender         TEXT NOT NULL,
  number         INTEGER NOT NULL,
  archived_at_ms INTEGER NOT NULL,
  PRIMARY KEY (sender, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON archived (archived_at_ms);
CREATE TABLE IF NOT EXISTS deletions (receipt TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uptimes (
  listener   TEXT NOT NULL,
  from_at_ms INTEGER NOT NULL,
  to_at_ms   INTEGER NOT NULL,
  PRIMARY KEY (listener, from_at_ms)
) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
_WITH_PLACE: Final = (
    "SELECT key, last_sequence, captures, body_bytes FROM messages WHERE last_sequence > ? ORDER BY last_sequence"
)
_WHOLE_WITHOUT_PLACE: Final = """
SELECT key, sender, number FROM messages
WHERE last_sequence IS NULL AND parts = (SELECT count(*) FROM parts WHERE message = key)
ORDER BY sent_at_ms, sender, number
"""
_DISCARD: Final = """
INSERT OR IGNORE INTO deletions
  SELECT receipt FROM parts WHERE message IN (SELECT key FROM messages WHERE last_sequence <= :through);
DELETE FROM parts WHERE message IN (SELECT key FROM messages WHERE last_sequence <= :through);
INSERT OR REPLACE INTO archived SELECT sender, number, :at_ms FROM messages WHERE last_sequence <= :through;
DELETE FROM messages WHERE last_sequence <= :through
"""
_UPTIME_TOUCHED: Final = """
SELECT min(from_at_ms), max(to_at_ms) FROM uptimes
WHERE listener = :listener AND from_at_ms - :hole <= :at_ms AND to_at_ms + :hole >= :at_ms
"""
_FORGET_TOUCHED: Final = """
DELETE FROM uptimes WHERE listener = :listener AND from_at_ms - :hole <= :at_ms AND to_at_ms + :hole >= :at_ms
"""
_INCOMPLETE: Final = "SELECT key FROM messages WHERE last_sequence IS NULL AND taken_at_ms < ?"

_NEXT_STEP: Final = (
    "free some space on its disk and give the user that runs the archiver the right to write it; if it is damaged, move it away: "
    "what no run has archived is still in the queue"
)


class SqsJournal(SqliteUptimes):
    """The journal of one queue on this machine, made if it is not there; raises `SpoolError` as the spool does.

    Several threads may use one object, and several processes one file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with _explained(path):
            path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, _FILE_MODE))
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self.spool_id = _opened_spool_id(self._connection, path)
            except BaseException:
                self._connection.close()
                raise

    def take(self, received: Iterable[tuple[Part, str]], *, at_ms: int) -> None:
        """Keep what came, each with its receipt: one transaction. What is archived already, and what is no capture, may go."""
        with self._transaction() as connection:
            for part, receipt in received:
                if part.kind == "beat":
                    _note_beat(connection, part.payload.decode(errors="replace"), part.sent_at_ms)
                if part.kind != "captures" or _is_archived(connection, part):
                    connection.execute("INSERT OR IGNORE INTO deletions VALUES (?)", (receipt,))
                    continue
                place = (part.sender, part.number)
                connection.execute(
                    "INSERT OR IGNORE INTO messages (sender, number, sent_at_ms, parts, taken_at_ms) VALUES (?, ?, ?, ?, ?)",
                    (*place, part.sent_at_ms, part.parts, at_ms),
                )
                (key,) = connection.execute(
                    "SELECT key FROM messages WHERE sender = ? AND number = ?", place
                ).fetchone()
                connection.execute(
                    "INSERT INTO parts VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (message, part) DO UPDATE SET receipt = excluded.receipt",
                    (key, part.part, len(part.payload), receipt, part.payload),
                )

    def give_places(self) -> list[str]:
        """Give every whole message that has none its place, in the order in which they were sent: one transaction.

        Returns which messages could not be read, as sender and number. They are forgotten here and stay in the queue.
        """
        unreadable = []
        with self._transaction() as connection:
            last = int(_meta(connection, "last_sequence"))
            for key, sender, number in connection.execute(_WHOLE_WITHOUT_PLACE).fetchall():
                try:
                    captures = frame.decoded(_frame(connection, key))
                    first_at_ms = captures[0].received_at_ms
                except (UnparseableError, msgspec.MsgspecError, ValueError, IndexError) as error:
                    _forget(connection, key)
                    unreadable.append(f"{sender} {number} ({error})")
                    continue
                last += len(captures)
                connection.execute(
                    "UPDATE messages SET last_sequence = ?, captures = ?, body_bytes = ?, first_at_ms = ? WHERE key = ?",
                    (last, len(captures), sum(len(capture.body) for capture in captures), first_at_ms, key),
                )
            _set_meta(connection, "last_sequence", last)
        return unreadable

    def read_blocks(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledBlock]:
        """Return the next captures above ``after`` that have a place, as `Spool.read_blocks` does."""
        found: list[SpooledBlock] = []
        captures_left, bytes_left = captures_max, bytes_max
        with self._locked() as connection:
            after = max(after, int(_meta(connection, "discarded_through")))
            with closing(connection.execute(_WITH_PLACE, (after,))) as rows:
                for key, last_sequence, captures, body_bytes in rows:
                    block = SpooledBlock(last_sequence - captures + 1, captures, body_bytes, _frame(connection, key))
                    if block.first_sequence <= after or captures > captures_left or body_bytes > bytes_left:
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

    def last_sequence(self) -> int:
        """Return the highest sequence that was ever given."""
        with self._locked() as connection:
            return int(_meta(connection, "last_sequence"))

    def discard(self, *, through: int, at_ms: int) -> None:
        """Note that the captures up to a sequence are archived; messages that are archived as a whole may leave the queue."""
        with self._transaction() as connection:
            through = min(through, int(_meta(connection, "last_sequence")))
            if through <= int(_meta(connection, "discarded_through")):
                return
            _set_meta(connection, "discarded_through", through)
            for statement in _DISCARD.split(";"):
                connection.execute(statement, {"through": through, "at_ms": at_ms})

    def depth(self) -> SpoolDepth:
        """Return how many captures with a place wait."""
        with self._locked() as connection:
            through = int(_meta(connection, "discarded_through"))
            captures, body_bytes = connection.execute(
                "SELECT coalesce(sum(captures), 0), coalesce(sum(body_bytes), 0) FROM messages WHERE last_sequence > ?",
                (through,),
            ).fetchone()
            first = connection.execute(_WITH_PLACE + " LIMIT 1", (through,)).fetchone()
            if first is None:
                return SpoolDepth(captures=0, body_bytes=0, oldest_at_ms=None)
            key, last_sequence, first_captures, _ = first
            columns = frame.decoded_columns(_frame(connection, key))
        gone = max(0, through - (last_sequence - first_captures))
        return SpoolDepth(
            captures=captures - gone,
            body_bytes=body_bytes - sum(map(len, columns.bodies[:gone])),
            oldest_at_ms=columns.received_at_ms[gone],
        )

    def forget_uptimes(self, *, before_ms: int) -> None:
        """Forget the uptimes that ended before an instant, and heed no beat from before it that comes late."""
        super().forget_uptimes(before_ms=before_ms)
        with self._transaction() as connection:
            _set_meta(connection, "uptimes_from", before_ms)

    def held(self) -> tuple[int, int]:
        """Return how many messages are held that the queue still has, and how many bytes they take here."""
        with self._locked() as connection:
            count, size = connection.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM parts").fetchone()
        return int(count), int(size)

    def deletions(self) -> list[str]:
        """Return the receipts of what may leave the queue."""
        with self._locked() as connection:
            return [receipt for (receipt,) in connection.execute("SELECT receipt FROM deletions").fetchall()]

    def deleted(self, receipts: Sequence[str]) -> None:
        """Note that what these receipts stand for has left the queue, or comes again with another."""
        with self._transaction() as connection:
            connection.executemany("DELETE FROM deletions WHERE receipt = ?", ((receipt,) for receipt in receipts))

    def forget_old(self, *, now_ms: int) -> int:
        """Forget what cannot come again, and what never became whole; returns how many messages the latter were."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM archived WHERE archived_at_ms < ?", (now_ms - ARCHIVED_REMEMBERED_MS,))
            incomplete = connection.execute(_INCOMPLETE, (now_ms - INCOMPLETE_KEPT_MS,)).fetchall()
            for (key,) in incomplete:
                _forget(connection, key)
        return len(incomplete)

    def scrub(self) -> bool:
        """Leave no byte of what was discarded in the file or its log; False if another process is in the way."""
        with self._locked() as connection:
            return scrub(connection)

    def close(self) -> None:
        """Close, and give unused space back; twice is fine."""
        with self._lock:
            # It may be closed already, or somebody else be at it; then another time will do.
            with suppress(sqlite3.Error):
                self._connection.executescript("PRAGMA incremental_vacuum")
            self._connection.close()

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _explained(self.path):
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._locked() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise


def _opened_spool_id(connection: sqlite3.Connection, path: Path) -> str:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != _APPLICATION_ID and tables:
        raise SpoolError(
            f"{path} is not a journal of the archiver",
            next_step="point `state` at a directory of the archiver's own, or move this file away",
        )
    if version > FORMAT:
        raise SpoolError(
            f"the journal {path} has format {version}; this version reads formats up to {FORMAT}",
            next_step="install the newer flock-archiver that wrote it",
        )
    if not tables:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
    if not tables:
        # Of two processes that start together one makes it, and the other finds it made.
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(
            "INSERT OR IGNORE INTO meta VALUES ('spool_id', ?), ('last_sequence', 0), ('discarded_through', 0),"
            " ('uptimes_from', 0)",
            (str(uuid.uuid4()),),
        )
        connection.execute("COMMIT")
    return str(_meta(connection, "spool_id"))


def _meta(connection: sqlite3.Connection, key: str) -> str | int:
    (value,) = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return value  # type: ignore[no-any-return] # what we put in


def _set_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def _is_archived(connection: sqlite3.Connection, part: Part) -> bool:
    found = connection.execute("SELECT 1 FROM archived WHERE sender = ? AND number = ?", (part.sender, part.number))
    return found.fetchone() is not None


def _note_beat(connection: sqlite3.Connection, listener: str, at_ms: int) -> None:
    """Let the uptimes that a beat touches become one; beats come in any order, and again. What was forgotten stays so."""
    if at_ms < int(_meta(connection, "uptimes_from")):
        return
    beat = {"listener": listener, "at_ms": at_ms, "hole": BEAT_HOLE_MS_MAX}
    first, last = connection.execute(_UPTIME_TOUCHED, beat).fetchone()
    connection.execute(_FORGET_TOUCHED, beat)
    span = (at_ms, at_ms) if first is None else (min(first, at_ms), max(last, at_ms))
    connection.execute("INSERT INTO uptimes VALUES (?, ?, ?)", (listener, *span))


def _frame(connection: sqlite3.Connection, key: int) -> bytes:
    payloads = connection.execute("SELECT payload FROM parts WHERE message = ? ORDER BY part", (key,))
    return frame_of(b"".join(payload for (payload,) in payloads))


def _forget(connection: sqlite3.Connection, key: int) -> None:
    connection.execute("DELETE FROM parts WHERE message = ?", (key,))
    connection.execute("DELETE FROM messages WHERE key = ?", (key,))


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
    chosen: Sequence[Capture] = batch[first:end]
    return SpooledBlock(block.first_sequence + first, len(chosen), body_bytes, frame.encoded(chosen) if chosen else b"")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise SpoolError(f"the journal {path} is closed", next_step="open it again") from error
    except UnparseableError as error:
        raise SpoolError(f"the journal {path} is damaged: {error.what}", next_step=_NEXT_STEP) from error
    except sqlite3.Error as error:
        raise SpoolError(f"the journal {path} cannot be used ({error})", next_step=_NEXT_STEP) from error
    except OSError as error:
        raise SpoolError(f"the journal {path} cannot be reached ({error.strerror})", next_step=_NEXT_STEP) from error
