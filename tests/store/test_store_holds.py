"""Legal holds in a bucket with Object Lock: what they keep, that they bind to a version, and stores that only pretend."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError
from urllib3 import HTTPResponse

from archiver.errors import KeyMissingError, ObjectLockedError, StoreRefusedError
from archiver.simulator.s3server import S3Access
from archiver.store import ObjectLock
from archiver.store.s3 import S3Store
from tests.servers.plugin import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Locked:
    """A store in a bucket of its own with Object Lock, and a client that looks behind it."""

    def __init__(self, access: S3Access, **bucket: Any) -> None:
        self.client: S3Client = s3_client(access)
        self.bucket = f"holds-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=self.bucket, **bucket)
        self.store = S3Store(self.bucket, "acme", client=self.client)

    def versions(self, key: str) -> list[str]:
        found = self.client.list_object_versions(Bucket=self.bucket, Prefix=f"acme/{key}").get("Versions", [])
        return [version["VersionId"] for version in found]


@pytest.fixture
def locked(seaweedfs: S3Access) -> Locked:
    return Locked(seaweedfs, ObjectLockEnabledForBucket=True)


def test_a_bucket_with_object_lock_can_hold_and_the_probe_is_never_listed(locked: Locked) -> None:
    assert locked.store.can_hold()
    assert locked.store.can_hold()
    assert list(locked.store.list("")) == []
    (_,) = locked.versions(".store/legal-hold")


def test_what_is_held_cannot_be_erased_until_the_hold_is_lifted(locked: Locked) -> None:
    store = locked.store
    store.create("a/key", b"evidence")

    assert store.set_legal_hold("a/key", on=True)
    assert store.lock("a/key") == ObjectLock(None, legal_hold=True)
    (version_id,) = locked.versions("a/key")
    with pytest.raises(ClientError, match="AccessDenied"):
        locked.client.delete_object(Bucket=locked.bucket, Key="acme/a/key", VersionId=version_id)

    assert store.set_legal_hold("a/key", on=False)
    assert store.lock("a/key") is None
    store.erase("a/key")
    assert locked.versions("a/key") == []


def test_setting_what_is_set_changes_nothing_and_says_so(locked: Locked) -> None:
    locked.store.create("a/key", b"evidence")
    assert not locked.store.set_legal_hold("a/key", on=False)
    assert locked.store.set_legal_hold("a/key", on=True)
    assert not locked.store.set_legal_hold("a/key", on=True)


def test_a_hold_binds_to_the_version_that_was_there(locked: Locked) -> None:
    store = locked.store
    store.replace("a/key", b"held")
    store.set_legal_hold("a/key", on=True)
    store.replace("a/key", b"later")

    assert store.lock("a/key") is None
    with pytest.raises(ObjectLockedError) as raised:
        store.erase("a/key")
    assert raised.value.legal_hold
    assert len(locked.versions("a/key")) == 1


def test_lifting_reaches_what_an_erasure_could_only_hide(locked: Locked) -> None:
    store = locked.store
    store.create("a/key", b"evidence")
    store.create("a/key-2", b"of another")
    for key in ("a/key", "a/key-2"):
        store.set_legal_hold(key, on=True)
    with pytest.raises(ObjectLockedError):
        store.erase("a/key")

    assert store.set_legal_hold("a/key", on=False)
    store.erase("a/key")

    assert len(locked.versions("a/key")) == 1, "only that of the neighbour whose key begins alike"
    assert store.lock("a/key-2") == ObjectLock(None, legal_hold=True)
    with pytest.raises(KeyMissingError):
        store.set_legal_hold("a/key", on=False)


def test_of_what_is_not_there_nothing_is_held(locked: Locked) -> None:
    with pytest.raises(KeyMissingError):
        locked.store.set_legal_hold("a/key", on=True)
    locked.store.create("a/key", b"evidence")
    locked.store.delete("a/key")
    with pytest.raises(KeyMissingError):
        locked.store.set_legal_hold("a/key", on=True)
    assert not locked.store.set_legal_hold("a/key", on=False)


@pytest.mark.parametrize("mark", ["ignored", "shown and ignored"])
def test_a_store_that_takes_a_hold_and_ignores_it_is_refused(
    mark: str, seaweedfs: S3Access, request: pytest.FixtureRequest
) -> None:
    """A real bucket with versions alone, before which the answers of a server that pretends are put."""
    pretender = Locked(seaweedfs)
    pretender.client.put_bucket_versioning(Bucket=pretender.bucket, VersioningConfiguration={"Status": "Enabled"})
    _pretend(pretender.client, shows_mark=mark == "shown and ignored")
    with pytest.raises(StoreRefusedError, match="takes a legal hold and"):
        pretender.store.can_hold()


def _pretend(client: S3Client, *, shows_mark: bool) -> None:
    """Answer every request for a legal hold with a yes that does nothing, and let a HEAD tell of a mark if it shall."""

    def marked(parsed: dict[str, Any], **_: object) -> None:
        if shows_mark:
            parsed["ObjectLockLegalHoldStatus"] = "ON"

    client.meta.events.register("before-send.s3.PutObjectLegalHold", _yes)
    client.meta.events.register("after-call.s3.HeadObject", marked)


def _yes(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    return AWSResponse(request.url, 200, {}, HTTPResponse(io.BytesIO(), preload_content=False))


def test_without_the_rights_a_store_says_which_ones_are_missing(locked: Locked) -> None:
    def denied(parsed: dict[str, Any], model: Any, **_: object) -> None:
        del parsed, model
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "PutObjectLegalHold")

    locked.store.create("a/key", b"evidence")
    locked.client.meta.events.register("after-call.s3.PutObjectLegalHold", denied)
    for use in (locked.store.can_hold, lambda: locked.store.set_legal_hold("a/key", on=True)):
        with pytest.raises(StoreRefusedError) as raised:
            use()
        assert "s3:PutObjectLegalHold" in raised.value.next_step
