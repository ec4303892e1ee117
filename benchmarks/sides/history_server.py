"""What `history.py` reads from: a simulated Flock whose gateway offers paged history; prints where it is, runs until its input ends."""

from __future__ import annotations

import json
import random
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import corpus

from archiver.simulator import seed as from_seed
from archiver.simulator.records import Version
from archiver.simulator.seed import Scenario
from archiver.simulator.server import Simulator

CHANNELS = 40
PEOPLE = 60


class Talkative(Simulator):
    """A Flock in whose channels so many messages stand from the start."""

    def __init__(self, messages: int) -> None:
        super().__init__()
        self._build = partial(build, messages=messages)


def main(messages: int) -> None:
    with Talkative(messages) as flock:
        flock.configure(history=True)
        channels = {channel: min(found.members) for channel, found in flock.channels.items()}
        facts = {"base_url": flock.base_url, "tokens": flock.user_tokens, "channels": channels}
        print(json.dumps(facts), flush=True)
        sys.stdin.read()


def build(*, files_url: str, messages: int) -> Scenario:
    """Return a workspace in whose channels so many messages stand, one of twenty from an app and with FlockML."""
    scenario = from_seed.build(
        1, people=PEOPLE, channels=CHANNELS, messages=0, day=from_seed.DEFAULT_DAY, days=1, files_url=files_url
    )
    workspace, chance = scenario.workspace, random.Random(1)
    channels = [(channel_id, sorted(channel.members)) for channel_id, channel in workspace.channels.items()]
    step_ms = corpus.DAYS * 86_400_000 / messages
    for number in range(messages):
        channel_id, members = channels[number % len(channels)]
        workspace.post(workspace.compose(chance.choice(members), channel_id, _said(chance, int(number * step_ms))))
    return scenario


def _said(chance: random.Random, after_ms: int) -> Version:
    text = corpus.text(chance)
    facts: dict[str, Any] = {"at_ms": corpus.FIRST_AT_MS + after_ms, "text": text}
    if chance.random() < 0.05:
        facts |= {
            "text": "",
            "flockml": f"<flockml>{text} <b>now</b></flockml>",
            "app_id": "a1b2",
            "notification": text,
        }
    return Version(**facts)


if __name__ == "__main__":
    main(int(sys.argv[1]))
