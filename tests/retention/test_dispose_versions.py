"""Disposing in a real bucket with versions: no old version keeps what went, and what a lock keeps is said out loud."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from archiver.archive import layout
from archiver.archive.commit import Author
from archiver.archive.ledger import HeadMovedError
from archiver.archive.reader import Archive, Head, files_of
from archiver.archive.recover import recover
from archiver.clock import DAY_MS, day_of, to_ms, to_text
from archiver.custody.findings import Unerased, Verification
from archiver.custody.verify import verify
from archiver.errors import KeyMissingError
from archiver.retention.certificate import lines_of
from archiver.retention.dispose import check
from archiver.retention.erasing import finish_disposals
from archiver.retention.locked import locks_of_located, locks_of_plan
from archiver.retention.plan_document import store_plan
from archiver.simulator.s3server import S3Access
from archiver.store.s3 import S3Store
from tests.archive.archive_steps import AT_MS, AUTHOR, InlineExecutor, add, message
from tests.retention.disposing import (
    ALONE,
    EVERY_SECRET,
    FILED,
    SHARED,
    NoHolds,
    apply,
    build,
    every_row,
    of_messages,
    places_of,
    plan_for,
    rows_but,
    secret_of,
)
from tests.retention.late_listing import LateListing
from tests.servers.plugin import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WORDS = [*(secret_of(key) for key in EVERY_SECRET), "the peony's own file", "a file of two messages"]


ORPHAN = layout.data_key(
    "messages", datetime.fromtimestamp(AT_MS / 1000, UTC).date(), sequence=2, attempt="ffffffff", number=1
)


class Bucket:
    """A bucket with versions and Object Lock on SeaweedFS, and everything that lies in it, old versions too."""

    def __init__(self, client: S3Client) -> None:
        self.client = client
        self.name = f"dispose-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=True)
        self.store = S3Store(self.name, client=client)

    def everything(self) -> dict[str, bytes]:
        found = {}
        for page in self.client.get_paginator("list_object_versions").paginate(Bucket=self.name):
            for version in page.get("Versions", []):
                answer = self.client.get_object(Bucket=self.name, Key=version["Key"], VersionId=version["VersionId"])
                suffix = ".parquet" if version["Key"].endswith(".parquet") else ""
                found[f"{version['Key']} {version['VersionId']}{suffix}"] = answer["Body"].read()
        return found

    def verify(self) -> Verification:
        with ThreadPoolExecutor(4) as executor:
            return verify(self.store, level="full", executor=executor)


@pytest.fixture
def bucket(seaweedfs: S3Access) -> Bucket:
    return Bucket(s3_client(seaweedfs))


def finish(archive: Archive, *, author: Author = AUTHOR) -> Head:
    head, _ = finish_disposals(
        archive, archive.head(), author=author, now_ms=AT_MS, executor=InlineExecutor(), progress=lambda *_: None
    )
    return head


def test_no_version_of_any_object_holds_what_went_and_every_other_row_is_there(bucket: Bucket, tmp_path: Path) -> None:
    archive, head = build(bucket.store, tmp_path)
    # What a slower writer wrote and deleted again lies there as an old version, with the same texts.
    earlier = Archive(LateListing(bucket.store, until=1), archive.facts, archive.facts_digest)
    with pytest.raises(HeadMovedError):
        add(earlier, earlier.head(), {"messages": [message("slower", text="an orchid of the slower writer")]})
    bucket.store.create(ORPHAN, b"the lupin of one who deleted and did not erase")
    bucket.store.delete(ORPHAN)
    assert all(places_of(word, bucket.everything()) for word in WORDS)
    plan = plan_for(archive, head, EVERY_SECRET, [(*FILED, 0), (*FILED, 1), (*FILED, 2), (*SHARED, 0)])
    store_plan(bucket.store, plan)
    expected = rows_but(
        bucket.store,
        head,
        lambda table, row: (
            of_messages(*EVERY_SECRET)(table, row) or (table == "files" and row["message_uid"] in (FILED[1], SHARED[1]))
        ),
    )

    with ThreadPoolExecutor(4) as executor:
        done = apply(archive, head, plan, executor=executor)

    assert {word: places for word in WORDS if (places := places_of(word, bucket.everything()))} == {}
    assert every_row(bucket.store, done.head) == expected
    outcome = bucket.verify()
    assert (outcome.damages, outcome.unerased) == ((), ())


def test_what_a_lock_keeps_is_told_and_erased_when_it_has_ended(bucket: Bucket, tmp_path: Path) -> None:
    archive, head = build(bucket.store, tmp_path)
    plan = plan_for(archive, head, [ALONE])
    [record] = files_of(head, "messages", days=frozenset({day_of(AT_MS + 5 * DAY_MS)}))
    (version,) = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=record.key)["Versions"]
    ends_at = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    where = {"Bucket": bucket.name, "Key": record.key, "VersionId": version["VersionId"]}
    bucket.client.put_object_legal_hold(**where, LegalHold={"Status": "ON"})

    # Whoever approves the plan can know.
    executor = InlineExecutor()
    located = check(archive, head, plan, coverage=NoHolds(), executor=executor)
    exactly = locks_of_located(archive.store, located, (), executor=executor)
    for told in (locks_of_plan(archive.store, head, plan, executor=executor), exactly):
        assert (told.objects, told.until_ms, told.legal_holds) == (1, None, 1)
        assert told.sentence is not None
        assert "1 have a legal hold" in told.sentence

    done = apply(archive, head, plan)

    assert [(kept.key, kept.until, kept.legal_hold) for kept in done.certificate.locked] == [(record.key, None, True)]
    assert any(record.key in line for line in lines_of(done.certificate))
    assert [(kept.key, kept.why) for kept in done.erasure.kept] == [(record.key, "lock")]
    with pytest.raises(KeyMissingError):
        bucket.store.read(record.key)
    assert done.head.unerased == (3,)
    outcome = bucket.verify()
    assert (outcome.damages, outcome.unerased) == ((), (Unerased(sequence=3, objects=1),))

    # The next nights try again; a lock with an end is told with it.
    bucket.client.put_object_retention(**where, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": ends_at})
    bucket.client.put_object_legal_hold(**where, LegalHold={"Status": "OFF"})
    recover(archive, writer=AUTHOR.writer, now_ms=AT_MS)
    head, [erasure] = finish_disposals(
        archive, archive.head(), author=AUTHOR, now_ms=AT_MS, executor=InlineExecutor(), progress=lambda *_: None
    )
    assert [to_text(kept.until_ms or 0) for kept in erasure.kept] == [to_text(to_ms(ends_at))]
    assert head.unerased == (3,)


def test_a_legal_hold_that_is_released_lets_the_next_run_finish(bucket: Bucket, tmp_path: Path) -> None:
    archive, head = build(bucket.store, tmp_path)
    keys = [record.key for record in files_of(head, "messages", days=frozenset({day_of(AT_MS + 5 * DAY_MS)}))]
    for key in keys:
        bucket.client.put_object_legal_hold(Bucket=bucket.name, Key=key, LegalHold={"Status": "ON"})
    versions = {
        key: bucket.client.list_object_versions(Bucket=bucket.name, Prefix=key)["Versions"][0]["VersionId"]
        for key in keys
    }
    done = apply(archive, head, plan_for(archive, head, [ALONE]))
    assert done.head.unerased == (3,)
    assert finish(archive).unerased == (3,)

    for key, version_id in versions.items():
        bucket.client.put_object_legal_hold(
            Bucket=bucket.name, Key=key, VersionId=version_id, LegalHold={"Status": "OFF"}
        )
    assert finish(archive).unerased == ()
    assert places_of(secret_of(ALONE), bucket.everything()) == set()
    assert bucket.verify().unerased == ()


def test_an_old_version_that_came_back_is_damage(bucket: Bucket, tmp_path: Path) -> None:
    archive, head = build(bucket.store, tmp_path)
    done = apply(archive, head, plan_for(archive, head, [ALONE]))
    key = done.certificate.objects[0].key
    bucket.store.replace(key, b"restored by a well-meaning colleague")
    bucket.store.delete(key)

    assert [(damage.kind, damage.key) for damage in bucket.verify().damages] == [("unerased", key)]


def test_a_live_object_that_a_marker_hides_is_not_called_gone(bucket: Bucket, tmp_path: Path) -> None:
    _, head = build(bucket.store, tmp_path)
    key = next(iter(head.files))
    bucket.store.delete(key)

    [damage] = bucket.verify().damages
    assert (damage.kind, damage.key) == ("missing", key)
    assert "a delete marker hides it" in damage.what
