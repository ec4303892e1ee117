"""Mails: a conversation-day in each by default, as the standard library's parser reads them back, or a message in each."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import getaddresses
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import pytest
from msgspec import structs

from archiver.discovery.export.formats import mime_stream
from archiver.discovery.export.formats.eml import EmlWriter
from archiver.discovery.export.record import Person, Slice
from tests.discovery.export import slices
from tests.discovery.export.slices import ANN, BLOBS, GENERAL, TERMS, message, version

FIRST = "eml/general/2026-11-20_part-0001-of-0002.eml"
SECOND = "eml/general/2026-11-20_part-0002-of-0002.eml"
EVIL = f"eml/{slices.EVIL.path_name}/2026-11-20.eml"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("eml")
    slices.write(EmlWriter, package)
    return package / "data"


@pytest.fixture(scope="module")
def by_message(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = tmp_path_factory.mktemp("eml")
    slices.write(EmlWriter, package, terms=replace(TERMS, options={"eml": "message"}))
    return package / "data/eml"


def read(path: Path) -> EmailMessage:
    return cast("EmailMessage", BytesParser(policy=policy.default).parsebytes(path.read_bytes()))


def text_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def written(folder: Path, *messages: Any, **terms: Any) -> EmailMessage:
    parts = (Slice(GENERAL, "2026-11-20", 1, 1, messages),)
    slices.write(EmlWriter, folder, terms=replace(TERMS, **terms), slices=parts)
    return read(folder / "data" / slices.paths_of("eml", folder)[-1])


def test_a_mail_is_a_conversation_on_a_day(data: Path) -> None:
    mail = read(data / FIRST)
    assert mail["Subject"] == "general, 2026-11-20, part 1 of 2"
    assert mail["Date"].datetime == datetime.fromisoformat("2026-11-20T21:00:00+09:00")
    assert mail["From"].addresses[0].addr_spec == "ann@acme.example"
    assert [address.display_name for address in mail["To"].addresses] == ["Ann Áslaug", "u:bob", "田中 健二"]
    assert mail["X-Archive-Messages"] == "3"
    assert "In-Reply-To" not in mail


def test_the_body_is_text_and_the_same_as_html(data: Path) -> None:
    mail = read(data / FIRST)
    plain, html = text_of(mail, "plain"), text_of(mail, "html")
    assert "the price is <b>14</b>" in plain
    assert "the price is &lt;b&gt;14&lt;/b&gt;" in html
    for said in (
        "the price is 10",
        "それは間違いでした 🙇 消してください",
        "Flock has not returned this message since 2026-11-25T21:00",
    ):
        assert said in plain
        assert said in html
    assert slices.PLAIN.newest.content_digest in html


def test_what_may_be_missing_stands_first(data: Path) -> None:
    assert (
        text_of(read(data / FIRST), "plain").splitlines()[2].startswith("Something may be missing here (listener-down")
    )


def test_files_are_parts_under_their_own_names(data: Path) -> None:
    attachments = list(read(data / SECOND).iter_attachments())
    assert [part.get_filename() for part in attachments] == ["minutes.txt", "写真 1.png", "契約書.pdf.missing.txt"]
    assert attachments[0].get_payload(decode=True) == BLOBS["minutes"]
    assert attachments[1].get_payload(decode=True) == BLOBS["picture"]
    assert attachments[1].get_content_type() == "image/png"
    assert attachments[1]["X-Archive-Control-Number"] == "SMITH-m-4.002"
    assert "404 Not Found" in attachments[2].get_content()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("minutes.txt", "minutes.txt"),
        ("写真 1.png", "写真 1.png"),
        ("日本語の長い名前" * 12 + ".pdf", "日本語の長い名前" * 12 + ".pdf"),
        ("a" * 300 + ".pdf", "a" * 146 + ".pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("D:\\windows\\x.exe", "D__windows_x.exe"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ('a"b.txt', "a_b.txt"),
        ("100%.txt", "100%.txt"),
        ("it's.txt", "it's.txt"),
        ("...", "file"),
        ("x\r\nX-Evil: yes", "x X-Evil_ yes"),
    ],
)
def test_a_name_comes_back_unless_it_could_be_a_path(name: str, kept: str, tmp_path: Path) -> None:
    file = structs.replace(slices.stored("a", "minutes", "N-1"), name=name)
    (part,) = written(tmp_path, message("m-1", 20, ANN, version("x"), files=(file,))).iter_attachments()
    assert part.get_filename() == kept


@pytest.mark.parametrize(
    ("mime", "as_written"),
    [
        ("message/rfc822", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
        ("image/PNG", "image/png"),
        ("a\r\nb/c", "application/octet-stream"),
        (None, "application/octet-stream"),
    ],
)
def test_a_media_type_that_base64_may_not_have_is_octets(mime: str | None, as_written: str) -> None:
    assert mime_stream.safe_type(mime) == as_written


@pytest.mark.parametrize(
    "name",
    [
        "Ann",
        "Lee, Ann",
        'Ann "the" Lee',
        "Ann <ann@x>",
        "田中 健二" * 20,
        "=?utf-8?b?QW5u?=",
        "a\r\nBcc: mal@x",
        "Ann (HR)",
        "x" * 400,
    ],
)
def test_a_sender_comes_back_by_name_and_address(name: str, tmp_path: Path) -> None:
    """By the older interface of the standard library: the newer puts spaces between the encoded words of one name."""
    mail = written(tmp_path, message("m-1", 20, Person("u:1", name, "ann@acme.example"), version("x")))
    sender = dict(mail.raw_items())["From"]
    ((shown, address),) = getaddresses([sender.replace("\r\n", "")])
    assert str(make_header(decode_header(shown))) == name.replace("\r\n", " ")
    assert address == "ann@acme.example"
    assert "Bcc" not in mail


@pytest.mark.parametrize(
    "email", [None, "", "no address", "a@b\r\nBcc: x@y.zz", '"a b"@x.yz', "á@x.yz", "a@b>, <c@d.ef"]
)
def test_who_has_no_usable_address_gets_one_that_cannot_exist(email: str | None, tmp_path: Path) -> None:
    mail = written(tmp_path, message("m-1", 20, Person("u:b/1", "Bob", email), version("x")))
    assert mail["From"].addresses[0].addr_spec == "u_3a_b_2f_1@users.flock.invalid"


def test_hostile_values_stay_values(data: Path) -> None:
    mail = read(data / EVIL)
    raw = (data / EVIL).read_bytes()
    assert "X-Evil" not in mail
    assert all("X-Evil" not in part for part in mail.walk())
    assert max(map(len, raw.splitlines())) <= 300
    assert raw.replace(b"\r\n", b"").count(b"\n") == 0
    html = text_of(mail, "html")
    assert "<script" not in html
    assert "<img" not in html
    assert "\x1b" not in html


def test_a_mail_a_message_replies_to_the_one_that_is_known(by_message: Path) -> None:
    first = read(by_message / "general/2026-11-20/SMITH-m-1.eml")
    reply = read(by_message / "general/2026-11-20/SMITH-m-2.eml")
    assert reply["In-Reply-To"] == reply["References"] == first["Message-ID"]
    assert reply["X-Archive-Message-UID"] == "m-2"
    assert [address.display_name for address in reply["To"].addresses] == ["Ann Áslaug", "田中 健二"]
    assert "In-Reply-To" not in first


def test_a_mail_a_message_goes_to_those_who_saw_it(by_message: Path) -> None:
    mail = read(by_message / "general/2026-11-20/SMITH-m-6.eml")
    assert [address.display_name for address in mail["To"].addresses] == ["Ann Áslaug", "u:bob"]
    gone = read(by_message / "general/2026-11-20/SMITH-m-3.eml")
    assert gone["X-Archive-Not-Returned-Since"] == "2026-11-25T21:00:00.000+09:00"


def test_with_a_mail_a_message_gaps_have_mails_of_their_own(by_message: Path) -> None:
    mail = read(by_message / "general/2026-11-20/2026-11-20_part-0001-of-0002_gaps.eml")
    assert mail["X-Archive-Messages"] == "0"
    assert "listener-down" in text_of(mail, "plain")


def test_the_same_slices_and_terms_give_the_same_bytes(tmp_path: Path, data: Path) -> None:
    slices.write(EmlWriter, tmp_path)
    for path in data.rglob("*.eml"):
        assert (tmp_path / "data" / path.relative_to(data)).read_bytes() == path.read_bytes()


def test_everything_that_was_handed_over_is_counted(tmp_path: Path) -> None:
    found = slices.write(EmlWriter, tmp_path)
    assert (found.messages, found.files) == (slices.MESSAGES, slices.FILES)
    assert sum(found.replaced.values()) == 2


def test_a_long_name_is_divided_where_each_section_can_be_decoded_by_itself() -> None:
    header = mime_stream.disposition("ab" + "日本語" * 20 + ".pdf").decode("ascii")
    sections = re.findall(r"filename\*\d+\*=(?:UTF-8'')?([^;\r]*)", header)
    assert len(sections) > 5
    assert all(re.fullmatch(r"(%[0-9A-F]{2}|[A-Za-z0-9_.~-])+", section) for section in sections)
    assert b"".join(map(unquote_to_bytes, sections)).decode() == "ab" + "日本語" * 20 + ".pdf"
