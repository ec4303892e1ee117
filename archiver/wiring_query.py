"""Puts together what questions to an archive and its catalogs are answered with: a part of `archiver.wiring`.

Its imports stand inside the functions for the same reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archiver.errors import UsageError

if TYPE_CHECKING:
    from archiver.archive.reader import Archive, Head
    from archiver.query.athena import Athena
    from archiver.query.athena_glue import Registered
    from archiver.query.engine import Engine
    from archiver.query.iceberg import Published
    from archiver.query.scanner import S3Login
    from archiver.settings import Settings

ICEBERG_FILE = "iceberg.sqlite"


def open_query(settings: Settings, archive: Archive, head: Head, *, memory_bytes_max: int | None = None) -> Engine:
    """Return DuckDB over one head of the archive, with the store's own place and credentials if it is in a bucket."""
    from archiver.query.engine import open_engine  # noqa: PLC0415 - see the module's docstring

    return open_engine(archive, head, login=_login(settings), memory_bytes_max=memory_bytes_max)


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


def open_athena(settings: Settings, head: Head, *, bytes_max: int | None = None) -> Athena:
    """Return Athena over the tables that were registered; nothing is asked of it yet."""
    from archiver.query import athena  # noqa: PLC0415 - see the module's docstring

    declared = settings.athena
    options = athena.AthenaOptions(
        database=declared.database,
        workgroup=declared.workgroup,
        output=declared.output,
        bytes_max=declared.bytes_max if bytes_max is None else bytes_max,
        price_per_terabyte=declared.price_per_terabyte,
    )
    client = athena.client_of(region=_athena_region(settings), endpoint_url=declared.endpoint_url)
    return athena.Athena(client, options, head=head)


def registered_sequence(settings: Settings) -> int | None:
    """Return which commit Athena's tables show, None if there are none."""
    from archiver.query import athena_glue  # noqa: PLC0415 - see the module's docstring

    glue = athena_glue.client_of(region=_athena_region(settings), endpoint_url=settings.athena.endpoint_url)
    return athena_glue.registered_sequence(glue, database=settings.athena.database)


def register_athena(settings: Settings, archive: Archive, head: Head) -> Registered:
    """Bring Athena's tables and views to a head."""
    from archiver.query import athena_glue  # noqa: PLC0415 - see the module's docstring

    glue = athena_glue.client_of(region=_athena_region(settings), endpoint_url=settings.athena.endpoint_url)
    run = open_athena(settings, head).run
    return athena_glue.register(glue, archive, head, database=settings.athena.database, run=run)


def _athena_region(settings: Settings) -> str | None:
    return settings.athena.region or settings.s3.region


def publish_iceberg(settings: Settings, archive: Archive, head: Head) -> list[Published]:
    """Publish a head as Iceberg tables, one publisher at a time; raises `UsageError` where pyiceberg is absent."""
    try:
        from archiver.query import iceberg  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:
        raise UsageError(
            f"Iceberg needs a package that is not installed: {error.name}",
            next_step="install the extra: pip install 'flock-archiver[iceberg]'",
        ) from None
    from archiver.run import lock  # noqa: PLC0415 - see the module's docstring

    declared = settings.iceberg
    uri = declared.uri
    if uri is None and declared.catalog == "sql":
        uri = f"sqlite:///{settings.state / ICEBERG_FILE}"
    place = iceberg.CatalogPlace(
        declared.catalog, uri, declared.namespace, region=declared.region or settings.s3.region
    )
    with lock.hold(settings.state):
        catalog = iceberg.open_catalog(place, login=_login(settings))
        return iceberg.publish(catalog, archive, head, place=place)
