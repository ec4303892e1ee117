"""`archiver restore`: days, conversations and files come back out of the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import to_json
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
from archiver.cli.restore_words import cold_words, show, show_added, show_survey, wanted_document
from archiver.cli.scope_options import (
    channel_option,
    conversation_option,
    day_option,
    days_asked,
    from_option,
    matter_option,
    until_option,
    zone_option,
)
from archiver.clock import to_text
from archiver.errors import EXIT_DAMAGE, EXIT_GAPS, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from archiver.archive.reader import Archive, Head
    from archiver.discovery.restore import Survey
    from archiver.discovery.restore_selection import Wanted
    from archiver.discovery.restore_thaw import Cold
    from archiver.settings import Settings
    from archiver.store import Store, ThawSpeed

THREADS = 8


@click.command(
    epilog=examples(
        "archiver restore --day 2026-03-02 --to restored",
        "archiver restore --channel general --from 2026-01-01 --until 2026-06-30 --to s-v-a --format jsonl --matter smith-v-acme",
        "archiver restore --file 1772449200123-aBc-m201 --to one-message",
        "archiver restore --all --dry-run --json",
    ),
    short_help="Bring days, conversations or files back from the archive.",
)
@day_option
@from_option
@until_option
@zone_option
@channel_option
@conversation_option
@click.option(
    "--file",
    "names",
    multiple=True,
    metavar="SHA256|UID",
    help="A file by its SHA-256, or a message by its uid, with its files.",
)
@click.option("--all", "everything", is_flag=True, help="Everything, instead of a choice.")
@click.option(
    "--to",
    "folder",
    metavar="FOLDER",
    help="The folder to fill; empty, or one to go on with.",
)
@click.option(
    "--into", metavar="PLACE", help="Another archive, a folder or s3://bucket/prefix, founded if there is none."
)
@endpoint_option
@region_option
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["parquet", "jsonl"]),
    default=("parquet",),
    show_default=True,
    help="How rows are written; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would come, and what lies cold.")
@speed_option
@thaw_days_option
@no_wait_option
@matter_option
@config_options
def command(
    invocation: Invocation,
    *,
    day: date | None,
    first_on: date | None,
    last_on: date | None,
    zone: str,
    channels: tuple[str, ...],
    conversations: tuple[str, ...],
    names: tuple[str, ...],
    everything: bool,
    folder: str | None,
    into: str | None,
    endpoint_url: str | None,
    region: str | None,
    formats: tuple[str, ...],
    dry_run: bool,
    speed: ThawSpeed,
    thaw_days: int,
    no_wait: bool,
    matter: str | None,
) -> int | None:
    """Bring rows and files back from the archive as they were, each byte held against the ledger on its way.

    Days are those on which a message was sent, an event arrived or a state was first seen. A chat's own states (names, members) come
    from before the first day too. What lies in GLACIER or DEEP_ARCHIVE is asked for and waited for; an interrupted call goes on when it
    is given again. The folder holds the rows, the files under safe names, restore.json, and manifest-sha256.txt for `sha256sum -c`.

    What does not come is said (3): disposed of, by which certificate; never captured; gaps. Damage is named, and everything else
    comes all the same (4).
    """
    from archiver import wiring, wiring_restore  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as above
    from archiver.discovery.restore_selection import Wanted  # noqa: PLC0415 - as above
    from archiver.scope.days import days_in_zone  # noqa: PLC0415 - as above
    from archiver.scope.membership import read_membership  # noqa: PLC0415 - as above
    from archiver.scope.named import chats_named  # noqa: PLC0415 - as above
    from archiver.wiring_places import folder_outside  # noqa: PLC0415 - as above

    _require_places(folder, into, dry_run=dry_run, tells_of_bucket=bool(endpoint_url or region))
    _require_choice(bool(day or first_on or last_on or channels or conversations or names), everything=everything)
    from_at_ms, until_ms = days_in_zone(*days_asked(day, first_on, last_on), zone=zone)
    settings = invocation.settings()
    root = None if folder is None else folder_outside(settings, folder, option="--to")
    other = (
        None if into is None else wiring_restore.open_place(settings, into, endpoint_url=endpoint_url, region=region)
    )
    archive = wiring.open_seen_archive(settings)
    if matter is not None and not dry_run:
        refuse_copy(archive.store)
    head = archive.head()
    named = (*channels, *conversations)
    chats = chats_named(read_membership(archive.store, head), named) if named else None
    wanted = Wanted(chats=chats, from_at_ms=from_at_ms, until_ms=until_ms, names=frozenset(names))
    job = _Job(invocation, settings, archive, head, wanted)
    with wiring_restore.threads(THREADS) as executor:
        job.look(executor)
        if dry_run:
            return job.tell(speed)
        if not job.thaw(executor, ThawOrder(days=thaw_days, speed=speed, waits=not no_wait)):
            return job.come_back(speed)
        if root is not None:
            return job.fill(executor, root, formats=formats, matter=matter)
        assert other is not None
        return job.add_to(executor, other, matter=matter)


def _require_places(folder: str | None, into: str | None, *, dry_run: bool, tells_of_bucket: bool) -> None:
    if not dry_run and (folder is None) == (into is None):
        raise UsageError("say where to: --to FOLDER, or --into PLACE", next_step="or --dry-run, to see what would come")
    if into is None and tells_of_bucket:
        raise UsageError(
            "--endpoint-url and --region tell of the bucket that --into names, and there is none",
            next_step="where the archive's own bucket answers says s3: in archiver.yaml",
        )


def _require_choice(has_choice: bool, *, everything: bool) -> None:  # noqa: FBT001 - what it is about
    if has_choice == everything:
        raise UsageError(
            "--all is everything, and a choice was given too" if has_choice else "say what to restore",
            next_step="choose by --day, --from, --until, --channel, --conversation or --file, or take --all",
        )


class _Job:
    """One restore: from which head, what is wanted, and what a look at it found."""

    def __init__(
        self, invocation: Invocation, settings: Settings, archive: Archive, head: Head, wanted: Wanted
    ) -> None:
        self._settings = settings
        self._output = invocation.output
        self._archive = archive
        self._head = head
        self._wanted = wanted
        self._survey: Survey | None = None

    @property
    def survey(self) -> Survey:
        """What the last look found."""
        assert self._survey is not None
        return self._survey

    def look(self, executor: Executor) -> None:
        """See what would come and what lies cold."""
        from archiver.discovery.restore import survey  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

        self._survey = survey(self._archive, self._head, self._wanted, executor=executor)

    def thaw(self, executor: Executor, order: ThawOrder) -> bool:
        """Have everything that lies cold thawed; returns whether all of it can be read now."""

        def look() -> Cold:
            self.look(executor)  # rows that could not be read before may tell of more files
            return self.survey.cold

        cold = self.survey.cold
        return thaw_all(self._output, self._archive.store, cold, look=look, order=order, executor=executor)

    def tell(self, speed: ThawSpeed) -> int | None:
        """Say what would come, and change nothing."""
        self._output.result(self._survey_document(), show=lambda out: show_survey(out, self.survey, speed))
        return None

    def come_back(self, speed: ThawSpeed) -> int:
        """Say that it was asked for and is not there yet."""
        line = f"{cold_words(self.survey.cold, speed)}; give the same call again later"
        self._output.result(
            {**self._survey_document(), "asked": True, "exit_code": EXIT_GAPS}, show=lambda out: out.line(line)
        )
        return EXIT_GAPS

    def fill(self, executor: Executor, root: Path, *, formats: tuple[str, ...], matter: str | None) -> int | None:
        """Fill the folder, its report and its list, and enter the act."""
        from archiver import wiring_restore  # noqa: PLC0415 - as above
        from archiver.archive.ledger import canonical_json  # noqa: PLC0415 - as above
        from archiver.discovery.restore import restore  # noqa: PLC0415 - as above
        from archiver.discovery.restore_folder import RestoreFolder  # noqa: PLC0415 - as above

        chosen: Any = tuple(dict.fromkeys(formats))
        order = {
            "archive_id": self._archive.facts.archive_id,
            "wanted": wanted_document(self._wanted),
            "formats": list(chosen),
        }
        folder = RestoreFolder(root)
        folder.open(canonical_json(order) + b"\n")
        with self._watched() as progress:
            done = restore(
                self._archive,
                self._head,
                self._wanted,
                folder,
                formats=chosen,
                executor=executor,
                progress=progress,
                piece_bytes=wiring_restore.piece_bytes(self._settings),
            )
        report = {
            **order,
            "sequence": self._head.sequence,
            "digest": self._head.digest,
            "rows": done.rows,
            "files": done.files,
            "file_bytes": done.file_bytes,
            "missing": [asdict(item) for item in done.missing],
        }
        done.manifest_sha256 = folder.finish(to_json(report) + b"\n")
        entry = self._enter(matter, done.rows, done.files, package=done.manifest_sha256)
        exit_code = EXIT_DAMAGE if done.damages else EXIT_GAPS if done.missing else 0
        document = {
            **report,
            "folder": root,
            "manifest_sha256": done.manifest_sha256,
            "kept": done.kept,
            "entry": entry,
            "exit_code": exit_code,
        }
        self._output.result(document, show=lambda out: show(out, done, str(root)))
        return exit_code or None

    def add_to(self, executor: Executor, store: Store, *, matter: str | None) -> int | None:
        """Add to another archive, and enter the act in this one."""
        import secrets  # noqa: PLC0415 - as above

        from archiver import wiring, wiring_restore  # noqa: PLC0415 - as above
        from archiver.clock import SystemClock  # noqa: PLC0415 - as above
        from archiver.discovery.restore_into import Hand, open_other, restore_into  # noqa: PLC0415 - as above

        clock = SystemClock()
        other = open_other(store, self._archive, fresh_id=secrets.token_hex(16), created_at=to_text(clock.now_ms()))
        hand = Hand(
            author=wiring.author_beside_runs(clock=clock),
            new_attempt=wiring_restore.new_attempt,
            now_ms=clock.now_ms,
            folder=wiring_restore.copies_folder(self._settings),
            executor=executor,
            piece_bytes=wiring_restore.piece_bytes(self._settings),
        )
        with self._watched() as progress:
            done = restore_into(self._archive, self._head, self._wanted, other, hand, progress=progress)
        entry = self._enter(matter, done.rows, done.files, package=None)
        exit_code = EXIT_DAMAGE if done.damages else EXIT_GAPS if done.missing else 0
        document = {
            "wanted": wanted_document(self._wanted),
            "into": store.url,
            "archive_id": other.facts.archive_id,
            "rows": done.rows,
            "rows_there": done.kept,
            "files": done.files,
            "missing": [asdict(item) for item in done.missing],
            "entry": entry,
            "exit_code": exit_code,
        }
        self._output.result(document, show=lambda out: show_added(out, done, store.url))
        return exit_code or None

    def _enter(self, matter: str | None, rows: dict[str, int], files: int, *, package: str | None) -> int | None:
        """Enter in the ledger what was restored on behalf of a matter; returns the sequence of the entry."""
        if matter is None:
            return None
        from archiver import wiring  # noqa: PLC0415 - as above
        from archiver.archive.ledger import HoldScope, MatterAct  # noqa: PLC0415 - as above
        from archiver.archive.matters import record_act  # noqa: PLC0415 - as above
        from archiver.clock import SystemClock  # noqa: PLC0415 - as above

        wanted, clock = self._wanted, SystemClock()
        act = MatterAct(
            matter=matter,
            head_sequence=self._head.sequence,
            head_digest=self._head.digest,
            counts={**rows, "blobs": files},
            scope=HoldScope(
                chats=tuple(sorted(wanted.chats or ())), from_at_ms=wanted.from_at_ms, until_ms=wanted.until_ms
            ),
            package_sha256=package,
            detail={"names": " ".join(sorted(wanted.names))} if wanted.names else {},
        )
        author = wiring.author_beside_runs(clock=clock)
        return record_act(self._archive, self._head, "restore", act, author=author, now_ms=clock.now_ms).sequence

    def _survey_document(self) -> dict[str, Any]:
        survey = self.survey
        return {
            "archive": self._archive.store.url,
            "sequence": self._head.sequence,
            "wanted": wanted_document(self._wanted),
            "objects": len(survey.parts),
            "files": None if survey.files is None else len(survey.files),
            "bytes": survey.bytes,
            "cold": cold_document(survey.cold),
        }

    @contextmanager
    def _watched(self) -> Iterator[Callable[[str, int, int], None]]:
        with self._output.progress() as bars:
            tasks: dict[str, Any] = {}

            def progress(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done, total=total)

            yield progress
