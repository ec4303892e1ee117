"""The newest states of the directory and of the gaps, kept on this machine from one run to the next.

The archive has one row per change, so who is in which channel now follows from the rows of all nights: reading them costs more with
every year. What a run knew in the end is therefore kept beside the spool, and the next one reads only what was committed since. It
is a memory and no truth: it counts only for the very data objects that it was made of, and a machine without it reads them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import structlog

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of
from archiver.errors import SpoolError

_FOLDER = "states"
_DIGEST_BYTES = 32

States = dict[tuple[str, ...], dict[str, Any]]

log = structlog.get_logger(__name__)


class _Kept(msgspec.Struct, frozen=True):
    """Rows of a table as of a commit; ``objects`` is the digest of the keys of all data objects that they follow from."""

    sequence: int
    objects: str
    rows: list[dict[str, Any]]


def recall(state: Path, head: Head, table: str, key: tuple[str, ...]) -> tuple[States, list[FileRecord]]:
    """Return what was kept of a table, and the data objects that came since; nothing and all of them if it does not fit."""
    records = files_of(head, table)
    kept = _read(_path(state, table))
    if kept is None:
        return {}, records
    old, new = _parted(records, kept.sequence)
    if _digest(old) != kept.objects:
        return {}, records
    return {tuple(row[column] for column in key): row for row in kept.rows}, new


def keep(state: Path, head: Head, states: Mapping[str, Mapping[tuple[str, ...], dict[str, Any]]]) -> None:
    """Keep the states by table, which are those of this head. If that cannot be, the next run reads more, and that is all."""
    for table, rows in states.items():
        path = _path(state, table)
        records = files_of(head, table)
        known = _read(path)
        if known is not None and known.objects == _digest(records):
            continue
        body = msgspec.msgpack.encode(_Kept(head.sequence, _digest(records), list(rows.values())))
        temporary = path.with_suffix(".new")
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            temporary.write_bytes(sha256(body).digest() + body)
            temporary.replace(path)
        except OSError as error:
            log.warning("the newest states cannot be kept", table=table, reason=str(error))


def forget(state: Path) -> None:
    """Drop what was kept, for it may tell of somebody who was erased; the next run reads it anew.

    Raises `SpoolError` if it cannot be dropped.
    """
    for path in sorted((state / _FOLDER).glob("*")):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SpoolError(
                f"{path} tells of people who were erased, and cannot be removed: {error.strerror}",
                next_step="remove it by hand; it is a cache, and the next run makes it anew",
            ) from None


def _path(state: Path, table: str) -> Path:
    return state / _FOLDER / f"{table}.msgpack"


def _parted(records: Sequence[FileRecord], sequence: int) -> tuple[list[FileRecord], list[FileRecord]]:
    """Return the data objects that were there at a commit, and those that came after it."""
    old: list[FileRecord] = []
    new: list[FileRecord] = []
    for record in records:
        (old if layout.sequence_of_data(record.key) <= sequence else new).append(record)
    return old, new


def _digest(records: Sequence[FileRecord]) -> str:
    """Return what tells these data objects from any others: a key is used once, and what it names never changes."""
    return sha256("\n".join(f"{record.key} {record.sha256}" for record in records).encode()).hexdigest()


def _read(path: Path) -> _Kept | None:
    """Return what was kept; what a crash, a bad disk or somebody else left is nothing."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[_DIGEST_BYTES:]
    if sha256(body).digest() != data[:_DIGEST_BYTES]:
        return None
    try:
        return msgspec.msgpack.decode(body, type=_Kept)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
