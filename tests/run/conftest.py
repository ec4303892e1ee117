"""The machines that most tests of a run begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.store.local import LocalStore
from tests.run.installation import Installation, install
from tests.run.station import Station, station

# A small workspace, in which every kind of message and of file answer occurs all the same.
SMALL = {"seed": 11, "people": 6, "channels": 3, "messages": 50}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Station]:
    """A machine before its first run, and a Flock where nothing has happened yet."""
    with station(tmp_path, **SMALL) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Station, Installation]]:
    """A machine with a day in its spool, and the program, configured for that spool and for an archive beside it."""
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), **SMALL) as running:
        running.flock.play_all(connections=1)
        running.take_pushes()
        yield running, install(running.flock, tmp_path, listener_url=running.url, token_key=running.token_key.reveal())
