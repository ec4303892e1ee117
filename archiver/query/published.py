"""Which commit each catalog shows, by what its publishing wrote: nothing but the archive's own store, or the script's file, is asked.

Glue or a REST catalog may have been changed by others since; this tells what we did last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from archiver.archive import layout
from archiver.errors import KeyMissingError
from archiver.store import Store

ICEBERG_FOLDER = f"{layout.CATALOG_PREFIX}iceberg/"
ATHENA_FOLDER = f"{layout.CATALOG_PREFIX}athena/"
# Beside the folders of manifests, whose names begin with digits.
ATHENA_REGISTERED = f"{ATHENA_FOLDER}registered-"

_SCRIPT_HEAD = re.compile(r"-- The archive at .* as of commit (\d{1,12}) \(")
_SCRIPT_HEAD_BYTES_MAX = 10_000

_Document = TypeVar("_Document")


class _Tables(msgspec.Struct, frozen=True):
    """What matters here of the document that names the Iceberg tables of one head."""

    sequence: int


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What was registered in Athena to the end: of which commit, where its manifests are, and the digest of what defines the views."""

    sequence: int
    digest: str
    database: str
    manifests: str
    views: str


@dataclass(frozen=True, slots=True)
class CatalogPlace:
    """Which catalog keeps where each table's metadata is: its kind (``sql``, ``glue`` or ``rest``), address and namespace."""

    kind: str
    uri: str | None
    namespace: str
    region: str | None = None

    @property
    def folder(self) -> str:
        """The key prefix of the metadata: each catalog and namespace has its own, for each erases what it does not lead to."""
        return f"{ICEBERG_FOLDER}{self.kind}/{self.namespace}/"

    @property
    def tables_key(self) -> str:
        """The key of the document that names the metadata of all tables at one head."""
        return f"{self.folder}tables.json"


def registered_key(database: str) -> str:
    """Return the key of what was registered last under the name of a database."""
    return f"{ATHENA_REGISTERED}{database}.json"


def registered(store: Store, database: str) -> Registered | None:
    """Return what was registered last under the name of a database, None if nothing was, or nobody can read it."""
    return _read(store, registered_key(database), Registered)


def athena_sequence(store: Store, database: str) -> int | None:
    """Return which commit was registered last under the name of a database, None if none was."""
    found = registered(store, database)
    return found.sequence if found else None


def iceberg_sequence(store: Store, place: CatalogPlace) -> int | None:
    """Return which commit the Iceberg tables of a catalog show, None if none was published there."""
    found = _read(store, place.tables_key, _Tables)
    return found.sequence if found else None


def script_sequence(path: Path) -> int | None:
    """Return which commit a script for DuckDB shows, None if there is none."""
    try:
        with path.open("rb") as file:
            line = file.read(_SCRIPT_HEAD_BYTES_MAX).partition(b"\n")[0].decode()
    except (OSError, UnicodeDecodeError):
        return None
    found = _SCRIPT_HEAD.match(line)
    return int(found[1]) if found else None


def _read(store: Store, key: str, kind: type[_Document]) -> _Document | None:
    try:
        return msgspec.json.decode(store.read(key), type=kind)
    except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
