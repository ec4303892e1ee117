"""Puts together what an export is made with; the concrete parts come from `archiver.wiring`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archiver import wiring, wiring_query
from archiver.clock import Clock
from archiver.wiring_places import place_outside

if TYPE_CHECKING:
    from archiver.archive.commit import Author
    from archiver.archive.reader import Archive, Head
    from archiver.discovery.export.replies import Asked, Found
    from archiver.discovery.export.targets import Target
    from archiver.settings import Settings

# They read and sort ahead, get blocks ready, make lines, hash and write, and wait for the disk; one of them may wait for another.
THREADS = 4
# An export has 500 MB at any size, and what a question about replies needs beyond the first of these goes to the disk. Not all of it can:
# where messages are very long it is asked again with more, the last time with as much as there is.
REPLIES_BYTES_MAX = (100_000_000, 200_000_000, 400_000_000, None)


@dataclass(frozen=True, slots=True)
class ExportParts:
    """An archive to export from, a folder for temporary files, what works beside, and who enters the export in the ledger, and when.

    ``in_two`` is whether a second process would have a processor. ``replies`` asks what messages reply to.
    """

    archive: Archive
    folder: Path
    executor: ThreadPoolExecutor
    in_two: bool
    replies: Asked
    author: Author
    now_ms: Callable[[], int]
    software: str


@contextmanager
def exporting(settings: Settings, *, clock: Clock) -> Iterator[ExportParts]:
    """Open the archive for exporting; the folder for temporary files goes when the block ends, however it ends.

    It takes no run lock: of an export's entry and a run's commit the ledger lets one win, and the other try again.
    """
    from archiver.archive.memory import give_memory_back  # noqa: PLC0415 - heavy, and --help needs none of it
    from archiver.discovery.export.runs import KEPT_BYTES_MAX  # noqa: PLC0415 - as above

    give_memory_back(kept_bytes_max=KEPT_BYTES_MAX)
    archive = wiring.open_seen_archive(settings)
    author = wiring.author_beside_runs(clock=clock)
    with (
        tempfile.TemporaryDirectory(prefix="archiver-export-") as folder,
        ThreadPoolExecutor(THREADS, thread_name_prefix="export") as executor,
    ):
        asked = partial(_replies, settings, archive)
        in_two = bool(sys.executable) and _processors() > 1
        yield ExportParts(archive, Path(folder), executor, in_two, asked, author, clock.now_ms, wiring.SOFTWARE)


def _processors() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _replies(
    settings: Settings,
    archive: Archive,
    head: Head,
    chats: Sequence[str],
    *span_ms: int,
    bytes_max: Sequence[int | None] = REPLIES_BYTES_MAX,
) -> Iterator[Found]:
    """Yield the replies in some chats and between two instants, both included, of which one original is certain."""
    from archiver.query.mistakes import TooLargeError  # noqa: PLC0415 - as above
    from archiver.query.replies import certain_replies  # noqa: PLC0415 - as above

    allowed = list(bytes_max)

    def ask(sql: str) -> list[Any]:
        while True:
            try:
                with wiring_query.open_query(settings, archive, head, memory_bytes_max=allowed[0]) as engine:
                    return list(engine.ask(sql).rows)
            except TooLargeError:
                if len(allowed) == 1:
                    raise
                allowed.pop(0)

    first_ms, last_ms = span_ms
    yield from certain_replies(ask, chats, first_ms, last_ms)


def open_target(settings: Settings, to: str, *, folder: Path) -> Target:
    """Return the place that ``--to`` names; raises `UsageError` as `archiver.wiring_places.place_outside`."""
    from archiver.discovery.export.targets import FolderTarget, StoreTarget  # noqa: PLC0415 - heavy, and --help needs none of it

    place = place_outside(settings, to)
    if isinstance(place, Path):
        return FolderTarget(place)
    from archiver.store.s3 import S3Store  # noqa: PLC0415 - as above

    store = S3Store(place.bucket, place.prefix, endpoint_url=settings.s3.endpoint_url, region=settings.s3.region)
    return StoreTarget(store, folder)
