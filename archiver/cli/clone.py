"""`archiver clone`: a copy of the whole archive elsewhere, kept up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.place_options import (
    ThawOrder,
    cold_document,
    endpoint_option,
    no_wait_option,
    region_option,
    speed_option,
    thaw_all,
    thaw_days_option,
)
from archiver.cli.restore_words import cold_words
from archiver.errors import EXIT_GAPS, EXIT_STORAGE

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from archiver.archive.reader import Archive
    from archiver.cli.output import Output
    from archiver.discovery.clone import Cloned
    from archiver.discovery.clone_survey import Lacking
    from archiver.discovery.restore_thaw import Cold
    from archiver.settings import Settings
    from archiver.store import Store, ThawSpeed

THREADS = 8
KEYS_SHOWN_MAX = 20


@click.command(
    epilog=examples(
        "archiver clone ../backup",
        "archiver clone s3://acme-backup/flock --region eu-west-1",
        "archiver clone ../backup --dry-run",
    ),
)
@click.argument("place")
@endpoint_option
@region_option
@click.option(
    "--threads", "threads", type=click.IntRange(1, 64), default=THREADS, show_default=True, help="Objects at once."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be copied, and what of it lies cold.")
@speed_option
@thaw_days_option
@no_wait_option
@config_options
def command(
    invocation: Invocation,
    *,
    place: str,
    endpoint_url: str | None,
    region: str | None,
    threads: int,
    dry_run: bool,
    speed: ThawSpeed,
    thaw_days: int,
    no_wait: bool,
) -> int | None:
    """Copy the archive to PLACE, a folder or s3://bucket/prefix, or bring the copy there up to date.

    The copy is an archive of its own right: `archiver verify` checks it, and every command reads it. Each object is held against the
    ledger's digest on its way. Stopped at any moment, the copy stands at an older commit, and the next call goes on. What retention
    removed from the archive is erased from the copy too. PLACE must be empty or hold such a copy of this very archive; anything else
    is refused (5), and so is a copy that somebody wrote to. `archiver promote` makes a copy the archive.

    What lies in GLACIER or DEEP_ARCHIVE is asked for and waited for, all at once; an interrupted call goes on when it is given again.
    """
    from archiver import wiring, wiring_restore  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    settings = invocation.settings()
    target = wiring_restore.open_place(settings, place, endpoint_url=endpoint_url, region=region)
    source = wiring.open_seen_archive(settings)
    order = ThawOrder(days=thaw_days, speed=speed, waits=not no_wait)
    with wiring_restore.threads(threads) as executor:
        job = _Job(invocation.output, settings, source, target, executor)
        if dry_run:
            job.tell(order)
            return None
        target.probe()
        done = job.copy(order)
        if done is None:
            return job.come_back(order)
    return _told(invocation.output, done, source, target)


class _Job:
    """One call: from which archive to which place, and with which threads."""

    def __init__(self, output: Output, settings: Settings, source: Archive, target: Store, executor: Executor) -> None:
        self._output = output
        self._settings = settings
        self._source = source
        self._target = target
        self._executor = executor

    def copy(self, order: ThawOrder) -> Cloned | None:
        """Copy, and whatever turns out to be cold once it is thawed; None if that was asked for and is not there yet.

        Nothing is asked about classes before something is found to be cold: it is a request for each object, and most archives have none.
        """
        from archiver.errors import ObjectColdError  # noqa: PLC0415 - as above

        while True:
            try:
                return self._copy_once()
            except ObjectColdError:
                cold = self._look()
                if not cold.objects:
                    raise  # it is none of what is copied, as an entry of the ledger
                if not thaw_all(
                    self._output, self._source.store, cold, look=self._look, order=order, executor=self._executor
                ):
                    return None

    def tell(self, order: ThawOrder) -> None:
        """Say what would be copied, and change nothing."""
        found, cold = self._survey()

        def show(out: Output) -> None:
            out.line(
                f"{len(found.objects):,} objects, {found.bytes:,} bytes, would bring {self._target.url} from "
                f"{_standing(found.from_sequence)} to entry {found.sequence}"
            )
            if cold.objects:
                out.line(cold_words(cold, order.speed))
            out.line("Nothing was copied.")

        self._output.result(self._document(found, cold), show=show)

    def come_back(self, order: ThawOrder) -> int:
        """Say that it was asked for and is not there yet."""
        found, cold = self._survey()
        line = f"{cold_words(cold, order.speed)}; give the same call again later" if cold.objects else "give it again"
        self._output.result(
            {**self._document(found, cold), "asked": True, "exit_code": EXIT_GAPS}, show=lambda out: out.line(line)
        )
        return EXIT_GAPS

    def _copy_once(self) -> Cloned:
        from archiver import wiring_restore  # noqa: PLC0415 - as above
        from archiver.clock import SystemClock  # noqa: PLC0415 - as above
        from archiver.discovery.clone import Means, clone  # noqa: PLC0415 - as above

        with self._output.progress() as progress:
            task = progress.add_task("copying entries", total=None)
            means = Means(
                executor=self._executor,
                folder=wiring_restore.copies_folder(self._settings),
                attempt=wiring_restore.new_attempt(),
                now_ms=SystemClock().now_ms(),
                piece_bytes=wiring_restore.piece_bytes(self._settings),
                progress=lambda entry, last: progress.update(task, completed=entry, total=last),
            )
            return clone(self._source, self._target, means)

    def _look(self) -> Cold:
        return self._survey()[1]

    def _survey(self) -> tuple[Lacking, Cold]:
        from archiver.discovery.clone_survey import cold_of, lacking  # noqa: PLC0415 - as above

        found = lacking(self._source, self._target)
        return found, cold_of(self._source, found, executor=self._executor)

    def _document(self, found: Lacking, cold: Cold) -> dict[str, object]:
        return {
            "archive": self._source.store.url,
            "copy": self._target.url,
            "from_sequence": found.from_sequence,
            "sequence": found.sequence,
            "objects": len(found.objects),
            "bytes": found.bytes,
            "cold": cold_document(cold),
        }


def _told(output: Output, done: Cloned, source: Archive, target: Store) -> int | None:
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
            "before": _standing(done.from_sequence),
            "objects copied": f"{done.objects:,}",
            "bytes copied": f"{done.bytes:,}",
            "papers copied": f"{done.papers:,}",
            "objects erased": f"{done.erased:,}",
        }
    )


def _standing(sequence: int) -> str:
    return f"entry {sequence}" if sequence else "nothing"
