"""Bodies unpacked a little at a time: the same bytes as all at once, never more than asked for, and nothing cut passes as whole."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.capture.file_decoding import BadEncodingError, decoded

MEGABYTE = 1_000_000


def bare(data: bytes) -> bytes:
    """Pack as hosts do that call the bare stream deflate."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "bare": ("deflate", bare),
    "identity": ("identity", bytes),
    "none": ("", bytes),
}


def in_pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """Cut data into pieces of these sizes, over and over."""
    pieces, start, turn = [], 0, 0
    while start < len(data):
        pieces.append(data[start : start + sizes[turn % len(sizes)]])
        start += sizes[turn % len(sizes)]
        turn += 1
    return pieces


bodies = st.binary(max_size=300).flatmap(lambda part: st.integers(1, 200).map(lambda times: part * times))
cuts = st.lists(st.integers(1, 4_000), min_size=1, max_size=4)


@pytest.mark.parametrize("packer", PACKERS)
@given(body=bodies, sizes=cuts, bytes_max=st.integers(1, 2_000))
def test_a_body_is_what_it_was_however_it_comes(packer: str, body: bytes, sizes: list[int], bytes_max: int) -> None:
    encoding, pack = PACKERS[packer]
    parts = list(decoded(in_pieces(pack(body), sizes), encoding, bytes_max=bytes_max))
    assert b"".join(parts) == body
    if encoding not in ("", "identity"):
        assert max(map(len, parts), default=0) <= bytes_max


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4), sizes=cuts, zeros=st.integers(0, 9)
)
def test_a_gzip_file_of_several_is_all_of_them(bodies: list[bytes], sizes: list[int], zeros: int) -> None:
    packed = b"".join(map(gzip.compress, bodies)) + bytes(zeros)
    assert b"".join(decoded(in_pieces(packed, sizes), "gzip", bytes_max=50)) == b"".join(bodies)


@pytest.mark.parametrize("packer", ["gzip", "zlib", "bare"])
@given(body=st.binary(min_size=1, max_size=500), sizes=cuts, data=st.data())
def test_a_body_that_is_cut_is_never_whole(packer: str, body: bytes, sizes: list[int], data: st.DataObject) -> None:
    encoding, pack = PACKERS[packer]
    packed = pack(body)
    cut = packed[: data.draw(st.integers(1, len(packed) - 1))]
    with pytest.raises(BadEncodingError) as caught:
        list(decoded(in_pieces(cut, sizes), encoding, bytes_max=100))
    # Half a head of the one deflate may be a whole nonsense of the other.
    assert caught.value.is_cut or packer != "gzip"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_packed_or_goes_on_after_its_end_is_refused(encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    for body in (b"\xffnot packed at all", pack(b"minutes") + b"something else"):
        with pytest.raises(BadEncodingError) as caught:
            list(decoded([body], encoding, bytes_max=100))
        assert not caught.value.is_cut


def test_nothing_is_nothing() -> None:
    assert b"".join(decoded([], "gzip", bytes_max=1)) == b""


@pytest.mark.parametrize("packer", ["gzip", "zlib", "bare"])
def test_a_bomb_takes_no_more_memory_than_a_piece(packer: str) -> None:
    """64 KiB that unpack to 64 MiB: whoever stops reading after the first piece has had the first piece, and no more."""
    encoding, pack = PACKERS[packer]
    bomb = pack(bytes(60 * MEGABYTE))
    assert len(bomb) < 64 * 1024
    tracemalloc.start()
    try:
        parts = decoded([bomb], encoding, bytes_max=MEGABYTE)
        assert sum(len(next(parts)) for _ in range(3)) <= 3 * MEGABYTE
        assert tracemalloc.get_traced_memory()[1] < 8 * MEGABYTE
    finally:
        tracemalloc.stop()
