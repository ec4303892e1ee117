"""A bag is held against RFC 8493 as the library `bagit` holds it, and more strictly, in memory that does not grow with it."""

from __future__ import annotations

import logging
import os
import shutil
import tracemalloc
from collections.abc import Callable
from hashlib import md5, sha256
from pathlib import Path

import bagit
import pytest

from archiver.discovery.checks.bag import Digests, Manifest, Paths, read_bag
from archiver.discovery.checks.findings import Finding
from archiver.discovery.checks.remembered import Remembered

TEXTS = {"data/jsonl/messages.jsonl": b"{}\n", "data/natives/ab/abcd.txt": b"minutes\n", "data/natives/zz.txt": b""}


def bag_of(folder: Path, payload: dict[str, bytes]) -> Path:
    files = dict(payload)
    size = sum(map(len, payload.values()))
    files["bagit.txt"] = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
    files["bag-info.txt"] = f"External-Identifier: x\nPayload-Oxum: {size}.{len(payload)}\n".encode()
    for name, algorithm in (("sha256", sha256), ("md5", md5)):
        lines = [f"{algorithm(data).hexdigest()}  {path}\n" for path, data in payload.items()]
        files[f"manifest-{name}.txt"] = "".join(lines).encode()
    tags = {path: data for path, data in files.items() if path not in payload}
    for name, algorithm in (("sha256", sha256), ("md5", md5)):
        lines = [f"{algorithm(data).hexdigest()}  {path}\n" for path, data in sorted(tags.items())]
        files[f"tagmanifest-{name}.txt"] = "".join(lines).encode()
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def findings(folder: Path) -> list[Finding]:
    with Remembered() as remembered:
        return list(read_bag(folder, Manifest(remembered)))


def is_refused_by_bagit(folder: Path) -> bool:
    logging.getLogger("bagit").setLevel(logging.CRITICAL)
    try:
        bagit.Bag(str(folder)).validate()
    except (bagit.BagError, OSError, ValueError, LookupError):
        return True
    return False


def _line(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


BREAKS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a byte is another": ("digest", lambda folder: (folder / "data/natives/ab/abcd.txt").write_bytes(b"minutez\n")),
    "a byte is more": ("digest", lambda folder: (folder / "data/natives/zz.txt").write_bytes(b"x")),
    "a file is gone": ("missing", lambda folder: (folder / "data/natives/zz.txt").unlink()),
    "a file is new": ("unnamed", lambda folder: (folder / "data/new.txt").write_bytes(b"")),
    "the payload is gone": ("missing", lambda folder: shutil.rmtree(folder / "data")),
    "the declaration is gone": ("missing", lambda folder: (folder / "bagit.txt").unlink()),
    "the declaration is of another version": (
        "digest",
        lambda folder: _line(folder, "bagit.txt", "1.0", "2.0"),
    ),
    "a tag file is another": ("digest", lambda folder: _line(folder, "bag-info.txt", ": x", ": y")),
    "a manifest names a file twice": (
        "path",
        lambda folder: (folder / "manifest-md5.txt").write_text((folder / "manifest-md5.txt").read_text() * 2),
    ),
    "a manifest leads out": (
        "path",
        lambda folder: _line(folder, "manifest-sha256.txt", "  data/natives/zz", "  data/../../zz"),
    ),
    "a manifest has a digest that is none": (
        "path",
        lambda folder: _line(folder, "manifest-sha256.txt", sha256(b"").hexdigest(), "e3b0"),
    ),
    "what the bag holds is miscounted": ("bag", lambda folder: _line(folder, "bag-info.txt", ".3", ".4")),
}
# What RFC 8493 has room for and a package of ours has not.
STRICTER: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file lies beside the payload": ("unnamed", lambda folder: (folder / "beside.txt").write_bytes(b"x")),
    "a file is a link": (
        "link",
        lambda folder: (
            shutil.move(folder / "data/natives/zz.txt", folder.parent / "away"),
            (folder / "data/natives/zz.txt").symlink_to(folder.parent / "away"),
        ),
    ),
    "one of two manifests does not name a file": (
        "unnamed",
        lambda folder: (folder / "manifest-md5.txt").write_text(
            "".join((folder / "manifest-md5.txt").read_text().splitlines(keepends=True)[:-1])
        ),
    ),
    "a tag manifest has other line ends": (
        "path",
        lambda folder: (folder / "tagmanifest-md5.txt").write_bytes(
            (folder / "tagmanifest-md5.txt").read_bytes().replace(b"\n", b"\r\n")
        ),
    ),
    "a tag manifest has its lines in another order": (
        "path",
        lambda folder: (folder / "tagmanifest-sha256.txt").write_text(
            "".join(reversed((folder / "tagmanifest-sha256.txt").read_text().splitlines(keepends=True)))
        ),
    ),
}


def test_a_whole_bag_has_no_finding_and_what_it_names_can_be_looked_up(tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", TEXTS)
    assert not is_refused_by_bagit(folder)
    with Remembered() as remembered:
        manifest = Manifest(remembered)
        assert list(read_bag(folder, manifest)) == []
        natives = Digests(manifest, "data/natives/")
        assert dict(natives) == {path: sha256(data).hexdigest() for path, data in TEXTS.items() if "natives" in path}
        assert "bagit.txt" not in natives
        assert len(natives) == 2
        jsonl = Paths(manifest, "data/jsonl/")
        assert (list(jsonl), len(jsonl)) == (["data/jsonl/messages.jsonl"], 1)
        assert "data/natives/zz.txt" not in jsonl


@pytest.mark.parametrize("name", BREAKS)
def test_whatever_bagit_refuses_is_found(name: str, tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", TEXTS)
    code, break_it = BREAKS[name]
    break_it(folder)
    assert is_refused_by_bagit(folder)
    assert code in {finding.code for finding in findings(folder)}


@pytest.mark.parametrize("name", STRICTER)
def test_what_no_package_of_ours_has_is_found_too(name: str, tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", TEXTS)
    code, break_it = STRICTER[name]
    break_it(folder)
    assert code in {finding.code for finding in findings(folder)}


def test_a_pipe_is_told_of_and_not_waited_for(tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", TEXTS)
    os.mkfifo(folder / "data" / "pipe")
    assert {finding.code for finding in findings(folder)} == {"link", "bag"}


def test_a_name_that_is_no_utf_8_can_be_told(tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", TEXTS)
    (tmp_path / "bag" / "data" / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    told = next(finding for finding in findings(folder) if finding.code == "unnamed")
    assert told.path == "data/caf\\xe9"
    assert told.path.encode()


def test_of_what_manifests_name_nothing_stays_in_memory() -> None:
    with Remembered() as remembered:
        manifest = Manifest(remembered)
        tracemalloc.start()
        for number in range(5_000):
            manifest.name(f"data/text/SMITH-V-ACME-{number:08}.txt", "sha256", f"{number:064x}")
            manifest.find(f"data/text/SMITH-V-ACME-{number:08}.txt", 1, is_plain=True)
        assert sum(1 for _ in manifest.rows()) == 5_000
        assert sum(1 for _ in Digests(manifest, "data/text/").items()) == 5_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # The paths and digests are a megabyte and more.
    assert peak < 100_000
