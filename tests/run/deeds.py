"""What people do at random, and how a Flock behaves where that is not documented: what lives that are drawn from a seed are made of."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from archiver.errors import RefusedError
from tests.run.station import Station


def behave(machine: Station, random: Random) -> None:
    """Draw how this Flock behaves where that is not documented."""
    machine.flock.configure(
        push_edits=random.random() < 0.7,
        push_timestamp=random.choice(["iso", "number"]),
        fetch_timestamp=random.choice(["iso", "number"]),
        fetch_fields=random.choice(["all", "all", "documented"]),
        fetch_shuffled=random.random() < 0.5,
        action_messages=random.random() < 0.5,
        unknown_fields=random.random() < 0.3,
        team_id_text=random.random() < 0.5,
    )


def act(machine: Station, random: Random) -> None:
    """Let somebody do something by hand."""
    flock = machine.flock
    channel = random.choice(list(flock.channels.values()))
    members = list(channel.members)
    user = random.choice(members)
    there = [
        row["uid"]
        for row in flock.truth("message")
        if row["chat_id"] == channel.channel_id and row["deleted_at_ms"] is None
    ]

    def select() -> None:
        chosen = random.sample(there, min(len(there), random.randint(1, 30)))
        flock.send_event("client.messageAction", user, {"chat": channel.channel_id, "messageUids": chosen})

    deeds: list[Callable[[], object]] = [
        lambda: flock.send(user, channel.channel_id, text=f"by hand {random.random()}"),
        lambda: flock.send(user, random.choice(members), text="in private, or to oneself"),
        lambda: flock.rename(channel.channel_id, f"renamed {random.random()}"),
        lambda: flock.change_person(user, last_name=f"née {random.random()}"),
        lambda: flock.join(channel.channel_id, user, affiliation=random.choice(["member", "moderator"])),
        lambda: flock.leave(channel.channel_id, user) if len(members) > 2 else None,
        lambda: install(machine, user),
    ]
    if there:
        deeds += [
            select,
            select,
            lambda: flock.edit(random.choice(there), text=f"edited {random.random()}"),
            lambda: flock.delete(random.choice(there)),
            lambda: flock.message_action(user, channel.channel_id, random.sample(there, 1)),
        ]
    random.choice(deeds)()


def install(machine: Station, user: str) -> None:
    try:
        machine.flock.install(user)
    except RefusedError:
        return  # a fault befell its event, and so nothing was installed
