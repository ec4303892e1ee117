"""Real people's chat, played through HTTP, listener, spool and run: the archive is what was said.

The data lies outside the repository (`tests.conftest.chat_data`), and no failure message quotes more of it than it must.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from archiver.store.local import LocalStore
from tests.run import truth
from tests.run.station import Station, station

# Enough for the listener to write many pushes with one sync.
CONNECTIONS = 32


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        yield from map(json.loads, lines)


def play_and_run(machine: Station) -> None:
    report = machine.flock.play_all(connections=CONNECTIONS)
    assert report.pushes.keys() == {"200"}
    result = machine.run()
    assert not [stage.error for stage in result.stages if stage.error]


def check(machine: Station, folder: Path) -> None:
    """Hold the archive against the simulator's truth, then against the data set's own files."""
    truth.check(machine)
    truth.check_directory(machine)
    check_versions(machine)
    check_data_set(machine, folder)
    before = set(machine.objects())
    assert machine.run().commits == 0
    assert set(machine.objects()) == before


def check_versions(machine: Station) -> None:
    """Every version that the truth knows is there, and no other."""
    found = truth.archived(machine)
    happened = {(row["chat_id"], row["uid"]): row["versions"] for row in machine.flock.truth("message")}
    assert found.keys() == happened.keys()
    wrong = [
        key
        for key, versions in happened.items()
        if Counter(version["text"] for version in versions) != Counter(rows[0]["text"] for rows in found[key])
    ]
    assert not wrong


def check_data_set(machine: Station, folder: Path) -> None:
    """Each line of the data set is a message of the archive: its channel, its sender, its place in time, its last text."""
    people = {row["source_id"]: row["user_id"] for row in machine.flock.truth("user")}
    channels = {row["source_id"]: row["channel_id"] for row in machine.flock.truth("channel")}
    by_place = {(row["chat_id"], row["source_id"]): row["uid"] for row in machine.flock.truth("message")}
    found = truth.archived(machine)
    lines = 0
    for line in read(folder, "messages"):
        lines += 1
        chat_id = channels[line["channel"]]
        versions = found[chat_id, by_place[chat_id, line["id"]]]
        first, last = versions[0][0], versions[-1][-1]
        assert (first["sender_id"], first["sent_at"]) == (people[line["from"]], line["ts_ms"])
        # What replaced a deleted message is a note of its platform, which Flock does not leave.
        if not line.get("deleted"):
            assert last["text"].encode() == line["text"].encode()
    assert lines == len(found)


def cut(folder: Path, every: int, to: Path) -> Path:
    """Return a data set of some of the channels of another, whole and with all the people."""
    to.mkdir()
    kept = {line["id"] for line in islice(read(folder, "channels"), 0, None, every)}
    for name, key in (("users", None), ("channels", "id"), ("messages", "channel"), ("revisions", "channel")):
        with gzip.open(to / f"{name}.jsonl.gz", "wt", encoding="utf-8", newline="\n") as file:
            file.writelines(
                json.dumps(line, ensure_ascii=False) + "\n"
                for line in read(folder, name)
                if key is None or line[key] in kept
            )
    return to


@pytest.mark.parametrize(("every", "edited_min"), [(6, 100), pytest.param(1, 1_000, marks=pytest.mark.slow)])
def test_a_slack_of_three_months_is_archived_byte_for_byte(
    chat_data: Path, tmp_path: Path, every: int, edited_min: int
) -> None:
    folder = cut(chat_data / "slack-dd2030", every, tmp_path / "chat")
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), dataset=folder) as machine:
        machine.flock.configure(push_edits=True)
        play_and_run(machine)
        check(machine, folder)
        edited = [versions for versions in truth.archived(machine).values() if len(versions) > 1]
        assert len(edited) > edited_min


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_fifteen_years_of_irc_are_archived_byte_for_byte(chat_data: Path, tmp_path: Path) -> None:
    folder = chat_data / "irc"
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), dataset=folder) as machine:
        play_and_run(machine)
        check(machine, folder)
