"""What holds cover now, counted: messages with all their versions, their files, by chat, from the first day to the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, latest_states
from archiver.retention.coverage import Coverage
from archiver.retention.held_objects import (
    DayObjects,
    Progress,
    date_of,
    days_of,
    items_of_several_days,
    may_cover,
    read_table,
)
from archiver.retention.straddling import unplaced
from archiver.scope.reach import item_keys
from archiver.store import Store

_KEY: Final = ["chat_id", "message_uid"]
_FILE_COLUMNS: Final = ("chat_id", "message_uid", "ordinal", "blob_digest", "blob_bytes")
_MESSAGE: Final = pa.schema(
    [("chat_id", pa.string()), ("message_uid", pa.string()), ("sent_at", pa.timestamp("ms", tz="UTC"))]
)
_FILE: Final = pa.schema(
    [
        ("chat_id", pa.string()),
        ("message_uid", pa.string()),
        ("ordinal", pa.int32()),
        ("blob_digest", pa.string()),
        ("blob_bytes", pa.int64()),
    ]
)


@dataclass(frozen=True, slots=True)
class ChatShare:
    """What a hold covers of one chat; ``name`` is its name now. Days are those of UTC, as ``2026-11-22``."""

    chat_id: str
    name: str | None
    messages: int
    versions: int
    files: int
    first_on: str
    last_on: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a hold covers as of a head.

    ``files`` are attachments, ``stored_files`` those of them whose bytes the archive has, ``file_bytes`` these bytes, each content once.
    ``chats`` has the chat with the most messages first; ``unlisted`` are channels in which custodians wrote when no list of members
    showed any of them there, so that of what others wrote in them then nothing is covered.
    """

    messages: int
    versions: int
    files: int
    stored_files: int
    file_bytes: int
    first_on: str | None
    last_on: str | None
    chats: tuple[ChatShare, ...]
    unlisted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Covered:
    """The rows that one hold covers, day by day, and the channels of `Survey.unlisted`."""

    messages: list[pa.Table]
    files: list[pa.Table]
    unlisted: set[str]


def survey(
    store: Store, head: Head, coverage: Coverage, *, executor: Executor, progress: Progress | None = None
) -> dict[str, Survey]:
    """Return by hold what it covers; raises `DamageFoundError` if an object cannot be read.

    Each day is counted by itself, and then anew the messages whose rows lie under several. ``progress`` is told how many days are done,
    and of how many. Memory grows with what is covered and not with the archive.
    """
    found = {name: _Covered([], [], set()) for name in coverage.holds}
    days = [day for day in days_of(head) if may_cover(coverage, day)]
    may_straddle: dict[date, pa.Table] = {}
    for done, (day, messages, files) in enumerate(_rows(store, days, coverage), 1):
        held = _count(found, coverage, messages, files)
        may_straddle[date_of(day)] = unplaced(held)
        for name, chats in coverage.unlisted(messages).items():
            found[name].unlisted.update(chats)
        if progress is not None:
            progress(done, len(days))
    several = items_of_several_days(
        store,
        head,
        may_straddle,
        message_columns=(*coverage.message_columns, "version"),
        file_columns=_file_columns(coverage),
        executor=executor,
    )
    if several.keys:
        _forget(found, item_keys(pa.concat_tables([part.select(_KEY) for part in (several.messages, several.files)])))
        _count(found, coverage, several.messages, several.files)
    names = {
        chat_id: row["name"] for (chat_id,), row in latest_states(store, head, "conversations", ("chat_id",)).items()
    }
    return {name: _counted(covered, names) for name, covered in found.items()}


def _count(found: Mapping[str, _Covered], coverage: Coverage, messages: pa.Table, files: pa.Table) -> pa.Table:
    """Add what each hold covers of some rows, and return the key columns of what any does."""
    masks, file_masks = coverage.of_messages(messages, files), coverage.of_files(files, messages, files=files)
    keys, file_keys = item_keys(messages), item_keys(files)
    held_by_any = []
    for name, covered in found.items():
        # An item goes whole or not at all: one row that is covered holds all the others.
        held = pa.concat_arrays([keys.filter(masks[name]), file_keys.filter(file_masks[name])])
        rows = messages.filter(pc.is_in(keys, value_set=held))
        file_rows = files.filter(pc.is_in(file_keys, value_set=held))
        covered.messages.append(rows.select(_MESSAGE.names).cast(_MESSAGE))
        covered.files.append(file_rows.select(_FILE.names).cast(_FILE))
        held_by_any += [covered.messages[-1].select(_KEY), covered.files[-1].select(_KEY)]
    return pa.concat_tables(held_by_any)


def _forget(found: Mapping[str, _Covered], keys: pa.Array) -> None:
    """Take back what was counted of some items."""
    for covered in found.values():
        for parts in (covered.messages, covered.files):
            parts[:] = [part.filter(pc.invert(pc.is_in(item_keys(part), value_set=keys))) for part in parts]


def _file_columns(coverage: Coverage) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_FILE_COLUMNS, *coverage.file_columns)))


def _rows(
    store: Store, days: Sequence[DayObjects], coverage: Coverage
) -> Iterator[tuple[DayObjects, pa.Table, pa.Table]]:
    file_columns = _file_columns(coverage)
    for day in days:
        yield (
            day,
            read_table(store, day["messages"], coverage.message_columns, table="messages"),
            read_table(store, day["files"], file_columns, table="files"),
        )


def _counted(covered: _Covered, names: dict[str, str | None]) -> Survey:
    rows = pa.concat_tables([_MESSAGE.empty_table(), *covered.messages])
    files = pa.concat_tables([_FILE.empty_table(), *covered.files])
    per_item = rows.group_by(["chat_id", "message_uid"]).aggregate(
        [("sent_at", "min"), ("sent_at", "max"), ("sent_at", "count")]
    )
    per_chat = per_item.group_by("chat_id").aggregate(
        [("message_uid", "count"), ("sent_at_count", "sum"), ("sent_at_min", "min"), ("sent_at_max", "max")]
    )
    attached = files.group_by(["chat_id", "message_uid", "ordinal"]).aggregate([("blob_digest", "max")])
    attached_by_chat = {
        row["chat_id"]: row["ordinal_count"]
        for row in attached.group_by("chat_id").aggregate([("ordinal", "count")]).to_pylist()
    }
    blobs = files.filter(pc.is_valid(files.column("blob_digest"))).group_by("blob_digest")
    chats = [
        ChatShare(
            chat_id=row["chat_id"],
            name=names.get(row["chat_id"]),
            messages=row["message_uid_count"],
            versions=row["sent_at_count_sum"],
            files=attached_by_chat.get(row["chat_id"], 0),
            first_on=row["sent_at_min_min"].date().isoformat(),
            last_on=row["sent_at_max_max"].date().isoformat(),
        )
        for row in per_chat.to_pylist()
    ]
    chats.sort(key=lambda chat: (-chat.messages, chat.chat_id))
    return Survey(
        messages=sum(chat.messages for chat in chats),
        versions=sum(chat.versions for chat in chats),
        files=attached.num_rows,
        stored_files=attached.num_rows - attached.column("blob_digest_max").null_count,
        file_bytes=pc.sum(blobs.aggregate([("blob_bytes", "max")]).column("blob_bytes_max")).as_py() or 0,
        first_on=min((chat.first_on for chat in chats), default=None),
        last_on=max((chat.last_on for chat in chats), default=None),
        chats=tuple(chats),
        unlisted=tuple(sorted(covered.unlisted)),
    )
