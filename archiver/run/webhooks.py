"""The reports of `archiver webhooks`: who should make which outgoing webhook, and which of those there are deliver.

They read the archive's head, and what the configuration says of webhooks: names, owners and addresses, never a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from archiver.archive.reader import Archive, Head, latest_states
from archiver.capture import webhook_coverage as coverage
from archiver.capture.directory_changes import LISTED, MEMBER
from archiver.capture.feeds import read_feeds
from archiver.capture.webhook_coverage import WEBHOOK_STATES, Webhook, WebhookState, Workspace
from archiver.capture.webhook_plan import INSTALLED, WORKING_TOKEN, Rank, UncoveredReason, webhook_name
from archiver.clock import to_text
from archiver.ids import is_bot
from archiver.run.known_states import States
from archiver.run.session import STATE_KEYS

# What stands in an address where the path secret belongs.
PATH_SECRET_PLACE = "<path secret>"  # noqa: S105 - the place of a secret

_GUEST = "guest"
_TOKENS: dict[Rank, str] = {WORKING_TOKEN: "works", INSTALLED: "refused"}


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """What the configuration says of webhooks: the names that have tokens, who made some of them, and when one is silent."""

    configured: Collection[str]
    owners: Mapping[str, str] = field(default_factory=dict)
    silent_days_max: float = 14.0


@dataclass(frozen=True, slots=True)
class Order:
    """A webhook to be made; in ``callback_url`` `PATH_SECRET_PLACE` stands for the path secret."""

    channel_id: str
    channel_name: str | None
    webhook: str
    callback_url: str


@dataclass(frozen=True, slots=True)
class PersonToAsk:
    """Who is asked for which webhooks; ``token`` is works, refused or none, ``has`` how many are known to be this user's."""

    user_id: str
    user_name: str | None
    token: str
    has: int
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class UncoveredChannel:
    """A channel for which nobody can make a webhook."""

    channel_id: str
    channel_name: str | None
    reason: UncoveredReason


@dataclass(frozen=True, slots=True)
class PlanReport:
    """Who should make which webhook, as of one commit.

    ``without_known_owner`` are configured webhooks that count against nobody's 10; ``without_known_channel`` those that have
    delivered nothing yet and whose name says nothing, so that one may be planned twice.
    """

    sequence: int
    at: str | None
    channels: int
    planned: int
    people: tuple[PersonToAsk, ...]
    uncovered: tuple[UncoveredChannel, ...]
    without_known_owner: tuple[str, ...]
    without_known_channel: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Tell whether every channel has a webhook once the plan is carried out; of no channel at all nothing is known."""
        return bool(self.channels) and not self.uncovered


@dataclass(frozen=True, slots=True)
class CheckedWebhook:
    """A webhook as far as it is known; see `archiver.capture.webhook_coverage.Webhook`. Instants are ISO 8601 in UTC."""

    webhook: str
    state: WebhookState
    is_configured: bool
    channel_id: str | None
    channel_name: str | None
    owner_id: str | None
    owner_name: str | None
    has_owner_left: bool
    first_push_at: str | None
    last_push_at: str | None
    chats: int


@dataclass(frozen=True, slots=True)
class UnheardChannel:
    """A channel of which no webhook delivers now, and those that are configured for it."""

    channel_id: str
    channel_name: str | None
    configured: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many webhooks are in a state, and what it means."""

    state: WebhookState
    webhooks: int
    meaning: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Which webhooks deliver, as of one commit; ``unheard`` are the channels that none delivers of."""

    sequence: int
    at: str | None
    channels: int
    states: tuple[StateCount, ...]
    webhooks: tuple[CheckedWebhook, ...]
    unheard: tuple[UnheardChannel, ...]

    @property
    def is_clean(self) -> bool:
        """Tell whether every channel is heard and every configured webhook delivers; of no channel at all nothing is known."""
        failing = any(webhook.is_configured and webhook.state != "delivers" for webhook in self.webhooks)
        return bool(self.channels) and not self.unheard and not failing


def plan_report(
    archive: Archive,
    settings: WebhookSettings,
    *,
    public_url: str,
    ranks: Mapping[str, Rank],
    others: Mapping[str, int],
) -> PlanReport:
    """Return who should make which webhook; ``ranks`` says who has the app, ``others`` what users have for other purposes."""
    head = archive.head()
    workspace = read_workspace(archive, head)
    webhooks = _webhooks(workspace, settings)
    plan = coverage.plan_missing(workspace, webhooks, ranks=ranks, others=others)
    has = coverage.webhooks_by_owner(webhooks)
    by_person: dict[str, list[Order]] = {}
    for channel_id, user_id in plan.owners.items():
        name = webhook_name(channel_id, workspace.channels[channel_id], owner=user_id)
        callback = f"{public_url}/hooks/{PATH_SECRET_PLACE}/{name}"
        by_person.setdefault(user_id, []).append(Order(channel_id, workspace.channels[channel_id], name, callback))
    people = [
        PersonToAsk(
            user_id=user_id,
            user_name=workspace.people.get(user_id),
            token=_TOKENS[ranks[user_id]] if user_id in ranks else "none",
            has=has[user_id],
            orders=tuple(sorted(orders, key=lambda order: (order.channel_name or "", order.channel_id))),
        )
        for user_id, orders in by_person.items()
    ]
    return PlanReport(
        sequence=head.sequence,
        at=head.at,
        channels=len(workspace.channels),
        planned=len(plan.owners),
        people=tuple(sorted(people, key=lambda person: (person.user_name or "", person.user_id))),
        uncovered=tuple(
            UncoveredChannel(item.channel_id, workspace.channels[item.channel_id], item.reason)
            for item in plan.uncovered
        ),
        without_known_owner=tuple(item.name for item in webhooks if item.is_configured and item.owner_id is None),
        without_known_channel=tuple(item.name for item in webhooks if item.is_configured and item.channel_id is None),
    )


def check_report(archive: Archive, settings: WebhookSettings) -> CheckReport:
    """Return which webhooks deliver, as the last run left it."""
    head = archive.head()
    workspace = read_workspace(archive, head)
    webhooks = _webhooks(workspace, settings)
    counts = Counter(webhook.state for webhook in webhooks)
    return CheckReport(
        sequence=head.sequence,
        at=head.at,
        channels=len(workspace.channels),
        states=tuple(
            StateCount(state, counts[state], meaning) for state, meaning in WEBHOOK_STATES.items() if counts[state]
        ),
        webhooks=tuple(_checked(webhook, workspace) for webhook in webhooks),
        unheard=tuple(
            UnheardChannel(
                channel_id,
                workspace.channels[channel_id],
                tuple(item.name for item in webhooks if item.is_configured and item.channel_id == channel_id),
            )
            for channel_id in coverage.channels_without_delivery(workspace, webhooks)
        ),
    )


def read_workspace(archive: Archive, head: Head) -> Workspace:
    """Return who could make webhooks of what, and what was delivered until the last run looked."""

    def states(table: str) -> States:
        return latest_states(archive.store, head, table, STATE_KEYS[table])

    users = {user_id: row for (user_id,), row in states("users").items()}
    channels = {
        channel_id: row["name"] for (channel_id,), row in sorted(states("channels").items()) if row["state"] == LISTED
    }
    members: dict[str, set[str]] = {channel_id: set() for channel_id in channels}
    for (channel_id, user_id), row in states("groups").items():
        if channel_id in members and row["state"] == MEMBER and not is_bot(user_id):
            members[channel_id].add(user_id)
    people: dict[str, str | None] = {user_id: None for in_channel in members.values() for user_id in in_channel}
    people |= {
        user_id: " ".join(filter(None, (row["first_name"], row["last_name"]))) or None for user_id, row in users.items()
    }
    return Workspace(
        channels=channels,
        members=members,
        people=people,
        guests=frozenset(user_id for user_id, row in users.items() if row["role"] == _GUEST),
        feeds=read_feeds(head.cursors),
    )


def _webhooks(workspace: Workspace, settings: WebhookSettings) -> Sequence[Webhook]:
    return coverage.webhooks_of(
        workspace,
        configured=settings.configured,
        owners=settings.owners,
        silent_days_max=settings.silent_days_max,
    )


def _checked(webhook: Webhook, workspace: Workspace) -> CheckedWebhook:
    return CheckedWebhook(
        webhook=webhook.name,
        state=webhook.state,
        is_configured=webhook.is_configured,
        channel_id=webhook.channel_id,
        channel_name=workspace.channels.get(webhook.channel_id or ""),
        owner_id=webhook.owner_id,
        owner_name=workspace.people.get(webhook.owner_id or ""),
        has_owner_left=webhook.has_owner_left,
        first_push_at=_instant(webhook.first_push_at_ms),
        last_push_at=_instant(webhook.last_push_at_ms),
        chats=webhook.chats,
    )


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else to_text(at_ms)
