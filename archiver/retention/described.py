"""Items as a person describes them, turned into what an archive would hold of them: rows, and what the directory would know.

An item is judged by itself: its conversation's activity and its sender's departure are those that it tells, so that no test changes
the meaning of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import pyarrow as pa

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import PlacedHold
from archiver.archive.schema import FILES, GROUPS, MESSAGES
from archiver.archive.tables import rows_to_table
from archiver.clock import EARLIEST_MS, to_ms
from archiver.ids import CHANNEL_PREFIX, USER_PREFIX, direct_chat_id, is_channel
from archiver.retention.context import Context
from archiver.retention.coverage import Coverage
from archiver.retention.holds import Placement, checked
from archiver.retention.policy_test_keys import Item, PolicyTests, PushItem
from archiver.scope.days import days_in_zone
from archiver.scope.membership import Membership, folded

_NOON: Final = time(12)
# The uid of an item that has none: each is judged by itself.
_UNNAMED: Final = "item"


@dataclass(frozen=True, slots=True)
class DescribedPush:
    """One push as an archive would hold it: its chat, if it tells one, its reception, and the context that rules ask."""

    chat_id: str | None
    received_ms: int
    context: Context

    @property
    def rows(self) -> pa.Table:
        """It as holds look at it (`archiver.retention.coverage.Coverage.of_pushes`)."""
        received = pa.array([self.received_ms], pa.timestamp("ms", tz="UTC"))
        return pa.table({"chat_id": pa.array([self.chat_id], pa.string()), "sent_at": received})


@dataclass(frozen=True, slots=True)
class Described:
    """One item as an archive would hold it: the rows of its message and of its files, and the context that rules ask."""

    messages: pa.Table
    files: pa.Table
    context: Context


class Description:
    """All that a file of tests tells of people, channels and holds; it gives ids to those that are named without one."""

    def __init__(self, tests: PolicyTests, zone: str) -> None:
        self._tests = tests
        self._zone_name = zone
        self._zone = ZoneInfo(zone)
        self._emails = {user: set(facts.emails) for user, facts in tests.people.items()}
        self._names = {chat: set(facts.names) for chat, facts in tests.channels.items()}
        self._users = {folded(email): user for user, emails in self._emails.items() for email in emails}
        self._channels = {folded(name): chat for chat, names in self._names.items() for name in names}
        # Whoever is named anywhere is known everywhere, whichever item is judged.
        for item in tests.items:
            self._chat(item)
            self._user(item.sender)
            if item.on_behalf_of is not None:
                self._user(item.on_behalf_of)
        for push in tests.pushes:
            self._told_chat(push)
        self._members = {chat: [*map(self._user, facts.members)] for chat, facts in tests.channels.items()}

    def coverage(self) -> Coverage:
        """Return what the holds of the tests cover; raises `UsageError` for one that is none."""
        return Coverage({name: self._hold(name) for name in self._tests.holds}, self._membership())

    def described(self, item: Item) -> Described:
        """Return one item as an archive would hold it."""
        chat_id = self._chat(item)
        sender = self._user(item.sender)
        texts = (*item.earlier, item.text)
        shared = {
            "chat_id": chat_id,
            "message_uid": item.uid or _UNNAMED,
            "sent_at": self._ms(item.sent),
            "observed_at": self._ms(item.sent),
        }
        facts = shared | {
            "chat_kind": "channel" if item.between is None else "direct",
            "sent_at_basis": "timestampInMillis",
            "source": item.source,
            "captured_by": "policy test",
            "sender_id": sender,
            "send_as_name": item.send_as,
            "on_behalf_of": None if item.on_behalf_of is None else self._user(item.on_behalf_of),
            "app_id": item.app,
        }
        rows = [facts | {"version": version, "text": text, "plain_text": text} for version, text in enumerate(texts, 1)]
        files: list[dict[str, Any]] = [
            shared
            | {
                "version": len(texts),
                "ordinal": ordinal,
                "kind": "download",
                "status": "stored",
                "attempts": 1,
                "url": "",
            }
            | {"name": file.name, "mime": file.mime, "size": file.size}
            for ordinal, file in enumerate(item.files)
        ]
        return Described(
            rows_to_table(MESSAGES, rows), rows_to_table(FILES, files), self._context(item, chat_id, sender)
        )

    def pushed(self, push: PushItem) -> DescribedPush:
        """Return one push as an archive would hold it."""
        chat_id = self._told_chat(push)
        active = {} if chat_id is None or push.last_activity is None else {chat_id: self._ms(push.last_activity)}
        context = replace(self._context_of_all(), last_activity_ms=active)
        return DescribedPush(chat_id, self._ms(push.received), context)

    def _told_chat(self, push: PushItem) -> str | None:
        return None if push.channel is None and push.between is None else self._chat(push)

    def _context(self, item: Item, chat_id: str, sender: str) -> Context:
        newest = item.sent if item.last_activity is None else item.last_activity
        return replace(
            self._context_of_all(),
            last_activity_ms={chat_id: self._ms(newest)},
            left_at_ms={} if item.departed is None else {sender: self._ms(item.departed)},
        )

    def _context_of_all(self) -> Context:
        return Context(
            names={chat: frozenset(names) for chat, names in self._names.items()},
            emails={user: frozenset(emails) for user, emails in self._emails.items()},
            people={user: frozenset(facts.names) for user, facts in self._tests.people.items()},
        )

    def _ms(self, instant: datetime | date) -> int:
        if not isinstance(instant, datetime):
            instant = datetime.combine(instant, _NOON)
        return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=self._zone))

    def _user(self, named: str) -> str:
        if "@" not in named:
            self._emails.setdefault(named, set())
            return named
        user = self._users.setdefault(folded(named), f"{USER_PREFIX}{named}")
        self._emails.setdefault(user, set()).add(named)
        return user

    def _chat(self, item: Item | PushItem) -> str:
        if item.between is not None:
            return direct_chat_id(*map(self._user, item.between))
        named = item.channel or ""
        if is_channel(named) or named in self._names:
            self._names.setdefault(named, set())
            return named
        chat = self._channels.setdefault(folded(named), f"{CHANNEL_PREFIX}{named}")
        self._names.setdefault(chat, set()).add(named)
        return chat

    def _hold(self, name: str) -> PlacedHold:
        facts = self._tests.holds[name]
        first_ms, until_ms = days_in_zone(facts.first, facts.until, zone=self._zone_name)
        scope = HoldScope(
            custodians=facts.custodians,
            chats=facts.channels + facts.conversations,
            from_at_ms=first_ms,
            until_ms=until_ms,
            expression=facts.search,
            zone=self._zone_name,
        )
        asked = checked(Placement(name, scope, "policy test", facts.everything))
        return PlacedHold(scope=asked.scope, reason=asked.reason, actor="policy test", placed_at="", sequence=1)

    def _membership(self) -> Membership:
        """Return what the directory would say; who takes part in a one-to-one chat stands in its id."""
        stays = [
            {"channel_id": chat, "user_id": user, "valid_from": EARLIEST_MS, "state": "member"}
            for chat, members in self._members.items()
            for user in members
        ]
        return Membership(
            groups=rows_to_table(GROUPS, stays).select(["channel_id", "user_id", "valid_from", "state"]),
            addresses=_by_value(self._emails.items()),
            users=frozenset(self._emails),
            names=_by_value(self._names.items()),
            chats=frozenset(self._names),
            directory=self._context_of_all().directory(),
        )


def _by_value(known: Iterable[tuple[str, set[str]]]) -> dict[str, frozenset[str]]:
    """Return from each folded name or address the ids of those who have it."""
    found: dict[str, set[str]] = {}
    for identifier, values in known:
        for value in values:
            found.setdefault(folded(value), set()).add(identifier)
    return {value: frozenset(identifiers) for value, identifiers in found.items()}
