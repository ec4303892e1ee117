"""What was discarded is nowhere on this machine after a scrub, though SQLite would keep it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from archiver.model.capture import Capture
from archiver.spool.sqlite import SqliteSpool
from tests.spool.conftest import SpoolFactory

WORD = b"chrysanthemum"


def captures(word: bytes, count: int = 200, size: int = 900) -> list[Capture]:
    return [
        Capture(
            "general",
            "webhook",
            1_795_000_000_000 + number,
            "webhook-token",
            b"%d " % number + word * (size // len(word)),
        )
        for number in range(count)
    ]


def archived(spool: object) -> None:
    """Read everything that waits and discard it, as a run does."""
    while found := spool.read(after=0, captures_max=100_000, bytes_max=10**9):  # type: ignore[attr-defined]
        spool.discard(through=found[-1].sequence)  # type: ignore[attr-defined]


def places_of(word: bytes, folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()}


def test_no_byte_of_what_was_discarded_stays_in_any_file(
    request: pytest.FixtureRequest, open_spool: SpoolFactory, tmp_path: Path
) -> None:
    spool = open_spool()
    spool.append(captures(WORD))
    archived(spool)
    spool.append(captures(b"kept", count=3))
    spool.read(after=0, captures_max=10, bytes_max=10**9)
    if "sqlite" in request.node.callspec.id:  # what comes by a queue is packed, so that no word of it can be seen
        assert places_of(WORD, tmp_path) != set()

    assert spool.scrub() is True

    assert places_of(WORD, tmp_path) == set()
    assert len(spool.read(after=0, captures_max=10, bytes_max=10**9)) == 3
    spool.close()


def test_a_listener_that_has_it_open_and_goes_on_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    listener, run = SqliteSpool(path), SqliteSpool(path)
    listener.append(captures(WORD))
    archived(run)
    listener.append(captures(b"kept", count=2))

    assert run.scrub() is True

    assert places_of(WORD, tmp_path) == set()
    listener.append(captures(b"kept", count=1))
    assert run.depth().captures == 3
    listener.close()
    run.close()


def test_who_reads_an_older_state_is_in_the_way_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = SqliteSpool(path, busy_timeout_seconds=0.05)
    spool.append(captures(WORD))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM batches").fetchone()
        archived(spool)
        assert spool.scrub() is False
        reader.execute("COMMIT")
    assert spool.scrub() is True
    assert places_of(WORD, tmp_path) == set()
    spool.close()
