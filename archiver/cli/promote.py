"""`archiver promote`: a copy becomes the archive, when the archive is lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.run.promotion import Promoted

THREADS = 8
SHOWN_MAX = 20


@click.command(
    epilog=examples(
        'archiver promote --reason "the bucket was lost on 2026-11-27"',
        'archiver promote --reason "the disk broke" --behind --json',
    )
)
@click.option(
    "--behind", "may_be_behind", is_flag=True, help="Also a copy without commits that this machine saw; they are lost."
)
@click.option(
    "--damaged", "may_be_damaged", is_flag=True, help="Also a copy in which `archiver verify --quick` finds damage."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it stays in the ledger.")
@config_options
def command(invocation: Invocation, *, may_be_behind: bool, may_be_damaged: bool, reason: str) -> int | None:
    """Make the copy that `archive:` names the archive, when the archive that it is a copy of is lost.

    Name the copy in archiver.yaml first. It is looked at as by `archiver verify --quick` (4 if anything is damaged), and held against
    the newest commit that this machine saw of the archive (5 if the copy does not have it). An entry of its ledger then says who
    did it, why, where and at which commit, and clone.json goes; from then on runs write to it. Should the old archive come back,
    nothing may write to that one any more.
    """
    from archiver import wiring, wiring_restore  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.run import lock  # noqa: PLC0415 - as above
    from archiver.run.promotion import promote  # noqa: PLC0415 - as above

    if not reason.strip():
        raise UsageError(
            "--reason says nothing", next_step="say why the copy becomes the archive: it stays in the ledger"
        )
    settings, output, clock = invocation.settings(), invocation.output, SystemClock()
    store = wiring.open_store(settings)
    with lock.hold(settings.state), wiring_restore.threads(THREADS) as executor, output.progress() as progress:
        task = progress.add_task("looking at it", total=None)
        done = promote(
            store,
            settings.state,
            may_be_behind=may_be_behind,
            may_be_damaged=may_be_damaged,
            reason=reason.strip(),
            author=wiring.author(settings, clock=clock),
            now_ms=clock.now_ms(),
            executor=executor,
            progress=lambda count, total: progress.update(task, completed=count, total=total),
        )
    output.result({"archive": store.url, **asdict(done)}, show=lambda out: _show(out, done, store.url))
    return None


def _show(output: Output, done: Promoted, url: str) -> None:
    if not done.was_copy:
        output.line(f"{url} is an archive of its own already; nothing was changed.")
        return
    output.line(f"{url} is the archive now. It stood at entry {done.sequence} of {done.at}, {done.digest}")
    output.line(f"Entry {done.entry} says so, with the reason and who did it.")
    if done.behind is not None:
        output.line(f"What came after that entry is lost: {done.behind}")
    if done.damages:
        output.line(f"{len(done.damages)} damages are in it; `archiver verify` lists them.")
    for key in done.kept[:SHOWN_MAX]:
        output.line(f"{key} was erased from the lost archive, and a lock keeps it here.")
    output.line("Next: `archiver hold sync` if holds are mirrored, then `archiver run`.")
