"""Objects that lie among the archive's and that no ledger entry names.

They matter: whoever reads the archive with nothing but a glob would count their rows too, and after the newest entries of
a ledger were taken away, their data is what remains. What an interrupted commit left is told apart by the note that it
wrote first (`archiver.archive.commit`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from archiver.archive import layout, ledger
from archiver.archive.commit import Pending
from archiver.archive.reader import Archive
from archiver.archive.schema import TABLES
from archiver.custody.chain import Chain
from archiver.custody.findings import Damage, Unerased
from archiver.errors import KeyMissingError, LedgerBrokenError

_PREFIXES = (*(f"{name}/" for name in TABLES), layout.BLOB_PREFIX)


@dataclass(frozen=True, slots=True)
class Strays:
    """What no entry names: damages, how many objects are only what an interrupted commit left, and what awaits its erasing."""

    damages: tuple[Damage, ...]
    unfinished: int
    unerased: tuple[Unerased, ...] = ()


def find(archive: Archive, chain: Chain) -> Strays:
    """List the archive's objects and return those that neither an entry nor an interrupted commit accounts for.

    A run may be committing meanwhile: what it writes has its note, and when the note has gone, its entry.
    """
    certified = {layout.certificate_key(disposal.plan) for disposal in chain.disposals.values()}
    unnamed = [
        key
        for key in _keys(archive)
        if key not in chain.files and _digest(key) not in chain.blobs and key not in certified
    ]
    # Old versions of what lies there under the ledger's eyes are nobody's rows; of what went they are what should have gone.
    hidden = {key for key in _hidden_keys(archive) if key in chain.gone}
    if not unnamed and not hidden:
        return Strays((), 0)
    announced = _announced(archive)
    later = _named_since(archive, chain)
    left = [key for key in unnamed if key not in later and key not in chain.gone]
    damages = [
        Damage("unnamed", key, "no ledger entry names it")
        for key in left
        if key not in announced and _is_there(archive, key)
    ]
    still = hidden.union(key for key in unnamed if key in chain.gone and key not in later)
    # A blob's key is its content's, which may be about to be committed again.
    coming = {key for key in still if key in announced and layout.is_blob_key(key)}
    still -= coming
    awaited = Counter(chain.gone[key] for key in still if chain.gone[key] in chain.unerased)
    damages += [
        Damage("unerased", key, f"entry {chain.gone[key]} removed it, and a later one says that it was erased")
        for key in sorted(still)
        if chain.gone[key] not in chain.unerased
    ]
    return Strays(
        tuple(damages),
        sum(key in announced for key in left) + len(coming),
        tuple(Unerased(sequence, objects) for sequence, objects in sorted(awaited.items())),
    )


def _hidden_keys(archive: Archive) -> Iterator[str]:
    for prefix in _PREFIXES:
        yield from (info.key for info in archive.store.list_hidden(prefix))


def _keys(archive: Archive) -> list[str]:
    return [info.key for prefix in (*_PREFIXES, layout.CERTIFICATE_PREFIX) for info in archive.store.list(prefix)]


def _digest(key: str) -> str:
    return key.rpartition("/")[2] if key.startswith(layout.BLOB_PREFIX) else ""


def _announced(archive: Archive) -> set[str]:
    keys: set[str] = set()
    for info in archive.store.list(layout.PENDING_PREFIX):
        try:
            keys.update(msgspec.json.decode(archive.store.read(info.key), type=Pending).keys)
        except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return keys


def _named_since(archive: Archive, chain: Chain) -> set[str]:
    named: set[str] = set()
    # Where the chain breaks, its own check has said so already.
    with suppress(LedgerBrokenError):
        for entry, _ in ledger.entries_after(archive.store, chain.sequence, chain.digest):
            named.update(record.key for record in entry.added)
            named.update(layout.blob_key(blob.sha256) for blob in entry.blobs)
            named.update(removal.key for removal in entry.removed)
            if entry.disposal is not None:
                named.add(layout.certificate_key(entry.disposal.plan))
    return named


def _is_there(archive: Archive, key: str) -> bool:
    try:
        archive.store.stat(key)
    except KeyMissingError:
        return False
    return True
