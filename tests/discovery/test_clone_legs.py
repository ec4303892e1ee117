"""How the way of a copy from one commit to another is cut into legs: nothing is asked for that the archive no longer has."""

from __future__ import annotations

from archiver.archive import layout
from archiver.archive.ledger import BlobRecord, Entry, Removal
from archiver.discovery.clone_legs import legs

GONE, KEPT = (BlobRecord(digit * 64, 10) for digit in "ab")


def entry(sequence: int, *, blobs: tuple[BlobRecord, ...] = (), removed: tuple[BlobRecord, ...] = ()) -> Entry:
    return Entry(
        format=1, archive_id="a", sequence=sequence, previous="", at="2026-03-02T00:00:00.000Z", kind="capture", run="r",
        actor="test", software="test", added=(), blobs=blobs,
        removed=tuple(Removal(layout.blob_key(blob.sha256), "due") for blob in removed),
        settled=(), watermarks={}, counts={}, gaps=(),
    )  # fmt: skip


def test_a_blob_that_a_later_entry_removes_is_in_no_leg_and_none_ends_before_it_is_gone() -> None:
    course = [
        (entry(1, blobs=(GONE, KEPT)), "1"),
        (entry(2, removed=(GONE,)), "2"),
        (entry(3), "3"),
    ]
    found = list(legs(course, live=(), there=(), objects_max=1))
    assert [item.key for leg in found for item in leg.needed] == [layout.blob_key(KEPT.sha256)]
    assert found[0].entries[-1][0].sequence >= 2


def test_a_blob_that_comes_again_after_it_was_removed_is_needed() -> None:
    course = [(entry(1, blobs=(GONE,)), "1"), (entry(2, removed=(GONE,)), "2"), (entry(3, blobs=(GONE,)), "3")]
    found = list(legs(course, live=(), there=(), objects_max=1))
    assert {item.key for leg in found for item in leg.needed} == {layout.blob_key(GONE.sha256)}
