"""A workspace and its days from a seed: people, channels, direct chats, bots, and a script of what they do.

The same arguments always give the same ids, uids, times and texts; only the file host's address depends on where it listens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from random import Random

import msgspec

from archiver.clock import DAY_MS, to_ms
from archiver.errors import UsageError
from archiver.simulator import phrases
from archiver.simulator.lines import CHANNEL_LINES, DIRECT_LINES, Line, Said, Scene
from archiver.simulator.records import (
    Action,
    Channel,
    ClientEvent,
    Delete,
    Edit,
    Join,
    Leave,
    Message,
    Person,
    Post,
    Rename,
    Role,
    Version,
)
from archiver.simulator.workspace import Workspace

DEFAULT_DAY = date(2026, 3, 2)
DEFAULT_PEOPLE = 12
DEFAULT_CHANNELS = 6
DEFAULT_MESSAGES = 400
PEOPLE_MIN = 3

_TEAM_ID = 764_251
_DAY_FROM_MS = 8 * 3_600_000
_DAY_LENGTH_MS = 10 * 3_600_000
_EDIT_WITHIN_MS = 30 * 60_000
_DIRECT_SHARE = 0.15
_TO_BOT_SHARE = 0.02
_EDITED_SHARE = 0.06
_DELETED_SHARE = 0.03
_UIDS_PER_ACTION = 20
# People answer one of the last things that were said.
_ANSWERED_AMONG = 5
_ZONES = ("+05:30", "+00:00", "-08:00", "+09:00", "+05:45")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workspace as it stands before anything happens, and what will happen, in order of time."""

    workspace: Workspace
    script: list[Action]


def build(
    seed: int,
    *,
    files_url: str,
    people: int = DEFAULT_PEOPLE,
    channels: int = DEFAULT_CHANNELS,
    messages: int = DEFAULT_MESSAGES,
    day: date = DEFAULT_DAY,
    days: int = 1,
) -> Scenario:
    """Return the scenario of a seed; raises `UsageError` for a team too small to talk."""
    if people < PEOPLE_MIN or channels < 1 or messages < 0 or days < 1:
        raise UsageError(f"a seeded workspace needs {PEOPLE_MIN} people, a channel and a day at least")
    random = Random(seed)
    midnight_ms = to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC))
    workspace = Workspace(seed=seed, team_id=_TEAM_ID, now_ms=midnight_ms)
    team = _add_people(workspace, people)
    _add_channels(workspace, random, team, channels)
    scene = Scene(
        workspace=workspace,
        random=random,
        files_url=files_url,
        bots=(_add_bot(workspace, "Builds"), _add_own_bot(workspace)),
        apps={name: workspace.mint.token(f"app {name}") for name in ("notes", "polls", "replies", "builds")},
    )
    script = _Script(scene, team, midnight_ms, days)
    for number, at_ms in enumerate(script.times(messages)):
        script.write(number, at_ms)
    script.end_day()
    return Scenario(workspace, script.actions())


def _add_people(workspace: Workspace, count: int) -> list[str]:
    """Add the team; the last but one is a guest, the last belongs to another team."""
    team = []
    for number in range(count):
        first, last = phrases.PEOPLE[number % len(phrases.PEOPLE)]
        lap = number // len(phrases.PEOPLE)
        role: Role = "admin" if number == 0 else "guest" if number == count - 2 else "user"
        user_id = workspace.mint.user_id(f"person {number}")
        workspace.add_person(
            Person(
                user_id=user_id,
                first_name=first,
                last_name=f"{last} {lap + 1}" if lap else last,
                email=f"person{number}@example.com",
                role=role,
                timezone=_ZONES[number % len(_ZONES)],
                profile_image=f"https://i.flock.invalid/{number}.png" if number % 2 else None,
                outsider=number == count - 1 and count > PEOPLE_MIN,
            )
        )
        team.append(user_id)
    return team


def _add_channels(workspace: Workspace, random: Random, team: list[str], count: int) -> None:
    insiders = [user_id for user_id in team if not workspace.people[user_id].outsider]
    for number in range(count):
        name, purpose, private = phrases.CHANNELS[number % len(phrases.CHANNELS)]
        lap = number // len(phrases.CHANNELS)
        channel_id = workspace.mint.channel_id(f"channel {number}")
        began_ms = workspace.now_ms - DAY_MS
        workspace.add_channel(
            Channel(channel_id, [(began_ms, f"{name} {lap + 1}" if lap else name)], purpose, private=private)
        )
        size = len(insiders) if number == 0 else random.randint(2, len(insiders))
        for rank, user_id in enumerate(random.sample(insiders, size)):
            workspace.join(channel_id, user_id, affiliation="member" if rank else "moderator", at_ms=began_ms)


def _add_bot(workspace: Workspace, name: str) -> str:
    return workspace.add_person(Person(workspace.mint.bot_id(name), name, is_bot=True)).user_id


def _add_own_bot(workspace: Workspace) -> str:
    """Add the bot of the app under test; messages to it reach the app's listener."""
    workspace.bot_id = _add_bot(workspace, "Archive Bot")
    return workspace.bot_id


class _Script:
    """Writes the script; actions stay sorted by time, those of one moment in the order in which they were written."""

    def __init__(self, scene: Scene, team: list[str], midnight_ms: int, days: int) -> None:
        self._scene = scene
        self._team = team
        self._midnight_ms = midnight_ms
        self._days = days
        self._actions: list[tuple[int, int, Action]] = []
        self._members = {channel_id: list(channel.members) for channel_id, channel in scene.workspace.channels.items()}
        self._said: dict[str, list[Said]] = {}
        self._direct: dict[tuple[str, str], list[Message]] = {}
        self._pairs = [*pairwise(team), (team[0], team[-1])]
        self._planned = 0

    def times(self, count: int) -> list[int]:
        """Return when messages are sent: in working hours, some in the same millisecond."""
        self._planned = count
        random = self._scene.random
        return sorted(
            self._midnight_ms + random.randrange(self._days) * DAY_MS + _DAY_FROM_MS + random.randrange(_DAY_LENGTH_MS)
            for _ in range(count)
        )

    def write(self, number: int, at_ms: int) -> None:
        """Write the message of this number, what becomes of it, and the changes in channels that are due."""
        self._change_channels(number, at_ms)
        scene, random = self._scene, self._scene.random
        scene.at_ms = at_ms
        chance = random.random()
        if number >= len(CHANNEL_LINES) and chance < _DIRECT_SHARE:
            message = self._write_direct(random.choice(self._pairs))
        elif number >= len(CHANNEL_LINES) and chance < _DIRECT_SHARE + _TO_BOT_SHARE:
            message = self._write_to_bot()
        else:
            message = self._write_in_channel(number)
        self._add(Post(at_ms, message))
        self._change_later(number, message)

    def end_day(self) -> None:
        """Let users act on the app once the talking is over; this is how direct chats become known (flock-api.md 14)."""
        at_ms = self._midnight_ms + (self._days - 1) * DAY_MS + _DAY_FROM_MS + _DAY_LENGTH_MS + _EDIT_WITHIN_MS
        for (one, other), messages in self._direct.items():
            uids = [message.uid for message in messages]
            for start in range(0, len(uids), _UIDS_PER_ACTION):
                at_ms += 1_000
                chosen = uids[start : start + _UIDS_PER_ACTION]
                self._add(ClientEvent(at_ms, "client.messageAction", one, {"chat": other, "messageUids": chosen}))
        user_id, channel_id = self._team[0], next(iter(self._members))
        button = {"messageUid": "0", "attachmentId": "a", "buttonId": "vote"}
        if user_id not in self._members[channel_id]:
            user_id = self._members[channel_id][0]
        for name, attributes in (
            ("client.pressButton", {"chat": channel_id, "button": "attachmentButton", **button}),
            ("client.slashCommand", {"chat": channel_id, "command": "archive", "text": "status please"}),
            ("client.widgetAction", {"chat": channel_id, "messageUid": "0", "attachmentId": "a"}),
            (
                "client.flockmlAction",
                {"chat": channel_id, "messageId": "d_0", "messageUid": "0", "attachmentId": "a", "actionId": "open"},
            ),
            ("chat.generateUrlPreview", {"url": "https://example.com/1", "to": channel_id, "messageId": "d_0_preview"}),
        ):
            at_ms += 1_000
            self._add(ClientEvent(at_ms, name, user_id, attributes))

    def actions(self) -> list[Action]:
        """Return the script."""
        return [action for _, _, action in sorted(self._actions, key=lambda entry: entry[:2])]

    def _write_in_channel(self, number: int) -> Message:
        scene = self._scene
        channel_id = scene.random.choice(list(self._members))
        scene.members = self._members[channel_id]
        scene.sender = scene.random.choice(scene.members)
        scene.said = self._said.setdefault(channel_id, [])
        line = _pick(scene, number, CHANNEL_LINES)
        message = self._compose(line, channel_id)
        message.answers = line.answers
        if text := message.latest.text:
            scene.said.append(Said(message.uid, message.sender, text))
            del scene.said[:-_ANSWERED_AMONG]
        return message

    def _write_direct(self, pair: tuple[str, str]) -> Message:
        scene = self._scene
        sender, recipient = pair if scene.random.random() < 0.5 else (pair[1], pair[0])  # noqa: PLR2004 -- either of two
        scene.members, scene.sender = list(pair), sender
        message = self._compose(_pick(scene, len(CHANNEL_LINES), DIRECT_LINES), recipient)
        self._direct.setdefault(pair, []).append(message)
        return message

    def _write_to_bot(self) -> Message:
        scene = self._scene
        assert scene.workspace.bot_id is not None
        scene.sender = scene.random.choice(self._team[:-1])
        scene.members = [scene.sender]
        return self._compose(_pick(scene, len(CHANNEL_LINES), DIRECT_LINES), scene.workspace.bot_id)

    def _compose(self, line: Line, recipient: str) -> Message:
        version = Version(at_ms=self._scene.at_ms, **line.content)
        return self._scene.workspace.compose(line.sender or self._scene.sender, recipient, version)

    def _change_later(self, number: int, message: Message) -> None:
        """Edit some messages, some of them twice, and delete some, a few after an edit."""
        random, at_ms, version = self._scene.random, message.sent_at_ms, message.latest
        first_turns = (0, 1)
        if number in first_turns or random.random() < _EDITED_SHARE:
            for turn in range(random.choice((1, 1, 2)) if number else 2):
                at_ms += 1 + random.randrange(_EDIT_WITHIN_MS // 2)
                text = f"{version.text} (edited{' again' if turn else ''})"
                version = msgspec.structs.replace(version, at_ms=at_ms, text=text)
                self._add(Edit(at_ms, message.uid, version))
        if number in (1, 3) or random.random() < _DELETED_SHARE:
            self._add(Delete(at_ms + 1 + random.randrange(_EDIT_WITHIN_MS // 2), message.uid))

    def _change_channels(self, number: int, at_ms: int) -> None:
        """Rename a channel, let somebody leave and come back, each once and spread over the script."""
        channel_id = next(iter(self._members))
        members = self._members[channel_id]
        if number == self._planned // 4:
            self._add(Rename(at_ms, channel_id, phrases.RENAMED))
        # The first member is the moderator, on whom webhooks may rest; they stay.
        elif number == self._planned // 3 and len(members) > 2:  # noqa: PLR2004 -- somebody must be left to talk to
            self._add(Leave(at_ms, channel_id, members.pop()))
        elif number == self._planned // 2:
            away = [user for user in self._team if user not in members and not self._scene.person(user).outsider]
            if away:
                self._add(Join(at_ms, channel_id, away[0]))
                members.append(away[0])

    def _add(self, action: Action) -> None:
        self._actions.append((action.at_ms, len(self._actions), action))


def _pick(scene: Scene, number: int, kinds: Sequence[tuple[Callable[[Scene], Line], int]]) -> Line:
    """Write a line of the kind whose turn it is, or of one by chance."""
    if number < len(kinds):
        return kinds[number][0](scene)
    write = scene.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
    return write(scene)
