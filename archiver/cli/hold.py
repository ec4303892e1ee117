"""`archiver hold`: keep what a court or a regulator may ask for, whatever the retention policy says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli.hold_words import hold_document, in_words, scope_document, show_survey, warn
from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.scope_options import (
    channel_option,
    conversation_option,
    custodian_option,
    from_option,
    search_option,
    until_option,
    zone_option,
)
from archiver.errors import EXIT_GAPS, ArchiveBusyError, ArchiverError, UsageError

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.retention.held_objects import Progress
    from archiver.retention.holds import Placement, Registrar
    from archiver.retention.mirror import Mirrored
    from archiver.settings import Settings

# Marking is a few requests for each object, and waits for answers alone.
THREADS = 8


@click.group(
    epilog=examples(
        'archiver hold place smith-v-acme --custodian ann@acme.com --reason "Smith v. Acme, matter 2026-17"',
        "archiver hold show smith-v-acme --json",
        'archiver hold release smith-v-acme --reason "settled on 2027-03-01"',
    ),
    short_help="Place and release legal holds, and see what they cover.",
)
def command() -> None:
    """Place and release legal holds: what a hold covers stays, whatever the retention policy says, until it is released.

    A hold covers what meets all of its parts (custodians, chats, dates, search); of the values within a part one is enough.
    It covers what arrives later too. Placing and releasing are entries of the ledger, with who, when and why.
    """


@command.command(
    "place",
    epilog=examples(
        'archiver hold place smith-v-acme --custodian ann@acme.com --custodian u:bob --reason "matter 2026-17"',
        'archiver hold place merger --channel "deal-*" --from 2026-01-01 --until 2026-06-30 --zone Europe/Berlin --reason "matter 9"',
        'archiver hold place audit --everything --reason "inquiry of 2026-11-20"',
        "archiver hold place --file holds.yaml",
    ),
)
@click.argument("name", required=False)
@custodian_option
@channel_option
@conversation_option
@from_option
@until_option
@zone_option
@search_option
@click.option("--everything", is_flag=True, help="All there is and all that comes; instead of a scope.")
@click.option("--reason", metavar="TEXT", help="Why; it stays in the ledger.")
@click.option("--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="Several holds, in a YAML file.")
@config_options
def place(
    invocation: Invocation,
    *,
    name: str | None,
    custodians: tuple[str, ...],
    channels: tuple[str, ...],
    conversations: tuple[str, ...],
    first_on: date | None,
    last_on: date | None,
    zone: str,
    expression: str | None,
    everything: bool,
    reason: str | None,
    file: Path | None,
) -> int | None:
    """Place the legal hold NAME, or those of a file, from now on until they are released.

    A custodian stands for what they sent (also by a bot on their behalf), what was sent to them directly (one-to-one chats, and
    messages that only they and few others could see), and the channels they were in, while they were in them, as far as the
    directory was seen.

    Names and addresses are looked up anew each time, so that what comes later is covered. What the archive does not know is said,
    with exit code 3; the hold is placed all the same. Placing the same hold again adds nothing. A name that is in use for
    something else is refused (5). Nothing waits for a run that is under way.
    """
    from archiver import wiring_holds  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.archive.ledger import HoldScope  # noqa: PLC0415 - as above
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.retention import holds  # noqa: PLC0415 - as above
    from archiver.retention.hold_file import read_holds  # noqa: PLC0415 - as above
    from archiver.scope.days import days_in_zone  # noqa: PLC0415 - as above

    if file is not None:
        given = (name, custodians, channels, conversations, first_on, last_on, expression, everything, reason)
        if any(given):
            raise UsageError("--file says what to hold, so nothing else can", next_step="write it into the file")
        asked = read_holds(file)
    else:
        if name is None:
            raise UsageError("a hold needs a name", next_step="see `archiver hold place --help`")
        from_at_ms, until_ms = days_in_zone(first_on, last_on, zone=zone)
        scope = HoldScope(
            custodians=custodians,
            chats=(*channels, *conversations),
            from_at_ms=from_at_ms,
            until_ms=until_ms,
            expression=expression,
            zone=zone,
        )
        asked = [holds.checked(holds.Placement(name, scope, reason or "", everything))]
    settings = invocation.settings()
    return _place(invocation, settings, wiring_holds.registrar(settings, clock=SystemClock()), asked)


def _place(invocation: Invocation, settings: Settings, registrar: Registrar, asked: Sequence[Placement]) -> int | None:
    from archiver.retention import holds  # noqa: PLC0415 - heavy, and --help needs none of it
    from archiver.retention.coverage import read_coverage  # noqa: PLC0415 - as above

    head = registrar.archive.head()
    for one in asked:  # so that a file is entered whole or not at all, as far as it can be told beforehand
        holds.is_in_force(head, one)
    placed = [holds.place(registrar, one) for one in asked]
    names = {one.name for one in placed}
    doubts = [
        doubt
        for doubt in read_coverage(registrar.archive.store, registrar.archive.head(head)).doubts
        if doubt.hold in names
    ]
    marks, exit_code = _mirror_at_once(invocation, settings)
    exit_code = exit_code or (EXIT_GAPS if doubts else 0)
    document = {
        "holds": [
            {
                **hold_document(one.name, one.hold),
                "is_new": one.is_new,
                "doubts": [asdict(doubt) for doubt in doubts if doubt.hold == one.name],
            }
            for one in placed
        ],
        "mirror": marks,
        "exit_code": exit_code,
    }

    def show(output: Output) -> None:
        for one in placed:
            how = (
                "is placed"
                if one.is_new
                else f"was in force already, and nothing was added; it was placed by {one.hold.actor}"
            )
            output.line(f"the hold {one.name} {how}, in entry {one.hold.sequence} of {one.hold.placed_at}")
            output.line(f"  covers {in_words(one.hold.scope)}")

    invocation.output.result(document, show=show)
    warn(invocation.output, doubts)
    return exit_code or None


@command.command(
    "release",
    epilog=examples('archiver hold release smith-v-acme --reason "settled on 2027-03-01"'),
)
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays in the ledger.")
@config_options
def release(invocation: Invocation, *, name: str, reason: str) -> int | None:
    """Release the legal hold NAME. Nothing is removed by this: what it covered goes back to the rules of the policy.

    What fell due meanwhile may leave with the next plan that is applied. A name that no hold in force has is a mistake (2).
    """
    from archiver import wiring_holds  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.retention import holds  # noqa: PLC0415 - as above

    settings = invocation.settings()
    registrar = wiring_holds.registrar(settings, clock=SystemClock())
    released = holds.release(registrar, name, reason=reason)
    marks, exit_code = _mirror_at_once(invocation, settings)
    document = {
        "hold": hold_document(name, released.hold),
        "released_in": released.sequence,
        "mirror": marks,
        "exit_code": exit_code,
    }
    line = f"the hold {name} is released, in entry {released.sequence}; what it covered goes back to the rules"
    invocation.output.result(document, show=lambda out: out.line(line))
    return exit_code or None


@command.command("sync", epilog=examples("archiver hold sync", "archiver hold sync --json"))
@config_options
def sync(invocation: Invocation) -> int | None:
    """Bring the store's own legal holds in step with the ledger: mark all that is held, lift our marks from all that is not.

    For an archive in a bucket with S3 Object Lock, where `holds.mirror` is set. Every object that is held is looked at again, so
    that a mark which somebody lifted is set anew; a mark that somebody else set is told and never lifted. Runs do the same for
    what they add. The rights that it takes are named in the guide to holds.
    """
    settings = invocation.settings()
    if not settings.holds.mirror:
        raise UsageError(
            "holds are not mirrored to the store: `holds.mirror` is not set",
            next_step="set `holds: {mirror: true}` in archiver.yaml, for an archive in a bucket with Object Lock",
        )
    done = _mirror(invocation, settings)
    line = (
        f"{done.objects} objects are held in the store: {done.marked} newly marked, {done.by_others} marked by others; "
        f"{done.lifted} marks lifted"
    )
    invocation.output.result({**asdict(done), "exit_code": 0}, show=lambda out: out.line(line))
    return None


def _mirror(invocation: Invocation, settings: Settings) -> Mirrored:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    from archiver import wiring_holds  # noqa: PLC0415 - as above
    from archiver.retention.mirror import mirror  # noqa: PLC0415 - as above

    with (
        wiring_holds.mirroring(settings) as archive,
        ThreadPoolExecutor(THREADS) as executor,
        _watched(invocation.output, "reading what is held") as progress,
    ):
        return mirror(archive, executor=executor, full=True, progress=progress)


def _mirror_at_once(invocation: Invocation, settings: Settings) -> tuple[dict[str, object] | None, int]:
    """Mirror what was just placed or released; return what came of it for programs, and the exit code.

    The hold is in force or released by now, so what the store refuses of this is told and hides nothing. A run that is under way
    marks what is held at its end; then, and where nothing is mirrored, there is nothing to tell.
    """
    if not settings.holds.mirror:
        return None, 0
    try:
        return asdict(_mirror(invocation, settings)), 0
    except ArchiveBusyError:
        invocation.output.warn("archiver: a run is under way; it brings the store's own legal holds in step at its end")
        return None, 0
    except ArchiverError as error:
        invocation.output.warn(
            f"archiver: the ledger says so now, but the store's own legal holds are not in step: {error}"
        )
        return {"error": {"what": error.what, "next_step": error.next_step}}, error.exit_code


@command.command("list", epilog=examples("archiver hold list", "archiver hold list --all --json"))
@click.option(
    "--all", "with_history", is_flag=True, help="Everything that was ever placed and released, from the ledger."
)
@config_options
def list_holds(invocation: Invocation, *, with_history: bool) -> int | None:
    """List the legal holds in force: what each covers, since when, by whom and why."""
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.retention.holds import history  # noqa: PLC0415 - as above

    archive = wiring.open_archive(invocation.settings())
    head = archive.head()
    events = list(history(archive)) if with_history else []
    document: dict[str, Any] = {
        "archive": archive.store.url,
        "sequence": head.sequence,
        "holds": [hold_document(name, hold) for name, hold in sorted(head.holds.items())],
    }
    if with_history:
        document["history"] = [
            {**asdict(event), "scope": None if event.scope is None else scope_document(event.scope)} for event in events
        ]

    def show(output: Output) -> None:
        if not head.holds:
            output.line("no hold is in force")
        else:
            output.table(
                ["hold", "covers", "placed at", "by", "reason"],
                [
                    (name, in_words(hold.scope), hold.placed_at, hold.actor, hold.reason)
                    for name, hold in sorted(head.holds.items())
                ],
            )
        if with_history:
            output.table(
                ["entry", "at", "by", "what", "hold", "reason"],
                [(event.sequence, event.at, event.actor, event.action, event.name, event.reason) for event in events],
            )

    invocation.output.result(document, show=show)
    return None


@command.command("show", epilog=examples("archiver hold show smith-v-acme", "archiver hold show smith-v-acme --json"))
@click.argument("name")
@config_options
def show(invocation: Invocation, *, name: str) -> int | None:
    """Show what the legal hold NAME covers now: messages, versions, files and bytes, by chat, from the first day to the last.

    It reads what the hold may cover, which takes a while in a large archive. Days are those of UTC. Exit code 3 says that part of
    the hold's words name nobody or nothing that the archive knows.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    from archiver import wiring  # noqa: PLC0415 - as above
    from archiver.retention.coverage import Coverage  # noqa: PLC0415 - as above
    from archiver.retention.holds import unknown_hold  # noqa: PLC0415 - as above
    from archiver.retention.survey import survey  # noqa: PLC0415 - as above
    from archiver.scope.membership import read_membership  # noqa: PLC0415 - as above

    archive = wiring.open_archive(invocation.settings())
    head = archive.head()
    if name not in head.holds:
        raise unknown_hold(archive, head, name)
    hold = head.holds[name]
    coverage = Coverage({name: hold}, read_membership(archive.store, head))
    with (
        ThreadPoolExecutor(THREADS) as executor,
        _watched(invocation.output, f"reading what {name} may cover") as progress,
    ):
        found = survey(archive.store, head, coverage, executor=executor, progress=progress)[name]
    document = {
        "archive": archive.store.url,
        "sequence": head.sequence,
        "hold": hold_document(name, hold),
        "covers": asdict(found),
        "doubts": [asdict(doubt) for doubt in coverage.doubts],
        "exit_code": EXIT_GAPS if coverage.doubts else 0,
    }
    invocation.output.result(document, show=lambda out: show_survey(out, name, hold, found))
    warn(invocation.output, coverage.doubts)
    return EXIT_GAPS if coverage.doubts else None


@contextmanager
def _watched(output: Output, what: str) -> Iterator[Progress]:
    with output.progress() as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
