"""Real people's chat, brought as a Slack export and as JSON lines: the archive is what was in the file, once.

The data lies outside the repository (`tests.conftest.chat_data`); the files that are imported are written beside the test.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from archiver.archive.reader import Archive, files_of, read_rows
from archiver.archive.tables import rows_of
from archiver.cli import main
from archiver.store.local import LocalStore
from tests.brought import slack_zip

LINES = 12_000
LINES_SLOW = 250_000  # all of them
TEAM = "T08FL58DC9K"


def read(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        yield from map(json.loads, lines)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "archiver.yaml").write_text(
        # No host is allowed, so that no test asks Slack for files.
        yaml.safe_dump({"workspace": "acme", "files": {"hosts_allowed": []}, "run": {"messages_per_commit": 5_000}})
    )
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    return tmp_path


def rows(folder: Path, table: str, *columns: str) -> list[dict[str, Any]]:
    archive = Archive.open(LocalStore(folder / "archive"))
    return [
        row for batch in read_rows(archive.store, files_of(archive.head(), table), columns) for row in rows_of(batch)
    ]


def as_slack(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of the neutral form as Slack's export has it."""
    record = dict(record)
    sender = record.pop("from")
    slack = {"type": "message", "ts": record.pop("id"), "text": record.pop("text")}
    slack |= {"bot_id": sender} if sender.startswith("B") else {"user": sender}
    files = record.pop("attachments", None)
    if files:
        slack["files"] = [
            {"id": file["id"], "name": file.get("name"), "mimetype": file.get("mime"), "size": file.get("size"),
             "url_private": file.get("url"), "mode": file.get("mode")}
            for file in files
        ]  # fmt: skip
    for ours, theirs in (("thread_id", "thread_ts"), ("subtype", "subtype"), ("reactions", "reactions")):
        if ours in record:
            slack[theirs] = record[ours]
    if "edited_ts_ms" in record:
        slack["edited"] = {"user": sender, "ts": f"{record['edited_ts_ms'] / 1000:.6f}"}
    return slack


def days_of(records: Iterator[dict[str, Any]], folders: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        day = datetime.fromtimestamp(record["ts_ms"] / 1000, UTC).date()
        days[f"{folders[record['channel']]}/{day}.json"].append(as_slack(record))
    return days


def lists_of(folder: Path) -> dict[str, Any]:
    users = [
        {
            "id": user["id"],
            "team_id": TEAM,
            "name": user["handle"],
            "is_bot": user.get("bot", False),
            "profile": {"real_name": user["name"]},
        }
        for user in read(folder, "users")
    ]
    channels = [{"id": channel["id"], "name": channel["name"], "members": []} for channel in read(folder, "channels")]
    return {"users.json": users, "channels.json": channels}


@pytest.fixture
def slack(chat_data: Path, home: Path) -> tuple[dict[str, list[dict[str, Any]]], Path]:
    """The days of a real workspace, and the export that they were written into."""
    folder = chat_data / "slack-dd2030"
    lists = lists_of(folder)
    days = days_of(read(folder, "messages"), {channel["id"]: channel["name"] for channel in lists["channels.json"]})
    return days, slack_zip(home / "export.zip", days, lists=lists)


def test_a_real_workspace_comes_in_as_it_is_and_once(
    slack: tuple[dict[str, list[dict[str, Any]]], Path], home: Path, chat_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days, path = slack
    assert main(["import", "slack", str(path), "--apply", "--json"]) == 3, "files cannot be fetched without their host"
    told = json.loads(capsys.readouterr().out)
    assert (told["found"]["unreadable"], [gap["kind"] for gap in told["gaps"]]) == (0, ["file-not-stored"])
    archived = rows(
        home, "messages", "chat_id", "message_uid", "version", "text", "raw", "sender_id", "sent_at", "source"
    )
    ids = {channel["name"]: channel["id"] for channel in read(chat_data / "slack-dd2030", "channels")}
    expected = {
        (f"import:slack-{TEAM}:{ids[name.partition('/')[0]]}", record["ts"]): record
        for name, records in days.items()
        for record in records
    }
    found = {(row["chat_id"], row["message_uid"]): row for row in archived}
    assert len(archived) == len(expected) == 11_223
    wrong = [
        key
        for key, record in expected.items()
        if json.loads(found[key]["raw"]) != record
        or (found[key]["text"], found[key]["version"]) != (record["text"], 1)
        or found[key]["sender_id"] != f"import:slack-{TEAM}:{record.get('user') or record['bot_id']}"
        or found[key]["sent_at"] != int(record["ts"].replace(".", "")) // 1000
    ]
    assert not wrong
    files = [file for record in expected.values() for file in record.get("files", ()) if file["url_private"]]
    listed = rows(home, "files", "url", "status")
    assert sorted(row["url"] for row in listed) == sorted(file["url_private"] for file in files)
    assert {row["status"] for row in listed} == {"given_up"}
    assert len(rows(home, "users", "user_id")) == 268
    assert main(["import", "slack", str(path), "--apply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commits"] == 0
    assert main(["verify"]) == 0


def test_every_state_that_exports_of_several_days_show_is_a_version_in_order(
    chat_data: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """238 real messages in the states in which they were read over time, each reading brought as an export of its own."""
    folder = chat_data / "slack-dd2030"
    sent = {(record["channel"], record["id"]): record for record in read(folder, "messages")}
    states: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for state in read(folder, "revisions"):
        record = sent[state["channel"], state["id"]]
        fixed = {
            name: record[name] for name in ("channel", "id", "ts_ms", "from", "thread_id", "subtype") if name in record
        }
        states[state["channel"], state["id"]].append(
            fixed | {name: value for name, value in state.items() if name != "seen"}
        )
    lists = lists_of(folder)
    folders = {channel["id"]: channel["name"] for channel in lists["channels.json"]}
    for number in range(max(map(len, states.values()))):
        reading = (found[number] for found in states.values() if number < len(found))
        path = slack_zip(home / f"{number}.zip", days_of(reading, folders), lists=lists)
        assert main(["import", "slack", str(path), "--apply", "--quiet"]) in (0, 3)
    capsys.readouterr()
    archived: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows(home, "messages", "chat_id", "message_uid", "version", "observed_at", "raw", "text"):
        archived[row["chat_id"].rpartition(":")[2], row["message_uid"]].append(row)
    assert archived.keys() == states.keys()
    for key, wanted in states.items():
        found = sorted(archived[key], key=lambda row: row["observed_at"])
        # A state that comes back, such as a reaction taken away again, was there already.
        first_seen = list(dict.fromkeys(json.dumps(as_slack(state), ensure_ascii=False) for state in wanted))
        assert [row["raw"] for row in found] == first_seen, "a state is missing or out of order"
        assert [row["version"] for row in found] == sorted(row["version"] for row in found)


@pytest.mark.parametrize("count", [LINES, pytest.param(LINES_SLOW, marks=pytest.mark.slow)])
def test_real_lines_come_in_through_a_mapping_as_they_are_and_once(
    count: int, chat_data: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with gzip.open(chat_data / "irc" / "messages.jsonl.gz") as source:
        lines = [line.rstrip(b"\n") for line in itertools.islice(source, count)]
    (home / "irc.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines), 1))
    fields = {
        "uid": "id", "chat": "channel", "sender": "from", "sender_name": "from", "text": "text", "mentions": "mentions",
        "time": {"field": "ts_ms", "unit": "milliseconds"},
    }  # fmt: skip
    (home / "irc.yaml").write_text(yaml.safe_dump({"origin": "irc", "fields": fields}))
    words = ["import", "messages", str(home / "irc.jsonl.gz"), "--mapping", str(home / "irc.yaml"), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["compared"]["new"] == len(lines)
    assert main([*words, "--apply"]) == 0
    archived = rows(
        home,
        "messages",
        "chat_id",
        "message_uid",
        "version",
        "raw",
        "text",
        "sent_at",
        "sender_id",
        "sender_name",
        "mentions",
    )
    assert sorted(row["raw"].encode() for row in archived) == sorted(lines)
    for row in archived:
        record = json.loads(row["raw"])
        said = (
            record["channel"],
            record["id"],
            record["text"],
            record["ts_ms"],
            record["from"],
            record.get("mentions"),
        )
        mentions = row["mentions"] and [mention.removeprefix("import:irc:") for mention in row["mentions"]]
        sender = row["sender_name"]
        assert said == (
            row["chat_id"].removeprefix("import:irc:"),
            row["message_uid"],
            row["text"],
            row["sent_at"],
            sender,
            mentions,
        )
    capsys.readouterr()
    assert main([*words, "--apply"]) == 0
    assert json.loads(capsys.readouterr().out)["commits"] == 0
