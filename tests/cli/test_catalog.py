"""`archiver catalog` and `archiver query --engine athena`, as a person and as a program see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from archiver.archive.reader import Archive
from archiver.archive.schema import TABLES
from archiver.cli import main
from archiver.query.derived import DERIVED
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.servers.plugin import s3_client


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def at_amazon(moto_server: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Access:
    store = S3Store(moto_server.bucket, f"cli/{tmp_path.name}", client=s3_client(moto_server))
    small_archive.build(store, tmp_path)
    (tmp_path / "archiver.yaml").write_text(
        f"workspace: acme\narchive: {store.url}\n"
        f"s3: {{endpoint_url: '{moto_server.endpoint_url}', region: {moto_server.region}}}\n"
        f"athena: {{endpoint_url: '{moto_server.endpoint_url}', database: flock_cli, output: s3://results/}}\n"
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_server.secret_access_key)
    monkeypatch.chdir(tmp_path)
    return moto_server


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def run_stages(capsys: pytest.CaptureFixture[str], *, code: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run what brings the index and the catalogs to the newest commit, and return what became of each."""
    stages = document(capsys, "run", "--only", "index", "--only", "catalogs", code=code)["stages"]
    return stages[1], stages[2]


def standings(capsys: pytest.CaptureFixture[str]) -> dict[str, int | None]:
    return {found["name"]: found["sequence"] for found in document(capsys, "status")["catalogs"]}


def add_a_message(root: Path) -> None:
    archive = Archive.open(LocalStore(root))
    late = [small_archive.message("m-late", 22, "late")]
    small_archive.add(archive, archive.head(), {"messages": late}, attempt="cccccccc")


def test_any_duckdb_runs_the_script_and_has_what_we_have(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "duckdb"]) == 0
    script = capsys.readouterr().out
    with duckdb.connect() as connection:
        connection.execute(script)
        names = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        assert names == {*TABLES, *(view.name for view in DERIVED)}
        assert connection.execute("SELECT count(*) FROM current_messages").fetchone() == (small_archive.MESSAGES,)
        assert connection.execute("SELECT count(*) FROM as_of('2026-11-21')").fetchone() == (2,)


def test_the_script_for_a_bucket_holds_no_credential(at_amazon: S3Access, capsys: pytest.CaptureFixture[str]) -> None:
    statements = document(capsys, "catalog", "duckdb")["statements"]
    secret = next(text for text in statements if "SECRET" in text)
    assert "credential_chain" in secret
    assert at_amazon.secret_access_key not in "\n".join(statements)


def test_iceberg_tells_what_became_of_each_table_and_twice_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = document(capsys, "catalog", "iceberg")
    assert {one["table"]: one["added"] for one in first["tables"]}["messages"] == 4
    assert (folder / "state" / "iceberg.sqlite").exists()
    again = document(capsys, "catalog", "iceberg")
    assert {one["added"] for one in again["tables"]} == {0}
    assert [one["metadata"] for one in again["tables"]] == [one["metadata"] for one in first["tables"]]


def test_athena_refuses_an_archive_in_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "buckets" in document(capsys, "catalog", "athena", code=2)["error"]["what"]


def test_athena_is_asked_what_was_registered_and_the_cost_is_told_before_and_after(
    at_amazon: S3Access, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ddl = document(capsys, "catalog", "athena")["statements"]
    assert sum("EXTERNAL TABLE" in text for text in ddl) == len(TABLES)
    error = document(capsys, "query", "--engine", "athena", "SELECT 1", code=2)["error"]
    assert "--register" in error["next_step"]
    done = document(capsys, "catalog", "athena", "--register")
    assert (done["sequence"], done["tables"], done["views"]) == (2, len(TABLES), len(DERIVED))

    capsys.readouterr()
    assert main(["query", "--engine", "athena", "--json", "SELECT text FROM messages"]) == 0
    printed = capsys.readouterr()
    assert "reads at most" in printed.err
    assert "Athena read" in printed.err
    answered = json.loads(printed.out)
    assert answered["sequence"] == 2
    assert answered["athena"]["bytes_at_most"] > 0

    refused = document(capsys, "query", "--engine", "athena", "SELEC 1", code=2)
    assert "SQL is wrong" in refused["error"]["what"]
    limited = document(capsys, "query", "--engine", "athena", "--bytes-max", "10", "SELECT * FROM messages", code=5)
    assert "at most 10 are allowed" in limited["error"]["what"]

    # A run registers what is not registered yet, and here all is.
    monkeypatch.setenv("ARCHIVER_CATALOGS__ATHENA", "true")
    assert run_stages(capsys)[1]["counts"] == {"published": 1, "changes": 0}
    assert standings(capsys) == {"athena": 2}


class TestRuns:
    def test_nothing_is_published_and_no_index_made_unless_that_is_configured(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert [stage["counts"] for stage in run_stages(capsys)] == [{}, {}]
        assert document(capsys, "status")["index"] is None
        assert standings(capsys) == {}
        assert not (folder / "archive" / "catalog").exists()
        monkeypatch.setenv("ARCHIVER_SEARCH__REFRESH", "always")
        assert run_stages(capsys)[0]["counts"]["objects_indexed"] > 0

    def test_each_run_brings_every_configured_catalog_to_the_last_commit(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "archiver.yaml").write_text("workspace: acme\ncatalogs: {iceberg: true, duckdb: all.sql}\n")
        assert standings(capsys) == {"duckdb": None, "iceberg": None}
        assert run_stages(capsys)[1]["counts"]["published"] == 2
        assert run_stages(capsys)[1]["counts"] == {"published": 2, "changes": 0}
        assert standings(capsys) == {"duckdb": 2, "iceberg": 2}

        add_a_message(folder / "archive")
        assert main(["status"]) == 0
        assert "shows commit 2, 1 behind; the next `archiver run` brings it" in capsys.readouterr().out
        # The script, and one object of one table.
        assert run_stages(capsys)[1]["counts"] == {"published": 2, "changes": 2}
        assert standings(capsys) == {"duckdb": 3, "iceberg": 3}
        with duckdb.connect() as connection:
            connection.execute((folder / "all.sql").read_text())
            late = connection.execute("SELECT text FROM messages WHERE message_uid = 'm-late'").fetchall()
        assert late == [("late",)]

    def test_a_catalog_that_fails_decides_the_exit_code_and_keeps_no_other_from_being_published(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "archiver.yaml").write_text("workspace: acme\ncatalogs: {iceberg: true, duckdb: not/there.sql}\n")
        stage = run_stages(capsys, code=2)[1]
        assert "there.sql cannot be written" in stage["error"]["what"]
        assert stage["notes"][0].startswith("duckdb does not show commit 2: ")
        assert standings(capsys) == {"duckdb": None, "iceberg": 2}

    def test_a_catalog_s_database_that_cannot_be_opened_is_told_with_what_to_do(
        self, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / "archiver.yaml").write_text(
            "workspace: acme\ncatalogs: {iceberg: true}\niceberg: {uri: 'sqlite:////not/there/catalog.sqlite'}\n"
        )
        assert "iceberg:" in run_stages(capsys, code=7)[1]["error"]["next_step"]

    def test_the_index_of_searches_is_brought_to_the_last_commit_where_there_is_one(
        self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(["search", "good"]) == 0
        add_a_message(folder / "archive")
        stands = document(capsys, "status")["index"]
        assert (stands["sequence"], stands["objects_behind"], stands["rows_behind"]) == (2, 1, 1)
        assert main(["status"]) == 0
        assert "1 rows in 1 objects behind" in capsys.readouterr().out

        monkeypatch.setenv("ARCHIVER_SEARCH__REFRESH", "never")
        assert run_stages(capsys)[0]["counts"] == {}
        monkeypatch.delenv("ARCHIVER_SEARCH__REFRESH")
        assert run_stages(capsys)[0]["counts"] == {"objects_indexed": 1, "rows_indexed": 1}
        stands = document(capsys, "status")["index"]
        assert (stands["sequence"], stands["objects_behind"]) == (3, 0)
        assert run_stages(capsys)[0]["counts"] == {}


def test_an_empty_answer_is_told_plainly(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "SELECT text FROM messages WHERE text = 'no such thing'"]) == 0
    printed = capsys.readouterr()
    assert "No rows: commit 2 holds nothing that this asks for." in printed.err
    assert "text" in printed.out
