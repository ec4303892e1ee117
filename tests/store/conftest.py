"""Every store that the conformance suite runs against, each empty at the start of a test."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from archiver.simulator.s3server import S3Access
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from archiver.store.s3 import S3Store
from archiver.store.s3_client import make_client
from tests.servers.plugin import session_of

STORES = ["memory", "local", "moto", "seaweedfs"]

# Small, so that a listing of many pages needs few objects.
PAGE_KEYS = 50


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """One test runs once for every store."""
    match request.param:
        case "memory":
            return MemoryStore()
        case "local":
            return LocalStore(tmp_path / "store")
        case "moto":
            return s3_store(request.getfixturevalue("moto_server"))
        case _:
            return s3_store(request.getfixturevalue("seaweedfs"))


@pytest.fixture
def seaweedfs_store(seaweedfs: S3Access) -> S3Store:
    """An empty store on the S3 server that refuses what S3 refuses."""
    return s3_store(seaweedfs)


def s3_store(access: S3Access) -> S3Store:
    """Return an S3 store with a prefix of its own in the server's one bucket."""
    session = session_of(access.access_key_id, access.secret_access_key)
    client = make_client(endpoint_url=access.endpoint_url, region=access.region, session=session)
    client.meta.events.register("provide-client-params.s3.ListObjectsV2", _in_small_pages)
    return S3Store(access.bucket, f"test/{uuid.uuid4().hex}", client=client)


def _in_small_pages(params: dict[str, Any], **_: object) -> dict[str, Any]:
    return {**params, "MaxKeys": PAGE_KEYS}
