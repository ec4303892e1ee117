"""What says which messages are meant is one option everywhere: the same word, meaning and help, whatever the command."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from datetime import date

import click
import pytest

from archiver.cli import COMMANDS, MODULES
from archiver.cli.scope_options import DAY, days_asked
from archiver.errors import UsageError

SHARED = {"--custodian", "--channel", "--conversation", "--day", "--from", "--until", "--search"}
# Those that hand over, find or post what a matter, a day or a person is about.
DISCOVERY = ("hold", "search", "export", "restore", "replay")


def options(command: click.Command) -> Iterator[click.Option]:
    yield from (parameter for parameter in command.params if isinstance(parameter, click.Option))
    if isinstance(command, click.Group):
        for part in command.commands.values():
            yield from options(part)


@pytest.mark.parametrize("word", sorted([*SHARED, "--matter", "--zone"]))
def test_a_word_has_one_help_and_one_type_in_all_commands(word: str) -> None:
    found = [
        (option.help, type(option.type), option.metavar, option.default)
        for name in DISCOVERY
        for option in options(importlib.import_module(f"archiver.cli.{MODULES.get(name, name)}").command)
        if word in option.opts
    ]
    assert found
    assert len(set(map(str, found))) == 1


def test_every_command_has_its_sentence_once() -> None:
    assert len(set(COMMANDS.values())) == len(COMMANDS)


def test_a_day_is_told_by_the_option_that_is_wrong() -> None:
    with pytest.raises(UsageError, match=r"--until 'soon' is no day"):
        DAY.convert("soon", click.Option(["--until"]), None)


def test_a_day_is_its_own_first_and_last() -> None:
    assert days_asked(date(2026, 3, 2), None, None) == (date(2026, 3, 2), date(2026, 3, 2))
    assert days_asked(None, date(2026, 3, 2), None) == (date(2026, 3, 2), None)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ((date(2026, 3, 2), date(2026, 3, 1), None), "another way to say it"),
        ((None, date(2026, 3, 2), date(2026, 3, 1)), "ends before it begins"),
    ],
)
def test_days_that_contradict_each_other_are_refused(days: tuple[date | None, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        days_asked(*days)
