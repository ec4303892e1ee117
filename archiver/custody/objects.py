"""One stored object held against what the ledger says of it. Each check is a task of its own and shares nothing with others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archiver.archive import blobs, layout
from archiver.archive.ledger import Disposal, FileRecord
from archiver.archive.schema import TABLES
from archiver.clock import to_ms
from archiver.custody.findings import Damage
from archiver.errors import KeyMissingError
from archiver.store import Store


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob that a row names, with the size in bytes that the row gives, if it gives one."""

    digest: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check found, the bytes it hashed, and the blobs that the object's rows name."""

    damages: tuple[Damage, ...]
    bytes_hashed: int = 0
    blobs_named: frozenset[NamedBlob] = frozenset()


def check_size(store: Store, key: str, *, size: int) -> Checked:
    """Look whether an object is there and as large as it must be."""
    try:
        found = store.stat(key).size
    except KeyMissingError:
        return Checked((_missing(store, key),))
    return Checked(() if found == size else (_wrong_size(key, found=found, size=size),))


def check_blob(store: Store, digest: str, *, size: int) -> Checked:
    """Hash a blob and hold the result against its name."""
    key = layout.blob_key(digest)
    try:
        with store.open(key) as stream:
            found, length = blobs.digest_of(stream)
    except KeyMissingError:
        return Checked((_missing(store, key),))
    except OSError as error:
        return Checked((_unreadable(key, error),))
    return Checked(tuple(_byte_damages(key, found, digest, length=length, size=size)), length)


def check_data(store: Store, record: FileRecord) -> Checked:
    """Hash a data object, then hold its rows, columns and ranges against the ledger's record.

    Where the bytes are not the committed ones nothing more is said of them.
    """
    try:
        with store.open(record.key) as stream:
            found, length = blobs.digest_of(stream)
            damages = list(_byte_damages(record.key, found, record.sha256, length=length, size=record.bytes))
            if damages:
                return Checked(tuple(damages), length)
            stream.seek(0)
            with pq.ParquetFile(stream) as file:
                damages = list(_content_damages(file, record))
                named = frozenset() if damages else _blobs_named(file, record.table)
    except KeyMissingError:
        return Checked((_missing(store, record.key),))
    except (pa.ArrowException, OSError) as error:
        return Checked((_unreadable(record.key, error),))
    return Checked(tuple(damages), length, named)


def check_certificate(store: Store, disposal: Disposal) -> Checked:
    """Hold the certificate of a disposal against the digest that its entry names."""
    key = layout.certificate_key(disposal.plan)
    try:
        data = store.read(key)
    except KeyMissingError:
        return Checked((Damage("certificate", key, "a disposal names it and it is not there"),))
    found = sha256(data).hexdigest()
    if found != disposal.certificate_sha256:
        what = f"has SHA-256 {found}, the disposal's entry says {disposal.certificate_sha256}"
        return Checked((Damage("certificate", key, what),), len(data))
    return Checked((), len(data))


def _missing(store: Store, key: str) -> Damage:
    """Return the damage of an object that is not there; "missing" is not "gone" where a marker may be all that hides it."""
    if any(info.key == key for info in store.list_hidden(key)):
        return Damage(
            "missing", key, "the ledger names it and a delete marker hides it; its bytes are still in the store"
        )
    return Damage("missing", key, "the ledger names it and it is not there")


def _unreadable(key: str, error: Exception) -> Damage:
    return Damage("unreadable", key, f"cannot be read: {error}")


def _wrong_size(key: str, *, found: int, size: int) -> Damage:
    return Damage("size", key, f"has {found} bytes, the ledger says {size}")


def _byte_damages(key: str, found: str, digest: str, *, length: int, size: int) -> Iterator[Damage]:
    if length != size:
        yield _wrong_size(key, found=length, size=size)
    if found != digest:
        yield Damage("digest", key, f"has SHA-256 {found}, the ledger says {digest}")


def _content_damages(file: pq.ParquetFile, record: FileRecord) -> Iterator[Damage]:
    table = TABLES.get(record.table)
    if table is None or not file.schema_arrow.equals(table.schema):
        yield Damage("unreadable", record.key, f"does not have the columns of table {record.table}")
        return
    if file.metadata.num_rows != record.rows:
        yield Damage("rows", record.key, f"has {file.metadata.num_rows} rows, the ledger says {record.rows}")
    for column, expected in record.ranges.items():
        if column not in table.range_columns:
            yield Damage(
                "ranges", record.key, f"has a range of {column}, which is kept for no object of {record.table}"
            )
            continue
        found = _range(file, column)
        if found != tuple(expected):
            yield Damage(
                "ranges", record.key, f"has {column} from {found[0]} to {found[1]}, the ledger says {expected}"
            )


def _range(file: pq.ParquetFile, column: str) -> tuple[int | str, int | str]:
    """Return the least and greatest value, from the values themselves: statistics may leave long ones out."""
    bounds: list[object] = []
    for batch in file.iter_batches(columns=[column]):
        found = pc.min_max(batch.column(0)).as_py()
        bounds += [value for value in found.values() if value is not None]
    plain = [_plain(value) for value in bounds]
    numbers = [value for value in plain if isinstance(value, int)]
    if numbers:
        return min(numbers), max(numbers)
    texts = [value for value in plain if isinstance(value, str)]
    return (min(texts), max(texts)) if texts else ("", "")


def _plain(value: object) -> int | str:
    if isinstance(value, datetime):
        return to_ms(value.astimezone(UTC))
    return value if isinstance(value, int) else str(value)


def _blobs_named(file: pq.ParquetFile, table: str) -> frozenset[NamedBlob]:
    named: set[NamedBlob] = set()
    if table == "files":
        for batch in file.iter_batches(columns=["blob_digest", "blob_bytes"]):
            pairs = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
            named.update(NamedBlob(digest, size) for digest, size in pairs if digest is not None)
    elif table == "messages":
        for batch in file.iter_batches(columns=["blob_digests"]):
            digests = pc.unique(pc.list_flatten(batch.column(0))).to_pylist()
            named.update(NamedBlob(digest, None) for digest in digests)
    return frozenset(named)
