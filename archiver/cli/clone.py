"""`archiver clone`: a copy of the whole archive elsewhere, kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.errors import EXIT_STORAGE

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.discovery.clone import Cloned

THREADS = 8
KEYS_SHOWN_MAX = 20


@click.command(
    epilog=examples(
        "archiver clone ../backup",
        "archiver clone s3://acme-backup/flock --region eu-west-1",
        "archiver clone ../backup --json",
    ),
)
@click.argument("place")
@click.option(
    "--endpoint-url", metavar="URL", help="Where the bucket of the copy answers, if not where s3.endpoint_url says."
)
@click.option("--region", metavar="REGION", help="Region of the copy's bucket, if not that of the archive's.")
@click.option(
    "--threads", "threads", type=click.IntRange(1, 64), default=THREADS, show_default=True, help="Objects at once."
)
@config_options
def command(
    invocation: Invocation, *, place: str, endpoint_url: str | None, region: str | None, threads: int
) -> int | None:
    """Copy the archive to PLACE, a folder or s3://bucket/prefix, or bring the copy there up to date.

    The copy is an archive of its own right: `archiver verify` checks it, and every command reads it. Each object is held against the
    ledger's digest on its way. Stopped at any moment, the copy stands at an older commit, and the next call goes on. What retention
    removed from the archive is erased from the copy too. PLACE must be empty or hold such a copy of this very archive; anything else
    is refused (5), and so is a copy that somebody wrote to.
    """
    from archiver import wiring, wiring_restore  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above
    from archiver.discovery.clone import Means, clone  # noqa: PLC0415 - as above

    settings = invocation.settings()
    source = wiring.open_seen_archive(settings)
    target = wiring_restore.open_place(settings, place, endpoint_url=endpoint_url, region=region)
    target.probe()
    output = invocation.output
    with wiring_restore.threads(threads) as executor, output.progress() as progress:
        task = progress.add_task("copying entries", total=None)
        done = clone(
            source,
            target,
            Means(
                executor=executor,
                folder=wiring_restore.copies_folder(settings),
                attempt=wiring_restore.new_attempt(),
                now_ms=SystemClock().now_ms(),
                piece_bytes=wiring_restore.piece_bytes(settings),
                progress=lambda entry, last: progress.update(task, completed=entry, total=last),
            ),
        )
    exit_code = EXIT_STORAGE if done.kept else 0
    document = {
        "archive": source.store.url,
        "copy": target.url,
        "from_sequence": done.from_sequence,
        "sequence": done.sequence,
        "digest": done.digest,
        "objects": done.objects,
        "bytes": done.bytes,
        "papers": done.papers,
        "erased": done.erased,
        "kept": list(done.kept),
        "exit_code": exit_code,
    }
    output.result(document, show=lambda out: _show(out, done, target.url))
    if done.kept:
        output.warn(
            f"archiver: a lock or a legal hold of {target.url} keeps {len(done.kept)} objects that the archive's retention erased: "
            f"{', '.join(done.kept[:KEYS_SHOWN_MAX])}; each call tries again"
        )
    return exit_code or None


def _show(output: Output, done: Cloned, url: str) -> None:
    if done.sequence == done.from_sequence and not (done.papers or done.erased):
        output.line(f"{url} is up to date: it stands at entry {done.sequence}, {done.digest}")
        return
    output.line(f"{url} stands at entry {done.sequence}, {done.digest}")
    output.facts(
        {
            "before": f"entry {done.from_sequence}" if done.from_sequence else "nothing",
            "objects copied": f"{done.objects:,}",
            "bytes copied": f"{done.bytes:,}",
            "papers copied": f"{done.papers:,}",
            "objects erased": f"{done.erased:,}",
        }
    )
