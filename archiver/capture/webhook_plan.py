"""Who should make which outgoing webhook, so that every channel has a feed.

Flock allows a user 10 outgoing webhooks, each of one channel, made by hand by somebody who is in it (flock-api.md 11.1); no method
makes or lists them. Pure: channels, their members and what is taken already go in, and the largest possible plan comes out: if
a channel stays without a feed here, then no way to hand out the work would give all of them one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

WEBHOOKS_PER_USER_MAX: Final = 10

_SLUG_CHARACTERS_MAX: Final = 40
_MARK_CHARACTERS: Final = 8
_MARKED: Final = re.compile(r".*-([0-9a-f]{8})-[0-9a-f]{8}")

# Who is asked first: whose token works, then who has the app though its token does not, then anybody, and guests last.
Rank = Literal[0, 1, 2, 3]
WORKING_TOKEN: Final[Rank] = 0
INSTALLED: Final[Rank] = 1
ANYBODY: Final[Rank] = 2
GUEST: Final[Rank] = 3

UncoveredReason = Literal["no member is known who could make one", "every member has as many webhooks as Flock allows"]


@dataclass(frozen=True, slots=True)
class Uncovered:
    """A channel for which nobody is left to make a webhook, and why."""

    channel_id: str
    reason: UncoveredReason


@dataclass(frozen=True, slots=True)
class WebhookPlan:
    """Who makes the webhook of which channel, and the channels that nobody can make one of."""

    owners: Mapping[str, str]
    uncovered: tuple[Uncovered, ...]


def plan_webhooks(
    members: Mapping[str, Collection[str]], *, taken: Mapping[str, int], ranks: Mapping[str, Rank]
) -> WebhookPlan:
    """Hand out a webhook for each channel of ``members`` to one of these.

    ``taken`` counts the webhooks that a user has already, as far as known; ``ranks`` says who is asked first, `ANYBODY` where it
    says nothing. As many channels as possible get one, as many of them as possible by users of the first rank, then of the
    second, and so on; of equals, those who are in many of the channels, so that few people are bothered.
    """
    reach = Counter(user_id for users in members.values() for user_id in users)
    work = _Work(taken)
    for worst in (WORKING_TOKEN, INSTALLED, ANYBODY, GUEST):
        candidates = {
            channel_id: sorted(
                (user_id for user_id in set(users) if ranks.get(user_id, ANYBODY) <= worst),
                key=lambda user_id: (ranks.get(user_id, ANYBODY), -reach[user_id], user_id),
            )
            for channel_id, users in sorted(members.items())
        }
        work.hand_out(candidates)
    uncovered = tuple(
        Uncovered(
            channel_id,
            "every member has as many webhooks as Flock allows" if users else "no member is known who could make one",
        )
        for channel_id, users in sorted(members.items())
        if channel_id not in work.owners
    )
    return WebhookPlan(dict(sorted(work.owners.items())), uncovered)


def webhook_name(channel_id: str, channel_name: str | None, *, owner: str) -> str:
    """Return a name for a channel's webhook: readable, fit for an address, and saying by its end who makes it, and of which channel.

    Flock tells nobody who made a webhook (flock-api.md 11.1), so the name does, for as long as its token is configured.
    """
    return f"{_slug(channel_name) or 'channel'}-{_mark(owner)}-{_mark(channel_id)}"


def name_of_channel(names: Collection[str], channel_id: str) -> str | None:
    """Return that of the names which was made for a channel, whatever the channel was called then."""
    return next((name for name in sorted(names) if name.endswith(f"-{_mark(channel_id)}")), None)


def owners_of(names: Collection[str], users: Collection[str]) -> dict[str, str]:
    """Return who was to make each of the names that was made by `webhook_name`, of those users."""
    by_mark = {_mark(user_id): user_id for user_id in users}
    found = {name: by_mark.get(match[1]) for name in names if (match := _MARKED.fullmatch(name))}
    return {name: user_id for name, user_id in found.items() if user_id is not None}


def person_name(user_id: str, name: str | None) -> str:
    """Return a name for a person that is readable, fit for a file, and told from all others by its end."""
    return f"{_slug(name) or 'user'}-{_mark(user_id)}"


def _slug(name: str | None) -> str:
    ascii_name = unicodedata.normalize("NFKD", name or "").encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:_SLUG_CHARACTERS_MAX].strip("-")


def _mark(identifier: str) -> str:
    return sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK_CHARACTERS]


class _Work:
    """A growing assignment of channels to users, each with what Flock leaves him: augmenting paths, breadth first."""

    def __init__(self, taken: Mapping[str, int]) -> None:
        self.owners: dict[str, str] = {}
        self._taken = taken
        self._channels: dict[str, set[str]] = {}

    def hand_out(self, candidates: Mapping[str, Sequence[str]]) -> None:
        """Find an owner for as many channels as possible; who has one keeps one, though perhaps another."""
        exhausted: set[str] = set()
        for channel_id in candidates:
            if channel_id not in self.owners:
                exhausted |= self._find(channel_id, candidates, exhausted)

    def _find(self, wanted: str, candidates: Mapping[str, Sequence[str]], exhausted: Collection[str]) -> set[str]:
        """Find an owner for one channel; return the users who cannot help, where there is none."""
        asked_for: dict[str, str] = {}
        waiting = deque([wanted])
        while waiting:
            channel_id = waiting.popleft()
            for user_id in candidates[channel_id]:
                if user_id in asked_for or user_id in exhausted:
                    continue
                asked_for[user_id] = channel_id
                if len(self._channels.get(user_id, ())) < WEBHOOKS_PER_USER_MAX - self._taken.get(user_id, 0):
                    self._assign(user_id, wanted, asked_for)
                    return set()
                # Somebody else might take one of his.
                waiting.extend(sorted(self._channels.get(user_id, ())))
        return set(asked_for)

    def _assign(self, user_id: str, wanted: str, asked_for: Mapping[str, str]) -> None:
        """Give a channel to a user who is free, and to who is left by it the one for which he was asked, back to the first."""
        while True:
            channel_id = asked_for[user_id]
            before = self.owners.get(channel_id)
            self.owners[channel_id] = user_id
            self._channels.setdefault(user_id, set()).add(channel_id)
            if channel_id == wanted or before is None:
                return
            self._channels[before].discard(channel_id)
            user_id = before
