"""The DDL for Athena and the views in another dialect, run by another engine over the same files: Spark SQL says what DuckDB says."""

from __future__ import annotations

import json
import subprocess
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.schema import TABLES
from archiver.clock import to_ms
from archiver.query import athena_ddl
from archiver.query.derived import DERIVED
from archiver.query.dialects import rendered
from archiver.query.engine import open_engine
from archiver.store.local import LocalStore
from tests import small_archive
from tests.query import tables_in_memory as rows_of

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"

REPLY = '[{"title": "In reply to Ann", "description": "the merger price is set at ten"}]'

# Something for every view: edits, a message without a uid and the one that it was, absences, sweeps, names, joins and leaves, a reply.
ROWS: dict[str, list[rows_of.Row]] = {
    "messages": [
        rows_of.message("m1", sent=10, observed=11, text="the merger price is set at ten"),
        rows_of.message("m1", sent=10, observed=40, version=2, text="the merger price is set at ten, final"),
        rows_of.message("m2", sent=12, observed=13, sender_id="u:bob", visible_to=["u:cyd"], text="psst"),
        rows_of.message("d1", sent=12, observed=13, chat_id="u:ann,u:dan", chat_kind="direct", text="hi 日本 \U0001f600"),
        rows_of.message("r1", sent=50, observed=51, app_id="app", sender_id="u:bob", attachments=REPLY),
        rows_of.message("r2", sent=51, observed=52, app_id="app", sender_id="u:bob", attachments="{no json"),
        rows_of.message("provisional:a", sent=60, observed=60, client_id="c", text="late"),
        rows_of.message("m9", sent=60, observed=70, client_id="c", text="late", source="fetch"),
        rows_of.message("provisional:b", sent=61, observed=61, client_id="d", text="alone"),
        rows_of.message("x1", sent=7_000, observed=7_001, flockml="<flockml>a & b", plain_text="<flockml>a & b"),
    ],
    "files": [
        {
            "chat_id": "g:one", "message_uid": "m1", "version": 1, "ordinal": 0, "sent_at": rows_of.at_ms(10),
            "observed_at": rows_of.at_ms(11), "kind": "download", "url": "https://f/x", "status": "stored", "attempts": 1,
        }
    ],
    "observations": [
        rows_of.observation("m1", 80, "not_returned"),
        rows_of.observation("m2", 80, "not_returned"),
        rows_of.observation("m2", 90, "returned"),
        rows_of.observation("gone", 95, "not_returned"),
        {
            "observed_at": rows_of.at_ms(99), "chat_id": "g:one", "asked_as": "u:ann", "outcome": "swept",
            "day_on": date(2023, 11, 14), "asked": 5, "returned": 4, "not_returned": ["m1"],
        },
    ],
    "groups": [
        rows_of.membership("g:one", "u:ann", 5, "member"),
        rows_of.membership("g:one", "u:bob", 5, "member"),
        rows_of.membership("g:one", "u:cyd", 20, "member", "moderator"),
        rows_of.membership("g:one", "u:bob", 30, "left"),
    ],
    "conversations": [rows_of.conversation("g:one", 5), rows_of.conversation("u:ann,u:dan", 5, ["u:ann", "u:dan"])],
    "channels": [rows_of.channel("g:one", 5, "old"), rows_of.channel("g:one", 35, "new")],
    "users": [rows_of.user("u:ann", 5, "Ann"), rows_of.user("u:ann", 35, "Anna", "Lee"), rows_of.user("u:bob", 5, None)],
    "gaps": [
        {
            "gap_id": "a", "valid_from": rows_of.at_ms(5), "state": "open", "kind": "channel-silent", "chat_id": "g:one",
            "count": 1, "evidence": "none came", "state_digest": "x",
        }
    ],
}  # fmt: skip


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return to_ms(value)
    if isinstance(value, date):
        return value.isoformat()
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def in_order(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=json.dumps)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_spark_runs_the_ddl_and_every_view_and_says_what_duckdb_says(tmp_path: Path) -> None:
    archive = small_archive.found(LocalStore(tmp_path / "archive"))
    head = small_archive.add(archive, archive.founding_head(), ROWS, attempt="aaaaaaaa")
    root = f"file://{tmp_path}/archive/"
    folders: dict[str, list[str]] = {name: [] for name in TABLES}
    for key, content in athena_ddl.manifests(head, root=root):
        archive.store.replace(key, content)
        folders[key.removeprefix(athena_ddl.folder_of(head)).partition("/")[0]].append(f"{tmp_path}/archive/{key}")
    # Spark reads Hive's DDL as Athena does; a view is Trino's SQL there, and Spark's here, of one text.
    ddl = [text for text in athena_ddl.ddl(head, root=root, database="flock") if "REPLACE VIEW" not in text]
    views = {view.name: rendered(view.sql, "spark") for view in DERIVED}
    asked = {"ddl": ddl, "database": "flock", "views": views, "manifests": folders, "root": root}
    (tmp_path / "asked.json").write_text(json.dumps(asked), "utf-8")
    script = Path(__file__).with_name("spark_twin.py")
    done = subprocess.run(
        [PEERS, script, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=800
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answered = json.loads((tmp_path / "answered.json").read_text("utf-8"))
    for name, table in TABLES.items():
        declared = {column: kind for column, kind, _ in athena_ddl.columns(table)} | {"dt": "date"}
        assert answered["types"][name] == declared
    with open_engine(archive, head) as engine:
        for view in DERIVED:
            ours = engine.ask(f"FROM {view.name}")
            theirs = answered["views"][view.name]
            assert theirs["columns"] == [column.name for column in ours.columns], view.name
            rows = in_order([plain(row) for row in ours.rows])
            assert in_order(theirs["rows"]) == rows, view.name
            # The rows leave no view empty, or the comparison would say nothing of it.
            assert rows or view.name == "user_renames", view.name
