"""The files stage: what was not fetched when its message came, or failed since, is tried again when it is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.commit import Draft
from archiver.archive.ledger import FileRecord, Gap
from archiver.archive.reader import Head, files_of, open_files, read_rows
from archiver.archive.schema import FILES
from archiver.archive.tables import rows_of, rows_to_table
from archiver.capture.file_rows import FACT_COLUMNS, FileFetches, FileRow, blobs_of, row_after
from archiver.capture.files import WantedFile, is_due
from archiver.run.result import StageResult
from archiver.run.session import Session

FILES_PER_COMMIT_MAX = 1_000
_OPEN_STATUSES = frozenset({"failed", "pending"})
_COLUMNS = (*FACT_COLUMNS, "status", "attempts", "retry_at")

_Row = dict[str, Any]
_Key = tuple[Any, ...]


def retry_files(session: Session) -> StageResult:
    """Try every file whose turn it is, and commit what came of it."""
    counts: Counter[str] = Counter()
    records = open_files(session.head, "files")
    if records:
        session.progress.start("files", total=len(records))
    for record in records:
        now_ms = session.ports.clock.now_ms()
        due = [row for row in _open_rows(session, record).values() if is_due(row["retry_at"], now_ms=now_ms)]
        while due and not session.out_of_time:
            due = _try(session, record, due, counts=counts)
        if due:
            return StageResult("files", counts=dict(counts), gaps=_gaps(counts), unfinished=True)
        session.progress.advance(1)
    return StageResult("files", counts=dict(counts), gaps=_gaps(counts))


def _open_rows(session: Session, record: FileRecord) -> dict[_Key, _Row]:
    """Return the rows of a data object that await another try, due or not, as of the session's head.

    A row that a newer row speaks for, wherever that lies, is no longer this object's concern.
    """
    day = layout.partition_of(record.key)[1]
    own = {_key(row): row for row in _read(session, [record]) if row["status"] in _OPEN_STATUSES}
    uids = {row["message_uid"] for row in own.values()}
    for row in _read(session, files_of(session.head, "files", days=frozenset({day})), uids=uids):
        known = own.get(_key(row))
        if known is not None and row["attempts"] > known["attempts"]:
            del own[_key(row)]
    return own


def _read(session: Session, records: Sequence[FileRecord], *, uids: set[str] | None = None) -> Iterator[_Row]:
    wanted = None if uids is None else pa.array(uids, type=pa.string())

    def keep(batch: pa.RecordBatch) -> pa.Array:
        return pc.is_in(batch.column("message_uid"), value_set=wanted)

    for batch in read_rows(session.ports.archive.store, records, _COLUMNS, keep=None if uids is None else keep):
        yield from rows_of(batch)


def _key(row: _Row) -> _Key:
    return tuple(row[column] for column in ("chat_id", "message_uid", "version", "ordinal", "url"))


def _try(session: Session, record: FileRecord, due: Sequence[_Row], *, counts: Counter[str]) -> list[_Row]:
    """Try as many of the due files as one commit takes, commit, and return those that are left."""
    chunk = due[:FILES_PER_COMMIT_MAX]
    with session.file_fetches() as fetches:
        fetches.fetch(
            WantedFile(url=row["url"], name=row["name"], mime=row["mime"], size=row["size"], attempts=row["attempts"])
            for row in chunk
        )
        tried = [row for row in chunk if fetches.result(row["url"]) is not None]
        at_ms = session.ports.clock.now_ms()
        outcomes: Counter[str] = Counter()

        def draft_for(head: Head) -> Draft:
            # As of this head: another machine may have tried some of them while we did, and then its rows count.
            still_open = _open_rows(session, record)
            news = {_key(row): _row_after(row, fetches, at_ms=at_ms) for row in tried if _key(row) in still_open}
            outcomes.clear()
            outcomes.update(str(row.row["status"]) for row in news.values())
            settles = still_open.keys() <= news.keys() and record.key not in head.settled
            return Draft(
                at_ms=at_ms,
                tables={"files": rows_to_table(FILES, [row.row for row in news.values()])},
                blobs=blobs_of(news.values()),
                settled=(record.key,) if settles else (),
                gaps=_gaps(outcomes),
            )

        session.commit(draft_for)
    counts.update(outcomes)
    left = [row for row in chunk if fetches.result(row["url"]) is None]
    return left + list(due[FILES_PER_COMMIT_MAX:])


def _row_after(row: _Row, fetches: FileFetches, *, at_ms: int) -> FileRow:
    facts = {column: row[column] for column in FACT_COLUMNS}
    return row_after(facts, fetches.result(row["url"]), owner=0, at_ms=at_ms)


def _gaps(counts: Counter[str]) -> tuple[Gap, ...]:
    missing = counts["failed"] + counts["given_up"]
    if not missing:
        return ()
    return (Gap(kind="file-not-stored", count=missing, evidence="rows in files with their status and reason"),)
