"""`archiver gaps` as a person and as a program see it: which gaps, in which form, with which exit code."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.ledger import Gap
from archiver.archive.reader import Archive, Head
from archiver.capture.gaps import Findings, changed_rows
from archiver.cli import main
from archiver.cli.gaps import ROWS_OF_A_KIND_SHOWN_MAX
from archiver.run.gap_news import CURSOR
from archiver.store.local import LocalStore
from tests import small_archive

DOWN = Gap(
    kind="listener-down",
    count=1,
    evidence="no listener beat",
    subject="spool 1",
    from_at_ms=small_archive.at_ms(20),
    to_at_ms=small_archive.at_ms(21),
)
NO_FEED = Gap(kind="channel-without-feed", count=1, evidence="nothing came", chat_id="g:general")
NOT_RETURNED = Gap(
    kind="message-not-returned", count=1, evidence="asked for", chat_id="u:ann,u:bob", subject="=HYPERLINK(1)"
)
NO_APP = Gap(kind="user-without-token", count=1, evidence="has not installed the app", user_id="u:ann")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small archive with three open gaps and a closed one."""
    archive, head = small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    people = [
        {"user_id": user, "valid_from": 0, "first_name": name, "captured_by": "x", "raw": "{}", "state_digest": "00"}
        for user, name in (("u:ann", "Ann"), ("u:bob", "Bob\x1b[2J"))
    ]
    head = small_archive.add(archive, head, {"users": people}, attempt="cccccccc")
    look(archive, head, day=24, present=[NO_FEED, NOT_RETURNED, NO_APP], past=[DOWN])
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    return tmp_path


def look(archive: Archive, head: Head, *, day: int, present: list[Gap], past: list[Gap]) -> None:
    rows = changed_rows({}, Findings(present=present, past=past), at_ms=small_archive.at_ms(day))
    cursors = {CURSOR: str(head.sequence)}
    small_archive.add(archive, head, {"gaps": rows}, attempt=f"{day:08d}", cursors=cursors)


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 3) -> Any:
    assert main(["gaps", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def kinds(capsys: pytest.CaptureFixture[str], *words: str, code: int = 3) -> list[str]:
    return [gap["kind"] for gap in document(capsys, *words, code=code)["gaps"]]


@pytest.mark.usefixtures("folder")
class TestWhichGaps:
    def test_by_default_those_that_are_open_the_widest_first(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert kinds(capsys) == ["user-without-token", "channel-without-feed", "message-not-returned"]

    def test_closed_ones_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        (closed,) = [gap for gap in document(capsys, "--all")["gaps"] if gap["state"] == "closed"]
        assert (closed["kind"], closed["from_at"], closed["to_at"]) == (
            "listener-down", "2026-11-20T12:00:00.000Z", "2026-11-21T12:00:00.000Z",
        )  # fmt: skip

    def test_of_some_kinds(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("--kind", "user-without-token", "--kind", "channel-without-feed")
        assert kinds(capsys, *words) == ["user-without-token", "channel-without-feed"]

    def test_a_kind_of_which_none_is_open_is_no_gap(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert kinds(capsys, "--kind", "listener-down", "--all", code=0) == ["listener-down"]

    def test_a_kind_that_nobody_knows_is_a_mistake(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = document(capsys, "--kind", "listener-dwn", code=2)["error"]
        assert "listener-dwn" in error["what"]
        assert "listener-down" in error["next_step"]

    @pytest.mark.parametrize("chat", ["g:general", "general", "#General"])
    def test_of_a_channel_by_its_id_or_name(self, chat: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert kinds(capsys, "--chat", chat) == ["channel-without-feed"]

    def test_of_a_one_to_one_chat_in_either_order(self, capsys: pytest.CaptureFixture[str]) -> None:
        for chat in ("u:ann,u:bob", "u:bob,u:ann"):
            assert kinds(capsys, "--chat", chat) == ["message-not-returned"]

    def test_a_chat_that_nobody_knows_has_no_gaps_to_be_sure_of(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "'generl'" in document(capsys, "--chat", "generl", code=2)["error"]["what"]

    def test_of_a_chat_also_says_that_others_concern_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gaps", "--chat", "general"]) == 3
        assert "1 open gaps concern no single chat" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("since", "code"), [("2026-11-24", 3), ("2026-11-24T14:00:00+02:00", 3), ("2026-11-25", 0)]
    )
    def test_that_changed_since_a_time(self, since: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        found = kinds(capsys, "--kind", "user-without-token", "--since", since, code=code)
        assert found == (["user-without-token"] if code else [])

    @pytest.mark.parametrize("since", ["yesterday", "2026-11-24T12:00:00"])
    def test_a_time_without_a_zone_or_sense_is_a_mistake(self, since: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert since in document(capsys, "--since", since, code=2)["error"]["what"]


@pytest.mark.usefixtures("folder")
class TestForms:
    def test_a_gap_has_every_fact_and_todays_names(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = document(capsys)
        assert (found["sequence"], found["has_looked"], found["commits_not_looked_at"]) == (4, True, 0)
        gap = found["gaps"][2]
        assert gap == {
            "gap_id": gap["gap_id"],
            "state": "open",
            "kind": "message-not-returned",
            "chat_id": "u:ann,u:bob",
            "chat_name": "Ann and Bob\x1b[2J",
            "user_id": None,
            "user_name": None,
            "subject": "=HYPERLINK(1)",
            "from_at": None,
            "to_at": None,
            "count": 1,
            "evidence": "asked for",
            "opened_at": "2026-11-24T12:00:00.000Z",
            "changed_at": "2026-11-24T12:00:00.000Z",
        }
        assert {kind["kind"]: (kind["open"], kind["closed"]) for kind in found["summary"]} == {
            "user-without-token": (1, 0),
            "channel-without-feed": (1, 0),
            "message-not-returned": (1, 0),
        }

    def test_a_table_begins_with_a_summary_and_says_what_to_do(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gaps"]) == 3
        shown = capsys.readouterr().out
        assert shown.index("stands for") < shown.index("What to do: `archiver webhooks plan`")
        assert "general (g:general)" in shown
        assert "\x1b[2J" not in shown

    def test_csv_is_safe_in_a_spreadsheet(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["gaps", "--format", "csv"]) == 3
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
        assert [row["kind"] for row in rows] == ["user-without-token", "channel-without-feed", "message-not-returned"]
        assert rows[2]["subject"] == "'=HYPERLINK(1)"

    def test_a_long_list_is_cut_for_eyes_and_says_so(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        many = [
            Gap(kind="user-without-token", count=1, evidence="-", user_id=f"u:{number}")
            for number in range(ROWS_OF_A_KIND_SHOWN_MAX + 2)
        ]
        archive = Archive.open(LocalStore(folder / "archive"))
        look(archive, archive.head(), day=25, present=many, past=[])
        assert main(["gaps", "--kind", "user-without-token"]) == 3
        assert "and 3 more; `archiver gaps --kind user-without-token --format csv`" in capsys.readouterr().out
        assert len(kinds(capsys, "--kind", "user-without-token")) == ROWS_OF_A_KIND_SHOWN_MAX + 3


class TestWithoutAnything:
    def test_an_archive_that_no_run_has_looked_at_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
        (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
        monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
        found = document(capsys)
        assert (found["has_looked"], found["gaps"], found["commits_not_looked_at"]) == (False, [], 2)
        assert main(["gaps"]) == 3
        assert "Nobody has looked yet" in capsys.readouterr().out
        assert not (tmp_path / "state").exists()

    def test_no_archive_is_a_mistake_that_says_how_to_found_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
        monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
        assert "archiver run" in document(capsys, code=2)["error"]["next_step"]
