"""A file of a package is hashed and written beside what makes it, and nobody can tell: not by its bytes, nor by an error."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import md5, sha256
from pathlib import Path

import msgspec
import pytest

from archiver.discovery.export.disk_file import LANES
from archiver.discovery.export.journal import JOURNAL_PATH, FileLine, Journal
from archiver.discovery.export.payload import WAITING_BYTES_MAX, Payload
from archiver.discovery.export.targets import FolderTarget
from archiver.errors import DamageFoundError, StoreFullError, StoreRefusedError

Executors = tuple[Executor | None, Executor | None]

PIECE = bytes(range(256)) * 4096
PIECES = 4 * WAITING_BYTES_MAX // len(PIECE)


@pytest.fixture(params=["beside", "beside, in lanes", "at once"])
def executors(request: pytest.FixtureRequest) -> Iterator[Executors]:
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(LANES) as lanes:
        is_beside = request.param != "at once"
        yield pool if is_beside else None, lanes if request.param.endswith("lanes") else None


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    (tmp_path / "scratch").mkdir()
    found = Journal(FolderTarget(tmp_path / "package"), tmp_path / "scratch")
    yield found
    found.close()


def payload(journal: Journal, executors: Executors) -> Payload:
    return Payload(journal.target, journal, prefix="", executor=executors[0], lanes=executors[1])


def write(to: Payload, *, last: bytes = b"the end") -> None:
    with to.open("long.bin") as stream:
        piece = bytearray(PIECE)
        for number in range(PIECES):
            piece[0] = number
            stream.write(piece)
        stream.write(last)


def content(*, last: bytes = b"the end") -> bytes:
    return b"".join(bytes([number]) + PIECE[1:] for number in range(PIECES)) + last


def test_a_file_has_what_was_written_also_where_the_writer_used_its_buffer_again(
    journal: Journal, executors: Executors, tmp_path: Path
) -> None:
    write(payload(journal, executors))
    whole = content()
    assert (tmp_path / "package" / "long.bin").read_bytes() == whole
    assert journal.known("long.bin") == FileLine(
        "long.bin", len(whole), sha256(whole).hexdigest(), md5(whole, usedforsecurity=False).hexdigest()
    )


def test_a_second_try_that_would_write_other_bytes_is_told_so(journal: Journal, executors: Executors) -> None:
    write(payload(journal, executors))
    write(payload(journal, executors))
    with pytest.raises(DamageFoundError, match=r"long\.bin"):
        write(payload(journal, executors), last=b"another end")


@pytest.mark.parametrize("room", [len(PIECE), PIECES * len(PIECE) + 1], ids=["midway", "at the end"])
def test_a_full_disk_is_told_and_leaves_nothing(
    journal: Journal, executors: Executors, tmp_path: Path, room: int
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(StoreFullError):
            write(payload(journal, executors))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert journal.known("long.bin") is None
    assert not [path for path in (tmp_path / "package").rglob("*") if path.is_file()]


def write_short(to: Payload, names: str) -> None:
    for name in names:
        with to.open(name) as stream:
            stream.write(name.encode() * 100)


def test_short_files_are_noted_in_the_order_in_which_they_were_made(
    journal: Journal, executors: Executors, tmp_path: Path
) -> None:
    to = payload(journal, executors)
    write_short(to, "badcfehg")
    assert to.has("h")
    assert not to.has("x")
    write_short(to, "xz")
    to.settle()
    journal.flush()
    lines = [msgspec.json.decode(line) for line in journal.target.read(JOURNAL_PATH).splitlines()]
    assert [line["path"] for line in lines] == list("badcfehgxz")
    assert {path.name: path.read_bytes() for path in (tmp_path / "package").iterdir() if path.is_file()} == {
        name: name.encode() * 100 for name in "abcdefghxz"
    }


def test_a_short_file_that_cannot_be_written_is_told_and_those_before_and_after_it_count(
    journal: Journal, executors: Executors, tmp_path: Path
) -> None:
    to = payload(journal, executors)
    (tmp_path / "package" / "c").mkdir(parents=True)
    (tmp_path / "package" / "c" / "in the way").touch()
    with pytest.raises(StoreRefusedError):
        write_short(to, "abcd")
        to.settle()
    to.close()
    made = "abd" if executors[0] else "ab"
    assert [journal.known(name) is not None for name in "abcd"] == [name in made for name in "abcd"]
    assert sorted(path.name for path in (tmp_path / "package").rglob("*") if path.is_file()) == [*made, "in the way"]


def test_a_short_file_whose_writing_failed_does_not_count(journal: Journal, executors: Executors) -> None:
    to = payload(journal, executors)
    with pytest.raises(RuntimeError), to.open("a") as stream:
        stream.write(b"half")
        raise RuntimeError
    to.settle()
    assert not to.has("a")
