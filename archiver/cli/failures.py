"""What a person and a program are told when a command fails, and with which exit code (the table of `archiver.errors`)."""

from __future__ import annotations

import sys
import traceback

import click

from archiver.cli.output import Output, print_error, to_json
from archiver.cli.redact import redact
from archiver.errors import EXIT_BUG, EXIT_USAGE, ArchiverError

# 128 + SIGINT, as a shell reports it.
EXIT_INTERRUPTED = 130


def report(error: BaseException, *, wants_json: bool) -> int:
    """Tell what went wrong on standard error, with ``--json`` also as a document on standard output; return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else EXIT_BUG
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        print_error("archiver: interrupted; what was committed stays, and the same command does the rest")
        return EXIT_INTERRUPTED
    kind, what, next_step, exit_code = _facts(error)
    if exit_code == EXIT_BUG:
        print_error("".join(traceback.format_exception(error)).rstrip())
    print_error(f"archiver: {what}")
    if next_step:
        print_error(f"  Next: {next_step}")
    if wants_json:
        document = {"kind": kind, "what": redact(what), "next_step": redact(next_step), "exit_code": exit_code}
        _write_document({"error": document})
    return exit_code


def _facts(error: BaseException) -> tuple[str, str, str, int]:
    if isinstance(error, ArchiverError):
        return type(error).__name__.removesuffix("Error"), error.what, error.next_step, error.exit_code
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"see `{context.command_path} --help`" if context else "see `archiver --help`"
        return "Usage", error.format_message(), hint, EXIT_USAGE
    what = f"this is a bug in the archiver: {type(error).__name__}: {error}"
    return "Bug", what, "report it with the traceback above; nothing that was committed is lost", EXIT_BUG


def _write_document(document: dict[str, object]) -> None:
    try:
        Output(as_json=True).write(to_json(document) + b"\n")
    except (click.exceptions.Exit, OSError, ValueError):
        sys.stderr.flush()
