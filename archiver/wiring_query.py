"""Puts together what questions to an archive and its catalogs are answered with: a part of `archiver.wiring`.

Its imports stand inside the functions for the same reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archiver.archive.reader import Archive, Head
    from archiver.query.engine import Engine
    from archiver.query.scanner import S3Login
    from archiver.settings import Settings


def open_query(settings: Settings, archive: Archive, head: Head) -> Engine:
    """Return DuckDB over one head of the archive, with the store's own place and credentials if it is in a bucket."""
    from archiver.query.engine import open_engine  # noqa: PLC0415 - see the module's docstring

    return open_engine(archive, head, login=_login(settings))


def _login(settings: Settings) -> S3Login | None:
    if isinstance(settings.place(), Path):
        return None
    from archiver.query.scanner import S3Login  # noqa: PLC0415 - see the module's docstring
    from archiver.store import s3_credentials  # noqa: PLC0415 - see the module's docstring

    found = s3_credentials.find_credentials()
    return S3Login(
        endpoint_url=settings.s3.endpoint_url,
        region=settings.s3.region or s3_credentials.default_region(),
        access_key_id=found.access_key_id if found else None,
        secret_access_key=found.secret_access_key if found else None,
        session_token=found.session_token if found else None,
    )
