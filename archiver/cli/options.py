"""The options that commands share: ``--config``, ``--json``, ``--quiet`` and ``-v``, and the examples of their help.

    @click.command(epilog=examples("archiver status --json"))
    @config_options
    def command(invocation: Invocation) -> int: ...

A command without a configuration takes `output_options` and gets an `Output` alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli.output import Output

if TYPE_CHECKING:
    from archiver.settings import Secrets, Settings

CONFIG_FILE = "archiver.yaml"

# What a command returns is its exit code; None is 0.
_Command = Callable[..., int | None]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a command: which configuration it uses and where its output goes."""

    config_path: Path
    output: Output

    def settings(self) -> Settings:
        """Read the configuration; raises `ConfigError`, with the line, for anything in it that cannot be used."""
        from archiver import settings  # noqa: PLC0415 - pydantic is heavy, and --help needs none of it

        loaded = settings.load(self.config_path)
        for warning in settings.warnings(loaded):
            self._warn(warning)
        return loaded

    def secrets(self, settings: Settings) -> Secrets:
        """Return what gives out the configuration's secrets; each one that is read is redacted in everything we print from then on."""
        from archiver.cli import redact  # noqa: PLC0415 - as above
        from archiver.settings import Secrets  # noqa: PLC0415 - as above

        return Secrets(settings, on_secret=lambda secret: redact.register([secret]), on_warning=self._warn)

    def _warn(self, warning: str) -> None:
        self.output.warn(f"archiver: warning: {warning}")


def output_options(function: _Command) -> _Command:
    """Add ``--json``, ``--quiet`` and ``--verbose``, set up the log and pass an `Output` first."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    @click.option("-q", "--quiet", is_flag=True, help="No progress and no notes, only warnings and errors.")
    @click.option("-v", "--verbose", count=True, help="Log more on standard error; twice for everything.")
    @functools.wraps(function)
    def with_output(*, as_json: bool, quiet: bool, verbose: int, **rest: object) -> int | None:
        from archiver.cli import logs  # noqa: PLC0415 - structlog is needed only once a command really starts

        logs.set_up(quiet=quiet, verbosity=verbose)
        return function(Output(as_json=as_json, quiet=quiet), **rest)

    return with_output


def config_options(function: _Command) -> _Command:
    """Add ``--config`` to what `output_options` adds, and pass an `Invocation` first."""

    @click.option(
        "--config",
        "config_path",
        envvar="ARCHIVER_CONFIG",
        default=CONFIG_FILE,
        show_default=True,
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="The configuration file.",
    )
    @functools.wraps(function)
    def with_config(output: Output, *, config_path: Path, **rest: object) -> int | None:
        return function(Invocation(config_path=config_path, output=output), **rest)

    return output_options(with_config)


def examples(*commands: str) -> str:
    """Return a help epilog that shows these command lines; every one is run or parsed by the tests."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
