"""`archiver verify`: every promise of the ledger held against what is stored.

From the first entry to the head: that each entry names the one before by its digest, that each object it names is there with its size,
SHA-256, rows and ranges, that each blob is what its name says and each row's blob is recorded, and that nothing else lies among them.
Each row that was ever written is present, or a disposal accounts for it, whose certificate is there; what a disposal erased is gone from
the store, with its old versions.
A quick verification follows the chain and looks at sizes, without reading data.

Checkpoints are never looked at. A ledger that somebody rewrote from its first entry on, with all that follows, is consistent in itself:
against that, keep the head's digest elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from itertools import chain as joined

from archiver.archive import layout
from archiver.archive.reader import Archive
from archiver.custody import chain, objects, strays
from archiver.custody.chain import Chain
from archiver.custody.findings import Account, Damage, Level, Looked, Verification
from archiver.custody.objects import Checked
from archiver.store import Store

Progress = Callable[[int, int], None]


def _unwatched(done: int, total: int) -> None:
    del done, total


def verify(store: Store, *, level: Level, executor: Executor, progress: Progress = _unwatched) -> Verification:
    """Verify an archive and return what was found; ``progress`` hears of objects done and their total.

    Raises `UsageError` if there is no archive, `LedgerBrokenError` if ``archive.json`` cannot be read,
    `NewerFormatError` if a newer version wrote it, and `StorageError` if the store does not answer: then nothing is
    known, which is not the same as damage.
    """
    archive = Archive.open(store)
    followed = chain.follow(archive)
    records = [record for _, record in sorted(followed.files.items())]
    blobs = sorted(followed.blobs.items())
    if level == "quick":
        tasks = joined(
            executor.map(lambda record: objects.check_size(store, record.key, size=record.bytes), records),
            executor.map(lambda blob: objects.check_size(store, layout.blob_key(blob[0]), size=blob[1]), blobs),
        )
    else:
        tasks = joined(
            executor.map(lambda record: objects.check_data(store, record), records),
            executor.map(lambda blob: objects.check_blob(store, blob[0], size=blob[1]), blobs),
        )
    disposals = list(followed.disposals.values())
    certificates = executor.map(lambda disposal: objects.check_certificate(store, disposal), disposals)
    total = len(records) + len(blobs) + len(disposals)
    checked = _collect(joined(tasks, certificates), total=total, progress=progress)
    left = strays.find(archive, followed)
    return Verification(
        level=level,
        archive_id=archive.facts.archive_id,
        sequence=followed.sequence,
        digest=followed.digest,
        looked=Looked(
            entries=followed.sequence,
            objects=len(records),
            blobs=len(blobs),
            rows=sum(record.rows for record in records),
            bytes_hashed=sum(item.bytes_hashed for item in checked),
        ),
        unfinished=left.unfinished,
        accounts=_accounts(followed),
        disposals=len(disposals),
        unerased=left.unerased,
        damages=(
            *followed.damages,
            *(damage for item in checked for damage in item.damages),
            *_blobs_not_recorded(followed, checked),
            *_unaccounted(followed),
            *left.damages,
        ),
    )


def _collect(tasks: Iterable[Checked], *, total: int, progress: Progress) -> list[Checked]:
    found: list[Checked] = []
    for item in tasks:
        found.append(item)
        progress(len(found), total)
    return found


def _accounts(followed: Chain) -> dict[str, Account]:
    present: Counter[str] = Counter()
    for record in followed.files.values():
        present[record.table] += record.rows
    tables = sorted(present.keys() | followed.written.keys() | followed.disposed.keys())
    return {
        table: Account(followed.written.get(table, 0), present[table], followed.disposed.get(table, 0))
        for table in tables
    }


def _unaccounted(followed: Chain) -> list[Damage]:
    """Return the tables of which more or fewer rows were written than are present or disposed of; see invariant 5."""
    return [
        Damage(
            "ledger",
            layout.entry_key(followed.sequence),
            f"of {account.written} rows ever written to {table}, {account.present} are present and {account.disposed} disposed of",
        )
        for table, account in _accounts(followed).items()
        if account.written != account.present + account.disposed
    ]


def _blobs_not_recorded(followed: Chain, checked: Iterable[Checked]) -> list[Damage]:
    named = {blob for item in checked for blob in item.blobs_named}
    damages = [
        Damage(
            "blob",
            layout.blob_key(blob.digest),
            f"a row names it {_size(blob.size)}; the ledger records {_record(known)}",
        )
        for blob in named
        if ((known := followed.blobs.get(blob.digest)) is None or blob.size not in (None, known))
        # A message that stays may name the blob of a file of its that was disposed of; a row of ``files`` may not.
        and not (blob.size is None and layout.blob_key(blob.digest) in followed.gone)
    ]
    return sorted(damages, key=lambda damage: (damage.key, damage.what))


def _size(size: int | None) -> str:
    return "without its size" if size is None else f"with {size} bytes"


def _record(size: int | None) -> str:
    return "no such blob" if size is None else f"{size} bytes"
