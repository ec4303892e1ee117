"""A question is given those objects alone that can change its answer, and gets the same answer as over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import duckdb
import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.query import views
from archiver.query.engine import Engine, open_engine
from archiver.query.narrowing import narrowed
from archiver.store.local import LocalStore
from tests import small_archive


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Head]:
    folder = tmp_path_factory.mktemp("narrowing")
    return small_archive.build(LocalStore(folder / "archive"), folder)


@pytest.fixture(scope="module")
def over_all(small: tuple[Archive, Head]) -> Iterator[duckdb.DuckDBPyConnection]:
    """All views over every object, made without the engine."""
    archive, head = small
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for statement in views.statements(head, root=archive.store.url.rstrip("/") + "/"):
            connection.execute(statement)
        yield connection


def given(sql: str, head: Head) -> set[str]:
    """The tables of a head and the days of each that a question is given, such as ``messages 22``."""
    found = narrowed(duckdb.default_connection(), sql, head)
    parts = map(layout.partition_of, found.files)
    return {f"{table} {day.day}" for table, day in parts}


# What stands beside a question is what it must be given of messages; None where that is everything.
QUESTIONS = [
    ("SELECT text FROM messages WHERE dt = '2026-11-21'", {"21"}),
    ("SELECT text FROM Messages AS M WHERE m.DT = DATE '2026-11-21'", {"21"}),
    ("SELECT text FROM messages WHERE '2026-11-21' < dt AND text IS NOT NULL", {"22"}),
    ("SELECT count(*) FROM messages WHERE dt BETWEEN '2026-11-20' AND '2026-11-21'", {"20", "21"}),
    ("SELECT count(*) FROM messages WHERE dt IN ('2026-11-20', '2026-11-22')", {"20", "22"}),
    ("SELECT count(*) FROM messages WHERE dt = '1999-01-01'", set()),
    (
        "SELECT text FROM messages WHERE dt = '2026-11-20' UNION ALL SELECT text FROM messages WHERE dt = '2026-11-22'",
        {"20", "22"},
    ),
    ("WITH d AS (SELECT * FROM messages WHERE dt = '2026-11-22') SELECT text FROM d", {"22"}),
    ("SELECT (SELECT count(*) FROM messages WHERE dt = '2026-11-20')", {"20"}),
    ("SELECT count(*) FROM channels", set()),
    ("SELECT text FROM messages WHERE sent_at >= '2026-11-21'", {"21", "22"}),
    ("SELECT text FROM messages WHERE sent_at < '2026-11-21T12:00:00Z'", {"20"}),
    ("SELECT text FROM messages WHERE sent_at <= '2026-11-21 21:00:00+09'", {"20", "21"}),
    ("SELECT text FROM messages AS m WHERE m.sent_at > TIMESTAMP '2026-11-21 12:00:00.000001'", {"22"}),
    (
        "SELECT text FROM messages WHERE sent_at BETWEEN DATE '2026-11-21' AND TIMESTAMPTZ '2026-11-22 11:00:00+00'",
        {"21"},
    ),
    ("SELECT text FROM current_messages WHERE sent_at < '2026-11-21' AND chat_id = 'g:general'", {"20"}),
    ("SELECT text FROM current_messages AS c WHERE c.dt = '2026-11-22'", {"22"}),
    (
        "SELECT text FROM current_messages WHERE dt = '2026-11-20' UNION ALL SELECT text FROM messages WHERE dt = '2026-11-22'",
        {"20", "22"},
    ),
    ("SELECT plain_text FROM as_of('2026-11-23') AS a WHERE a.dt = '2026-11-21'", {"21"}),
    ("SELECT messages FROM conversation_day WHERE day_on IN ('2026-11-20', '2026-11-21')", {"20", "21"}),
    ("SELECT user_id FROM message_audience WHERE message_uid = 'm-1'", {"20"}),
    # What is not one day, or not plainly one.
    ("SELECT text FROM messages", None),
    ("SELECT text FROM messages WHERE dt = '2026-11-20' OR text = 'good evening'", None),
    ("SELECT text FROM messages WHERE NOT dt = '2026-11-20'", None),
    ("SELECT text FROM messages WHERE dt <> '2026-11-20'", None),
    ("SELECT text FROM messages WHERE dt = '2026-11-20 00:00:00'::TIMESTAMP", None),
    ("SELECT text FROM messages WHERE dt = (SELECT min(dt) FROM messages)", None),
    ("SELECT count(*), count(*) FILTER (WHERE dt = '2026-11-20') FROM messages", None),
    # A column of that name may be another table's.
    ("SELECT m.text FROM messages AS m LEFT JOIN files AS f USING (message_uid) WHERE f.dt = '2026-11-21'", None),
    ("SELECT count(*) FROM channels AS c WHERE EXISTS (SELECT 1 FROM messages AS m WHERE c.dt = '2026-11-20')", None),
    ("SELECT x FROM messages AS m(x) WHERE x <> ''", None),
    ("WITH messages AS (SELECT DATE '2026-11-20' AS dt) SELECT * FROM messages WHERE dt = '2026-11-20'", None),
    # An instant that Python reads otherwise than DuckDB, or not at all.
    ("SELECT text FROM messages WHERE sent_at < '2026-11-20 24:00:00'", None),
    ("SELECT text FROM messages WHERE sent_at < TIMESTAMP '2026-11-21 00:00:00+14'", None),
    ("SELECT text FROM messages WHERE sent_at < DATE '2026-11-21 11:00:00'", None),
    ("SELECT text FROM messages WHERE sent_at < '2026-11-21 00:00:00 Asia/Tokyo'", None),
    ("SELECT text FROM messages WHERE sent_at > now() - INTERVAL 1 DAY", None),
    ("SELECT text FROM messages WHERE CAST(sent_at AS DATE) = '2026-11-20'", None),
    # What is shown of a message may have been said on any day.
    ("SELECT quote FROM inferred_replies WHERE sent_at < '2026-11-21'", None),
    ("SELECT messages FROM conversation_day_in('Asia/Tokyo') WHERE day_on = '2026-11-21'", None),
    ("SELECT c.text FROM current_messages AS c JOIN files AS f USING (message_uid) WHERE c.dt = '2026-11-21'", None),
    ("SELECT text FROM messages WHERE dt = '2026-11-20' UNION ALL SELECT text FROM notifications", None),
    ("SELECT user_id FROM audience_as_of('2026-11-23')", None),
    ("DESCRIBE messages", None),
    ("EXPLAIN SELECT text FROM messages WHERE dt = '2026-11-20'", None),
    ("PIVOT messages ON dt IN ('2026-11-20') USING count(*)", None),
    ("SELECT table_name FROM information_schema.tables", None),
]


@pytest.mark.parametrize(("sql", "days"), QUESTIONS)
def test_a_question_is_given_what_it_can_concern_and_no_less(
    small: tuple[Archive, Head], sql: str, days: set[str] | None
) -> None:
    found = {name.split()[1] for name in given(sql, small[1]) if name.startswith("messages ")}
    assert found == ({"20", "21", "22"} if days is None else days)


def test_the_answer_is_that_of_all_objects(small: tuple[Archive, Head], over_all: duckdb.DuckDBPyConnection) -> None:
    with open_engine(*small) as whole:
        list(whole.ask("FROM messages, files, observations, channels, users, groups, conversations").rows)
        for sql, days in QUESTIONS:
            if sql.startswith("EXPLAIN") or "information_schema" in sql:
                continue
            # One that was asked about everything has everything, so what is given less needs one of its own.
            with nullcontext(whole) if days is None else open_engine(*small) as engine:
                assert sorted(map(str, engine.ask(sql).rows)) == sorted(map(str, over_all.execute(sql).fetchall())), sql


def test_a_uid_leaves_out_what_holds_only_smaller_or_greater_ones(small: tuple[Archive, Head]) -> None:
    head = small[1]
    for uid in ("m-1", "m-5", "z", ""):
        wanted = {
            key
            for key, record in head.files.items()
            if record.table == "messages"
            and str(record.ranges["message_uid"][0]) <= uid <= str(record.ranges["message_uid"][1])
        }
        found = narrowed(duckdb.default_connection(), f"SELECT * FROM messages WHERE message_uid = '{uid}'", head)
        assert set(found.files) == wanted


def test_tables_that_are_not_named_are_left_out(small: tuple[Archive, Head]) -> None:
    assert {name.split()[0] for name in given("SELECT count(*) FROM messages", small[1])} == {"messages"}
    assert {name.split()[0] for name in given("FROM current_messages", small[1])} == {"messages"}
    assert given("SELECT 1", small[1]) == set()


class TestOneEngine:
    @pytest.fixture
    def engine(self, small: tuple[Archive, Head]) -> Iterator[Engine]:
        with open_engine(*small) as opened:
            yield opened

    def test_asked_for_more_than_before_has_it(self, engine: Engine) -> None:
        def count(sql: str) -> int:
            return int(next(engine.ask(f"SELECT count(*) FROM {sql}").rows)[0])

        of_a_day = count("messages WHERE dt = '2026-11-21'")
        assert 0 < of_a_day < small_archive.MESSAGE_ROWS
        assert count("messages") == small_archive.MESSAGE_ROWS
        assert count("messages WHERE dt = '2026-11-21'") == of_a_day
        assert count("files") > 0

    def test_an_object_that_a_question_names_by_its_place_can_be_read_and_no_other(
        self, engine: Engine, small: tuple[Archive, Head], tmp_path: Path
    ) -> None:
        list(engine.ask("SELECT count(*) FROM messages WHERE dt = '2026-11-21'").rows)
        archive, head = small
        key = next(key for key, record in head.files.items() if record.table == "files")
        rows = list(engine.ask(f"SELECT count(*) FROM read_parquet('{archive.store.url}/{key}')").rows)
        assert rows == [(head.files[key].rows,)]
