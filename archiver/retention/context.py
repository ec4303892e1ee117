"""What the rows of a message do not tell and rules ask for: names of channels, e-mail addresses, activity, departures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, latest_states, read_rows
from archiver.archive.schema import MESSAGES
from archiver.expression import Directory, Known
from archiver.retention.policy import Policy
from archiver.store import Store

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Context:
    """What an archive knows beside its messages.

    ``names`` are all names that a chat ever had, ``kinds`` what a chat is (channel or direct), ``emails`` all addresses and
    ``people`` all names that a user ever had. ``last_activity_ms`` is when the newest message of a chat was sent, ``left_at_ms``
    when a user was seen to have left the last channel that the directory knew them in; they are read only if a rule's clock needs
    them. A chat without activity and a user without a departure are unknown, and a period that begins with one has not begun.
    """

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    emails: Mapping[str, frozenset[str]] = field(default_factory=dict)
    people: Mapping[str, frozenset[str]] = field(default_factory=dict)
    last_activity_ms: Mapping[str, int] = field(default_factory=dict)
    left_at_ms: Mapping[str, int] = field(default_factory=dict)

    def names_of(self, chat_id: str) -> frozenset[str]:
        """Return every name that a chat ever had."""
        return self.names.get(chat_id, _NOBODY)

    def emails_of(self, user_id: str) -> frozenset[str]:
        """Return every e-mail address that a user ever had."""
        return self.emails.get(user_id, _NOBODY)

    def directory(self) -> Directory:
        """Return what is known of people and chats, as search expressions ask for it."""
        users = {*self.emails, *self.people}
        return Directory(
            people={
                user: Known(names=tuple(sorted(self.people.get(user, ()))), emails=tuple(sorted(self.emails_of(user))))
                for user in users
            },
            chats={chat_id: Known(names=tuple(sorted(names))) for chat_id, names in self.names.items()},
        )


def read_context(store: Store, head: Head, policy: Policy) -> Context:
    """Read what a policy needs to know beside the rows; activity costs a reading of two columns of every message."""
    clocks = {rule.clock for rule in policy.rules}
    chats = [*_rows(store, head, "channels", ("channel_id", "name"))]
    chats += [(chat_id, name) for chat_id, name, _ in _rows(store, head, "conversations", _CONVERSATION)]
    users = _rows(store, head, "users", ("user_id", "email", "first_name", "last_name"))
    return Context(
        names=_gathered(chats),
        kinds={chat_id: kind for chat_id, _, kind in _rows(store, head, "conversations", _CONVERSATION)},
        emails=_gathered((user, email) for user, email, _, _ in users),
        people=_gathered((user, " ".join(filter(None, names))) for user, _, *names in users),
        last_activity_ms=_last_activity(store, head) if "last_activity" in clocks else {},
        left_at_ms=_departures(store, head) if "departure" in clocks else {},
    )


_CONVERSATION = ("chat_id", "name", "chat_kind")


def _rows(store: Store, head: Head, table: str, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [
        row
        for batch in read_rows(store, files_of(head, table), columns)
        for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    ]


def _gathered(pairs: Iterable[tuple[str, ...]]) -> dict[str, frozenset[str]]:
    gathered: dict[str, set[str]] = {}
    for key, value in pairs:
        if value:
            gathered.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in gathered.items()}


def _last_activity(store: Store, head: Head) -> dict[str, int]:
    """Return when the newest message of each chat was sent: by file in Arrow, of few chats then in Python."""
    newest: dict[str, int] = {}
    columns = ("chat_id", "sent_at")
    schema = pa.schema([MESSAGES.schema.field(name) for name in columns])
    for record in files_of(head, "messages"):
        rows = pa.Table.from_batches(list(read_rows(store, [record], columns)), schema=schema)
        latest = rows.group_by("chat_id").aggregate([("sent_at", "max")])
        instants = pc.cast(latest.column("sent_at_max"), pa.int64()).to_pylist()
        for chat_id, instant in zip(latest.column("chat_id").to_pylist(), instants, strict=True):
            newest[chat_id] = max(instant, newest.get(chat_id, instant))
    return newest


def _departures(store: Store, head: Head) -> dict[str, int]:
    """Return when those left who left every channel that the directory knew them in."""
    left: dict[str, int] = {}
    here: set[str] = set()
    for (_, user_id), row in latest_states(store, head, "groups", ("channel_id", "user_id")).items():
        if row["state"] == "left":
            left[user_id] = max(row["valid_from"], left.get(user_id, row["valid_from"]))
        else:
            here.add(user_id)
    return {user_id: at_ms for user_id, at_ms in left.items() if user_id not in here}
