"""What a verification finds: damages, each with its kind and the object it is about, and how much was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from archiver.errors import EXIT_DAMAGE, EXIT_DONE

DamageKind = Literal[
    "ledger",  # an entry is missing, unreadable, does not follow, or contradicts itself
    "missing",  # an object that the ledger names is not there
    "size",  # it has another number of bytes
    "digest",  # its bytes are not the ones that were committed
    "unreadable",  # it is no Parquet file of its table
    "rows",  # it has another number of rows than the ledger says
    "ranges",  # its least or greatest values are others
    "blob",  # a row names a blob that no entry recorded, or with another size
    "unnamed",  # an object lies among the archive's that no entry names
    "certificate",  # a disposal's certificate is not there, or not the one that its entry names
    "unerased",  # an object lies in the store, or an old version of it, that the ledger says was erased
]

Level = Literal["quick", "full"]


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as the ledger says: the object's key, and a sentence."""

    kind: DamageKind
    key: str
    what: str


@dataclass(frozen=True, slots=True)
class Looked:
    """How much was looked at: ledger entries, data objects, blobs, rows, and bytes that were read and hashed."""

    entries: int
    objects: int
    blobs: int
    rows: int
    bytes_hashed: int


@dataclass(frozen=True, slots=True)
class Account:
    """The rows of a table by the ledger: those ever written are those present now and those disposed of with a certificate."""

    written: int
    present: int
    disposed: int


@dataclass(frozen=True, slots=True)
class Unerased:
    """What a disposal (the ``sequence`` of its entry) took out of the archive and still lies in the store, as objects or old versions."""

    sequence: int
    objects: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome, for the head (``sequence``, ``digest``) that the chain leads to.

    ``unfinished`` counts objects that an interrupted commit left and announced; the next run clears them, they are no damage. Neither
    is what is ``unerased``: its erasing was interrupted, or a lock or a legal hold of the store keeps it, and runs try again.
    ``accounts`` are by table, ``disposals`` counts those whose certificate was looked at.
    """

    level: Level
    archive_id: str
    sequence: int
    digest: str
    looked: Looked
    unfinished: int
    accounts: dict[str, Account]
    disposals: int
    unerased: tuple[Unerased, ...]
    damages: tuple[Damage, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 if all is well, else 4."""
        return EXIT_DAMAGE if self.damages else EXIT_DONE
