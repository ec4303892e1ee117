"""How DuckDB gets at a bucket: by its own extension out of the wheel, or, where that wheel is absent, by pyarrow's S3 file system.

Both read the same objects with the same columns. With pyarrow DuckDB hands down which columns and which rows it needs, so days and row
groups are passed over by their statistics; bloom filters are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from archiver.archive.ledger import FileRecord
from archiver.archive.schema import Table
from archiver.errors import StoreRefusedError
from archiver.query import literals

_EXTENSION_WHEEL = "duckdb_extension_httpfs"
_CONNECT_SECONDS_MAX = 10
_DAY = pa.field("dt", pa.date32())


@dataclass(frozen=True, slots=True)
class S3Login:
    """How the bucket is reached: the same place and credentials as the store's; all None is anonymous, at Amazon's."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def extension() -> Path | None:
    """Return DuckDB's S3 reader out of its wheel, so that nothing is fetched when a query starts; None if it is not installed."""
    found = find_spec(_EXTENSION_WHEEL)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    return path if path.exists() else None


def open_bucket(connection: duckdb.DuckDBPyConnection, login: S3Login, *, scope: str, extension_path: Path) -> None:
    """Let DuckDB itself read what lies below ``scope``, an ``s3://`` address."""
    connection.execute(f"LOAD {literals.literal(str(extension_path))}")
    options = {"REGION": login.region, "SCOPE": scope}
    if login.access_key_id and login.secret_access_key:
        options |= {
            "KEY_ID": login.access_key_id,
            "SECRET": login.secret_access_key,
            "SESSION_TOKEN": login.session_token,
        }
    if login.endpoint_url:
        endpoint = urlsplit(login.endpoint_url)
        options |= {"ENDPOINT": endpoint.netloc + endpoint.path, "URL_STYLE": "path"}
        options["USE_SSL"] = "true" if endpoint.scheme == "https" else "false"
    given = ", ".join(f"{name} {literals.literal(value)}" for name, value in options.items() if value)
    try:
        connection.execute(f"CREATE SECRET archive (TYPE s3, {given})")
    except duckdb.Error:
        # DuckDB's own words would quote the statement, and with it the credentials.
        raise StoreRefusedError(
            "the credentials of the bucket cannot be handed to DuckDB",
            next_step="check the AWS_ variables or the profile",
        ) from None


def arrow_files(login: S3Login, *, root: str) -> pyarrow.fs.FileSystem:
    """Return pyarrow's file system of what lies below ``root``, an ``s3://`` address; nothing is asked of it yet."""
    address = urlsplit(root)
    options: dict[str, object] = {"connect_timeout": _CONNECT_SECONDS_MAX}
    if login.endpoint_url:
        endpoint = urlsplit(login.endpoint_url)
        options |= {"endpoint_override": endpoint.netloc + endpoint.path, "scheme": endpoint.scheme}
    if login.region:
        options["region"] = login.region
    if login.access_key_id and login.secret_access_key:
        options |= {"access_key": login.access_key_id, "secret_key": login.secret_access_key}
        options["session_token"] = login.session_token
    else:
        options["anonymous"] = True
    bucket = pyarrow.fs.S3FileSystem(**options)
    return pyarrow.fs.SubTreeFileSystem((address.netloc + address.path).rstrip("/"), bucket)


def dataset(files: pyarrow.fs.FileSystem, table: Table, records: Sequence[FileRecord]) -> ds.Dataset:
    """Return data objects as a dataset with the columns of their table and the day; no object is opened for it."""
    return ds.dataset(
        [record.key for record in records],
        schema=pa.schema([*table.schema, _DAY]),
        format=ds.ParquetFileFormat(),
        filesystem=files,
        partitioning=ds.partitioning(pa.schema([_DAY]), flavor="hive"),
    )
