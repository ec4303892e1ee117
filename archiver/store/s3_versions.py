"""What a bucket with versions keeps under a key besides the object: old versions, markers that hide them, and locks on each.

In such a bucket a delete without a version only puts a marker over the object (S3 user guide, "Deleting object versions"), which a lock
does not prevent; deleting a version by its id removes it for good, unless Object Lock keeps it: then S3 answers 403 and says no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from archiver.clock import to_ms, to_text
from archiver.errors import ObjectLockedError
from archiver.store import ObjectLock
from archiver.store.s3_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import DeleteMarkerEntryTypeDef


def erase(client: S3Client, *, bucket: str, key: str) -> list[ObjectLock]:
    """Remove everything under a key and return the locks of what stays; raises botocore's errors.

    The marker comes first, so that no older version comes to light while the newer ones go, and goes last.
    """
    answer = client.delete_object(Bucket=bucket, Key=key)
    if not answer.get("DeleteMarker"):
        return []  # the bucket has no versions, and the object is gone
    kept: list[ObjectLock] = []
    markers: list[DeleteMarkerEntryTypeDef] = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        markers += [found for found in page.get("DeleteMarkers", []) if found["Key"] == key]
        for version in page.get("Versions", []):
            if version["Key"] == key:
                kept += _erase_version(client, bucket, key, version["VersionId"])
        if any(found["Key"] > key for found in page.get("Versions", [])):
            break  # a listing is in key order, and the rest are keys that begin with this one
    for marker in markers:
        if not (kept and marker["IsLatest"]):  # the one that hides what a lock keeps
            client.delete_object(Bucket=bucket, Key=key, VersionId=marker["VersionId"])
    return kept


def lock_in(answer: Mapping[str, Any]) -> ObjectLock | None:
    """Return what the answer to a HEAD says keeps a version, by the server's own clock."""
    ends_at = answer.get("ObjectLockRetainUntilDate")
    now_at = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    until_ms = to_ms(ends_at) if ends_at is not None and ends_at > now_at else None
    legal_hold = answer.get("ObjectLockLegalHoldStatus") == "ON"
    return ObjectLock(until_ms, legal_hold) if until_ms is not None or legal_hold else None


def locked_error(place: str, locks: list[ObjectLock], *, doing: str = "erased") -> ObjectLockedError:
    """Return the error that tells what keeps versions of an object from being erased, or whatever else was tried."""
    ends = [lock.until_ms for lock in locks if lock.until_ms is not None]
    until_ms, legal_hold = max(ends, default=None), any(lock.legal_hold for lock in locks)
    reasons = [
        *([f"Object Lock until {to_text(until_ms)}"] if until_ms is not None else []),
        *(["a legal hold"] if legal_hold else []),
    ]
    kept = f"keeps {len(locks)} version{'s' * (len(locks) != 1)}, now hidden" if doing == "erased" else "is on it"
    return ObjectLockedError(
        f"{place} cannot be {doing}: {' and '.join(reasons)} {kept}",
        until_ms=until_ms,
        legal_hold=legal_hold,
        next_step="try again when the lock has ended and no legal hold is on it; nobody can shorten a COMPLIANCE lock",
    )


def hidden_pages(client: S3Client, *, bucket: str, prefix: str) -> Iterator[list[tuple[str, int]]]:
    """Yield key and size of every version that is not the latest one, or is hidden by a marker; raises botocore's errors."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        yield [(version["Key"], version["Size"]) for version in page.get("Versions", []) if not version["IsLatest"]]


def _erase_version(client: S3Client, bucket: str, key: str, version_id: str) -> list[ObjectLock]:
    try:
        client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
    except ClientError as error:
        if code_of(error) not in ("AccessDenied", "403"):
            raise
        lock = lock_in(client.head_object(Bucket=bucket, Key=key, VersionId=version_id))
        if lock is None:  # no lock keeps it, so it is the user's rights
            raise
        return [lock]
    return []
