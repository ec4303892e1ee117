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
from typing import TYPE_CHECKING

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
# An export has 500 MB at any size. What a question about replies needs beyond this goes to the disk.
REPLIES_BYTES_MAX = 200_000_000


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


def _replies(settings: Settings, archive: Archive, head: Head, chats: Sequence[str], *span_ms: int) -> Iterator[Found]:
    """Yield the replies in some chats and between two instants, both included, of which the view knows one original and no other."""
    from archiver.query.views import text_list  # noqa: PLC0415 - as above

    first_ms, last_ms = span_ms
    sql = f"""SELECT chat_id, message_uid, original_uid FROM inferred_replies
        WHERE original_uid IS NOT NULL AND list_contains({text_list(chats)}, chat_id)
            AND epoch_ms(sent_at) BETWEEN {first_ms} AND {last_ms}"""  # noqa: S608 - the texts are quoted
    with wiring_query.open_query(settings, archive, head, memory_bytes_max=REPLIES_BYTES_MAX) as engine:
        yield from engine.ask(sql).rows


def open_target(settings: Settings, to: str, *, folder: Path) -> Target:
    """Return the place that ``--to`` names; raises `UsageError` as `archiver.wiring_places.place_outside`."""
    from archiver.discovery.export.targets import FolderTarget, StoreTarget  # noqa: PLC0415 - heavy, and --help needs none of it

    place = place_outside(settings, to)
    if isinstance(place, Path):
        return FolderTarget(place)
    from archiver.store.s3 import S3Store  # noqa: PLC0415 - as above

    store = S3Store(place.bucket, place.prefix, endpoint_url=settings.s3.endpoint_url, region=settings.s3.region)
    return StoreTarget(store, folder)
