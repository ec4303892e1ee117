"""What a search knows beside the rows: whom names mean, which messages were edited, have files, did not come back, carry labels.

What an expression does not ask for is not read. Labels are a policy's; whoever asks for them brings what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, read_columns, read_rows
from archiver.archive.schema import TABLES
from archiver.discovery.index_words import NOT_RETURNED, RETURNED
from archiver.errors import UsageError
from archiver.expression import Directory, Expression, Facts, matching_rows
from archiver.expression.facts import folded_like
from archiver.expression.nodes import HasFile, Label, Mime, State, Term, terms_of
from archiver.store import Store

# By these Flock was asked for a message and gave it (docs/querying.md, message_absences); pushes come late and prove nothing.
ASKED_SOURCES: Final = ("fetch", "history")

# Chat id and uid.
Key = tuple[str, str]

_KEY: Final = ("chat_id", "message_uid")
_KEY_SCHEMA: Final = pa.schema([(name, pa.string()) for name in _KEY])


@dataclass(frozen=True, slots=True)
class LabelMeaning:
    """What carries a label: single messages by uid, and all messages of chats."""

    messages: frozenset[str]
    chats: frozenset[str]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What rows alone do not tell; what is None nobody asked for. The tables have ``chat_id`` and ``message_uid``."""

    directory: Directory = field(default_factory=Directory)
    files: pa.Table | None = None
    missing: pa.Table | None = None
    edited: pa.Table | None = None
    labels: Mapping[str, LabelMeaning] | None = None

    def uids_meant(self, term: Term) -> Sequence[str] | None:
        """Return uids among which are those of all messages that a filter means, None if they are not known."""
        match term:
            case HasFile() | Mime():
                table = self.files
            case State("missing"):
                table = self.missing
            case State():
                table = self.edited
            case Label(pattern) if self.labels is not None:
                is_meant = folded_like(pattern)
                meant = [meaning for name, meaning in self.labels.items() if is_meant(name)]
                if any(meaning.chats for meaning in meant):
                    return None
                return sorted({uid for meaning in meant for uid in meaning.messages})
            case _:
                table = None
        return None if table is None else pc.unique(table.column("message_uid")).to_pylist()


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether Flock returned a message at some instant, in milliseconds since 1970 UTC."""

    key: Key
    at_ms: int
    is_absent: bool


def read_knowledge(
    store: Store,
    head: Head,
    expression: Expression,
    *,
    directory: Directory,
    labels: Mapping[str, LabelMeaning] | None,
) -> Knowledge:
    """Read what an expression asks for; raises `UsageError` if it asks for labels and there is no policy that has any."""
    if expression.needs_labels and labels is None:
        raise UsageError(
            "label: asks for the labels of a retention policy, and there is none here",
            next_step="name a policy under retention.policy in archiver.yaml, or leave label: away",
        )
    states = {term.state for term in terms_of(expression.root) if isinstance(term, State)}
    return Knowledge(
        directory=directory,
        files=_read_files(store, head) if expression.needs_files else None,
        missing=_read_missing(store, head) if "missing" in states else None,
        edited=_read_edited(store, head) if "edited" in states else None,
        labels=labels,
    )


def true_of(expression: Expression, rows: pa.Table, knowledge: Knowledge) -> pa.BooleanArray:
    """Return of which rows of ``messages`` an expression is true; not all versions of a message need be among them.

    The table has the columns of the expression and ``chat_id``, ``message_uid``.
    """
    labels = None
    if knowledge.labels is not None and expression.needs_labels:
        labels = {name: _carry(rows, meaning) for name, meaning in knowledge.labels.items()}
    if knowledge.edited is not None:
        # An expression takes a message for edited if one of its rows has a higher number than 1; that row may lie elsewhere.
        edited = pc.is_in(_keys(rows), value_set=_keys(knowledge.edited).combine_chunks())
        number = pc.if_else(edited, pa.scalar(2, pa.int32()), pa.scalar(1, pa.int32()))
        place = rows.column_names.index("version")
        rows = rows.set_column(place, "version", number)
    facts = Facts(directory=knowledge.directory, files=knowledge.files, missing=knowledge.missing, labels=labels)
    return matching_rows(expression, rows, facts)


def absent_since(answers: Iterable[Answer]) -> dict[Key, int]:
    """Return since when those messages are missing that Flock did not return when it was last asked.

    Of two answers of one instant the one that has it counts, as in the view ``message_absences``.
    """
    by_key: dict[Key, list[tuple[int, bool]]] = {}
    for answer in answers:
        by_key.setdefault(answer.key, []).append((answer.at_ms, not answer.is_absent))
    since = {}
    for key, seen in by_key.items():
        started: int | None = None
        for at_ms, is_there in sorted(seen):
            if is_there:
                started = None
            elif started is None:
                started = at_ms
        if started is not None:
            since[key] = started
    return since


def answers_of_observations(rows: pa.Table) -> list[Answer]:
    """Return what rows of ``observations`` tell: chat_id, message_uid, observed_at, outcome."""
    told = rows.filter(
        pc.and_(
            pc.is_valid(rows.column("message_uid")),
            pc.is_in(rows.column("outcome"), value_set=pa.array([RETURNED, NOT_RETURNED])),
        )
    )
    outcomes = told.column("outcome").to_pylist()
    return [
        Answer((chat, uid), at_ms, is_absent=outcome == NOT_RETURNED)
        for (chat, uid, at_ms), outcome in zip(_seen(told), outcomes, strict=True)
    ]


def answers_of_messages(rows: pa.Table) -> list[Answer]:
    """Return what rows of ``messages`` tell: chat_id, message_uid, observed_at, source."""
    given = rows.filter(pc.is_in(rows.column("source"), value_set=pa.array(ASKED_SOURCES)))
    return [Answer((chat, uid), at_ms, is_absent=False) for chat, uid, at_ms in _seen(given)]


def _seen(rows: pa.Table) -> Iterable[tuple[str, str, int]]:
    instants = pc.cast(rows.column("observed_at"), pa.int64()).to_pylist()
    return zip(rows.column("chat_id").to_pylist(), rows.column("message_uid").to_pylist(), instants, strict=True)


def _read_files(store: Store, head: Head) -> pa.Table:
    return _read(store, head, "files", (*_KEY, "mime", "mime_received"))


def _read_missing(store: Store, head: Head) -> pa.Table:
    answers = []
    columns = (*_KEY, "observed_at", "outcome")
    for record in files_of(head, "observations"):
        answers += answers_of_observations(read_columns(store, record, columns))
    absent = sorted({answer.key[1] for answer in answers if answer.is_absent})
    uids = pa.array(absent, pa.string())
    for record in files_of(head, "messages"):
        least, greatest = map(str, record.ranges["message_uid"])
        if any(least <= uid <= greatest for uid in absent):
            rows = read_columns(store, record, (*_KEY, "observed_at", "source"))
            answers += answers_of_messages(rows.filter(pc.is_in(rows.column("message_uid"), value_set=uids)))
    missing = absent_since(answers)
    return pa.Table.from_pylist([dict(zip(_KEY, key, strict=True)) for key in sorted(missing)], schema=_KEY_SCHEMA)


def _read_edited(store: Store, head: Head) -> pa.Table:
    def is_later(batch: pa.RecordBatch) -> pa.BooleanArray:
        return pc.greater(batch.column("version"), 1)

    batches = read_rows(store, files_of(head, "messages"), (*_KEY, "version"), keep=is_later)
    return pa.Table.from_batches([batch.select(list(_KEY)).cast(_KEY_SCHEMA) for batch in batches], _KEY_SCHEMA)


def _read(store: Store, head: Head, table: str, columns: Sequence[str]) -> pa.Table:
    schema = pa.schema([TABLES[table].schema.field(name) for name in columns])
    batches = [batch.cast(schema) for batch in read_rows(store, files_of(head, table), columns)]
    return pa.Table.from_batches(batches, schema).group_by(list(columns)).aggregate([])


def _carry(rows: pa.Table, meaning: LabelMeaning) -> pa.BooleanArray:
    masks = [
        pc.is_in(rows.column(name).combine_chunks(), value_set=pa.array(sorted(values), pa.string()))
        for name, values in (("message_uid", meaning.messages), ("chat_id", meaning.chats))
    ]
    return pc.or_(*masks)


def _keys(rows: pa.Table) -> pa.ChunkedArray:
    # No id holds the null character, so that two texts joined by it are told apart from any other two.
    return pc.binary_join_element_wise(rows.column("chat_id"), rows.column("message_uid"), "\0")
