"""A plan as it is stored: which items would go, on which head of the archive, and why; no text of any message.

``plans/<digest>.json`` is the header, canonical JSON, and its SHA-256 is the plan's digest, which is what people approve. The header
names the items by their own digest: the SHA-256 of the items as canonical JSON lines in their one order, so that anybody can work it out
from ``plans/<digest>.parquet`` whatever wrote that file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archiver.archive import layout
from archiver.archive.ledger import canonical_json
from archiver.errors import DamageFoundError, KeyExistsError, KeyMissingError, NewerFormatError, UsageError
from archiver.store import Store

PLAN_FORMAT: Final = 1
DIGEST_DIGITS_MIN: Final = 12
_DIGEST_BATCH_ROWS: Final = 65_536
# What JSON escapes in a text.
_ESCAPED: Final = r'["\\\x00-\x1f]'
BEGINNING = re.compile(rf"[0-9a-f]{{{DIGEST_DIGITS_MIN},64}}")

ItemKind = Literal["message", "file", "user", "event"]
PlanKind = Literal["policy", "erase"]

_INSTANT = pa.timestamp("ms", tz="UTC")

# ``day`` is the day (UTC) of the item's latest row, ``rows`` counts the rows that the item has in its own table (messages, files,
# users or events) on whatever days they lie, ``bytes`` is what their texts or the item's file take, to tell people what a plan amounts to.
# ``chat_id`` and ``message_uid`` name a message, these with ``ordinal`` a file, ``user_id`` a user's directory entry.
# A push that no message reaches (kind event) has ``day`` and ``message_uid``, there the key of `archiver.retention.pushes`.
ITEMS: Final = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("chat_id", pa.string()),
        pa.field("message_uid", pa.string()),
        pa.field("ordinal", pa.int32()),
        pa.field("user_id", pa.string()),
        pa.field("sent_at", _INSTANT),
        pa.field("due_at", _INSTANT),
        pa.field("rule", pa.string()),
        pa.field("principle", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
ITEM_ORDER: Final = ("kind", "day", "chat_id", "message_uid", "ordinal", "user_id")

_encode_lines = msgspec.json.Encoder(order="sorted").encode_lines


class PlanLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The breakers of the policy: at most so many rows of messages and files, and at most this share of all such rows, per hundred."""

    rows_max: int | None = None
    percent_max: float | None = None


class SavedByHold(msgspec.Struct, frozen=True, kw_only=True):
    """Items that are due and stay, because this hold covers them; several holds may cover one."""

    hold: str
    items: int
    bytes: int


class DueLater(msgspec.Struct, frozen=True, kw_only=True):
    """Items that leave in a month (YYYY-MM by the policy's zone) after the plan's date, if nothing changes, by rule and kind."""

    month: str
    rule: str
    kind: ItemKind
    items: int
    bytes: int


class PlanHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What is approved: by its digest everything below is fixed, items included.

    ``as_of`` is the instant up to which items were due (ISO 8601 in UTC): the first of a day of ``zone``, the policy's time zone.
    ``counts`` has the items by kind, ``rows`` are theirs; ``totals`` has the rows that the archive held then, by table, of which a
    percentage is a part. ``blobs`` lose their last reference.

    ``saved`` and ``later`` say what is not in the plan: what holds keep, every item of which is counted once in ``held`` and
    ``held_bytes``, and what is due in the months that follow; for an erasure ``later`` is what a retain period still keeps, by the month
    in which the last one ends. An erasure for one person has a ``subject`` and a ``reason``.
    """

    format: int
    archive_id: str
    kind: PlanKind
    head_sequence: int
    head_digest: str
    policy: str | None
    policy_digest: str | None
    zone: str
    as_of: str
    items_sha256: str
    counts: dict[str, int]
    totals: dict[str, int]
    rows: int
    bytes: int
    limits: PlanLimits
    blobs: int = 0
    blob_bytes: int = 0
    held: int = 0
    held_bytes: int = 0
    saved: tuple[SavedByHold, ...] = ()
    later: tuple[DueLater, ...] = ()
    subject: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Plan:
    """A header and its items, which have the columns of `ITEMS` in the order of `ITEM_ORDER`.

    Without slots, so that it remembers the digest of its items, which of very many takes seconds.
    """

    header: PlanHeader
    items: pa.Table

    @property
    def digest(self) -> str:
        """The SHA-256 of the header as it is stored."""
        return plan_digest(self.header)

    @cached_property
    def items_sha256(self) -> str:
        """The digest of the items that are here, whatever the header says; worked out once, for items never change."""
        return items_digest(self.items)


def plan_digest(header: PlanHeader) -> str:
    """Return what a plan is known by."""
    return sha256(canonical_json(header)).hexdigest()


def breakers_passed(limits: PlanLimits, *, rows: int, totals: Mapping[str, int]) -> list[str]:
    """Return in words which breakers a removal of so many rows would pass; ``totals`` has the archive's rows of messages and files."""
    passed = []
    if limits.rows_max is not None and rows > limits.rows_max:
        passed.append(f"{rows} rows, and the policy's limit is {limits.rows_max} (rows_max)")
    total = sum(totals.values())
    if passes_share(limits.percent_max, rows=rows, total=total):
        passed.append(
            f"{share_percent(rows, total):.2f} % of {total} rows, and the policy's limit is {limits.percent_max:g} % (percent_max)"
        )
    return passed


def share_percent(rows: int, total: int) -> float:
    """Return how many of a hundred rows some are; whatever is some of none is all of it."""
    return 100 * rows / (total or rows or 1)


def passes_share(percent_max: float | None, *, rows: int, total: int) -> bool:
    """Tell whether some rows of so many are a greater share than a breaker allows, whose decimal digits count as they were written."""
    return percent_max is not None and 100 * rows > Decimal(str(percent_max)) * total


def sorted_items(items: pa.Table) -> pa.Table:
    """Return items in the one order that their digest is taken in."""
    return items.sort_by([(name, "ascending") for name in ITEM_ORDER])


def items_digest(items: pa.Table) -> str:
    """Return the SHA-256 of items as canonical JSON lines: keys sorted, days ISO, instants in milliseconds, a newline after each."""
    digest = sha256()
    for batch in items.to_batches(max_chunksize=_DIGEST_BATCH_ROWS):
        digest.update(_lines(batch))
    return digest.hexdigest()


def store_plan(store: Store, plan: Plan) -> str:
    """Store a plan and return its digest; one that is there already stays, for the same digest is the same plan."""
    digest = plan.digest
    sink = pa.BufferOutputStream()
    pq.write_table(plan.items, sink, compression="zstd", write_page_checksum=True)
    for key, data in (
        (layout.plan_items_key(digest), sink.getvalue().to_pybytes()),
        (layout.plan_key(digest), canonical_json(plan.header)),
    ):
        with suppress(KeyExistsError):
            store.create(key, data)
    return digest


def load_plan(store: Store, digest: str) -> Plan:
    """Return the plan whose digest is this or begins so.

    Raises `UsageError` if there is none or more than one, `NewerFormatError` for one of a later version, and `DamageFoundError` if header
    or items are not what the digests say.
    """
    whole = _found(store, digest)
    key = layout.plan_key(whole)
    data = store.read(key)
    if sha256(data).hexdigest() != whole:
        raise _damaged(store, key, "its bytes do not have the digest that it is named by")
    plan = Plan(_header(store, key, data), _items(store, layout.plan_items_key(whole)))
    if plan.items_sha256 != plan.header.items_sha256:
        raise _damaged(store, layout.plan_items_key(whole), "its items do not have the digest that the plan names")
    return plan


def plans(store: Store) -> Iterator[str]:
    """Yield the digests of all stored plans."""
    for info in store.list(layout.PLAN_PREFIX):
        digest = layout.plan_of_key(info.key)
        if digest is not None:
            yield digest


def _found(store: Store, beginning: str) -> str:
    if not BEGINNING.fullmatch(beginning):
        raise UsageError(
            f"not the digest of a plan: {beginning[:80]!r}",
            next_step=f"give the digest that `archiver retention plan` printed, or its first {DIGEST_DIGITS_MIN} digits or more",
        )
    found = [
        digest
        for info in store.list(layout.PLAN_PREFIX + beginning)
        if (digest := layout.plan_of_key(info.key)) is not None
    ]
    if len(found) != 1:
        what = f"{len(found)} plans begin with {beginning}" if found else f"{store.url} has no plan {beginning}"
        raise UsageError(what, next_step="give the whole digest that `archiver retention plan` printed")
    return found[0]


def _header(store: Store, key: str, data: bytes) -> PlanHeader:
    try:
        number = msgspec.json.decode(data, type=_Format).format
        if number > PLAN_FORMAT:
            raise NewerFormatError(
                f"{key} in {store.url} is a plan of format {number}; this version reads up to {PLAN_FORMAT}",
                next_step="upgrade flock-archiver and run again; nothing was changed",
            )
        return msgspec.json.decode(data, type=PlanHeader)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _damaged(store, key, f"it cannot be read: {error}") from None


class _Format(msgspec.Struct, frozen=True):
    format: int


def _items(store: Store, key: str) -> pa.Table:
    try:
        with pq.ParquetFile(io.BytesIO(store.read(key)), page_checksum_verification=True) as file:
            items = file.read()
    except KeyMissingError:
        raise _damaged(store, key, "it is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(store, key, f"it cannot be read as Parquet: {error}") from None
    if not items.schema.equals(ITEMS):
        raise _damaged(store, key, "it does not have the columns of a plan's items")
    return items


def _damaged(store: Store, key: str, why: str) -> DamageFoundError:
    return DamageFoundError(
        f"{key} in {store.url}: {why}", next_step="make the plan again with `archiver retention plan`"
    )


def _lines(batch: pa.RecordBatch) -> bytes | pa.Buffer:
    """Return rows as canonical JSON lines. Where no text needs escaping they are joined column by column, in a twentieth of the time."""
    # Uids differ nearly all; of the rest there are few that differ, and looking for them is quicker than looking into all.
    few = {name: pc.unique(batch.column(name)) for name in batch.schema.names if name != "message_uid"}
    texts = [
        few.get(name, batch.column(name)) for name in batch.schema.names if batch.schema.field(name).type == pa.string()
    ]
    if any(pc.any(pc.match_substring_regex(text, _ESCAPED), min_count=0).as_py() for text in texts):
        return _encode_lines(_plain_rows(batch))
    # What is the same in all rows stands in one piece: the fewer pieces, the quicker they are joined.
    pieces: list[pa.Array | str] = []
    same = "{"
    for name in sorted(batch.schema.names):
        is_same = name in few and len(few[name]) == 1
        quote, values = _as_json(few[name] if is_same else batch.column(name))
        same += f'"{name}":{quote}'
        if is_same:
            same += values[0].as_py()
        else:
            pieces += [same, values]
            same = ""
        same += f"{quote},"
    lines = pc.binary_join_element_wise(*pieces, f"{same[:-1]}}}\n", "")
    return pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "")[0].as_buffer()


def _as_json(column: pa.Array) -> tuple[str, pa.Array]:
    """Return values as JSON, and before them the quote that is still to come around each of them, empty where none is."""
    if pa.types.is_timestamp(column.type):
        column = pc.cast(column, pa.int64())
    text = pc.cast(column, pa.string())
    quote = "" if pa.types.is_integer(column.type) else '"'
    if not text.null_count:
        return quote, text
    return "", pc.fill_null(pc.binary_join_element_wise(quote, text, quote, ""), "null")


def _plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    columns = [
        pc.cast(column, pa.int64()) if pa.types.is_timestamp(column.type) else column for column in batch.columns
    ]
    rows: list[dict[str, Any]] = pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return rows
