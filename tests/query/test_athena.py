"""The archive through Athena: what is registered, what a query may cost, what Athena's answers and refusals mean.

moto takes any text for SQL, so it tests the calls alone: the SQL is parsed in Athena's dialect, its twin in DuckDB's runs on data here, and
`test_spark` runs it in another engine.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlglot
from botocore.exceptions import ClientError, EndpointConnectionError
from sqlglot import exp

from archiver.archive import layout
from archiver.archive.reader import Archive, Head, files_of
from archiver.archive.schema import TABLES
from archiver.errors import (
    ArchiverError,
    DamageFoundError,
    RefusedError,
    StoreRefusedError,
    StoreUnreachableError,
    UsageError,
)
from archiver.query import athena_ddl, athena_glue, scanned
from archiver.query.athena import Athena, AthenaOptions
from archiver.query.athena_failures import failed, told
from archiver.query.derived import DERIVED
from archiver.query.dialects import rendered
from archiver.query.engine import Engine, open_engine
from archiver.query.published import ATHENA_FOLDER, registered
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.servers.plugin import s3_client

ROOT = "s3://bucket/prefix/"


def manifest_folders(archive: Archive) -> set[str]:
    keys = [info.key.split("/") for info in archive.store.list(ATHENA_FOLDER)]
    return {f"{'/'.join(parts[:3])}/" for parts in keys if len(parts) > 3}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Head]:
    folder = tmp_path_factory.mktemp("athena")
    return small_archive.build(LocalStore(folder / "archive"), folder)


@pytest.fixture(scope="module")
def head(small: tuple[Archive, Head]) -> Head:
    return small[1]


@pytest.fixture(scope="module")
def engine(small: tuple[Archive, Head]) -> Engine:
    with open_engine(*small) as opened:
        yield opened


class TestDdl:
    def test_every_statement_is_athena_s_sql(self, head: Head) -> None:
        kinds = [
            type(sqlglot.parse_one(text, read="athena", error_level=sqlglot.ErrorLevel.RAISE))
            for text in athena_ddl.ddl(head, root=ROOT, database="flock")
        ]
        assert kinds.count(exp.Create) == 1 + len(TABLES) + len(DERIVED)
        assert kinds.count(exp.Drop) == len(TABLES)

    def test_manifests_name_the_objects_of_the_head_and_no_others(self, head: Head) -> None:
        named = [
            (key.split("/")[3], line)
            for key, content in athena_ddl.manifests(head, root=ROOT)
            for line in content.decode().splitlines()
        ]
        assert sorted(named) == sorted((record.table, ROOT + record.key) for record in head.files.values())

    def test_each_day_s_manifest_lies_where_the_table_computes_it(self, head: Head) -> None:
        keys = {ROOT + key for key, _ in athena_ddl.manifests(head, root=ROOT)}
        for name in TABLES:
            properties = athena_ddl.properties(head, name, root=ROOT)
            days = {layout.partition_of(record.key)[1] for record in files_of(head, name)}
            first, last = map(date.fromisoformat, properties["projection.dt.range"].split(","))
            assert all(first <= day <= last for day in days)
            template = properties["storage.location.template"]
            assert {template.replace("${dt}", day.isoformat()) + "manifest" for day in days} <= keys
            assert template.startswith(athena_ddl.location(head, name, root=ROOT))

    def test_an_apostrophe_in_an_address_ends_no_text(self, head: Head) -> None:
        for text in athena_ddl.table_ddl(head, "messages", root="s3://bucket/it's/", database="flock"):
            assert sqlglot.parse_one(text, read="athena")

    @pytest.mark.parametrize("view", DERIVED, ids=[view.name for view in DERIVED])
    def test_a_view_s_twin_says_what_the_view_says(self, engine: Engine, view: Any) -> None:
        """Athena's text, brought back to DuckDB's dialect, runs on data."""
        twin = sqlglot.parse_one(rendered(view.sql, "athena"), read="athena")
        for tried in list(twin.find_all(exp.Try)):
            tested = tried.this.this.sql("duckdb")
            tried.replace(sqlglot.parse_one(f"CASE WHEN json_valid({tested}) THEN 1 END", read="duckdb"))
        ours = sorted(map(repr, engine.ask(f"FROM {view.name}").rows))
        assert sorted(map(repr, engine.ask(twin.sql("duckdb")).rows)) == ours

    def test_what_other_engines_call_otherwise_is_called_so(self) -> None:
        sql = "SELECT list_contains(a, b), json_valid(c) FROM messages JOIN users ON true"
        assert rendered(sql, "athena", database="flock") == (
            'SELECT CONTAINS(a, b), (NOT TRY(JSON_PARSE(c)) IS NULL) FROM "flock".messages JOIN "flock".users ON TRUE'
        )
        assert "ARRAY_CONTAINS" in rendered(sql, "spark")


class TestEstimate:
    @staticmethod
    def size(head: Head, table: str) -> int:
        return sum(record.bytes for record in files_of(head, table))

    @pytest.mark.parametrize(
        ("sql", "tables"),
        [
            ("SELECT 1", {}),
            ("SELECT text FROM messages WHERE dt = DATE '2026-11-20'", {"messages": 1}),
            (
                'SELECT * FROM "flock"."messages" m JOIN files f ON f.message_uid = m.message_uid',
                {"messages": 1, "files": 1},
            ),
            ("WITH a AS (SELECT * FROM messages) SELECT * FROM a JOIN a AS b ON true", {"messages": 2}),
            ("WITH messages AS (SELECT * FROM messages) SELECT * FROM messages", {"messages": 1}),
            ("SELECT * FROM notifications", {"messages": 5}),
        ],
    )
    def test_counts_every_scan_of_every_table_that_is_named(self, head: Head, sql: str, tables: dict[str, int]) -> None:
        found = scanned.estimate(scanned.parsed(sql), head)
        assert found.bytes == sum(self.size(head, name) * times for name, times in tables.items())
        assert set(found.tables) == set(tables)

    def test_a_price_is_never_below_what_amazon_takes_for_any_query(self) -> None:
        assert scanned.price(0, per_terabyte=5.0) == pytest.approx(5.0 * 10 * 1024**2 / 10**12)
        assert scanned.price(10**12, per_terabyte=5.0) == 5.0

    @pytest.mark.parametrize(
        "sql", ["DROP TABLE messages", "SELECT 1; SELECT 2", "", "CREATE TABLE a AS SELECT 1", "INSERT INTO a SELECT 1",
                "UNLOAD (SELECT 1) TO 's3://x/'", "MSCK REPAIR TABLE messages", "EXPLAIN ANALYZE SELECT 1"]
    )  # fmt: skip
    def test_anything_but_one_reading_statement_is_refused(self, sql: str) -> None:
        with pytest.raises(UsageError, match="one statement that only reads"):
            scanned.parsed(sql)

    def test_a_mistake_is_shown_with_a_caret_under_its_place(self) -> None:
        with pytest.raises(UsageError) as caught:
            scanned.parsed("SELECT 1,\n  count(*) FRM messages")
        lines = str(caught.value).splitlines()
        assert lines[2] == "LINE 2:   count(*) FRM messages"
        assert lines[3].index("^") == lines[2].index("messages")


class Scripted:
    """Athena at the seam: the executions that it tells one after the other, and what was asked of it."""

    def __init__(self, *states: dict[str, Any], rows: list[list[str | None]] | None = None) -> None:
        self.states = list(states)
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.rows = rows or [["n"], ["1"]]

    def start_query_execution(self, **given: Any) -> dict[str, Any]:
        self.started.append(given)
        return {"QueryExecutionId": "q-1"}

    def get_query_execution(self, QueryExecutionId: str) -> dict[str, Any]:  # noqa: N803 - Athena's own name
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"QueryExecution": state}

    def stop_query_execution(self, QueryExecutionId: str) -> None:  # noqa: N803 - as above
        self.stopped.append(QueryExecutionId)

    def get_paginator(self, name: str) -> Scripted:
        assert name == "get_query_results"
        return self

    def paginate(self, **_: Any) -> Any:
        kinds = ["bigint", "timestamp", "boolean", "double", "date", "array(varchar)"]
        described = [{"Name": name, "Type": kind} for name, kind in zip(self.rows[0], kinds, strict=False)]
        for number, start in enumerate(range(0, len(self.rows), 2)):
            cells = [
                {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]}
                for row in self.rows[start : start + 2]
            ]
            metadata = {"ColumnInfo": described} if number == 0 else {}
            yield {"ResultSet": {"Rows": cells, "ResultSetMetadata": metadata}}


def state(name: str, *, read: int = 0, **status: Any) -> dict[str, Any]:
    return {"Status": {"State": name, **status}, "Statistics": {"DataScannedInBytes": read}}


OPTIONS = AthenaOptions(
    database="flock", workgroup="legal", output="s3://results/", bytes_max=10**9, price_per_terabyte=5.0
)


def athena(client: Scripted, head: Head, *, bytes_max: int = 10**9) -> tuple[Athena, list[float]]:
    slept: list[float] = []
    options = AthenaOptions("flock", "legal", "s3://results/", bytes_max=bytes_max, price_per_terabyte=5.0)
    return Athena(client, options, head=head, sleep=slept.append), slept  # type: ignore[arg-type]


class TestAsking:
    def test_waits_longer_and_longer_and_then_fetches_every_page_with_types(self, head: Head) -> None:
        names: list[str | None] = ["n", "at", "yes", "share", "day", "list"]
        first: list[str | None] = ["7", "2026-11-22 12:00:00.250", "true", "0.5", "2026-11-22", "[a, b]"]
        client = Scripted(
            *[state("QUEUED")] * 3, *[state("RUNNING", read=10)] * 4, state("SUCCEEDED", read=20_000_000),
            rows=[names, first, [None] * 6, ["8", *[None] * 5]],
        )  # fmt: skip
        engine, slept = athena(client, head)
        answer = engine.ask("SELECT n FROM messages")
        assert [column.type for column in answer.columns][:2] == ["bigint", "timestamp"]
        rows = list(answer.rows)
        instant = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
        assert rows == [(7, instant, True, 0.5, date(2026, 11, 22), "[a, b]"), (None,) * 6, (8, *[None] * 5)]
        assert slept == sorted(slept)
        assert slept[-1] > slept[0]
        assert client.started == [
            {
                "QueryString": "SELECT n FROM messages",
                "QueryExecutionContext": {"Database": "flock"},
                "WorkGroup": "legal",
                "ResultConfiguration": {"OutputLocation": "s3://results/"},
            }
        ]
        assert engine.cost is not None
        assert (engine.cost.bytes, engine.cost.price) == (20_000_000, pytest.approx(0.0001))

    def test_what_could_read_more_than_is_allowed_is_refused_before_it_starts(self, head: Head) -> None:
        client = Scripted(state("SUCCEEDED"))
        engine, _ = athena(client, head, bytes_max=100)
        with pytest.raises(RefusedError, match="at most 100 are allowed"):
            engine.ask("SELECT text FROM messages")
        assert client.started == []

    def test_what_reads_more_than_is_allowed_is_stopped(self, head: Head) -> None:
        client = Scripted(state("RUNNING", read=10), state("RUNNING", read=10**10))
        engine, _ = athena(client, head)
        with pytest.raises(RefusedError, match="was stopped"):
            engine.ask("SELECT text FROM messages")
        assert client.stopped == ["q-1"]

    def test_whoever_interrupts_stops_the_query_there(self, head: Head) -> None:
        client = Scripted(state("RUNNING"))

        def interrupted(_: float) -> None:
            raise KeyboardInterrupt

        engine = Athena(client, OPTIONS, head=head, sleep=interrupted)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            engine.ask("SELECT 1")
        assert client.stopped == ["q-1"]

    def test_a_failure_is_told_as_what_it_means(self, head: Head) -> None:
        reason = "COLUMN_NOT_FOUND: line 1:8: Column 'txt' cannot be resolved or requester is not authorized"
        engine, _ = athena(Scripted(state("FAILED", StateChangeReason=reason)), head)
        with pytest.raises(ArchiverError) as caught:
            engine.ask("SELECT txt FROM messages")
        assert isinstance(caught.value, UsageError)


class TestFailures:
    @pytest.mark.parametrize(
        ("reason", "kind", "words"),
        [
            ("COLUMN_NOT_FOUND: line 1:8: Column 'tekst' cannot be resolved", UsageError, "did you mean text"),
            ("TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.flock.mesages' does not exist", UsageError, "or messages|messages"),
            ("FUNCTION_NOT_FOUND: line 1:15: Function 'as_of' not registered", UsageError, "no macros"),
            ("SCHEMA_NOT_FOUND: line 1:15: Schema 'flock' does not exist", UsageError, "--register"),
            ("Query exhausted resources at this scale factor", UsageError, "ask for less"),
            ("Bytes scanned limit was exceeded", RefusedError, "workgroup"),
            ("HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split s3://b/messages/x.parquet", DamageFoundError, "is missing"),
            ("HIVE_BAD_DATA: Not valid Parquet file: s3://b/x.parquet", DamageFoundError, "cannot be read"),
            ("HIVE_CANNOT_OPEN_SPLIT: the operation is not valid for the object's storage class", StoreRefusedError, "thaws"),
            ("PERMISSION_DENIED: Access Denied on s3://b", StoreRefusedError, "permissions"),
            ("INTERNAL_ERROR", StoreUnreachableError, "later"),
        ],
    )  # fmt: skip
    def test_of_a_query(self, reason: str, kind: type[ArchiverError], words: str) -> None:
        error = failed(reason, "SELECT tekst FROM mesages", is_system=reason == "INTERNAL_ERROR")
        assert type(error) is kind
        assert any(word in str(error) for word in words.split("|"))

    def test_a_place_is_shown_with_a_caret(self) -> None:
        lines = str(failed("line 1:8: Column 'tekst' cannot be resolved", "SELECT tekst", is_system=False)).splitlines()
        assert lines[3].index("^") == lines[2].index("tekst")

    @pytest.mark.parametrize(
        ("code", "message", "kind"),
        [
            ("AccessDeniedException", "no", StoreRefusedError),
            ("InvalidRequestException", "No output location provided.", UsageError),
            ("InvalidRequestException", "WorkGroup legal is not found.", UsageError),
        ],
    )
    def test_of_a_call(self, code: str, message: str, kind: type[ArchiverError]) -> None:
        with pytest.raises(kind), told("Athena"):
            raise ClientError({"Error": {"Code": code, "Message": message}}, "StartQueryExecution")

    def test_of_a_service_that_does_not_answer(self) -> None:
        with pytest.raises(StoreUnreachableError), told("Athena"):
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")


class TestRegistering:
    @pytest.fixture(scope="class")
    @staticmethod
    def place(moto_server: S3Access, tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Any]:
        store = S3Store(moto_server.bucket, "query/athena", client=s3_client(moto_server))
        archive, _ = small_archive.build(store, tmp_path_factory.mktemp("registered"))
        glue = boto3.client(
            "glue", endpoint_url=moto_server.endpoint_url, region_name=moto_server.region,
            aws_access_key_id=moto_server.access_key_id, aws_secret_access_key=moto_server.secret_access_key,
        )  # fmt: skip
        return archive, glue

    @pytest.mark.slow
    def test_tables_views_and_manifests_are_of_one_head_and_move_to_the_next(self, place: tuple[Archive, Any]) -> None:
        archive, glue = place
        head = archive.head()
        ran: list[str] = []
        done = athena_glue.register(glue, archive, head, database="flock", run=ran.append)
        assert (done.tables, done.views, done.removed) == (len(TABLES), len(DERIVED), 0)
        assert athena_glue.registered_sequence(glue, database="flock") == head.sequence
        assert [text.split('"')[3] for text in ran] == [view.name for view in DERIVED]
        tables = {table["Name"]: table for table in glue.get_tables(DatabaseName="flock")["TableList"]}
        assert set(tables) == set(TABLES)
        messages = tables["messages"]
        assert [column["Name"] for column in messages["StorageDescriptor"]["Columns"]] == TABLES[
            "messages"
        ].schema.names
        assert messages["StorageDescriptor"]["InputFormat"].endswith("SymlinkTextInputFormat")

        assert athena_glue.register(glue, archive, head, database="flock", run=ran.append).manifests == 0

        folders = [athena_ddl.folder_of(head)]
        for attempt in ("cccccccc", "dddddddd"):
            late = [small_archive.message(attempt, 22, "late")]
            head = small_archive.add(archive, head, {"messages": late}, attempt=attempt)
            athena_glue.register(glue, archive, head, database="flock", run=ran.append)
            folders.append(athena_ddl.folder_of(head))
        assert athena_glue.registered_sequence(glue, database="flock") == head.sequence
        # Queries that began on the head before still find its manifests.
        assert manifest_folders(archive) == set(folders[1:])

    @pytest.mark.slow
    def test_a_database_that_shows_an_earlier_commit_keeps_its_manifests(self, place: tuple[Archive, Any]) -> None:
        archive, glue = place
        heads = [archive.head()]
        for attempt in ("cccccccc", "dddddddd"):
            late = [small_archive.message(attempt, 22, "late")]
            heads.append(small_archive.add(archive, heads[-1], {"messages": late}, attempt=attempt))
        athena_glue.register(glue, archive, heads[0], database="kept", run=lambda _: None)
        for head in heads[1:]:
            athena_glue.register(glue, archive, head, database="moving", run=lambda _: None)
        assert manifest_folders(archive) == {athena_ddl.folder_of(head) for head in heads}
        assert [registered(archive.store, name).sequence for name in ("kept", "moving")] == [
            heads[0].sequence,
            heads[-1].sequence,
        ]

    @pytest.mark.slow
    def test_what_was_registered_to_the_end_is_known_and_what_was_not_is_done_again(
        self, place: tuple[Archive, Any]
    ) -> None:
        archive, glue = place
        head = archive.head()

        def is_there() -> bool:
            return athena_glue.is_registered(glue, archive, head, database="known")

        def fails(_: str) -> None:
            raise StoreUnreachableError("Athena does not answer")

        assert not is_there()
        with pytest.raises(StoreUnreachableError):
            athena_glue.register(glue, archive, head, database="known", run=fails)
        assert athena_glue.registered_sequence(glue, database="known") == head.sequence
        assert not is_there()
        athena_glue.register(glue, archive, head, database="known", run=lambda _: None)
        assert is_there()
        glue.delete_table(DatabaseName="known", Name="messages")
        assert not is_there()

    def test_an_archive_in_a_folder_is_refused(self, tmp_path: Path) -> None:
        archive = small_archive.found(LocalStore(tmp_path / "archive"))
        with pytest.raises(UsageError, match="buckets of Amazon S3"):
            athena_glue.write_manifests(archive, archive.head())

    def test_nothing_registered_is_told_as_none(self, place: tuple[Archive, Any]) -> None:
        assert athena_glue.registered_sequence(place[1], database="elsewhere") is None
