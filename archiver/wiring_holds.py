"""Puts together what holds are entered and looked at with; the concrete parts come from `archiver.wiring`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from archiver import wiring
from archiver.clock import Clock

if TYPE_CHECKING:
    from archiver.archive.reader import Archive
    from archiver.retention.holds import Registrar
    from archiver.settings import Settings


@contextmanager
def mirroring(settings: Settings) -> Iterator[Archive]:
    """Hold this machine's run lock and give the archive whose marks are to be brought in step.

    Raises `ArchiveBusyError` while a run is under way, which marks what is held itself at its end, and `RefusedError` for a copy.
    """
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as below
    from archiver.run import lock  # noqa: PLC0415 - heavy, and --help needs none of it

    with lock.hold(settings.state):
        archive = wiring.open_archive(settings)
        refuse_copy(archive.store)
        yield archive


def registrar(settings: Settings, *, clock: Clock) -> Registrar:
    """Return what enters holds into the archive that there is; raises `UsageError` if there is none yet, `RefusedError` for a copy.

    It takes no run lock: a hold must not wait for a night's work, and of a hold and a run's commit the ledger lets one win and the other
    try again. So it has a writer's name of its own each time, and the store is asked first to show that it lets only one win.
    """
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - as below
    from archiver.retention.holds import Registrar  # noqa: PLC0415 - heavy, and --help needs none of it

    archive = wiring.open_seen_archive(settings)
    refuse_copy(archive.store)
    archive.store.probe()
    author = wiring.author_beside_runs(clock=clock)
    return Registrar(archive=archive, author=author, now_ms=clock.now_ms, new_attempt=lambda: secrets.token_hex(4))
