"""Reading what lies cold. moto plays the storage classes of S3; SeaweedFS keeps the name of a class and reads everything at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from moto.moto_api import state_manager

from archiver.errors import KeyMissingError, ObjectColdError
from archiver.simulator.s3server import S3Access
from archiver.store import Store
from archiver.store.s3 import S3Store
from archiver.store.s3_thawing import state_in
from tests.servers.plugin import s3_client

COLD = ["GLACIER", "DEEP_ARCHIVE"]


class Cold:
    """A store in moto, and objects put into it in a class of their own, as a lifecycle rule would move them."""

    def __init__(self, access: S3Access) -> None:
        self._bucket, self._prefix = access.bucket, f"cold/{uuid.uuid4().hex}"
        self.client = s3_client(access)
        self.store = S3Store(self._bucket, self._prefix, client=self.client)

    def put(self, key: str, data: bytes, storage_class: str) -> None:
        self.client.put_object(Bucket=self._bucket, Key=f"{self._prefix}/{key}", Body=data, StorageClass=storage_class)


@pytest.fixture
def cold(moto_server: S3Access) -> Cold:
    return Cold(moto_server)


@pytest.fixture
def slow_thaw() -> Iterator[None]:
    """moto makes the copy only after it was asked how far it is."""
    state_manager.set_transition("s3::keyrestore", {"progression": "manual", "times": 3})
    yield
    state_manager.unset_transition("s3::keyrestore")


def test_what_is_not_cold_can_be_read_and_thawing_it_changes_nothing(store: Store) -> None:
    store.create("a/key", b"warm")
    assert store.is_cold("a/key") is False
    assert store.thaw("a/key", days=1, speed="bulk") == "readable"
    assert store.read("a/key") == b"warm"


def test_a_missing_object_is_missing(store: Store) -> None:
    for ask in (store.is_cold, lambda key: store.thaw(key, days=1, speed="standard")):
        with pytest.raises(KeyMissingError):
            ask("nothing")


@pytest.mark.parametrize("storage_class", COLD)
def test_a_cold_object_says_so_and_is_read_once_it_is_thawed(cold: Cold, storage_class: str, slow_thaw: None) -> None:
    cold.put("a/key", b"frozen", storage_class)
    store = cold.store
    assert store.is_cold("a/key")
    assert store.storage_class("a/key") == storage_class
    assert store.stat("a/key").size == 6
    for read in (store.read, store.open):
        with pytest.raises(ObjectColdError, match="InvalidObjectState"):
            read("a/key")

    assert store.thaw("a/key", days=2, speed="standard") == "asked"
    states = [store.thaw("a/key", days=2, speed="standard") for _ in range(6)]

    assert states[0] == "under way"
    assert states[-1] == "readable"
    assert states == sorted(states, reverse=True)
    assert not store.is_cold("a/key")
    assert store.read("a/key") == b"frozen"
    assert store.storage_class("a/key") == storage_class


def test_instant_retrieval_needs_no_thawing(cold: Cold) -> None:
    cold.put("a/key", b"cool", "GLACIER_IR")
    assert not cold.store.is_cold("a/key")
    assert cold.store.thaw("a/key", days=1, speed="standard") == "readable"


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "readable"),
        ({"StorageClass": "GLACIER_IR"}, "readable"),
        ({"StorageClass": "GLACIER"}, None),
        ({"StorageClass": "DEEP_ARCHIVE", "Restore": 'ongoing-request="true"'}, "under way"),
        (
            {
                "StorageClass": "GLACIER",
                "Restore": 'ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"',
            },
            "readable",
        ),
        ({"StorageClass": "INTELLIGENT_TIERING"}, "readable"),
        ({"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"}, None),
        (
            {
                "StorageClass": "INTELLIGENT_TIERING",
                "ArchiveStatus": "ARCHIVE_ACCESS",
                "Restore": 'ongoing-request="true"',
            },
            "under way",
        ),
    ],
)
def test_the_states_are_those_of_the_manual(facts: dict[str, str], state: str | None) -> None:
    assert state_in(facts) == state
