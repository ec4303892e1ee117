"""Checks of load formats read whatever somebody put into a package: damage is a finding or harmless, and never an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.discovery.checks import checker
from archiver.discovery.checks.findings import PackageFacts
from archiver.discovery.export.formats import writer_class
from tests.discovery.export import slices
from tests.discovery.rsmf_files import entries_of, put_zip, zip_of

Good = tuple[str, Path, PackageFacts]

SNIPPETS = [
    *(
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"--",
        b"\x14",
        b"\xc3\xbe",
        b"\xff",
        b"\0",
        b"=",
        b"<",
        b">",
        b'"',
        b"&",
        b"[",
        b"{",
        b"\\ud800",
    ),
    *(
        b"9" * 5_000,
        b"null",
        b"1e999",
        b"true",
        b"{}",
        b"[]",
        b'"id":1,',
        b"<![",
        b"<!--",
        b"</",
        b"&#0;",
        b"=?bogus?b?====?=",
    ),
    *(
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"Content-Type: x; charset*=bogus'%zz\r\n",
        b"filename*0*=bogus''%ff",
    ),
    *(b"Date: 99999999999999\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n", b"..\\..\\", b"../../"),
]
DAMAGE = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=8))),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module", params=["rsmf", "eml", "dat", "edrm"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Good:
    name = request.param
    package = tmp_path_factory.mktemp(name)
    written = slices.write(writer_class(name), package)
    return name, package, slices.facts(name, package, written, slices.with_natives(package))


def damaged(data: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    found = bytearray(data)
    for place, length, instead in damage:
        at = int(place * len(found))
        found[at : at + length] = instead
    return bytes(found)


def in_manifest(path: Path, damage: list[tuple[float, int, bytes]]) -> None:
    """Damage the manifest and not the base64 around it, which would hide it."""
    (entry, data), *others = entries_of(path)
    put_zip(path, zip_of([(entry, damaged(data, damage)), *others]))


def survives(good: Good, damage: list[tuple[float, int, bytes]]) -> None:
    name, package, facts = good
    check: Any = checker(name)
    ways: list[Callable[[Path], object]] = [lambda path: path.write_bytes(damaged(path.read_bytes(), damage))]
    if name == "rsmf":
        ways.append(lambda path: in_manifest(path, damage))
    path = max(
        path for path in (package / "data" / name).rglob("*") if path.suffix in (".rsmf", ".eml", ".dat", ".xml")
    )
    data = path.read_bytes()
    for way in ways:
        try:
            way(path)
            assert all(finding.code and finding.what for finding in check(package, facts))
        finally:
            path.write_bytes(data)


@settings(max_examples=15)
@given(damage=DAMAGE)
def test_damage_is_no_error(damage: list[tuple[float, int, bytes]], good: Good) -> None:
    survives(good, damage)


@pytest.mark.slow
@settings(max_examples=1_000)
@given(damage=DAMAGE)
def test_damage_is_no_error_for_long(damage: list[tuple[float, int, bytes]], good: Good) -> None:
    survives(good, damage)
