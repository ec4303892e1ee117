"""A file that goes past the cache of the disk has the bytes that were written, however they came; and those that did not go are told."""

from __future__ import annotations

import fcntl
import os
import resource
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.discovery.export.disk_file import BUFFER_BYTES, DiskFile
from archiver.store.local_uncached import BLOCK_BYTES

BYTES = os.urandom(3 * BUFFER_BYTES)
EDGES = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 2 * BUFFER_BYTES + 17]


@pytest.fixture
def is_full_after() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BUFFER_BYTES + 100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@given(cuts=st.lists(st.sampled_from(EDGES), max_size=4), is_to_stay=st.booleans())
def test_a_file_has_the_bytes_that_were_written_however_they_came(cuts: list[int], is_to_stay: bool) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "file"
        digests = sha256(), sha256()
        files = [
            DiskFile(path, is_to_stay=is_to_stay, digests=digests[:1]),
            DiskFile(None, is_to_stay=is_to_stay, digests=digests[1:]),
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
def test_a_disk_that_is_full_is_told_and_the_file_can_be_left(
    tmp_path: Path, is_to_stay: bool, is_full_after: None
) -> None:
    file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay)
    with pytest.raises(OSError, match="File too large"):
        file.write(BYTES)
    file.abandon()
    file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay)
    file.write(BYTES[: BUFFER_BYTES + 200])
    with pytest.raises(OSError, match="File too large"):
        file.close()
    assert not open_of(tmp_path / "file")


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
