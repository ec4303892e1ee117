"""Copying one object from a store to another, held against its digest on the way, so that nothing else gets its name in the copy."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from mmap import mmap
from typing import Final

from archiver.archive import blobs
from archiver.discovery.clone_legs import Needed
from archiver.errors import DamageFoundError, KeyExistsError, KeyMissingError, ObjectColdError
from archiver.store import Batch, Store

# A piece is read, hashed and written while the processor still has it at hand.
FILE_PIECE_BYTES: Final = 1024 * 1024
# Where each reading is a request, an object comes with one, up to this.
REQUEST_PIECE_BYTES: Final = 32 * 1024 * 1024


def copy_object(source: Store, target: Store, batch: Batch, item: Needed, *, piece_bytes: int) -> int | None:
    """Copy an object in a batch of ``target`` and return the bytes that were copied, None if it is there already.

    Raises `KeyMissingError` if the source does not have it, and `DamageFoundError` if what the source has, or what lies in the copy
    under that key already, is not what the digest says. Nothing unverified is left in the copy.
    """
    sizes: list[int] = []
    try:
        batch.create(item.key, verified_pieces(source, item, piece_bytes=piece_bytes, sizes=sizes))
    except KeyExistsError:
        require_there(target, item)
        return None
    return sum(sizes)


def verified_pieces(store: Store, item: Needed, *, piece_bytes: int, sizes: list[int]) -> Iterator[bytes | memoryview]:
    """Yield an object in pieces, noting their sizes; raises `DamageFoundError` at the end if it is not what its digest says."""
    if item.bytes is None or item.bytes <= piece_bytes:
        data = store.read(item.key)
        sizes.append(len(data))
        _require(sha256(data).hexdigest(), item, store)
        yield data
        return
    # Memory of its own pages, from which a disk can be written to without copying.
    digest, buffer = sha256(), memoryview(mmap(-1, piece_bytes))
    with store.open(item.key) as stream:
        while size := stream.readinto(buffer):  # type: ignore[attr-defined]
            piece = buffer[:size]
            digest.update(piece)
            sizes.append(size)
            yield piece
    _require(digest.hexdigest(), item, store)


def require_there(target: Store, item: Needed) -> None:
    """Raise `DamageFoundError` unless what lies in the copy under a key is what the ledger says.

    What a lifecycle rule of the copy's bucket moved to a cold class was held against its digest when it came; its size must do then.
    """
    try:
        with target.open(item.key) as stream:
            found, _ = blobs.digest_of(stream)
    except ObjectColdError:
        size = target.stat(item.key).size
        if item.bytes not in (None, size):
            raise DamageFoundError(
                f"{item.key} in {target.url} has {size} bytes, the ledger says {item.bytes}",
                next_step="remove it there, and the next call copies it again",
            ) from None
        return
    _require(found, item, target)


def read_verified(source: Store, key: str, digest: str) -> bytes:
    """Return a small object; raises `DamageFoundError` if it is missing or not what its digest says."""
    try:
        data = source.read(key)
    except KeyMissingError:
        raise missing(source, key) from None
    _require(sha256(data).hexdigest(), Needed(key, None, digest), source)
    return data


def missing(source: Store, key: str) -> DamageFoundError:
    """Return the error of an object that the ledger names and the source does not have."""
    return DamageFoundError(
        f"{key} is missing in {source.url}, the ledger names it",
        next_step="run `archiver verify` for a full list, then restore the object from a copy",
    )


def _require(found: str, item: Needed, store: Store) -> None:
    if found != item.sha256:
        raise DamageFoundError(
            f"{item.key} in {store.url} has SHA-256 {found}, the ledger says {item.sha256}",
            next_step="run `archiver verify` on it for a full list, then restore the object from a copy",
        )
