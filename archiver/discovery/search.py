"""A search: which messages an expression finds, page by page in the order of their sending, each read from the archive and held against it.

A hit is a message, with all its versions. It stands where the last sent of those versions stands of which the expression is true (the
first sent, where the oldest come first), then by chat and uid; so pages never overlap and nothing is left out, whatever index there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.tables import rows_of
from archiver.discovery.search_facts import (
    Key,
    absent_since,
    answers_of_messages,
    answers_of_observations,
    true_of,
)
from archiver.discovery.search_places import KEY, ROW, Order, Place, Places
from archiver.expression import Expression, Hit, hits_in
from archiver.expression.attached import texts_of
from archiver.expression.columns import TEXT_COLUMNS

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 1_000
# Where few of the rows are hits that could be, so many are read at once at most.
BATCH_ROWS_MAX: Final = 16_384

SHOWN_COLUMNS: Final = (
    *("chat_id", "chat_kind", "message_uid", "version", "sent_at", "observed_at", "source", "sender_id"),
    *("sender_name", "send_as_name", "app_id", "content_digest", *TEXT_COLUMNS),
)
_OBSERVATION_COLUMNS: Final = ("chat_id", "message_uid", "observed_at", "outcome")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a hit stands: when the version was sent that puts it there, and the message."""

    at_ms: int
    chat_id: str
    message_uid: str


@dataclass(frozen=True, slots=True)
class Version:
    """One archived row of a message: its number, when we received it, and whether the expression is true of it.

    ``key`` and ``row`` are the data object and the row in it where it stands.
    """

    version: int
    observed_at_ms: int
    is_hit: bool
    content_digest: str
    key: str
    row: int


@dataclass(frozen=True, slots=True)
class Said:
    """A text of a message (``in_column`` says which) and what of it is to be highlighted."""

    in_column: str
    text: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A message that was found, as its newest version says it of which the expression is true.

    ``edited_away_at_ms`` is when we first saw a version after that one, None if it is the newest. ``missing_since_ms`` is since when
    Flock did not return the message, None if it did when it was last asked.
    """

    position: Position
    chat_kind: str
    sent_at_ms: int
    sender_id: str
    sender_name: str | None
    send_as_name: str | None
    app_id: str | None
    version: int
    versions: tuple[Version, ...]
    edited_away_at_ms: int | None
    missing_since_ms: int | None
    texts: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some hits in order; ``after`` is where the next page begins, None if there is none."""

    hits: tuple[Found, ...]
    after: Position | None


def search(
    places: Places,
    expression: Expression,
    *,
    order: Order = "newest",
    limit: int = LIMIT_DEFAULT,
    after: Position | None = None,
) -> Page:
    """Return the first hits after a position; raises `DamageFoundError` and `ShardBrokenError`."""
    found: list[_Message] = []
    for message in _messages(places, expression, order=order, after=after, first_rows=limit + 1):
        found.append(message)
        if len(found) > limit:
            break
    shown = found[:limit]
    missing = _missing_since(places, shown)
    hits = tuple(_found(message, expression, missing.get(message.key)) for message in shown)
    return Page(hits, after=hits[-1].position if len(found) > limit else None)


@dataclass(frozen=True, slots=True)
class _Message:
    """All archived rows of a message, the last received last, and beside each whether it is a hit."""

    position: Position
    rows: tuple[dict[str, Any], ...]
    is_hit: tuple[bool, ...]

    @property
    def key(self) -> Key:
        return self.position.chat_id, self.position.message_uid


def _messages(
    places: Places, expression: Expression, *, order: Order, after: Position | None, first_rows: int
) -> Iterator[_Message]:
    """Yield the messages of which a version is a hit, in order."""
    sign = -1 if order == "newest" else 1

    def rank(position: Position) -> tuple[int, str, str]:
        return sign * position.at_ms, position.chat_id, position.message_uid

    likely = places.in_order(expression, order=order, from_ms=None if after is None else after.at_ms)
    for batch in _batches(likely, first_rows):
        messages = _judged(places, expression, batch, order=order)
        for message in sorted(messages, key=lambda message: rank(message.position)):
            # One that stands before this batch was given already, and another of its versions brought it here.
            if sign * message.position.at_ms >= sign * batch[0].at_ms and (
                after is None or rank(message.position) > rank(after)
            ):
                yield message


def _batches(places: Iterable[Place], first_rows: int) -> Iterator[list[Place]]:
    """Yield places in batches that grow; those of one instant stand in one batch."""
    batch: list[Place] = []
    size = first_rows
    for place in places:
        if len(batch) >= size and place.at_ms != batch[-1].at_ms:
            yield batch
            batch, size = [], min(2 * size, BATCH_ROWS_MAX)
        batch.append(place)
    if batch:
        yield batch


def _judged(places: Places, expression: Expression, batch: Sequence[Place], *, order: Order) -> list[_Message]:
    """Return the messages that have a hit among some rows, with all their versions."""
    columns = tuple({*SHOWN_COLUMNS, *expression.columns})
    rows = places.read(batch, columns)
    rows = rows.filter(true_of(expression, rows, places.knowledge))
    if not rows.num_rows:
        return []
    uids = pc.unique(rows.column("message_uid")).to_pylist()
    known = set(zip(rows.column(KEY).to_pylist(), rows.column(ROW).to_pylist(), strict=True))
    others = [place for place in places.of_messages(uids) if (place.key, place.row) not in known]
    further = places.read(others, columns)
    hits = [True] * rows.num_rows + true_of(expression, further, places.knowledge).to_pylist()
    gathered: dict[Key, list[tuple[dict[str, Any], bool]]] = {}
    for row, is_hit in zip(rows_of(pa.concat_tables([rows, further])), hits, strict=True):
        gathered.setdefault((row["chat_id"], row["message_uid"]), []).append((row, is_hit))
    best = max if order == "newest" else min
    messages = []
    for key, versions in gathered.items():
        instants = [row["sent_at"] for row, is_hit in versions if is_hit]
        if instants:  # a uid may be that of a message in another chat
            versions.sort(key=lambda version: (version[0]["version"], version[0]["observed_at"]))
            given, are_hits = zip(*versions, strict=True)
            messages.append(_Message(Position(best(instants), *key), given, are_hits))
    return messages


def _missing_since(places: Places, messages: Sequence[_Message]) -> dict[Key, int]:
    observed = places.read(places.of_observations([message.key[1] for message in messages]), _OBSERVATION_COLUMNS)
    rows = [row for message in messages for row in message.rows]
    seen = pa.table(
        {
            name: pa.array([row[name] for row in rows], pa.int64() if name == "observed_at" else pa.string())
            for name in ("chat_id", "message_uid", "observed_at", "source")
        }
    )
    return absent_since([*answers_of_observations(observed), *answers_of_messages(seen)])


def _found(message: _Message, expression: Expression, missing_since_ms: int | None) -> Found:
    newest = max(number for number, is_hit in enumerate(message.is_hit) if is_hit)
    row = message.rows[newest]
    later = [after["observed_at"] for after in message.rows[newest + 1 :] if after["version"] > row["version"]]
    return Found(
        position=message.position,
        chat_kind=row["chat_kind"],
        sent_at_ms=row["sent_at"],
        sender_id=row["sender_id"],
        sender_name=row["sender_name"],
        send_as_name=row["send_as_name"],
        app_id=row["app_id"],
        version=row["version"],
        versions=tuple(
            Version(one["version"], one["observed_at"], is_hit, one["content_digest"], one[KEY], one[ROW])
            for one, is_hit in zip(message.rows, message.is_hit, strict=True)
        ),
        edited_away_at_ms=min(later, default=None),
        missing_since_ms=missing_since_ms,
        texts=tuple(_said(row, expression)),
    )


def _said(row: dict[str, Any], expression: Expression) -> Iterator[Said]:
    """Yield what a version says: what its reader sees, and every other text that has something to highlight.

    Of a message without words, such as a file that somebody sent, every text is yielded: the names of files are among them.
    """
    is_wordless = not (row["plain_text"] or "").strip()
    seen: set[str] = {""}
    for name in TEXT_COLUMNS:
        written = row[name]
        if written is None:
            continue
        for text in texts_of(written) if name == "attachments" else (written,):
            if text.strip() in seen:
                continue
            seen.add(text.strip())
            hits = tuple(hits_in(expression, text))
            if hits or is_wordless or name == "plain_text":
                yield Said(name, text, hits)
