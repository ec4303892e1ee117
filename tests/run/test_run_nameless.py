"""Pushes lose their uids; when these appear, a query shows each message once, under the uid that is truly its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from archiver.query.engine import open_engine
from archiver.store.local import LocalStore
from tests.run import truth
from tests.run.station import Row, Station, station


def asked(machine: Station, sql: str) -> list[Row]:
    with open_engine(machine.archive(), machine.head()) as engine:
        answer = engine.ask(sql)
        names = [column.name for column in answer.columns]
        return [dict(zip(names, values, strict=True)) for values in answer.rows]


def select_all(machine: Station) -> None:
    """Let members hand every message of a channel to the app, so that their uids become known."""
    for channel_id, channel in machine.flock.channels.items():
        uids = [row["uid"] for row in machine.flock.truth("message") if row["chat_id"] == channel_id]
        chosen = {"chat": channel_id, "messageUids": uids}
        machine.flock.send_event("client.messageAction", next(iter(channel.members)), chosen)


def push_again_without_uids(machine: Station) -> None:
    """Push what came by webhook once more, late and without uids."""
    for row in machine.rows("messages"):
        if row["source"] == "webhook":
            body = json.loads(row["raw"])
            del body["uid"]
            machine.push(json.dumps(body).encode())


@pytest.mark.parametrize("uids_first", [False, True], ids=["pushes first", "uids first"])
@pytest.mark.parametrize("seed", [3, pytest.param(11, marks=pytest.mark.slow)])
def test_a_message_whose_push_lost_its_uid_is_shown_once_when_that_appears(
    tmp_path: Path, seed: int, uids_first: bool
) -> None:
    how: dict[str, Any] = {"seed": seed, "people": 6, "channels": 3, "messages": 120}
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), **how) as machine:
        if not uids_first:
            machine.flock.inject("no_uid", "webhooks", probability=0.5, seed=seed)
        machine.flock.play_all(connections=1)
        machine.run(skip=["files"])
        known = asked(machine, "FROM provisional_uids WHERE outcome = 'apart'")
        if uids_first:
            assert known == []
            push_again_without_uids(machine)
        else:
            assert known
            select_all(machine)
        machine.run(skip=["files"])
        truth.check_nameless(machine)
        check_identities(machine)
        before = asked(machine, "FROM provisional_uids ORDER BY provisional_uid")
        assert machine.run(skip=["files"]).commits == 0
        assert asked(machine, "FROM provisional_uids ORDER BY provisional_uid") == before


def check_identities(machine: Station) -> None:
    """Hold what was found against what Flock alone knows: which message each push without a uid was."""
    by_place = {
        (row["chat_id"], row["from"], row["sent_at_ms"], version["text"]): row["uid"]
        for row in machine.flock.truth("message")
        for version in row["versions"]
    }
    rows = machine.rows("messages")
    said = {(row["message_uid"], row["text"]) for row in rows}
    found = {row["provisional_uid"]: row for row in asked(machine, "FROM provisional_uids")}
    nameless = [row for row in rows if row["message_uid"].startswith("provisional:")]
    assert {row["message_uid"] for row in nameless} == found.keys()
    for row in nameless:
        uid = by_place[row["chat_id"], row["sender_id"], row["sent_at"], row["text"]]
        result = found[row["message_uid"]]
        # Where it was edited before anybody saw it under its uid, no capture tells that the two are one.
        expected = ("reconciled", uid) if (uid, row["text"]) in said else ("apart", None)
        assert (result["outcome"], result["message_uid"]) == expected, json.dumps(row, default=str)
    outcomes = Counter(row["outcome"] for row in found.values())
    assert outcomes["reconciled"] > 10
    shown = Counter(row["message_uid"] for row in asked(machine, "SELECT message_uid FROM current_messages"))
    left = {uid for uid, row in found.items() if row["outcome"] != "reconciled"}
    named = {row["message_uid"] for row in rows} - found.keys()
    assert shown == Counter(left | named)
