"""No byte of a package can be turned, cut off or added without both checkers refusing it.

Two things are said of more than their own package: ``volumes.json`` lies beside several, where only `archiver export check` looks, and
``check.py`` cannot vouch for itself, so here a copy of it looks at the package that it came with.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.cli.export import FORMAT_NAMES
from archiver.discovery.checks.bag import Manifest, read_bag
from archiver.discovery.checks.package import check_package
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.export.package import CHECK_SCRIPT
from archiver.discovery.export.targets import FolderTarget
from archiver.discovery.export.verb import make
from tests.discovery.export import lived

TAGS = ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "manifest-md5.txt", "report.json", "cover.pdf", "check.py")
TAG_MANIFESTS = ("tagmanifest-sha256.txt", "tagmanifest-md5.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One package with all forms, and one of several volumes."""
    folder = tmp_path_factory.mktemp("bytes")
    archive, _ = lived.fresh(folder)
    for name, limits in (("one", {"formats": FORMAT_NAMES}), ("volumes", {"formats": ("csv",), "volume_bytes": 1_000})):
        scratch = folder / f"{name}-scratch"
        scratch.mkdir()
        wish = lived.wanted(**limits)
        made, _ = make(archive, wish, FolderTarget(folder / name), folder=scratch, software=lived.SOFTWARE)
        assert made is not None
    (folder / "check.py").write_bytes(CHECK_SCRIPT)
    return folder


def is_refused_by_us(package: Path) -> bool:
    """Tell whether the first of what `archiver export check` does, holding the bag against its manifests, finds something."""
    with Remembered() as remembered:
        return next(read_bag(package, Manifest(remembered)), None) is not None


def is_refused_by_script(script: Path, package: Path) -> bool:
    with contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), str(package)])
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as exit_:
            return bool(exit_.code)
    return False


def spoilt(data: bytes, place: int) -> Iterator[bytes]:
    """A byte turned in three ways, cut out and put in, at a place; and one cut off and added at the end."""
    for turned in (1, 0x20, 0x80):
        yield data[:place] + bytes([data[place] ^ turned]) + data[place + 1 :]
    yield data[:place] + data[place + 1 :]
    yield data[:place] + b" " + data[place:]
    yield data[:-1]
    for added in (b"\n", b"\r", b" ", b"\0"):
        yield data + added


def check(folder: Path, path: Path, data: bytes) -> None:
    package = folder / "one"
    whole = path.read_bytes()
    try:
        path.write_bytes(data)
        assert is_refused_by_us(package), path
        assert is_refused_by_script(folder / "check.py", package), path
    finally:
        path.write_bytes(whole)


def files_of(package: Path) -> list[Path]:
    return sorted(path for path in package.rglob("*") if path.is_file())


class TestOneByte:
    def test_both_checkers_take_the_package_as_it_was_made(self, folder: Path) -> None:
        assert check_package(folder / "one").findings == ()
        assert not is_refused_by_us(folder / "one")
        assert not is_refused_by_script(folder / "check.py", folder / "one")

    def test_of_any_file_of_any_form_at_any_place(self, folder: Path) -> None:
        """Of one file of each form and of each beside them one change that is drawn; the slow tests have all."""
        chance = random.Random(5)
        package = folder / "one"
        for name in (*TAGS, *(f"data/{form}" for form in (*FORMAT_NAMES, "natives"))):
            path = package / name
            path = chance.choice(files_of(path)) if path.is_dir() else path
            data = path.read_bytes()
            changes = spoilt(data, chance.randrange(len(data)))
            check(folder, path, chance.choice([each for each in changes if each != data]))

    @pytest.mark.parametrize("name", TAG_MANIFESTS)
    def test_of_the_tag_manifests_which_nothing_names(self, folder: Path, name: str) -> None:
        path = folder / "one" / name
        data = path.read_bytes()
        first_line_end = data.index(b"\n")
        letter = next(place for place, sign in enumerate(data) if sign in b"abcdef")
        chance = random.Random(7)
        changes = [
            bytes([*data[:letter], data[letter] ^ 0x20, *data[letter + 1 :]]),
            data[:-1],
            data + b"\r",
            data + b"\n",
        ]
        places = (0, first_line_end - 1, first_line_end, data.index(b"  "), len(data) - 1)
        changes += [chance.choice(list(spoilt(data, place))) for place in places]
        for changed in changes:
            check(folder, path, changed)

    def test_of_the_order_of_lines_in_a_tag_manifest(self, folder: Path) -> None:
        path = folder / "one" / TAG_MANIFESTS[0]
        check(folder, path, b"".join(reversed(path.read_bytes().splitlines(keepends=True))))

    @pytest.mark.parametrize("name", ["tagmanifest-sha1.txt", "__pycache__/check.pyc", "data/x", ".hidden"])
    def test_or_a_file_put_into_it(self, folder: Path, name: str) -> None:
        added = folder / "one" / name
        added.parent.mkdir(exist_ok=True)
        added.write_bytes(b"")
        try:
            assert is_refused_by_us(folder / "one")
            assert is_refused_by_script(folder / "check.py", folder / "one")
        finally:
            added.unlink()
            if added.parent.name == "__pycache__":
                added.parent.rmdir()

    def test_of_the_list_of_volumes(self, folder: Path) -> None:
        path = folder / "volumes" / "volumes.json"
        data = path.read_bytes()
        assert check_package(folder / "volumes").findings == ()
        chance = random.Random(5)
        places = [0, data.index(b'"asked"') + 1, data.index(b'"totals"') + 14, data.rindex(b"volume-") + 3]
        for place in [*places, *(chance.randrange(len(data)) for _ in range(2))]:
            changed = chance.choice([each for each in spoilt(data, place) if each != data])
            path.write_bytes(changed)
            assert check_package(folder / "volumes").findings
        path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
class TestEveryByte:
    @pytest.mark.parametrize("name", TAG_MANIFESTS)
    def test_of_the_tag_manifests(self, folder: Path, name: str) -> None:
        path = folder / "one" / name
        data = path.read_bytes()
        for place in range(len(data)):
            for changed in spoilt(data, place):
                if changed != data:
                    check(folder, path, changed)

    def test_of_every_file_at_many_places(self, folder: Path) -> None:
        chance = random.Random(6)
        for path in files_of(folder / "one"):
            data = path.read_bytes()
            for place in {chance.randrange(len(data)) for _ in range(8)} if data else ():
                for changed in spoilt(data, place):
                    if changed != data:
                        check(folder, path, changed)


def test_the_script_in_the_package_checks_the_package_that_it_lies_in(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "one", tmp_path / "x")
    script = tmp_path / "x" / "check.py"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(sys, "argv", [os.fspath(script)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(os.fspath(script), run_name="__main__")
    assert not ended.value.code
    assert "is as it was made" in said.getvalue()
