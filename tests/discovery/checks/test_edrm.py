"""What the check of EDRM XML finds: a package as it was written is clean, and each way to break it makes its own finding."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from archiver.discovery.checks import edrm
from archiver.discovery.checks.findings import PackageFacts
from archiver.discovery.export.formats.edrm import EdrmWriter
from archiver.discovery.export.record import Slice
from tests.discovery.export import drawn, slices

XML_FILE = "data/edrm/edrm.xml"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackageFacts]:
    package = tmp_path_factory.mktemp("edrm")
    written = slices.write(EdrmWriter, package)
    return package, slices.facts("edrm", package, written, slices.with_natives(package))


def test_a_package_as_it_was_written_is_clean(good: tuple[Path, PackageFacts]) -> None:
    assert list(edrm.check(*good)) == []


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def broken(package: Path) -> None:
        path = package / XML_FILE
        text = path.read_bytes().decode()
        assert old in text
        path.write_bytes(text.replace(old, new, 1).encode())

    return broken


def in_document(doc_id: str, old: str, new: str) -> Callable[[Path], None]:
    """Change one document alone, by a pattern."""

    def broken(package: Path) -> None:
        path = package / XML_FILE
        text = path.read_bytes().decode()
        document = re.search(rf'<Document DocID="{re.escape(doc_id)}".*?</Document>\n', text, re.DOTALL)
        assert document is not None
        changed, count = re.subn(old, new, document[0], count=1, flags=re.DOTALL)
        assert count
        path.write_bytes(text.replace(document[0], changed, 1).encode())

    return broken


def without(path: str) -> Callable[[Path], None]:
    return lambda package: (package / path).unlink()


def without_native(package: Path) -> None:
    next((package / "data/natives").rglob("*-minutes.txt")).unlink()


def other_native(package: Path) -> None:
    path = next((package / "data/natives").rglob("*-minutes.txt"))
    path.write_bytes(path.read_bytes().upper())


LAUGHS = '<!DOCTYPE Root [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n<Root '
RELATED = '<Relationship Type="Attachment" ParentDocId="SMITH-m-4" ChildDocId="SMITH-m-4.001"/>\n'
OTHER = "0" * 64
BROKEN: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "no XML": (without(XML_FILE), {"missing"}),
    "an empty file": (lambda package: (package / XML_FILE).write_bytes(b""), {"xml", "stray", "count"}),
    "an element that is never closed": (replaced("</Root>", ""), {"xml"}),
    "a character that XML has not": (replaced("SMITH-m-7", "\x01"), {"xml", "stray", "count"}),
    "a document type with entities": (replaced("<Root ", LAUGHS), {"bomb", "stray", "count"}),
    "a document type from elsewhere": (
        replaced("<Root ", '<!DOCTYPE Root SYSTEM "http://evil.example/x.dtd"><Root '),
        {"bomb", "stray", "count"},
    ),
    "elements that lie too deep": (
        replaced("<Batch>", "<Batch>" + "<a>" * 30 + "</a>" * 30),
        {"element", "bomb", "stray", "count"},
    ),
    "an attribute without end": (replaced('Locale="US"', f'Locale="{"x" * 9_000_000}"'), {"bomb", "stray", "count"}),
    "a text without end": (replaced("<LocationURI>", "<LocationURI>" + "x" * 9_000_000), {"bomb", "stray", "count"}),
    "an element of another format": (replaced("<Batch>", "<Batch><Fields/>"), {"element"}),
    "an element in the wrong place": (replaced("<Documents>\n", "<Documents>\n<Tags/>"), {"element"}),
    "a text where none may be": (replaced("<Documents>\n", "<Documents>\nhello"), {"element"}),
    "no relationships": (
        lambda package: (package / XML_FILE).write_text(
            re.sub(
                r"<Relationships>.*</Relationships>\n", "", (package / XML_FILE).read_text("utf-8"), flags=re.DOTALL
            ),
            "utf-8",
        ),
        {"element", "relationship"},
    ),
    "a document without a location": (in_document("SMITH-m-1", "<Locations>.*</Locations>\n", ""), {"element"}),
    "a location that says nothing": (
        in_document("SMITH-m-1", "<LocationURI>.*</LocationURI>", "<LocationURI></LocationURI>"),
        {"element"},
    ),
    "an attribute that must be there": (replaced(' DataInterchangeType="Update"', ""), {"attribute"}),
    "an unknown attribute": (replaced("<Batch>", '<Batch Name="x">'), {"attribute"}),
    "another version": (replaced('MinorVersion="2"', 'MinorVersion="9"'), {"attribute"}),
    "another kind of hash": (in_document("SMITH-m-1", 'HashType="MD5"', 'HashType="CRC"'), {"attribute", "digest"}),
    "a DocID twice": (in_document("SMITH-m-1", r"^(.*)$", r"\1\1"), {"id", "count"}),
    "an empty DocID": (in_document("SMITH-m-1", 'DocID="SMITH-m-1"', 'DocID=""'), {"id"}),
    "a tag that a message must have": (in_document("SMITH-m-1", r'<Tag TagName="#From"[^>]*/>', ""), {"tag"}),
    "a tag twice": (in_document("SMITH-m-1", r'(<Tag TagName="#From"[^>]*/>)', r"\1\1"), {"tag"}),
    "a date that is none": (in_document("SMITH-m-1", '(TagName="#DateSent" TagValue=")[^"]*', r"\1noon"), {"tag"}),
    "a date without an offset": (
        in_document("SMITH-m-1", r'(TagName="#DateSent" TagValue="[^"]*)\+09:00', r"\1"),
        {"tag"},
    ),
    "a number that is none": (in_document("SMITH-m-1", '(TagName="VERSIONS" TagValue=")1', r"\1one"), {"tag"}),
    "a type of tag that is none": (in_document("SMITH-m-1", 'TagDataType="Text"', 'TagDataType="Blob"'), {"tag"}),
    "very many tags": (
        in_document("SMITH-m-1", r'(<Tag TagName="SEND[^>]*/>)', lambda found: found[1] * 1_100),
        {"tag"},
    ),
    "no file": (in_document("SMITH-m-1", "<File .*</File>\n", ""), {"path", "stray"}),
    "a path that leads out": (
        in_document("SMITH-m-1", 'FilePath="[^"]*"', 'FilePath="../../../etc"'),
        {"path", "stray"},
    ),
    "an absolute path": (in_document("SMITH-m-1", 'FilePath="[^"]*"', 'FilePath="/etc"'), {"path", "stray"}),
    "a path to nothing": (in_document("SMITH-m-1", 'FileName="[^"]*"', 'FileName="a.txt"'), {"path", "stray"}),
    "a native that is missing": (without_native, {"path"}),
    "a native that was changed": (other_native, {"digest"}),
    "another hash": (in_document("SMITH-m-1", 'Hash="[^"]*"', f'Hash="{OTHER[:32]}"'), {"digest"}),
    "another SHA-256": (in_document("SMITH-m-1", '(TagName="SHA256" TagValue=")[^"]*', rf"\g<1>{OTHER}"), {"digest"}),
    "another size": (in_document("SMITH-m-1", 'FileSize="[^"]*"', 'FileSize="1"'), {"size"}),
    "a gap that nothing tells of": (in_document("SMITH-m-1", '(TagName="GAP_IDS" TagValue=")[^"]*', r"\1abc"), {"gap"}),
    "no list of gaps": (without("data/edrm/gaps.txt"), {"gap"}),
    "a relationship to nothing": (replaced('ChildDocId="SMITH-m-4.001"', 'ChildDocId="SMITH-m-99"'), {"relationship"}),
    "a relationship of two messages": (
        replaced(RELATED, RELATED.replace("m-4.001", "m-1") + RELATED),
        {"relationship"},
    ),
    "a second parent": (replaced(RELATED, RELATED + RELATED.replace('"SMITH-m-4"', '"SMITH-m-1"')), {"relationship"}),
    "a file that belongs to nothing": (replaced(RELATED, ""), {"relationship"}),
    "another type of relationship": (replaced('Type="Attachment"', 'Type="Friend"'), {"attribute"}),
    "a message less": (in_document("SMITH-m-1", "^.*$", ""), {"stray", "count"}),
    "a message of another conversation": (in_document("SMITH-m-1", "g:general", "g:other"), {"count"}),
    "a text that no document names": (lambda package: (package / "data/edrm/text/a.txt").write_text("x"), {"stray"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_way_to_break_a_package_makes_its_own_finding(
    name: str, good: tuple[Path, PackageFacts], tmp_path: Path
) -> None:
    package, facts = good
    shutil.copytree(package, tmp_path / "package")
    breaks, expected = BROKEN[name]
    breaks(tmp_path / "package")
    assert {finding.code for finding in edrm.check(tmp_path / "package", facts)} == expected


def test_a_finding_says_its_line(good: tuple[Path, PackageFacts], tmp_path: Path) -> None:
    shutil.copytree(good[0], tmp_path / "package")
    replaced("<Batch>", '<Batch Name="x">')(tmp_path / "package")
    (finding,) = edrm.check(tmp_path / "package", good[1])
    assert (finding.path, finding.place, finding.code) == (XML_FILE, "line 3", "attribute")


def test_a_native_that_is_not_the_one_of_the_report_is_told_of(good: tuple[Path, PackageFacts]) -> None:
    package, facts = good
    other = replace(facts, natives=dict.fromkeys(facts.natives, OTHER))
    assert {finding.code for finding in edrm.check(package, other)} == {"digest"}


@settings(max_examples=10)
@given(parts=drawn.exports())
def test_whatever_is_written_passes_its_check(
    parts: tuple[Slice, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("edrm", tmp_path_factory.mktemp("drawn"), parts) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(parts=drawn.exports())
def test_whatever_is_written_passes_its_check_for_long(
    parts: tuple[Slice, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("edrm", tmp_path_factory.mktemp("drawn"), parts) == []
