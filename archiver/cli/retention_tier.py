"""`archiver retention tier`: what is old moves to a cheaper storage class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.cli.retention_plan import AS_OF_OPTION, POLICY_OPTION, opened, working

if TYPE_CHECKING:
    from archiver.retention.tiers import Due, Moved

KEYS_SHOWN_MAX = 20


@click.command("tier", epilog=examples("archiver retention tier", "archiver retention tier --apply"))
@click.option("--apply", "applies", is_flag=True, help="Move it; without this, only say what would move.")
@AS_OF_OPTION
@POLICY_OPTION
@config_options
def tier(invocation: Invocation, *, applies: bool, as_of: str | None, policy_path: Path | None) -> int | None:
    """Move data objects and files of old days to the storage class that the policy's `tier` names, where the store has classes.

    Nothing is removed and no byte changes; each object's digest is looked at after it moved. Only rules without conditions move
    anything, because an object holds what many people said. What a lock or a legal hold keeps stays where it is.
    """
    from archiver.retention.periods import Calendar  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.retention.tiers import due_moves, move_all  # noqa: PLC0415 - as above
    from archiver.run.lock import hold  # noqa: PLC0415 - as above

    settings, archive, policy, day, _ = opened(invocation, policy_path=policy_path, as_of=as_of)
    as_of_ms = Calendar(policy.zone).day_end_ms(day.toordinal() - 1)
    due = due_moves(archive.store, archive.head(), policy, as_of_ms=as_of_ms)
    moved = None
    if applies:
        with working(invocation.output, "moving") as (executor, progress), hold(settings.state):
            moved = move_all(archive.store, due.moves, executor=executor, progress=progress)
    document = {
        "due": dict(Counter(move.to for move in due.moves)),
        "idle_rules": list(due.idle_rules),
        "applied": applies,
        "moved": moved.moved if moved else 0,
        "there": moved.there if moved else 0,
        "locked": list(moved.locked) if moved else [],
    }
    invocation.output.result(document, show=lambda out: _show(out, due, moved))
    return None


def _show(output: Output, due: Due, moved: Moved | None) -> None:
    for storage_class, count in sorted(Counter(move.to for move in due.moves).items()):
        output.line(f"{count:,} objects belong in {storage_class}.")
    if not due.moves:
        output.line("Nothing is due to move.")
    for name in due.idle_rules:
        output.line(
            f"The tier of rule {name} moves nothing: only a rule without conditions, from sending, moves objects."
        )
    if moved is None:
        if due.moves:
            output.line("Nothing was changed; `archiver retention tier --apply` moves them.")
        return
    output.line(f"{moved.moved:,} moved, {moved.there:,} were there already.")
    for key in moved.locked[:KEYS_SHOWN_MAX]:
        output.line(f"{key} stays: a lock or a legal hold is on it, and would not be on its copy.")
    if len(moved.locked) > KEYS_SHOWN_MAX:
        output.line(f"… and {len(moved.locked) - KEYS_SHOWN_MAX} more; --json lists them all.")
