"""`archiver retention apply`: exactly what an approved plan lists goes, or nothing."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from archiver.cli import publishing
from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.cli.retention_plan import POLICY_OPTION, PROGRAM_DIGITS, THREADS, locked_document, opened
from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.retention.applying import Rehearsal
    from archiver.retention.dispose import Disposed
    from archiver.retention.plan_document import Plan


@click.command(
    "apply",
    epilog=examples(
        'archiver retention apply 4f2a9c0b7d1e --approved-by "Ann Smith, 2026-11-27"',
        "archiver retention apply 4f2a9c0b7d1e --approved-by ann --dry-run",
    ),
)
@click.argument("digest")
@click.option(
    "--approved-by", required=True, metavar="NAME", help="Who approved this digest; stands in the certificate."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, or why it would be refused; change nothing.")
@POLICY_OPTION
@config_options
def apply(
    invocation: Invocation, *, digest: str, approved_by: str, dry_run: bool, policy_path: Path | None
) -> int | None:
    """Remove exactly what the plan with this DIGEST lists, or refuse.

    The first 12 digits or more name a plan. It is refused, with exit code 5 and nothing changed, if the policy or the archive is not
    that of the plan any more, if a limit of the policy would be passed, or if its day has not begun. Holds that were placed since only
    take items out of it. There is no way back: what is removed is gone from every object of the archive, with all old versions. A
    certificate stays.
    """
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as above
    from archiver.retention.applying import apply_plan, rehearse  # noqa: PLC0415 - as above
    from archiver.retention.plan_document import load_plan  # noqa: PLC0415 - as above
    from archiver.run import known_states  # noqa: PLC0415 - as above
    from archiver.run.lock import hold  # noqa: PLC0415 - as above

    approved_by = _name(approved_by)
    settings, archive, policy, _, clock = opened(invocation, policy_path=policy_path, as_of=None)
    found = load_plan(archive.store, digest)
    # Arrow keeps the memory of one object for the next, which is quicker than to give it back; a thread has one object at a time.
    with ThreadPoolExecutor(THREADS) as executor, invocation.output.progress() as bars:
        task = bars.add_task("applying", total=None)

        def step(name: str, done: int, total: int) -> None:
            bars.update(task, description=name, completed=done, total=total)

        if dry_run:
            told = rehearse(
                archive, archive.head(), found, policy, now_ms=clock.now_ms(), executor=executor, progress=step
            )
            invocation.output.result(_rehearsed(found, told), show=lambda out: _show_rehearsal(out, found, told))
            return None
        refuse_copy(archive.store)
        with hold(settings.state):
            done = apply_plan(
                archive,
                archive.head(),
                found,
                policy,
                approved_by=approved_by,
                author=wiring.author(settings, clock=clock),
                attempt=secrets.token_hex(4),
                now_ms=clock.now_ms(),
                executor=executor,
                progress=step,
            )
            if "users" in done.certificate.rows:
                known_states.forget(settings.state)
            published = publishing.publish(settings, archive, done.head, step=lambda what: step(what, 0, 0))

    def show(output: Output) -> None:
        _show_disposed(output, done)
        published.show(output)

    invocation.output.result({**_disposed(done), "published": published.document}, show=show)
    published.tell(invocation.output)
    return None


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise UsageError(
            "--approved-by names nobody", next_step="name who approved the plan, and where that can be looked up"
        )
    return text.strip()


def _rehearsed(found: Plan, told: Rehearsal) -> dict[str, Any]:
    return {
        "digest": found.digest,
        "dry_run": True,
        "items": told.items,
        "applied_in": told.applied_in,
        "items_held": told.items_held,
        "held": told.held,
        "locked": locked_document(told.locked),
    }


def _show_rehearsal(output: Output, found: Plan, told: Rehearsal) -> None:
    from archiver.retention.certificate import counted  # noqa: PLC0415 - as above

    if told.applied_in is not None:
        output.line(
            f"Plan {found.digest} was applied already, in commit {told.applied_in}; nothing of it would go now."
        )
        output.line(f"  Next: `archiver retention certificate {found.digest[:PROGRAM_DIGITS]}` says what became of it")
        return
    output.line(
        f"Nothing was changed. Plan {found.digest} would be applied now: {counted(told.items) or 'nothing'} would go."
    )
    for name, items in told.held.items():
        output.line(f"  the hold {name} keeps {items:,} of its items")
    if told.locked.sentence is not None:
        output.line(told.locked.sentence)


def _disposed(done: Disposed) -> dict[str, Any]:
    return {
        "certificate": msgspec.to_builtins(done.certificate),
        "certificate_key": done.certificate_key,
        "sequence": done.sequence,
        "was_applied_before": done.was_applied_before,
        "erased": done.sequence not in done.head.unerased,
        "head": {"sequence": done.head.sequence, "digest": done.head.digest},
        "not_erased": [{"key": one.key, "why": one.why, "until_ms": one.until_ms} for one in done.erasure.kept],
    }


def _show_disposed(output: Output, done: Disposed) -> None:
    from archiver.retention.certificate import lines_of  # noqa: PLC0415 - as above

    if done.was_applied_before:
        output.line("This plan was applied already; this is what it did then, and nothing more was removed.")
    for line in lines_of(done.certificate):
        output.line(line)
    output.line(f"It stays as {done.certificate_key}; commit {done.sequence} names its SHA-256.")
    for kept in done.erasure.kept:
        output.line(f"  not erased yet: {kept.key} ({kept.why}); the next run or apply goes on")
    if done.sequence in done.head.unerased and not done.erasure.kept:
        output.line("  not erased yet: another machine is at it; if that broke off, a run goes on after a day")
