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
    from archiver.query.published import CatalogPlace
    from archiver.query.scanner import S3Login
    from archiver.run.session import Publisher
    from archiver.run.status import CatalogStanding
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


def script(settings: Settings, archive: Archive, head: Head) -> list[str]:
    """Return the lines of the script that shows a head to any DuckDB."""
    from archiver.query.script import duckdb_script  # noqa: PLC0415 - see the module's docstring

    root = archive.store.url.rstrip("/") + "/"
    s3 = settings.s3
    return list(duckdb_script(head, root=root, region=s3.region, endpoint_url=s3.endpoint_url))


def publish_iceberg(settings: Settings, archive: Archive, head: Head) -> list[Published]:
    """Publish a head as Iceberg tables, one publisher at a time; raises `UsageError` where pyiceberg is absent."""
    from archiver.run import lock  # noqa: PLC0415 - see the module's docstring

    with lock.hold(settings.state):
        return _publish_iceberg(settings, archive, head)


def _publish_iceberg(settings: Settings, archive: Archive, head: Head) -> list[Published]:
    try:
        from archiver.query import iceberg  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:
        raise UsageError(
            f"Iceberg needs a package that is not installed: {error.name}",
            next_step="install the extra: pip install 'flock-archiver[iceberg]'",
        ) from None
    place = _iceberg_place(settings)
    return iceberg.publish(iceberg.open_catalog(place, login=_login(settings)), archive, head, place=place)


def _iceberg_place(settings: Settings) -> CatalogPlace:
    from archiver.query.published import CatalogPlace  # noqa: PLC0415 - see the module's docstring

    declared = settings.iceberg
    uri = declared.uri
    if uri is None and declared.catalog == "sql":
        uri = f"sqlite:///{settings.state / ICEBERG_FILE}"
    return CatalogPlace(declared.catalog, uri, declared.namespace, region=declared.region or settings.s3.region)


def publishers(settings: Settings) -> tuple[Publisher, ...]:
    """Return the catalogs that runs publish in. Call what they do while holding this machine's run lock."""
    from archiver.run.session import Publisher  # noqa: PLC0415 - see the module's docstring

    def iceberg(archive: Archive, head: Head) -> int:
        return sum(one.added + one.removed for one in _publish_iceberg(settings, archive, head))

    def athena(archive: Archive, head: Head) -> int:
        from archiver.query import athena_glue  # noqa: PLC0415 - see the module's docstring

        glue = athena_glue.client_of(region=_athena_region(settings), endpoint_url=settings.athena.endpoint_url)
        if athena_glue.is_registered(glue, archive, head, database=settings.athena.database):
            return 0
        done = register_athena(settings, archive, head)
        return done.manifests + done.removed + done.tables + done.views

    def duckdb(archive: Archive, head: Head) -> int:
        from archiver.query.script import write_script  # noqa: PLC0415 - see the module's docstring

        assert settings.catalogs.duckdb is not None
        text = "".join(f"{line}\n" for line in script(settings, archive, head))
        return int(write_script(settings.catalogs.duckdb, text))

    declared = settings.catalogs
    chosen = {
        "duckdb": (declared.duckdb, duckdb),
        "athena": (declared.athena, athena),
        "iceberg": (declared.iceberg, iceberg),
    }
    return tuple(Publisher(name, publish) for name, (is_wanted, publish) in chosen.items() if is_wanted)


def catalog_standings(settings: Settings, archive: Archive) -> tuple[CatalogStanding, ...]:
    """Return which commit each catalog shows that runs publish in, and each other that was published under this configuration."""
    from archiver.query import published  # noqa: PLC0415 - see the module's docstring
    from archiver.run.status import CatalogStanding  # noqa: PLC0415 - see the module's docstring

    declared = settings.catalogs
    in_runs = {"duckdb": declared.duckdb is not None, "athena": declared.athena, "iceberg": declared.iceberg}
    shown = {
        "duckdb": published.script_sequence(declared.duckdb) if declared.duckdb else None,
        "athena": published.athena_sequence(archive.store, settings.athena.database),
        "iceberg": published.iceberg_sequence(archive.store, _iceberg_place(settings)),
    }
    return tuple(
        CatalogStanding(name, in_runs[name], sequence)
        for name, sequence in shown.items()
        if in_runs[name] or sequence is not None
    )
