"""`archiver search` as a person and as a program use it: what is shown, page by page, what is entered, with which exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.reader import Archive
from archiver.cli import main, search
from archiver.discovery.search import LIMIT_DEFAULT, LIMIT_MAX
from archiver.discovery.search_around import CONTEXT_MESSAGES_MAX
from archiver.store.local import LocalStore
from tests import small_archive
from tests.small_archive import message

HOSTILE = "\x1b[2J\x1b]0;owned\x07 =cmd()|'x' [bold]<b>merger</b>\u202e \n and more"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small archive with Ann and Bob in the directory, a hostile message, replies, and a policy with a label."""
    folder = tmp_path_factory.mktemp("search")
    archive, head = small_archive.build(LocalStore(folder / "archive"), folder)
    user = {"valid_from": 0, "captured_by": "x", "raw": "{}", "state_digest": "00"}
    quoted = json.dumps([{"title": "In reply to Ann", "description": "good evening"}])
    head = small_archive.add(
        archive,
        head,
        {
            "users": [
                user | {"user_id": "u:ann", "first_name": "Ann", "email": "ann@acme.com"},
                user | {"user_id": "u:bob", "first_name": "Bob\nFake 2026-01-01 Line"},
            ],
            "messages": [
                message("m-7", 22, HOSTILE, sender_id="u:bob", attachments='[{"title":"merger"}]'),
                message("m-8", 21, "so be it", sender_id="u:bob", app_id="flock", attachments=quoted),
            ],
        },
        attempt="cccccccc",
    )
    (folder / "policy.yaml").write_text(
        "name: acme\nzone: UTC\nrules: [{name: all, delete: 100y}]\nlabels:\n  contract:\n    messages: [m-3]\n"
    )
    (folder / "archiver.yaml").write_text("workspace: acme\nretention: {policy: policy.yaml}\n")
    return folder


@pytest.fixture(autouse=True)
def configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVER_CONFIG", str(folder / "archiver.yaml"))


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["search", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def shown(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert main(["search", *words]) == code
    return capsys.readouterr().out


def uids(found: Any) -> list[str]:
    return [hit["message_uid"] for hit in found["hits"]]


def test_a_search_makes_the_index_and_finds_what_reading_finds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, "good OR 日本 OR merger")
    assert uids(found) == ["m-7", "m-8", "m-1", "m-2"]
    assert (found["total"], found["after"]) == (4, None)
    assert found["index"]["rows_behind"] == 0
    read = document(capsys, "good OR 日本 OR merger", "--no-index")
    assert read.pop("index") is None
    assert found.pop("index")
    assert read == found
    (state,) = (folder / "state" / "search").iterdir()
    assert state.name == "0f0f"


def test_pages_follow_each_other_without_a_gap(capsys: pytest.CaptureFixture[str]) -> None:
    found: list[str] = []
    words: list[str] = []
    while True:
        page = document(capsys, "NOT nothing", "--limit", "3", *words)
        found += uids(page)
        assert page["total"] == 8
        if page["after"] is None:
            break
        words = ["--after", page["after"]]
    assert len(found) == len(set(found)) == 8
    assert document(capsys, "NOT nothing", "--order", "oldest")["hits"][0]["message_uid"] == "m-1"


def test_a_person_sees_what_was_found_when_by_whom_and_what_became_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    told = shown(capsys, "morning", "--zone", "Asia/Tokyo")
    assert "2026-11-20 21:00:00 JST  #general  Ann (u:ann)" in told
    assert "good »morning«" in told
    assert "found in version 1 of 2" in told
    assert "edited away since: the version seen at 2026-11-22 21:00:00 JST" in told
    assert "1 message found" in told


def test_nothing_found_is_said_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing found: none of the 9 archived versions" in shown(capsys, "abracadabra")
    assert document(capsys, "abracadabra")["total"] == 0


def test_hostile_text_moves_no_cursor_and_fakes_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = shown(capsys, "merger")
    assert "\x1b" not in told
    assert "\x07" not in told
    assert "\u202e" not in told
    assert "[bold]<b>»merger«</b>" in told
    assert not [line for line in told.splitlines() if line.startswith(("Fake", "and more"))]
    (hit,) = document(capsys, "merger")["hits"]
    assert hit["texts"][0]["text"] == HOSTILE
    assert [HOSTILE[start:end] for start, end in hit["texts"][0]["hits"]] == ["merger"]


def test_messages_around_and_replies_are_shown_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    (hit,) = document(capsys, "minutes", "--context", "2", "--threads")["hits"]
    assert [one["message_uid"] for one in hit["before"]] == ["m-1", "m-2"]
    assert [one["message_uid"] for one in hit["behind"]] == ["m-4", "m-8"]
    assert hit["before"][0]["text"] == "good evening"
    assert (hit["replies_to"], hit["replies"]) == ([], [])
    (hit,) = document(capsys, '"so be it"', "--threads")["hits"]
    assert [one["message_uid"] for one in hit["replies_to"]] == ["m-1"]
    told = shown(capsys, '"good evening" in:general NOT from:bob', "--threads", "--context", "1")
    assert "reply 2026-11-21 12:00:00 UTC Bob Fake 2026-01-01 Line (u:bob): so be it" in told


def test_a_label_of_the_policy_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert uids(document(capsys, "label:contract")) == ["m-3"]
    assert document(capsys, "label:contrakt", code=3)["unknown"] == [
        {"filter": "label", "name": "contrakt", "nearest": ["contract"]}
    ]


def test_a_name_that_nobody_has_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "from:anm in:genral"]) == 3
    told = capsys.readouterr()
    assert "Nothing found" in told.out
    assert "from:anm: the archive knows nobody of this name" in told.err
    assert "did you mean general" in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["merger or price"], "         ^\n"),
        (["merger", "--zone", "Mars/Olympus"], "there is no time zone 'Mars/Olympus'"),
        (["merger", "--after", "zzz"], "--after takes a token"),
        (["merger", "--after", "é\ud800"], "--after takes a token"),
        (["merger", "--after", "WyJhIl0"], "--after takes a token"),
        (["merger", "--matter", "Smith v. Acme"], "no name for a matter"),
        (["merger", "--limit", "0"], "--limit"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["search", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_search_for_a_matter_is_entered_in_the_ledger_and_any_other_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.open(LocalStore(folder / "archive"))
    before = archive.head()
    document(capsys, "good")
    assert archive.head().sequence == before.sequence
    told = document(capsys, "good  OR minutes", "--matter", "smith-v-acme", "--limit", "1", "--zone", "Europe/Berlin")
    *_, (entry, _) = archive.entries()
    assert told["matter"] == {"name": "smith-v-acme", "entry": entry.sequence}
    assert entry.kind == "search"
    assert entry.matter is not None
    assert (entry.matter.matter, entry.matter.head_digest) == ("smith-v-acme", before.digest)
    assert entry.matter.counts == {"messages": 3, "shown": 1}
    assert entry.matter.scope is not None
    assert (entry.matter.scope.expression, entry.matter.scope.zone) == ("good OR minutes", "Europe/Berlin")
    assert archive.head().rows == before.rows


def test_an_index_that_breaks_while_it_is_asked_is_made_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever sets the time of a file back hides that it changed; then it shows when it is read, or when a row is not there."""
    document(capsys, "good", "--rebuild-index")
    (index,) = (folder / "state" / "search").iterdir()
    for path in index.rglob("*"):
        if path.suffix in (".term", ".fast", ".idx", ".store", ".pos"):
            stat = path.stat()
            path.write_bytes(b"\xff" * stat.st_size)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert uids(document(capsys, "good")) == ["m-8", "m-1"]


def test_a_state_folder_that_cannot_be_written_makes_a_search_slower_and_not_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "state2").write_text("a file where a folder should be")
    (folder / "other.yaml").write_text("workspace: acme\nstate: ./state2\n")
    assert main(["search", "good", "--config", str(folder / "other.yaml"), "--json"]) == 0
    told = capsys.readouterr()
    assert uids(json.loads(told.out)) == ["m-8", "m-1"]
    assert "cannot be written" in told.err


def test_the_limits_of_the_command_are_those_of_a_search() -> None:
    assert (search.LIMIT_DEFAULT, search.LIMIT_MAX, search.CONTEXT_MAX) == (
        LIMIT_DEFAULT,
        LIMIT_MAX,
        CONTEXT_MESSAGES_MAX,
    )
