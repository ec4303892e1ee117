"""Moving an object of S3 to another storage class, which S3 does by copying it onto itself (API reference, "CopyObject").

In a bucket with versions the copy is a new version, and what it was copied from stays in the old class and costs as before, so it is
deleted by its id. Object Lock binds to a version: a copy of a locked object would lie there without a lock, so such a one is not moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from archiver.errors import StoreRefusedError
from archiver.store.s3_versions import lock_in, locked_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

# S3 copies no more in one request.
COPY_BYTES_MAX: Final = 5 * 1024**3


def move(client: S3Client, *, bucket: str, key: str, found: HeadObjectOutputTypeDef, to: Any, place: str) -> None:
    """Move the version that ``found`` tells of; raises botocore's errors, `ObjectLockedError` and `StoreRefusedError`."""
    lock = lock_in(found)
    if lock is not None:
        raise locked_error(place, [lock], doing="moved to another storage class")
    if found["ContentLength"] > COPY_BYTES_MAX:
        raise StoreRefusedError(
            f"{place} has {found['ContentLength']:,} bytes, and no more than {COPY_BYTES_MAX:,} move at once",
            next_step="move it by a lifecycle rule of the bucket; the archiver reads it there as well",
        )
    client.copy_object(
        Bucket=bucket,
        Key=key,
        CopySource={"Bucket": bucket, "Key": key},
        CopySourceIfMatch=found["ETag"],
        StorageClass=to,
        MetadataDirective="COPY",
        ChecksumAlgorithm="SHA256",
    )
    version_id = found.get("VersionId")
    if version_id and version_id != "null":
        client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)
