"""A file that goes past the cache of the disk has the bytes that were written, however they came; and those that did not go are told."""

from __future__ import annotations

import fcntl
import os
import resource
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def disk() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as found:
        yield found


@given(cuts=st.lists(st.sampled_from(EDGES), max_size=4), is_to_stay=st.booleans(), is_beside=st.booleans())
def test_a_file_has_the_bytes_that_were_written_however_they_came(
    disk: Executor, cuts: list[int], is_to_stay: bool, is_beside: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "file"
        digests = sha256(), sha256()
        beside = disk if is_beside else None
        files = [
            DiskFile(path, is_to_stay=is_to_stay, digests=digests[:1], disk=beside),
            DiskFile(None, is_to_stay=is_to_stay, digests=digests[1:], disk=beside),
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
    tmp_path: Path, disk: Executor, is_to_stay: bool, is_beside: bool, is_full_after: None
) -> None:
    beside = disk if is_beside else None
    file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay, disk=beside)
    with pytest.raises(OSError, match="File too large"):
        file.write(BYTES)
    file.abandon()
    file = DiskFile(tmp_path / "file", is_to_stay=is_to_stay, disk=beside)
    file.write(BYTES[: BUFFER_BYTES + 200])
    with pytest.raises(OSError, match="File too large"):
        file.close()
    assert not open_of(tmp_path / "file")


def test_a_piece_that_is_being_written_is_digested_meanwhile(tmp_path: Path) -> None:
    told: list[str] = []

    class Later(Executor):
        """Writes only when it is asked how that went."""

        def submit(self, fn: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
            future: Future[Any] = Future()

            def result(timeout: float | None = None) -> Any:
                del timeout
                told.append("written")
                return fn(*args)

            future.result = result  # type: ignore[method-assign]
            return future

    class Digesting:
        def update(self, _: memoryview, /) -> None:
            told.append("digested")

    file = DiskFile(tmp_path / "file", is_to_stay=False, digests=[Digesting()], disk=Later())
    file.write(BYTES)
    file.close()
    assert told == ["digested", "written"] * 3
    assert (tmp_path / "file").read_bytes() == BYTES


def test_a_file_that_is_left_while_a_piece_is_written_keeps_its_number_as_long(tmp_path: Path, disk: Executor) -> None:
    class Interrupted:
        def update(self, _: memoryview, /) -> None:
            raise KeyboardInterrupt

    begun, goes_on = threading.Event(), threading.Event()

    def wait_first() -> None:
        begun.set()
        goes_on.wait(10)

    disk.submit(wait_first)
    begun.wait(10)
    file = DiskFile(tmp_path / "file", is_to_stay=False, digests=[Interrupted()], disk=disk)
    with pytest.raises(KeyboardInterrupt):
        file.write(BYTES)
    assert open_of(tmp_path / "file")
    threading.Timer(0.2, goes_on.set).start()
    file.abandon()
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
