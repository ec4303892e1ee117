"""Legal holds of S3 Object Lock: a mark on one version of an object that keeps it from being erased until the mark is lifted.

A legal hold binds to a version, has no end and no owner, and is apart from any retention (S3 user guide, "Object Lock"). To set one takes
``s3:PutObjectLegalHold``; a HEAD tells of one only to who has ``s3:GetObjectLegalHold``. A bucket has legal holds where Object Lock is
enabled for it; servers differ in what they say where it is not, and one may take the mark and erase the object all the same, so
`can_hold` tries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from archiver.errors import StoreRefusedError
from archiver.store.s3_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import ObjectLockLegalHoldStatusType
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

# What servers answer that have no Object Lock, or none in this bucket.
_NO_LEGAL_HOLDS = frozenset(
    {"InvalidRequest", "NotImplemented", "MethodNotAllowed", "ObjectLockConfigurationNotFoundError", "501", "405"}
)
_DENIED = frozenset({"AccessDenied", "403"})
_PERMISSIONS = "allow this user s3:PutObjectLegalHold and s3:GetObjectLegalHold there, or set `holds.mirror: false`"


def can_hold(client: S3Client, *, bucket: str, key: str, place: str) -> bool:
    """Put a legal hold on the object under ``key``, try to erase it, and lift the hold again.

    Raises `StoreRefusedError` if the rights for it are missing, or if the server says yes and does not hold; else botocore's errors.
    """
    version_id = client.head_object(Bucket=bucket, Key=key).get("VersionId")
    if not version_id or version_id == "null":
        return False
    try:
        _set(client, bucket, key, version_id, "ON")
    except ClientError as error:
        if code_of(error) in _NO_LEGAL_HOLDS:
            return False
        if code_of(error) in _DENIED:
            raise _missing_rights(place) from None
        raise
    try:
        answer = client.head_object(Bucket=bucket, Key=key, VersionId=version_id)
        if answer.get("ObjectLockLegalHoldStatus") != "ON":
            raise StoreRefusedError(
                f"{place} takes a legal hold and does not show it afterwards: it ignores it, or may not be asked",
                next_step=_PERMISSIONS,
            )
        if _can_erase(client, bucket, key, version_id):
            raise StoreRefusedError(
                f"{place} takes a legal hold and erases the object all the same",
                next_step="keep the archive in a bucket with Object Lock enabled, or set `holds.mirror: false`",
            )
    finally:
        _lift(client, bucket, key, version_id)
    return True


def mark(client: S3Client, *, bucket: str, key: str, found: HeadObjectOutputTypeDef, place: str) -> bool:
    """Mark the version that ``found`` tells of; return whether it was not marked before. Raises botocore's errors.

    Raises `StoreRefusedError` if the bucket has no legal holds or the rights are missing.
    """
    version_id = found.get("VersionId")
    if not version_id or version_id == "null":
        raise _no_legal_holds(place)
    if found.get("ObjectLockLegalHoldStatus") == "ON":
        return False
    with _explained(place):
        _set(client, bucket, key, version_id, "ON")
    return True


def lift(client: S3Client, *, bucket: str, key: str, place: str) -> int | None:
    """Lift the marks of all versions under a key; return how many had one, None if there is no version. Raises as `mark`."""
    marked: list[str] = []
    seen = 0
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for version in page.get("Versions", []):
            if version["Key"] == key:
                seen += 1
                if version["VersionId"] == "null":
                    raise _no_legal_holds(place)
                answer = client.head_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
                if answer.get("ObjectLockLegalHoldStatus") == "ON":
                    marked.append(version["VersionId"])
        if any(version["Key"] > key for version in page.get("Versions", [])):
            break  # a listing is in key order, and the rest are keys that begin with this one
    for version_id in marked:
        with _explained(place):
            _set(client, bucket, key, version_id, "OFF")
    return len(marked) if seen else None


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) in _NO_LEGAL_HOLDS:
            raise _no_legal_holds(place) from None
        if code_of(error) in _DENIED:
            raise _missing_rights(place) from None
        raise


def _set(client: S3Client, bucket: str, key: str, version_id: str, status: ObjectLockLegalHoldStatusType) -> None:
    client.put_object_legal_hold(Bucket=bucket, Key=key, VersionId=version_id, LegalHold={"Status": status})


def _can_erase(client: S3Client, bucket: str, key: str, version_id: str) -> bool:
    try:
        client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
    except ClientError as error:
        if code_of(error) in _DENIED:
            return False
        raise
    return True


def _lift(client: S3Client, bucket: str, key: str, version_id: str) -> None:
    try:
        _set(client, bucket, key, version_id, "OFF")
    except ClientError:
        # The probe's own object may be gone just now; one that stays marked does no harm.
        return


def _no_legal_holds(place: str) -> StoreRefusedError:
    return StoreRefusedError(
        f"{place} cannot be put under a legal hold: Object Lock is not enabled for its bucket",
        next_step="keep the archive in a bucket with Object Lock enabled, or set `holds.mirror: false`",
    )


def _missing_rights(place: str) -> StoreRefusedError:
    return StoreRefusedError(f"this user may not put {place} under a legal hold", next_step=_PERMISSIONS)
