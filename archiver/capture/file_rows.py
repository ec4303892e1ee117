"""The files of message versions: each URL fetched once, then a row for every file, stored or not.

A row's ``status`` is ``stored``; ``pending`` if it was not its turn yet; ``failed`` if it is tried again at
``retry_at``; ``given_up`` if trying again is pointless. Each further try is a further row, and the row with the most
``attempts`` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archiver.archive.ledger import BlobRecord
from archiver.archive.schema import FILES
from archiver.capture.files import Downloader, FileResult, WantedFile
from archiver.capture.versions import NewVersion

# Files wait on this machine's disk for the commit that names them; what does not fit is fetched for a later one.
BYTES_PER_COMMIT_MAX = 4 * 1024**3

# What a try does not change.
FACT_COLUMNS = tuple(
    name
    for name in FILES.schema.names
    if name in {"chat_id", "message_uid", "version", "ordinal", "sent_at", "kind", "name", "mime", "size", "url"}
)


@dataclass(frozen=True, slots=True)
class FileRow:
    """A row of the table files; ``owner`` tells the caller what it belongs to, ``path`` holds the bytes if stored."""

    owner: int
    row: Mapping[str, Any]
    path: Path | None


class FileFetches:
    """The files of one batch on this machine, by URL; leaving the ``with`` block removes them."""

    def __init__(self, downloader: Downloader, *, bytes_max: int = BYTES_PER_COMMIT_MAX) -> None:
        self._downloader = downloader
        self._bytes_left = bytes_max
        self._results: dict[str, FileResult] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for result in self._results.values():
            if result.path is not None:
                result.path.unlink(missing_ok=True)

    def fetch(self, wanted: Iterable[WantedFile]) -> None:
        """Fetch what was not fetched yet, each URL once, until the batch holds as many bytes as it may.

        Raises `StorageError` if this machine's disk does not take them.
        """
        missing = {file.url: file for file in wanted if file.url not in self._results}
        if self._bytes_left <= 0 or not missing:
            return
        with closing(self._downloader.download_all(missing.values())) as downloads:
            for file, result in downloads:
                self._results[file.url] = result
                self._bytes_left -= result.size or 0
                if self._bytes_left <= 0:
                    return

    def result(self, url: str) -> FileResult | None:
        """Return what became of a URL, or None if it was not its turn."""
        return self._results.get(url)


def wanted_of(versions: Iterable[NewVersion]) -> list[WantedFile]:
    """Return the files of message versions that nobody tried to fetch yet."""
    return [
        WantedFile(url=file.url, name=file.name, mime=file.mime, size=file.size)
        for version in versions
        for file in version.message.files
    ]


def rows_of_versions(versions: Mapping[int, NewVersion], fetches: FileFetches, *, at_ms: int) -> list[FileRow]:
    """Return a row for every file of these message versions, given by their owner's number."""
    return [
        row_after(
            {
                "chat_id": version.message.chat_id,
                "message_uid": version.message.message_uid,
                "version": version.version,
                "ordinal": file.ordinal,
                "sent_at": version.message.sent_at_ms,
                "kind": file.kind,
                "name": file.name,
                "mime": file.mime,
                "size": file.size,
                "url": file.url,
            },
            fetches.result(file.url),
            owner=owner,
            at_ms=at_ms,
        )
        for owner, version in versions.items()
        for file in version.message.files
    ]


def row_after(facts: Mapping[str, Any], result: FileResult | None, *, owner: int, at_ms: int) -> FileRow:
    """Return the row that a try leaves, or ``pending`` if there was none; ``facts`` are its `FACT_COLUMNS`."""
    if result is None:
        return FileRow(owner, {**facts, "observed_at": at_ms, "status": "pending", "attempts": 0}, None)
    row = {
        **facts,
        "observed_at": at_ms,
        "status": result.status,
        "reason": result.reason,
        "http_status": result.http_status,
        "attempts": result.attempts,
        "retry_at": result.retry_at_ms,
        "blob_digest": result.sha256,
        "blob_bytes": result.size,
        "mime_received": result.mime_received,
        "final_url": result.final_url,
    }
    return FileRow(owner, row, result.path)


def blobs_of(rows: Iterable[FileRow]) -> dict[BlobRecord, Path]:
    """Return the blobs that rows name, with the local files that hold their bytes."""
    return {BlobRecord(row.row["blob_digest"], row.row["blob_bytes"]): row.path for row in rows if row.path is not None}


def digests_by_owner(rows: Iterable[FileRow]) -> dict[int, list[str]]:
    """Return the digests of stored files by the number of their owner, each once, in order."""
    digests: dict[int, list[str]] = {}
    for row in rows:
        if row.path is not None and row.row["blob_digest"] not in digests.setdefault(row.owner, []):
            digests[row.owner].append(row.row["blob_digest"])
    return {owner: found for owner, found in digests.items() if found}
