"""`archiver import`: what somebody brings goes into the archive, after a look at what it would do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from archiver.cli import publishing
from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.clock import DAY_MS, SystemClock, day_of
from archiver.errors import EXIT_DONE, EXIT_GAPS, RefusedError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from archiver.capture.imports.records import Source
    from archiver.capture.imports.survey import Survey
    from archiver.run.import_compare import Comparison
    from archiver.run.imports import ImportResult
    from archiver.settings import Settings

ERRORS_SHOWN_MAX = 20
_NAMES_SHOWN_MAX = 10
_LIST_FORMATS = ("lines", "csv", "jsonl")

_Open = Callable[[], "AbstractContextManager[Source]"]
_Command = Callable[..., int | None]


@click.group(
    epilog=examples(
        "archiver import uids chosen.txt --chat g:0123456789abcdef",
        "archiver import messages old-chat.jsonl.gz --mapping mapping.yaml",
        "archiver import slack export.zip --apply --json",
    ),
    short_help="Archive what somebody brings: uids, messages, a Slack export.",
)
def command() -> None:
    """Archive what somebody brings: lists of uids, JSON lines or CSV through a mapping, a Slack export.

    Without --apply a file is only looked through: how much is in it, how much of it is new, and what cannot be read. Nothing is
    written to the archive then. A file that is imported twice adds nothing the second time; one that was stopped goes on.
    """


def _import_options(function: _Command) -> _Command:
    """Add ``--apply`` and ``--accept-errors`` to the shared options."""
    accept_errors = click.option(
        "--accept-errors",
        is_flag=True,
        help="With --apply: go on although records cannot be read; they are kept with the reason.",
    )
    apply = click.option("--apply", "applies", is_flag=True, help="Archive it; without this it is only looked through.")
    return config_options(apply(accept_errors(function)))


@command.command(
    "uids",
    epilog=examples(
        "archiver import uids chosen.txt --chat g:0123456789abcdef",
        "archiver import uids chosen.txt --chat u:aaaabbbbccccdddd --as u:eeeeffff00001111 --apply",
        "archiver import uids chosen.csv --apply",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--chat", help="The chat of uids that name none: a channel, two users with a comma, or the other side of --as."
)
@click.option("--as", "user_id", metavar="USER", help="The user as whom to ask, where a uid names none.")
@click.option(
    "--format", "form", type=click.Choice(_LIST_FORMATS), help="By default .csv and .jsonl tell, else one uid a line."
)
@_import_options
def import_uids(
    invocation: Invocation,
    *,
    file: Path,
    chat: str | None,
    user_id: str | None,
    form: Literal["lines", "csv", "jsonl"] | None,
    applies: bool,
    accept_errors: bool,
) -> int | None:
    """Note the uids in FILE as wanted, so that the next `archiver run` fetches and archives their messages.

    One uid a line with --chat, or CSV with the columns chat, uid and maybe as, or JSON lines with these fields. Any chat, also a
    one-to-one chat, and any age, as far as Flock still shows the message to somebody whose token we have.
    """
    from archiver import wiring_imports  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    chosen = form or _format_of(file)
    return _import(
        invocation,
        lambda: wiring_imports.uid_list(file, form=chosen, chat=chat, user_id=user_id),
        applies=applies,
        accept_errors=accept_errors,
    )


@command.command(
    "messages",
    epilog=examples(
        "archiver import messages old-chat.jsonl.gz --mapping mapping.yaml",
        "archiver import messages old-chat.csv --mapping mapping.yaml --apply --accept-errors",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--mapping", required=True, type=click.Path(path_type=Path), help="Which field is what, in YAML.")
@_import_options
def import_messages(
    invocation: Invocation, *, file: Path, mapping: Path, applies: bool, accept_errors: bool
) -> int | None:
    """Archive the messages in FILE: JSON lines or CSV, as the mapping says, packed with gzip or not.

    docs/import.md explains the mapping; `archiver import schema` prints its keys.
    """
    from archiver import wiring_imports  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    return _import(
        invocation, lambda: wiring_imports.mapped_file(file, mapping), applies=applies, accept_errors=accept_errors
    )


@command.command(
    "slack",
    epilog=examples("archiver import slack export.zip", "archiver import slack export.zip --apply --json"),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--team", help="What stands for the workspace in all ids; by default its id, which users.json has.")
@_import_options
def import_slack(
    invocation: Invocation, *, file: Path, team: str | None, applies: bool, accept_errors: bool
) -> int | None:
    """Archive a Slack export: its people, channels and messages. The zip is read as it is; nothing is unpacked.

    Files are fetched only from hosts that files.hosts_allowed names; set that before, because a refused host is final.
    """
    from archiver import wiring_imports  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    return _import(
        invocation, lambda: wiring_imports.slack_export(file, team=team), applies=applies, accept_errors=accept_errors
    )


@command.command("schema", epilog=examples("archiver import schema"))
def print_schema() -> int | None:
    """Print the JSON Schema of a mapping, for editors."""
    from archiver.settings.mapping import mapping_schema_text  # noqa: PLC0415 - as above

    Output().write(mapping_schema_text().encode())
    return None


def _format_of(file: Path) -> Literal["lines", "csv", "jsonl"]:
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    last = suffixes[-1] if suffixes else ""
    return "csv" if last == ".csv" else "jsonl" if last in (".jsonl", ".ndjson") else "lines"


def _import(invocation: Invocation, open_source: _Open, *, applies: bool, accept_errors: bool) -> int | None:
    settings = invocation.settings()
    with open_source() as source:
        if applies:
            return _apply(invocation, settings, source, accept_errors=accept_errors)
        return _look_through(invocation, settings, source)


def _look_through(invocation: Invocation, settings: Settings, source: Source) -> int:
    from archiver import wiring, wiring_imports  # noqa: PLC0415 - as above
    from archiver.capture.imports.survey import survey  # noqa: PLC0415 - as above
    from archiver.run.import_compare import compare  # noqa: PLC0415 - as above
    from archiver.run.imports import place_of  # noqa: PLC0415 - as above

    store = wiring.open_store(settings)
    head = wiring_imports.head_if_any(store)
    now_ms = SystemClock().now_ms()
    place = place_of(head, source, now_ms=now_ms)
    with _progress(invocation.output, "looking through") as progress:
        found = survey(source, progress=progress)
    with _progress(invocation.output, "comparing", total=found.records) as progress:
        compared = compare(source, store=store, head=head, now_ms=now_ms, progress=progress)
    exit_code = EXIT_GAPS if found.bad and not place.is_done else EXIT_DONE
    document = {
        "file": source.file,
        "reading": source.reading,
        "applied": False,
        "imported_before": place.is_done,
        "found": _found_document(found),
        "compared": compared,
        "errors": _errors_document(found),
        "exit_code": exit_code,
    }

    def show(output: Output) -> None:
        _show_found(output, source, found)
        _show_compared(output, found, compared)
        _show_errors(output, found)
        if place.is_done:
            output.line("This file was imported before, in the same way: importing it again adds nothing.")
            return
        if place.items:
            output.line(f"An import of this file stopped after {place.items} records; --apply goes on there.")
        accepting = " --accept-errors" if found.bad else ""
        output.line(f"Nothing was written. To archive it, say the same with --apply{accepting}.")

    invocation.output.result(document, show=show)
    return exit_code


def _apply(invocation: Invocation, settings: Settings, source: Source, *, accept_errors: bool) -> int:
    from archiver import wiring  # noqa: PLC0415 - as above
    from archiver.capture.imports.survey import survey  # noqa: PLC0415 - as above
    from archiver.run import imports  # noqa: PLC0415 - as above
    from archiver.run.lock import hold  # noqa: PLC0415 - as above

    secrets = invocation.secrets(settings)
    limits = wiring.limits(settings, minutes_max=None)
    with hold(settings.state), wiring.run_ports(settings, secrets) as ports:
        session = imports.open_session(ports, author=wiring.author(settings, clock=ports.clock), limits=limits)
        place = imports.place_of(session.head, source, now_ms=ports.clock.now_ms())
        with _progress(invocation.output, "looking through") as progress:
            found = survey(source, progress=progress)
        if found.bad and not accept_errors and not place.is_done:
            _warn_of_errors(invocation.output, found)
            raise RefusedError(
                f"{found.bad} of {found.records} records of {source.file.name} cannot be read; nothing was archived",
                next_step="correct the file or the mapping, or say --accept-errors: they are kept then, with the reason",
            )
        with _progress(invocation.output, "archiving", total=found.records) as progress:
            result = imports.bring(session, source, found, place, progress=progress)
        with invocation.output.progress() as bars:
            task = bars.add_task("publishing", total=None)
            published = publishing.publish(
                settings, ports.archive, session.head, step=lambda what: bars.update(task, description=what)
            )
    document = {
        "file": source.file,
        "reading": source.reading,
        "applied": True,
        "imported_before": place.is_done,
        "found": _found_document(found),
        "added": result.counts,
        "commits": result.commits,
        "head": {"sequence": result.sequence, "digest": result.digest},
        "gaps": result.gaps,
        "errors": _errors_document(found),
        "published": published.document,
        "exit_code": result.exit_code,
    }

    def show(output: Output) -> None:
        _show_result(output, source, found, result, before=place.is_done)
        published.show(output)

    invocation.output.result(document, show=show)
    published.tell(invocation.output)
    return result.exit_code


@contextlib.contextmanager
def _progress(output: Output, what: str, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
    with output.progress() as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.update(task, completed=done)


def _found_document(found: Survey) -> dict[str, Any]:
    days = sorted(found.by_day)
    return {
        "records": found.records,
        "messages": found.messages,
        "wanted_uids": found.wanted,
        "noted": found.noted,
        "unreadable": found.bad,
        "without_text": found.without_text,
        "chats": found.chats,
        "people": found.people,
        "files": found.files,
        "days": len(days),
        "first_day": day_of(days[0] * DAY_MS).isoformat() if days else None,
        "last_day": day_of(days[-1] * DAY_MS).isoformat() if days else None,
        "fields_never_seen": found.tally.unseen_fields,
        "not_read": found.tally.not_read,
    }


def _errors_document(found: Survey) -> list[dict[str, str]]:
    return [{"place": record.place, "error": record.error} for record in found.errors]


def _show_found(output: Output, source: Source, found: Survey) -> None:
    document = _found_document(found)
    facts: dict[str, object] = {"file": source.file.name, "sha256": source.file.sha256, "bytes": source.file.bytes}
    facts |= {
        name.replace("_", " "): value
        for name, value in document.items()
        if value not in (None, 0, ()) and name not in ("fields_never_seen", "not_read", "first_day", "last_day")
    }
    output.facts(facts)
    if document["first_day"]:
        output.line(f"from {document['first_day']} to {document['last_day']} (UTC)")
    if found.tally.unseen_fields:
        output.line(f"No record has {', '.join(found.tally.unseen_fields)}, which the mapping names.")
    if found.tally.not_read:
        named = ", ".join(found.tally.not_read[:_NAMES_SHOWN_MAX])
        output.line(f"{len(found.tally.not_read)} parts of the file are not read: {named}")


def _show_compared(output: Output, found: Survey, compared: Comparison) -> None:
    rows: list[tuple[str, int]] = []
    if found.messages:
        rows += [
            ("new messages", compared.new),
            ("new versions of known messages", compared.new_versions),
            ("known, in other bytes", compared.other_bytes),
            ("archived already", compared.duplicates),
            ("repeated in the file", compared.repeated),
        ]
    if found.wanted:
        rows += [
            ("uids to fetch", compared.wanted_new),
            ("uids archived already", compared.wanted_archived),
        ]
    output.table(["an import would find", "count"], rows)


def _show_errors(output: Output, found: Survey) -> None:
    if not found.bad:
        return
    shown = found.errors[:ERRORS_SHOWN_MAX]
    output.table(["where", "why it cannot be read"], [(record.place, record.error) for record in shown])
    if found.bad > len(shown):
        output.line(f"… and {found.bad - len(shown)} more; --json names the first {len(found.errors)}.")


def _warn_of_errors(output: Output, found: Survey) -> None:
    for record in found.errors[:ERRORS_SHOWN_MAX]:
        output.warn(f"archiver: {record.place}: {record.error}")


def _show_result(output: Output, source: Source, found: Survey, result: ImportResult, *, before: bool) -> None:
    if before:
        output.line(f"{source.file.name} was imported before, in the same way; nothing was added.")
    else:
        _show_found(output, source, found)
        rows = [(name.replace("_", " "), count) for name, count in result.counts.items() if count]
        output.table(["what became of it", "count"], rows)
    if result.gaps:
        output.table(["gap", "count", "evidence"], [(gap.kind, gap.count, gap.evidence) for gap in result.gaps])
    commits = f"{result.commits} commit{'' if result.commits == 1 else 's'}" if result.commits else "nothing to commit"
    output.line(f"head {result.sequence}  {result.digest}  ({commits})")
