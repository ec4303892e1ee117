"""Questions to the archive through Athena: start, wait, fetch, and know what it costs before and after.

What is asked is one reading statement in Athena's SQL over the tables that `athena_glue` registered. A query is stopped there when
whoever waits for it goes away (Ctrl-C), and when it has read more bytes than it may.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import boto3
import tenacity
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from archiver.archive.reader import Head
from archiver.errors import RefusedError
from archiver.query import scanned
from archiver.query.answer import Answer, Column
from archiver.query.athena_failures import failed, told

if TYPE_CHECKING:
    from mypy_boto3_athena import AthenaClient
    from mypy_boto3_athena.type_defs import QueryExecutionTypeDef

POLL_SECONDS_MIN = 0.25
POLL_SECONDS_MAX = 5.0
TRIES_MAX = 5
TIMEOUT_SECONDS = 30
PAGE_ROWS = 1_000

_READINGS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("tinyint", "smallint", "integer", "bigint"), int),
    **dict.fromkeys(("float", "real", "double"), float),
    "boolean": "true".__eq__,
    "decimal": Decimal,
    "date": date.fromisoformat,
    "timestamp": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
}
_FINISHED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class AthenaOptions:
    """Where and how Athena is asked: its database and workgroup, where results go, and limits. None is Athena's own default."""

    database: str
    workgroup: str | None
    output: str | None
    bytes_max: int
    price_per_terabyte: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a query read, and what that costs in the currency of the configured price."""

    query_id: str
    bytes: int
    price: float


def client_of(*, region: str | None, endpoint_url: str | None) -> AthenaClient:
    """Return a client of Athena; raises `UsageError` if no region is known."""
    config = Config(retries={"mode": "standard", "max_attempts": TRIES_MAX}, read_timeout=TIMEOUT_SECONDS)
    with told("Athena"):
        return boto3.client("athena", region_name=region, endpoint_url=endpoint_url, config=config)


class Athena:
    """Athena over the tables of one head, as the ledger knows it."""

    def __init__(
        self, client: AthenaClient, options: AthenaOptions, *, head: Head, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._options = options
        self._head = head
        self._sleep = sleep
        self.cost: Cost | None = None

    def estimate(self, sql: str) -> tuple[scanned.Estimate, float]:
        """Return what a query reads and costs at most; raises `UsageError` for what is no single reading statement."""
        bound = scanned.estimate(scanned.parsed(sql), self._head)
        return bound, scanned.price(bound.bytes, per_terabyte=self._options.price_per_terabyte)

    def ask(self, sql: str) -> Answer:
        """Run one reading statement; its `cost` stands here afterwards.

        Raises `RefusedError` if it could or did read more than the limit, `UsageError` with the place if the SQL is wrong,
        `DamageFoundError` if an object is damaged or missing, `StorageError` if Athena or the bucket does not answer or refuses.
        """
        bound, _ = self.estimate(sql)
        if bound.bytes > self._options.bytes_max:
            raise RefusedError(
                f"the query could read {bound.bytes:,} bytes ({', '.join(bound.tables)}), and at most "
                f"{self._options.bytes_max:,} are allowed",
                next_step="name a view that reads less, or allow more with --bytes-max or athena.bytes_max",
            )
        query_id = self.run(sql)
        return self._answer(query_id)

    def run(self, sql: str) -> str:
        """Run any statement to its end and return its id; for our own statements, such as those that make views."""
        with told("Athena"):
            given: dict[str, Any] = {}
            if self._options.workgroup:
                given["WorkGroup"] = self._options.workgroup
            if self._options.output:
                given["ResultConfiguration"] = {"OutputLocation": self._options.output}
            started = self._client.start_query_execution(
                QueryString=sql, QueryExecutionContext={"Database": self._options.database}, **given
            )
            query_id = started["QueryExecutionId"]
            try:
                execution = self._finished(query_id)
            except BaseException:
                with suppress(ClientError, BotoCoreError):
                    self._client.stop_query_execution(QueryExecutionId=query_id)
                raise
        read = execution.get("Statistics", {}).get("DataScannedInBytes", 0)
        self.cost = Cost(query_id, read, scanned.price(read, per_terabyte=self._options.price_per_terabyte))
        status = execution.get("Status", {})
        if status.get("State") != "SUCCEEDED":
            category = status.get("AthenaError", {}).get("ErrorCategory")
            raise failed(status.get("StateChangeReason", "it says no reason"), sql, is_system=category == 1)
        return query_id

    def _finished(self, query_id: str) -> QueryExecutionTypeDef:
        waiting = tenacity.Retrying(
            wait=tenacity.wait_exponential(multiplier=POLL_SECONDS_MIN, max=POLL_SECONDS_MAX),
            retry=tenacity.retry_if_result(lambda found: found["Status"]["State"] not in _FINISHED),
            sleep=self._sleep,
        )
        found: QueryExecutionTypeDef = waiting(self._looked_at, query_id)
        return found

    def _looked_at(self, query_id: str) -> QueryExecutionTypeDef:
        execution = self._client.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]
        read = execution.get("Statistics", {}).get("DataScannedInBytes", 0)
        if read > self._options.bytes_max and execution["Status"]["State"] not in _FINISHED:
            raise RefusedError(
                f"the query was stopped: it had read {read:,} bytes, and at most {self._options.bytes_max:,} are allowed",
                next_step="ask for fewer days or columns, or allow more with --bytes-max or athena.bytes_max",
            )
        return execution

    def _answer(self, query_id: str) -> Answer:
        pages = self._pages(query_id)
        first = next(pages)
        described = first["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
        columns = tuple(Column(name=column["Name"], type=column["Type"]) for column in described)
        return Answer(columns=columns, rows=self._rows(columns, first, pages))

    def _rows(self, columns: tuple[Column, ...], first: Any, pages: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
        rows = first["ResultSet"]["Rows"]
        # The first row of the first page repeats the names.
        if rows and [cell.get("VarCharValue") for cell in rows[0]["Data"]] == [column.name for column in columns]:
            rows = rows[1:]
        page: Any = first
        while page is not None:
            for row in rows:
                yield tuple(
                    _value(cell.get("VarCharValue"), column.type)
                    for cell, column in zip(row["Data"], columns, strict=True)
                )
            page = next(pages, None)
            rows = page["ResultSet"]["Rows"] if page is not None else []

    def _pages(self, query_id: str) -> Iterator[Any]:
        paginator = self._client.get_paginator("get_query_results")
        pages = iter(paginator.paginate(QueryExecutionId=query_id, PaginationConfig={"PageSize": PAGE_ROWS}))
        while True:
            with told("Athena"):
                page = next(pages, None)
            if page is None:
                return
            yield page


def _value(text: str | None, kind: str) -> Any:
    """Return a cell as the value that it is the text of; what has no plain type, such as an array, stays text."""
    reading = _READINGS.get(kind)
    return text if text is None or reading is None else reading(text)
