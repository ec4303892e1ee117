"""Who took part: people and conversations of an export, as the directory knew them when it last told of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import pyarrow.compute as pc

from archiver.archive.reader import Head, files_of, read_rows
from archiver.archive.tables import rows_of
from archiver.discovery.export.record import Conversation, Person
from archiver.ids import is_bot, parties_of
from archiver.scope.membership import Membership
from archiver.store import Store

# Long enough to tell a reader which it is; the digits of its digest tell it apart.
PATH_NAME_CHARACTERS_MAX: Final = 40
_DIGEST_DIGITS: Final = 10
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9]+")
# Windows keeps these for devices, whatever follows after a dot.
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)

# What a name is shown as, such as a part of it made black.
Shown = Callable[[str], str]


@dataclass(slots=True)
class People:
    """Gives people and conversations by their ids, as they are shown.

    ``users`` and ``chats`` are the newest rows of the directory by id; ``from_ms`` and ``until_ms`` are the days of the export. ``shown``
    makes a name such as it may be shown, ``hidden`` names those who are not to be known, by what they are called instead.
    """

    membership: Membership
    users: Mapping[str, Mapping[str, Any]]
    chats: Mapping[str, Mapping[str, Any]]
    custodians: Sequence[str]
    from_ms: int | None = None
    until_ms: int | None = None
    shown: Shown = str
    hidden: Mapping[str, str] = field(default_factory=dict)
    _known: dict[tuple[str, str | None], Person] = field(default_factory=dict)

    def person(self, user_id: str, called: str | None = None) -> Person:
        """Return somebody; ``called`` is the name that a message has for them, where the directory knows none."""
        known = self._known.get((user_id, called))
        if known is None:
            known = self._known[user_id, called] = self._person(user_id, called)
        return known

    def conversation(self, chat_id: str, kind: str) -> Conversation:
        """Return a conversation, with those who were in it in the export's days."""
        row = self.chats.get(chat_id, {})
        parties = parties_of(chat_id) if kind == "direct" else None
        users = sorted(set(parties or row.get("participants") or ()) if kind == "direct" else self._members(chat_id))
        participants = tuple(sorted((self.person(user_id) for user_id in users), key=lambda person: person.user_id))
        custodians = set(self.custodians)
        name = row.get("name")
        found = Conversation(
            chat_id=chat_id,
            kind="direct" if kind == "direct" else "channel",
            name=self.shown(name) if name and kind != "direct" else None,
            participants=participants,
            custodians=tuple(self.person(user_id) for user_id in users if user_id in custodians),
        )
        return replace(found, path_name=path_name(found.shown, of=chat_id))

    def _person(self, user_id: str, called: str | None) -> Person:
        if user_id in self.hidden or user_id in self.hidden.values():
            called = self.hidden.get(user_id, user_id)
            return Person(called, called)
        row = self.users.get(user_id, {})
        name = " ".join(filter(None, (row.get("first_name"), row.get("last_name")))).strip() or called or None
        email = row.get("email")
        return Person(
            user_id,
            None if name is None else self.shown(name),
            None if email is None else self.shown(email),
            is_bot(user_id),
        )

    def _members(self, channel_id: str) -> set[str]:
        groups = self.membership.groups
        own = groups.filter(pc.equal(groups.column("channel_id"), channel_id))
        users: set[str] = set(pc.unique(own.column("user_id")).to_pylist())
        if self.from_ms is None and self.until_ms is None:
            return users
        of_channel = replace(self.membership, groups=own)
        return {
            user_id
            for user_id in users
            if any(
                (self.until_ms is None or start < self.until_ms) and (self.from_ms is None or end > self.from_ms)
                for start, end in of_channel.stays([user_id]).get(channel_id, ())
            )
        }


def read_people(
    store: Store,
    head: Head,
    membership: Membership,
    *,
    custodians: Sequence[str],
    days_ms: tuple[int | None, int | None] = (None, None),
    shown: Shown = str,
    hidden: Mapping[str, str] | None = None,
) -> People:
    """Read who the users are and what chats are called; raises `DamageFoundError` if the directory cannot be read."""
    users = _newest(store, head, "users", "user_id", ("first_name", "last_name", "email"))
    chats = _newest(store, head, "conversations", "chat_id", ("name", "participants"))
    for chat_id, row in _newest(store, head, "channels", "channel_id", ("name",)).items():
        if row["name"] and not chats.get(chat_id, {}).get("name"):
            chats[chat_id] = {"participants": None, **chats.get(chat_id, {}), "name": row["name"]}
    return People(membership, users, chats, custodians, *days_ms, shown, hidden or {})


# The same files are sent again and again.
@lru_cache(maxsize=1024)
def path_name(name: str, *, of: str) -> str:
    """Return a name for files and folders: ASCII, safe on every system, and of nothing else than what ``of`` identifies."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    slug = _UNSAFE.sub("-", plain).strip("-")[:PATH_NAME_CHARACTERS_MAX].strip("-").lower()
    if _DEVICES.fullmatch(slug):
        slug = f"the-{slug}"
    digest = sha256(of.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_DIGITS]
    return f"{slug}-{digest}" if slug else digest


def _newest(store: Store, head: Head, table: str, key: str, columns: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for batch in read_rows(store, files_of(head, table), (key, "valid_from", *columns)):
        for row in rows_of(batch):
            known = found.get(row[key])
            if known is None or known["valid_from"] <= row["valid_from"]:
                found[row[key]] = row
    return found
