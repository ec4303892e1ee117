"""Stores: keys and bytes, nothing else. `Store` is the contract; `local`, `memory` and `s3` keep it.

One conformance suite (``tests/store``) runs against every store, so a promise made here is a test there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

MULTIPART_FROM_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of an object: its key below the store's root and its size in bytes."""

    key: str
    size: int


class Store(Protocol):
    """Objects under keys, strongly consistent: what was written is read and listed at once.

    Keys are relative, ``/``-separated, of printable ASCII, no segment empty, ``.`` or ``..``; others raise `ValueError`
    before anything is touched. Reading a key that is not there raises `KeyMissingError`. A store that does not answer
    after its own retries raises `StoreUnreachableError` (later may work), one that answers no raises
    `StoreRefusedError` (later will not), one without space `StoreFullError`. No error text holds a credential.

    Every call is atomic towards readers and durable on return: an object is there whole or not at all, also after a
    crash. All methods may be called from several threads at once.
    """

    @property
    def url(self) -> str:
        """Where the root is, for people and other engines: ``s3://bucket/prefix``, a directory path, ``memory:``."""
        ...

    def create(self, key: str, data: bytes | Path) -> None:
        """Write an object that must not exist yet; raises `KeyExistsError`. Of several writers exactly one wins.

        ``data`` is the bytes, or a local file that is streamed. A retry inside the store may find its own first try and
        then also raises `KeyExistsError`: a caller that must know compares what is there.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write an object whether or not one is there. Only for what can be made again, such as a checkpoint."""
        ...

    def read(self, key: str) -> bytes:
        """Return a whole object."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Return a seekable reader over an object that fetches only the ranges that are read."""
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Return an object's facts without its bytes."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix`` and sorts after ``after``, in key order (code points)."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...
