"""`archiver retention certificate`: what became of a plan, and whether ledger and store bear that out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click
import msgspec

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.clock import to_text
from archiver.errors import EXIT_DAMAGE, EXIT_DONE

if TYPE_CHECKING:
    from archiver.retention.certified import Checked

# A table is for eyes; the JSON document names every object.
OBJECTS_SHOWN_MAX = 20
# Each object that went is asked for once, which is all waiting.
THREADS = 8


@click.command(
    "certificate",
    epilog=examples(
        "archiver retention certificate 3f9ab77d1c20",
        "archiver retention certificate 3f9ab77d1c20 --json > certificate.json",
    ),
)
@click.argument("digest")
@config_options
def certificate(invocation: Invocation, *, digest: str) -> int | None:
    """Show the certificate of the plan with this DIGEST, and hold it against the ledger and the store.

    The first 12 digits or more name a plan. The certificate must be the one whose SHA-256 the ledger names, say of objects and rows what
    the ledger says, and add up; and nothing that it says is gone may be in the store, old versions included. What a lock keeps there is
    told. Ends with exit code 4 if anything differs.
    """
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.retention.certified import check_certificate, find_certificate  # noqa: PLC0415 - as above

    archive = wiring.open_archive(invocation.settings())
    with ThreadPoolExecutor(THREADS) as executor:
        checked = check_certificate(archive, find_certificate(archive.store, digest), executor=executor)
    invocation.output.result(_document(checked), show=lambda out: _show(out, checked))
    return EXIT_DAMAGE if checked.differs else EXIT_DONE


def _document(checked: Checked) -> dict[str, Any]:
    return {
        "certificate": msgspec.to_builtins(checked.certificate),
        "certificate_key": checked.key,
        "sha256": checked.sha256,
        "sequence": checked.sequence,
        "erased": checked.erased,
        "looked_for": checked.looked_for,
        "still_there": [{"key": one.key, "why": one.why, "until": _until(one.until_ms)} for one in checked.still_there],
        "used_again": checked.used_again,
        "differs": list(checked.differs),
        "ok": not checked.differs,
    }


def _show(output: Output, checked: Checked) -> None:
    from archiver.retention.certificate import lines_of  # noqa: PLC0415 - as above

    for line in lines_of(checked.certificate):
        output.line(line)
    output.line(f"It is {checked.key}, SHA-256 {checked.sha256}.")
    for what in checked.differs[:OBJECTS_SHOWN_MAX]:
        output.line(f"  differs: {what}")
    if len(checked.differs) > OBJECTS_SHOWN_MAX:
        output.line(f"  and {len(checked.differs) - OBJECTS_SHOWN_MAX} more; --json lists them all")
    if checked.differs:
        output.line("  Next: run `archiver verify`, and restore what differs from a copy")
        return
    output.line(f"Commit {checked.sequence} of the ledger names it, and says of objects and rows what it says.")
    gone = checked.looked_for - len(checked.still_there)
    output.line(f"Of {checked.looked_for:,} objects that went nothing is left in the store of {gone:,}.")
    for one in checked.still_there[:OBJECTS_SHOWN_MAX]:
        until = f" until {_until(one.until_ms)}" if one.until_ms is not None else ""
        output.line(f"  still there: {one.key} ({one.why}{until}); runs try again")
    if len(checked.still_there) > OBJECTS_SHOWN_MAX:
        output.line(f"  and {len(checked.still_there) - OBJECTS_SHOWN_MAX} more; --json lists them all")
    if checked.used_again:
        output.line(f"{checked.used_again:,} of its files came again with later messages and are archived anew.")


def _until(until_ms: int | None) -> str | None:
    return None if until_ms is None else to_text(until_ms)
