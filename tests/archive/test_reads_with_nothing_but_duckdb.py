"""The archive reads with a glob and standard tools; nothing of ours is needed (design.md 4, invariant 8)."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pytest

from archiver.clock import DAY_MS, from_ms
from archiver.store.local import LocalStore
from tests.archive.archive_steps import AT_MS, add, blob, event, found, message

DAYS = (-400, -1, 0, 1, 2)
TEXT = 'ünïcode 日本 😀 "quoted"\n\x00\u202e'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in a directory: five days in four commits, one message edited a day later, a file."""
    folder = tmp_path_factory.mktemp("archive")
    store = LocalStore(folder)
    archive = found(store)
    head = add(
        archive,
        archive.founding_head(),
        {"messages": [message(f"m{day}", day=day) for day in DAYS], "events": [event(1)]},
    )
    head = add(
        archive,
        head,
        {
            "messages": [
                message("m0", version=2, text=TEXT, supersedes="d", observed_at=AT_MS + DAY_MS, mentions=["u:1", "u:2"])
            ]
        },
    )
    head = add(
        archive,
        head,
        {"messages": [message("late", sent_at=AT_MS - AT_MS % DAY_MS + DAY_MS - 1)], "events": [event(2)]},
    )
    add(archive, head, {"files": []}, blobs=blob(tmp_path_factory.mktemp("file"), b"minutes"), watermarks={"s": 2})
    return folder


@pytest.fixture
def messages(root: Path) -> str:
    return f"read_parquet('{root}/messages/**/*.parquet', hive_partitioning=true)"


def test_duckdb_reads_every_version_of_every_message(messages: str) -> None:
    rows = duckdb.sql(f"SELECT message_uid, version, text FROM {messages}").fetchall()
    expected = [("late", 1, "hello"), ("m0", 2, TEXT), *((f"m{day}", 1, "hello") for day in DAYS)]
    assert sorted(rows) == sorted(expected)


def test_the_partition_is_the_utc_day_of_the_sending_time(messages: str) -> None:
    wrong = f"SELECT count(*) FROM {messages} WHERE dt <> CAST(sent_at AT TIME ZONE 'UTC' AS DATE)"
    assert duckdb.sql(wrong).fetchone() == (0,)
    assert duckdb.sql(f"SELECT typeof(dt), typeof(sent_at) FROM {messages} LIMIT 1").fetchone() == (
        "DATE",
        "TIMESTAMP WITH TIME ZONE",
    )


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_an_instant_is_the_same_wherever_it_is_read(messages: str, zone: str) -> None:
    connection = duckdb.connect()
    connection.execute(f"SET TimeZone = '{zone}'")
    (sent_at,) = connection.sql(f"SELECT epoch_ms(sent_at) FROM {messages} WHERE message_uid = 'm1'").fetchone() or ()
    assert sent_at == AT_MS + DAY_MS


def test_the_newest_version_is_one_clause_away(messages: str) -> None:
    newest = duckdb.sql(
        f"SELECT text, mentions FROM {messages} WHERE message_uid = 'm0' QUALIFY row_number() OVER (PARTITION BY chat_id, message_uid "
        "ORDER BY version DESC, observed_at DESC) = 1"
    ).fetchall()
    assert newest == [(TEXT, ["u:1", "u:2"])]


def test_raw_is_json_that_duckdb_can_look_into(messages: str) -> None:
    assert duckdb.sql(f"SELECT raw::JSON ->> 'uid' FROM {messages} WHERE message_uid = 'late'").fetchone() == ("late",)


def test_plain_pyarrow_reads_it_too(root: Path) -> None:
    table = ds.dataset(root / "messages", format="parquet", partitioning="hive").to_table()
    assert table.num_rows == len(DAYS) + 2
    for row in table.select(["dt", "sent_at"]).to_pylist():
        assert date.fromisoformat(str(row["dt"])) == row["sent_at"].astimezone(UTC).date()


def test_every_table_lies_under_its_name_and_days(root: Path) -> None:
    folders = {path.parent.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
    days = {f"messages/dt={from_ms(AT_MS + day * DAY_MS).date().isoformat()}" for day in DAYS}
    assert folders == days | {f"events/dt={datetime.fromtimestamp(AT_MS / 1000, UTC).date().isoformat()}"}


def test_the_ledger_accounts_for_every_object_with_json_and_sha256sum(root: Path) -> None:
    sha256sum = shutil.which("sha256sum")
    if sha256sum is None:
        pytest.skip("sha256sum is not installed")
    entries = [json.loads(path.read_bytes()) for path in sorted(root.glob("ledger/*.json"))]
    promised = {record["key"]: record["sha256"] for entry in entries for record in entry["added"]}
    promised |= {
        f"blobs/sha256/{item['sha256'][:2]}/{item['sha256']}": item["sha256"]
        for entry in entries
        for item in entry["blobs"]
    }
    listing = "".join(f"{digest}  {key}\n" for key, digest in promised.items())
    subprocess.run([sha256sum, "--check", "--strict", "--quiet"], input=listing, cwd=root, check=True, text=True)
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert there - set(promised) - {f"ledger/{n:012d}.json" for n in range(1, 5)} == {"archive.json"}


def test_duckdb_reads_the_ledger(root: Path) -> None:
    rows = duckdb.sql(
        f"SELECT sum(counts.messages) FROM read_json('{root}/ledger/*.json', union_by_name=true)"
    ).fetchone()
    assert rows == (len(DAYS) + 2,)
