"""Erasing in a bucket that keeps old versions: nothing stays, except what a lock keeps, and that is said."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from archiver.clock import to_ms
from archiver.errors import KeyMissingError, ObjectLockedError, StoreRefusedError
from archiver.simulator.s3server import S3Access
from archiver.store import ObjectInfo, ObjectLock
from archiver.store.s3 import S3Store
from tests.faulty_store import Stopped
from tests.servers.plugin import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Versioned(NamedTuple):
    """A store in a bucket with versions and Object Lock, and a client that looks behind it."""

    store: S3Store
    client: S3Client
    bucket: str

    def behind(self, key: str) -> tuple[int, int]:
        """How many versions and how many markers lie under exactly this key."""
        found = self.client.list_object_versions(Bucket=self.bucket, Prefix=f"acme/{key}")
        versions, markers = (
            sum(item["Key"] == f"acme/{key}" for item in found.get(kind, []))  # type: ignore[attr-defined]
            for kind in ("Versions", "DeleteMarkers")
        )
        return versions, markers

    def lock(self, key: str, mode: str, ends_at: datetime) -> None:
        self.client.put_object_retention(
            Bucket=self.bucket, Key=f"acme/{key}", Retention={"Mode": mode, "RetainUntilDate": ends_at}
        )

    def hold(self, key: str, status: str, version_id: str = "") -> None:
        more = {"VersionId": version_id} if version_id else {}
        self.client.put_object_legal_hold(Bucket=self.bucket, Key=f"acme/{key}", LegalHold={"Status": status}, **more)


@pytest.fixture(params=["moto", "seaweedfs"])
def versioned(request: pytest.FixtureRequest) -> Versioned:
    access: S3Access = request.getfixturevalue("moto_server" if request.param == "moto" else "seaweedfs")
    client, bucket = s3_client(access), f"versions-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    return Versioned(S3Store(bucket, "acme", client=client), client, bucket)


def in_days(days: int) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


def test_every_version_and_marker_goes_and_neighbours_stay(versioned: Versioned) -> None:
    store = versioned.store
    for content in (b"first", b"second", b"third"):
        store.replace("a/key", content)
    store.delete("a/key")
    store.replace("a/key", b"fourth")
    store.create("a/key-2", b"of another")
    store.replace("a/key-2", b"of another, again")
    assert versioned.behind("a/key") == (4, 1)

    store.erase("a/key")

    assert versioned.behind("a/key") == (0, 0)
    assert versioned.behind("a/key-2") == (2, 0)
    assert store.read("a/key-2") == b"of another, again"


def test_what_a_delete_only_hid_is_erased_too(versioned: Versioned) -> None:
    versioned.store.create("a/key", b"hidden")
    versioned.store.delete("a/key")
    assert list(versioned.store.list_hidden("")) == [ObjectInfo("a/key", 6)]

    versioned.store.erase("a/key")

    assert versioned.behind("a/key") == (0, 0)
    assert list(versioned.store.list_hidden("")) == []


def test_old_versions_are_listed_by_their_keys_and_new_ones_are_not(versioned: Versioned) -> None:
    for key in ("b", "a/x", "a/y"):
        versioned.store.create(key, b"old")
    versioned.store.replace("a/x", b"newer")
    versioned.store.replace("a/x", b"newest")
    versioned.store.delete("b")

    assert list(versioned.store.list_hidden("a/")) == [ObjectInfo("a/x", 5), ObjectInfo("a/x", 3)]
    assert [info.key for info in versioned.store.list_hidden("")] == ["a/x", "a/x", "b"]


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_a_lock_keeps_its_version_hidden_and_nothing_else(versioned: Versioned, mode: str) -> None:
    ends_at = in_days(2)
    versioned.store.replace("a/key", b"locked")
    versioned.lock("a/key", mode, ends_at)
    versioned.store.replace("a/key", b"later, not locked")
    assert versioned.store.lock("a/key") is None

    with pytest.raises(ObjectLockedError, match="acme/a/key cannot be erased: Object Lock until") as caught:
        versioned.store.erase("a/key")

    assert (caught.value.until_ms, caught.value.legal_hold) == (to_ms(ends_at), False)
    assert isinstance(caught.value, StoreRefusedError)
    assert list(versioned.store.list_hidden("")) == [ObjectInfo("a/key", 6)]
    assert versioned.behind("a/key")[0] == 1
    with pytest.raises(KeyMissingError):
        versioned.store.read("a/key")
    assert list(versioned.store.list("")) == []


def test_a_lock_is_told_before_anybody_tries(versioned: Versioned) -> None:
    ends_at = in_days(3)
    versioned.store.create("a/key", b"x")
    versioned.lock("a/key", "COMPLIANCE", ends_at)
    assert versioned.store.lock("a/key") == ObjectLock(to_ms(ends_at), legal_hold=False)

    versioned.hold("a/key", "ON")

    assert versioned.store.lock("a/key") == ObjectLock(to_ms(ends_at), legal_hold=True)


def test_a_legal_hold_has_no_end_and_erasing_goes_on_when_it_is_released(versioned: Versioned) -> None:
    versioned.store.create("a/key", b"held")
    (version,) = versioned.client.list_object_versions(Bucket=versioned.bucket, Prefix="acme/a/key")["Versions"]
    versioned.hold("a/key", "ON")
    for _ in range(2):
        with pytest.raises(ObjectLockedError, match="a legal hold keeps 1 version, now hidden") as caught:
            versioned.store.erase("a/key")
        assert (caught.value.until_ms, caught.value.legal_hold) == (None, True)
        assert versioned.behind("a/key") == (1, 1)

    versioned.hold("a/key", "OFF", version["VersionId"])
    versioned.store.erase("a/key")

    assert versioned.behind("a/key") == (0, 0)


def test_no_older_version_comes_to_light_while_the_newer_ones_go(versioned: Versioned) -> None:
    """Stopped after any request, a reader finds the newest content or nothing."""
    for stop_at in range(1, 8):
        key = f"stopped/{stop_at}"
        for content in (b"first", b"second"):
            versioned.store.replace(key, content)
        client = s3_client_like(versioned.client)
        count = 0

        def stop(stop_at: int = stop_at, **_: object) -> None:
            nonlocal count
            count += 1
            if count >= stop_at:
                raise Stopped(f"request {count}")

        client.meta.events.register("before-send.s3", stop)
        with contextlib.suppress(Stopped):
            S3Store(versioned.bucket, "acme", client=client).erase(key)
        try:
            assert versioned.store.read(key) == b"second"
            assert stop_at == 1
        except KeyMissingError:
            assert stop_at > 1
        versioned.store.erase(key)
        assert versioned.behind(key) == (0, 0)
    assert count < stop_at  # the last one was not stopped at all


def s3_client_like(client: S3Client) -> S3Client:
    """Return a client of its own for the same server."""
    credentials = client._request_signer._credentials  # type: ignore[attr-defined]
    return s3_client(
        S3Access(
            endpoint_url=client.meta.endpoint_url,
            region=client.meta.region_name,
            bucket="",
            access_key_id=credentials.access_key,
            secret_access_key=credentials.secret_key,
        )
    )
