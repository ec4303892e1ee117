"""`archiver clone` as a person and as a program use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.reader import Archive
from archiver.cli import main
from archiver.store.local import LocalStore
from tests import small_archive


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    monkeypatch.chdir(tmp_path)
    return small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)[0]


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["clone", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_copy_is_told_verified_and_brought_up_to_date(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = document(capsys, "copy")
    assert (first["from_sequence"], first["sequence"], first["digest"]) == (0, 2, archive.head().digest)
    assert document(capsys, "copy")["objects"] == 0
    assert main(["clone", "copy"]) == 0
    assert "is up to date" in capsys.readouterr().out
    monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
    assert main(["verify"]) == 0


@pytest.mark.parametrize("place", ["archive", "archive/copy", ".", "state/copy", "ftp://x/y", "s3://"])
def test_a_place_that_cannot_be_is_refused(archive: Archive, capsys: pytest.CaptureFixture[str], place: str) -> None:
    before = [info.key for info in archive.store.list("")]
    assert document(capsys, place, code=2)["error"]["next_step"]
    assert [info.key for info in archive.store.list("")] == before


def test_a_place_with_something_else_is_refused(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    Path("letters").mkdir()
    Path("letters/a.txt").write_text("x")
    assert "is not empty" in document(capsys, "letters", code=5)["error"]["what"]


def test_damage_is_named(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    key = next(iter(archive.head().files))
    archive.store.replace(key, b"spoilt")
    assert key in document(capsys, "copy", code=4)["error"]["what"]
