"""The command line: the only floor that prints. `main` is the console script.

Each command lives in ``archiver/cli/<name>.py`` (or as `MODULES` says) as ``command``, and `SECTIONS` names it with the sentence that
``archiver --help`` shows, so that the help of the program imports nothing but click. A command takes its shared options from
`archiver.cli.options`, prints through `archiver.cli.output` and returns its exit code (or None for 0); errors end in
`archiver.cli.failures`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from archiver import __version__

PROGRAM = "archiver"

# In the order in which somebody new needs them, with the heading that `archiver --help` shows over each group.
SECTIONS: dict[str, dict[str, str]] = {
    "Begin": {
        "demo": "See a workspace captured, archived, queried and checked.",
        "init": "Write a commented archiver.yaml and a secrets folder.",
        "simulate": "A faithful Flock on this machine, to try things on.",
    },
    "Capture": {
        "listen": "Receive Flock's webhooks and events into the spool.",
        "run": "The nightly run: crawl, drain, fetch and commit.",
        "import": "Archive what somebody brings: uids, messages, a Slack export.",
        "webhooks": "Plan outgoing webhooks, and check which deliver.",
        "installs": "List and revoke the tokens by which Flock is asked.",
    },
    "See how it stands": {
        "status": "Show the archive's head, runs, counts and spool.",
        "gaps": "List what may be missing, and what to do about it.",
        "verify": "Check the archive against its ledger.",
    },
    "Keep, and let go": {
        "hold": "Place and release legal holds, and see what they cover.",
        "retention": "Keep messages as long as policies say, and no longer.",
    },
    "Find, and hand over": {
        "search": "Find messages by what was said, by whom, where and when.",
        "export": "Hand over what a matter asks for, and check a package.",
        "query": "Ask the archive in SQL.",
        "catalog": "Show the archive to DuckDB, Athena and Iceberg engines.",
    },
    "Bring back, and copy": {
        "restore": "Bring days, conversations or files back from the archive.",
        "clone": "Copy the whole archive elsewhere, and keep the copy up to date.",
        "promote": "Make a copy the archive, when the archive is lost.",
        "replay": "Post archived messages back into a channel of Flock.",
    },
}
COMMANDS: dict[str, str] = {name: sentence for section in SECTIONS.values() for name, sentence in section.items()}

# A module cannot be called by a word of Python.
MODULES: dict[str, str] = {"import": "import_"}

_EPILOG = """\b
Examples:
  archiver demo
  archiver run --config archiver.yaml
  archiver search 'merger from:ann@acme.com'
  archiver query "SELECT count(*) FROM messages"

\b
Exit codes:
  0 done                     4 verification found damage
  1 a bug (traceback)        5 refused, as when another run holds the archive
  2 wrong usage or config    6 Flock unreachable or token refused
  3 done, with gaps          7 store or spool unreachable or refusing
"""


class _LazyGroup(click.Group):
    """Commands by name; a command's module is imported when that command is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found = importlib.import_module(f"{__name__}.{MODULES.get(cmd_name, cmd_name)}").command
        if not isinstance(found, click.Command):
            raise TypeError(f"archiver.cli.{cmd_name}.command must be a click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        width = max(map(len, COMMANDS))
        for heading, section in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), sentence) for name, sentence in section.items()])


@click.group(cls=_LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
def _program() -> None:
    """Capture a Flock workspace, keep every version of it, query and check it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code; ``arguments`` are the words after its name, by default those of the process."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        outcome = _program.main(words, prog_name=PROGRAM, standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes a message and an exit code
        from archiver.cli import failures  # noqa: PLC0415 - what only a failure needs is imported only then

        return failures.report(error, wants_json="--json" in words)
    return outcome if isinstance(outcome, int) else 0
