"""What keys are called, in a bucket and in a directory alike."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import Final

ARCHIVE_KEY = "archive.json"
LEDGER_PREFIX = "ledger/"
PENDING_PREFIX = "ledger/pending/"
CHECKPOINT_PREFIX = "ledger/checkpoints/"
HOLD_MARKS_KEY = "holds/marks.json"
CLONE_KEY = "clone.json"
BLOB_PREFIX = "blobs/sha256/"
PLAN_PREFIX = "plans/"
CERTIFICATE_PREFIX = "certificates/"
CATALOG_PREFIX = "catalog/"

# A run asks the same keys for their days again and again, of a large archive some ten thousand.
_KEYS_REMEMBERED_MAX: Final = 65_536

_ENTRY_KEY = re.compile(r"ledger/(\d{12})\.json")
_CHECKPOINT_KEY = re.compile(r"ledger/checkpoints/(\d{12})\.json")
_DATA_KEY = re.compile(r"([a-z]+)/dt=(\d{4}-\d{2}-\d{2})/(\d{12}-[0-9a-f]{8})-\d{5,}\.parquet")
_BLOB_KEY = re.compile(r"blobs/sha256/([0-9a-f]{2})/\1[0-9a-f]{62}")
_PLAN_KEY = re.compile(r"plans/([0-9a-f]{64})\.json")
_CERTIFICATE_KEY = re.compile(r"certificates/([0-9a-f]{64})\.json")


def entry_key(sequence: int) -> str:
    """Return the key of a ledger entry; zero-padded, so that key order is commit order."""
    return f"{LEDGER_PREFIX}{sequence:012d}.json"


def sequence_of_entry(key: str) -> int | None:
    """Return the sequence that a ledger entry's key names, or None for any other key."""
    match = _ENTRY_KEY.fullmatch(key)
    return int(match[1]) if match else None


def checkpoint_key(sequence: int) -> str:
    """Return the key of the checkpoint taken at a commit."""
    return f"{CHECKPOINT_PREFIX}{sequence:012d}.json"


def sequence_of_checkpoint(key: str) -> int | None:
    """Return the sequence that a checkpoint's key names, or None for any other key."""
    match = _CHECKPOINT_KEY.fullmatch(key)
    return int(match[1]) if match else None


def pending_key(sequence: int, attempt: str) -> str:
    """Return the key of the note that a commit leaves before it writes anything else."""
    return f"{PENDING_PREFIX}{sequence:012d}-{attempt}.json"


def data_key(table: str, day: date, *, sequence: int, attempt: str, number: int) -> str:
    """Return the key of a data object.

    ``attempt`` is eight random hex digits: two writers that try for the same commit never write the same key, so the
    one that loses cannot touch what the winner named.
    """
    return f"{table}/dt={day.isoformat()}/{sequence:012d}-{attempt}-{number:05d}.parquet"


@lru_cache(_KEYS_REMEMBERED_MAX)
def partition_of(key: str) -> tuple[str, date]:
    """Return the table and the day of a data object's key; raises `ValueError` for any other key."""
    match = _DATA_KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"not a data object's key: {key!r}")
    return match[1], date.fromisoformat(match[2])


@lru_cache(_KEYS_REMEMBERED_MAX)
def sequence_of_data(key: str) -> int:
    """Return the commit that added a data object, by its key; raises `ValueError` for any other key."""
    match = _DATA_KEY.fullmatch(key)
    if match is None:
        raise ValueError(f"not a data object's key: {key!r}")
    return int(match[3].partition("-")[0])


def is_written_by(key: str, sequence: int, attempt: str) -> bool:
    """Tell whether a key is that of a data object that this attempt at this commit writes."""
    match = _DATA_KEY.fullmatch(key)
    return match is not None and match[3] == f"{sequence:012d}-{attempt}"


def is_blob_key(key: str) -> bool:
    """Tell whether a key is that of a blob."""
    return _BLOB_KEY.fullmatch(key) is not None


def blob_key(digest: str) -> str:
    """Return the key of a blob: its SHA-256, fanned out by the first two digits."""
    return f"{BLOB_PREFIX}{digest[:2]}/{digest}"


def plan_key(digest: str) -> str:
    """Return the key of a plan's header, whose SHA-256 the digest is."""
    return f"{PLAN_PREFIX}{digest}.json"


def plan_items_key(digest: str) -> str:
    """Return the key of the items of a plan."""
    return f"{PLAN_PREFIX}{digest}.parquet"


def plan_of_key(key: str) -> str | None:
    """Return the digest of the plan whose header lies under a key, or None for any other key."""
    match = _PLAN_KEY.fullmatch(key)
    return match[1] if match else None


def certificate_key(plan: str) -> str:
    """Return the key of the certificate that tells what became of a plan, given the plan's digest."""
    return f"{CERTIFICATE_PREFIX}{plan}.json"


def plan_of_certificate(key: str) -> str | None:
    """Return the digest of the plan that a certificate's key names, or None for any other key."""
    match = _CERTIFICATE_KEY.fullmatch(key)
    return match[1] if match else None
