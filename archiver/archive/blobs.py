"""The bytes of files, one object per content, named by their SHA-256."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from archiver.archive import layout
from archiver.archive.ledger import BlobRecord
from archiver.errors import DamageFoundError, KeyExistsError, KeyMissingError
from archiver.store import Store

_CHUNK_BYTES = 1024 * 1024


def put(store: Store, record: BlobRecord, path: Path) -> None:
    """Store a local file whose digest and size are known; a blob of that content that is there already is kept.

    Raises `DamageFoundError` if the object there has another size: it is not what its name says.
    """
    key = layout.blob_key(record.sha256)
    try:
        found = store.stat(key)
    except KeyMissingError:
        with suppress(KeyExistsError):  # another writer stored the same content meanwhile
            store.create(key, path)
    else:
        if found.size != record.bytes:
            raise DamageFoundError(
                f"blob {key} in {store.url} has {found.size} bytes, its content has {record.bytes}",
                next_step="run `archiver verify` and restore the object from a copy",
            )


def digest_of(stream: BinaryIO) -> tuple[str, int]:
    """Return the SHA-256 and the size of a stream, read in pieces."""
    digest = sha256()
    size = 0
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
