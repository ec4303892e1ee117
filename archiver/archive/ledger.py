"""The ledger: one JSON object a commit, each naming the one before by digest.

An entry is stored as canonical JSON (keys sorted, no white space, UTF-8), and its digest is the SHA-256 of exactly
those bytes, so ``sha256sum ledger/000000000041.json`` prints what entry 42 has under ``previous``. The first entry
names ``archive.json`` that way.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Literal

import msgspec

from archiver.archive import layout
from archiver.archive.schema import FORMAT
from archiver.errors import (
    KeyExistsError,
    KeyMissingError,
    LedgerBrokenError,
    NewerFormatError,
    RefusedError,
    StorageError,
    StoreUnreachableError,
)
from archiver.store import Store

EntryKind = Literal[
    "capture", "compact", "dispose", "hold", "policy", "key", "export", "search", "restore", "replay", "promote"
]


class ArchiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """``archive.json``: what this archive is; written once. ``created_at`` is ISO 8601 in UTC."""

    format: int
    archive_id: str
    workspace: str
    created_at: str


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A data object: its table, key, size, SHA-256 and rows, the least and greatest values, and rows that await work.

    ``ranges`` maps a column to its least and greatest value; instants are milliseconds since 1970 UTC. ``open_rows``
    counts rows that a later run must come back to: files not stored yet, uids not fetched yet. ``astray_rows`` counts
    messages that do not lie under the day where they are looked for first (`archiver.archive.home`).
    """

    table: str
    key: str
    bytes: int
    sha256: str
    rows: int
    ranges: dict[str, tuple[int | str, int | str]]
    open_rows: int = 0
    astray_rows: int = 0


class BlobRecord(msgspec.Struct, frozen=True):
    """A blob that rows of a commit name: its SHA-256 and its size in bytes. Several commits may name the same."""

    sha256: str
    bytes: int


class Removal(msgspec.Struct, frozen=True):
    """An object that this entry takes out of the archive, and why."""

    key: str
    reason: str


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that somebody brought and this commit took rows from: its name without folders, SHA-256 and size."""

    name: str
    sha256: str
    bytes: int


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Something this run knows it may have missed: what kind, where, how often, and how we know.

    ``subject`` is what else it concerns, such as a uid, a feed or a token's fingerprint. Two gaps of one kind, chat, user
    and subject are the same gap. What may be missing lies between ``from_at_ms`` and ``to_at_ms``, as far as known.
    """

    kind: str
    count: int
    evidence: str
    chat_id: str | None = None
    user_id: str | None = None
    subject: str | None = None
    from_at_ms: int | None = None
    to_at_ms: int | None = None


class HoldScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a legal hold covers: an item that meets every part that is given; a part that is empty or null asks for nothing.

    ``custodians`` are user ids or e-mail addresses, ``chats`` ids of channels and of one-to-one chats; what was sent from
    ``from_at_ms`` (included) to ``until_ms`` (not included); ``expression`` is one of `archiver search`, and ``zone`` names the time
    zone of the days in it.
    """

    custodians: tuple[str, ...] = ()
    chats: tuple[str, ...] = ()
    from_at_ms: int | None = None
    until_ms: int | None = None
    expression: str | None = None
    zone: str | None = None


class HoldChange(msgspec.Struct, frozen=True, kw_only=True):
    """A hold was placed, with its scope, or released; by whom and when the entry says."""

    name: str
    action: Literal["place", "release"]
    reason: str
    scope: HoldScope | None = None


class Disposal(msgspec.Struct, frozen=True, kw_only=True):
    """What this entry disposed of: by which plan, who approved, rows by table, and the certificate that stays.

    ``certificate_sha256`` is that of the object ``certificates/<plan>.json``.
    """

    plan: str
    approved_by: str
    rows: dict[str, int]
    certificate_sha256: str


class MatterAct(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody looked into the archive on behalf of a matter: the entry's kind says what was done, its actor who did it.

    ``scope`` is what was asked for, ``head_sequence`` and ``head_digest`` name the head that answered, ``counts`` what was found by kind
    (messages, files, conversations, …). ``package_sha256`` is that of the tag manifest of the package that was made, ``detail`` what else
    tells two acts apart, such as options by name.
    """

    matter: str
    head_sequence: int
    head_digest: str
    counts: dict[str, int]
    scope: HoldScope | None = None
    package_sha256: str | None = None
    detail: dict[str, str] = {}


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """A copy became the archive here, because the archive that it was a copy of is lost: from this entry on others are written to it.

    ``place`` is where the copy lies, ``head_sequence`` and ``head_digest`` name the commit at which it stood. ``behind`` says what is known
    to be lost with the archive, null if nothing is; ``damages`` counts what `archiver verify --quick` found and was taken as it is.
    """

    place: str
    reason: str
    head_sequence: int
    head_digest: str
    behind: str | None = None
    damages: int = 0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One commit. It covers all tables of a batch: it is all there or not there at all.

    ``settled`` names data objects whose open rows are all dealt with by this or earlier entries; ``watermarks`` maps
    each spool to the last sequence that the archive holds; ``cursors`` maps a place that is read in pages to how far it
    was read, as the reader of that place writes it. ``inputs`` are files that were imported. ``hold`` is a hold that was placed
    or released; ``disposal`` what retention removed, ``erased`` the sequence of an earlier entry whose removed objects are gone from
    the store, with all their old versions. ``matter`` is what was done on behalf of a matter; ``promotion`` how a copy became the archive.
    ``checkpoint`` is the SHA-256 of the checkpoint taken at this commit, null where none is. ``signature`` is null until an archive is
    given a signing key.
    """

    format: int
    archive_id: str
    sequence: int
    previous: str
    at: str
    kind: EntryKind
    run: str
    actor: str
    software: str
    added: tuple[FileRecord, ...]
    blobs: tuple[BlobRecord, ...]
    removed: tuple[Removal, ...]
    settled: tuple[str, ...]
    watermarks: dict[str, int]
    counts: dict[str, int]
    gaps: tuple[Gap, ...]
    cursors: dict[str, str] = {}
    inputs: tuple[InputFile, ...] = ()
    hold: HoldChange | None = None
    disposal: Disposal | None = None
    erased: int | None = None
    matter: MatterAct | None = None
    promotion: Promotion | None = None
    checkpoint: str | None = None
    signature: str | None = None


class _Format(msgspec.Struct, frozen=True):
    """The one field that every version of every object of a ledger has."""

    format: int


class HeadMovedError(RefusedError):
    """Another writer committed first: what was prepared rests on an old head and must be prepared again."""


_encode = msgspec.json.Encoder(order="sorted").encode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_format = msgspec.json.Decoder(_Format).decode
_decode_facts = msgspec.json.Decoder(ArchiveFacts).decode


def canonical_json(value: object) -> bytes:
    """Return the canonical JSON of a value: keys sorted, no white space, UTF-8."""
    return _encode(value)


def found(store: Store, facts: ArchiveFacts) -> None:
    """Write ``archive.json``; raises `KeyExistsError` if an archive is there already."""
    store.create(layout.ARCHIVE_KEY, canonical_json(facts))


def read_facts(store: Store) -> tuple[ArchiveFacts, str]:
    """Return what the archive is and the digest of ``archive.json``.

    Raises `KeyMissingError` if there is no archive, `NewerFormatError` if it is beyond this version, and
    `LedgerBrokenError` if it cannot be read.
    """
    data = store.read(layout.ARCHIVE_KEY)
    try:
        facts = _decode_facts(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        _require_known_format(_format_of(data), layout.ARCHIVE_KEY, store)
        raise LedgerBrokenError(
            f"{layout.ARCHIVE_KEY} in {store.url} cannot be read: {error}",
            next_step="restore it from a copy; its SHA-256 stands as 'previous' in the first ledger entry",
        ) from None
    _require_known_format(facts.format, layout.ARCHIVE_KEY, store)
    return facts, sha256(data).hexdigest()


def read_entry(store: Store, sequence: int) -> tuple[Entry, str]:
    """Return an entry and its digest; raises `KeyMissingError`, `NewerFormatError` or `LedgerBrokenError`."""
    key = layout.entry_key(sequence)
    data = store.read(key)
    try:
        entry = _decode_entry(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        _require_known_format(_format_of(data), key, store)
        raise LedgerBrokenError(
            f"ledger entry {key} in {store.url} cannot be read: {error}", next_step="restore the object from a copy"
        ) from None
    _require_known_format(entry.format, key, store)
    if entry.sequence != sequence:
        raise LedgerBrokenError(f"ledger entry {key} in {store.url} says that it is entry {entry.sequence}")
    return entry, sha256(data).hexdigest()


def entries_after(store: Store, sequence: int, digest: str) -> Iterator[tuple[Entry, str]]:
    """Yield the entries that follow entry ``sequence``, whose digest is ``digest``, each with its digest, in order.

    Raises `LedgerBrokenError` where an entry is missing or does not follow from the one before.
    """
    for info in store.list(layout.LEDGER_PREFIX, after=layout.entry_key(sequence)):
        following = layout.sequence_of_entry(info.key)
        if following is None:
            if info.key > layout.entry_key(10**12 - 1):
                return  # checkpoints and notes sort after every entry
            continue
        if following != sequence + 1:
            raise LedgerBrokenError(
                f"ledger entry {layout.entry_key(sequence + 1)} is missing in {store.url}, entry {following} is there",
                next_step="restore the object from a copy, then run `archiver verify`",
            )
        try:
            entry, entry_digest = read_entry(store, following)
        except KeyMissingError:
            raise LedgerBrokenError(f"ledger entry {info.key} vanished from {store.url} while it was read") from None
        if entry.previous != digest:
            raise LedgerBrokenError(
                f"ledger entry {info.key} in {store.url} does not follow from the one before: "
                f"it names {entry.previous}, which is not {digest}",
                next_step="one of the two was changed after it was written; compare both with a copy",
            )
        yield entry, entry_digest
        sequence, digest = following, entry_digest


def append(store: Store, entry: Entry) -> str:
    """Write the next entry and return its digest; raises `HeadMovedError` if another writer was first.

    The answer to a create may be lost, and a store may find its own first try: then what is there decides. Raises
    `StoreUnreachableError` only where that cannot be told.
    """
    data = canonical_json(entry)
    key = layout.entry_key(entry.sequence)
    try:
        store.create(key, data)
    except (KeyExistsError, StoreUnreachableError) as error:
        try:
            there = store.read(key)
        except StorageError:
            raise error from None
        if there != data:
            raise HeadMovedError(
                f"another writer committed {key} to {store.url} first",
                next_step="run again; nothing was added and nothing is lost",
            ) from None
    return sha256(data).hexdigest()


def _require_known_format(number: int, key: str, store: Store) -> None:
    if number > FORMAT:
        raise NewerFormatError(
            f"{key} in {store.url} is of archive format {number}; this version reads up to {FORMAT}",
            next_step="upgrade flock-archiver and run again; nothing was changed",
        )


def _format_of(data: bytes) -> int:
    """Return the format that an object says it is of, even if nothing else in it is as we know it."""
    try:
        return _decode_format(data).format
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return FORMAT
