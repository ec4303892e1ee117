"""The reader that knows an object only by its ranges: right bytes, few requests."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.store.s3_reader import BUFFER_BYTES, READ_AHEAD_MAX_BYTES, READ_AHEAD_MIN_BYTES, RangeReader


class Fetched:
    """An object, and the ranges of it that were asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges: list[tuple[int, int]] = []

    def fetch(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.content)
        self.ranges.append((start, end))
        return self.content[start:end]

    def reader(self, tail_bytes: int = 0) -> io.BufferedReader:
        tail = self.content[len(self.content) - tail_bytes :]
        return io.BufferedReader(RangeReader(self.fetch, size=len(self.content), tail=tail), BUFFER_BYTES)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("seek"), st.integers(0, 3000)),
        st.tuples(st.just("from the end"), st.integers(-1000, 100)),
        st.tuples(st.just("read"), st.integers(0, 2000)),
        st.tuples(st.just("read all"), st.just(0)),
    ),
    max_size=12,
)


@given(content=st.binary(max_size=2500), tail_bytes=st.integers(0, 3000), steps=STEPS)
def test_it_reads_as_a_file_in_memory_does(content: bytes, tail_bytes: int, steps: list[tuple[str, int]]) -> None:
    model = io.BytesIO(content)
    reader = Fetched(content).reader(min(tail_bytes, len(content)))
    for step, number in steps:
        match step:
            case "seek":
                assert reader.seek(number) == model.seek(number)
            case "from the end":
                offset = max(number, -len(content))
                assert reader.seek(offset, os.SEEK_END) == model.seek(offset, os.SEEK_END)
            case "read":
                assert reader.read(number) == model.read(number)
            case _:
                assert reader.read() == model.read()
        assert reader.tell() == model.tell()


def test_what_the_tail_holds_is_not_fetched_again() -> None:
    fetched = Fetched(os.urandom(500_000))
    reader = fetched.reader(tail_bytes=100_000)

    reader.seek(-80_000, os.SEEK_END)
    reader.read()
    reader.seek(450_000)
    reader.read(10)
    assert fetched.ranges == []

    reader.seek(390_000)
    reader.read(50_000)
    assert fetched.ranges == [(390_000, 400_000)]


def test_one_large_range_is_one_request() -> None:
    fetched = Fetched(bytes(20_000_000))
    reader = fetched.reader()

    reader.seek(1_000_000)
    reader.read(10_000_000)

    assert len(fetched.ranges) <= 2
    assert sum(end - start for start, end in fetched.ranges) < 10_000_000 + READ_AHEAD_MIN_BYTES * 3


def test_everything_at_once_is_one_request() -> None:
    fetched = Fetched(bytes(5_000_000))

    assert len(fetched.reader(tail_bytes=1000).read()) == 5_000_000

    assert fetched.ranges == [(0, 4_999_000)]


def test_reading_on_needs_fewer_requests_the_longer_it_goes_on() -> None:
    size = 100_000_000
    fetched = Fetched(bytes(size))
    reader = fetched.reader()

    while reader.read(BUFFER_BYTES):
        pass

    assert len(fetched.ranges) < 20
    assert max(end - start for start, end in fetched.ranges) <= READ_AHEAD_MAX_BYTES
    assert sum(end - start for start, end in fetched.ranges) == size


def test_jumping_about_fetches_little_at_each_place() -> None:
    fetched = Fetched(bytes(100_000_000))
    reader = fetched.reader()

    for position in range(0, 90_000_000, 10_000_000):
        reader.seek(position)
        reader.read(100)

    assert sum(end - start for start, end in fetched.ranges) <= 10 * READ_AHEAD_MIN_BYTES


def test_a_position_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError):
        RangeReader(Fetched(b"abc").fetch, size=3).seek(-4, os.SEEK_END)


def test_a_closed_reader_reads_nothing() -> None:
    reader = Fetched(b"abc").reader()
    reader.close()

    with pytest.raises(ValueError):
        reader.read()


def test_what_a_fetch_raises_comes_out() -> None:
    def fail(_start: int, _end: int) -> bytes:
        raise KeyError("gone")

    with pytest.raises(KeyError):
        io.BufferedReader(RangeReader(fail, size=3)).read()
