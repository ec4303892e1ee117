"""The bodies of downloads as they were before a host packed them, a little at a time whatever they unpack to.

We ask hosts not to pack anything; what is packed all the same may be a bomb: 64 KiB can become 64 MiB, and many of these are under way
side by side. So no step here yields more than it is told to, and a body that ends in the middle of its packing is no file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

ENCODINGS: Final = frozenset({"", "identity", "gzip", "deflate"})
_GZIP_BITS: Final = zlib.MAX_WBITS | 16
_ZLIB_BITS: Final = zlib.MAX_WBITS
_RAW_BITS: Final = -zlib.MAX_WBITS
# The first byte of a zlib stream: deflate in its low half (RFC 1950). Some hosts call the bare stream "deflate" as well.
_ZLIB_METHOD: Final = 8
_ZLIB_CHECK: Final = 31
_ZLIB_HEAD_BYTES: Final = 2


class BadEncodingError(Exception):
    """A body is not packed in the way that its host says, or its packing ends too early (``is_cut``)."""

    def __init__(self, *, is_cut: bool = False) -> None:
        super().__init__("cut" if is_cut else "not so encoded")
        self.is_cut = is_cut


def decoded(chunks: Iterable[bytes], encoding: str, *, bytes_max: int) -> Iterator[bytes]:
    """Yield a body unpacked, at most ``bytes_max`` bytes at a time; ``encoding`` is one of `ENCODINGS`. Raises `BadEncodingError`."""
    if encoding in ("", "identity"):
        yield from chunks
        return
    packing = _Packing(encoding, bytes_max)
    for chunk in chunks:
        yield from packing.unpacked(chunk)
    yield from packing.rest()


class _Packing:
    """A body on its way through zlib; what is not unpacked yet waits, packed."""

    def __init__(self, encoding: str, bytes_max: int) -> None:
        self._is_gzip = encoding == "gzip"
        self._bytes_max = bytes_max
        self._waiting = b""
        # zlib's own type has no public name.
        self._unpacker: Any = None

    def unpacked(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what comes of one more chunk."""
        self._waiting += chunk
        while self._waiting and self._is_ready():
            data = self._decompress(self._waiting)
            self._waiting = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
            yield data

    def rest(self) -> Iterator[bytes]:
        """Yield what still waits for room when all of the body was taken in; raises `BadEncodingError` if it does not end there."""
        while self._is_open and (data := self._decompress(b"")):
            yield data
        if self._waiting or self._is_open:
            raise BadEncodingError(is_cut=True)

    @property
    def _is_open(self) -> bool:
        return self._unpacker is not None and not self._unpacker.eof

    def _is_ready(self) -> bool:
        """Tell whether there is something to unpack, and see to it that there is an unpacker for it."""
        if self._is_open:
            return True
        if self._unpacker is not None:
            if not self._is_gzip:
                raise BadEncodingError
            # A gzip file may be several, one after the other (RFC 1952, 2.2), and be filled up with zeros.
            self._waiting = self._waiting.lstrip(b"\0")
            if not self._waiting:
                return False
        elif not self._is_gzip and len(self._waiting) < _ZLIB_HEAD_BYTES:
            return False
        self._unpacker = zlib.decompressobj(_GZIP_BITS if self._is_gzip else _deflate_bits(self._waiting))
        return True

    def _decompress(self, data: bytes) -> bytes:
        try:
            unpacked: bytes = self._unpacker.decompress(data, self._bytes_max)
        except zlib.error:
            raise BadEncodingError from None
        return unpacked


def _deflate_bits(data: bytes) -> int:
    is_zlib = data[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(data[:2]) % _ZLIB_CHECK == 0
    return _ZLIB_BITS if is_zlib else _RAW_BITS
