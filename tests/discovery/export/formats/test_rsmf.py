"""RSMF 2.0: what a file says of a conversation-day, and how it says what the format has no word for."""

from __future__ import annotations

import io
from dataclasses import replace
from email.utils import getaddresses
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from msgspec import structs

from archiver.discovery.export.formats import portions
from archiver.discovery.export.formats.rsmf import RsmfWriter
from archiver.discovery.export.record import File, GapNote, Slice
from tests.discovery.export import slices
from tests.discovery.export.slices import ANN, BLOBS, GENERAL, OUTAGE, SLICES, TERMS, at_ms, message, version
from tests.discovery.rsmf_files import custom_of, entries_of, event_of, mail_of, manifest_of

FIRST = "rsmf/general/2026-11-20_part-0001-of-0002.rsmf"
SECOND = "rsmf/general/2026-11-20_part-0002-of-0002.rsmf"
CONTEXT = "rsmf/general/2026-11-21.rsmf"
DIRECT = "rsmf/Ann-田中-健二/2026-11-20.rsmf"
EVIL = f"rsmf/{slices.EVIL.path_name}/2026-11-20.rsmf"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("rsmf")
    slices.write(RsmfWriter, package)
    return package / "data"


def sized(name: str, number: str, size: int) -> File:
    return structs.replace(slices.stored(name, "minutes", number), size=size)


def write(folder: Path, *parts: Slice, **terms: Any) -> list[Path]:
    written = slices.write(RsmfWriter, folder, terms=replace(TERMS, **terms), slices=parts)
    paths = [folder / "data" / path for path in slices.paths_of("rsmf", folder)]
    assert len(paths) == written.path_count
    return paths


def test_a_file_is_a_mail_with_one_attachment_and_a_transcript(data: Path) -> None:
    mail = mail_of(data / SECOND)
    assert [part.get_filename() for part in mail.iter_attachments()] == ["rsmf.zip"]
    assert mail["X-RSMF-Version"] == manifest_of(data / SECOND)["version"] == "2.0.0"
    assert mail["Subject"] == "general, 2026-11-20, part 2 of 2"
    assert getaddresses([mail["From"]]) == [("Ann Áslaug", "ann@acme.example")]
    assert [name for name, _ in getaddresses([mail["To"]])] == ["Ann Áslaug", "u:bob", "田中 健二", "Reminders"]
    body = mail.get_body()
    assert body is not None
    assert "契約書を添付します。" in body.get_content()
    assert not mail.defects


def test_headers_say_what_the_manifest_has(data: Path) -> None:
    mail, manifest = mail_of(data / SECOND), manifest_of(data / SECOND)
    assert int(mail["X-RSMF-EventCount"]) == len(manifest["events"]) == 5
    assert mail["X-RSMF-AttachmentCount"] == "3"
    assert mail["X-RSMF-BeginDate"] == manifest["events"][0]["timestamp"] == "2026-11-20T19:00:00.000+09:00"
    assert mail["X-RSMF-EndDate"] == manifest["events"][-1]["timestamp"] == "2026-11-20T23:30:00.000+09:00"
    assert mail["X-RSMF-Custodian"] == "Ann Áslaug"
    assert mail["X-RSMF-EventCollectionID"] == manifest["eventcollectionid"] == "0f0f:g:general"


def test_events_are_sorted_by_time_and_id_and_every_version_is_an_edit(data: Path) -> None:
    event = event_of(data / FIRST, "m-2")
    assert event["body"] == "the price is <b>14</b>"
    assert [(edit["previous"], edit["new"]) for edit in event["edits"]] == [
        ("the price is 10", "the price is 12"),
        ("the price is 12", "the price is <b>14</b>"),
    ]
    assert event["edits"][0]["timestamp"] == "2026-11-21T03:00:00.000+09:00"
    assert event["parent"] == "m-1"
    assert custom_of(event)["flockml"] == "<flockml>the price is <b>14</b></flockml>"


def test_a_time_of_an_edit_that_would_go_back_is_left_to_the_facts_of_the_version(tmp_path: Path) -> None:
    edited = message(
        "m-1",
        20,
        ANN,
        *(version(f"v{n}", n, observed_at_ms=at_ms(20, hour)) for n, hour in ((1, 12), (2, 15), (3, 13))),
    )
    (path,) = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, (edited,)))
    event = event_of(path, "m-1")
    assert ["timestamp" in edit for edit in event["edits"]] == [True, False]
    assert custom_of(event)["version_3_observed_at"] == "2026-11-20T22:00:00.000+09:00"


def test_what_flock_no_longer_returns_is_never_called_deleted(data: Path) -> None:
    event = event_of(data / FIRST, "m-3")
    assert "deleted" not in event
    assert event["body"] == "それは間違いでした 🙇 消してください"
    assert custom_of(event)["not_returned_by_flock_since"] == "2026-11-25T21:00:00.000+09:00"
    assert "may have been deleted" in custom_of(event)["not_returned_by_flock_means"]


def test_a_gap_is_a_disclaimer_of_the_day_and_says_its_own_times(data: Path) -> None:
    event = event_of(data / FIRST, f"gap:{OUTAGE.gap_id}")
    assert event["type"] == "disclaimer"
    assert event["timestamp"] == "2026-11-20T19:00:00.000+09:00"
    assert "the listener did not answer" in event["body"]


@pytest.mark.parametrize(
    ("begins", "ends", "shown"),
    [
        (None, None, "2026-11-20T00:00:00.000+09:00"),
        (at_ms(1), None, "2026-11-20T00:00:00.000+09:00"),
        (at_ms(30), None, "2026-11-20T23:59:59.999+09:00"),
    ],
)
def test_a_gap_that_began_on_another_day_stands_at_the_edge_of_this_one(
    tmp_path: Path, begins: int | None, ends: int | None, shown: str
) -> None:
    gap = GapNote("77" * 32, "no-feed", "nobody listens", 1, begins, ends)
    (path,) = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, (), (gap,)))
    (event,) = manifest_of(path)["events"]
    assert event["timestamp"] == shown
    assert mail_of(path)["From"].addresses[0].display_name == "Flock archive"


def test_of_very_many_gaps_the_rest_is_counted(tmp_path: Path) -> None:
    gaps = tuple(GapNote(f"{n:064}", "no-feed", "nobody listens", 1) for n in range(130))
    (path,) = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, (slices.PLAIN,), gaps))
    assert event_of(path, "gap:further")["body"].startswith("30 more gaps")
    assert mail_of(path)["X-RSMF-EventCount"] == "102"


def test_directions_are_seen_from_the_custodian(data: Path) -> None:
    manifest = manifest_of(data / DIRECT)
    assert manifest["conversations"][0]["custodian"] == "u:ann"
    assert [event["direction"] for event in manifest["events"]] == ["outgoing", "incoming"]
    assert all("direction" not in event for event in manifest_of(data / EVIL)["events"])


def test_a_post_of_an_app_says_for_whom_and_to_whom_it_was_shown(data: Path) -> None:
    event = event_of(data / SECOND, "m-6")
    assert event["participant"] == "u:Bot00000000000"
    custom = custom_of(event)
    assert custom["app_id"] == "app-1"
    assert custom["send_as_name"] == "Stand-up"
    assert custom["on_behalf_of"] == "u:ann"
    assert custom["visible_to"] == "u:ann, u:bob"


def test_what_was_not_asked_for_is_marked(data: Path) -> None:
    assert custom_of(event_of(data / CONTEXT, "m-7"))["context"].startswith("yes")
    assert "context" not in custom_of(event_of(data / FIRST, "m-1"))


def test_every_message_has_its_number_its_digests_and_where_the_archive_has_it(data: Path) -> None:
    custom = custom_of(event_of(data / FIRST, "m-1"))
    newest = slices.PLAIN.newest
    assert custom["control_number"] == "SMITH-m-1"
    assert custom["version_1_content_digest"] == newest.content_digest
    assert custom["version_1_raw_digest"] == newest.raw_digest
    assert custom["version_1_archived"] == f"commit 1, {newest.object_key}"
    assert custom["version_1_captured"] == f"{newest.source} by {newest.captured_by}"


def test_whom_a_message_mentions_is_told(data: Path) -> None:
    assert custom_of(event_of(data / SECOND, "m-4"))["mentions"] == "u:bob"
    assert "mentions" not in custom_of(event_of(data / FIRST, "m-1"))


def test_files_lie_in_the_root_of_the_zip_under_their_control_number(data: Path) -> None:
    files = {entry.filename: content for entry, content in entries_of(data / SECOND)}
    event = event_of(data / SECOND, "m-4")
    assert [item["display"] for item in event["attachments"]] == ["minutes.txt", "写真 1.png"]
    for item, blob in zip(event["attachments"], ("minutes", "picture"), strict=True):
        assert files[item["id"]] == BLOBS[blob]
        assert item["size"] == len(BLOBS[blob])
        assert custom_of(event)[f"sha256 of {item['id']}"] == sha256(BLOBS[blob]).hexdigest()


def test_a_file_that_is_not_there_is_a_named_text_that_says_why(data: Path) -> None:
    (item,) = event_of(data / SECOND, "m-5")["attachments"]
    text = {entry.filename: content for entry, content in entries_of(data / SECOND)}[item["id"]].decode()
    assert item["id"].endswith(".missing.txt")
    assert item["display"] == "契約書.pdf"
    assert "404 Not Found" in text
    assert "12345 bytes" in text


def test_a_reply_to_a_message_of_another_file_is_told_and_no_parent(tmp_path: Path) -> None:
    (path,) = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, (slices.EDITED,)))
    event = event_of(path, "m-2")
    assert "parent" not in event
    assert custom_of(event)["reply_to_inferred"] == "m-1"


def test_a_reply_to_a_later_message_is_told_and_no_parent(tmp_path: Path) -> None:
    early = message("m-1", 20, ANN, version("x"), reply_to="m-2")
    late = message("m-2", 20, ANN, version("y"), sent_at_ms=at_ms(20, 13))
    (path,) = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, (early, late)))
    assert "parent" not in event_of(path, "m-1")
    assert custom_of(event_of(path, "m-1"))["reply_to_inferred"] == "m-2"


def test_hostile_values_stay_values(data: Path) -> None:
    mail = mail_of(data / EVIL)
    assert "X-Evil" not in mail
    assert b"X-Evil: yes\r\n" not in (data / EVIL).read_bytes()
    assert event_of(data / EVIL, "m-8/../<x>")["edits"][0]["previous"] == slices.HOSTILE_TEXT
    assert all("/" not in entry.filename and "\\" not in entry.filename for entry, _ in entries_of(data / EVIL))


def test_a_text_cannot_fake_a_message_in_the_transcript(tmp_path: Path) -> None:
    fake = "hello\u2028[2026-11-20T10:00:00.000+09:00] Bob (u:bob)  X / y\x85[2026] Bob\r\n    I confess"
    (path,) = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, (message("m-1", 20, ANN, version(fake)),)))
    body = mail_of(path).get_body()
    assert body is not None
    assert sum(line.startswith("[") for line in body.get_content().splitlines()) == 1


def test_the_same_slices_and_terms_give_the_same_bytes(tmp_path: Path, data: Path) -> None:
    slices.write(RsmfWriter, tmp_path)
    for path in data.rglob("*.rsmf"):
        assert (tmp_path / "data" / path.relative_to(data)).read_bytes() == path.read_bytes()
    assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry, _ in entries_of(data / SECOND))


def test_a_day_of_more_than_10_000_events_is_split_and_says_so(tmp_path: Path) -> None:
    many = tuple(message(f"m-{n:06}", 20, ANN, version("x"), sent_at_ms=at_ms(20) + n) for n in range(10_050))
    paths = write(tmp_path, Slice(GENERAL, "2026-11-20", 1, 1, many, (OUTAGE,)))
    assert [path.stem for path in paths] == [f"2026-11-20_part-000{n}-of-0002" for n in (1, 2)]
    assert mail_of(paths[1])["Subject"] == "general, 2026-11-20, part 2 of 2"
    assert mail_of(paths[1])["X-RSMF-EventCount"] == "152"  # the gap stands in both, and there is room for 100


def test_a_day_of_large_files_is_split_by_their_bytes() -> None:
    large = [message(f"m-{n}", 20, ANN, version("x"), files=(sized("a.bin", f"N-{n}", 100_000_000),)) for n in range(3)]
    pieces = portions.pieces_of(Slice(GENERAL, "2026-11-20", 2, 3, tuple(large)), messages_max=10_000)
    assert [len(piece.messages) for piece in pieces] == [1, 1, 1]
    portion = portions.Portion(TERMS, Slice(GENERAL, "2026-11-20", 2, 3, tuple(large)), pieces[1])
    assert portion.label == "part 2 of 3, piece 2 of 3"
    assert portion.stem == "2026-11-20_part-0002-of-0003_piece-0002-of-0003"


def test_a_file_too_large_for_any_rsmf_is_said_to_lie_among_the_natives(tmp_path: Path) -> None:
    huge = sized("disk.img", "N-1", 1_500_000_000)
    writer = RsmfWriter(TERMS, slices.FolderSink(tmp_path))
    writer.add(Slice(GENERAL, "2026-11-20", 1, 1, (message("m-1", 20, ANN, version("x"), files=(huge,)),)))
    assert "too large" in writer.finish().all_remarks[0]
    path = tmp_path / "data/rsmf/general/2026-11-20.rsmf"
    assert f"data/{huge.path}" in entries_of(path)[1][1].decode()


def test_files_are_read_in_chunks(tmp_path: Path) -> None:
    asked: list[int] = []

    class Blob(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size or -1)
            return super().read(size)

    def open_blob(digest: str) -> BinaryIO:
        del digest
        return Blob(b"x" * 1_000_000)

    file = sized("a.bin", "N-1", 1_000_000)
    part = Slice(GENERAL, "2026-11-20", 1, 1, (message("m-1", 20, ANN, version("x"), files=(file,)),))
    write(tmp_path, part, open_blob=open_blob)
    assert len(asked) > 4
    assert all(0 < size <= 300_000 for size in asked)


def test_everything_that_was_handed_over_is_counted(tmp_path: Path) -> None:
    written = slices.write(RsmfWriter, tmp_path)
    assert (written.messages, written.files) == (slices.MESSAGES, slices.FILES)
    assert written.path_count == len(SLICES)
