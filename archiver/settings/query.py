"""What the archive is asked through: an index of its words, Athena, Iceberg tables; and which of them runs bring up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from archiver.settings.parts import NO_FLAG, PART, HttpUrl

_GIBIBYTE = 1024**3
_DATABASE = re.compile(r"[a-z][a-z0-9_]{0,127}")
_OUTPUT = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\x21-\x7e]*)?")


def _database(value: str) -> str:
    if not _DATABASE.fullmatch(value):
        raise ValueError("must be lower-case letters, digits and underscores, a letter first")
    return value


def _output(value: str) -> str:
    if not _OUTPUT.fullmatch(value):
        raise ValueError("must be s3://bucket/prefix")
    return value


class AthenaSettings(BaseModel):
    """Amazon Athena, for `archiver query --engine athena` and `archiver catalog athena`. Credentials as for `s3`."""

    model_config = PART

    database: Annotated[str, AfterValidator(_database)] = "flock_archive"
    """Name of the database in Glue that holds the archive's tables and views, and nothing else."""
    workgroup: str | None = None
    """Workgroup that queries run in; by default Athena's own, primary."""
    output: Annotated[str, AfterValidator(_output)] | None = None
    """Where Athena puts results, s3://bucket/prefix; by default the place of the workgroup."""
    region: str | None = None
    """Region of Athena and Glue; by default `s3.region`, else boto3's own."""
    endpoint_url: HttpUrl | None = None
    """Address of a service other than Amazon's that speaks for Athena and Glue."""
    bytes_max: Annotated[int, Field(ge=1), NO_FLAG] = 100 * _GIBIBYTE
    """Most bytes that one query may read: more is refused before it starts, and stopped while it runs."""
    price_per_terabyte: Annotated[float, Field(ge=0, le=1000), NO_FLAG] = 5.0
    """What Amazon takes for a terabyte that is read, in US dollars; only to tell what a query costs."""


class IcebergSettings(BaseModel):
    """Iceberg tables over the archive's files, for `archiver catalog iceberg`; needs the extra `iceberg`."""

    model_config = PART

    catalog: Literal["sql", "glue", "rest"] = "sql"
    """What keeps where each table's metadata is: an SQL database, Glue, or a REST catalog."""
    uri: str | None = None
    """Address of the catalog; of `sql` by default the file iceberg.sqlite in `state`. Never a place for a password."""
    namespace: Annotated[str, AfterValidator(_database)] = "flock_archive"
    """Namespace of the tables in the catalog."""
    region: str | None = None
    """Region of Glue; by default `s3.region`, else boto3's own."""


class SearchSettings(BaseModel):
    """The index of this machine's searches. It holds the words of all messages, in `state`."""

    model_config = PART

    refresh: Literal["never", "existing", "always"] = "existing"
    """Whether a run brings the index up to its last commit: never; where a search has made one here; or always, making it if need be."""


class CatalogsSettings(BaseModel):
    """Which catalogs each run brings to its last commit; what they need stands under `iceberg` and `athena`."""

    model_config = PART

    duckdb: Path | None = None
    """File to write the script of `archiver catalog duckdb` to, such as ./archive.sql; none is written by default."""
    athena: bool = False
    """Register the archive in Athena, as `archiver catalog athena --register` does."""
    iceberg: bool = False
    """Publish Iceberg tables, as `archiver catalog iceberg` does."""
