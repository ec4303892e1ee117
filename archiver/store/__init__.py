"""Stores: keys and bytes, nothing else. `Store` is the contract; `local`, `memory` and `s3` keep it.

One conformance suite (``tests/store``) runs against every store, so a promise made here is a test there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

MULTIPART_FROM_BYTES = 16 * 1024 * 1024

# How quickly, and so how dearly, a cold object is to become readable.
ThawSpeed = Literal["expedited", "standard", "bulk"]
# What `Store.thaw` found or did: it can be read now, it was asked for just now, or it was asked for before.
ThawState = Literal["readable", "asked", "under way"]


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of an object: its key below the store's root and its size in bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """What keeps an object from being erased: a lock until an instant (milliseconds since 1970 UTC), a legal hold, or both."""

    until_ms: int | None
    legal_hold: bool


class Batch(Protocol):
    """Objects that are created together; see `Store.batch`. Several threads may create in it at once."""

    taken: set[str]
    """When the block has ended: keys that somebody else created meanwhile, whose objects are theirs."""

    def create(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write an object of the batch from its pieces; raises `KeyExistsError` if the key is taken by then.

        A key comes once in a batch. A piece is done with before the next is asked for. What the pieces themselves raise is passed on,
        and then there is no such object: so whoever makes them may refuse the whole at its end.
        """
        ...


class Store(Protocol):
    """Objects under keys, strongly consistent: what was written is read and listed at once.

    **Keys** are relative, ``/``-separated, of printable ASCII without backslashes, at most 512 characters with at most 255 in
    a segment, no segment empty, ``.`` or ``..``, the first neither ``.store`` nor ``lost+found``. Others raise
    `ValueError` before anything is touched. As some stores keep folders, a caller never uses a key that is also a folder
    of another (``a`` and ``a/b``), and where it relies on the order of a listing, no folder's name continues in a sibling's
    name with a character that sorts before the slash (``a/…`` beside ``a-b`` or ``a.b``).

    **Errors**: reading a key that is not there raises `KeyMissingError`. A store that does not answer after its own retries
    raises `StoreUnreachableError` (later may work), one that answers no raises `StoreRefusedError` (later will not), one
    without space `StoreFullError`. Reading the bytes of an object that is cold (`is_cold`) raises `ObjectColdError`. No
    error text holds a credential. After any of these from `create`, `replace` or
    `delete`, `erase`, the caller cannot know whether the change took effect, and looks if it must.

    Every call is **atomic** towards readers and **durable** on return: an object is there whole or not at all, also after a
    crash. All methods may be called from several threads at once.
    """

    @property
    def url(self) -> str:
        """Where the root is, for people and other engines: ``s3://bucket/prefix``, a directory path, ``memory:``."""
        ...

    def create(self, key: str, data: bytes | Path) -> None:
        """Write an object that must not exist yet; raises `KeyExistsError`. Of several writers exactly one wins.

        ``data`` is the bytes, or a local file that is streamed; what reading that file raises is passed on. A retry inside
        the store may find its own first try and then also raises `KeyExistsError`: a caller that must know compares what
        is there.
        """
        ...

    def batch(self, folder: Path) -> AbstractContextManager[Batch]:
        """Begin to create objects that need to be durable only together, when the ``with`` block ends without an error.

        Each is atomic as ever, and may be read from its `create` on or not before the end. If the block ends with an error, any
        of them may be there or not. A caller has no more than a few hundred objects in a batch: each may cost an open file.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write an object whether or not one is there. Only for what can be made again, such as a checkpoint."""
        ...

    def read(self, key: str) -> bytes:
        """Return a whole object."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Return a seekable reader over an object that fetches only the ranges that are read.

        The reader belongs to one thread. All its bytes are of one version of the object: if that is replaced meanwhile, the
        reader goes on with the old one or raises `StoreUnreachableError`.
        """
        ...

    def stat(self, key: str) -> ObjectInfo:
        """Return an object's facts without its bytes."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix`` and sorts after ``after``, in key order (code points).

        Both may be any beginning of a key, and empty; others raise `ValueError` at the call. An object that is written or
        deleted meanwhile may be in it or not.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error. A store with versions may keep it as an old one: see `erase`."""
        ...

    def erase(self, key: str) -> None:
        """Remove an object for good, with every old version and marker that a versioned store keeps; nothing there is no error.

        From its first step on, a read of the key finds nothing, and never an older version. Raises `ObjectLockedError` if a
        lock or a legal hold keeps any version: whatever it does not keep is gone then, and what it keeps is hidden. Calling
        it again goes on. What a disk or a backup beneath the store still holds is not the store's to know.
        """
        ...

    def lock(self, key: str) -> ObjectLock | None:
        """Return what would keep an object from being erased now, None if nothing would or the store knows no locks.

        Looks at what is under the key, and not at older versions. Raises `KeyMissingError`.
        """
        ...

    def storage_class(self, key: str) -> str | None:
        """Return the storage class that an object lies in, ``STANDARD`` unless it was moved; None where there are no classes.

        Raises `KeyMissingError`.
        """
        ...

    def move_to_class(self, key: str, storage_class: str) -> bool:
        """Move an object to another storage class, its bytes and its key unchanged; return whether it was in another one.

        What it leaves in the old class is erased. Raises `KeyMissingError`, `ObjectLockedError` for an object under a lock or a
        legal hold, which the moved one would not have, and `StoreRefusedError` where there are no classes, for a class that
        cannot be read at once, and for an object that is too large to move.
        """
        ...

    def is_cold(self, key: str) -> bool:
        """Tell whether the bytes of an object cannot be read now, because it lies in a class out of which they come within hours.

        False where there are no classes. Its facts (`stat`, `lock`, `storage_class`) can be asked all the same. Raises
        `KeyMissingError`.
        """
        ...

    def thaw(self, key: str, *, days: int, speed: ThawSpeed) -> ThawState:
        """Ask that an object can be read within hours and for so many days then, and return at once how far that came.

        Asked again it costs nothing and tells the state, also another process that asks, so whoever waits asks until it is
        ``readable``, which an object that was never cold is from the start. Neither its bytes, its key nor its class change.
        Raises `KeyMissingError`, and `StoreRefusedError` if the store does not allow it, or not at that speed.
        """
        ...

    def can_hold(self) -> bool:
        """Tell whether this store, where it is and with these rights, has legal holds: marks that keep objects from being erased.

        Tries it on an object of the store's own, which is never listed. Raises `StoreRefusedError` if the rights for it are
        missing, or if the store takes the mark and does not hold; and as any write.
        """
        ...

    def set_legal_hold(self, key: str, *, on: bool) -> bool:
        """Put a legal hold on the object under a key, or lift it; return whether that changed anything.

        The mark binds to the version that is there, and not to a later one; `lock` tells of it. Lifting takes it from every
        version under the key, hidden ones too, so that `erase` can go on. Raises `KeyMissingError`, and `StoreRefusedError`
        where there are no legal holds, or no rights for them.
        """
        ...

    def list_hidden(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield what lies under such keys and `read` does not return: old versions, once for each, in key order.

        A store without versions has none. Uploads that nobody ended are not among them: `sweep` removes those.
        """
        ...

    def probe(self) -> None:
        """Show that this store, where it is and with these rights, can be written and refuses a second create.

        For the start of what writes: raises `StoreRefusedError` if it says yes to a create of a key that exists, besides the
        errors of any write. Leaves at most an object of the store's own, which is never listed.
        """
        ...

    def sweep(self) -> int:
        """Remove what stopped writers left half written, never what a living one is writing; returns how many pieces.

        Such pieces are never listed or read; sweeping only gives back their space.
        """
        ...
