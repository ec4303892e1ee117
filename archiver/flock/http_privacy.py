"""Keeping the HTTP libraries from passing on what is not theirs to pass on: secrets into logs, cookies between users.

At debug level httpcore logs headers (``Authorization`` with the token), at info level httpx logs whole URLs (the
signatures of files). An `httpx.Client` also keeps the cookies it is given and would send one user's session along with
the next user's call.
"""

from __future__ import annotations

import logging
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

_LIBRARIES: Final = ("httpx", "httpcore")


def silence_http_logs() -> None:
    """Let httpx and httpcore log warnings only, whatever level the root logger has."""
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def no_cookies() -> CookieJar:
    """Return a cookie jar that never keeps a cookie."""
    return CookieJar(policy=DefaultCookiePolicy(allowed_domains=()))
