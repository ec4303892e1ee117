"""What the check of a load file finds: a package as it was written is clean, and each way to break it makes its own finding."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.discovery.checks import concordance
from archiver.discovery.checks.findings import PackageFacts
from archiver.discovery.export.formats.concordance import DatWriter
from archiver.discovery.export.record import Slice
from tests.discovery.export import drawn, slices

LOAD_FILE = "data/dat/loadfile.dat"
BOM = b"\xef\xbb\xbf"
Rows = list[list[str]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackageFacts]:
    package = tmp_path_factory.mktemp("dat")
    written = slices.write(DatWriter, package)
    return package, slices.facts("dat", package, written, slices.with_natives(package))


def test_a_package_as_it_was_written_is_clean(good: tuple[Path, PackageFacts]) -> None:
    assert list(concordance.check(*good)) == []


def in_rows(change: Callable[[Rows], object]) -> Callable[[Path], None]:
    """Read the load file, alter its rows, and write it again."""

    def broken(package: Path) -> None:
        path = package / LOAD_FILE
        lines = path.read_bytes().decode("utf-8-sig").split("\r\n")[:-1]
        rows = [line[1:-1].split("þ\x14þ") for line in lines]
        change(rows)
        text = "".join("þ" + "þ\x14þ".join(row) + "þ\r\n" for row in rows)
        path.write_bytes(BOM + text.encode())

    return broken


def in_field(number: str, **fields: str) -> Callable[[Path], None]:
    """Change fields of the row of a control number; names as of columns, with a slash for two underscores."""

    def change(rows: Rows) -> None:
        row = next(row for row in rows if row[0] == number)
        for name, value in fields.items():
            row[rows[0].index(name.replace("__", "/"))] = value

    return in_rows(change)


def in_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def broken(package: Path) -> None:
        path = package / LOAD_FILE
        data = path.read_bytes()
        assert change(data) != data
        path.write_bytes(change(data))

    return broken


def row_of(rows: Rows, number: str) -> int:
    return next(at for at, row in enumerate(rows) if row[0] == number)


def moved_away(rows: Rows) -> None:
    rows.append(rows.pop(row_of(rows, "SMITH-m-4.002")))


def without_parent(rows: Rows) -> None:
    del rows[row_of(rows, "SMITH-m-4")]


def without(package: Path, path: str) -> None:
    (package / path).unlink()


def other_native(package: Path) -> None:
    path = next((package / "data/natives").rglob("*-minutes.txt"))
    path.write_bytes(path.read_bytes().upper())


def linked(package: Path) -> None:
    path = package / "data/dat/text/000001/SMITH-m-1.txt"
    path.unlink()
    path.symlink_to("/etc/hostname")


OTHER = "0" * 64
BROKEN: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "no load file": (lambda package: without(package, LOAD_FILE), {"missing"}),
    "an empty load file": (lambda package: (package / LOAD_FILE).write_bytes(b""), {"header", "stray", "count"}),
    "bytes that are not UTF-8": (
        in_bytes(lambda data: data.replace("田中".encode(), b"\xff", 1)),
        {"encoding", "stray", "count"},
    ),
    "a byte order mark inside": (in_field("SMITH-m-1", SUBJECT="\ufeffgeneral"), {"encoding"}),
    "a line feed alone": (in_bytes(lambda data: data.replace(b"\r\n", b"\n", 1)), {"line-end"}),
    "a carriage return inside": (in_bytes(lambda data: data.replace(b"general", b"gene\rral", 1)), {"line-end"}),
    "a field that is not quoted": (
        in_bytes(lambda data: data.replace("þSMITH-m-1þ".encode(), b"SMITH-m-1", 1)),
        {"quote", "stray", "count"},
    ),
    "a quote inside a field": (in_field("SMITH-m-1", SUBJECT="gen\u00feeral"), {"quote", "stray", "count"}),
    "a delimiter inside a field": (in_field("SMITH-m-1", SUBJECT="gen\x14eral"), {"quote", "stray", "count"}),
    "a row with a field less": (
        in_rows(lambda rows: rows[row_of(rows, "SMITH-m-1")].pop()),
        {"fields", "stray", "count"},
    ),
    "a column twice": (in_rows(lambda rows: rows[0].__setitem__(-2, "CC")), {"header"}),
    "a column that must be there": (in_rows(lambda rows: rows[0].__setitem__(rows[0].index("BCC"), "B")), {"header"}),
    "a control number twice": (
        in_rows(lambda rows: rows.insert(row_of(rows, "SMITH-m-1"), rows[row_of(rows, "SMITH-m-1")])),
        {"id", "family", "range", "count"},
    ),
    "no control number": (
        in_field("SMITH-m-1", **{"Control Number": "", "FIRSTBATES": "", "LASTBATES": "", "Group Identifier": ""}),
        {"id"},
    ),
    "a family in two places": (in_rows(moved_away), {"family", "range"}),
    "a family without its parent": (in_rows(without_parent), {"family", "range", "stray", "count"}),
    "a parent that is nowhere": (in_field("SMITH-m-4.002", PARENT_BATES="SMITH-m-99"), {"family"}),
    "children that do not follow": (in_field("SMITH-m-4", CHILD_BATES="SMITH-m-4.001"), {"family"}),
    "a file with files": (in_field("SMITH-m-4.002", CHILD_BATES="SMITH-m-4.001"), {"family"}),
    "another range": (in_field("SMITH-m-4.002", ENDATTACH="SMITH-m-4.001"), {"range"}),
    "a range of one": (in_field("SMITH-m-1", BEGATTACH="SMITH-m-1"), {"range"}),
    "another first number": (in_field("SMITH-m-1", FIRSTBATES="SMITH-m-2"), {"range"}),
    "a path with slashes": (in_field("SMITH-m-1", OCRPATH="text/000001/SMITH-m-1.txt"), {"path", "stray"}),
    "an absolute path": (in_field("SMITH-m-1", OCRPATH="D:\\text\\a.txt"), {"path", "stray"}),
    "a path that leads out": (in_field("SMITH-m-1", OCRPATH="..\\..\\bagit.txt"), {"path", "stray"}),
    "a path that leads out and back": (
        in_field("SMITH-m-1", OCRPATH="..\\..\\data\\dat\\text\\000001\\SMITH-m-1.txt"),
        {"path", "stray"},
    ),
    "a path to nothing": (in_field("SMITH-m-1", OCRPATH="text\\a.txt"), {"path", "stray"}),
    "a link in place of a file": (linked, {"path", "stray"}),
    "no path at all": (in_field("SMITH-m-1", OCRPATH=""), {"path", "stray"}),
    "a native that is missing": (
        lambda package: without(
            package, next((package / "data/natives").rglob("*-minutes.txt")).relative_to(package).as_posix()
        ),
        {"path"},
    ),
    "a native that was changed": (other_native, {"digest"}),
    "another MD5": (in_field("SMITH-m-4.001", MD5HASH=OTHER[:32]), {"digest"}),
    "another SHA-256": (in_field("SMITH-m-1", SHA256=OTHER), {"digest"}),
    "another size": (in_field("SMITH-m-4.001", FILE_SIZE="1"), {"size"}),
    "a date in another form": (in_field("SMITH-m-1", DATE_SENT="20/11/2026"), {"date"}),
    "a time without an offset": (in_field("SMITH-m-1", TIME_SENT__TIME_ZONE="09:00 PM"), {"date"}),
    "no date": (in_field("SMITH-m-1", DATE_SENT="", TIME_SENT__TIME_ZONE=""), {"date"}),
    "another instant": (in_field("SMITH-m-1", DATETIME_SENT="2026-11-20T21:05:00+09:00"), {"date"}),
    "no instant": (in_field("SMITH-m-1", DATETIME_SENT="noon"), {"date"}),
    "an instant without an offset": (in_field("SMITH-m-1", DATETIME_SENT="2026-11-20T21:00:00"), {"date"}),
    "another zone": (in_field("SMITH-m-1", TIME_ZONE="UTC"), {"zone"}),
    "a gap that nothing tells of": (in_field("SMITH-m-1", GAP_IDS="abc"), {"gap"}),
    "no list of gaps": (lambda package: without(package, "data/dat/gaps.txt"), {"gap"}),
    "a message less": (in_rows(lambda rows: rows.pop(row_of(rows, "SMITH-m-1"))), {"stray", "count"}),
    "a message of another conversation": (in_field("SMITH-m-1", CONVERSATION_ID="g:other"), {"count"}),
    "a text that no row names": (lambda package: (package / "data/dat/text/a.txt").write_text("x"), {"stray"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_way_to_break_a_package_makes_its_own_finding(
    name: str, good: tuple[Path, PackageFacts], tmp_path: Path
) -> None:
    package, facts = good
    shutil.copytree(package, tmp_path / "package")
    breaks, expected = BROKEN[name]
    breaks(tmp_path / "package")
    assert {finding.code for finding in concordance.check(tmp_path / "package", facts)} == expected


def test_a_finding_says_its_line(good: tuple[Path, PackageFacts], tmp_path: Path) -> None:
    shutil.copytree(good[0], tmp_path / "package")
    in_field("SMITH-m-8", DATE_SENT="soon")(tmp_path / "package")
    (finding,) = concordance.check(tmp_path / "package", good[1])
    assert (finding.path, finding.place, finding.code) == (LOAD_FILE, "line 2", "date")


def test_a_line_without_end_is_not_read_into_memory(good: tuple[Path, PackageFacts], tmp_path: Path) -> None:
    shutil.copytree(good[0], tmp_path / "package")
    with (tmp_path / "package" / LOAD_FILE).open("wb") as sparse:
        sparse.truncate(5_000_000_000)
    found = {finding.code for finding in concordance.check(tmp_path / "package", good[1])}
    assert found == {"line-length", "header", "stray", "count"}


def test_a_native_that_is_not_the_one_of_the_report_is_told_of(good: tuple[Path, PackageFacts]) -> None:
    package, facts = good
    other = replace(facts, natives=dict.fromkeys(facts.natives, OTHER))
    assert {finding.code for finding in concordance.check(package, other)} == {"digest"}


@settings(max_examples=10)
@given(parts=drawn.exports(), bom=st.sampled_from(["yes", "no"]))
def test_whatever_is_written_passes_its_check(
    parts: tuple[Slice, ...], bom: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("dat", tmp_path_factory.mktemp("drawn"), parts, **{"dat-bom": bom}) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(parts=drawn.exports(), bom=st.sampled_from(["yes", "no"]))
def test_whatever_is_written_passes_its_check_for_long(
    parts: tuple[Slice, ...], bom: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("dat", tmp_path_factory.mktemp("drawn"), parts, **{"dat-bom": bom}) == []
