"""The commands `init`, `query`, `status` and `verify`, as a person and as a program see them."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from archiver.archive import layout
from archiver.cli import main
from archiver.cli.query import TABLE_ROWS_MAX
from archiver.settings import Secrets, load
from archiver.simulator.s3server import S3Access
from archiver.spool.sqlite import SqliteSpool
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.servers.plugin import s3_client


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that every command uses, and the small archive that it names."""
    small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)
    path = tmp_path / "archiver.yaml"
    path.write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(path))
    return path


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """The JSON document that a command prints."""
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


class TestInit:
    def test_writes_a_configuration_that_loads_and_secrets_that_nobody_else_reads(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "new"
        written = document(capsys, "init", str(folder), "--workspace", 'a: "b"', "--archive", "s3://acme/x")["written"]
        assert all(Path(path).is_file() for path in written)
        settings = load(folder / "archiver.yaml")
        assert (settings.workspace, settings.archive) == ('a: "b"', "s3://acme/x")
        warnings: list[str] = []
        secrets = Secrets(settings, on_warning=warnings.append)
        assert secrets.path_secret()
        assert secrets.token_key()
        assert (secrets.user_tokens(), secrets.webhook_tokens(), warnings) == ({}, {}, [])
        for path in (folder / "secrets").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_makes_other_secrets_each_time(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("one", "two"):
            document(capsys, "init", str(tmp_path / name))
        one, two = ((tmp_path / name / "secrets" / "path_secret").read_text() for name in ("one", "two"))
        assert one != two

    def test_says_what_it_leaves_to_the_defaults(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The written file spells every default out; it must not say something else than the settings."""
        document(capsys, "init", str(tmp_path / "new"))
        (tmp_path / "bare.yaml").write_text("workspace: my-workspace\n")
        spelt, bare = load(tmp_path / "new" / "archiver.yaml"), load(tmp_path / "bare.yaml")
        for part in ("s3", "run", "files"):
            assert getattr(spelt, part) == getattr(bare, part)
        for part in ("flock", "listen"):
            differing = {name for name, value in getattr(spelt, part) if value != getattr(getattr(bare, part), name)}
            assert all(name.endswith("_file") for name in differing)

    def test_writes_over_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "archiver.yaml").write_text("mine")
        assert document(capsys, "init", str(tmp_path), code=5)["error"]["kind"] == "Refused"
        assert [path.name for path in tmp_path.iterdir()] == ["archiver.yaml"]
        assert (tmp_path / "archiver.yaml").read_text() == "mine"

    def test_leaves_nothing_behind_where_an_option_is_wrong(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = document(capsys, "init", str(tmp_path / "new"), "--archive", "s3://B", code=2)["error"]["what"]
        assert "archive: must name a bucket" in told
        assert not (tmp_path / "new").exists()

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").write_text("")
        assert main(["init", str(tmp_path / "file" / "below")]) in (2, 7)
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.usefixtures("config")
class TestQuery:
    def test_prints_rows_as_objects_with_their_columns_and_the_commit(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = document(capsys, "query", "SELECT message_uid, version, sent_at FROM messages ORDER BY ALL LIMIT 1")
        assert found == {
            "sequence": small_archive.COMMITS,
            "columns": [
                {"name": "message_uid", "type": "VARCHAR"},
                {"name": "version", "type": "INTEGER"},
                {"name": "sent_at", "type": "TIMESTAMP WITH TIME ZONE"},
            ],
            "rows": [{"message_uid": "m-1", "version": 1, "sent_at": "2026-11-20T12:00:00Z"}],
        }

    @pytest.mark.parametrize(
        ("sql", "value"),
        [
            ("NULL", None),
            ("true", True),
            ("9007199254740991", 9007199254740991),
            ("12345678901234567890123::HUGEINT", "12345678901234567890123"),
            ("'nan'::DOUBLE", None),
            ("'-inf'::DOUBLE", None),
            ("1.5::DECIMAL(9, 2)", "1.50"),
            ("'a\\x00\\xFFb\\x5C'::BLOB", "a\\x00\\xFFb\\x5C"),
            ("DATE '2026-11-22'", "2026-11-22"),
            ("TIMESTAMP '2026-11-22 01:02:03.004'", "2026-11-22T01:02:03.004000"),
            ("TIMESTAMPTZ '2026-11-22 01:02:03+01'", "2026-11-22T00:02:03Z"),
            ("INTERVAL 2 HOURS", "2:00:00"),
            ("UUID '0d2cbb7e-0000-4000-8000-000000000000'", "0d2cbb7e-0000-4000-8000-000000000000"),
            ("[1, NULL, 2]", [1, None, 2]),
            ("{'a': 1, 'b': [DATE '2026-11-22']}", {"a": 1, "b": ["2026-11-22"]}),
            ("MAP {'k': 1}", {"k": 1}),
            ("'\u202e\x1b[2J\u2028'", "\u202e\x1b[2J\u2028"),
        ],
    )
    def test_gives_every_value_of_sql_a_form_in_json(
        self, sql: str, value: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert document(capsys, "query", f"SELECT {sql} AS v")["rows"] == [{"v": value}]

    def test_keeps_two_columns_of_one_name_apart(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert document(capsys, "query", "SELECT 1 AS a, 2 AS a, 3 AS a_2")["rows"] == [{"a": 1, "a_2": 2, "a_2_2": 3}]

    @pytest.mark.parametrize("rows", [0, 1, 999, 1000, 1001, 2500])
    def test_prints_any_number_of_rows_as_one_document(self, rows: int, capsys: pytest.CaptureFixture[str]) -> None:
        found = document(capsys, "query", f"SELECT i FROM range({rows}) t(i)")
        assert [row["i"] for row in found["rows"]] == list(range(rows))

    def test_prints_csv_that_reads_back(self, capsys: pytest.CaptureFixture[str]) -> None:
        sql = (
            "SELECT 'a,\"b\"' || chr(10) || 'c' AS x, NULL AS y, [1, 2] AS z, true AS t, sent_at FROM messages LIMIT 2"
        )
        assert main(["query", "--format", "csv", sql]) == 0
        found = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
        assert found[0] == ["x", "y", "z", "t", "sent_at"]
        assert found[1] == ['a,"b"\nc', "", "[1, 2]", "true", "2026-11-20T12:00:00Z"]

    def test_prints_a_table_for_people_and_says_that_there_is_more(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["query", f"SELECT i AS number FROM range({TABLE_ROWS_MAX + 1}) t(i)"]) == 0
        told = capsys.readouterr()
        assert "number" in told.out
        assert told.out.count("│") == 2 * TABLE_ROWS_MAX
        assert f"more than {TABLE_ROWS_MAX} rows" in told.err

    def test_reads_its_sql_from_standard_input(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 7 AS n"))
        assert document(capsys, "query", "-")["rows"] == [{"n": 7}]

    @pytest.mark.parametrize(
        ("sql", "kind", "code"),
        [("SELEC", "Usage", 2), ("FROM read_text('/etc/hostname')", "Usage", 2), ("COPY messages TO 'x'", "Usage", 2)],
    )
    def test_tells_a_mistake_as_a_mistake(
        self, sql: str, kind: str, code: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = document(capsys, "query", sql, code=code)["error"]
        assert (error["kind"], error["exit_code"]) == (kind, code)

    def test_tells_a_damaged_archive_as_damage(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for path in (config.parent / "archive" / "messages").rglob("*.parquet"):
            path.unlink()
        assert "archiver verify" in document(capsys, "query", "FROM messages", code=4)["error"]["next_step"]

    def test_without_an_archive_names_the_place(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config.write_text("workspace: acme\narchive: ./elsewhere\n")
        assert "elsewhere" in document(capsys, "query", "SHOW TABLES", code=2)["error"]["what"]
        assert not (config.parent / "elsewhere").exists()


def test_an_archive_in_a_bucket_is_queried_shown_and_verified_with_boto3_s_credentials(
    seaweedfs: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small_archive.build(S3Store(seaweedfs.bucket, "commands", client=s3_client(seaweedfs)), tmp_path)
    (tmp_path / "archiver.yaml").write_text(
        f"workspace: acme\narchive: s3://{seaweedfs.bucket}/commands\ns3: {{endpoint_url: '{seaweedfs.endpoint_url}'}}\n"
    )
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    assert document(capsys, "query", "SELECT count(*) AS n FROM messages")["rows"] == [
        {"n": small_archive.MESSAGE_ROWS}
    ]
    assert document(capsys, "status")["location"] == f"s3://{seaweedfs.bucket}/commands"
    assert document(capsys, "verify")["ok"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another secret")
    refused = document(capsys, "verify", code=7)
    assert "another secret" not in json.dumps(refused)


@pytest.mark.usefixtures("config")
class TestStatus:
    def test_tells_the_head_the_runs_and_the_counts(self, capsys: pytest.CaptureFixture[str]) -> None:
        found = document(capsys, "status")
        assert (found["workspace"], found["sequence"], found["at"]) == ("acme", 2, "2026-11-22T23:00:00.000Z")
        assert found["rows"] == {"channels": 1, "files": 1, "messages": 7}
        assert [(run["run"], run["commits"]) for run in found["runs"]] == [("night-1", 2)]
        assert found["spool"] is None

    def test_makes_nothing(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = sorted(config.parent.rglob("*"))
        document(capsys, "status")
        assert sorted(config.parent.rglob("*")) == before

    def test_tells_what_waits_in_the_spool(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        SqliteSpool(config.parent / "state" / "spool.sqlite").close()
        assert document(capsys, "status")["spool"]["captures"] == 0
        assert main(["status"]) == 0
        assert "empty" in capsys.readouterr().out


class TestVerify:
    def test_says_that_all_is_well(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert config.exists()
        assert document(capsys, "verify")["damages"] == []
        assert document(capsys, "verify", "--quick")["level"] == "quick"
        assert main(["verify"]) == 0
        assert "Everything is as the ledger says." in capsys.readouterr().out

    def test_names_what_is_damaged_and_ends_with_4(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        key = layout.blob_key(small_archive.FILE_DIGEST)
        (config.parent / "archive" / key).unlink()
        found = document(capsys, "verify", code=4)
        assert not found["ok"]
        assert [(damage["kind"], damage["key"]) for damage in found["damages"]] == [("missing", key)]
        assert main(["verify"]) == 4
        assert key in capsys.readouterr().out

    def test_of_an_archive_of_a_newer_format_is_refused(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        facts = config.parent / "archive" / "archive.json"
        facts.write_bytes(facts.read_bytes().replace(b'"format":1', b'"format":2'))
        for words in (["verify"], ["status"], ["query", "SHOW TABLES"]):
            assert document(capsys, *words, code=5)["error"]["kind"] == "NewerFormat"
