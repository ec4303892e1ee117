"""An Iceberg view of the archive's own Parquet files, for engines beyond one machine: each head is a snapshot, and no data is copied.

One Iceberg table for each table of the format, below ``catalog/iceberg/<catalog>/<namespace>/`` of the archive, partitioned by the day of
its day column. What Iceberg must know of a data object (rows, bytes, day, least and greatest values) the ledger knows already, so that no
object is opened; and as only ids and instants have ranges there, no text of a message gets into Iceberg's metadata.

A head is published by one change of each table's metadata: objects that left the archive go and new ones come in the same snapshot, so
that a reader sees a commit whole or not at all, and no row twice, also across compaction and disposal. Where objects left, all
snapshots before are expired in the same change, and the metadata that tells of them is erased: nothing in the catalog then names what is
gone. Tables change one after the other; ``tables.json`` names the metadata of all of them at one head.

Rests on pyiceberg, the extra ``iceberg``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date

import msgspec
import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.conversions import to_bytes
from pyiceberg.exceptions import CommitFailedException, NamespaceAlreadyExistsError, NoSuchTableError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties, Transaction
from pyiceberg.table.update.snapshot import ExpireSnapshots
from pyiceberg.transforms import DayTransform
from pyiceberg.typedef import Record
from pyiceberg.types import PrimitiveType

from archiver.archive import layout
from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Archive, Head, files_of
from archiver.archive.schema import TABLES, Table
from archiver.errors import RefusedError, StorageError, StoreRefusedError, StoreUnreachableError, UsageError
from archiver.query.published import CatalogPlace
from archiver.query.scanner import S3Login
from archiver.store import Store

SNAPSHOTS_KEPT_MAX = 30
DAY_FIELD = "dt"
HEAD_PROPERTY = "archiver.head-sequence"
DIGEST_PROPERTY = "archiver.head-digest"

# Whatever these raise is of the catalog, and no fault of ours.
_LIBRARIES = frozenset({"pyiceberg", "sqlalchemy", "botocore", "requests"})
_EPOCH = date(1970, 1, 1)
_PROPERTIES = {
    # A try that lost to another publisher is not to be repeated on top of what that one published.
    TableProperties.COMMIT_NUM_RETRIES: "0",
    TableProperties.METADATA_PREVIOUS_VERSIONS_MAX: "1",
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.MANIFEST_MIN_MERGE_COUNT: "50",
}


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one table: objects that came and went, snapshots that were expired, and where its metadata is."""

    table: str
    added: int
    removed: int
    expired: int
    metadata: str


def open_catalog(place: CatalogPlace, *, login: S3Login | None) -> Catalog:
    """Return the catalog. Further properties, such as a token, come from pyiceberg's own configuration of a catalog ``archiver``."""
    properties: dict[str, str | None] = {"type": place.kind, "uri": place.uri}
    if place.kind == "glue":
        properties |= {"glue.endpoint": place.uri, "glue.region": place.region, "uri": None}
    if login is not None:
        properties |= {
            "s3.endpoint": login.endpoint_url,
            "s3.region": login.region,
            "s3.access-key-id": login.access_key_id,
            "s3.secret-access-key": login.secret_access_key,
            "s3.session-token": login.session_token,
        }
        if place.kind == "glue":
            properties |= {
                "glue.access-key-id": login.access_key_id,
                "glue.secret-access-key": login.secret_access_key,
                "glue.session-token": login.session_token,
            }
    with _told(f"the {place.kind} catalog"):
        return load_catalog("archiver", **{name: value for name, value in properties.items() if value})


def publish(catalog: Catalog, archive: Archive, head: Head, *, place: CatalogPlace) -> list[Published]:
    """Bring every table to a head and return what became of each; a head that is published already changes nothing.

    Raises `RefusedError` if another publisher was first, `UsageError` for a table of that name that is not of this archive.
    """
    root = _root(archive.store)
    done: list[Published] = []
    with _told("the catalog"):
        with suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(place.namespace)
        for name, table in TABLES.items():
            iceberg = _table(catalog, f"{place.namespace}.{name}", table, location=f"{root}{place.folder}{name}")
            done.append(_publish_table(iceberg, table, head, root=root))
        index = {"sequence": head.sequence, "digest": head.digest, "tables": {one.table: one.metadata for one in done}}
        archive.store.replace(place.tables_key, msgspec.json.format(msgspec.json.encode(index), indent=2))
        for one in done:
            loaded = catalog.load_table(f"{place.namespace}.{one.table}")
            _erase_unreachable(archive.store, loaded, root=root, keep_previous=not one.expired)
    return done


def _table(catalog: Catalog, identifier: str, table: Table, *, location: str) -> IcebergTable:
    """Return a table, made or brought to the schema of this version; a crash between the steps is made good by the next publishing."""
    schema = _schema(table)
    try:
        found = catalog.load_table(identifier)
    except NoSuchTableError:
        found = catalog.create_table(identifier, schema, location=location, properties=_PROPERTIES)
    if found.location().rstrip("/") != location:
        raise UsageError(
            f"the table {identifier} of the catalog lies at {found.location()}, this archive's would at {location}",
            next_step="name another namespace in `iceberg:` of archiver.yaml",
        )
    if found.spec().is_unpartitioned():
        with found.update_spec() as spec:
            spec.add_field(table.day_column, DayTransform(), DAY_FIELD)
    if set(found.schema().column_names) != set(schema.names) | _elements(schema):
        with found.update_schema() as update:
            update.union_by_name(schema)
    mapping = found.schema().name_mapping.model_dump_json()
    if found.properties.get(TableProperties.DEFAULT_NAME_MAPPING) != mapping:
        # The files have no field ids: their columns are found by name.
        with found.transaction() as transaction:
            transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})
    return found.refresh()


def _publish_table(iceberg: IcebergTable, table: Table, head: Head, *, root: str) -> Published:
    wanted = {root + record.key: record for record in files_of(head, table.name)}
    there = {file.file_path: file for file in _data_files(iceberg)}
    added = [_data_file(iceberg, table, record, path) for path, record in wanted.items() if path not in there]
    removed = [file for path, file in there.items() if path not in wanted]
    stamp = {HEAD_PROPERTY: str(head.sequence), DIGEST_PROPERTY: head.digest}
    earlier = [snapshot.snapshot_id for snapshot in iceberg.metadata.snapshots]
    expired: list[int] = []
    if added or removed or any(iceberg.properties.get(name) != value for name, value in stamp.items()):
        with iceberg.transaction() as transaction:
            if removed:
                _replace(transaction, added, removed, stamp)
                newest = transaction.table_metadata.current_snapshot()
                assert newest is not None
                expired = [each.snapshot_id for each in transaction.table_metadata.snapshots if each != newest]
            elif added:
                with transaction.update_snapshot(snapshot_properties=stamp).merge_append() as append:
                    for file in added:
                        append.append_data_file(file)
                expired = earlier[: max(0, len(earlier) + 1 - SNAPSHOTS_KEPT_MAX)]
            if expired:
                ExpireSnapshots(transaction).by_ids(expired).commit()
            transaction.set_properties(stamp)
    return Published(
        table=table.name,
        added=len(added),
        removed=len(removed),
        expired=len(set(expired) & set(earlier)),
        metadata=iceberg.refresh().metadata_location,
    )


def _replace(
    transaction: Transaction, added: Sequence[DataFile], removed: Sequence[DataFile], stamp: Mapping[str, str]
) -> None:
    """Take files out and put others in. A second, empty snapshot leaves behind the list of what was taken out, ranges and all."""
    with transaction.update_snapshot(snapshot_properties=dict(stamp)).overwrite() as overwrite:
        for file in removed:
            overwrite.delete_data_file(file)
        for file in added:
            overwrite.append_data_file(file)
    with transaction.update_snapshot(snapshot_properties=dict(stamp)).fast_append():
        pass


def _data_files(iceberg: IcebergTable) -> Iterator[DataFile]:
    snapshot = iceberg.current_snapshot()
    for manifest in snapshot.manifests(iceberg.io) if snapshot else ():
        for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True):
            yield entry.data_file


def _data_file(iceberg: IcebergTable, table: Table, record: FileRecord, path: str) -> DataFile:
    """Return what Iceberg must know of a data object, out of the ledger."""
    bounds: dict[int, tuple[bytes, bytes]] = {}
    for column, (least, greatest) in record.ranges.items():
        if (least, greatest) == ("", ""):
            continue  # it has no value at all
        field = iceberg.schema().find_field(column)
        assert isinstance(field.field_type, PrimitiveType)
        ends = least, greatest
        if pa.types.is_timestamp(table.schema.field(column).type):
            ends = int(least) * 1000, int(greatest) * 1000  # Iceberg's instants are microseconds
        bounds[field.field_id] = to_bytes(field.field_type, ends[0]), to_bytes(field.field_type, ends[1])
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record((layout.partition_of(record.key)[1] - _EPOCH).days),
        record_count=record.rows,
        file_size_in_bytes=record.bytes,
        lower_bounds={field_id: pair[0] for field_id, pair in bounds.items()},
        upper_bounds={field_id: pair[1] for field_id, pair in bounds.items()},
        spec_id=iceberg.spec().spec_id,
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
    )


def _schema(table: Table) -> pa.Schema:
    return pa.schema(
        [
            field.remove_metadata().with_type(pa.timestamp("us", tz="UTC"))
            if pa.types.is_timestamp(field.type)
            else field.remove_metadata()
            for field in table.schema
        ]
    )


def _elements(schema: pa.Schema) -> set[str]:
    return {f"{field.name}.element" for field in schema if pa.types.is_list(field.type)}


def _erase_unreachable(store: Store, iceberg: IcebergTable, *, root: str, keep_previous: bool) -> None:
    """Erase what the table's metadata does not lead to any more; a reader that is just beginning may still have the version before."""
    folder = f"{iceberg.location().rstrip('/')}/".removeprefix(root)
    reachable = set(_reachable(iceberg))
    if keep_previous:
        reachable |= {entry.metadata_file for entry in iceberg.metadata.metadata_log[-1:]}
    for info in list(store.list(folder)):
        if root + info.key not in reachable:
            store.erase(info.key)


def _reachable(iceberg: IcebergTable) -> Iterable[str]:
    yield iceberg.metadata_location
    for snapshot in iceberg.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(iceberg.io):
            yield manifest.manifest_path


def _root(store: Store) -> str:
    """Return what stands before a key in Iceberg's addresses."""
    url = store.url.rstrip("/") + "/"
    if url.startswith("s3://"):
        return url
    if not url.startswith("/") or any(mark in url for mark in "#?%"):
        raise UsageError(
            f"an archive at {store.url} cannot be an Iceberg table",
            next_step="keep it in a bucket or in a folder without # ? or % in its name",
        )
    return f"file://{url}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what pyiceberg and the clients below it raise into errors that a person can act on."""
    try:
        yield
    except CommitFailedException as error:
        raise RefusedError(
            f"another publisher changed {what} first: {error}", next_step="publish again; nothing is lost"
        ) from None
    except FileNotFoundError as error:
        raise UsageError(
            f"{what} points to metadata that is not there: {error}",
            next_step="drop its tables of this archive (of the default catalog: remove iceberg.sqlite in `state`) and publish again",
        ) from None
    except Exception as error:
        name, words = type(error).__name__, str(error)
        if any(mark in name + words for mark in ("Unauthorized", "Forbidden", "AccessDenied", "ACCESS_DENIED")):
            raise StoreRefusedError(f"{what} refuses: {words}", next_step="check the credentials") from None
        if isinstance(error, OSError) or "Connection" in name or "ServiceUnavailable" in name:
            raise StoreUnreachableError(f"{what} does not answer: {words}", next_step="try again later") from None
        if type(error).__module__.partition(".")[0] in _LIBRARIES:
            raise StorageError(
                f"{what} cannot be changed: {name}: {words}",
                next_step="check `iceberg:` in archiver.yaml, and that its place can be written",
            ) from None
        raise
