"""The spools that the contract is run against; another spool joins by adding its factory to `FACTORIES`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.spool import Spool
from archiver.spool.sqlite import SqliteSpool

SpoolFactory = Callable[[], Spool]


def sqlite_factory(directory: Path) -> SpoolFactory:
    return lambda: SqliteSpool(directory / "state" / "spool.sqlite")


# Each takes a directory of its own and returns a function that opens the same spool again and again.
FACTORIES = {"sqlite": sqlite_factory}


@pytest.fixture(params=sorted(FACTORIES))
def open_spool(request: pytest.FixtureRequest, tmp_path: Path) -> SpoolFactory:
    return FACTORIES[request.param](tmp_path)


@pytest.fixture
def spool(open_spool: SpoolFactory) -> Iterator[Spool]:
    opened = open_spool()
    yield opened
    opened.close()
