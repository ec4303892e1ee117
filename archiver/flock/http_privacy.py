"""Keeping the HTTP libraries from passing on what is not theirs to pass on: secrets into logs.

At debug level httpcore logs headers (``Authorization`` with the token), at info level httpx logs whole URLs (the
signatures of files).
"""

from __future__ import annotations

import logging
from typing import Final

_LIBRARIES: Final = ("httpx", "httpcore")


def silence_http_logs() -> None:
    """Let httpx and httpcore log warnings only, whatever level the root logger has."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
