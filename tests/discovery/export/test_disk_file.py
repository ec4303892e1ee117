"""A file that goes past the cache of the disk has the bytes that were written, however they came; and those that did not go are told."""

from __future__ import annotations

import fcntl
import os
import resource
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.discovery.export.disk_file import BUFFER_BYTES, LANES, DiskFile
from archiver.store.local_uncached import BLOCK_BYTES

BYTES = os.urandom(3 * BUFFER_BYTES)
EDGES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES + 17]


@pytest.fixture
def is_full_after() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BUFFER_BYTES + 100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="module")
def lanes() -> Iterator[Executor]:
    with ThreadPoolExecutor(LANES) as found:
        yield found


@given(cuts=st.lists(st.sampled_from(EDGES), max_size=4), is_to_stay=st.booleans(), is_beside=st.booleans())
def test_a_file_has_the_bytes_that_were_written_however_they_came(
    lanes: Executor, cuts: list[int], is_to_stay: bool, is_beside: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "file"
        digests = sha256(), sha256()
        beside = lanes if is_beside else None
        files = [
            DiskFile(path, is_to_stay=is_to_stay, digests=digests[:1], beside=beside),
            DiskFile(None, is_to_stay=is_to_stay, digests=digests[1:], beside=beside),
        ]
        for file in files:
            for size in cuts:
                file.write(memoryview(BYTES)[:size])
            file.close()
            file.close()
            file.abandon()
        whole = b"".join(BYTES[:size] for size in cuts)
        assert path.read_bytes() == whole
        assert [digest.digest() for digest in digests] == [sha256(whole).digest()] * 2


@pytest.mark.parametrize("is_to_stay", [True, False])
@pytest.mark.parametrize("is_beside", [True, False])
def test_a_disk_that_is_full_is_told_and_the_file_can_be_left(
    tmp_path: Path, lanes: Executor, is_to_stay: bool, is_beside: bool, is_full_after: None
) -> None:
    beside = lanes if is_beside else None
    file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay, beside=beside)
    with pytest.raises(OSError, match="File too large"):
        file.write(BYTES)
    file.abandon()
    file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay, beside=beside)
    file.write(BYTES[: BUFFER_BYTES + 200])
    with pytest.raises(OSError, match="File too large"):
        file.close()
    assert not open_of(tmp_path / "file")


class InLanes:
    """Digests that begin together: none of them ends before all have begun."""

    def __init__(self, together: threading.Barrier) -> None:
        self._together = together
        self.taken = b""

    def update(self, piece: memoryview, /) -> None:
        self._together.wait(10)
        self.taken += piece


def test_a_piece_is_digested_in_every_way_at_once_and_while_the_next_one_is_filled(
    tmp_path: Path, lanes: Executor
) -> None:
    # The third is who writes: each piece is given before the digests of the one before it can end.
    together = threading.Barrier(3)
    digests = [InLanes(together), InLanes(together)]
    file = DiskFile(tmp_path / "file", is_to_stay=False, digests=digests, beside=lanes)
    for start in range(0, len(BYTES), BUFFER_BYTES):
        file.write(memoryview(BYTES)[start : start + BUFFER_BYTES])
        together.wait(10)
    file.close()
    assert [digest.taken for digest in digests] == [BYTES, BYTES]
    assert (tmp_path / "file").read_bytes() == BYTES


def test_what_goes_wrong_beside_is_told_by_the_next_piece_or_at_the_end(tmp_path: Path, lanes: Executor) -> None:
    class Failing:
        def update(self, _: memoryview, /) -> None:
            raise OSError("no more")

    for pieces in (1, 2):
        file = DiskFile(tmp_path / "file", is_to_stay=False, digests=[Failing()], beside=lanes)
        file.write(BYTES[:BUFFER_BYTES])
        with pytest.raises(OSError, match="no more"):
            if pieces == 1:
                file.close()
            else:
                file.write(BYTES[:BUFFER_BYTES])
        file.abandon()
        assert not open_of(tmp_path / "file")


def test_a_file_that_is_left_while_a_piece_is_written_keeps_its_number_as_long(tmp_path: Path, lanes: Executor) -> None:
    goes_on = threading.Event()

    class Slow:
        def update(self, _: memoryview, /) -> None:
            goes_on.wait(10)

    file = DiskFile(tmp_path / "file", is_to_stay=False, digests=[Slow()], beside=lanes)
    file.write(BYTES[:BUFFER_BYTES])
    assert open_of(tmp_path / "file")
    leaving = threading.Thread(target=file.abandon)
    leaving.start()
    leaving.join(0.2)
    assert open_of(tmp_path / "file"), "what is under way would be written into another file"
    goes_on.set()
    leaving.join(10)
    assert not open_of(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BYTES[:BUFFER_BYTES]


def test_a_long_file_that_is_to_stay_goes_past_the_cache_and_one_that_is_read_again_does_not(tmp_path: Path) -> None:
    probe = os.open(tmp_path / "probe", os.O_WRONLY | os.O_CREAT)
    try:
        fcntl.fcntl(probe, fcntl.F_SETFL, os.O_DIRECT)
    except OSError:
        pytest.skip("the file system of temporary files knows no O_DIRECT")
    finally:
        os.close(probe)
    for is_to_stay in (True, False):
        file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay)
        file.write(BYTES)
        (number,) = open_of(tmp_path / "file")
        assert bool(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_DIRECT) == is_to_stay
        file.close()


def open_of(path: Path) -> list[int]:
    """Return the descriptors by which this process has a file open."""
    return [int(each.name) for each in Path("/proc/self/fd").iterdir() if os.path.realpath(each) == str(path)]
