"""Judging rows for a plan: what the policy says of each item, and what the holds keep of that which would leave.

`Judge` asks the one evaluation there is (`archiver.retention.evaluate`) and the one coverage (`archiver.retention.coverage`). `Tally`
counts what it found; counts can be taken back, so that an item that was judged in parts is judged again as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import PlacedHold
from archiver.retention.coverage import Coverage
from archiver.retention.evaluate import Evaluator, Verdicts
from archiver.retention.leaving import (
    FILE_COLUMNS,
    MESSAGE_COLUMNS,
    Leaving,
    RowVerdicts,
    are_later,
    joined,
    leaving_by,
    nothing,
    to_items,
)

# Whose a message is, for an erasure as for a custodian.
SENDER_COLUMNS: Final = ("sender_id", "on_behalf_of")
ERASURE: Final = "erasure"
ERASED_ON_REQUEST: Final = "erasure-asked"
STILL_RETAINED: Final = "still-retained"
# What these principles say, beside those of `archiver.retention.decide`.
ERASURE_PRINCIPLES: Final = {
    ERASED_ON_REQUEST: "the person asked for it, no hold covers it and no period retains it",
    STILL_RETAINED: "a retain period still runs, which Article 17(3) of the GDPR lets win",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdicts beside rows, as `archiver.retention.leaving.RowVerdicts` wants them."""

    delete_at_ms: pa.Array
    rule: pa.Array
    principle: pa.Array

    @classmethod
    def of(cls, verdicts: RowVerdicts) -> Verdict:
        """Return only what a plan asks of verdicts."""
        return cls(_one(verdicts.delete_at_ms), _one(verdicts.rule), _one(verdicts.principle))

    def filter(self, mask: pa.BooleanArray) -> Verdict:
        """Return the verdicts of some rows."""
        return Verdict(self.delete_at_ms.filter(mask), self.rule.filter(mask), self.principle.filter(mask))


class Judge:
    """Judges rows by a policy, and for an erasure by who sent them.

    What leaves until ``horizon_ms`` is found, whether it is due yet or not. With ``senders`` only what these user ids sent leaves, or a bot
    on their behalf, at ``as_of_ms``, or when the last period ends that retains it.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        coverage: Coverage,
        *,
        as_of_ms: int,
        horizon_ms: int,
        senders: frozenset[str] | None = None,
    ) -> None:
        self.as_of_ms = as_of_ms
        self._evaluator = evaluator
        self._coverage = coverage
        self.horizon_ms = horizon_ms
        self._senders = None if senders is None else pa.array(sorted(senders), pa.string())
        of_senders = () if senders is None else SENDER_COLUMNS
        self.message_columns = _distinct(MESSAGE_COLUMNS, of_senders, evaluator.message_columns)
        # What only holds ask for is read only where something would leave.
        self.further_message_columns = tuple(
            name for name in coverage.message_columns if name not in self.message_columns
        )
        self.file_columns = _distinct(FILE_COLUMNS, evaluator.file_columns, coverage.file_columns)

    @property
    def holds(self) -> Mapping[str, PlacedHold]:
        """The holds in force, by name."""
        return self._coverage.holds

    def judge(self, messages: pa.Table, files: pa.Table, *, complete: Callable[[pa.Table], pa.Table]) -> Leaving:
        """Return what leaves of some messages and their files, all rows of which are given.

        ``complete`` adds `further_message_columns` to ``messages``; it is called only if something leaves.
        """
        of_messages = self._of_messages(_numbered(messages), files)
        of_files = self._of_files(files, _of_same(messages, files))
        leave = leaving_by(self.horizon_ms, of_messages), leaving_by(self.horizon_ms, of_files)
        if not any(pc.any(mask).as_py() for mask in leave):
            return nothing(self.holds)
        whole = complete(messages) if self.further_message_columns else messages
        parts = []
        if pc.any(leave[0]).as_py():
            rows = whole.filter(leave[0])
            masks = self._coverage.of_messages(rows, _of_same(files, rows)) if self.holds else {}
            parts.append(to_items("message", rows, of_messages.filter(leave[0]), masks))
        if pc.any(leave[1]).as_py():
            rows = files.filter(leave[1])
            masks = {}
            if self.holds:
                masks = self._coverage.of_files(rows, _of_same(whole, rows), files=_of_same(files, rows))
            parts.append(to_items("file", rows, of_files.filter(leave[1]), masks))
        return joined(parts, holds=self.holds)

    def _of_messages(self, messages: pa.Table, files: pa.Table) -> Verdict:
        if self._senders is None:
            return Verdict.of(self._evaluator.of_messages(messages, files))
        sent = messages.filter(sent_by(messages, self._senders))
        if not sent.num_rows:
            return _never(messages.num_rows)
        # A message goes whole, also where only one of its versions says on whose behalf it was posted.
        theirs = pc.is_in(_joined_keys(messages), value_set=_joined_keys(sent))
        return self._erased(theirs, self._evaluator.of_messages(messages, files))

    def _of_files(self, files: pa.Table, messages: pa.Table) -> Verdict:
        if not files.num_rows:
            return _never(0)
        if self._senders is None:
            return Verdict.of(self._evaluator.of_files(files, messages))
        sent = messages.filter(sent_by(messages, self._senders))
        if not sent.num_rows:
            return _never(files.num_rows)
        keys, theirs = _joined_keys(files), _joined_keys(sent)
        return self._erased(pc.is_in(keys, value_set=theirs), self._evaluator.of_files(files, messages))

    def _erased(self, theirs: pa.BooleanArray, verdicts: Verdicts) -> Verdict:
        """Return when what the person sent goes: at once, or when the last period ends that retains it."""
        retained_until = pc.fill_null(_one(verdicts.retain_until_ms), self.as_of_ms)
        is_retained = pc.greater(retained_until, self.as_of_ms)
        at_ms = pc.max_element_wise(retained_until, pa.scalar(self.as_of_ms, pa.int64()))
        rule = pc.if_else(is_retained, _decoded(_one(verdicts.rule)), ERASURE)
        return Verdict(
            pc.if_else(theirs, at_ms, pa.scalar(None, pa.int64())),
            rule,
            pc.if_else(is_retained, STILL_RETAINED, ERASED_ON_REQUEST),
        )


@dataclass(slots=True)
class Count:
    """How many items, and what they weigh."""

    items: int = 0
    bytes: int = 0

    def add(self, items: int, weight: int) -> None:
        """Count more, or fewer."""
        self.items += items
        self.bytes += weight


@dataclass(slots=True)
class Tally:
    """Counts of what leaves: held back although it is due, by hold; and what is due later, by instant, rule and kind."""

    held: dict[str, Count] = field(default_factory=dict)
    held_in_all: Count = field(default_factory=Count)
    later: dict[tuple[int, str, str], Count] = field(default_factory=dict)

    def count(self, found: Leaving, *, as_of_ms: int, sign: int = 1) -> None:
        """Count what was found; with ``sign`` -1 take it back."""
        due = pc.less_equal(pc.cast(found.items.column("due_at"), pa.int64()), as_of_ms)
        held = found.held()
        for name, mask in found.holds.items():
            self._count_held(self.held.setdefault(name, Count()), found.items.filter(pc.and_(due, mask)), sign)
        self._count_held(self.held_in_all, found.items.filter(pc.and_(due, held)), sign)
        waiting = found.items.filter(pc.and_(pc.invert(due), pc.invert(held)))
        if not waiting.num_rows:
            return
        grouped = waiting.group_by(["due_at", "rule", "kind"]).aggregate([("bytes", "sum"), ("bytes", "count")])
        at_ms = pc.cast(grouped.column("due_at"), pa.int64()).to_pylist()
        columns = (grouped.column(name).to_pylist() for name in ("rule", "kind", "bytes_count", "bytes_sum"))
        for instant, rule, kind, items, weight in zip(at_ms, *columns, strict=True):
            self.later.setdefault((instant, rule or "", kind), Count()).add(sign * items, sign * weight)

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for name, count in other.held.items():
            self.held.setdefault(name, Count()).add(count.items, count.bytes)
        self.held_in_all.add(other.held_in_all.items, other.held_in_all.bytes)
        for key, count in other.later.items():
            self.later.setdefault(key, Count()).add(count.items, count.bytes)

    def _count_held(self, count: Count, items: pa.Table, sign: int) -> None:
        if items.num_rows:
            count.add(sign * items.num_rows, sign * pc.sum(items.column("bytes")).as_py())


def sent_by(messages: pa.Table, user_ids: pa.StringArray) -> pa.BooleanArray:
    """Return which rows of ``messages``, given with `SENDER_COLUMNS`, these users sent, or a bot on their behalf."""
    sender, behalf = (pc.is_in(_decoded(messages.column(name)), value_set=user_ids) for name in SENDER_COLUMNS)
    return _one(pc.or_(sender, behalf))


def due_of(found: Leaving, *, as_of_ms: int) -> Leaving:
    """Return the items that are due and that no hold covers: those of a plan."""
    due = pc.less_equal(pc.cast(found.items.column("due_at"), pa.int64()), as_of_ms)
    mask = _one(pc.and_(due, pc.invert(found.held())))
    items = found.items.filter(mask)
    references = found.references
    if references.num_rows:
        of_files = items.filter(pc.equal(items.column("kind"), "file"))
        keys = ["chat_id", "message_uid", "ordinal"]
        references = references.join(of_files.select(keys), keys=keys, join_type="left semi", use_threads=False)
    return Leaving(items, {}, references)


def _numbered(messages: pa.Table) -> pa.Table:
    """Return rows of which every one but the first of a message has a version above 1, as the evaluation wants to see it.

    A row that completes another has that one's number in the archive.
    """
    if messages.column("supersedes").null_count == messages.num_rows:
        return messages
    version = pc.if_else(are_later(messages), pa.scalar(2, pa.int32()), messages.column("version"))
    return messages.set_column(messages.column_names.index("version"), "version", version)


def _of_same(rows: pa.Table, others: pa.Table) -> pa.Table:
    """Return the rows that may be about the same messages as others: those with a uid of theirs."""
    return rows.filter(pc.is_in(rows.column("message_uid"), value_set=_one(others.column("message_uid"))))


def _joined_keys(rows: pa.Table) -> pa.Array:
    # No id holds the null character, so that two texts joined by it are told apart from any other two.
    return _one(pc.binary_join_element_wise(_decoded(rows.column("chat_id")), rows.column("message_uid"), "\0"))


def _never(count: int) -> Verdict:
    no_text = pa.nulls(count, pa.string())
    return Verdict(pa.nulls(count, pa.int64()), no_text, no_text)


def _distinct(*names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in names for name in group))


def _decoded(values: Any) -> Any:
    return pc.cast(values, pa.string())


def _one(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
