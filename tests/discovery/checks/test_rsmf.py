"""What the check of RSMF files finds: a package as it was written is clean, and each way to break it makes its own finding."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from archiver.discovery.checks import rsmf
from archiver.discovery.checks.findings import PackageFacts
from archiver.discovery.export.formats.rsmf import RsmfWriter
from archiver.discovery.export.record import Slice
from tests.discovery.export import drawn, slices
from tests.discovery.rsmf_files import change_bytes, change_manifest, entries_of, put_zip, zip_of

FIRST = "data/rsmf/general/2026-11-20_part-0001-of-0002.rsmf"
SECOND = "data/rsmf/general/2026-11-20_part-0002-of-0002.rsmf"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PackageFacts]:
    package = tmp_path_factory.mktemp("rsmf")
    written = slices.write(RsmfWriter, package)
    return package, slices.facts("rsmf", package, written, slices.with_natives(package))


def codes(package: Path, facts: PackageFacts) -> set[str]:
    return {finding.code for finding in rsmf.check(package, facts)}


def test_a_package_as_it_was_written_is_clean(good: tuple[Path, PackageFacts]) -> None:
    assert list(rsmf.check(*good)) == []


def in_manifest(change: Callable[[Any], object], file: str = SECOND) -> Callable[[Path], None]:
    return lambda package: change_manifest(package / file, change)


def in_event(event_id: str, **fields: Any) -> Callable[[Path], None]:
    """Change fields of one event of the second file; None takes a field away."""

    def change(manifest: Any) -> None:
        event = next(event for event in manifest["events"] if event["id"] == event_id)
        event.update(fields)
        for name in [name for name, value in fields.items() if value is None]:
            del event[name]

    return in_manifest(change, FIRST if event_id in ("m-1", "m-2", "m-3") else SECOND)


def in_bytes(old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda package: change_bytes(package / SECOND, old, new)


def in_zip(change: Callable[[list[tuple[zipfile.ZipInfo, bytes]]], object]) -> Callable[[Path], None]:
    def broken(package: Path) -> None:
        entries = entries_of(package / SECOND)
        change(entries)
        put_zip(package / SECOND, zip_of(entries))

    return broken


def zipped(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda package: put_zip(package / SECOND, change(zip_of(entries_of(package / SECOND))))


def other_bytes(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    entries[1] = (entries[1][0], b"X" * len(entries[1][1]))


def deflated_bomb(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    info = zipfile.ZipInfo("bomb.bin")
    info.compress_type = zipfile.ZIP_DEFLATED
    entries.append((info, b"\0" * 3_000_000))


def with_method(method: int) -> Callable[[list[tuple[zipfile.ZipInfo, bytes]]], None]:
    def change(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
        entries[1][0].compress_type = method

    return change


def encrypted(data: bytes) -> bytes:
    broken = bytearray(data)
    at = data.rindex(b"PK\x01\x02")
    broken[at + 8] |= 1
    return bytes(broken)


def damaged(data: bytes) -> bytes:
    return data.replace(slices.BLOBS["minutes"], slices.BLOBS["minutes"].upper(), 1)


def twice(manifest: Any) -> None:
    manifest["participants"].append(manifest["participants"][0])


def renamed_folder(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    info = zipfile.ZipInfo("../evil.txt")
    entries.append((info, b"x"))


def second_attachment(package: Path) -> None:
    data = (package / SECOND).read_bytes()
    last = data.rindex(b"\r\n--=_rsmf_")
    boundary = data[last:].strip().removesuffix(b"--")
    further = b"\r\n" + boundary + b'\r\nContent-Disposition: attachment; filename="b.zip"\r\n'
    further += b"Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
    (package / SECOND).write_bytes(data[:last] + further + data[last:])


def without_text(package: Path) -> None:
    data = (package / SECOND).read_bytes()
    begins = data.index(b"base64\r\n\r\n") + 10
    (package / SECOND).write_bytes(data[:begins] + data[data.index(b"\r\n--=_rsmf_", begins) :])


def long_day(manifest: Any) -> None:
    manifest["events"][0]["timestamp"] = "2026-11-18T10:00:00.000+09:00"


def many_events(manifest: Any) -> None:
    manifest["events"] += [{"type": "unknown"}] * 10_000


def not_unique(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    entries.append(entries[1])


def unclosed(package: Path) -> None:
    data = (package / SECOND).read_bytes()
    (package / SECOND).write_bytes(data[: data.rindex(b"\r\n--=_rsmf_")] + b"\r\n")


BROKEN: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a line feed alone": (in_bytes(b"Subject: general", b"X-Other: a\nSubject: general"), {"line-end"}),
    "a line too long": (in_bytes(b"Subject: ", b"X-Other: " + b"a" * 1_000 + b"\r\nSubject: "), {"line-length"}),
    "a header that is none": (in_bytes(b"Subject: ", b"no header\r\nSubject: "), {"header", "attachment", "count"}),
    "no version": (in_bytes(b"X-RSMF-Version: 2.0.0\r\n", b""), {"version"}),
    "another version": (in_bytes(b"X-RSMF-Version: 2.0.0", b"X-RSMF-Version: 1.0.0"), {"version"}),
    "a version too short": (
        lambda package: (
            in_bytes(b"X-RSMF-Version: 2.0.0", b"X-RSMF-Version: 2.0")(package),
            in_manifest(lambda m: m.update(version="2.0"))(package),
        ),
        {"value"},
    ),
    "no sender": (in_bytes(b"From: ", b"X-From: "), {"header"}),
    "another sender": (in_bytes(b"From: =?utf-8?b?QW5uIMOBc2xhdWc=?=", b"From: Bob"), {"header"}),
    "no recipients": (in_bytes(b"To: ", b"X-To: "), {"header"}),
    "a recipient less": (in_bytes(b" =?utf-8?b?dTpib2I=?= <u_3a_bob@users.flock.invalid>,\r\n", b""), {"header"}),
    "no subject": (in_bytes(b"Subject: ", b"X-Subject: "), {"header", "part"}),
    "a name of a header too long": (in_bytes(b"Subject: ", b"X-RSMF-" + b"a" * 250 + b": b\r\nSubject: "), {"header"}),
    "another count of events": (in_bytes(b"X-RSMF-EventCount: 5", b"X-RSMF-EventCount: 6"), {"header"}),
    "another count of attachments": (in_bytes(b"AttachmentCount: 3", b"AttachmentCount: 2"), {"header"}),
    "another begin": (in_bytes(b"BeginDate: 2026-11-20T19", b"BeginDate: 2026-11-20T18"), {"header"}),
    "another end": (in_bytes(b"EndDate: 2026-11-20T23:30", b"EndDate: 2026-11-20T23:31"), {"header"}),
    "a begin without an offset": (in_bytes(b"T19:00:00.000+09:00", b"T19:00:00.000"), {"time"}),
    "another custodian": (in_bytes(b"X-RSMF-Custodian: ", b"X-RSMF-Custodian: Bob\r\nX-Other: "), {"header"}),
    "other participants": (in_bytes(b"X-RSMF-Participants: ", b"X-RSMF-Participants: Bob\r\nX-Other: "), {"header"}),
    "another collection": (in_bytes(b"EventCollectionID: 0f0f", b"EventCollectionID: 0f0e"), {"header"}),
    "a day in parts that does not say so": (in_bytes(b", part 2 of 2", b""), {"part"}),
    "no attachment": (in_bytes(b'Content-Disposition: attachment; filename="rsmf.zip"', b"X-Other: a"), {"attachment"}),
    "another name": (in_bytes(b'attachment; filename="rsmf.zip"', b'attachment; filename="other.zip"'), {"attachment"}),
    "shown and not attached": (
        in_bytes(b'attachment; filename="rsmf.zip"', b'inline; filename="rsmf.zip"'),
        {"attachment"},
    ),
    "two attachments": (second_attachment, {"attachment"}),
    "not in base64": (
        in_bytes(
            b'name="rsmf.zip"\r\nContent-Transfer-Encoding: base64',
            b'name="rsmf.zip"\r\nContent-Transfer-Encoding: 8bit',
        ),
        {"attachment", "zip", "count"},
    ),
    "malformed base64": (
        in_bytes(b'filename="rsmf.zip"\r\n\r\nUEsD', b'filename="rsmf.zip"\r\n\r\nUE$D'),
        {"base64", "zip", "count"},
    ),
    "no transcript": (without_text, {"transcript"}),
    "a mail that is never closed": (unclosed, {"boundary"}),
    "no zip": (zipped(lambda _: b"this is no zip"), {"zip", "count"}),
    "a damaged file in the zip": (zipped(damaged), {"zip", "count"}),
    "an encrypted file": (zipped(encrypted), {"encrypted", "count"}),
    "another method": (in_zip(with_method(zipfile.ZIP_BZIP2)), {"zip-method", "count"}),
    "a file in a folder": (in_zip(renamed_folder), {"zip-name", "file"}),
    "a name twice in the zip": (in_zip(not_unique), {"zip-name"}),
    "a zip that unpacks to very much": (in_zip(deflated_bomb), {"bomb", "count"}),
    "no manifest": (in_zip(lambda entries: entries.pop(0)), {"manifest", "count"}),
    "a manifest that is no JSON": (in_zip(lambda e: e.__setitem__(0, (e[0][0], b"{"))), {"json", "count"}),
    "a manifest that is nested without end": (
        in_zip(lambda e: e.__setitem__(0, (e[0][0], b"[" * 200_000))),
        {"json", "count"},
    ),
    "a name twice in an object": (
        in_zip(lambda e: e.__setitem__(0, (e[0][0], b'{"version":"1","version":"2"}'))),
        {"json", "count"},
    ),
    "a number that JSON has not": (
        in_zip(lambda e: e.__setitem__(0, (e[0][0], b'{"version":NaN}'))),
        {"json", "count"},
    ),
    "a field that must be there": (in_manifest(lambda m: m.pop("participants")), {"field", "count"}),
    "an unknown field": (in_event("m-4", forward=True), {"unknown"}),
    "an id that is a number": (in_event("m-4", id=4), {"type", "count"}),
    "a size that is a boolean": (
        in_manifest(lambda m: m["events"][2]["attachments"][0].update(size=True)),
        {"type", "count"},
    ),
    "an event that is no object": (in_manifest(lambda m: m["events"].append("x")), {"type", "count"}),
    "an unknown type": (in_event("m-6", type="shout"), {"value", "count"}),
    "an unknown direction": (in_event("m-6", direction="up"), {"value"}),
    "a participant twice": (in_manifest(twice), {"id"}),
    "an event twice": (in_event("m-6", id="m-5"), {"id"}),
    "nobody of that id": (in_event("m-6", participant="u:nobody"), {"reference"}),
    "no conversation of that id": (in_event("m-6", conversation="g:nowhere"), {"reference", "count"}),
    "a parent that is nowhere": (in_event("m-6", parent="m-99"), {"reference"}),
    "a custodian who is nowhere": (
        in_manifest(lambda m: m["conversations"][0].update(custodian="u:nobody")),
        {"reference", "header"},
    ),
    "a parent later than its child": (in_event("m-1", parent="m-2"), {"parent"}),
    "an event that is its own parent": (in_event("m-6", parent="m-6"), {"parent"}),
    "a parent in another conversation": (
        in_manifest(
            lambda m: (
                m["conversations"].append({"id": "g:b", "platform": "Flock", "participants": []}),
                m["events"][-1].update(conversation="g:b", parent="m-5"),
            )
        ),
        {"parent", "count"},
    ),
    "a time without an offset": (in_event("m-5", timestamp="2026-11-20T23:00:00.000"), {"time"}),
    "events out of order": (in_manifest(lambda m: m["events"].insert(1, m["events"].pop(2))), {"order"}),
    "events of more than a day": (in_manifest(long_day), {"span", "header"}),
    "very many events": (in_manifest(many_events), {"events", "header"}),
    "edits that do not end with the body": (in_event("m-2", body="other"), {"edits"}),
    "edits not oldest first": (in_manifest(lambda m: m["events"][2]["edits"].reverse(), FIRST), {"edits"}),
    "a file that is not in the zip": (in_zip(lambda entries: entries.pop(1)), {"file"}),
    "a file that nobody names": (in_event("m-4", attachments=None), {"file", "header", "count"}),
    "an avatar that is not there": (in_manifest(lambda m: m["participants"][0].update(avatar="a.png")), {"file"}),
    "two attachments of one name": (
        in_manifest(lambda m: m["events"][2]["attachments"].append(m["events"][2]["attachments"][0])),
        {"file", "header", "count"},
    ),
    "another size": (in_manifest(lambda m: m["events"][2]["attachments"][0].update(size=1)), {"file-size"}),
    "another file than its message says": (in_zip(other_bytes), {"digest"}),
    "a message less": (
        lambda package: (
            in_manifest(lambda m: m["events"].pop(3))(package),
            in_zip(lambda e: e.pop(3))(package),
            in_bytes(b"EventCount: 5", b"EventCount: 4")(package),
            in_bytes(b"AttachmentCount: 3", b"AttachmentCount: 2")(package),
        ),
        {"count"},
    ),
    "a file that is no RSMF": (lambda package: (package / "data/rsmf/notes.txt").write_text("x"), {"stray"}),
    "an empty file": (
        lambda package: (package / SECOND).write_bytes(b""),
        {"header", "attachment", "transcript", "count"},
    ),
    "a whole file less": (lambda package: (package / SECOND).unlink(), {"count"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_way_to_break_a_package_makes_its_own_finding(
    name: str, good: tuple[Path, PackageFacts], tmp_path: Path
) -> None:
    package, facts = good
    shutil.copytree(package, tmp_path / "package")
    breaks, expected = BROKEN[name]
    breaks(tmp_path / "package")
    assert codes(tmp_path / "package", facts) == expected


def test_a_file_of_more_than_two_gigabytes_is_told_of(good: tuple[Path, PackageFacts], tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "data/rsmf/g").mkdir(parents=True)
    shutil.copytree(good[0] / "data/rsmf", package / "data/rsmf", dirs_exist_ok=True)
    with (package / "data/rsmf/g/2026-11-20.rsmf").open("wb") as sparse:
        sparse.truncate(rsmf.FILE_BYTES_MAX + 1)
    found = next(finding for finding in rsmf.check(package, good[1]) if finding.path.endswith("g/2026-11-20.rsmf"))
    assert found.code == "size"


@pytest.mark.parametrize(
    "data",
    [b"\r\n", b"\0" * 200_000, b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n", b"A: " + b"b" * 5_000_000],
)
def test_whatever_is_in_a_file_is_a_finding_and_no_error(
    data: bytes, good: tuple[Path, PackageFacts], tmp_path: Path
) -> None:
    (tmp_path / "data/rsmf/g").mkdir(parents=True)
    (tmp_path / "data/rsmf/g/a.rsmf").write_bytes(data)
    assert codes(tmp_path, good[1]) >= {"attachment", "count"}


@settings(max_examples=10)
@given(parts=drawn.exports())
def test_whatever_is_written_passes_its_check(
    parts: tuple[Slice, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("rsmf", tmp_path_factory.mktemp("drawn"), parts) == []


@pytest.mark.slow
@settings(max_examples=300)
@given(parts=drawn.exports())
def test_whatever_is_written_passes_its_check_for_long(
    parts: tuple[Slice, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert drawn.findings_in("rsmf", tmp_path_factory.mktemp("drawn"), parts) == []
