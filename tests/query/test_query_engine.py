"""A query sees one head of the archive through a view per table, and can do nothing but read it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive
from archiver.archive.schema import TABLES
from archiver.errors import DamageFoundError, StoreRefusedError, StoreUnreachableError, UsageError
from archiver.normalise.flockml import to_plain_text
from archiver.query import views
from archiver.query.derived import DERIVED
from archiver.query.engine import Engine, open_engine
from archiver.query.macros import MACROS
from archiver.query.scanner import S3Login, extension
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.servers.plugin import s3_client


@pytest.fixture
def root(tmp_path: Path) -> Path:
    small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    return tmp_path / "archive"


@pytest.fixture
def engine(root: Path) -> Iterator[Engine]:
    archive = Archive.open(LocalStore(root))
    with open_engine(archive, archive.head()) as opened:
        yield opened


def rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    return list(engine.ask(sql).rows)


class TestViews:
    def test_there_is_one_for_every_table_and_for_what_people_ask_most(self, engine: Engine) -> None:
        assert {name for (name,) in rows(engine, "SHOW TABLES")} == set(views.VIEWS)
        assert set(views.VIEWS) == {*TABLES, *(view.name for view in DERIVED)}
        assert {"current_messages", "notifications", "open_gaps"} < set(views.VIEWS)
        macros = rows(engine, "SELECT function_name FROM duckdb_functions() WHERE NOT internal")
        assert {name for (name,) in macros} == {macro.name for macro in MACROS}

    def test_each_that_is_derived_can_be_asked_of_an_archive_with_rows_and_of_one_without(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        archive = small_archive.found(LocalStore(tmp_path / "empty"))
        sources = [*(view.name for view in DERIVED), *(f"{macro.name}({macro.example})" for macro in MACROS)]
        with open_engine(archive, archive.head()) as empty:
            for source in sources:
                assert empty.ask(f"FROM {source}").columns == engine.ask(f"FROM {source}").columns
                assert rows(empty, f"FROM {source}") == []
        assert len(rows(engine, "FROM messages_as_of('2026-11-23')")) == small_archive.MESSAGES

    def test_a_macro_reads_nothing_that_a_query_may_not(self, engine: Engine) -> None:
        with pytest.raises(UsageError, match="nothing else"):
            rows(engine, "FROM users_as_of((SELECT content FROM read_text('/etc/hostname')))")

    def test_each_has_the_columns_of_its_table_and_the_day(self, engine: Engine) -> None:
        for name, table in TABLES.items():
            columns = [column.name for column in engine.ask(f"FROM {name} LIMIT 0").columns]
            assert columns == [*table.schema.names, "dt"], name

    def test_a_table_without_rows_has_the_types_that_it_has_with_rows(self, engine: Engine, tmp_path: Path) -> None:
        archive = small_archive.found(LocalStore(tmp_path / "empty"))
        with open_engine(archive, archive.head()) as empty:
            for name in ("messages", "files", "channels"):
                assert empty.ask(f"FROM {name}").columns == engine.ask(f"FROM {name} LIMIT 0").columns
                assert rows(empty, f"FROM {name}") == []

    def test_messages_holds_every_version_and_current_messages_the_newest(self, engine: Engine) -> None:
        versions = "SELECT version, text FROM {} WHERE message_uid = 'm-1' ORDER BY version"
        assert rows(engine, versions.format("messages")) == [(1, "good morning"), (2, "good evening")]
        assert rows(engine, versions.format("current_messages")) == [(2, "good evening")]
        assert rows(engine, "SELECT count(*) FROM messages") == [(small_archive.MESSAGE_ROWS,)]
        assert rows(engine, "SELECT count(*) FROM current_messages") == [(small_archive.MESSAGES,)]

    def test_notifications_is_what_apps_and_bots_posted(self, engine: Engine) -> None:
        assert rows(engine, "SELECT message_uid FROM notifications ORDER BY 1") == [("m-4",), ("m-6",)]

    def test_unread_flockml_is_whose_text_is_the_markup(self, root: Path) -> None:
        archive = Archive.open(LocalStore(root))
        written = {"m-7": "<flockml>read</flockml>", "m-8": "<flockml>a & b</flockml>", "m-9": None}
        messages = [
            small_archive.message(uid, 22, "", flockml=flockml, plain_text=to_plain_text(flockml or ""))
            for uid, flockml in written.items()
        ]
        head = small_archive.add(archive, archive.head(), {"messages": messages}, attempt="cccccccc")
        with open_engine(archive, head) as engine:
            assert rows(engine, "SELECT message_uid, plain_text FROM unread_flockml") == [("m-8", written["m-8"])]

    def test_open_gaps_is_what_is_open_by_the_newest_row_of_each_gap(self, root: Path) -> None:
        archive = Archive.open(LocalStore(root))

        def gap(gap_id: str, day: int, state: str) -> dict[str, Any]:
            return {
                "gap_id": gap_id, "valid_from": small_archive.at_ms(day), "state": state, "kind": "channel-silent",
                "chat_id": "g:general", "count": 1, "evidence": "", "state_digest": state,
            }  # fmt: skip

        changes = [gap("a", 20, "open"), gap("a", 21, "closed"), gap("b", 20, "closed"), gap("b", 21, "open")]
        head = small_archive.add(archive, archive.head(), {"gaps": changes}, attempt="cccccccc")
        with open_engine(archive, head) as engine:
            assert rows(engine, "SELECT gap_id, state FROM open_gaps") == [("b", "open")]
            assert rows(engine, "SELECT count(*) FROM gaps") == [(4,)]

    def test_the_day_is_a_date_and_instants_are_utc(self, engine: Engine) -> None:
        assert rows(engine, "SELECT dt, sent_at FROM messages WHERE message_uid = 'm-5'") == [
            (date(2026, 11, 22), datetime(2026, 11, 22, 12, tzinfo=UTC))
        ]
        assert rows(engine, "SELECT current_setting('TimeZone')") == [("UTC",)]

    def test_text_comes_back_exactly(self, engine: Engine) -> None:
        assert rows(engine, "SELECT text FROM messages WHERE message_uid = 'm-2'") == [
            ("naïve 日本 \U0001f600 'quoted'",)
        ]

    def test_a_head_is_seen_as_it_was_whatever_is_committed_later(self, root: Path) -> None:
        archive = Archive.open(LocalStore(root))
        head = archive.head()
        small_archive.add(archive, head, {"messages": [small_archive.message("m-7", 22, "late")]}, attempt="cccccccc")
        with open_engine(archive, head) as old, open_engine(archive, archive.head()) as new:
            count = "SELECT count(*) FROM messages"
            assert rows(new, count)[0][0] == rows(old, count)[0][0] + 1

    def test_an_object_that_no_entry_names_is_not_seen(self, root: Path) -> None:
        present = next((root / "messages").rglob("*.parquet"))
        planted = layout.data_key("messages", small_archive.at_day(20), sequence=9, attempt="cccccccc", number=1)
        (root / planted).write_bytes(present.read_bytes())
        archive = Archive.open(LocalStore(root))
        with open_engine(archive, archive.head()) as engine:
            assert rows(engine, "SELECT count(*) FROM messages") == [(small_archive.MESSAGE_ROWS,)]

    @pytest.mark.parametrize("name", ["year=2024", "it's [1]", "a*b?", "mit Umlaut ä", "dt=2001-01-01"])
    def test_the_folder_may_be_called_anything(self, tmp_path: Path, name: str) -> None:
        archive, head = small_archive.build(LocalStore(tmp_path / name), tmp_path)
        # A neighbour that the name would match as a pattern.
        (tmp_path / "it's 1").mkdir()
        with open_engine(archive, head) as engine:
            answer = engine.ask("FROM messages")
            assert [column.name for column in answer.columns] == [*TABLES["messages"].schema.names, "dt"]
            assert len(list(answer.rows)) == small_archive.MESSAGE_ROWS
            assert rows(engine, "SELECT min(dt) FROM messages") == [(date(2026, 11, 20),)]

    def test_many_rows_come_as_they_are_fetched(self, engine: Engine) -> None:
        answer = engine.ask("SELECT i FROM range(2500) t(i)")
        assert [row[0] for row in answer.rows] == list(range(2500))


class TestReadOnly:
    @pytest.mark.parametrize(
        "sql",
        [
            "COPY messages TO '{tmp}/out.csv'",
            "COPY (SELECT 1 AS a) TO '{object}' (FORMAT parquet, USE_TMP_FILE false)",
            "EXPORT DATABASE '{tmp}/all'",
            "ATTACH '{tmp}/other.db'",
            "CREATE TABLE mine AS FROM messages",
            "INSERT INTO messages SELECT * FROM messages",
            "DELETE FROM messages",
            "UPDATE messages SET text = ''",
            "DROP VIEW messages",
            "INSTALL spatial",
            "LOAD httpfs",
            "SET enable_external_access = true",
            "RESET lock_configuration",
            "PRAGMA enable_profiling",
            "CALL pragma_version()",
            "EXPLAIN ANALYZE COPY messages TO '{tmp}/out.csv'",
            "EXPLAIN ANALYZE /* SELECT */ COPY messages TO '{tmp}/out.csv'",
            "EXPLAIN (ANALYZE, FORMAT json) COPY messages TO '{tmp}/out.csv'",
            "SELECT 1; DROP VIEW messages",
            "SELECT 1; SELECT 2",
            "",
            "-- nothing",
        ],
    )
    def test_anything_but_one_reading_statement_is_refused(
        self, engine: Engine, root: Path, tmp_path: Path, sql: str
    ) -> None:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        written = sql.format(tmp=tmp_path, object=next((root / "messages").rglob("*.parquet")))
        with pytest.raises(UsageError, match="one statement that only reads"):
            engine.ask(written)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize(
        "sql",
        [
            "FROM read_text('/etc/hostname')",
            "FROM read_csv('{tmp}/minutes.txt')",
            "FROM '{tmp}/minutes.txt'",
            "FROM read_blob('{root}/archive.json')",
            "FROM glob('{root}/**')",
            "FROM read_parquet('http://127.0.0.1:9/x.parquet')",
            "FROM read_parquet('s3://bucket/x.parquet')",
            "FROM sniff_csv('{tmp}/minutes.txt')",
            "SELECT * FROM parquet_metadata('{tmp}/other.parquet')",
            "FROM query('FROM read_text(''/etc/hostname'')')",
        ],
    )
    def test_other_files_and_addresses_cannot_be_read(
        self, engine: Engine, root: Path, tmp_path: Path, sql: str
    ) -> None:
        with pytest.raises(UsageError):
            rows(engine, sql.format(tmp=tmp_path, root=root))

    def test_python_s_own_variables_are_out_of_reach(self, engine: Engine) -> None:
        treasure = duckdb.from_query("SELECT 1 AS gold")
        assert treasure.fetchall() == [(1,)]
        with pytest.raises(UsageError, match="treasure"):
            engine.ask("FROM treasure")

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT 1",
            "  -- first\n WITH one AS (SELECT 1) FROM one",
            "VALUES (1), (2)",
            "DESCRIBE messages",
            "SHOW TABLES",
            "SUMMARIZE channels",
            "EXPLAIN SELECT 1",
            "explain analyze FROM messages",
            "PIVOT messages ON dt IN ('2026-11-20') USING count(*)",
            "SELECT 1;",
        ],
    )
    def test_every_way_to_read_is_welcome(self, engine: Engine, sql: str) -> None:
        assert rows(engine, sql)

    def test_what_a_large_query_spills_is_gone_afterwards(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spill = tmp_path / "spill"
        spill.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(spill))
        archive = Archive.open(LocalStore(root))
        with open_engine(archive, archive.head()) as engine:
            assert len(list(spill.iterdir())) == 1
            rows(engine, "FROM messages")
        assert list(spill.iterdir()) == []


class TestMistakes:
    @pytest.mark.parametrize(
        ("sql", "words"),
        [
            ("SELEC 1", "syntax error"),
            ("SELECT txt FROM messages", "text"),
            ("SELECT * FROM mesages", "messages"),
            ("SELECT 'a'::INTEGER", "Could not convert"),
            ("SELECT 'a.parquet'::INTEGER", "Could not convert"),
        ],
    )
    def test_wrong_sql_is_told_in_duckdb_s_words(self, engine: Engine, sql: str, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            rows(engine, sql)

    def test_an_error_while_rows_are_fetched_is_told_too(self, engine: Engine) -> None:
        late = "SELECT CASE WHEN i < 2_000_000 THEN 0 ELSE ('x' || i)::INTEGER END FROM range(3_000_000) t(i)"
        answer = engine.ask(late)
        with pytest.raises(UsageError, match=r"Could not convert|DuckDB lost the reason"):
            list(answer.rows)

    def test_an_archive_in_memory_cannot_be_queried(self) -> None:
        archive = small_archive.found(MemoryStore())
        with pytest.raises(UsageError, match="cannot be queried"):
            open_engine(archive, archive.head())


class TestInterruption:
    def test_ends_a_query_that_would_take_for_ever(self, engine: Engine) -> None:
        long = "SELECT count(*) FROM range(1_000_000_000) a, range(1_000_000) b WHERE a.range + b.range = 7"
        # A shell lets what it starts in the background ignore the signal, and the tests may be that.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                # Wherever in this block the signal arrives, the query must end; the pause lets it get under way.
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                rows(engine, long)
        finally:
            signal.signal(signal.SIGINT, before)
        assert rows(engine, "SELECT 1") == [(1,)]


class TestDamage:
    def damaged(self, root: Path, change: bytes | None) -> list[tuple[Any, ...]]:
        archive = Archive.open(LocalStore(root))
        victim = next((root / "messages" / "dt=2026-11-21").rglob("*.parquet"))
        victim.unlink()
        if change is not None:
            victim.write_bytes(change)
        with open_engine(archive, archive.head()) as engine:
            return rows(engine, "FROM messages")

    @pytest.mark.parametrize(
        "change", [None, b"", b"PAR1", b"no Parquet at all, but long enough to look", b"PAR1" + bytes(99) + b"PAR1"]
    )
    def test_of_an_object_is_told_as_damage_with_its_name(self, root: Path, change: bytes | None) -> None:
        with pytest.raises(DamageFoundError, match="dt=2026-11-21"):
            self.damaged(root, change)


@pytest.fixture(scope="module")
def in_bucket(seaweedfs: S3Access, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    store = S3Store(seaweedfs.bucket, "query/either", client=s3_client(seaweedfs))
    return small_archive.build(store, tmp_path_factory.mktemp("either"))[0]


@pytest.mark.parametrize("by_arrow", [False, True], ids=["httpfs", "pyarrow"])
class TestBucketByEither:
    """DuckDB's own reader and, where its wheel is absent, pyarrow's: the same answers and the same sentences."""

    def test_is_queried_like_a_folder(
        self, in_bucket: Archive, seaweedfs: S3Access, root: Path, by_arrow: bool
    ) -> None:
        local = Archive.open(LocalStore(root))
        login = TestBucket.login(seaweedfs)
        with (
            open_engine(local, local.head()) as folder,
            open_engine(in_bucket, in_bucket.head(), login=login, by_arrow=by_arrow) as bucket,
        ):
            for sql in (
                "FROM messages ORDER BY message_uid, version",
                "FROM current_messages WHERE dt = '2026-11-20' ORDER BY message_uid",
                "SELECT message_uid, file.name FROM messages JOIN files AS file USING (message_uid)",
                "FROM as_of('2026-11-22') ORDER BY message_uid",
                "SELECT count(*) FROM observations",
                "SHOW TABLES",
            ):
                assert rows(bucket, sql) == rows(folder, sql)
                assert bucket.ask(sql).columns == folder.ask(sql).columns

    def test_is_read_and_nothing_beside_it(self, in_bucket: Archive, seaweedfs: S3Access, by_arrow: bool) -> None:
        login = TestBucket.login(seaweedfs)
        with open_engine(in_bucket, in_bucket.head(), login=login, by_arrow=by_arrow) as engine:
            for sql in ("FROM read_text('/etc/hostname')", f"FROM read_text('{in_bucket.store.url}/archive.json')"):
                with pytest.raises(UsageError):
                    rows(engine, sql)

    def test_an_object_that_is_missing_is_told_by_name(
        self, seaweedfs: S3Access, tmp_path: Path, by_arrow: bool
    ) -> None:
        store = S3Store(seaweedfs.bucket, f"query/missing-{by_arrow}", client=s3_client(seaweedfs))
        archive, head = small_archive.build(store, tmp_path)
        victim = next(key for key in head.files if key.startswith("messages/dt=2026-11-21"))
        store.delete(victim)
        with open_engine(archive, head, login=TestBucket.login(seaweedfs), by_arrow=by_arrow) as engine:
            with pytest.raises(DamageFoundError, match=f"{victim} is missing"):
                rows(engine, "FROM messages")
            assert rows(engine, "SELECT count(*) FROM messages WHERE dt = '2026-11-20'") == [(3,)]

    def test_an_object_in_a_cold_class_is_told_by_name_and_class(
        self, moto_server: S3Access, tmp_path: Path, by_arrow: bool
    ) -> None:
        client = s3_client(moto_server)
        store = S3Store(moto_server.bucket, f"query/cold-{by_arrow}", client=client)
        archive, head = small_archive.build(store, tmp_path)
        cold = next(key for key in head.files if key.startswith("messages/dt=2026-11-21"))
        client.put_object(
            Bucket=moto_server.bucket,
            Key=f"query/cold-{by_arrow}/{cold}",
            Body=store.read(cold),
            StorageClass="GLACIER",
        )
        with open_engine(archive, head, login=TestBucket.login(moto_server), by_arrow=by_arrow) as engine:
            with pytest.raises(StoreRefusedError, match=f"{cold} lies in the storage class GLACIER") as caught:
                rows(engine, "SELECT text FROM messages")
            assert "archiver restore" in caught.value.next_step
            assert rows(engine, "SELECT count(*) FROM messages WHERE dt = '2026-11-20'") == [(3,)]

    def test_wrong_credentials_and_no_answer_are_told_apart(
        self, in_bucket: Archive, seaweedfs: S3Access, by_arrow: bool
    ) -> None:
        wrong = TestBucket.login(seaweedfs, secret_access_key="it's wrong")
        with (
            open_engine(in_bucket, in_bucket.head(), login=wrong, by_arrow=by_arrow) as engine,
            pytest.raises(StoreRefusedError) as caught,
        ):
            rows(engine, "FROM messages")
        assert "it's wrong" not in str(caught.value)
        nowhere = TestBucket.login(seaweedfs, endpoint_url="http://127.0.0.1:9")
        with (
            open_engine(in_bucket, in_bucket.head(), login=nowhere, by_arrow=by_arrow) as engine,
            pytest.raises(StoreUnreachableError),
        ):
            rows(engine, "FROM messages")


def test_duckdb_s_own_reader_comes_out_of_its_wheel() -> None:
    found = extension()
    assert found is not None
    assert found.name == "httpfs.duckdb_extension"


class TestBucket:
    @pytest.fixture
    def archive(self, seaweedfs: S3Access, tmp_path: Path, request: pytest.FixtureRequest) -> Archive:
        store = S3Store(seaweedfs.bucket, f"query/{request.node.name}", client=s3_client(seaweedfs))
        return small_archive.build(store, tmp_path)[0]

    @staticmethod
    def login(access: S3Access, **changes: str) -> S3Login:
        facts = {
            "endpoint_url": access.endpoint_url,
            "region": access.region,
            "access_key_id": access.access_key_id,
            "secret_access_key": access.secret_access_key,
        }
        return S3Login(**(facts | changes))

    def test_is_queried_like_a_folder(self, archive: Archive, seaweedfs: S3Access) -> None:
        with open_engine(archive, archive.head(), login=self.login(seaweedfs)) as engine:
            assert rows(engine, "SELECT count(*), min(dt) FROM messages") == [
                (small_archive.MESSAGE_ROWS, date(2026, 11, 20))
            ]

    def test_is_read_and_nothing_beside_it(self, archive: Archive, seaweedfs: S3Access) -> None:
        url = archive.store.url
        with open_engine(archive, archive.head(), login=self.login(seaweedfs)) as engine:
            for sql in (
                f"FROM read_text('{url}/archive.json')",
                f"COPY messages TO '{url}/x.csv'",
                f"FROM glob('{url}/**')",
            ):
                with pytest.raises(UsageError):
                    rows(engine, sql)

    def test_shows_no_credential(self, archive: Archive, seaweedfs: S3Access) -> None:
        login = self.login(seaweedfs)
        assert seaweedfs.secret_access_key not in repr(login)
        with open_engine(archive, archive.head(), login=login) as engine:
            assert seaweedfs.secret_access_key not in str(rows(engine, "FROM duckdb_secrets()"))


def test_the_archive_reads_with_nothing_but_duckdb_and_a_glob(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archive format 1 explains itself: no tool of ours is needed to read it."""
    monkeypatch.chdir(root.parent)
    answer = duckdb.sql(
        "SELECT dt, count(*) FROM read_parquet('archive/messages/**/*.parquet', hive_partitioning = true) GROUP BY dt ORDER BY dt"
    ).fetchall()
    assert answer == [(date(2026, 11, 20), 3), (date(2026, 11, 21), 2), (date(2026, 11, 22), 2)]


class TestViewsAreMadeWhenNamed:
    def test_of_what_a_query_names_and_nothing_else(self) -> None:
        named = views.named_in('SELECT "Text" FROM Current_Messages')
        assert "current_messages" in named
        made = views.with_needed(named)
        assert made[-1] == "current_messages"
        assert {"messages", "provisional_uids", "identified_messages"} < set(made)
        assert not {"users", "gaps", "message_audience", "as_of"} & set(made)

    def test_a_name_that_is_put_together_is_found_all_the_same(self, engine: Engine) -> None:
        assert rows(engine, "SELECT count(*) FROM query('FROM mess' || 'ages')") == [(small_archive.MESSAGE_ROWS,)]
        assert rows(engine, "FROM query_table('chan' || 'nels')")

    def test_a_wrong_name_is_told_with_the_nearest_of_all(self, engine: Engine) -> None:
        with pytest.raises(UsageError, match="conversation_day"):
            engine.ask("FROM conversation_dya")
        with pytest.raises(UsageError, match=r"LINE 1: SELEC 1\n\s+\^"):
            engine.ask("SELEC 1")

    def test_provisional_messages_are_looked_for_only_where_the_ledger_says_that_there_may_be_some(
        self, root: Path
    ) -> None:
        archive = Archive.open(LocalStore(root))
        assert "read_parquet" not in views.provisional_sql(archive.head(), root=f"{root}/")
        late = small_archive.message("provisional:ab", 22, "no uid yet")
        head = small_archive.add(archive, archive.head(), {"messages": [late]}, attempt="cccccccc")
        assert views.provisional_sql(head, root=f"{root}/").count(".parquet") == 1
        with open_engine(archive, head) as engine:
            assert rows(engine, "SELECT message_uid FROM provisional_messages") == [("provisional:ab",)]
            assert rows(engine, "SELECT outcome FROM provisional_uids") == [("apart",)]


class TestSkipping:
    """What a query need not read it does not: the pages that it should pass over are spoilt, and it answers all the same."""

    @staticmethod
    def spoil(path: Path, column: str) -> None:
        """Overwrite the pages of a column; the footer, its statistics and the bloom filters stay."""
        footer = pq.read_metadata(path)
        data = bytearray(path.read_bytes())
        for number in range(footer.num_row_groups):
            chunk = next(
                footer.row_group(number).column(place)
                for place in range(footer.num_columns)
                if footer.row_group(number).column(place).path_in_schema == column
            )
            start = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)))
            data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
        path.write_bytes(data)

    @pytest.fixture
    def two_commits(self, root: Path) -> Archive:
        """A day with two more objects, whose uids lie between each other, each of a channel of its own."""
        archive = Archive.open(LocalStore(root))
        head = archive.head()
        for attempt, chat_id, first in (("cccccccc", "g:a", 0), ("dddddddd", "g:b", 1)):
            messages = [
                small_archive.message(f"x-{number:03}", 20, "hello", chat_id=chat_id) for number in range(first, 100, 2)
            ]
            head = small_archive.add(archive, head, {"messages": messages}, attempt=attempt)
        return archive

    def asked(self, archive: Archive, sql: str) -> list[tuple[Any, ...]]:
        with open_engine(archive, archive.head()) as engine:
            return rows(engine, sql)

    @pytest.mark.parametrize("view", ["messages", "identified_messages", "current_messages"])
    def test_a_uid_is_looked_up_by_bloom_filters(self, two_commits: Archive, root: Path, view: str) -> None:
        """The range of both objects holds the uid, and only the filter tells that one does not have it."""
        (other,) = (root / "messages" / "dt=2026-11-20").glob("*dddddddd*")
        self.spoil(other, "message_uid")
        found = self.asked(two_commits, f"SELECT chat_id, text FROM {view} WHERE message_uid = 'x-050'")
        assert found == [("g:a", "hello")]
        with pytest.raises(DamageFoundError):
            self.asked(two_commits, f"SELECT chat_id FROM {view} WHERE message_uid LIKE '%050'")

    @pytest.mark.parametrize("view", ["messages", "current_messages"])
    def test_channels_are_passed_over_by_their_statistics(self, two_commits: Archive, root: Path, view: str) -> None:
        (other,) = (root / "messages" / "dt=2026-11-20").glob("*dddddddd*")
        self.spoil(other, "text")
        assert self.asked(two_commits, f"SELECT count(text) FROM {view} WHERE chat_id = 'g:a'") == [(50,)]
        with pytest.raises(DamageFoundError):
            self.asked(two_commits, f"SELECT max(text) FROM {view}")

    @pytest.mark.parametrize(
        ("view", "day", "count"),
        [("messages", "dt", 103), ("identified_messages", "dt", 103), ("conversation_day", "day_on", 3)],
    )
    def test_other_days_are_not_even_opened(
        self, two_commits: Archive, root: Path, view: str, day: str, count: int
    ) -> None:
        for path in (root / "messages").glob("dt=2026-11-2[12]/*.parquet"):
            path.write_bytes(b"nothing of Parquet")
        assert self.asked(two_commits, f"SELECT count(*) FROM {view} WHERE {day} = '2026-11-20'") == [(count,)]
        with pytest.raises(DamageFoundError):
            self.asked(two_commits, f"SELECT count(*) FROM {view}")
