"""Large objects in S3: a multipart upload that ends with the condition that there is no object yet."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.store.s3_errors import FAILURES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

# S3's limit on parts, and parts that keep the memory of one upload at 32 MiB for objects of up to 80 GiB.
PARTS_MAX = 10_000
PART_BYTES_MIN = 8 * 1024 * 1024
PARTS_AT_ONCE = 4

_PartReader = Callable[[int, int], bytes]


def upload_in_parts(client: S3Client, *, bucket: str, key: str, data: bytes | Path) -> None:
    """Put bytes or a file under a free key, each part with its SHA-256; raises botocore's errors and the file's own.

    A taken key fails the completion with ``PreconditionFailed``. An upload that fails is aborted.
    """
    with _part_reader(data) as (size, read_part):
        upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
        part_bytes = max(PART_BYTES_MIN, -(-size // PARTS_MAX))

        def upload(number: int) -> CompletedPartTypeDef:
            start = (number - 1) * part_bytes
            answer = client.upload_part(
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=read_part(start, min(part_bytes, size - start)),
                ChecksumAlgorithm="SHA256",
            )
            part: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
            if "ChecksumSHA256" in answer:
                part["ChecksumSHA256"] = answer["ChecksumSHA256"]
            return part

        try:
            with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="s3-part") as threads:
                parts = list(threads.map(upload, range(1, -(-size // part_bytes) + 1)))
            client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            # Should this fail too, a sweep aborts it later; the first failure is the one to tell.
            with contextlib.suppress(*FAILURES):
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            raise


@contextlib.contextmanager
def _part_reader(data: bytes | Path) -> Iterator[tuple[int, _PartReader]]:
    """Give the size, and a function from start and length to bytes that several threads may call."""
    if not isinstance(data, Path):
        yield len(data), lambda start, length: data[start : start + length]
        return
    with data.open("rb", buffering=0) as source:
        descriptor = source.fileno()

        def read_part(start: int, length: int) -> bytes:
            content = os.pread(descriptor, length, start)
            if len(content) != length:
                raise OSError(f"{data} became shorter while it was uploaded")
            return content

        yield os.fstat(descriptor).st_size, read_part
