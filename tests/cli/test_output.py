"""One printer: results on standard output, everything else on standard error, and nothing that a terminal would obey."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from archiver.cli import logs, redact
from archiver.cli.output import Output, printable, to_json

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VySWQiOiJ1OmEifQ.c2lnbmF0dXJl"


@dataclass(frozen=True)
class Fact:
    name: str
    at: datetime


class TestDocuments:
    def test_hold_what_our_values_are_made_of(self) -> None:
        document = {
            "fact": Fact("x", datetime(2026, 11, 22, tzinfo=UTC)),
            "path": Path("/a"),
            "none": None,
            "pair": (1, 2),
        }
        assert json.loads(to_json(document)) == {
            "fact": {"name": "x", "at": "2026-11-22T00:00:00Z"},
            "path": "/a",
            "none": None,
            "pair": [1, 2],
        }

    def test_of_anything_else_are_a_mistake_of_ours(self) -> None:
        with pytest.raises(NotImplementedError, match="complex"):
            to_json({"x": 1j})

    def test_with_json_a_person_s_view_is_not_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        Output(as_json=True).result({"a": 1}, show=lambda output: output.line("for people"))
        assert json.loads(capsys.readouterr().out) == {"a": 1}
        Output().result({"a": 1}, show=lambda output: output.line("for people"))
        assert capsys.readouterr().out == "for people\n"


class TestTerminals:
    @given(st.text())
    def test_no_text_holds_a_control_character(self, text: str) -> None:
        shown = printable(text)
        assert not any(ord(letter) < 32 and letter not in "\t\n" for letter in shown)
        assert not any("\x7f" <= letter <= "\x9f" or "\u202a" <= letter <= "\u202e" for letter in shown)
        shown.encode("utf-8")

    def test_letters_of_every_script_stay(self) -> None:
        text = "Grüße, مرحبا, שלום, 日本, \U0001f469\u200d\U0001f4bb"
        assert printable(text) == text

    def test_what_a_message_says_is_no_markup(self, capsys: pytest.CaptureFixture[str]) -> None:
        Output().table(["[bold]text"], [["[red]x[/red] :smile: \x1b]0;title\x07"]], title="[link=http://x]t")
        shown = capsys.readouterr().out
        assert "[red]x[/red] :smile:" in shown
        assert "[bold]text" in shown
        assert "[link=http://x]t" in shown
        assert "\x1b" not in shown

    def test_numbers_stand_to_the_right_and_nothing_is_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        Output().table(["n", "x"], [[1, None], [100, "a"]])
        assert "│   1 │   │" in capsys.readouterr().out


class TestQuiet:
    def test_silences_notes_and_not_warnings(self, capsys: pytest.CaptureFixture[str]) -> None:
        Output(quiet=True).note("by the way")
        Output(quiet=True).warn("look out")
        Output().note("by the way")
        told = capsys.readouterr()
        assert told.err == "look out\nby the way\n"
        assert told.out == ""

    def test_progress_is_silent_where_nobody_watches(self, capsys: pytest.CaptureFixture[str]) -> None:
        with Output().progress() as progress:
            progress.update(progress.add_task("x", total=2), completed=1)
        assert capsys.readouterr().err == ""


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "left"),
        [
            (f"token {JWT} refused", "token [redacted] refused"),
            ("POST /v1/chat?token=abc-123&x=1", "POST /v1/chat?token=[redacted]&x=1"),
            ("/?flockEventToken=abc.def", "/?flockEventToken=[redacted]"),
            (
                "https://fs.x/f?Expires=1&Signature=ab~c&Key-Pair-Id=K",
                "https://fs.x/f?Expires=1&Signature=[redacted]&Key-Pair-Id=[redacted]",
            ),
            ("X-Amz-Signature=0123&X-Amz-Date=1", "X-Amz-Signature=[redacted]&X-Amz-Date=1"),
            ("Authorization: Bearer abcdefgh-1", "Authorization: Bearer [redacted]"),
            ("{'authorization': 'abcdefgh'}", "{'authorization': '[redacted]'}"),
            ('{"token": "abc", "userId": "u:a"}', '{"token": "[redacted]", "userId": "u:a"}'),
            ("s3://ann:hush@host/x", "s3://[redacted]@host/x"),
            ("POST /hooks/abcdefgh/general 403", "POST /hooks/[redacted]/general 403"),
            ("nothing to hide: tokens are by user", "nothing to hide: tokens are by user"),
        ],
    )
    def test_knows_the_shapes_of_secrets(self, text: str, left: str) -> None:
        assert redact.redact(text) == left

    def test_knows_the_secrets_of_this_process(self) -> None:
        redact.register(["correct horse battery", "short"])
        assert redact.redact("a correct horse battery, in short") == "a [redacted], in short"

    def test_of_log_fields_goes_by_name_too(self) -> None:
        assert redact.redact_value("app_secret", "x") == "[redacted]"
        assert redact.redact_value("headers", {"Authorization": "x", "Accept": "y"}) == {
            "Authorization": "[redacted]",
            "Accept": "y",
        }
        assert redact.redact_value("token_hash", "0a1b") == "0a1b"
        assert redact.redact_value("tokens", 3) == 3


class TestLogs:
    def test_are_one_line_an_event_and_without_secrets(self, capsys: pytest.CaptureFixture[str]) -> None:
        logs.set_up(quiet=False, verbosity=0)
        structlog.get_logger("archiver.test").info("asked\nFlock", token="abc", url="https://x/?token=abc", uids=25)
        (line,) = capsys.readouterr().err.splitlines()
        assert "abc" not in line
        assert "event=asked\\nFlock" in line
        assert "uids=25" in line
        assert "level=info" in line

    def test_of_libraries_pass_the_same_way(self, capsys: pytest.CaptureFixture[str]) -> None:
        logs.set_up(quiet=False, verbosity=0)
        logging.getLogger("uvicorn.access").info("GET /events")
        logging.getLogger("uvicorn.error").warning("GET /?token=%s", "abc-123")
        (line,) = capsys.readouterr().err.splitlines()
        assert "token=[redacted]" in line

    def test_of_an_exception_show_no_secret(self, capsys: pytest.CaptureFixture[str]) -> None:
        logs.set_up(quiet=False, verbosity=0)
        structlog.get_logger("archiver.test").error("failed", exc_info=ValueError(f"bad {JWT}"))
        assert "ValueError: bad [redacted]" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("quiet", "verbosity", "levels"), [(True, 0, "w"), (False, 0, "iw"), (False, 1, "diw"), (False, 2, "diw")]
    )
    def test_are_as_loud_as_asked(
        self, capsys: pytest.CaptureFixture[str], quiet: bool, verbosity: int, levels: str
    ) -> None:
        logs.set_up(quiet=quiet, verbosity=verbosity)
        log = structlog.get_logger("archiver.test")
        log.debug("d")
        log.info("i")
        log.warning("w")
        assert [line.split("event=")[1] for line in capsys.readouterr().err.splitlines()] == list(levels)
