"""Whom and what the words of a hold mean, and who was in which channel when, as far as the archive can tell.

The directory is looked at once a night, so that somebody came or went is known only to lie between two looks. What decides what must be
kept errs on the side of more: somebody whom the first look at a channel found counts as having been there from the beginning, who came
later counts from the look before, and who went counts until the look that missed him. A look that could not be read whole proves nobody's
absence, so in a channel that ever had one, whoever came counts from the beginning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.expression import Directory, Known
from archiver.ids import direct_chat_id, parties_of
from archiver.store import Store

# Instants before and after all others, in milliseconds since 1970 UTC.
ALWAYS_MS: Final = -(2**63)
FOREVER_MS: Final = 2**63 - 1

# From an instant (included) to an instant (not included), in milliseconds since 1970 UTC.
Span = tuple[int, int]

# So says a gap that a list of members could not be had or read whole: its kind, and how its subject begins.
_DIRECTORY_GAP: Final = "directory"
_MEMBERS_OF: Final = "channels.listMembers "
_MEMBER: Final = "member"
_GLOB_SIGNS: Final = frozenset("*?")
_NO_GROUPS: Final = pa.schema(
    [TABLES["groups"].schema.field(name) for name in ("channel_id", "user_id", "valid_from", "state")]
)


@dataclass(frozen=True, slots=True)
class Membership:
    """What the directory ever said, whatever it says now: a name or an address that was given up still means whom it meant.

    ``groups`` has the columns channel_id, user_id, valid_from and state of all rows of that table. ``addresses`` maps an e-mail address to
    the users who ever had it, ``users`` are all that the directory tells of; ``names`` maps a name to the chats that ever had it,
    ``chats`` are all that it tells of; both are folded (`folded`). ``talks`` maps a user to the chats that name him as taking part.
    ``unproven`` are the channels of which a list of members was once not read whole. ``directory`` is the same for search expressions.
    """

    groups: pa.Table = field(default_factory=_NO_GROUPS.empty_table)
    addresses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    users: frozenset[str] = frozenset()
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    chats: frozenset[str] = frozenset()
    talks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unproven: frozenset[str] = frozenset()
    directory: Directory = field(default_factory=Directory)

    def people(self, text: str) -> frozenset[str]:
        """Return the ids of those whom the directory knows by an id or an e-mail address; none if nobody."""
        found = self.addresses.get(folded(text), frozenset())
        return found | {text} if text in self.users else found

    def chats_called(self, text: str) -> frozenset[str]:
        """Return the ids of the chats that the directory knows by an id, a name, a pattern of either, or the two who talk.

        A name may have the ``#`` before it. In a pattern ``*`` stands for any characters and ``?`` for one. The two of a
        one-to-one chat stand in any order with a comma between, each as an id or an e-mail address; that chat need not be known.
        """
        found = set(
            self.names.get(folded(text), frozenset()) | self.names.get(folded(text.removeprefix("#")), frozenset())
        )
        if text in self.chats:
            found.add(text)
        parties = parties_of(text)
        if parties is not None:
            first, second = (self.people(party.strip()) | _as_id(party.strip()) for party in parties)
            found |= {direct_chat_id(one, other) for one in first for other in second}
        return frozenset(found | self._matching(text))

    def stays(self, users: Collection[str]) -> dict[str, tuple[Span, ...]]:
        """Return by channel when any of these users was in it: spans in order, apart from each other."""
        own = self.groups.filter(
            pc.is_in(self.groups.column("user_id"), value_set=pa.array(sorted(users), pa.string()))
        )
        if own.num_rows == 0:
            return {}
        looks = self._looks(pc.unique(own.column("channel_id")))
        states: dict[tuple[str, str], list[tuple[int, bool]]] = {}
        for channel_id, user_id, at_ms, state in _rows(own):
            states.setdefault((channel_id, user_id), []).append((at_ms, state == _MEMBER))
        spans: dict[str, list[Span]] = {}
        for (channel_id, _), changes in states.items():
            # Of two states from one instant being in it counts.
            found = _spans(sorted(changes), looks[channel_id], is_proven=channel_id not in self.unproven)
            spans.setdefault(channel_id, []).extend(found)
        return {channel_id: merged(found) for channel_id, found in sorted(spans.items())}

    def _looks(self, channels: pa.Array) -> dict[str, list[int]]:
        """Return when the members of these channels were looked at, as far as a look left a row; in order."""
        rows = self.groups.filter(pc.is_in(self.groups.column("channel_id"), value_set=channels))
        distinct = rows.group_by(["channel_id", "valid_from"]).aggregate([])
        looks: dict[str, list[int]] = {}
        instants = pc.cast(distinct.column("valid_from"), pa.int64()).to_pylist()
        for channel_id, at_ms in zip(distinct.column("channel_id").to_pylist(), instants, strict=True):
            looks.setdefault(channel_id, []).append(at_ms)
        return {channel_id: sorted(found) for channel_id, found in looks.items()}

    def _matching(self, pattern: str) -> set[str]:
        called = folded(pattern.removeprefix("#"))
        found = {chat_id for chat_id in self.chats if matches(pattern, chat_id)}
        return found.union(*(chats for name, chats in self.names.items() if matches(called, name)))


def read_membership(store: Store, head: Head) -> Membership:
    """Read what the directory ever said, as of a head; raises `DamageFoundError` if it cannot be read."""
    groups = _read(store, head, "groups", _NO_GROUPS.names)
    users = _read(store, head, "users", ["user_id", "email", "first_name", "last_name"])
    channels = _read(store, head, "channels", ["channel_id", "name"])
    conversations = _read(store, head, "conversations", ["chat_id", "name", "participants"])
    gaps = _read(store, head, "gaps", ["kind", "subject"])
    addresses: dict[str, set[str]] = {}
    for user_id, address in _distinct(users, "user_id", "email"):
        addresses.setdefault(folded(address), set()).add(user_id)
    names: dict[str, set[str]] = {}
    for table, identifier in ((channels, "channel_id"), (conversations, "chat_id")):
        for chat_id, name in _distinct(table, identifier, "name"):
            names.setdefault(folded(name), set()).add(chat_id)
    talks: dict[str, set[str]] = {}
    told = conversations.filter(pc.is_valid(conversations.column("participants")))
    for chat_id, participants in zip(
        told.column("chat_id").to_pylist(), told.column("participants").to_pylist(), strict=True
    ):
        for user_id in participants:
            talks.setdefault(user_id, set()).add(chat_id)
    return Membership(
        groups=groups,
        addresses=_frozen(addresses),
        users=_values(users, "user_id") | _values(groups, "user_id") | talks.keys(),
        names=_frozen(names),
        chats=_values(channels, "channel_id") | _values(conversations, "chat_id") | _values(groups, "channel_id"),
        talks=_frozen(talks),
        unproven=_unproven(gaps),
        directory=_directory(users, channels, conversations),
    )


def folded(text: str) -> str:
    """Return a name or an address as it is compared: case does not count, nor white space around it."""
    return text.strip().casefold()


def matches(pattern: str, text: str) -> bool:
    """Tell whether a text is of a pattern: ``*`` is any characters, ``?`` is one, and all others are themselves."""
    # A bracket is an ordinary letter of a channel's name.
    return bool(_GLOB_SIGNS & set(pattern)) and fnmatchcase(text, pattern.replace("[", "[[]"))


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in order, those that overlap or touch made into one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif start < end:
            joined.append((start, end))
    return tuple(joined)


def _spans(changes: Sequence[tuple[int, bool]], looks: Sequence[int], *, is_proven: bool) -> list[Span]:
    """Return when a user was in a channel, from what each change found: when, and whether he was in it from then on."""
    spans: list[Span] = []
    since: int | None = None
    left_at = ALWAYS_MS
    for number, (at_ms, is_in) in enumerate(changes):
        if is_in and since is None:
            since = _came(at_ms, looks, after=left_at, is_proven=is_proven)
        elif not is_in:
            if number == 0:
                since = ALWAYS_MS  # nobody leaves who was not there
            if since is not None:
                spans.append((since, at_ms))
            since, left_at = None, at_ms
    return spans if since is None else [*spans, (since, FOREVER_MS)]


def _came(at_ms: int, looks: Sequence[int], *, after: int, is_proven: bool) -> int:
    """Return since when somebody may have been there whom the look at ``at_ms`` found and who had left at ``after``."""
    before = bisect_left(looks, at_ms) - 1
    # Who had left was looked for at that very moment, so that no look before this one is earlier than that.
    return looks[before] if is_proven and before >= 0 else after


def _as_id(text: str) -> frozenset[str]:
    """Return what may be the id of somebody whom the directory does not tell of, such as a contact of another team."""
    return frozenset({text}) if ":" in text else frozenset()


def _read(store: Store, head: Head, table: str, columns: Sequence[str]) -> pa.Table:
    schema = pa.schema([TABLES[table].schema.field(name) for name in columns])
    batches = [batch.cast(schema) for batch in read_rows(store, files_of(head, table), columns)]
    return pa.Table.from_batches(batches, schema)


def _rows(groups: pa.Table) -> Iterable[tuple[str, str, int, str]]:
    instants = pc.cast(groups.column("valid_from"), pa.int64()).to_pylist()
    texts = (groups.column(name).to_pylist() for name in ("channel_id", "user_id"))
    return zip(*texts, instants, groups.column("state").to_pylist(), strict=True)


def _distinct(table: pa.Table, *columns: str) -> Iterable[tuple[str, str]]:
    """Return the distinct pairs of two columns whose second is given."""
    pairs = table.select(columns).filter(pc.is_valid(table.column(columns[1]))).group_by(list(columns)).aggregate([])
    return zip(*(pairs.column(name).to_pylist() for name in columns), strict=True)


def _values(table: pa.Table, column: str) -> frozenset[str]:
    return frozenset(pc.unique(table.column(column)).to_pylist())


def _unproven(gaps: pa.Table) -> frozenset[str]:
    subjects = gaps.filter(pc.equal(gaps.column("kind"), _DIRECTORY_GAP)).column("subject").drop_null().to_pylist()
    told = (
        subject.removeprefix(_MEMBERS_OF).partition(": ")[0] for subject in subjects if subject.startswith(_MEMBERS_OF)
    )
    return frozenset(told)


def _directory(users: pa.Table, channels: pa.Table, conversations: pa.Table) -> Directory:
    """Return all names and addresses of everybody and of every chat, as search expressions ask for them."""
    addresses: dict[str, set[str]] = {}
    for user_id, address in _distinct(users, "user_id", "email"):
        addresses.setdefault(user_id, set()).add(address)
    names: dict[str, set[str]] = {}
    told = users.select(["user_id", "first_name", "last_name"])
    for row in told.group_by(told.column_names).aggregate([]).to_pylist():
        names.setdefault(row["user_id"], set()).add(" ".join(filter(None, (row["first_name"], row["last_name"]))))
    chats: dict[str, set[str]] = {}
    for table, identifier in ((channels, "channel_id"), (conversations, "chat_id")):
        for chat_id, name in _distinct(table, identifier, "name"):
            chats.setdefault(chat_id, set()).add(name)
    return Directory(
        people={
            user_id: Known(names=tuple(sorted(found - {""})), emails=tuple(sorted(addresses.get(user_id, ()))))
            for user_id, found in names.items()
        },
        chats={chat_id: Known(names=tuple(sorted(found))) for chat_id, found in chats.items()},
    )


def _frozen(sets: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(found) for name, found in sets.items()}
