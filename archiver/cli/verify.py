"""`archiver verify`: the archive held against its ledger."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output

if TYPE_CHECKING:
    from archiver.custody.findings import Verification

# A table is for eyes; the JSON document has them all.
DAMAGES_SHOWN_MAX = 100


@click.command(epilog=examples("archiver verify", "archiver verify --quick --json"))
@click.option("--quick", is_flag=True, help="Follow the ledger and look at sizes, without reading data.")
@config_options
def command(invocation: Invocation, *, quick: bool) -> int | None:
    """Check the ledger's chain, and each object's presence, size, SHA-256, rows and ranges against it.

    Ends with exit code 4 and names what is damaged if anything is. It needs the archive alone, not the machine that wrote it; on
    that machine it also notices a ledger whose end is gone.
    """
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.custody.findings import Damage  # noqa: PLC0415 - as above
    from archiver.custody.verify import verify  # noqa: PLC0415 - as above

    settings = invocation.settings()
    store = wiring.open_store(settings)
    output = invocation.output
    with ThreadPoolExecutor(max_workers=max(4, os.cpu_count() or 1)) as executor, output.progress() as progress:
        task = progress.add_task("verifying", total=None)
        outcome = verify(
            store,
            level="quick" if quick else "full",
            executor=executor,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    lost = wiring.lost_end(settings, store)
    if lost is not None:
        outcome = replace(outcome, damages=(*outcome.damages, Damage("ledger", "ledger/", lost)))
    document = asdict(outcome) | {"ok": not outcome.damages}
    output.result(document, show=lambda out: _show(out, outcome))
    return outcome.exit_code


def _show(output: Output, outcome: Verification) -> None:
    looked = outcome.looked
    output.facts(
        {
            "head": f"{outcome.sequence} {outcome.digest}",
            "ledger entries": looked.entries,
            "objects": looked.objects,
            "blobs": looked.blobs,
            "rows": looked.rows,
            "disposals": outcome.disposals,
            "bytes hashed": looked.bytes_hashed if outcome.level == "full" else "none (--quick)",
        }
    )
    if outcome.disposals:
        rows = [(table, of.written, of.present, of.disposed) for table, of in outcome.accounts.items()]
        output.table(["table", "rows written", "= present", "+ disposed of"], rows)
    for left in outcome.unerased:
        output.line(
            f"Disposal {left.sequence}: {left.objects} objects that it removed still lie in the store, because a lock or a legal hold "
            "keeps them or because it was interrupted; the next `archiver run` tries again."
        )
    if outcome.unfinished:
        output.line(f"An interrupted commit left {outcome.unfinished} objects; the next `archiver run` clears them.")
    if not outcome.damages:
        output.line("Everything is as the ledger says.")
        return
    shown = outcome.damages[:DAMAGES_SHOWN_MAX]
    output.table(["damage", "object", "what"], [(damage.kind, damage.key, damage.what) for damage in shown])
    if len(shown) < len(outcome.damages):
        output.line(f"… and {len(outcome.damages) - len(shown)} more; --json lists them all.")
    output.line("Restore the named objects from a copy; what the ledger says of them tells which copy is right.")
