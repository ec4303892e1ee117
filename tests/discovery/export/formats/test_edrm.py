"""EDRM XML 1.2: a document a message and a document a file, what each names, and which belongs to which."""

from __future__ import annotations

from dataclasses import replace
from hashlib import md5
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from archiver.discovery.export.formats.edrm import EdrmWriter
from archiver.discovery.export.record import Slice
from tests.discovery.export import slices
from tests.discovery.export.slices import ANN, BLOBS, GENERAL, TERMS, message, version


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edrm")
    slices.write(EdrmWriter, folder)
    slices.with_natives(folder)
    return folder


def root_of(package: Path) -> ET.Element:
    return ET.parse(package / "data/edrm/edrm.xml").getroot()


def document_of(package: Path, doc_id: str) -> ET.Element:
    return next(document for document in root_of(package).iter("Document") if document.get("DocID") == doc_id)


def tags_of(document: ET.Element) -> dict[str | None, str | None]:
    return {tag.get("TagName"): tag.get("TagValue") for tag in document.iter("Tag")}


def test_the_root_says_the_version_and_whose_export_it_is(package: Path) -> None:
    root = root_of(package)
    assert (root.tag, root.get("MajorVersion"), root.get("MinorVersion")) == ("Root", "1", "2")
    assert root.get("DataInterchangeType") == "Update"
    assert "smith-v-acme" in str(root.get("Description"))
    assert [child.tag for child in root] == ["Batch"]
    assert [child.tag for child in root[0]] == ["Documents", "Relationships"]


def test_a_message_has_the_tags_of_a_message(package: Path) -> None:
    document = document_of(package, "SMITH-m-1")
    assert (document.get("DocType"), document.get("MimeType")) == ("Message", "text/plain")
    tags = tags_of(document)
    assert tags["#From"] == "Ann Áslaug (ann@acme.example, u:ann)"
    assert tags["#To"] == "u:bob;田中 健二 (kenji@acme.example, u:kenji)"
    assert tags["#Subject"] == "general"
    assert tags["#DateSent"] == "2026-11-20T21:00:00.000+09:00"
    assert tags["CONTENT_SHA256"] == slices.PLAIN.newest.content_digest
    assert "#DateModified" not in tags


def test_a_file_has_the_tags_of_a_file_and_names_its_native(package: Path) -> None:
    document = document_of(package, "SMITH-m-4.002")
    assert (document.get("DocType"), document.get("MimeType")) == ("File", "image/png")
    tags = tags_of(document)
    assert (tags["#FileName"], tags["#FileExtension"], tags["#FileSize"]) == (
        "写真 1.png",
        "png",
        str(len(BLOBS["picture"])),
    )
    external = next(document.iter("ExternalFile"))
    place = package / "data/edrm" / str(external.get("FilePath")) / str(external.get("FileName"))
    assert place.resolve().read_bytes() == BLOBS["picture"]
    assert (external.get("Hash"), external.get("HashType")) == (md5(BLOBS["picture"]).hexdigest(), "MD5")
    assert [file.get("FileType") for file in document.iter("File")] == ["Native"]


def test_a_file_that_is_not_there_names_a_text_that_says_why(package: Path) -> None:
    document = document_of(package, "SMITH-m-5.001")
    external = next(document.iter("ExternalFile"))
    text = (package / "data/edrm" / str(external.get("FilePath")) / str(external.get("FileName"))).read_text("utf-8")
    assert [file.get("FileType") for file in document.iter("File")] == ["Text"]
    assert "404 Not Found" in text


def test_files_belong_to_their_messages(package: Path) -> None:
    found = [relationship.attrib for relationship in root_of(package).iter("Relationship")]
    assert {"Type": "Attachment", "ParentDocId": "SMITH-m-4", "ChildDocId": "SMITH-m-4.002"} in found
    assert len(found) == slices.FILES


def test_a_document_says_whose_it_is_and_where_the_archive_has_it(package: Path) -> None:
    location = next(document_of(package, "SMITH-m-1").iter("Location"))
    assert location.findtext("Custodian") == "Ann Áslaug (ann@acme.example, u:ann)"
    assert location.findtext("LocationURI") == "archive:0f0f/messages/dt%3D2026-11-20/000000000001-0.parquet"


def test_what_xml_cannot_hold_is_put_in_another_way_and_counted(tmp_path: Path) -> None:
    text = "a\x00b\x1b\ufffec\x14"
    odd = message("m-1", 20, ANN, version("x"), send_as_name=text, app_id="]]> & <x> \r\n\t\"'")
    written = slices.write(EdrmWriter, tmp_path, slices=(Slice(GENERAL, "2026-11-20", 1, 1, (odd,)),))
    tags = tags_of(document_of(tmp_path, "SMITH-m-1"))
    assert tags["SEND_AS"] == "a\ufffdb\ufffd\ufffdc\ufffd"
    assert tags["APP_ID"] == "]]> & <x> \r\n\t\"'"
    assert written.replaced == {"edrm: characters that XML cannot hold, as U+FFFD": 4}


def test_an_export_of_nothing_is_whole(tmp_path: Path) -> None:
    slices.write(EdrmWriter, tmp_path, slices=(), terms=replace(TERMS, gaps=()))
    assert list(root_of(tmp_path).iter("Document")) == []
    assert (tmp_path / "data/edrm/gaps.txt").read_text("utf-8").startswith("Nothing is known to be missing")


def test_an_xml_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    sink = slices.FolderSink(tmp_path)
    writer = EdrmWriter(TERMS, sink)
    writer.add(slices.SLICES[1])
    writer.close()
    assert "edrm/edrm.xml" not in sink.written


def test_the_same_slices_and_terms_give_the_same_bytes(tmp_path: Path, package: Path) -> None:
    slices.write(EdrmWriter, tmp_path)
    for path in (package / "data/edrm").rglob("*.*"):
        assert (tmp_path / path.relative_to(package)).read_bytes() == path.read_bytes()
