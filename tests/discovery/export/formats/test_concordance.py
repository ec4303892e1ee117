"""The Concordance load file: a row a message and a row a file, in the fields that review platforms and the SEC ask for."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from archiver.discovery.export.formats.concordance import DatWriter
from archiver.discovery.export.record import Conversation, Person, Slice
from archiver.discovery.export.sink import Written
from tests.discovery.export import slices
from tests.discovery.export.slices import ANN, BLOBS, GENERAL, TERMS, at_ms, message, version

SEC = [
    "FIRSTBATES",
    "LASTBATES",
    "ATTACHRANGE",
    "BEGATTACH",
    "ENDATTACH",
    "PARENT_BATES",
    "CHILD_BATES",
    "CUSTODIAN",
    "FROM",
    "TO",
    "CC",
    "BCC",
    "SUBJECT",
    "FILE_NAME",
    "DATE_SENT",
    "TIME_SENT/TIME_ZONE",
    "TIME_ZONE",
    "LINK",
    "MIME_TYPE",
    "FILE_EXTEN",
    "FILE_SIZE",
    "PGCOUNT",
    "MD5HASH",
    "OCRPATH",
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dat")
    slices.write(DatWriter, folder)
    slices.with_natives(folder)
    return folder


def rows_of(package: Path) -> dict[str, dict[str, str]]:
    """Read the load file as an importer does: by its delimiters alone."""
    text = (package / "data/dat/loadfile.dat").read_bytes().decode("utf-8-sig")
    lines = text.split("\r\n")
    assert lines.pop() == ""
    rows = [[field[1:-1] for field in line.split("\x14")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def written(folder: Path, *messages: Any, conversation: Conversation = GENERAL, **terms: Any) -> Written:
    parts = (Slice(conversation, "2026-11-20", 1, 1, messages),)
    return slices.write(DatWriter, folder, terms=replace(TERMS, **terms), slices=parts)


def test_the_fields_of_the_sec_stand_in_their_order_after_the_two_that_are_mapped_by_hand(package: Path) -> None:
    names = list(next(iter(rows_of(package).values())))
    assert names[:2] == ["Control Number", "Group Identifier"]
    assert names[2 : 2 + len(SEC)] == SEC
    assert len(set(names)) == len(names)


def test_every_line_is_quoted_delimited_and_ends_in_crlf(package: Path) -> None:
    data = (package / "data/dat/loadfile.dat").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf\xc3\xbeControl Number\xc3\xbe\x14\xc3\xbe")
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\r\n")[:-1]
    assert len({line.count(b"\x14") for line in lines}) == 1
    assert all(line.count("þ".encode()) == 2 * (line.count(b"\x14") + 1) for line in lines)
    assert b"\xef\xbb\xbf" not in data[3:]


def test_the_byte_order_mark_can_be_left_out(tmp_path: Path) -> None:
    found = written(tmp_path, slices.PLAIN, options={"dat-bom": "no"})
    assert (tmp_path / "data/dat/loadfile.dat").read_bytes().startswith("þControl Number".encode())
    assert "without a byte order mark" in found.remarks[0]


def test_a_message_is_a_row_with_whom_it_is_from_and_to(package: Path) -> None:
    row = rows_of(package)["SMITH-m-1"]
    assert row["FROM"] == "Ann Áslaug (ann@acme.example, u:ann)"
    assert row["TO"] == "u:bob;田中 健二 (kenji@acme.example, u:kenji)"
    assert row["CUSTODIAN"] == "Ann Áslaug (ann@acme.example, u:ann)"
    assert row["SUBJECT"] == "general"
    assert (row["CC"], row["BCC"], row["PGCOUNT"], row["LINK"]) == ("", "", "", "")


def test_a_message_that_few_saw_is_to_them(package: Path) -> None:
    assert rows_of(package)["SMITH-m-6"]["TO"] == "Ann Áslaug (ann@acme.example, u:ann);u:bob"


@pytest.mark.parametrize(
    ("zone", "hour", "sent"),
    [
        ("Asia/Tokyo", 12, ("11/20/2026", "09:00 PM +09:00", "+09:00")),
        ("UTC", 12, ("11/20/2026", "12:00 PM +00:00", "+00:00")),
        ("UTC", 0, ("11/20/2026", "12:00 AM +00:00", "+00:00")),
        ("America/New_York", 3, ("11/19/2026", "10:00 PM -05:00", "-05:00")),
    ],
)
def test_times_are_in_the_one_zone_of_the_export(zone: str, hour: int, sent: tuple[str, ...], tmp_path: Path) -> None:
    written(tmp_path, message("m-1", 20, ANN, version("x"), sent_at_ms=at_ms(20, hour)), zone=ZoneInfo(zone))
    row = rows_of(tmp_path)["SMITH-m-1"]
    assert (row["DATE_SENT"], row["TIME_SENT/TIME_ZONE"], row["TIME_ZONE_OFFSET"]) == sent
    assert row["TIME_ZONE"] == zone


def test_a_message_and_its_files_are_one_family(package: Path) -> None:
    rows = rows_of(package)
    numbers = list(rows)
    at = numbers.index("SMITH-m-4")
    assert numbers[at : at + 3] == ["SMITH-m-4", "SMITH-m-4.001", "SMITH-m-4.002"]
    for number in numbers[at : at + 3]:
        row = rows[number]
        assert row["Group Identifier"] == row["BEGATTACH"] == "SMITH-m-4"
        assert row["ENDATTACH"] == "SMITH-m-4.002"
        assert row["ATTACHRANGE"] == "SMITH-m-4-SMITH-m-4.002"
    assert rows["SMITH-m-4"]["CHILD_BATES"] == "SMITH-m-4.001;SMITH-m-4.002"
    assert rows["SMITH-m-4.001"]["PARENT_BATES"] == "SMITH-m-4"
    assert rows["SMITH-m-1"]["ATTACHRANGE"] == rows["SMITH-m-1"]["CHILD_BATES"] == ""


def test_natives_and_texts_lie_where_the_row_says(package: Path) -> None:
    rows = rows_of(package)
    native, text = rows["SMITH-m-4.002"], rows["SMITH-m-2"]
    place = (package / "data/dat" / native["LINK"].replace("\\", "/")).resolve()
    assert place.read_bytes() == BLOBS["picture"]
    assert native["LINK"].startswith("..\\natives\\")
    assert native["OCRPATH"] == ""
    assert native["MD5HASH"] == md5(BLOBS["picture"]).hexdigest()
    assert (native["MIME_TYPE"], native["FILE_EXTEN"], native["FILE_SIZE"]) == (
        "image/png",
        "png",
        str(len(BLOBS["picture"])),
    )
    content = (package / "data/dat" / text["OCRPATH"].replace("\\", "/")).read_bytes()
    assert text["SHA256"] == sha256(content).hexdigest()
    for said in ("the price is <b>14</b>", "version 1", "the price is 10", "the price is 12"):
        assert said in content.decode()


def test_a_file_that_is_not_there_has_a_text_that_says_why(package: Path) -> None:
    row = rows_of(package)["SMITH-m-5.001"]
    assert row["LINK"] == ""
    assert row["FILE_NAME"] == "契約書.pdf"
    assert row["FILE_MISSING_BECAUSE"] == "its bytes are not here (given_up): 404 Not Found"
    assert "404 Not Found" in (package / "data/dat" / row["OCRPATH"].replace("\\", "/")).read_text("utf-8")


def test_an_md5_that_the_archive_does_not_know_is_made_from_the_bytes(tmp_path: Path) -> None:
    file = structs.replace(slices.stored("a.txt", "minutes", "N-1"), md5=None)
    written(tmp_path, message("m-1", 20, ANN, version("x"), files=(file,)))
    assert rows_of(tmp_path)["N-1"]["MD5HASH"] == md5(BLOBS["minutes"]).hexdigest()


def test_what_the_archive_knows_beside_the_standard_has_columns(package: Path) -> None:
    rows = rows_of(package)
    assert rows["SMITH-m-3"]["NOT_RETURNED_SINCE"] == "2026-11-25T21:00:00.000+09:00"
    assert rows["SMITH-m-2"]["VERSIONS"] == "3"
    assert rows["SMITH-m-2"]["REPLY_TO_INFERRED"] == "m-1"
    assert rows["SMITH-m-7"]["IS_CONTEXT"] == "Y"
    assert rows["SMITH-m-6"]["ON_BEHALF_OF"] == "Ann Áslaug (ann@acme.example, u:ann)"
    assert rows["SMITH-m-1"]["CONTENT_SHA256"] == slices.PLAIN.newest.content_digest
    assert rows["SMITH-m-1"]["GAP_IDS"] == slices.OUTAGE.gap_id


def test_what_may_be_missing_stands_beside_the_load_file(package: Path) -> None:
    text = (package / "data/dat/gaps.txt").read_text("utf-8")
    assert slices.OUTAGE.gap_id in text
    assert slices.MISSING_FILE.gap_id in text


def test_an_export_without_gaps_says_so(tmp_path: Path) -> None:
    written(tmp_path, slices.PLAIN, gaps=())
    assert (tmp_path / "data/dat/gaps.txt").read_text("utf-8").startswith("Nothing is known to be missing")


@pytest.mark.parametrize(
    ("name", "as_written", "counted"),
    [
        ("Þór þ", "Þór th", "dat: þ in data, as th"),
        ("a®", "a(R)", "dat: ® in data, as (R)"),
        ("a\x14b", "a b", "dat: 0x14 in data, as a space"),
        ("a\r\nb\nc\rd\u2028e\x85f", "a®b®c®d®e®f", "dat: line ends in data, as ®"),
        ("\ufeffa", "\u2060a", "dat: byte order marks in data, as U+2060"),
        ("a\x00b\x1bc", "a b c", "dat: other controls in data, as a space"),
        ("\u202e😀 日本", "\u202e😀 日本", None),
    ],
)
def test_what_is_structure_is_put_in_another_way_and_counted(
    name: str, as_written: str, counted: str | None, tmp_path: Path
) -> None:
    file = structs.replace(slices.stored("a", "minutes", "N-1"), name=name)
    found = written(tmp_path, message("m-1", 20, ANN, version(name), files=(file,)))
    assert rows_of(tmp_path)["N-1"]["FILE_NAME"] == as_written
    assert list(found.replaced) == ([counted] if counted else [])


def test_a_semicolon_in_a_name_cannot_make_two_of_one(tmp_path: Path) -> None:
    people = (ANN, Person("u:1", "Lee; Ann"))
    written(tmp_path, slices.PLAIN, conversation=replace(GENERAL, participants=people))
    assert rows_of(tmp_path)["SMITH-m-1"]["TO"] == "Lee, Ann (u:1)"


def test_text_files_lie_a_thousand_to_a_folder(tmp_path: Path) -> None:
    written(tmp_path, *(message(f"m-{n:04}", 20, ANN, version("x")) for n in range(1_001)))
    assert rows_of(tmp_path)["SMITH-m-1000"]["OCRPATH"] == "text\\000002\\SMITH-m-1000.txt"
    assert len(list((tmp_path / "data/dat/text/000001").iterdir())) == 1_000


def test_an_export_of_nothing_has_a_header_line(tmp_path: Path) -> None:
    found = slices.write(DatWriter, tmp_path, slices=())
    assert rows_of(tmp_path) == {}
    assert found.path_count == len(slices.paths_of("dat", tmp_path)) == 2


def test_a_load_file_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    sink = slices.FolderSink(tmp_path)
    writer = DatWriter(TERMS, sink)
    writer.add(slices.SLICES[1])
    writer.close()
    assert "dat/loadfile.dat" not in sink.written


def test_the_same_slices_and_terms_give_the_same_bytes(tmp_path: Path, package: Path) -> None:
    slices.write(DatWriter, tmp_path)
    for path in (package / "data/dat").rglob("*.*"):
        assert (tmp_path / path.relative_to(package)).read_bytes() == path.read_bytes()
