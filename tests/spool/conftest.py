"""The spools that the contract is run against; another spool joins by adding its place to `PLACES`."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from archiver.clock import Clock, SystemClock
from archiver.simulator.s3server import S3Access
from archiver.spool import Spool
from archiver.spool.sqlite import SqliteSpool
from archiver.spool.sqs import SqsSpool
from archiver.spool.sqs_queue import SqsQueue
from tests.servers.plugin import session_of

SpoolFactory = Callable[[], Spool]

SPOOLS = ["sqlite", "sqs"]


@pytest.fixture(params=SPOOLS)
def new_place(request: pytest.FixtureRequest) -> Callable[[Path], SpoolFactory]:
    """Takes a folder and returns a function that opens the same new spool again and again."""
    if request.param == "sqlite":
        return lambda folder: lambda: SqliteSpool(folder / "state" / "spool.sqlite")
    access = request.getfixturevalue("moto_server")

    def new_queue(folder: Path) -> SpoolFactory:
        name = created_queue(access)
        return lambda: sqs_spool(access, name, folder / "state")

    return new_queue


@pytest.fixture
def open_spool(new_place: Callable[[Path], SpoolFactory], tmp_path: Path) -> SpoolFactory:
    return new_place(tmp_path)


@pytest.fixture
def spool(open_spool: SpoolFactory) -> Iterator[Spool]:
    opened = open_spool()
    yield opened
    opened.close()


def sqs_client(access: S3Access) -> Any:
    """A plain boto3 client, for what the product itself never does, such as making queues."""
    session = session_of(access.access_key_id, access.secret_access_key)
    return session.client("sqs", endpoint_url=access.endpoint_url, region_name=access.region)


def created_queue(access: S3Access, **attributes: str) -> str:
    """Make a queue as docs/operations.md recommends, and return its name."""
    name = f"captures-{uuid.uuid4().hex}"
    wanted = {"MessageRetentionPeriod": "1209600"} | attributes
    sqs_client(access).create_queue(QueueName=name, Attributes=wanted)
    return name


def sqs_spool(access: S3Access, name: str, folder: Path, *, clock: Clock | None = None, **how: Any) -> SqsSpool:
    """Open the spool in a queue, which does not wait for what may still come: this server shows at once all that it has."""
    how = {"wait_seconds": 0, "connections_at_once": 1} | how
    return SqsSpool(open_queue(access, name), folder, clock=clock or SystemClock(), **how)


def show_again(access: S3Access, name: str) -> None:
    """Let the time be over for which received messages are hidden; the server runs in this process."""
    with moto_messages(access, name) as messages:
        for message in messages:
            message.visible_at = 0


@contextlib.contextmanager
def moto_messages(access: S3Access, name: str) -> Iterator[list[Any]]:
    """The messages that the server holds, hidden ones too."""
    queue = sqs_backends[DEFAULT_ACCOUNT_ID][access.region].queues[name]
    yield queue._messages


def open_queue(access: S3Access, name: str) -> SqsQueue:
    session = session_of(access.access_key_id, access.secret_access_key)
    return SqsQueue(name, region=access.region, endpoint_url=access.endpoint_url, session=session)
