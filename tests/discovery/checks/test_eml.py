"""What the check of mails finds: a package as it was written is clean, and each way to break it makes its own finding."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.discovery.checks import eml
from archiver.discovery.checks.findings import PackageFacts
from archiver.discovery.export.formats.eml import EmlWriter
from archiver.discovery.export.record import Slice
from tests.discovery.export import drawn, slices
from tests.discovery.rsmf_files import change_bytes

FIRST = "data/eml/general/2026-11-20_part-0001-of-0002.eml"
SECOND = "data/eml/general/2026-11-20_part-0002-of-0002.eml"

_PAGE = re.compile(rb"(text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n)(.*?)(\r\n--)", re.DOTALL)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackageFacts]:
    package = tmp_path_factory.mktemp("eml")
    written = slices.write(EmlWriter, package)
    return package, slices.facts("eml", package, written, {})


def test_a_package_as_it_was_written_is_clean(good: tuple[Path, PackageFacts]) -> None:
    assert list(eml.check(*good)) == []


def in_bytes(old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda package: change_bytes(package / SECOND, old, new)


def in_page(old: bytes, new: bytes) -> Callable[[Path], None]:
    def broken(package: Path) -> None:
        def changed(found: re.Match[bytes]) -> bytes:
            page = base64.b64decode(found[2])
            assert old in page
            return found[1] + base64.encodebytes(page.replace(old, new, 1)).replace(b"\n", b"\r\n") + found[3]

        path = package / SECOND
        path.write_bytes(_PAGE.sub(changed, path.read_bytes()))

    return broken


def unclosed(package: Path) -> None:
    data = (package / SECOND).read_bytes()
    (package / SECOND).write_bytes(data[: data.rindex(b"\r\n--=_mixed_")] + b"\r\n")


def with_header_of_first(name: str) -> Callable[[Path], None]:
    """Give the second mail a header of the first."""

    def broken(package: Path) -> None:
        line = re.search(rb"^%s: .*\r\n" % name.encode(), (package / FIRST).read_bytes(), re.MULTILINE)
        assert line is not None
        data = (package / SECOND).read_bytes()
        (package / SECOND).write_bytes(re.sub(rb"(?m)^%s: .*\r\n" % name.encode(), line[0], data, count=1))

    return broken


def replying_to_itself(package: Path) -> None:
    data = (package / SECOND).read_bytes()
    (package / SECOND).write_bytes(
        re.sub(rb"(?m)^Message-ID: (.*)\r\n", rb"Message-ID: \1\r\nIn-Reply-To: \1\r\n", data)
    )


ARTICLE = b"<article>"
END = b"</body>"
BROKEN: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a line feed alone": (in_bytes(b"Subject: ", b"X-Other: a\nSubject: "), {"line-end"}),
    "a carriage return alone": (in_bytes(b"\r\n\r\n--", b"\r\n\r\npre\ramble\r\n--"), {"line-end"}),
    "a line too long": (in_bytes(b"Subject: ", b"X-Other: " + b"a" * 1_000 + b"\r\nSubject: "), {"line-length"}),
    "no date": (in_bytes(b"Date: ", b"X-Date: "), {"header"}),
    "no sender": (in_bytes(b"From: ", b"X-From: "), {"header"}),
    "no recipients": (in_bytes(b"To: ", b"X-To: "), {"header"}),
    "no subject": (in_bytes(b"Subject: ", b"X-Subject: "), {"header"}),
    "no message id": (in_bytes(b"Message-ID: ", b"X-Message-ID: "), {"header"}),
    "no version of MIME": (in_bytes(b"MIME-Version: ", b"X-MIME-Version: "), {"header"}),
    "a header twice": (in_bytes(b"Subject: ", b"Subject: other\r\nSubject: "), {"header"}),
    "a date that is none": (in_bytes(b"Date: Fri", b"Date: someday\r\nX-Date: Fri"), {"date"}),
    "a date without a zone": (in_bytes(b" +0900\r\n", b" -0000\r\n"), {"date"}),
    "a message id that is none": (in_bytes(b"@eml.flock.invalid>", b">"), {"id"}),
    "a message id of another mail": (with_header_of_first("Message-ID"), {"id"}),
    "a reply to nothing that is an id": (in_bytes(b"MIME-Version", b"In-Reply-To: m-1\r\nMIME-Version"), {"id"}),
    "a mail that replies to itself": (replying_to_itself, {"id"}),
    "malformed base64": (in_bytes(b"base64\r\n\r\n", b"base64\r\n\r\n$"), {"base64"}),
    "a mail that is never closed": (unclosed, {"boundary"}),
    "no boundary": (in_bytes(b";\r\n boundary", b";\r\n other"), {"boundary", "structure", "count"}),
    "no HTML": (in_bytes(b"text/html", b"text/plain"), {"structure", "count"}),
    "no text": (in_bytes(b"text/plain", b"text/richtext"), {"structure"}),
    "a part that is nothing": (
        in_bytes(b"Content-Disposition: attachment", b"Content-Disposition: inline"),
        {"structure", "count"},
    ),
    "another charset": (in_bytes(b"charset=utf-8", b"charset=utf-16"), {"charset"}),
    "bytes that are not UTF-8": (in_page(b"general", b"\xff"), {"charset", "count"}),
    "a script": (in_page(ARTICLE, b"<script>alert(1)</script><article>"), {"active"}),
    "an image from elsewhere": (in_page(ARTICLE, b'<img src="http://evil.example/x">' + ARTICLE), {"active"}),
    "a handler": (in_page(ARTICLE, b'<article onclick="alert(1)">'), {"active"}),
    "a style that fetches": (in_page(b"white-space:pre-wrap", b"background:url(//x)"), {"active"}),
    "a comment": (in_page(END, b"<!-- x -->" + END), {"active"}),
    "a processing instruction": (in_page(END, b"<?php x ?>" + END), {"active"}),
    "a declaration": (in_page(END, b"<![CDATA[x]]>" + END), {"active"}),
    "a tag that does not end": (in_page(b"</html>\n", b"<b"), {"active"}),
    "a message less in the page": (in_page(ARTICLE, b""), {"count"}),
    "another count of files": (in_bytes(b"X-Archive-Files: 3", b"X-Archive-Files: 4"), {"count"}),
    "no count of messages": (in_bytes(b"X-Archive-Messages: ", b"X-Other: "), {"count"}),
    "a file without a name": (in_bytes(b';\r\n filename="minutes.txt"', b""), {"name"}),
    "a name that is a path": (in_bytes(b'filename="minutes.txt"', b'filename="../minutes.txt"'), {"name"}),
    "another file than the part says": (
        in_bytes(base64.b64encode(slices.BLOBS["minutes"])[:8], b"AAAAAAAA"),
        {"digest"},
    ),
    "a file that says no digest": (in_bytes(b"X-Archive-SHA256", b"X-Other"), {"digest"}),
    "a whole mail less": (lambda package: (package / SECOND).unlink(), {"count"}),
    "a file that is no mail": (lambda package: (package / "data/eml/notes.txt").write_text("x"), {"stray"}),
    "an empty file": (lambda package: (package / SECOND).write_bytes(b""), {"header", "structure", "count"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_way_to_break_a_package_makes_its_own_finding(
    name: str, good: tuple[Path, PackageFacts], tmp_path: Path
) -> None:
    package, facts = good
    shutil.copytree(package, tmp_path / "package")
    breaks, expected = BROKEN[name]
    breaks(tmp_path / "package")
    assert {finding.code for finding in eml.check(tmp_path / "package", facts)} == expected


def nested(depth: int) -> bytes:
    found = b"A: b\r\nContent-Type: multipart/mixed; boundary=b0\r\n\r\n"
    for n in range(depth):
        found += b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (n, n + 1)
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"\0" * 200_000,
        nested(3_000),
        b"A: " + b"b" * 5_000_000,
        b"Content-Type: text/plain; charset=\xff\r\n\r\nx",
    ],
)
def test_whatever_is_in_a_file_is_a_finding_and_no_error(
    data: bytes, good: tuple[Path, PackageFacts], tmp_path: Path
) -> None:
    (tmp_path / "data/eml/g").mkdir(parents=True)
    (tmp_path / "data/eml/g/a.eml").write_bytes(data)
    assert {finding.code for finding in eml.check(tmp_path, good[1])} >= {"structure", "count"}


@settings(max_examples=10)
@given(parts=drawn.exports(), unit=st.sampled_from(["day", "message"]))
def test_whatever_is_written_passes_its_check(
    parts: tuple[Slice, ...], unit: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("eml", tmp_path_factory.mktemp("drawn"), parts, eml=unit) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(parts=drawn.exports(), unit=st.sampled_from(["day", "message"]))
def test_whatever_is_written_passes_its_check_for_long(
    parts: tuple[Slice, ...], unit: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("eml", tmp_path_factory.mktemp("drawn"), parts, eml=unit) == []
