"""Registers the archive for Athena: the manifests in the bucket, the tables in Glue, the views through Athena itself.

In this order, so that no table ever names a manifest that is not there. Doing it again for the same head changes nothing. At last a note
in the archive says what was registered under which database's name: `is_registered` holds Glue against it, and manifests go only if no
such note points to them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import boto3
import msgspec
from botocore.exceptions import ClientError

from archiver.archive.reader import Archive, Head
from archiver.archive.schema import TABLES
from archiver.errors import UsageError
from archiver.query import athena_ddl, published
from archiver.query.athena_failures import told
from archiver.query.derived import DERIVED

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient

WRITERS = 16


@dataclass(frozen=True, slots=True)
class Registered:
    """What registering a head did: manifests written and removed, tables and views made or brought to it."""

    sequence: int
    database: str
    manifests: int
    removed: int
    tables: int
    views: int


def client_of(*, region: str | None, endpoint_url: str | None) -> GlueClient:
    """Return a client of Glue."""
    with told("Glue"):
        return boto3.client("glue", region_name=region, endpoint_url=endpoint_url)


def root_of(archive: Archive) -> str:
    """Return what stands before a key in addresses; raises `UsageError` for an archive that Athena cannot reach."""
    root = archive.store.url.rstrip("/") + "/"
    if not root.startswith("s3://"):
        raise UsageError(
            f"Athena reads buckets of Amazon S3, and the archive lies at {archive.store.url}",
            next_step="ask DuckDB (`archiver query`), or keep the archive in a bucket",
        )
    return root


def write_manifests(archive: Archive, head: Head) -> int:
    """Write those manifests of a head that are not there yet, and return how many."""
    there = {info.key for info in archive.store.list(athena_ddl.folder_of(head))}
    missing = [made for made in athena_ddl.manifests(head, root=root_of(archive)) if made[0] not in there]
    with ThreadPoolExecutor(WRITERS) as executor:
        for _ in executor.map(lambda made: archive.store.replace(*made), missing):
            pass
    return len(missing)


def register(
    glue: GlueClient, archive: Archive, head: Head, *, database: str, run: Callable[[str], object]
) -> Registered:
    """Bring the database to a head; ``run`` has Athena run a statement. Manifests older than those of the head before go."""
    root = root_of(archive)
    before = registered_folder(glue, database=database, root=root)
    written = write_manifests(archive, head)
    with told("Glue"):
        _make_database(glue, database)
        for name in TABLES:
            _make_table(glue, database, _table_input(head, name, root=root))
    for view in DERIVED:
        run(athena_ddl.view_ddl(view, database=database))
    _note(archive, head, database)
    removed = _remove_manifests(archive, keep={athena_ddl.folder_of(head), before, *_noted_folders(archive)})
    return Registered(
        sequence=head.sequence,
        database=database,
        manifests=written,
        removed=removed,
        tables=len(TABLES),
        views=len(DERIVED),
    )


def is_registered(glue: GlueClient, archive: Archive, head: Head, *, database: str) -> bool:
    """Tell whether tables and views show a head, all of them, as far as we left them so and Glue still has it so."""
    return published.registered(archive.store, database) == _registered(head, database) and (
        registered_folder(glue, database=database, root=root_of(archive)) == athena_ddl.folder_of(head)
    )


def registered_sequence(glue: GlueClient, *, database: str) -> int | None:
    """Return which commit the tables show, None if there are none."""
    table = _found(glue, database)
    text = table.get("Parameters", {}).get(athena_ddl.SEQUENCE_PROPERTY, "") if table else ""
    return int(text) if text.isdecimal() else None


def registered_folder(glue: GlueClient, *, database: str, root: str) -> str:
    """Return the key prefix of the manifests that the tables point to now, empty if there are none or they are another archive's."""
    table = _found(glue, database)
    place = str(table.get("StorageDescriptor", {}).get("Location", "")) if table else ""
    return place.removeprefix(root).removesuffix("messages/") if place.startswith(root) else ""


def _found(glue: GlueClient, database: str) -> dict[str, Any] | None:
    with told("Glue"):
        try:
            return dict(glue.get_table(DatabaseName=database, Name="messages")["Table"])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "EntityNotFoundException":
                return None
            raise


def _make_database(glue: GlueClient, database: str) -> None:
    try:
        glue.create_database(DatabaseInput={"Name": database})
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "AlreadyExistsException":
            raise


def _make_table(glue: GlueClient, database: str, table: Any) -> None:
    try:
        glue.create_table(DatabaseName=database, TableInput=table)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "AlreadyExistsException":
            raise
        glue.update_table(DatabaseName=database, TableInput=table)


def _table_input(head: Head, name: str, *, root: str) -> dict[str, Any]:
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": athena_ddl.properties(head, name, root=root),
        "PartitionKeys": [{"Name": "dt", "Type": "date"}],
        "StorageDescriptor": {
            "Columns": [
                {"Name": column, "Type": kind, "Comment": meaning}
                for column, kind, meaning in athena_ddl.columns(TABLES[name])
            ],
            "Location": athena_ddl.location(head, name, root=root),
            "InputFormat": athena_ddl.INPUT_FORMAT,
            "OutputFormat": athena_ddl.OUTPUT_FORMAT,
            "SerdeInfo": {"SerializationLibrary": athena_ddl.SERDE, "Parameters": {"serialization.format": "1"}},
        },
    }


def _registered(head: Head, database: str) -> published.Registered:
    texts = "\n".join(athena_ddl.view_ddl(view, database=database) for view in DERIVED)
    return published.Registered(
        sequence=head.sequence,
        digest=head.digest,
        database=database,
        manifests=athena_ddl.folder_of(head),
        views=sha256(texts.encode()).hexdigest(),
    )


def _note(archive: Archive, head: Head, database: str) -> None:
    archive.store.replace(
        published.registered_key(database), msgspec.json.encode(_registered(head, database), order="sorted")
    )


def _noted_folders(archive: Archive) -> set[str]:
    """Return the manifests that databases point to, whichever; each may show a commit of its own."""
    keys = [info.key for info in archive.store.list(published.ATHENA_REGISTERED)]
    names = [key.removeprefix(published.ATHENA_REGISTERED).removesuffix(".json") for key in keys]
    return {found.manifests for name in names if (found := published.registered(archive.store, name))}


def _remove_manifests(archive: Archive, *, keep: set[str]) -> int:
    kept = (*filter(None, keep), published.ATHENA_REGISTERED)
    old = [info.key for info in archive.store.list(published.ATHENA_FOLDER) if not info.key.startswith(kept)]
    with ThreadPoolExecutor(WRITERS) as executor:
        for _ in executor.map(archive.store.erase, old):
            pass
    return len(old)
