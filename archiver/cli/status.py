"""`archiver status`: what the archive holds and what waits."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.cli.run import gap_counts
from archiver.clock import to_text

if TYPE_CHECKING:
    from archiver.run.status import CatalogStanding, Status


@click.command(epilog=examples("archiver status", "archiver status --json"))
@config_options
def command(invocation: Invocation) -> int | None:
    """Show the newest commit, the last runs, how many rows each table holds, and how much waits in the spool.

    Of the index of searches on this machine it says which commit it stands at, and of each catalog which commit it shows.
    """
    from archiver import wiring, wiring_query, wiring_search  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.run.status import read_status  # noqa: PLC0415 - as above

    settings = invocation.settings()
    archive = wiring.open_archive(settings)
    head = archive.head()
    status = read_status(
        archive,
        wiring.spool_depth(settings),
        head=head,
        queue=wiring.queue_depth(settings),
        index=wiring_search.index_standing(settings, archive, head),
        catalogs=wiring_query.catalog_standings(settings, archive),
    )
    invocation.output.result(asdict(status), show=lambda out: _show(out, status))
    return None


def _show(output: Output, status: Status) -> None:
    facts: dict[str, object] = {
        "archive": status.location,
        "workspace": status.workspace,
        "head": f"{status.sequence} {status.digest}",
        "committed at": status.at or "nothing yet",
        "objects": f"{status.objects} ({status.object_bytes} bytes)",
        "awaiting work": f"{status.open_rows} rows (files to fetch, messages known only by uid)",
        "open gaps": gap_counts(status.open_gaps) or "none known",
        "spool": _spool(status),
        "search index": _index(status),
    }
    facts |= {f"catalog {catalog.name}": _catalog(catalog, status.sequence) for catalog in status.catalogs}
    output.facts(facts)
    if status.rows:
        output.table(["table", "rows"], sorted(status.rows.items()))
    if status.runs:
        runs = [(run.at, run.run, run.commits, sum(run.rows.values()), run.gaps) for run in status.runs]
        output.table(["last commit", "run", "commits", "rows", "gaps"], runs)


def _index(status: Status) -> str:
    index = status.index
    if index is None:
        return "none on this machine; `archiver search` makes one"
    stands = f"commit {index.sequence}, {index.bytes} bytes, {index.rows} rows in {index.shards} shards"
    if not index.objects_behind:
        return stands
    return f"{stands}; {index.rows_behind} rows in {index.objects_behind} objects behind, which the next search adds"


def _catalog(catalog: CatalogStanding, sequence: int) -> str:
    if catalog.sequence is None:
        return "never published; the next `archiver run` does"
    if catalog.sequence == sequence:
        return f"shows commit {sequence}, the newest"
    brings = "the next `archiver run`" if catalog.in_runs else f"`archiver catalog {catalog.name}`"
    return f"shows commit {catalog.sequence}, {sequence - catalog.sequence} behind; {brings} brings it up to date"


def _spool(status: Status) -> str:
    if status.queue is not None:
        return f"about {status.queue.messages} messages in the queue, and {status.queue.under_way} in a run's hands"
    if status.spool is None:
        return "none on this machine"
    if not status.spool.captures:
        return "empty"
    oldest = to_text(status.spool.oldest_at_ms) if status.spool.oldest_at_ms is not None else "unknown"
    return f"{status.spool.captures} captures ({status.spool.body_bytes} bytes), the oldest of {oldest}"
