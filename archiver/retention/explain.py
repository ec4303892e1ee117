"""Why is this message still here, and when does it go? Everything that a policy and the holds say of one message and its files.

The same evaluation and the same coverage answer as in a plan. A message that is not in the archive is looked for in what was disposed of:
the plans that certificates name list what went.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archiver.archive import layout
from archiver.archive.reader import Archive, Head, files_of
from archiver.clock import to_text
from archiver.errors import DamageFoundError, KeyMissingError, UsageError
from archiver.retention.certificate import load_certificate
from archiver.retention.context import read_context
from archiver.retention.coverage import Coverage, read_coverage
from archiver.retention.day_rows import only, read_stretch
from archiver.retention.evaluate import Evaluator, Explanation
from archiver.retention.judging_pushes import PushRules
from archiver.retention.leaving import FILE_COLUMNS, MESSAGE_COLUMNS, numbered_by_uid
from archiver.retention.policy import Policy
from archiver.retention.pushes import own_pushes, read_pushes
from archiver.store import Store

State = Literal["kept", "held", "waiting", "due", "disposed", "unknown"]

_CHATS_SHOWN_MAX: Final = 5
# How a push is named: the spool that took it, its place there, and what it is the digest of, if that is needed to tell.
_PUSH: Final = re.compile(r".*:[0-9]+(?::[0-9a-f]+)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class HeldBy:
    """A hold that covers an item: its name, why and by whom it was placed, and when."""

    hold: str
    reason: str
    placed_by: str
    placed_at: str


@dataclass(frozen=True, slots=True)
class Explained:
    """One item: what every rule says of it, which decided, and the holds that cover it.

    ``kind`` is message, file, or event for a push that no message reaches: ``push`` is its key, and its clock when it was received.
    ``ordinal`` is the file's place in its message. Instants are ISO 8601 in UTC: ``sent_at`` is the item's
    clock, ``goes_at`` is None while nothing lets it go.
    """

    kind: Literal["message", "file", "event"]
    ordinal: int | None
    state: State
    sent_at: str
    rows: int
    goes_at: str | None
    retained_until: str | None
    explanation: Explanation
    holds: tuple[HeldBy, ...]
    push: str | None = None


@dataclass(frozen=True, slots=True)
class DisposedBy:
    """The disposal that took a message: the plan, its certificate, who approved, when, and by which rule and principle it went."""

    plan: str
    certificate: str
    approved_by: str
    at: str
    kind: str
    rule: str | None
    principle: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a message: the items that are in the archive, and the disposals that took it, or a part of it."""

    message_uid: str
    chat_id: str | None
    policy: str
    as_of: str
    items: tuple[Explained, ...]
    disposed: tuple[DisposedBy, ...]

    @property
    def state(self) -> State:
        """How the message stands; that of its files may be another."""
        found = [item.state for item in self.items if item.kind != "file"]
        if found:
            return found[0]
        return "disposed" if self.disposed else self.items[0].state if self.items else "unknown"


def explain(archive: Archive, head: Head, policy: Policy, uid: str, *, chat_id: str | None, as_of_ms: int) -> Answer:
    """Return everything that a policy and the holds say of a message, as of an instant.

    Raises `UsageError` if messages of several chats have the uid and none of these is named.
    """
    context, coverage = read_context(archive.store, head, policy), read_coverage(archive.store, head)
    evaluator = Evaluator(policy, context)
    columns = (*MESSAGE_COLUMNS, *evaluator.message_columns, *coverage.message_columns)
    messages = numbered_by_uid(_rows(archive.store, head, uid, tuple(dict.fromkeys(columns)), table="messages"))
    columns = (*FILE_COLUMNS, *evaluator.file_columns, *coverage.file_columns)
    files = _rows(archive.store, head, uid, tuple(dict.fromkeys(columns)), table="files")
    chat_id = _chat(uid, chat_id, messages, files)
    messages, files = _of_chat(messages, chat_id, uid), _of_chat(files, chat_id, uid)
    judged = _Judged(evaluator, coverage, as_of_ms)
    items = [judged.message(messages, files)] if messages.num_rows else []
    ordinals = sorted(set(files.column("ordinal").to_pylist()))
    items += [judged.file(files, messages, one) for one in ordinals]
    if _PUSH.fullmatch(uid):
        rules = PushRules(policy, context)
        items += [judged.push(rows, rules) for rows in _pushes(archive.store, head, uid)]
    return Answer(
        message_uid=uid,
        chat_id=chat_id,
        policy=policy.name,
        as_of=to_text(as_of_ms),
        items=tuple(items),
        disposed=tuple(_disposals(archive.store, uid, chat_id)),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    evaluator: Evaluator
    coverage: Coverage
    as_of_ms: int

    def message(self, messages: pa.Table, files: pa.Table) -> Explained:
        said = self.evaluator.explain_message(messages, files)
        return self._explained("message", None, messages, said, self.coverage.of_messages(messages, files))

    def file(self, files: pa.Table, messages: pa.Table, ordinal: int) -> Explained:
        rows = files.filter(pc.equal(files.column("ordinal"), ordinal))
        said = self.evaluator.explain_file(rows, messages, files=files)
        clock = messages if messages.num_rows else rows
        found = self._explained("file", ordinal, clock, said, self.coverage.of_files(rows, messages, files=files))
        return replace(found, rows=rows.num_rows)

    def push(self, rows: pa.Table, rules: PushRules) -> Explained:
        instants = pc.cast(rows.column("sent_at"), pa.int64()).to_pylist()
        said = max(
            (rules.explain(*one) for one in zip(rows.column("chat_id").to_pylist(), instants, strict=True)),
            key=lambda one: (one.delete_at_ms is None, one.delete_at_ms or 0),
        )
        found = self._explained("event", None, rows, said, self.coverage.of_pushes(rows))
        return replace(found, push=rows.column("message_uid")[0].as_py())

    def _explained(
        self,
        kind: Literal["message", "file", "event"],
        ordinal: int | None,
        clock: pa.Table,
        said: Explanation,
        masks: dict[str, pa.BooleanArray],
    ) -> Explained:
        holds = tuple(self._hold(name) for name, mask in masks.items() if pc.any(mask).as_py())
        goes_at_ms = said.delete_at_ms
        state: State = "waiting"
        if holds:
            state = "held"
        elif goes_at_ms is None:
            state = "kept"
        elif goes_at_ms <= self.as_of_ms:
            state = "due"
        return Explained(
            kind=kind,
            ordinal=ordinal,
            state=state,
            sent_at=to_text(pc.max(pc.cast(clock.column("sent_at"), pa.int64())).as_py()),
            rows=clock.num_rows,
            goes_at=None if holds or goes_at_ms is None else to_text(goes_at_ms),
            retained_until=None if said.retain_until_ms is None else to_text(said.retain_until_ms),
            explanation=said,
            holds=holds,
        )

    def _hold(self, name: str) -> HeldBy:
        hold = self.coverage.holds[name]
        return HeldBy(name, hold.reason, hold.actor, hold.placed_at)


def _rows(store: Store, head: Head, uid: str, columns: tuple[str, ...], *, table: str) -> pa.Table:
    """Return the rows of all messages that have a uid."""
    records = [
        record
        for record in files_of(head, table)
        if str(record.ranges["message_uid"][0]) <= uid <= str(record.ranges["message_uid"][1])
    ]
    return read_stretch(store, records, columns, table=table, uids=pa.array([uid]))


def _pushes(store: Store, head: Head, named: str) -> list[pa.Table]:
    """Return the rows of each push that is named by its key, or by the beginning of it that names spool and place."""
    days: dict[str, list[pa.Table]] = {}
    for record in files_of(head, "events"):
        rows = read_pushes(store, head, record)
        rows = rows.filter(_is_named(rows.column("message_uid"), named))
        if rows.num_rows:
            days.setdefault(layout.partition_of(record.key)[1].isoformat(), []).append(rows)
    found = own_pushes(store, head, [pa.concat_tables(parts) for _, parts in sorted(days.items())])
    return [
        rows.filter(pc.equal(rows.column("message_uid"), key))
        for rows in found
        for key in sorted(pc.unique(rows.column("message_uid")).to_pylist())
    ]


def _is_named(keys: Any, named: str) -> Any:
    return pc.or_(pc.equal(keys, named), pc.starts_with(keys, f"{named}:"))


def _of_chat(rows: pa.Table, chat_id: str | None, uid: str) -> pa.Table:
    return only(rows, {(chat_id or "", uid)})


def _chat(uid: str, named: str | None, *tables: pa.Table) -> str | None:
    """Return the chat that is meant."""
    if named is not None:
        return named
    chats = sorted({chat for table in tables for chat in table.column("chat_id").to_pylist()})
    if len(chats) > 1:
        shown = ", ".join(chats[:_CHATS_SHOWN_MAX]) + (" and more" if len(chats) > _CHATS_SHOWN_MAX else "")
        raise UsageError(
            f"messages of {len(chats)} chats have the uid {uid}", next_step=f"name the chat with --chat: {shown}"
        )
    return chats[0] if chats else None


def _disposals(store: Store, uid: str, chat_id: str | None) -> list[DisposedBy]:
    """Return the disposals whose plan lists a message, the earliest first."""
    found = []
    for info in store.list(layout.CERTIFICATE_PREFIX):
        plan = layout.plan_of_certificate(info.key)
        if plan is None:
            continue
        for item in _planned(store, plan, uid, chat_id):
            certificate = load_certificate(store, plan)
            found.append(
                DisposedBy(
                    plan=plan,
                    certificate=info.key,
                    approved_by=certificate.approved_by,
                    at=certificate.at,
                    kind=item["kind"],
                    rule=item["rule"],
                    principle=item["principle"],
                )
            )
    return sorted(found, key=lambda one: (one.at, one.plan, one.kind))


def _planned(store: Store, plan: str, uid: str, chat_id: str | None) -> list[dict[str, str]]:
    key = layout.plan_items_key(plan)
    try:
        filters = pc.equal(pc.field("message_uid"), uid)
        if _PUSH.fullmatch(uid):
            filters |= pc.equal(pc.field("kind"), "event") & pc.starts_with(pc.field("message_uid"), f"{uid}:")
        if chat_id is not None:
            filters &= pc.equal(pc.field("chat_id"), chat_id)
        items = pq.read_table(io.BytesIO(store.read(key)), columns=["kind", "rule", "principle"], filters=filters)
    except KeyMissingError:
        return []  # the certificate still tells how many went, and by which rule
    except (pa.ArrowException, OSError) as error:
        raise DamageFoundError(
            f"{key} in {store.url} cannot be read as Parquet: {error}", next_step="restore the object from a copy"
        ) from None
    distinct = {tuple(row.items()): row for row in items.to_pylist()}
    return list(distinct.values())
