"""`archiver export`: hand over what a matter asks for, as a package that the other side can check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from archiver.archive.memory import use_system_allocator
from archiver.cli.options import Invocation, config_options, examples, output_options
from archiver.cli.scope_options import (
    channel_option,
    conversation_option,
    custodian_option,
    days_asked,
    from_option,
    matter_option,
    search_option,
    until_option,
    zone_option,
)
from archiver.errors import EXIT_DAMAGE, EXIT_GAPS, UsageError

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.discovery.checks.package import Checked
    from archiver.discovery.export.gathering import Progress
    from archiver.discovery.export.opened import Wanted
    from archiver.discovery.export.package import Made
    from archiver.discovery.export.preview import Preview

FORMAT_NAMES: Final = ("html", "rsmf", "eml", "dat", "edrm", "csv", "jsonl", "parquet", "slack")
DEFAULT_FORMATS: Final = ("html", "jsonl")
GAPS_SHOWN_MAX: Final = 20
FINDINGS_SHOWN_MAX: Final = 100
VOLUME_BYTES_MIN: Final = 1_000_000

_SIZE: Final = re.compile(r"(?P<number>[0-9]{1,12}) *(?P<unit>[kmgt]?)i?b?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class _MakeFirst(click.Group):
    """A group whose first command needs not be named: ``archiver export --matter …`` makes an export."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Some options are checked by what imports pyarrow.
        use_system_allocator()
        if not args or args[0] not in self.commands:
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_MakeFirst,
    epilog=examples(
        "archiver export --matter smith-v-acme --custodian ann@acme.com --format rsmf --to smith-v-acme",
        "archiver export check smith-v-acme",
    ),
    short_help="Hand over what a matter asks for, and check a package.",
)
def command() -> None:
    """Hand over what a matter asks for, as a package that the other side can check, and check one."""


@command.command(
    "make",
    epilog=examples(
        "archiver export --matter smith-v-acme --custodian ann@acme.com --preview",
        'archiver export --matter smith-v-acme --search "merger OR \\"price list\\"" --context 20msgs --format rsmf --to smith',
        'archiver export --matter audit --channel "deal-*" --from 2026-01-01 --until 2026-06-30 --format html --format csv --to audit',
        "archiver export --matter audit --custodian u:bob --redact redact.yaml --format dat --to s3://legal/audit",
        "archiver export check smith",
    ),
)
@matter_option
@custodian_option
@channel_option
@conversation_option
@from_option
@until_option
@zone_option
@search_option
@click.option("--context", metavar="AMOUNT", help="What stands around each hit: 12h, or 20msgs before and after it.")
@click.option(
    "--versions", type=click.Choice(["all", "last"]), default="all", show_default=True, help="Of edited messages."
)
@click.option("--files/--no-files", "with_files", default=True, show_default=True, help="The files of messages too.")
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMAT_NAMES),
    help="May be repeated: one package has any number.  [default: html and jsonl]",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Of one format: eml=message, a mail of each message; dat-bom=no, no byte order mark. May be repeated.",
)
@click.option(
    "--redact",
    "redaction",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A YAML file of words, patterns and people to make black.",
)
@click.option(
    "--volume-size", metavar="SIZE", help="Begin another volume, a package of its own, at about this size: 2GB."
)
@click.option("--to", metavar="PLACE", help="A new folder, or s3://bucket/prefix.")
@click.option(
    "--head", "sequence", type=click.IntRange(min=1), help="As of this entry of the ledger.  [default: the newest]"
)
@click.option("--no-index", "no_index", is_flag=True, help="Read every message; slower, and finds the same.")
@click.option("--preview", is_flag=True, help="Count what would be in it, and write nothing.")
@config_options
def make(
    invocation: Invocation,
    *,
    matter: str | None,
    to: str | None,
    sequence: int | None,
    no_index: bool,
    preview: bool,
    **asked: Any,
) -> int | None:
    """Hand over what a matter asks for: one package, in any number of forms, that a receiver can check without us.

    It has what meets all of the parts that are given (custodians, channels, days, search); of the values within a part one is
    enough, and it means the same as in `archiver hold place`. With no part it is everything. What was not captured is said in
    the package: placeholders for files, gaps, messages that Flock no longer returns.

    The same archive and the same options give the same bytes. An export that was interrupted goes on when the same command is
    given again. When it is whole it is entered in the ledger, once; --preview is not. Exit code 3: done, and something is
    missing or may be. `archiver export check PACKAGE` checks a package.
    """
    from archiver import wiring_export, wiring_search  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as above
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.discovery.export import verb  # noqa: PLC0415 - as above
    from archiver.discovery.export.opened import open_export  # noqa: PLC0415 - as above
    from archiver.discovery.export.preview import preview as foresee  # noqa: PLC0415 - as above

    wanted = _wanted(matter, **asked)
    if not preview and to is None:
        raise UsageError(
            "nothing says where the export goes", next_step="give --to a new folder, or --preview to count first"
        )
    settings = invocation.settings()
    with wiring_export.exporting(settings, clock=SystemClock()) as parts:
        archive, output = parts.archive, invocation.output
        likely = None
        if wanted.asked.scope.expression is not None and not no_index:
            likely = wiring_search.likely_days(settings, archive, executor=parts.executor, warn=output.warn)
        with _watched(output) as progress:
            if preview:
                head = archive.head() if sequence is None else archive.head_at(sequence)
                opened = open_export(archive, head, wanted, executor=parts.executor, likely=likely)
                foreseen = foresee(opened, progress=progress)
            else:
                assert to is not None
                refuse_copy(archive.store)  # which would find it only once the package is made and is to be entered
                target = wiring_export.open_target(settings, to, folder=parts.folder)
                made, head = verb.make(
                    archive,
                    wanted,
                    target,
                    folder=parts.folder,
                    software=parts.software,
                    sequence=sequence,
                    executor=parts.executor,
                    replies=parts.replies,
                    likely=likely,
                    progress=progress,
                    in_two=parts.in_two,
                )
        if preview:
            return _show_preview(invocation.output, wanted, foreseen, head.sequence)
        if made is None:
            return _show_nothing(invocation.output, wanted, head.sequence)
        is_entered = verb.record(archive, wanted, made, head, author=parts.author, now_ms=parts.now_ms)
        return _show_made(invocation.output, wanted, made, head.sequence, place=target.url, is_entered=is_entered)


@command.command(
    "check", epilog=examples("archiver export check smith-v-acme", "archiver export check smith-v-acme --json")
)
@click.argument("package", type=click.Path())
@output_options
def check(output: Output, *, package: str) -> int | None:
    """Check the package in the folder PACKAGE, with nothing but the package.

    Every file is held against the manifests, the numbers of the report against each other, and each form is read back by a
    checker that knows only its format. Exit code 4 if anything is not as it should be. It does not tell whether this is the
    package that was sent: compare the SHA-256 that it prints with the one that the sender told, or that the ledger has.
    """
    from archiver.discovery.checks.package import check_package  # noqa: PLC0415 - heavy, and --help needs none of it

    if "://" in package:
        raise UsageError(
            f"{package} is in a bucket, and a package is checked in a folder of this machine",
            next_step="copy it here, as with `aws s3 cp --recursive`, and name the folder",
        )
    folder = Path(package)
    with output.progress() as bars:
        task = bars.add_task("checking", total=None)
        found = check_package(folder, progress=lambda what: bars.update(task, description=f"checking {what}"))
    return _show_checked(output, folder, found)


def _wanted(
    matter: str | None,
    *,
    custodians: tuple[str, ...],
    channels: tuple[str, ...],
    conversations: tuple[str, ...],
    first_on: date | None,
    last_on: date | None,
    zone: str,
    expression: str | None,
    context: str | None,
    versions: Any,
    with_files: bool,
    formats: tuple[str, ...],
    options: tuple[str, ...],
    redaction: Path | None,
    volume_size: str | None,
) -> Wanted:
    """Return what the options ask for; raises `UsageError` for what no export can be."""
    from archiver.archive.ledger import HoldScope  # noqa: PLC0415 - as above
    from archiver.discovery.export.asked import Asked, parse_context  # noqa: PLC0415 - as above
    from archiver.discovery.export.format_options import parse_options  # noqa: PLC0415 - as above
    from archiver.discovery.export.opened import Wanted  # noqa: PLC0415 - as above
    from archiver.scope.days import days_in_zone, zone_called  # noqa: PLC0415 - as above

    if matter is None:
        raise UsageError("an export is made for a matter", next_step="give --matter a name, such as smith-v-acme")
    from_at_ms, until_ms = days_in_zone(*days_asked(None, first_on, last_on), zone=zone)
    scope = HoldScope(
        custodians=tuple(sorted({text.strip() for text in custodians})),
        chats=tuple(sorted({text.strip() for text in (*channels, *conversations)})),
        from_at_ms=from_at_ms,
        until_ms=until_ms,
        expression=None if expression is None else expression.strip(),
        zone=None if expression is None else zone,
    )
    asked = Asked(
        matter=matter,
        scope=scope,
        zone=zone_called(zone),
        context=None if context is None else parse_context(context),
        versions=versions,
        with_files=with_files,
    )
    chosen = formats or DEFAULT_FORMATS
    return Wanted(
        asked=asked,
        formats=tuple(name for name in FORMAT_NAMES if name in chosen),
        redaction=redaction,
        volume_bytes=None if volume_size is None else _size(volume_size),
        options=parse_options(options, chosen),
    )


def _show_preview(output: Output, wanted: Wanted, foreseen: Preview, sequence: int) -> int | None:
    from archiver.cli.export_words import preview_document, show_preview  # noqa: PLC0415 - as above

    has_gaps = bool(foreseen.total("files_missing") or foreseen.gaps)
    document = preview_document(wanted, foreseen, sequence, exit_code=EXIT_GAPS if has_gaps else 0)
    output.result(document, show=lambda out: show_preview(out, wanted, foreseen))
    return EXIT_GAPS if has_gaps else None


def _show_nothing(output: Output, wanted: Wanted, sequence: int) -> int | None:
    document = {
        "matter": wanted.asked.matter,
        "sequence": sequence,
        "package": None,
        "totals": {"messages": 0},
        "exit_code": 0,
    }
    output.result(
        document,
        show=lambda out: out.line(
            "No message of the archive meets this: nothing was written, and nothing was entered in the ledger."
        ),
    )
    return None


def _show_made(
    output: Output, wanted: Wanted, made: Made, sequence: int, *, place: str, is_entered: bool
) -> int | None:
    from archiver.cli.export_words import made_document, show_made  # noqa: PLC0415 - as above

    has_gaps = bool(made.totals["files_missing"] or any(report["missing"]["gaps"] for report in made.reports))
    code = EXIT_GAPS if has_gaps else 0
    document = made_document(wanted, made, sequence, place=place, is_entered=is_entered, exit_code=code)
    output.result(document, show=lambda out: show_made(out, wanted, made, place=place, is_entered=is_entered))
    return EXIT_GAPS if has_gaps else None


def _show_checked(output: Output, package: Path, found: Checked) -> int | None:
    from archiver.cli.export_words import checked_document, show_checked  # noqa: PLC0415 - as above

    code = EXIT_DAMAGE if found.findings else 0
    output.result(checked_document(package, found, exit_code=code), show=lambda out: show_checked(out, package, found))
    return code or None


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    size = int(found["number"]) * _UNITS[found["unit"].lower()] if found else 0
    if size < VOLUME_BYTES_MIN:
        raise UsageError(f"--volume-size {text!r} is no size", next_step="write 2GB or 700MB; at least 1MB")
    return size


@contextmanager
def _watched(output: Output) -> Iterator[Progress]:
    with output.progress() as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield tell
