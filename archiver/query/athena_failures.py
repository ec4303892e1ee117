"""What the failures of Athena, of Glue and of boto3 mean, and what a person can do about them.

Athena tells why a query failed in words alone, which begin with the name of Trino's error where there is one (Amazon Athena user
guide, "Troubleshooting in Athena"; ``StandardErrorCode.java`` of Trino).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from archiver.archive.schema import TABLES
from archiver.errors import (
    ArchiverError,
    DamageFoundError,
    RefusedError,
    StorageError,
    StoreRefusedError,
    StoreUnreachableError,
    UsageError,
)
from archiver.query import scanned
from archiver.query.derived import DERIVED
from archiver.query.macros import MACROS

_PLACE = re.compile(r"line (\d+):(\d+): ?(.*)", re.DOTALL)
_UNKNOWN = re.compile(r"(Column|Table|Function) '?([\w.\"]+)'? (?:cannot be resolved|does not exist|not registered)")
_OF_TABLES = re.compile(r"TABLE_NOT_FOUND|SCHEMA_NOT_FOUND|Table|Schema|Database")

# The first that is found in the words of a failed query says what it means.
_MEANINGS: tuple[tuple[re.Pattern[str], type[ArchiverError], str, str], ...] = (
    (
        re.compile(r"Bytes scanned limit"),
        RefusedError,
        "Athena stopped the query",
        "ask for fewer days or columns, or raise the limit of the workgroup",
    ),
    (
        re.compile(r"Glacier|InvalidObjectState|storage class", re.IGNORECASE),
        StoreRefusedError,
        "an object lies where it cannot be read at once",
        "`archiver restore` thaws what it needs; or leave that day out of the query (WHERE dt …)",
    ),
    (
        re.compile(r"Access ?Denied|Insufficient permissions|not authorized", re.IGNORECASE),
        StoreRefusedError,
        "Athena may not",
        "check the permissions of Athena and of the bucket",
    ),
    (
        re.compile(r"HIVE_CANNOT_OPEN_SPLIT|HIVE_FILESYSTEM_ERROR|NoSuchKey|FileNotFound"),
        DamageFoundError,
        "an object that the tables name is missing",
        "if the archive changed since, run `archiver catalog athena --register`; then `archiver verify`",
    ),
    (
        re.compile(r"HIVE_BAD_DATA|HIVE_CURSOR_ERROR|valid Parquet"),
        DamageFoundError,
        "an object cannot be read",
        "run `archiver verify` for a full list, then restore the object from a copy",
    ),
    (
        re.compile(r"exhausted resources|EXCEEDED_"),
        UsageError,
        "the query is too large for Athena",
        "ask for less at once: fewer columns, fewer days, or a LIMIT",
    ),
)


def failed(reason: str, sql: str, *, is_system: bool) -> ArchiverError:
    """Return what the reason means that Athena gives for a query that failed; ``is_system`` if it takes the blame itself."""
    # First, because Athena adds to a name that it does not know that perhaps one is not authorized.
    if place := _PLACE.search(reason):
        what = _with_nearest(place[3] or reason)
        words = scanned.pointed(sql, f"the SQL is wrong: {what}", line=int(place[1]), column=int(place[2]))
        return UsageError(words, next_step=_next_step(reason))
    for pattern, kind, what, next_step in _MEANINGS:
        if pattern.search(reason):
            return kind(f"{what}: {reason}", next_step=next_step)
    if is_system:
        return StoreUnreachableError(f"Athena failed: {reason}", next_step="try again later")
    return UsageError(f"Athena did not run the query: {reason}", next_step=_next_step(reason))


def _with_nearest(what: str) -> str:
    named = _UNKNOWN.search(what)
    if named is None:
        return what
    word = named[2].replace('"', "").rpartition(".")[2].lower()
    columns = {name for table in TABLES.values() for name in (*table.schema.names, "dt")}
    known = columns if named[1] == "Column" else {*TABLES, *(view.name for view in DERIVED)}
    nearest = difflib.get_close_matches(word, sorted(known), n=3)
    return f"{what}; did you mean {' or '.join(nearest)}?" if nearest else what


def _next_step(reason: str) -> str:
    if any(macro.name in reason for macro in MACROS):
        return "Athena has no macros: take the …_periods views, or --engine duckdb"
    if _OF_TABLES.search(reason):
        return "`archiver catalog athena --register` makes the tables and views"
    return "`archiver catalog athena` prints the tables and views with their columns"


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what boto3 raises into errors that a person can act on."""
    try:
        yield
    except NoCredentialsError:
        raise StoreRefusedError(
            f"there are no credentials for {what}", next_step="set the AWS_ variables or a profile"
        ) from None
    except ClientError as error:
        facts = error.response.get("Error", {})
        code, words = facts.get("Code", ""), facts.get("Message", str(error))
        if "AccessDenied" in code or code in ("UnrecognizedClientException", "ExpiredTokenException"):
            raise StoreRefusedError(
                f"{what} refuses: {words}", next_step="check the credentials and their rights"
            ) from None
        if code == "InvalidRequestException" and "utput" in words:
            raise UsageError(
                f"{what} has no place for results: {words}",
                next_step="set athena.output to s3://bucket/prefix, or the place of the workgroup's results",
            ) from None
        if code in ("InvalidRequestException", "InvalidInputException", "EntityNotFoundException", "MetadataException"):
            raise UsageError(
                f"{what}: {words}", next_step="`archiver catalog athena --register` makes what is missing"
            ) from None
        raise StorageError(f"{what} answered {code}: {words}", next_step="try again later") from None
    except BotoCoreError as error:
        if "region" in str(error):
            raise UsageError(f"{what} is in no known region", next_step="set athena.region in archiver.yaml") from None
        raise StoreUnreachableError(f"{what} does not answer: {error}", next_step="try again later") from None
