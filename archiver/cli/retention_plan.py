"""`archiver retention plan`: what would go, when and why; and what the commands beside it share."""

from __future__ import annotations

import os
import shlex
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.clock import to_text
from archiver.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from archiver.archive.reader import Archive
    from archiver.retention.locked import Locked
    from archiver.retention.plan_document import Plan, PlanHeader
    from archiver.retention.policy import Policy
    from archiver.settings import Settings

# A table is for eyes; the JSON document has every month.
RULES_SHOWN_MAX = 50
PROGRAM_DIGITS = 16
# A lock is asked for over the network, which is all waiting.
LOCKS_AT_ONCE = 8
# What holds the interpreter is little of the work, so each core has a thread.
THREADS = max(2, os.cpu_count() or 1)

POLICY_OPTION = click.option(
    "--policy",
    "policy_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The policy, instead of retention.policy.",
)
AS_OF_OPTION = click.option(
    "--as-of", metavar="DAY", help="What is due as of this day of the policy's zone; today by default."
)
HTML_OPTION = click.option(
    "--html",
    "html_path",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the plan as a page, too.",
)
STORE_OPTION = click.option(
    "--store/--no-store",
    "is_stored",
    default=True,
    show_default=True,
    help="Whether the plan is kept in the archive, to be applied.",
)


@click.command(
    "plan",
    epilog=examples(
        "archiver retention plan",
        "archiver retention plan --as-of 2027-01-01 --no-store",
        "archiver retention plan --html plan.html --json",
    ),
)
@AS_OF_OPTION
@POLICY_OPTION
@HTML_OPTION
@STORE_OPTION
@config_options
def plan(
    invocation: Invocation, *, as_of: str | None, policy_path: Path | None, html_path: Path | None, is_stored: bool
) -> int | None:
    """Show what the policy would remove: how many messages and files, by which rule, what holds keep, and what leaves in the next months.

    Nothing is removed. The plan is kept in the archive under its digest, which stands for exactly these items on exactly this state of
    the archive: it is what a person approves, and what `archiver retention apply` takes.
    """
    from archiver.retention.plan import plan_policy  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    settings, archive, policy, day, _ = opened(invocation, policy_path=policy_path, as_of=as_of)
    with working(invocation.output, "looking at days") as (executor, progress):
        found = plan_policy(archive, archive.head(), policy, as_of=day, executor=executor, progress=progress)
    finish(invocation, settings, archive, found, policy_path=policy_path, html_path=html_path, is_stored=is_stored)
    return None


def opened(
    invocation: Invocation, *, policy_path: Path | None, as_of: str | None
) -> tuple[Settings, Archive, Policy, date, Any]:
    """Return settings, archive, policy, the day that is meant in the policy's zone, and a clock."""
    from archiver import wiring  # noqa: PLC0415 - as above
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.retention.plan import today  # noqa: PLC0415 - as above
    from archiver.retention.policy_file import read_policy  # noqa: PLC0415 - as above

    settings, clock = invocation.settings(), SystemClock()
    policy = read_policy(policy_path or settings.retention.policy)
    day = today(clock.now_ms(), zone=policy.zone) if as_of is None else _day(as_of)
    return settings, wiring.open_archive(settings), policy, day, clock


@contextmanager
def working(output: Output, what: str) -> Iterator[tuple[ThreadPoolExecutor, Callable[[int, int], None]]]:
    """Return threads, and where progress is told."""
    from archiver.archive.memory import give_memory_back  # noqa: PLC0415 - as above

    give_memory_back()
    with ThreadPoolExecutor(THREADS) as executor, output.progress() as bars:
        task = bars.add_task(what, total=None)
        yield executor, lambda done, total: bars.update(task, completed=done, total=total)


def finish(
    invocation: Invocation,
    settings: Settings,
    archive: Archive,
    found: Plan,
    *,
    policy_path: Path | None,
    html_path: Path | None,
    is_stored: bool,
    further: dict[str, Any] | None = None,
    show_further: Callable[[Output], None] | None = None,
) -> None:
    """Store a plan, write its page, and print it."""
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as above
    from archiver.retention.locked import locks_of_plan  # noqa: PLC0415 - as above
    from archiver.retention.plan_document import store_plan  # noqa: PLC0415 - as above
    from archiver.retention.plan_page import PageFacts, plan_page  # noqa: PLC0415 - as above

    with ThreadPoolExecutor(LOCKS_AT_ONCE) as executor:
        locked = locks_of_plan(archive.store, archive.head(), found, executor=executor)
    if is_stored:
        refuse_copy(archive.store)
        store_plan(archive.store, found)
    if html_path is not None:
        page = plan_page(found, PageFacts(settings.workspace, archive.store.url, locked.sentence))
        try:
            html_path.write_text(page, "utf-8")
        except OSError as error:
            raise UsageError(
                f"{html_path} cannot be written: {error.strerror}", next_step="name another file"
            ) from None

    def show(output: Output) -> None:
        _show(output, found, locked, policy_path=policy_path, is_stored=is_stored)
        if show_further is not None:
            show_further(output)

    document = {
        **_document(found),
        "locked": locked_document(locked),
        "stored": is_stored,
        "html": html_path,
        **(further or {}),
    }
    invocation.output.result(document, show=show)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of {text!r} is no day", next_step="write it as 2026-11-27") from None


def _document(found: Plan) -> dict[str, Any]:
    from archiver.retention.plan import groups_of  # noqa: PLC0415 - as above
    from archiver.retention.plan_document import breakers_passed  # noqa: PLC0415 - as above

    header = found.header
    return {
        "digest": found.digest,
        "plan": msgspec.to_builtins(header),
        "by_rule_and_month": [
            {"rule": one.rule, "kind": one.kind, "month": one.month, "items": one.items, "bytes": one.bytes}
            for one in groups_of(found.items)
        ],
        "limits_passed": breakers_passed(header.limits, rows=header.rows, totals=header.totals),
    }


def locked_document(locked: Locked) -> dict[str, Any]:
    """Return what the store keeps locked of a plan, for JSON."""
    return {
        "looked_at": locked.looked_at,
        "objects": locked.objects,
        "until": None if locked.until_ms is None else to_text(locked.until_ms),
        "legal_holds": locked.legal_holds,
    }


def _show(output: Output, found: Plan, locked: Locked, *, policy_path: Path | None, is_stored: bool) -> None:
    from archiver.retention.certificate import counted  # noqa: PLC0415 - as above
    from archiver.retention.plan import groups_of  # noqa: PLC0415 - as above
    from archiver.retention.plan_document import breakers_passed  # noqa: PLC0415 - as above
    from archiver.retention.plan_page import day_of, limits_of, rules_of, weight  # noqa: PLC0415 - as above

    header = found.header
    output.facts(
        {
            "plan": "an erasure" if header.kind == "erase" else f"by the policy {header.policy}",
            "as of": f"{day_of(header)} in {header.zone} ({header.as_of})",
            "archive": f"commit {header.head_sequence} {header.head_digest}",
            "items": counted(header.counts) or "nothing is due",
            "rows": f"{header.rows:,} of {sum(header.totals.values()):,}",
            "weight": weight(header.bytes),
            "blobs": f"{header.blobs:,} with no reference left ({weight(header.blob_bytes)})",
            "held": f"{header.held:,} due, and kept by a hold ({weight(header.held_bytes)})",
        }
    )
    rules = rules_of(groups_of(found.items))
    if rules:
        output.table(
            ["rule", "what", "items", "weight", "sent"],
            [
                (row.rule, f"{row.kind}s", row.items, weight(row.bytes), f"{row.first} to {row.last}")
                for row in rules[:RULES_SHOWN_MAX]
            ],
        )
        if len(rules) > RULES_SHOWN_MAX:
            output.line(f"  and {len(rules) - RULES_SHOWN_MAX} more; --json has all of them")
    if header.saved:
        output.table(
            ["hold", "items it keeps", "weight"], [(one.hold, one.items, weight(one.bytes)) for one in header.saved]
        )
    _show_later(output, header)
    output.table(
        ["limit", "at most", "this plan", "outcome"],
        [(limit.name, limit.at_most, limit.plan, limit.outcome) for limit in limits_of(header)],
    )
    output.line(f"digest  {found.digest}")
    for passed in breakers_passed(header.limits, rows=header.rows, totals=header.totals):
        output.line(f"It cannot be applied: it has {passed}.")
    if not header.counts:
        return
    if locked.sentence is not None:
        output.line(locked.sentence)
    if is_stored:
        named = "" if policy_path is None else f" --policy {shlex.quote(str(policy_path))}"
        output.line(
            f"  Next: have it approved, then `archiver retention apply {found.digest[:PROGRAM_DIGITS]}{named} --approved-by NAME`"
        )
    else:
        output.line("  It was not stored, so it cannot be applied (--store).")


def _show_later(output: Output, header: PlanHeader) -> None:
    from archiver.retention.plan_page import weight  # noqa: PLC0415 - as above

    months: dict[str, list[int]] = {}
    for due in header.later:
        found = months.setdefault(due.month, [0, 0])
        found[0] += due.items
        found[1] += due.bytes
    if months:
        what = "retained until, in" if header.kind == "erase" else "leaves in"
        output.table(
            [what, "items", "weight"], [(month, items, weight(size)) for month, (items, size) in months.items()]
        )
