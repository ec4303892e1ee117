"""`archiver webhooks` as a person and as a program see it: the plan, the files that it writes, the check, and what is never shown."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from archiver.capture.feeds import Span, cursors_of
from archiver.cli import main
from archiver.settings import Secrets, load, warnings
from archiver.store.local import LocalStore
from tests import small_archive

PATH_SECRET = "p4th-s3cret-0123456789abcdef"
CHANNEL_NAMES = {"g:general": "general", "g:sales": "=SUM(1)\n\x1b[2J", "g:empty": "empty"}
MEMBERS = [("g:general", "u:ann"), ("g:general", "u:Bot"), ("g:sales", "u:ann"), ("g:empty", "u:Bot")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive with three channels: general is fed, sales could be, and in the third one there is only a bot."""
    archive, head = small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    common = {"valid_from": small_archive.at_ms(23), "captured_by": "u:ann", "state_digest": "00"}
    tables: dict[str, list[dict[str, Any]]] = {
        "channels": [
            {"channel_id": channel_id, "state": "listed", "name": name, "raw": "{}", **common}
            for channel_id, name in CHANNEL_NAMES.items()
        ],
        "groups": [
            {"channel_id": channel_id, "user_id": user_id.replace("u:Bot", "u:B123"), "state": "member", **common}
            for channel_id, user_id in MEMBERS
        ],
        "users": [{"user_id": "u:ann", "first_name": "Ann", "raw": "{}", **common}],
    }
    at_ms = small_archive.at_ms(22)
    cursors = cursors_of({"general": {"g:general": Span(at_ms, at_ms + 1_000)}}, known={})
    small_archive.add(archive, head, tables, attempt="cccccccc", cursors=cursors)
    (tmp_path / "archiver.yaml").write_text(
        "workspace: acme\nlisten: {public_url: 'https://archiver.acme.com', path_secret_file: secret, "
        "webhook_tokens_file: hooks.json}\n"
    )
    for name, text in (("secret", PATH_SECRET), ("hooks.json", '{"general": "hook-token-1"}')):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    return tmp_path


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 3) -> Any:
    assert main(["webhooks", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


class TestPlan:
    def test_says_who_makes_what_and_what_nobody_can(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = document(capsys, "plan")
        (person,) = found["people"]
        assert (person["user_id"], person["user_name"], person["token"], person["has"]) == ("u:ann", "Ann", "none", 0)
        (order,) = person["orders"]
        assert order["channel_id"] == "g:sales"
        assert order["callback_url"] == f"https://archiver.acme.com/hooks/<path secret>/{order['webhook']}"
        assert [(item["channel_id"], item["reason"]) for item in found["uncovered"]] == [
            ("g:empty", "no member is known who could make one")
        ]
        assert found["without_known_owner"] == ["general"]

    def test_counts_what_somebody_has_already(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with (folder / "archiver.yaml").open("a") as file:
            file.write("flock: {tokens_file: tokens.json}\n")
        (folder / "tokens.json").write_text('{"u:ann": "aaaa-1111"}')
        text = (folder / "archiver.yaml").read_text()
        (folder / "archiver.yaml").write_text(
            text.replace("listen: {", "listen: {webhook_owners: {general: 'u:ann'}, ")
        )
        (person,) = document(capsys, "plan", "--taken", "u:ann=8")["people"]
        assert (person["token"], person["has"]) == ("works", 1)
        assert document(capsys, "plan", "--taken", "u:ann=9")["people"] == []

    @pytest.mark.parametrize("taken", ["u:ann", "u:ann=", "=3", "u:ann=-1"])
    def test_a_number_that_is_none_is_a_mistake(
        self, taken: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert document(capsys, "plan", "--taken", taken, code=2)["error"]["kind"] == "Usage"

    def test_csv_is_safe_in_a_spreadsheet(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["webhooks", "plan", "--format", "csv"]) == 3
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
        assert (row["user_id"], row["channel_name"]) == ("u:ann", "'" + CHANNEL_NAMES["g:sales"])

    def test_without_a_public_address_says_so_and_writes_nothing(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "archiver.yaml").write_text("workspace: acme\nlisten: {webhook_tokens_file: hooks.json}\n")
        assert main(["webhooks", "plan"]) == 3
        told = capsys.readouterr()
        assert "https://your-host/hooks/<path secret>/" in told.out
        assert "listen.public_url is not set" in told.err
        assert "listen.public_url" in document(capsys, "plan", "--write", str(folder / "w"), code=2)["error"]["what"]
        assert not (folder / "w").exists()

    def test_an_archive_that_nobody_crawled_for_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        small_archive.found(LocalStore(tmp_path / "archive"))
        (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
        monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
        for words in (["plan"], ["check"]):
            assert main(["webhooks", *words]) == 3
            assert "no run has crawled the directory" in capsys.readouterr().out


class TestFiles:
    def test_hold_the_whole_address_for_nobody_else_to_read(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        written = [Path(path) for path in document(capsys, "plan", "--write", str(folder / "w"))["written"]]
        letter, tokens = written
        assert stat.S_IMODE((folder / "w").stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
        (name,) = json.loads(tokens.read_text())
        assert f"https://archiver.acme.com/hooks/{PATH_SECRET}/{name}\n" in letter.read_text()
        # A channel's name is data: it neither ends its line nor moves a cursor.
        assert "=SUM(1) \\x1b[2J (g:sales)\n" in letter.read_text()

    def test_that_are_not_filled_in_are_refused_as_tokens(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        document(capsys, "plan", "--write", str(folder / "w"))
        (folder / "hooks.json").write_text((folder / "w" / "webhook_tokens.json").read_text())
        assert "no token" in document(capsys, "check", code=2)["error"]["what"]

    def test_are_written_over_nothing(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        document(capsys, "plan", "--write", str(folder / "w"))
        before = {path: path.read_text() for path in (folder / "w").iterdir()}
        assert document(capsys, "plan", "--write", str(folder / "w"), code=5)["error"]["kind"] == "Refused"
        assert {path: path.read_text() for path in (folder / "w").iterdir()} == before


class TestCheck:
    def test_says_what_delivers_since_when_and_what_does_not(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "hooks.json").write_text('{"general": "hook-token-1", "sales": "hook-token-2"}')
        found = document(capsys, "check")
        assert {state["state"]: state["webhooks"] for state in found["states"]} == {"delivers": 1, "nothing yet": 1}
        general, sales = found["webhooks"]
        assert (general["channel_name"], general["first_push_at"], general["last_push_at"]) == (
            "general", "2026-11-22T12:00:00.000Z", "2026-11-22T12:00:01.000Z",
        )  # fmt: skip
        assert (sales["channel_id"], sales["last_push_at"]) == (None, None)
        assert [channel["channel_id"] for channel in found["unheard"]] == ["g:empty", "g:sales"]
        assert main(["webhooks", "check"]) == 3
        shown = capsys.readouterr().out
        assert "No webhook delivers of:" in shown
        assert "\x1b[2J" not in shown

    def test_csv_has_a_row_for_each_webhook(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["webhooks", "check", "--format", "csv"]) == 3
        (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out, newline=""))
        assert (row["webhook"], row["state"], row["channel_id"]) == ("general", "delivers", "g:general")


@pytest.mark.parametrize(
    "words",
    [
        ["plan"],
        ["plan", "--json"],
        ["plan", "--format", "csv"],
        ["plan", "--write", "w"],
        ["check"],
        ["check", "--json"],
    ],
)
def test_no_secret_is_ever_printed(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    main(["webhooks", *words])
    told = capsys.readouterr()
    secrets = Secrets(load(folder / "archiver.yaml"))
    for secret in (PATH_SECRET, secrets.webhook_tokens()["general"].get_secret_value()):
        assert secret not in told.out + told.err


def test_a_public_address_in_clear_is_warned_of(tmp_path: Path) -> None:
    def told(url: str) -> list[str]:
        (tmp_path / "archiver.yaml").write_text(f"workspace: a\nlisten: {{public_url: '{url}'}}\n")
        return warnings(load(tmp_path / "archiver.yaml"))

    assert "listen.public_url is http://archiver.acme.com" in told("http://archiver.acme.com")[0]
    assert told("https://archiver.acme.com") == told("http://127.0.0.1:8080") == []
