"""Holding a certificate against the ledger and the store: whether what it says was done is what was done.

The certificate itself is a claim. What bears it out: the one entry of the ledger that names its SHA-256, what earlier entries said of the
objects that went, and that these objects are in the store no more, with no old version of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

import msgspec

from archiver.archive import layout
from archiver.archive.ledger import BlobRecord, Disposal, Entry, FileRecord
from archiver.archive.reader import Archive
from archiver.errors import KeyMissingError, UsageError
from archiver.retention.certificate import Certificate, load_certificate
from archiver.retention.plan_document import BEGINNING, DIGEST_DIGITS_MIN
from archiver.store import Store

Left = Literal["lock", "legal hold", "old version", "not erased yet"]

_NOT_COMMITTED: Final = "no entry of the ledger names it: what was begun broke off, and nothing of it happened"


@dataclass(frozen=True, slots=True)
class StillThere:
    """An object that went from the archive and is still in the store, why, and until when a lock keeps it (ISO 8601 in UTC)."""

    key: str
    why: Left
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A certificate, the entry that it belongs to (null where there is none), and every way in which the two or the store differ from it.

    ``erased`` is the sequence of the entry that says that nothing is left of what went; ``used_again`` counts blobs that came again later.
    """

    certificate: Certificate
    key: str
    sha256: str
    sequence: int | None
    erased: int | None
    looked_for: int
    still_there: tuple[StillThere, ...]
    used_again: int
    differs: tuple[str, ...]


def find_certificate(store: Store, beginning: str) -> str:
    """Return the digest of the one plan that was applied and begins so; raises `UsageError`."""
    if not BEGINNING.fullmatch(beginning):
        raise UsageError(
            f"not the digest of a plan: {beginning[:80]!r}",
            next_step=f"give the plan's digest, or its first {DIGEST_DIGITS_MIN} digits or more; `archiver retention explain` names it "
            "for a message that is gone",
        )
    keys = (info.key for info in store.list(layout.CERTIFICATE_PREFIX + beginning))
    found = [plan for key in keys if (plan := layout.plan_of_certificate(key)) is not None]
    if len(found) != 1:
        what = (
            f"{len(found)} certificates begin with {beginning}"
            if found
            else f"{store.url} has no certificate {beginning}"
        )
        raise UsageError(what, next_step="give the whole digest of a plan that was applied")
    return found[0]


def check_certificate(archive: Archive, plan: str, *, executor: Executor) -> Checked:
    """Return what holding the certificate of a plan, by the plan's whole digest, against ledger and store comes to.

    Raises `UsageError` if there is none, `DamageFoundError` if it or the ledger cannot be read.
    """
    certificate = load_certificate(archive.store, plan)
    key = layout.certificate_key(plan)
    digest = sha256(archive.store.read(key)).hexdigest()
    told = _told(archive, certificate)
    differs = [*_differing(certificate, plan, digest, told)]
    removed = (
        [removal.key for removal in told.entry.removed if removal.key not in told.used_again] if told.entry else []
    )
    there = [one for one in executor.map(lambda gone: _left(archive.store, gone), removed) if one is not None]
    if told.erased is not None:
        differs += [f"{one.key} is in the store, and commit {told.erased} says that it was erased" for one in there]
    return Checked(
        certificate=certificate,
        key=key,
        sha256=digest,
        sequence=told.entry.sequence if told.entry else None,
        erased=told.erased,
        looked_for=len(removed),
        still_there=tuple(there),
        used_again=len(told.used_again),
        differs=tuple(differs),
    )


@dataclass(slots=True)
class _Told:
    """What the ledger tells of a disposal: its entry, what it said of the objects before, and what became of it later."""

    entry: Entry | None = None
    before: dict[str, FileRecord] = field(default_factory=dict)
    blobs: dict[str, BlobRecord] = field(default_factory=dict)
    used_again: set[str] = field(default_factory=set)
    erased: int | None = None


def _told(archive: Archive, certificate: Certificate) -> _Told:
    told = _Told()
    keys = {change.key for change in certificate.objects}
    blobs = {layout.blob_key(blob.sha256) for blob in certificate.blobs}
    for entry, _ in archive.entries():
        named = {layout.blob_key(blob.sha256): blob for blob in entry.blobs}
        if told.entry is None:
            told.before.update((record.key, record) for record in entry.added if record.key in keys)
            told.blobs.update((key, blob) for key, blob in named.items() if key in blobs)
            if entry.disposal is not None and entry.disposal.plan == certificate.plan:
                told.entry = entry
            continue
        told.used_again.update(named.keys() & blobs)
        told.used_again.difference_update(removal.key for removal in entry.removed)
        if entry.erased == told.entry.sequence:
            told.erased = entry.sequence
    return told


def _differing(certificate: Certificate, plan: str, digest: str, told: _Told) -> Iterator[str]:
    if certificate.plan != plan:
        yield f"it is of plan {certificate.plan}, and lies where that of {plan} does"
    if told.entry is None or told.entry.disposal is None:
        yield _NOT_COMMITTED
        return
    yield from _differing_from_entry(certificate, digest, told.entry, told.entry.disposal)
    yield from _differing_objects(certificate, told, told.entry)
    yield from _differing_sums(certificate, told)


def _differing_from_entry(certificate: Certificate, digest: str, entry: Entry, disposal: Disposal) -> Iterator[str]:
    pairs: dict[str, tuple[object, object]] = {
        "its SHA-256": (digest, disposal.certificate_sha256),
        "the archive": (certificate.archive_id, entry.archive_id),
        "who approved": (certificate.approved_by, disposal.approved_by),
        "the rows": (certificate.rows, disposal.rows),
        "the head before": (certificate.head_sequence, entry.sequence - 1),
        "the digest of the head before": (certificate.head_digest, entry.previous),
        "when": (certificate.at, entry.at),
        "the actor": (certificate.actor, entry.actor),
    }
    for what, (says, is_) in pairs.items():
        if says != is_:
            yield f"{what} is {_shown(says)} by the certificate and {_shown(is_)} by commit {entry.sequence}"


def _differing_objects(certificate: Certificate, told: _Told, entry: Entry) -> Iterator[str]:
    removed = {removal.key for removal in entry.removed}
    named = {change.key for change in certificate.objects} | {
        layout.blob_key(blob.sha256) for blob in certificate.blobs
    }
    for key in sorted(removed ^ named):
        yield f"{key} is named by {'the commit' if key in removed else 'the certificate'} alone"
    added = {record.key: record for record in entry.added}
    for change in certificate.objects:
        record = told.before.get(change.key)
        if record is None or (record.sha256, record.rows) != (change.sha256, change.rows):
            yield f"{change.key} is not the object that the ledger told of before"
        new = added.pop(change.new_key, None) if change.new_key is not None else None
        if change.new_key is not None and (
            new is None or (new.sha256, new.rows) != (change.new_sha256, change.new_rows)
        ):
            yield f"{change.new_key} is not the object that the commit put in the place of {change.key}"
    for key in added:
        yield f"{key} was put in the place of none of the objects that went"
    for blob in certificate.blobs:
        if told.blobs.get(layout.blob_key(blob.sha256)) != blob:
            yield f"{layout.blob_key(blob.sha256)} is not the blob that the ledger told of before"


def _differing_sums(certificate: Certificate, told: _Told) -> Iterator[str]:
    """Tell where the numbers of a certificate do not add up."""
    rows: Counter[str] = Counter()
    for change in certificate.objects:
        if (record := told.before.get(change.key)) is not None:
            rows[record.table] += change.rows - change.new_rows
    if +rows != +Counter(certificate.rows):
        yield f"the objects that it names lost {_shown(dict(rows))} rows, and it says {_shown(certificate.rows)}"
    for what, said, shares in (
        ("items", certificate.items, [share.items for share in certificate.rules]),
        ("rows", certificate.rows, [share.rows for share in certificate.rules]),
    ):
        summed: Counter[str] = Counter()
        for share in shares:
            summed.update(share)
        if +summed != +Counter(said):
            yield f"its rules came to {_shown(dict(summed))} {what}, and it says {_shown(said)}"
    planned, gone = sum(certificate.items_planned.values()), sum(certificate.items.values())
    if planned != gone + certificate.items_held:
        yield f"of {planned} items of the plan {gone} went and {certificate.items_held} were held, which is not all of them"


def _left(store: Store, key: str) -> StillThere | None:
    """Return what is left of a removed object in the store, old versions included."""
    try:
        lock = store.lock(key)
    except KeyMissingError:
        hidden = any(info.key == key for info in store.list_hidden(key))
        return StillThere(key, "old version") if hidden else None
    if lock is None:
        return StillThere(key, "not erased yet")
    return StillThere(key, "legal hold" if lock.legal_hold else "lock", lock.until_ms)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count:,} {name}" for name, count in sorted(value.items())) or "none"
    return str(msgspec.to_builtins(value))
