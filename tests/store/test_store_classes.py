"""Moving objects to another storage class: the bytes stay, the price changes, and no lock is lost on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.errors import KeyMissingError, ObjectLockedError, StoreRefusedError
from archiver.store import MULTIPART_FROM_BYTES, ObjectInfo, Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from archiver.store.s3 import S3Store
from tests.store.test_store_versions import Versioned, versioned

__all__ = ["versioned"]


@pytest.fixture(params=["memory", "local"])
def store_without(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "store")


@pytest.mark.parametrize("size", [10, MULTIPART_FROM_BYTES + 1], ids=["small", "in parts"])
def test_an_object_moves_with_its_bytes_and_leaves_nothing_in_the_old_class(versioned: Versioned, size: int) -> None:
    store, content = versioned.store, bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    store.create("a/key", content)
    assert store.storage_class("a/key") == "STANDARD"

    assert store.move_to_class("a/key", "GLACIER_IR") is True

    assert store.storage_class("a/key") == "GLACIER_IR"
    assert store.read("a/key") == content
    assert store.stat("a/key") == ObjectInfo("a/key", size)
    assert versioned.behind("a/key") == (1, 0)
    assert list(store.list_hidden("")) == []
    assert store.move_to_class("a/key", "GLACIER_IR") is False


@pytest.mark.parametrize("lock", ["retention", "hold"])
def test_what_a_lock_keeps_does_not_move_for_its_copy_would_have_none(versioned: Versioned, lock: str) -> None:
    versioned.store.create("a/key", b"locked")
    if lock == "hold":
        versioned.hold("a/key", "ON")
    else:
        versioned.lock("a/key", "COMPLIANCE", datetime.now(UTC) + timedelta(days=2))

    with pytest.raises(ObjectLockedError, match="cannot be moved to another storage class"):
        versioned.store.move_to_class("a/key", "STANDARD_IA")

    assert versioned.store.storage_class("a/key") == "STANDARD"
    assert versioned.behind("a/key") == (1, 0)


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE", "", "glacier_ir", "CHEAP"])
def test_a_class_out_of_which_nothing_is_read_at_once_is_refused(versioned: Versioned, storage_class: str) -> None:
    versioned.store.create("a/key", b"x")
    with pytest.raises(StoreRefusedError, match="cannot be read at once"):
        versioned.store.move_to_class("a/key", storage_class)
    assert versioned.store.storage_class("a/key") == "STANDARD"


def test_a_store_without_classes_says_so(store_without: Store) -> None:
    store_without.create("a/key", b"x")
    assert store_without.storage_class("a/key") is None
    with pytest.raises(StoreRefusedError, match="no storage classes"):
        store_without.move_to_class("a/key", "GLACIER_IR")
    assert store_without.read("a/key") == b"x"


def test_a_missing_object_is_missing(versioned: Versioned, store_without: Store) -> None:
    for store in (versioned.store, store_without):
        assert isinstance(store, S3Store | MemoryStore | LocalStore)
        for ask in (store.storage_class, lambda key, store=store: store.move_to_class(key, "GLACIER_IR")):
            with pytest.raises(KeyMissingError):
                ask("nothing")
