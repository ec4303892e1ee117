"""A store in an S3 bucket, below a prefix.

What the archive's safety rests on is one rule of S3: a put, or the completion of a multipart upload, with ``If-None-Match: *``
fails with 412 if the key is taken, and with 409 if another such write is under way (S3 user guide, "Conditional writes").
Servers that do not know the header mostly accept and ignore it, so `S3Store.probe` tries it before anything relies on it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from archiver.errors import KeyExistsError, KeyMissingError, StoreRefusedError, StoreUnreachableError
from archiver.store import (
    MULTIPART_FROM_BYTES,
    Batch,
    ObjectInfo,
    ObjectLock,
    ThawSpeed,
    ThawState,
    s3_holds,
    s3_thawing,
)
from archiver.store import s3_moving as moving
from archiver.store import s3_versions as versions
from archiver.store.batches import PlainBatch
from archiver.store.classes import require_readable
from archiver.store.keys import OWN_FOLDER, check_key, check_prefix, is_key
from archiver.store.s3_bodies import whole_body, with_body_retries
from archiver.store.s3_client import make_client
from archiver.store.s3_errors import (
    FAILURES,
    NEXT_STEPS,
    UploadGoneError,
    WriteConflictError,
    code_of,
    storage_error,
)
from archiver.store.s3_listing import just_before
from archiver.store.s3_multipart import upload_in_parts
from archiver.store.s3_reader import BUFFER_BYTES, TAIL_BYTES, RangeReader

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

# Tries of what boto3 does not try again by itself: two writers at one key at the same moment.
CONFLICT_TRIES_MAX = 6
CONFLICT_WAIT_SECONDS_MAX = 2.0

# No upload of one object takes longer, so an unfinished one of this age has no writer any more.
UNFINISHED_HOURS_MAX = 24.0
_PROBE_KEY = f"{OWN_FOLDER}/probe"
_PROBE_TEXT = b"The archiver tries to write this object twice, to see that the second try is refused.\n"
_HOLD_PROBE_KEY = f"{OWN_FOLDER}/legal-hold"
_HOLD_PROBE_TEXT = b"The archiver puts a legal hold on this object, to see that it cannot be erased then.\n"


class S3Store:
    """Keeps the `Store` contract in ``bucket`` below ``prefix``, on any S3 server that knows conditional writes.

    ``client`` is one of `make_client` (or any boto3 client); without it one is made for ``endpoint_url`` and ``region`` (None for
    AWS's own and the configured one), with credentials from boto3's chain. That kind can be pickled, for another process.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        client: S3Client | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        unfinished_hours_max: float = UNFINISHED_HOURS_MAX,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        check_prefix(self._prefix)
        self._client = client if client is not None else make_client(endpoint_url=endpoint_url, region=region)
        self._unfinished_age_max = timedelta(hours=unfinished_hours_max)
        self._is_bucket_known = False
        self._again = (
            partial(S3Store, bucket, prefix, endpoint_url=endpoint_url, region=region) if client is None else None
        )

    def __reduce__(self) -> tuple[Callable[[], S3Store], tuple[()]]:
        if self._again is None:
            raise TypeError(f"the store {self.url} has a client of its own, which no other process can have")
        return self._again, ()

    @property
    def url(self) -> str:
        """``s3://bucket`` or ``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def create(self, key: str, data: bytes | Path) -> None:
        """Put an object on condition that there is none; large content goes up in parts, with the condition at the end."""
        check_key(key)
        self._create(key, data)

    def batch(self, folder: Path) -> contextlib.AbstractContextManager[Batch]:
        """Create one by one."""
        return contextlib.nullcontext(PlainBatch(self.create, folder))

    def replace(self, key: str, data: bytes) -> None:
        """Put an object."""
        check_key(key)
        with self._translated("write", key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, ChecksumAlgorithm="SHA256")

    def read(self, key: str) -> bytes:
        """Return a whole object, its checksum verified by boto3 where the server sends one."""
        check_key(key)
        return with_body_retries(lambda: self._get(key))

    def open(self, key: str) -> BinaryIO:
        """Return a reader that fetches ranges of the version that is there now; the last bytes are fetched at once."""
        check_key(key)
        size, tail, etag = with_body_retries(lambda: self._get_tail(key))

        def fetch(start: int, end: int) -> bytes:
            return with_body_retries(lambda: self._get_range(key, start, end, etag))

        return io.BufferedReader(RangeReader(fetch, size=size, tail=tail), BUFFER_BYTES)

    def stat(self, key: str) -> ObjectInfo:
        """Return key and size."""
        return ObjectInfo(key, self._head(key)["ContentLength"])

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects page by page, in the server's order, which is that of the keys' bytes."""
        check_prefix(prefix)
        check_prefix(after)
        return self._list(prefix, after)

    def delete(self, key: str) -> None:
        """Delete an object; in a bucket with versions, its newest one is hidden by a marker."""
        check_key(key)
        with self._translated("delete", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def erase(self, key: str) -> None:
        """Hide the object, then delete each of its versions, then the markers that hide it."""
        check_key(key)
        with self._translated("erase", key):
            locks = versions.erase(self._client, bucket=self._bucket, key=self._prefix + key)
        if locks:
            raise versions.locked_error(self._place(key), locks)

    def lock(self, key: str) -> ObjectLock | None:
        """Return what a HEAD says of Object Lock; raises `KeyMissingError`."""
        return versions.lock_in(self._head(key))

    def can_hold(self) -> bool:
        """Try a legal hold on ``.store/legal-hold``, which stays, and see that it keeps that from being erased."""
        with contextlib.suppress(KeyExistsError):
            self._put(_HOLD_PROBE_KEY, _HOLD_PROBE_TEXT)
        with self._translated("put a legal hold on", _HOLD_PROBE_KEY):
            return s3_holds.can_hold(
                self._client, bucket=self._bucket, key=self._prefix + _HOLD_PROBE_KEY, place=self.url
            )

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        """Mark the version that is there, or lift the marks of all versions there are; raises `KeyMissingError`."""
        check_key(key)
        name, place = self._prefix + key, self._place(key)
        if on:
            found = self._head(key)
            with self._translated("put a legal hold on", key):
                return s3_holds.mark(self._client, bucket=self._bucket, key=name, found=found, place=place)
        with self._translated("lift the legal hold of", key):
            lifted = s3_holds.lift(self._client, bucket=self._bucket, key=name, place=place)
        if lifted is None:
            self._head(key)  # which tells a missing bucket from a missing key
            raise KeyMissingError(f"there is no {place}")
        return lifted > 0

    def storage_class(self, key: str) -> str | None:
        """Return what a HEAD says, which names no class for the usual one."""
        return self._head(key).get("StorageClass", "STANDARD")

    def move_to_class(self, key: str, storage_class: str) -> bool:
        """Copy the object onto itself in the new class, then delete the version that it was copied from."""
        require_readable(storage_class)
        found = self._head(key)
        if found.get("StorageClass", "STANDARD") == storage_class:
            return False
        place = self._place(key)
        with self._translated("move", key):
            moving.move(
                self._client, bucket=self._bucket, key=self._prefix + key, found=found, to=storage_class, place=place
            )
        return True

    def is_cold(self, key: str) -> bool:
        """Return what a HEAD says of the class, and of a copy that was asked for; raises `KeyMissingError`."""
        return s3_thawing.state_in(self._head(key)) != "readable"

    def thaw(self, key: str, *, days: int, speed: ThawSpeed) -> ThawState:
        """Ask S3 for a copy that can be read, unless there is one or one is being made (``RestoreObject``)."""
        found = self._head(key)
        with self._translated("thaw", key):
            return s3_thawing.thaw(
                self._client, bucket=self._bucket, key=self._prefix + key, found=found, days=days, speed=speed
            )

    def list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the versions that are not the latest, or that a marker hides, page by page."""
        check_prefix(prefix)
        return self._list_hidden(prefix)

    def probe(self) -> None:
        """Write ``.store/probe`` and show that neither a put nor an upload in parts writes over it.

        Raises `StoreRefusedError` if one does. The object stays, so that a user who may not delete can probe again.
        """
        with contextlib.suppress(KeyExistsError):
            self._put(_PROBE_KEY, _PROBE_TEXT)
        for write in (self._put, self._put_in_parts):
            try:
                write(_PROBE_KEY, _PROBE_TEXT)
            except KeyExistsError:
                continue
            raise StoreRefusedError(
                f"{self.url} accepts the header If-None-Match and ignores it, so two runs could overwrite each other's work",
                next_step="keep the archive on AWS S3 or a server that has conditional writes, such as SeaweedFS or MinIO",
            )

    def sweep(self) -> int:
        """Abort the multipart uploads below the prefix that began longer ago than any upload takes; returns how many."""
        swept = 0
        with self._translated("clean", ""):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                # The server's own clock against the server's own time stamps.
                now_at = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for upload in page.get("Uploads", []):
                    if now_at - upload["Initiated"] >= self._unfinished_age_max:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        swept += 1
        return swept

    def _create(self, key: str, data: bytes | Path) -> None:
        size = data.stat().st_size if isinstance(data, Path) else len(data)
        if size < MULTIPART_FROM_BYTES:
            write = self._put
        else:
            write = self._put_in_parts
            if self._exists(key):
                raise KeyExistsError(f"{self._place(key)} exists already")
        Retrying(
            retry=retry_if_exception_type(WriteConflictError),
            stop=stop_after_attempt(CONFLICT_TRIES_MAX),
            wait=wait_random_exponential(multiplier=0.1, max=CONFLICT_WAIT_SECONDS_MAX),
            reraise=True,
        )(write, key, data)

    def _put(self, key: str, data: bytes | Path) -> None:
        content = data.read_bytes() if isinstance(data, Path) else data
        with self._translated("write", key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=content,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
            )

    def _put_in_parts(self, key: str, data: bytes | Path) -> None:
        try:
            with self._translated("write", key):
                upload_in_parts(self._client, bucket=self._bucket, key=self._prefix + key, data=data)
        except UploadGoneError:
            # Most likely our own first try ended the upload, and only the answer to it was lost.
            if self._exists(key):
                raise KeyExistsError(f"{self._place(key)} exists already") from None
            raise

    def _exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except KeyMissingError:
            return False
        return True

    def _head(self, key: str) -> HeadObjectOutputTypeDef:
        check_key(key)
        try:
            with self._translated("read", key):
                return self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
        except KeyMissingError:
            self._check_bucket()
            raise

    def _get(self, key: str) -> bytes:
        with self._translated("read", key):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
        return whole_body(answer, place=self._place(key))

    def _get_tail(self, key: str) -> tuple[int, bytes, str]:
        """Return the object's size, its last bytes and its entity tag, with one request."""
        with self._translated("read", key):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes=-{TAIL_BYTES}"
                )
            except ClientError as error:
                # No range of an empty object can be satisfied (RFC 9110, 14.1.2).
                if code_of(error) == "InvalidRange":
                    return 0, b"", ""
                raise
        tail = whole_body(answer, place=self._place(key))
        whole = answer.get("ContentRange", "").rpartition("/")[2]
        return int(whole) if whole else len(tail), tail, answer["ETag"]

    def _get_range(self, key: str, start: int, end: int, etag: str) -> bytes:
        try:
            with self._translated("read", key):
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes={start}-{end - 1}", IfMatch=etag
                )
        except KeyExistsError:
            raise StoreUnreachableError(
                f"{self._place(key)} was replaced while it was read", next_step="run again"
            ) from None
        content = whole_body(answer, place=self._place(key))
        if len(content) != end - start:
            raise StoreRefusedError(
                f"{self._place(key)}: the store sent {len(content)} bytes for a range of {end - start}",
                next_step="keep the archive on an S3 server that answers range requests",
            )
        return content

    def _list(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        paginator = self._client.get_paginator("list_objects_v2")
        target = self._prefix + prefix
        pages = iter(
            paginator.paginate(Bucket=self._bucket, Prefix=target, StartAfter=self._prefix + start_after)
            if (start_after := just_before(after))
            else paginator.paginate(Bucket=self._bucket, Prefix=target)
        )
        while True:
            with self._translated("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(self._prefix)
                # Not ours: the probe's object, and the empty "folders" that consoles make.
                if key > after and is_key(key):
                    yield ObjectInfo(key, entry["Size"])

    def _list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = versions.hidden_pages(self._client, bucket=self._bucket, prefix=self._prefix + prefix)
        while True:
            with self._translated("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            for name, size in page:
                key = name.removeprefix(self._prefix)
                if is_key(key):
                    yield ObjectInfo(key, size)

    def _check_bucket(self) -> None:
        """Tell a missing bucket from a missing key, as the answer to a HEAD, which has no body, cannot."""
        if self._is_bucket_known:
            return
        try:
            with self._translated("read", ""):
                self._client.head_bucket(Bucket=self._bucket)
        except KeyMissingError:
            raise StoreRefusedError(
                f"there is no bucket {self._bucket}", next_step=NEXT_STEPS["NoSuchBucket"]
            ) from None
        self._is_bucket_known = True

    @contextlib.contextmanager
    def _translated(self, doing: str, key: str) -> Iterator[None]:
        """Raise this store's errors for boto3's, without these as their cause: a server's text may repeat what we sent."""
        try:
            yield
        except FAILURES as error:
            raise storage_error(error, doing=doing, place=self._place(key)) from None

    def _place(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")
