"""`archiver hold` as a person and as a program use it: what is entered, what is shown, with which exit code."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.reader import Archive
from archiver.cli import main
from archiver.run.lock import hold as run_lock
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.retention.hold_steps import member
from tests.servers.plugin import s3_client

REASON = ("--reason", "Smith v. Acme")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """The small archive, in which Ann has an address and is in the channel."""
    store = LocalStore(tmp_path / "archive")
    archive, head = small_archive.build(store, tmp_path)
    people = [
        {
            "user_id": "u:ann",
            "valid_from": 0,
            "email": "ann@acme.com",
            "captured_by": "x",
            "raw": "{}",
            "state_digest": "00",
        }
    ]
    groups = [member("g:general", "u:ann", small_archive.at_ms(22))]
    small_archive.add(archive, head, {"users": people, "groups": groups}, attempt="cccccccc")
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    return store


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["hold", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def holds(store: LocalStore) -> list[str]:
    return sorted(Archive.open(store).head().holds)


class TestPlace:
    def test_a_hold_is_entered_and_told(self, store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
        (hold,) = document(capsys, "place", "smith", "--custodian", "ann@acme.com", *REASON)["holds"]
        assert (hold["name"], hold["is_new"], hold["sequence"], hold["doubts"]) == ("smith", True, 4, [])
        assert hold["scope"]["custodians"] == ["ann@acme.com"]
        assert holds(store) == ["smith"]

    def test_the_same_again_says_so_and_adds_nothing(
        self, store: LocalStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("place", "smith", "--custodian", "ann@acme.com", *REASON)
        assert document(capsys, *words)["holds"][0]["is_new"]
        assert not document(capsys, *words)["holds"][0]["is_new"]
        assert main(["hold", *words]) == 0
        assert "was in force already, and nothing was added" in capsys.readouterr().out
        assert Archive.open(store).head().sequence == 4

    def test_another_scope_under_the_name_is_refused(
        self, store: LocalStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document(capsys, "place", "smith", "--custodian", "ann@acme.com", *REASON)
        error = document(capsys, "place", "smith", "--custodian", "u:bob", *REASON, code=5)["error"]
        assert "another scope" in error["what"]
        assert error["next_step"]

    def test_whom_nobody_knows_is_said_and_held_all_the_same(
        self, store: LocalStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["hold", "place", "smith", "--custodian", "nobody@acme.com", *REASON]) == 3
        assert "nobody with the address 'nobody@acme.com'" in capsys.readouterr().err
        assert holds(store) == ["smith"]

    @pytest.mark.parametrize(
        "words",
        [
            ("place",),
            ("place", "smith", "--custodian", "u:ann"),
            ("place", "smith", *REASON),
            ("place", "smith", "--everything", "--custodian", "u:ann", *REASON),
            ("place", "smith", "--from", "soon", *REASON),
            ("place", "smith", "--from", "2026-01-01", "--zone", "Mars", *REASON),
            ("place", "a b", "--custodian", "u:ann", *REASON),
            ("place", "smith", "--file", "holds.yaml"),
            ("place", "--file", "nothing.yaml"),
            ("release", "smith", "--reason", "settled"),
            ("release", "smith"),
            ("show", "smith"),
        ],
    )
    def test_a_mistake_is_one_and_enters_nothing(
        self, words: tuple[str, ...], store: LocalStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert document(capsys, *words, code=2)["error"]["what"]
        assert Archive.open(store).head().sequence == 3

    def test_days_are_whole_days_of_the_zone(self, store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("--from", "2026-11-21", "--until", "2026-11-21", "--zone", "Asia/Tokyo")
        (hold,) = document(capsys, "place", "smith", *words, *REASON)["holds"]
        assert (hold["scope"]["from"], hold["scope"]["until"]) == (
            "2026-11-20T15:00:00.000Z",
            "2026-11-21T15:00:00.000Z",
        )

    def test_a_search_is_one_part_of_a_hold(self, store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("--search", "minutes OR reminder", "--channel", "general", "--zone", "Europe/Berlin")
        (hold,) = document(capsys, "place", "smith", *words, *REASON)["holds"]
        assert (hold["scope"]["search"], hold["scope"]["zone"]) == ("minutes OR reminder", "Europe/Berlin")
        assert document(capsys, "show", "smith")["covers"]["messages"] == 2
        error = document(capsys, "place", "other", "--search", "minutes AND", *REASON, code=2)["error"]
        assert "search expression, character" in error["what"]

    def test_a_file_places_several_and_placing_it_again_adds_what_is_missing(
        self, store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "holds.yaml"
        file.write_text("holds:\n  a: {reason: x, channels: [general]}\n")
        document(capsys, "place", "--file", str(file))
        file.write_text("holds:\n  a: {reason: x, channels: [general]}\n  b: {reason: y, everything: true}\n")
        placed = document(capsys, "place", "--file", str(file))["holds"]
        assert [(hold["name"], hold["is_new"]) for hold in placed] == [("a", False), ("b", True)]
        assert holds(store) == ["a", "b"]

    def test_a_file_of_which_one_is_refused_enters_none(
        self, store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document(capsys, "place", "b", "--channel", "general", *REASON)
        file = tmp_path / "holds.yaml"
        file.write_text("holds:\n  a: {reason: x, channels: [general]}\n  b: {reason: y, everything: true}\n")
        error = document(capsys, "place", "--file", str(file), code=5)["error"]
        assert error["what"].startswith(f"{file}:3: ")
        assert holds(store) == ["b"]

    def test_it_does_not_wait_for_a_run(
        self, store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with run_lock(tmp_path / "state"):
            document(capsys, "place", "smith", "--channel", "general", *REASON)
        assert holds(store) == ["smith"]


def test_a_release_needs_its_reason_and_is_in_the_history(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    document(capsys, "place", "smith", "--channel", "general", *REASON)
    released = document(capsys, "release", "smith", "--reason", "settled")
    assert (released["hold"]["name"], released["released_in"]) == ("smith", 5)
    assert holds(store) == []
    listed = document(capsys, "list", "--all")
    assert listed["holds"] == []
    assert [(event["action"], event["reason"]) for event in listed["history"]] == [
        ("place", "Smith v. Acme"),
        ("release", "settled"),
    ]


def test_a_list_tells_what_each_covers_and_why(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hold", "list"]) == 0
    assert "no hold is in force" in capsys.readouterr().out
    document(capsys, "place", "smith", "--channel", "general", *REASON)
    assert main(["hold", "list"]) == 0
    shown = capsys.readouterr().out
    assert "in general" in shown
    assert "Smith v. Acme" in shown


def test_show_counts_what_is_covered_now(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    document(capsys, "place", "smith", "--custodian", "ann@acme.com", *REASON)
    shown = document(capsys, "show", "smith")
    covers = shown["covers"]
    assert (covers["messages"], covers["versions"], covers["files"]) == (
        small_archive.MESSAGES,
        small_archive.MESSAGE_ROWS,
        1,
    )
    assert covers["chats"][0] == {
        "chat_id": "g:general", "name": None, "messages": 5, "versions": 6, "files": 1,
        "first_on": "2026-11-20", "last_on": "2026-11-22",
    }  # fmt: skip
    assert main(["hold", "show", "smith"]) == 0
    assert "6 (7 versions)" in capsys.readouterr().out


def test_show_names_channels_in_which_no_list_shows_a_custodian_who_wrote_there(
    store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.open(store)
    row = small_archive.message("m-9", 22, "x", chat_id="g:secret", sender_id="u:ann")
    small_archive.add(archive, archive.head(), {"messages": [row]}, attempt="dddddddd")
    document(capsys, "place", "smith", "--custodian", "u:ann", *REASON)
    assert document(capsys, "show", "smith")["covers"]["unlisted"] == ["g:secret"]
    assert main(["hold", "show", "smith"]) == 0
    assert "in g:secret custodians wrote when no list of members showed them there" in capsys.readouterr().out


def test_show_warns_of_words_that_name_nothing(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hold", "place", "smith", "--channel", "generl", *REASON]) == 3
    capsys.readouterr()
    assert main(["hold", "show", "smith"]) == 3
    captured = capsys.readouterr()
    assert "it covers nothing that is here now" in captured.out
    assert "no chat 'generl'" in captured.err


class TestMirror:
    """With `holds.mirror`, in a bucket of a real S3 server with Object Lock."""

    @pytest.fixture
    def bucket_store(self, seaweedfs: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
        client, bucket = s3_client(seaweedfs), f"cli-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        store = S3Store(bucket, "acme", client=client)
        small_archive.build(store, tmp_path)
        (tmp_path / "archiver.yaml").write_text(
            f"workspace: acme\narchive: s3://{bucket}/acme\nholds: {{mirror: true}}\n"
            f"s3: {{endpoint_url: '{seaweedfs.endpoint_url}', region: {seaweedfs.region}}}\n"
        )
        monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_access_key)
        return store

    def marked(self, store: S3Store) -> int:
        return sum(store.lock(info.key) is not None for info in store.list(""))

    def test_what_is_placed_is_marked_at_once_and_lifted_when_released(
        self, bucket_store: S3Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document(capsys, "place", "smith", "--everything", *REASON)
        assert self.marked(bucket_store) == 6
        synced = document(capsys, "sync")
        assert (synced["objects"], synced["marked"], synced["lifted"], synced["by_others"]) == (6, 0, 0, 0)
        document(capsys, "release", "smith", "--reason", "settled")
        assert self.marked(bucket_store) == 0

    def test_while_a_run_is_under_way_the_hold_is_placed_and_the_marks_are_left_to_it(
        self, bucket_store: S3Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with run_lock(tmp_path / "state"):
            assert main(["hold", "place", "smith", "--everything", *REASON]) == 0
            assert "a run is under way" in capsys.readouterr().err
            assert document(capsys, "sync", code=5)["error"]["kind"] == "ArchiveBusy"
        assert self.marked(bucket_store) == 0

    def test_a_run_marks_what_came_since(self, bucket_store: S3Store, capsys: pytest.CaptureFixture[str]) -> None:
        document(capsys, "place", "smith", "--everything", *REASON)
        archive = Archive.open(bucket_store)
        rows = [small_archive.message("m-9", 23, "later")]
        small_archive.add(archive, archive.head(), {"messages": rows}, attempt="eeeeeeee")
        assert main(["run", "--only", "holds", "--json"]) == 0
        (stage,) = [one for one in json.loads(capsys.readouterr().out)["stages"] if one["stage"] == "holds"]
        assert stage["counts"] == {"objects_held": 7, "marked": 1, "lifted": 0, "by_others": 0}
        assert self.marked(bucket_store) == 7

    def test_a_run_whose_store_refuses_says_so_and_goes_on(
        self, store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document(capsys, "place", "smith", "--everything", *REASON)
        (tmp_path / "archiver.yaml").write_text("workspace: acme\nholds: {mirror: true}\n")
        assert main(["run", "--only", "holds", "--only", "gaps", "--json"]) == 7
        stages = json.loads(capsys.readouterr().out)["stages"]
        assert [(one["stage"], one["error"] is None) for one in stages] == [
            ("recover", True),
            ("holds", False),
            ("gaps", True),
        ]

    def test_where_nothing_is_mirrored_a_sync_says_so(
        self, store: LocalStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "`holds.mirror` is not set" in document(capsys, "sync", code=2)["error"]["what"]

    def test_a_folder_has_no_legal_holds_and_the_hold_is_in_force_all_the_same(
        self, store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "archiver.yaml").write_text("workspace: acme\nholds: {mirror: true}\n")
        placed = document(capsys, "place", "smith", "--everything", *REASON, code=7)
        assert placed["holds"][0]["is_new"]
        assert "has no legal holds, so holds cannot be mirrored" in placed["mirror"]["error"]["what"]
        assert holds(store) == ["smith"]


def test_hostile_names_move_no_cursor(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Archive.open(store)
    row = small_archive.message("m-9", 22, "x", chat_id="g:\x1b[2J")
    small_archive.add(archive, archive.head(), {"messages": [row]}, attempt="dddddddd")
    assert main(["hold", "place", "audit", "--everything", *REASON]) == 0
    assert main(["hold", "show", "audit"]) == 0
    assert "\x1b[2J" not in capsys.readouterr().out


def test_without_an_archive_nothing_is_founded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    assert "there is no archive" in document(capsys, "place", "a", "--everything", *REASON, code=2)["error"]["what"]
    assert not (tmp_path / "archive").exists()
