"""Which outgoing webhooks there are, as far as can be known, what they deliver, and which channels still need one.

Flock has no method that lists webhooks (flock-api.md 11.1). What is known of them are the names that have a token here, and what came
through each of them. Pure: the archive's newest states and the configured names go in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from archiver.capture.feeds import Feeds
from archiver.capture.webhook_plan import GUEST, Rank, WebhookPlan, name_of_channel, owners_of, plan_webhooks
from archiver.clock import DAY_MS

WebhookState = Literal["delivers", "silent", "unreadable", "nothing yet", "channel gone", "no token"]

# What a state means, for whoever reads it.
WEBHOOK_STATES: Final[dict[WebhookState, str]] = {
    "delivers": "messages of its channel arrive",
    "silent": "it delivered once, and has not while others did: look whether it still exists, and who owns it",
    "unreadable": "what it delivers cannot be read: see the gaps of kind unparsed",
    "nothing yet": "its token is configured, and nothing of it is archived: make it, speak in its channel, and run",
    "channel gone": "nobody's token lists its channel any more",
    "no token": "it delivered once and its token is not configured any more, so its pushes are refused",
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the archive knows: the names of the listed channels and of all people, who is in which channel, and what was delivered.

    Neither bots nor people who have left a channel are among its ``members``: they cannot own a webhook of it.
    """

    channels: Mapping[str, str | None]
    members: Mapping[str, Collection[str]]
    people: Mapping[str, str | None]
    guests: Collection[str]
    feeds: Feeds


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook as far as it is known; ``channel_id`` is what it delivered of last, else what its name was made for.

    ``chats`` counts the chats of which it delivered: more than one means that it was pointed at another channel, or that
    several share its address. ``has_owner_left`` tells that its known owner is not in its channel any more.
    """

    name: str
    state: WebhookState
    is_configured: bool
    channel_id: str | None
    owner_id: str | None
    has_owner_left: bool
    first_push_at_ms: int | None
    last_push_at_ms: int | None
    chats: int


def webhooks_of(
    workspace: Workspace, *, configured: Collection[str], owners: Mapping[str, str], silent_days_max: float
) -> list[Webhook]:
    """Return the webhooks that are configured here or ever delivered, by name; ``owners`` says more than a name does."""
    names = sorted({*configured, *workspace.feeds})
    known_owners = {**owners_of(names, workspace.people), **owners}
    by_name = {name: channel_id for channel_id in workspace.channels if (name := name_of_channel(names, channel_id))}
    newest_ms = max((span.last_at_ms for chats in workspace.feeds.values() for span in chats.values()), default=0)
    found = []
    for name in names:
        chats = workspace.feeds.get(name, {})
        readable = {chat_id: span for chat_id, span in chats.items() if chat_id}
        channel_id = max(readable, key=lambda chat_id: readable[chat_id].last_at_ms, default=by_name.get(name))
        last_ms = max((span.last_at_ms for span in chats.values()), default=None)
        owner = known_owners.get(name)
        members = workspace.members.get(channel_id or "")
        found.append(
            Webhook(
                name=name,
                state=_state(
                    is_configured=name in configured,
                    is_readable=bool(readable),
                    is_listed=channel_id is None or channel_id in workspace.channels,
                    age_ms=None if last_ms is None else newest_ms - last_ms,
                    silent_days_max=silent_days_max,
                ),
                is_configured=name in configured,
                channel_id=channel_id,
                owner_id=owner,
                has_owner_left=owner is not None and members is not None and owner not in members,
                first_push_at_ms=min((span.first_at_ms for span in chats.values()), default=None),
                last_push_at_ms=last_ms,
                chats=len(readable),
            )
        )
    return found


def _state(
    *, is_configured: bool, is_readable: bool, is_listed: bool, age_ms: int | None, silent_days_max: float
) -> WebhookState:
    if not is_configured:
        return "no token"
    if not is_listed:
        return "channel gone"
    if age_ms is None:
        return "nothing yet"
    if age_ms > silent_days_max * DAY_MS:
        return "silent"
    return "delivers" if is_readable else "unreadable"


def channels_without_webhook(workspace: Workspace, webhooks: Iterable[Webhook]) -> list[str]:
    """Return the listed channels that no configured webhook is known to be of."""
    served = {webhook.channel_id for webhook in webhooks if webhook.is_configured}
    return [channel_id for channel_id in workspace.channels if channel_id not in served]


def channels_without_delivery(workspace: Workspace, webhooks: Iterable[Webhook]) -> list[str]:
    """Return the listed channels of which no webhook delivers now."""
    heard = {webhook.channel_id for webhook in webhooks if webhook.state == "delivers"}
    return [channel_id for channel_id in workspace.channels if channel_id not in heard]


def webhooks_by_owner(webhooks: Iterable[Webhook]) -> Counter[str]:
    """Return how many configured webhooks each user is known to have."""
    return Counter(webhook.owner_id for webhook in webhooks if webhook.is_configured and webhook.owner_id is not None)


def plan_missing(
    workspace: Workspace, webhooks: Sequence[Webhook], *, ranks: Mapping[str, Rank], others: Mapping[str, int]
) -> WebhookPlan:
    """Plan a webhook for every listed channel without one; ``others`` counts what users have for other purposes.

    Guests come last, whatever token they have: they may not make apps, and whether they may make webhooks is not documented
    (flock-api.md 12).
    """
    taken = webhooks_by_owner(webhooks) + Counter(others)
    members = {
        channel_id: workspace.members.get(channel_id, ())
        for channel_id in channels_without_webhook(workspace, webhooks)
    }
    ranked: dict[str, Rank] = {**ranks, **dict.fromkeys(workspace.guests, GUEST)}
    return plan_webhooks(members, taken=taken, ranks=ranked)
