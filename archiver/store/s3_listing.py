"""Where an S3 server is to start a listing, so that one which keeps folders leaves nothing out."""

from __future__ import annotations

from typing import Final

_UP_TO_THE_SLASH: Final = "".join(map(chr, range(ord(" "), ord("/") + 1)))


def just_before(after: str) -> str:
    """Return a text that sorts before ``after`` with hardly a key between, or "" if there is none.

    A server that keeps folders, such as SeaweedFS, leaves out the whole folder ``a/`` when it shall start after ``a``, ``a/`` or
    ``a-``; so it is asked to start a little earlier, and what comes too early is dropped by whoever asks.
    """
    stem = after.rstrip(_UP_TO_THE_SLASH)
    return f"{stem[:-1]}{chr(ord(stem[-1]) - 1)}~" if stem else ""
