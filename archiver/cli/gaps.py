"""`archiver gaps`: what may be missing, since when, how we know, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.clock import to_ms
from archiver.errors import EXIT_GAPS, UsageError

if TYPE_CHECKING:
    from archiver.run.gap_list import GapList, ListedGap, SweepPromise

# A table is for eyes; a team in which nobody has the app yet has a gap for every user.
ROWS_OF_A_KIND_SHOWN_MAX = 50

_NOBODY_LOOKED = "Nobody has looked yet: no run has got to its stage gaps, so nothing is known of what may be missing."

Format = Literal["table", "csv", "json"]


@click.command(
    epilog=examples(
        "archiver gaps",
        "archiver gaps --kind listener-down --all",
        "archiver gaps --chat general --json",
        "archiver gaps --since 2026-11-20 --format csv > gaps.csv",
    )
)
@click.option("--all", "with_closed", is_flag=True, help="Closed ones too: their cause is gone, not what was missed.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Of this kind only; may be repeated.")
@click.option("--chat", metavar="CHAT", help="Of this chat only: its id, or a channel's name of today.")
@click.option(
    "--since", metavar="TIME", help="Found, changed or closed since then: a day (UTC), or an instant with a zone."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How gaps are printed; --json is the same as --format json.",
)
@config_options
def command(
    invocation: Invocation,
    *,
    with_closed: bool,
    kinds: tuple[str, ...],
    chat: str | None,
    since: str | None,
    form: Format,
) -> int | None:
    """List what may be missing, as of the archive's newest commit: how we know, since when, and what to do about it.

    It reads the archive alone. Exit code 3 says that something of what was asked for is open, that the promise to read
    everything again in time is broken, or that no run has looked yet; 0 that somebody looked and there is nothing.
    """
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.run.gap_list import GapFilter, list_open_gaps  # noqa: PLC0415 - as above

    wanted = GapFilter(
        with_closed=with_closed, kinds=kinds, chat=chat, since_ms=None if since is None else _instant(since)
    )
    settings = invocation.settings()
    archive = wiring.open_archive(settings)
    rules = wiring.limits(settings, minutes_max=None).sweep
    listed = list_open_gaps(archive, wanted, now_ms=SystemClock().now_ms(), rules=rules)
    output = invocation.output
    if form == "csv" and not output.as_json:
        _sheet(output, listed)
    else:
        Output(as_json=output.as_json or form == "json", quiet=output.quiet).result(
            _document(listed), show=lambda out: _show(out, listed)
        )
    return None if listed.is_clean else EXIT_GAPS


def _instant(text: str) -> int:
    """Return the milliseconds of what a person wrote: a day is its first instant in UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {text!r} is no time", next_step="write a day as 2026-11-20, or an instant as 2026-11-20T18:00:00Z"
        ) from None
    if instant.tzinfo is None:
        if "T" in text or " " in text:
            raise UsageError(f"--since {text!r} names no zone", next_step=f"write {text}Z for UTC, or an offset")
        instant = instant.replace(tzinfo=UTC)
    return to_ms(instant)


def _document(listed: GapList) -> dict[str, Any]:
    return {
        "archive": listed.location,
        "sequence": listed.sequence,
        "digest": listed.digest,
        "at": listed.at,
        "has_looked": listed.has_looked,
        "commits_not_looked_at": listed.commits_not_looked_at,
        "sweep": asdict(listed.sweep),
        "summary": [asdict(kind) for kind in listed.summary],
        "gaps": [asdict(gap) for gap in listed.gaps],
        "exit_code": 0 if listed.is_clean else EXIT_GAPS,
    }


def _sheet(output: Output, listed: GapList) -> None:
    from archiver.run.gap_list import ListedGap  # noqa: PLC0415 - heavy, and --help needs none of it

    columns = [field.name for field in fields(ListedGap)]
    output.sheet(columns, [[getattr(gap, name) for name in columns] for gap in listed.gaps])


def _show(output: Output, listed: GapList) -> None:
    output.line(f"{listed.location}, commit {listed.sequence} of {listed.at or 'no time yet'}")
    if not listed.has_looked:
        output.line(_NOBODY_LOOKED)
        output.line("  Next: run `archiver run`")
    elif listed.commits_not_looked_at:
        output.line(
            f"{listed.commits_not_looked_at} newer commits were not looked at yet, as of a run that did not get to its end; "
            "the next run looks at them"
        )
    output.line(promise_in_words(listed.sweep))
    if listed.summary:
        rows = [(kind.kind, kind.open, kind.closed, kind.count, kind.meaning) for kind in listed.summary]
        output.table(["kind", "open", "closed", "stands for", "what it means"], rows)
        for kind in listed.summary:
            output.line(f"\n{kind.kind}: {kind.meaning}")
            output.line(f"  What to do: {kind.action}")
            _show_kind(output, [gap for gap in listed.gaps if gap.kind == kind.kind])
    elif listed.has_looked:
        output.line("No gap of what you asked for is known.")
    if listed.elsewhere:
        output.line(
            f"\n{listed.elsewhere} open gaps concern no single chat, and so perhaps this one too; `archiver gaps` has them"
        )


def promise_in_words(sweep: SweepPromise) -> str:
    """Return whether everything was read again in time, with the dates that it rests on."""
    promise = f"re-read within {sweep.full_within_days} nights, the last {sweep.hot_days} days every night"
    if sweep.is_kept is None:
        return f"{promise}: there is no message to read again yet"
    told = f"{promise}: {'yes' if sweep.is_kept else 'no'}, as of {sweep.judged_at}"
    if not sweep.is_kept:
        told += f"; {sweep.overdue_days} older days and {sweep.hot_unread_days} of the last ones wait longer"
    return (
        f"{told}; the day that was not read for longest, {sweep.oldest_day} (one of {sweep.days}), "
        f"was captured or read again at {sweep.oldest_read_at} or later"
    )


def _show_kind(output: Output, gaps: list[ListedGap]) -> None:
    columns: dict[str, list[object]] = {
        "state": [gap.state for gap in gaps] if any(gap.state != "open" for gap in gaps) else [],
        "chat": [_named(gap.chat_id, gap.chat_name) for gap in gaps],
        "user": [_named(gap.user_id, gap.user_name) for gap in gaps],
        "subject": [gap.subject for gap in gaps],
        "from": [gap.from_at for gap in gaps],
        "to": [gap.to_at for gap in gaps],
        "found at": [gap.opened_at for gap in gaps],
        "count": [gap.count for gap in gaps] if any(gap.count != 1 for gap in gaps) else [],
        "how we know": [gap.evidence for gap in gaps],
    }
    filled = {
        name: cells[:ROWS_OF_A_KIND_SHOWN_MAX]
        for name, cells in columns.items()
        if any(cell is not None for cell in cells)
    }
    output.table(list(filled), list(zip(*filled.values(), strict=True)))
    if len(gaps) > ROWS_OF_A_KIND_SHOWN_MAX:
        more = len(gaps) - ROWS_OF_A_KIND_SHOWN_MAX
        output.line(f"  and {more} more; `archiver gaps --kind {gaps[0].kind} --format csv` has all of them")


def _named(identifier: str | None, name: str | None) -> str | None:
    if identifier is None:
        return None
    return f"{name} ({identifier})" if name else identifier
