"""Messages of real people that were read in several states: replayed night by night, every state is in the archive, in order.

The data lies outside the repository (`tests.conftest.chat_data`). Flock has neither reactions nor a time of editing, and most of these
states differ in nothing else: so a state is played as its text with one attachment, whose title holds all that changed.
"""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.capture.sweep import SweepRules
from archiver.clock import to_ms
from archiver.run.session import Limits
from tests.run import truth
from tests.run.station import Station, station

State = dict[str, Any]
# Some messages changed months after they were sent; a shorter time would see them again within `full_within_days`.
RULES = SweepRules(hot_days=120)
READINGS_PER_DAY = 2


@pytest.fixture(scope="module")
def revisions(chat_data: Path) -> dict[tuple[str, str], list[State]]:
    """The states of each message, the first one first."""
    path = chat_data / "slack-dd2030" / "revisions.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} in {path.parent}; name the folder of the real chat with CHAT_DATA")
    found: dict[tuple[str, str], list[State]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for state in map(json.loads, lines):
            found.setdefault((state["channel"], state["id"]), []).append(state)
    return found


def content(state: State) -> dict[str, Any]:
    """Return a state as what a message of Flock's says."""
    beside = {name: state.get(name) for name in ("edited_ts_ms", "reactions", "attachments")}
    title = json.dumps(beside, ensure_ascii=False, sort_keys=True)
    return {"text": state["text"], "attachments": [{"id": state["id"], "title": title, "views": {}}]}


def readings(revisions: dict[tuple[str, str], list[State]]) -> list[tuple[int, dict[tuple[str, str], State]]]:
    """Return when the Slack was read, and what was new of which messages then; what was read twice on a day is two readings."""
    times: dict[tuple[str, int], dict[tuple[str, str], State]] = {}
    for key, states in revisions.items():
        for state in states:
            turn = sum(other["seen"] == state["seen"] for other in states[: states.index(state)])
            assert turn < READINGS_PER_DAY
            times.setdefault((state["seen"], turn), {})[key] = state
    hours = 24 // READINGS_PER_DAY
    return [
        (to_ms(datetime.fromisoformat(seen).replace(hour=1 + hours * turn, tzinfo=UTC)), times[seen, turn])
        for seen, turn in sorted(times)
    ]


def let_happen(machine: Station, news: dict[tuple[str, str], State], uids: dict[tuple[str, str], str]) -> None:
    """Post what is new and edit what has changed; nothing of an edit is pushed."""
    channels = list(machine.flock.channels.values())
    numbers = {name: number for number, name in enumerate(sorted({channel for channel, _ in [*uids, *news]}))}
    for key, state in news.items():
        if key in uids:
            machine.flock.edit(uids[key], **content(state))
        else:
            channel = channels[numbers[key[0]] % len(channels)]
            uids[key] = machine.flock.send(next(iter(channel.members)), channel.channel_id, **content(state))


def said(rows: list[list[dict[str, Any]]]) -> list[tuple[str, str]]:
    """Return text and title of the attachment of each version."""
    return [(version[0]["text"] or "", json.loads(version[0]["attachments"])[0]["title"]) for version in rows]


def test_every_state_of_every_message_is_archived_in_order(
    revisions: dict[tuple[str, str], list[State]], tmp_path: Path
) -> None:
    nights = readings(revisions)
    began_at_ms = nights[0][0]
    day = datetime.fromtimestamp(began_at_ms / 1000, UTC).date()
    uids: dict[tuple[str, str], str] = {}
    with station(tmp_path, seed=3, people=12, channels=6, messages=0, day=day, at_ms=began_at_ms) as machine:
        machine.flock.configure(push_edits=False)
        for at_ms, news in nights:
            machine.clock.set((at_ms - machine.clock.now_ms()) / 1000)
            machine.flock.play_until(at_ms, push=False)
            let_happen(machine, news, uids)
            result = machine.run(limits=Limits(sweep=RULES))
            assert not [stage.error for stage in result.stages if stage.error]
        found = {uid: said(rows) for (_, uid), rows in truth.archived(machine).items()}
        wrong = [key for key, uid in uids.items() if found[uid] != said_by(revisions[key])]
        assert not wrong, f"{len(wrong)} of {len(uids)} messages lack a state, the first is {wrong[0]}"
        assert sum(map(len, found.values())) == sum(map(len, revisions.values())) > 400
        truth.check(machine)


def said_by(states: list[State]) -> list[tuple[str, str]]:
    return [(state["text"], content(state)["attachments"][0]["title"]) for state in states]
