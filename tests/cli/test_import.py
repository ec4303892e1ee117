"""`archiver import` as a person and as a program see it: looked through first, archived on demand, once."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest
import yaml

from archiver.archive.ledger import Entry
from archiver.archive.reader import Archive, files_of, read_rows
from archiver.archive.schema import TABLES
from archiver.archive.tables import rows_of
from archiver.cli import main
from archiver.run.lock import hold
from archiver.store.local import LocalStore
from tests.brought import ANN, GENERAL, TEAM, message, slack_zip
from tests.servers.scripted import Answer, Received, ScriptedServer

DAY = "general/2023-11-14.json"
RECORDS: list[dict[str, Any]] = [
    {
        "id": str(n),
        "room": "lobby",
        "from": ("ann", "bob")[n % 2],
        "text": f"text {n}",
        "at": 1_700_000_000 + n * 40_000,
    }
    for n in range(6)
]
MAPPING: dict[str, Any] = {
    "origin": "old",
    "fields": {
        "uid": "id", "chat": "room", "sender": "from", "sender_name": "from", "text": "text",
        "time": {"field": "at", "unit": "seconds"},
    },
}  # fmt: skip


@pytest.fixture
def web() -> Iterator[ScriptedServer]:
    """Flock and a file host in one: whatever is asked of it is remembered."""

    def answer(request: Received) -> Answer:
        return Answer(b"bytes of " + request.path.encode(), headers={"Content-Type": "application/octet-stream"})

    with ScriptedServer(answer) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, web: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that every command uses, a mapping and a file of messages; there is no archive yet."""
    config = {
        "workspace": "acme",
        "flock": {"base_url": web.origin},
        "files": {"trusted_origins": [web.origin]},
        "run": {"messages_per_commit": 4},
    }
    (tmp_path / "archiver.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(MAPPING))
    lines(tmp_path / "old.jsonl", RECORDS)
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(path: Path, records: list[Any]) -> Path:
    data = b"".join(
        (record if isinstance(record, bytes) else json.dumps(record).encode()) + b"\n" for record in records
    )
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """The JSON document that an import prints."""
    assert main(["import", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def mapped(capsys: pytest.CaptureFixture[str], file: str, *words: str, code: int = 0) -> Any:
    return document(capsys, "messages", file, "--mapping", "mapping.yaml", *words, code=code)


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    archive = Archive.open(LocalStore(folder / "archive"))
    records = files_of(archive.head(), table)
    return [row for batch in read_rows(archive.store, records, TABLES[table].schema.names) for row in rows_of(batch)]


def entries(folder: Path) -> list[Entry]:
    return [entry for entry, _ in Archive.open(LocalStore(folder / "archive")).entries()]


class TestLookingThrough:
    def test_writes_nothing_and_asks_nobody(
        self, folder: Path, web: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sorted(folder.rglob("*"))
        told = mapped(capsys, "old.jsonl")
        assert sorted(folder.rglob("*")) == before
        assert web.requests == []
        assert (told["applied"], told["imported_before"], told["exit_code"]) == (False, False, 0)
        assert told["file"] == {
            "name": "old.jsonl",
            "sha256": sha256((folder / "old.jsonl").read_bytes()).hexdigest(),
            "bytes": (folder / "old.jsonl").stat().st_size,
        }
        assert {name: told["found"][name] for name in ("records", "messages", "chats", "people", "unreadable")} == {
            "records": 6, "messages": 6, "chats": 1, "people": 2, "unreadable": 0,
        }  # fmt: skip
        assert (told["found"]["first_day"], told["found"]["last_day"]) == ("2023-11-14", "2023-11-17")

    def test_says_before_what_the_import_then_does(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mapped(capsys, "old.jsonl", "--apply")
        edited = RECORDS[1] | {"text": "edited"}
        reacted = RECORDS[2] | {"reactions": 1}
        fresh = RECORDS[0] | {"id": "7"}
        lines(folder / "more.jsonl", [RECORDS[0], edited, reacted, fresh, fresh, fresh | {"text": "and so on"}, edited])
        compared = mapped(capsys, "more.jsonl")["compared"]
        assert compared == {
            "new": 1, "new_versions": 2, "other_bytes": 1, "duplicates": 1, "repeated": 2,
            "wanted_new": 0, "wanted_archived": 0,
        }  # fmt: skip
        before = len(rows(folder, "messages"))
        added = mapped(capsys, "more.jsonl", "--apply")["added"]
        assert (
            added["messages"]
            == compared["new"] + compared["new_versions"] + compared["other_bytes"]
            == len(rows(folder, "messages")) - before
        )
        assert added["repeated"] == compared["duplicates"] + compared["repeated"]

    def test_shows_the_first_errors_and_ends_as_done_with_gaps(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines(folder / "bad.jsonl", [*RECORDS, {"id": "\x1b[2J\u202e"}, b"{"])
        told = mapped(capsys, "bad.jsonl", code=3)
        assert [error["place"] for error in told["errors"]] == ["line 7", "line 8"]
        assert main(["import", "messages", "bad.jsonl", "--mapping", "mapping.yaml"]) == 3
        shown = capsys.readouterr().out
        assert "it has no sender" in shown
        assert "--apply --accept-errors" in shown
        assert "\x1b" not in shown

    def test_tells_people_too(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["import", "messages", "old.jsonl", "--mapping", "mapping.yaml"]) == 0
        shown = capsys.readouterr().out
        assert "from 2023-11-14 to 2023-11-17" in shown
        assert "Nothing was written" in shown


class TestMessages:
    def test_every_record_is_a_message_once_and_the_ledger_names_the_files(
        self, folder: Path, web: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = mapped(capsys, "old.jsonl", "--apply")
        assert (told["applied"], told["exit_code"], told["added"]["messages"]) == (True, 0, 6)
        assert web.requests == []
        archived = {row["message_uid"]: row for row in rows(folder, "messages")}
        assert [json.loads(archived[record["id"]]["raw"]) for record in RECORDS] == RECORDS
        assert {(row["source"], row["chat_id"], row["version"]) for row in archived.values()} == {
            ("import", "import:old:lobby", 1)
        }
        assert {row["sender_name"] for row in archived.values()} == {"ann", "bob"}
        named = {name: sha256((folder / name).read_bytes()).hexdigest() for name in ("old.jsonl", "mapping.yaml")}
        for entry in entries(folder):
            assert {file.name: file.sha256 for file in entry.inputs} == named
        [opening] = rows(folder, "events")
        assert (opening["outcome"], opening["body"]) == ("noted", (folder / "mapping.yaml").read_bytes())
        assert json.loads(opening["attributes"])["mapping_sha256"] == named["mapping.yaml"]
        assert main(["verify"]) == 0

    def test_ends_with_the_index_and_the_catalogs_at_its_last_commit(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ARCHIVER_CATALOGS__DUCKDB", "all.sql")
        monkeypatch.setenv("ARCHIVER_SEARCH__REFRESH", "always")
        told = mapped(capsys, "old.jsonl", "--apply")
        assert told["published"]["index"]["counts"]["rows_indexed"] == len(RECORDS)
        with duckdb.connect() as connection:
            connection.execute((folder / "all.sql").read_text())
            assert connection.execute("SELECT count(*) FROM messages").fetchone() == (len(RECORDS),)

        monkeypatch.setenv("ARCHIVER_CATALOGS__DUCKDB", "not/there.sql")
        lines(folder / "more.jsonl", [RECORDS[0] | {"id": "7"}])
        assert main(["import", "messages", "more.jsonl", "--mapping", "mapping.yaml", "--apply"]) == 0
        assert "duckdb does not show commit" in capsys.readouterr().err

    def test_the_same_file_twice_adds_nothing(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mapped(capsys, "old.jsonl", "--apply")
        before = sorted((folder / "archive").rglob("*"))
        (folder / "old.jsonl").rename(folder / "same.jsonl")
        told = mapped(capsys, "same.jsonl", "--apply")
        assert (told["imported_before"], told["commits"], told["exit_code"]) == (True, 0, 0)
        assert sorted((folder / "archive").rglob("*")) == before

    def test_the_same_messages_in_another_file_add_none(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mapped(capsys, "old.jsonl", "--apply")
        lines(folder / "old.jsonl.gz", RECORDS[::-1])
        told = mapped(capsys, "old.jsonl.gz", "--apply")
        assert (told["added"]["messages"], told["added"]["repeated"]) == (0, 6)
        assert len(rows(folder, "messages")) == 6

    def test_records_that_cannot_be_read_are_refused_or_kept_with_their_reason(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines(folder / "bad.jsonl", [RECORDS[0], b"\xff\x00{", RECORDS[1]])
        assert main(["import", "messages", "bad.jsonl", "--mapping", "mapping.yaml", "--apply"]) == 5
        told = capsys.readouterr().err
        assert "line 2: not UTF-8" in told
        assert "--accept-errors" in told
        assert not rows(folder, "messages")
        told = mapped(capsys, "bad.jsonl", "--apply", "--accept-errors", code=3)
        assert (told["added"]["messages"], told["added"]["unparsed"]) == (2, 1)
        assert [(gap["kind"], gap["count"]) for gap in told["gaps"]] == [("unparsed", 1)]
        [kept] = [row for row in rows(folder, "events") if row["outcome"] == "unparsed"]
        assert (kept["body"], json.loads(kept["attributes"])) == (
            b"\xff\x00{",
            {"file": "bad.jsonl", "place": "line 2"},
        )
        assert "not UTF-8" in kept["error"]
        assert entries(folder)[-1].gaps[0].kind == "unparsed"

    def test_another_mapping_reads_the_same_file_anew(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        mapped(capsys, "old.jsonl", "--apply")
        richer = {**MAPPING, "fields": {**MAPPING["fields"], "app_id": {"constant": "old"}}}
        (folder / "mapping.yaml").write_text(yaml.safe_dump(richer))
        told = mapped(capsys, "old.jsonl", "--apply")
        assert (told["imported_before"], told["added"]["messages"]) == (False, 6)
        assert {row["version"] for row in rows(folder, "messages")} == {1, 2}

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (["messages", "none.jsonl", "--mapping", "mapping.yaml"], 2),
            (["messages", "old.jsonl", "--mapping", "none.yaml"], 2),
            (["messages", "old.jsonl"], 2),
            (["messages", ".", "--mapping", "mapping.yaml"], 2),
            (["slack", "old.jsonl"], 2),
            (["uids", "old.jsonl"], 3),
            (["uids", "mapping.yaml"], 2),
        ],
    )
    def test_wrong_usage_is_told_without_a_trace(
        self, words: list[str], code: int, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["import", *words]) == code
        assert "Traceback" not in capsys.readouterr().err
        assert not (folder / "archive").exists()

    def test_an_import_waits_for_no_run_and_no_run_for_it(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with hold(folder / "state"):
            assert mapped(capsys, "old.jsonl")["exit_code"] == 0
            assert mapped(capsys, "old.jsonl", "--apply", code=5)["error"]["kind"] == "ArchiveBusy"
        assert not (folder / "archive").exists()

    def test_the_schema_of_a_mapping_is_printed(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["import", "schema"]) == 0
        jsonschema.validate(MAPPING, json.loads(capsys.readouterr().out))


class TestSlack:
    def test_people_channels_messages_and_files_enter_the_archive(
        self, folder: Path, web: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = [
            {"name": "../../a.txt", "size": 3, "url_private": f"{web.origin}/a?t=xoxe-1", "mimetype": "text/plain"},
            {"name": "b.txt", "url_private": "https://elsewhere.example/b"},
        ]
        records = [
            message("1700000100.000100", "first", files=files),
            message("1700000200.000100", "<@U0BOB> hi", user="U0BOB", thread_ts="1700000100.000100"),
            message("1700000300.000000", subtype="channel_name", old_name="old-name", name="general"),
        ]
        slack_zip(folder / "x.zip", {DAY: records}, further=[("integration_logs.json", b"[]")])
        told = document(capsys, "slack", "x.zip", "--apply", code=3)
        assert told["found"]["not_read"] == ["integration_logs.json"]
        assert {name: told["added"][name] for name in ("messages", "users", "channels", "groups", "files_stored", "files_not_stored")} == {
            "messages": 3, "users": 2, "channels": 2, "groups": 2, "files_stored": 1, "files_not_stored": 1,
        }  # fmt: skip
        first, second, _ = sorted(rows(folder, "messages"), key=lambda row: row["sent_at"])
        assert (first["sender_name"], first["chat_id"]) == ("Ann Example", f"import:slack-{TEAM}:C0GEN")
        assert (second["plain_text"], json.loads(second["raw"])["thread_ts"]) == ("@bob hi", first["message_uid"])
        names = sorted((row["valid_from"], row["name"], row["state"]) for row in rows(folder, "channels"))
        assert names == [(1_690_000_000_000, "old-name", "imported"), (1_700_000_300_000, "general", "imported")]
        [stored, refused] = sorted(rows(folder, "files"), key=lambda row: row["ordinal"])
        assert (stored["status"], stored["name"]) == ("stored", "../../a.txt")
        assert first["blob_digests"] == [sha256(b"bytes of /a").hexdigest()]
        assert (refused["status"], refused["blob_digest"]) == ("given_up", None)
        assert [request.path for request in web.requests] == ["/a"]
        assert main(["verify"]) == 0

    def test_a_newer_export_adds_what_changed(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        old = [
            message("1700000100.000100", "first"),
            message("1700000200.000100", "second"),
            message("1700000300.000100", "third"),
        ]
        slack_zip(folder / "one.zip", {DAY: old})
        document(capsys, "slack", "one.zip", "--apply")
        new = [
            message("1700000100.000100", "edited", edited={"ts": "1700000900.0"}),
            message("1700000200.000100", "This message was deleted.", user="USLACKBOT", subtype="tombstone"),
            message("1700000300.000100", "third", reactions=[{"name": "+1", "users": ["U0BOB"]}]),
            message("1700000400.000100", "fourth"),
        ]
        renamed = ANN | {"updated": 1_710_000_000, "profile": {"real_name": "Ann Other"}}
        channel = GENERAL | {"name": "general-2", "members": ["U0ANN"]}
        lists = {"users.json": [renamed], "channels.json": [channel]}
        slack_zip(folder / "two.zip", {"general-2/2023-11-14.json": new}, lists=lists)
        assert document(capsys, "slack", "two.zip")["compared"] == {
            "new": 1, "new_versions": 2, "other_bytes": 1, "duplicates": 0, "repeated": 0, "wanted_new": 0, "wanted_archived": 0,
        }  # fmt: skip
        added = document(capsys, "slack", "two.zip", "--apply")["added"]
        assert {name: added[name] for name in ("messages", "users", "channels", "groups")} == {
            "messages": 4, "users": 1, "channels": 1, "groups": 1,
        }  # fmt: skip
        texts: dict[str, list[str]] = {}
        for row in sorted(
            rows(folder, "messages"), key=lambda row: (row["message_uid"], row["version"], row["observed_at"])
        ):
            texts.setdefault(row["message_uid"], []).append(row["text"])
        assert list(texts.values()) == [
            ["first", "edited"], ["second", "This message was deleted."], ["third", "third"], ["fourth"],
        ]  # fmt: skip

    def test_an_older_export_changes_no_name_back(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        renamed = ANN | {"updated": 1_710_000_000, "profile": {"real_name": "Ann Other"}}
        slack_zip(folder / "two.zip", {DAY: [message()]}, lists={"users.json": [renamed]})
        slack_zip(folder / "one.zip", {DAY: [message()]}, lists={"users.json": [ANN]})
        document(capsys, "slack", "two.zip", "--apply")
        document(capsys, "slack", "one.zip", "--apply")
        assert [row["first_name"] for row in rows(folder, "users")] == ["Ann Other"]


class TestUids:
    def test_they_are_noted_as_wanted_once(
        self, folder: Path, web: ScriptedServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "uids.txt").write_text("1700000000123-abc\n1700000000124-abc\n1700000000123-abc\n")
        words = ("uids", "uids.txt", "--chat", "u:bob", "--as", "u:ann")
        told = document(capsys, *words)
        assert (told["found"]["wanted_uids"], told["compared"]["wanted_new"]) == (3, 2)
        assert document(capsys, *words, "--apply")["added"]["wanted"] == 2
        assert document(capsys, *words, "--apply")["commits"] == 0
        [wanted] = [row for row in rows(folder, "events") if row["outcome"] == "wanted"]
        assert (wanted["chat_id"], wanted["user_id"]) == ("u:ann,u:bob", "u:ann")
        assert wanted["wanted_uids"] == ["1700000000123-abc", "1700000000124-abc"]
        assert sum(record.open_rows for entry in entries(folder) for record in entry.added) == 1
        assert web.requests == []

    def test_what_is_archived_is_not_asked_for_again(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / "mapping.yaml").write_text(
            yaml.safe_dump({"fields": MAPPING["fields"] | {"sender_name": None}}).replace("  sender_name: null\n", "")
        )
        lines(folder / "own.jsonl", [RECORDS[0] | {"id": "1700000000123-abc", "room": "g:1", "from": "u:ann"}])
        mapped(capsys, "own.jsonl", "--apply")
        (folder / "uids.csv").write_text("chat,uid\ng:1,1700000000123-abc\ng:2,1700000000123-abc\n")
        assert document(capsys, "uids", "uids.csv")["compared"]["wanted_archived"] == 1
        added = document(capsys, "uids", "uids.csv", "--apply")["added"]
        assert (added["wanted"], added["wanted_archived"]) == (1, 1)
