"""The certificate of a disposal: what went, how much by which rule, who approved it, and what stayed although the plan named it.

``certificates/<plan digest>.json`` is canonical JSON and is written before the ledger entry that names its SHA-256, so an entry never
stands without it. It stays in the archive when everything that it tells of has gone, so it holds no text of any message and no name of a
person: counts, digests, keys. What lay in the store then is gone for good when a later entry says ``erased``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive import layout
from archiver.archive.commit import Author
from archiver.archive.ledger import BlobRecord, FileRecord, canonical_json
from archiver.archive.reader import Head
from archiver.clock import to_text
from archiver.errors import DamageFoundError, KeyExistsError, KeyMissingError, RefusedError, UsageError
from archiver.retention.located import Located, counts_of
from archiver.retention.plan_document import Plan
from archiver.store import ObjectLock, Store

CERTIFICATE_FORMAT: Final = 1


class RuleShare(msgspec.Struct, frozen=True, kw_only=True):
    """What went by one rule of the policy: items by kind, rows by table."""

    rule: str | None
    items: dict[str, int]
    rows: dict[str, int]


class ObjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """A data object that went, with its rows and SHA-256, and the one that holds what stayed of it; null where nothing stayed."""

    key: str
    sha256: str
    rows: int
    new_key: str | None
    new_sha256: str | None
    new_rows: int


class HeldShare(msgspec.Struct, frozen=True, kw_only=True):
    """How many items of the plan a hold kept; an item that several holds cover counts for each."""

    hold: str
    items: int


class LockedObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that a lock or a legal hold of the store kept from being erased when the certificate was written."""

    key: str
    until: str | None
    legal_hold: bool


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a plan. Instants are ISO 8601 in UTC; ``head_sequence`` and ``head_digest`` are the head before.

    ``attempt`` is that of the commit, by which a certificate is known that belongs to none.
    """

    format: int
    archive_id: str
    plan: str
    plan_kind: str
    policy: str | None
    policy_digest: str | None
    zone: str
    as_of: str
    approved_by: str
    at: str
    run: str
    attempt: str
    actor: str
    software: str
    head_sequence: int
    head_digest: str
    items_planned: dict[str, int]
    items: dict[str, int]
    rows: dict[str, int]
    rules: tuple[RuleShare, ...]
    objects: tuple[ObjectChange, ...]
    blobs: tuple[BlobRecord, ...]
    held: tuple[HeldShare, ...]
    items_held: int
    locked: tuple[LockedObject, ...]


def certify(
    plan: Plan,
    located: Located,
    *,
    head: Head,
    fresh: Mapping[str, FileRecord],
    blobs: tuple[BlobRecord, ...],
    locks: Mapping[str, ObjectLock],
    approved_by: str,
    author: Author,
    attempt: str,
    at_ms: int,
) -> Certificate:
    """Return the certificate of a plan whose rows were found; ``fresh`` has the objects that hold what stays, by the keys of the old."""
    touched = [one for found in located.touched.values() for one in found]
    return Certificate(
        format=CERTIFICATE_FORMAT,
        archive_id=plan.header.archive_id,
        plan=plan.digest,
        plan_kind=plan.header.kind,
        policy=plan.header.policy,
        policy_digest=plan.header.policy_digest,
        zone=plan.header.zone,
        as_of=plan.header.as_of,
        approved_by=approved_by,
        at=to_text(at_ms),
        run=author.run,
        attempt=attempt,
        actor=author.actor,
        software=author.software,
        head_sequence=head.sequence,
        head_digest=head.digest,
        items_planned=plan.header.counts,
        items=items_by_kind(plan, located),
        rows={table: sum(len(one.items) for one in found) for table, found in located.touched.items() if found},
        rules=_shares(plan, located),
        objects=tuple(_change(one.record, fresh.get(one.record.key)) for one in touched),
        blobs=blobs,
        held=tuple(HeldShare(hold=hold, items=count) for hold, count in located.held.items()),
        items_held=pc.sum(located.is_kept).as_py() or 0,
        locked=tuple(
            LockedObject(
                key=key, until=None if lock.until_ms is None else to_text(lock.until_ms), legal_hold=lock.legal_hold
            )
            for key, lock in locks.items()
        ),
    )


def items_by_kind(plan: Plan, located: Located) -> dict[str, int]:
    """Return how many items of a plan go, by kind."""
    going = plan.items.column("kind").filter(pc.invert(located.is_kept))
    return {str(kind): count for kind, count in counts_of(going).items()}


def store_certificate(store: Store, certificate: Certificate) -> str:
    """Store a certificate and return its SHA-256; raises `RefusedError` if another one lies there for this plan."""
    key = layout.certificate_key(certificate.plan)
    data = canonical_json(certificate)
    try:
        store.create(key, data)
    except KeyExistsError:
        if store.read(key) != data:
            raise RefusedError(
                f"{store.url} already has {key}: this plan is being applied, or that was begun elsewhere and broke off",
                next_step="look whether it is under way; if not, `archiver run` clears what was left, of another machine after a day",
            ) from None
    return sha256(data).hexdigest()


def load_certificate(store: Store, plan: str) -> Certificate:
    """Return the certificate of a plan, by the plan's whole digest; raises `UsageError` if there is none, `DamageFoundError`."""
    key = layout.certificate_key(plan)
    try:
        return msgspec.json.decode(store.read(key), type=Certificate)
    except (KeyMissingError, ValueError) as error:
        if isinstance(error, msgspec.MsgspecError | UnicodeDecodeError):
            raise DamageFoundError(
                f"{key} in {store.url} cannot be read: {error}", next_step="restore the object from a copy"
            ) from None
        raise UsageError(
            f"{store.url} has no certificate of plan {plan[:80]!r}",
            next_step="certificates are of plans that were applied; `archiver query` on the ledger, or a listing, shows which",
        ) from None


def lines_of(certificate: Certificate) -> list[str]:
    """Return a certificate as lines that a person reads."""
    of = certificate
    lines = [
        f"Certificate of disposal, plan {of.plan}",
        f"  archive      {of.archive_id}, head before: {of.head_sequence} {of.head_digest}",
        f"  policy       {of.policy or 'none'} ({of.policy_digest or 'an erasure'}), as of {of.as_of} in {of.zone}",
        f"  approved by  {of.approved_by}",
        f"  applied      {of.at} by {of.actor}, {of.software}",
        f"  items        {counted(of.items) or 'none'} of {counted(of.items_planned)} planned",
        f"  rows         {counted(of.rows) or 'none'}",
    ]
    lines += [
        f"  by rule      {share.rule or '-'}: {counted(share.items)}; rows: {counted(share.rows)}" for share in of.rules
    ]
    rewritten = sum(change.new_key is not None for change in of.objects)
    lines.append(
        f"  objects      {len(of.objects)} went, {rewritten} came in their place; {counted({'blob': len(of.blobs)})} went"
    )
    lines += [f"  held         {counted({'item': share.items})} by {share.hold}" for share in of.held]
    lines += [f"  locked       {kept.key} until {kept.until or 'its legal hold is released'}" for kept in of.locked]
    return lines


def counted(counts: Mapping[str, int]) -> str:
    """Return counts by kind of item or by table as people say them, such as `1 file, 82 messages`; nothing where there are none."""
    return ", ".join(
        f"{count:,} {name.removesuffix('s')}{'' if count == 1 else 's'}" for name, count in sorted(counts.items())
    )


def _shares(plan: Plan, located: Located) -> tuple[RuleShare, ...]:
    rules = plan.items.column("rule").combine_chunks()
    going = plan.items.select(["rule", "kind"]).filter(pc.invert(located.is_kept))
    items: dict[str | None, dict[str, int]] = {}
    for share in going.group_by(["rule", "kind"]).aggregate([([], "count_all")]).to_pylist():
        items.setdefault(share["rule"], {})[share["kind"]] = share["count_all"]
    rows: dict[str | None, dict[str, int]] = {}
    for table, rule, count in _rows_by_rule(rules, located):
        of_rule = rows.setdefault(rule, {})
        of_rule[table] = of_rule.get(table, 0) + count
    return tuple(
        RuleShare(rule=rule, items=items[rule], rows=rows.get(rule, {}))
        for rule in sorted(items, key=lambda rule: (rule is None, rule or ""))
    )


def _rows_by_rule(rules: pa.StringArray, located: Located) -> Iterator[tuple[str, str | None, int]]:
    for table, found in located.touched.items():
        for one in found:
            for rule, count in counts_of(pc.take(rules, one.items)).items():
                yield table, rule, count


def _change(old: FileRecord, new: FileRecord | None) -> ObjectChange:
    return ObjectChange(
        key=old.key,
        sha256=old.sha256,
        rows=old.rows,
        new_key=new.key if new else None,
        new_sha256=new.sha256 if new else None,
        new_rows=new.rows if new else 0,
    )
