"""Packages of JSON lines, CSV and Parquet that somebody broke, each in one way, and what their checkers say."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archiver.discovery.checks.findings import FormatFacts
from tests.discovery.export.packages import Package, package

MESSAGES = "messages-00001"
Break = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    return {name: package(name, tmp_path_factory.mktemp(name)) for name in ("jsonl", "csv", "parquet")}


def broken(made: Package, into: Path, change: Break) -> Package:
    folder = into / "package"
    shutil.copytree(made.folder, folder)
    copy = Package(made.format, folder, made.written, made.facts)
    change(copy.data)
    return copy


def replaced(name: str, old: str, new: str, count: int = 1) -> Break:
    def change(data: Path) -> None:
        path = data / name
        text = path.read_bytes()
        assert old.encode() in text
        path.write_bytes(text.replace(old.encode(), new.encode(), count))

    return change


def lines(name: str, change: Callable[[list[Any]], object]) -> Break:
    def rewrite(data: Path) -> None:
        path = data / name
        found = [json.loads(line) for line in path.read_bytes().decode().splitlines()]
        change(found)
        path.write_text("".join(json.dumps(line) + "\n" for line in found), "utf-8")

    return rewrite


def of(uid: str, change: Callable[[Any], object]) -> Break:
    return lines(f"{MESSAGES}.jsonl", lambda found: change(next(line for line in found if line["message_uid"] == uid)))


def appended(path: Path, more: bytes) -> None:
    path.write_bytes(path.read_bytes() + more)


def a_link(data: Path) -> None:
    (data / "messages-00002.jsonl").symlink_to("/etc/hostname")


def a_pipe(data: Path) -> None:
    os.mkfifo(data / "messages-00002.jsonl")


JSONL: dict[str, tuple[str, Break]] = {
    "a file is gone": ("missing", lambda data: (data / f"{MESSAGES}.jsonl").unlink()),
    "a file nobody knows": ("stray", lambda data: (data / "notes.txt").write_text("x")),
    "a link out of the package": ("stray", a_link),
    "a pipe that never ends": ("stray", a_pipe),
    "a line that is no JSON": ("parse", replaced(f"{MESSAGES}.jsonl", '{"conversation"', '{conversation"')),
    "a line that is no object": ("parse", replaced(f"{MESSAGES}.jsonl", '{"conversation"', '[]\n{"conversation"')),
    "a line that is cut": (
        "parse",
        lambda data: (data / f"{MESSAGES}.jsonl").write_bytes((data / f"{MESSAGES}.jsonl").read_bytes()[:-9]),
    ),
    "a line that is no UTF-8": ("parse", lambda data: (data / f"{MESSAGES}.jsonl").write_bytes(b'{"a":"\xff"}\n')),
    "lists without end": ("parse", lambda data: (data / f"{MESSAGES}.jsonl").write_bytes(b"[" * 100_000 + b"\n")),
    "a field is gone": ("field", of("m-1", lambda line: line.pop("control_number"))),
    "a field too many": ("field", of("m-1", lambda line: line.update(more=1))),
    "a number as text": ("field", of("m-1", lambda line: line.update(sent_at_ms="1"))),
    "no version": ("field", of("m-1", lambda line: line.update(versions=[]))),
    "a version without text": ("field", of("m-1", lambda line: line["versions"][0].pop("text"))),
    "a text that was changed in raw": ("digest", of("m-1", lambda line: line["versions"][0].update(raw="{}"))),
    "versions in another order": ("order", of("m-2", lambda line: line["versions"].reverse())),
    "a version is gone": ("count", of("m-2", lambda line: line["versions"].pop(0))),
    "a message is gone": ("count", lines(f"{MESSAGES}.jsonl", lambda found: found.pop(2))),
    "a message twice": ("duplicate", lines(f"{MESSAGES}.jsonl", lambda found: found.insert(2, found[2]))),
    "messages in another order": ("order", lines(f"{MESSAGES}.jsonl", lambda found: found.insert(2, found.pop(3)))),
    "a conversation in two places": ("order", lines(f"{MESSAGES}.jsonl", lambda found: found.append(found.pop(1)))),
    "another conversation": ("reference", of("m-1", lambda line: line.update(chat_id="g:other"))),
    "a time without offset": ("time", of("m-1", lambda line: line.update(sent_at="2026-11-20T21:00:00.000"))),
    "a time in another zone": ("time", of("m-1", lambda line: line.update(sent_at="2026-11-20T12:00:00.000+00:00"))),
    "another time": ("time", of("m-1", lambda line: line.update(sent_at="2026-11-20T21:00:00.001+09:00"))),
    "no time": ("time", of("m-1", lambda line: line.update(sent_at="yesterday"))),
    "another day": ("time", of("m-1", lambda line: line.update(day="2026-11-19"))),
    "a file that is not here": ("native", of("m-4", lambda line: line["files"][0].update(path="../../etc/passwd"))),
    "another digest of a file": ("digest", of("m-4", lambda line: line["files"][0].update(sha256="00" * 32))),
    "a file is gone from its message": ("count", of("m-4", lambda line: line["files"].pop())),
    "a conversation is not listed": ("reference", lines("conversations-00001.jsonl", lambda found: found.pop(0))),
    "a conversation is listed twice": (
        "duplicate",
        lines("conversations-00001.jsonl", lambda found: found.append(found[0])),
    ),
    "a gap without kind": ("field", lines("gaps-00001.jsonl", lambda found: found[0].pop("kind"))),
}


CSV: dict[str, tuple[str, Break]] = {
    "no mark of UTF-8": (
        "encoding",
        lambda data: (data / f"{MESSAGES}.csv").write_bytes((data / f"{MESSAGES}.csv").read_bytes()[3:]),
    ),
    "no UTF-8": (
        "encoding",
        lambda data: (data / f"{MESSAGES}.csv").write_bytes((data / f"{MESSAGES}.csv").read_bytes() + b"\xff"),
    ),
    "another column": ("columns", replaced(f"{MESSAGES}.csv", '"message_uid"', '"uid"')),
    "a cell too many": ("columns", replaced(f"{MESSAGES}.csv", '"m-1"', '"m-1",""')),
    "a quote that does not end": ("parse", lambda data: appended(data / "gaps-00001.csv", b'"x')),
    "a formula": ("formula", replaced(f"{MESSAGES}.csv", "\"'=HYPERLINK", '"=HYPERLINK')),
    "no number": ("field", replaced(f"{MESSAGES}.csv", '"m-1","1","1","yes"', '"m-1","one","1","yes"')),
    "neither yes nor no": ("field", replaced(f"{MESSAGES}.csv", '"m-1","1","1","yes"', '"m-1","1","1","maybe"')),
    "the wrong version is the newest": (
        "field",
        replaced(f"{MESSAGES}.csv", '"m-2","1","3","no"', '"m-2","1","3","yes"'),
    ),
    "versions in another order": ("order", replaced(f"{MESSAGES}.csv", '"m-2","2","3"', '"m-2","0","3"')),
    "more versions than it says": ("count", replaced(f"{MESSAGES}.csv", '"m-1","1","1","yes"', '"m-1","1","2","no"')),
    "a time in another zone": (
        "time",
        replaced(f"{MESSAGES}.csv", "2026-11-20T21:00:00.000+09:00", "2026-11-20T12:00:00.000+00:00"),
    ),
    "a file of no message": ("reference", replaced("files-00001.csv", '"SMITH-m-4"', '"SMITH-m-1"')),
    "a file that is not here": ("native", replaced("files-00001.csv", "natives/3d/", "natives/../")),
    "another digest of a file": ("digest", replaced("files-00001.csv", '"3d17', '"0017')),
    "a conversation is not listed": ("reference", replaced("conversations-00001.csv", "g:general", "g:generals")),
    "a conversation is listed twice": (
        "duplicate",
        lambda data: (
            (data / "conversations-00001.csv").open("ab").write(b'"g:general","channel","general","general","",""\r\n')
        ),
    ),
    "a file is gone": ("missing", lambda data: (data / "files-00001.csv").unlink()),
    "a file nobody knows": ("stray", lambda data: (data / "macro.xlsm").write_text("x")),
}


def table(name: str, change: Callable[[list[dict[str, Any]]], object]) -> Break:
    def rewrite(data: Path) -> None:
        found = pq.read_table(data / name)
        rows = found.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=found.schema), data / name)

    return rewrite


def row(uid: str, **values: Any) -> Break:
    return table(
        f"{MESSAGES}.parquet", lambda rows: next(row for row in rows if row["message_uid"] == uid).update(values)
    )


def another_type(data: Path) -> None:
    path = data / f"{MESSAGES}.parquet"
    found = pq.read_table(path)
    at = found.schema.get_field_index("commit")
    pq.write_table(found.set_column(at, "commit", found.column(at).cast(pa.string())), path)


def a_bomb(data: Path) -> None:
    path = data / "gaps-00001.parquet"
    schema = pq.read_schema(path)
    text = pa.array(["x" * 500_000], pa.string()).take(pa.array([0] * 40))
    columns = [text if field.name == "evidence" else pa.nulls(40, field.type) for field in schema]
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd", use_dictionary=False)


PARQUET: dict[str, tuple[str, Break]] = {
    "no Parquet": ("parse", lambda data: (data / f"{MESSAGES}.parquet").write_bytes(b"PAR1 and then nothing")),
    "a byte is another": (
        "parse",
        lambda data: (data / f"{MESSAGES}.parquet").write_bytes(
            b"PAR1" + bytes(400) + (data / f"{MESSAGES}.parquet").read_bytes()[404:]
        ),
    ),
    "another type of a column": ("columns", another_type),
    "a file that becomes very much more": ("bomb", a_bomb),
    "no text": ("field", row("m-1", text=None)),
    "the newest is not": ("field", row("m-1", is_newest=False)),
    "another day": ("time", row("m-1", day="2026-11-19")),
    "a text that was changed in raw": ("digest", row("m-1", raw="{}")),
    "versions in another order": ("order", table(f"{MESSAGES}.parquet", lambda rows: rows.insert(3, rows.pop(4)))),
    "a message is gone": ("count", table(f"{MESSAGES}.parquet", lambda rows: rows.pop())),
    "a message twice": ("order", table(f"{MESSAGES}.parquet", lambda rows: rows.append(rows[-1]))),
    "a file of no message": (
        "reference",
        table("files-00001.parquet", lambda rows: rows[2].update(message_control_number="x")),
    ),
    "a file that is not here": ("native", table("files-00001.parquet", lambda rows: rows[0].update(path="natives/x"))),
    "another digest of a file": ("digest", table("files-00001.parquet", lambda rows: rows[0].update(sha256="00"))),
    "a conversation is listed twice": (
        "duplicate",
        table("conversations-00001.parquet", lambda rows: rows.append(rows[0])),
    ),
    "a conversation is not listed": ("reference", table("conversations-00001.parquet", lambda rows: rows.pop())),
    "a file is gone": ("missing", lambda data: (data / "gaps-00001.parquet").unlink()),
    "a file nobody knows": ("stray", lambda data: (data / "more.txt").write_text("x")),
}


@pytest.mark.parametrize(
    ("name", "what"),
    [(name, what) for name, breaks in (("jsonl", JSONL), ("csv", CSV), ("parquet", PARQUET)) for what in breaks],
)
def test_what_is_broken_is_found(name: str, what: str, good: dict[str, Package], tmp_path: Path) -> None:
    code, change = {"jsonl": JSONL, "csv": CSV, "parquet": PARQUET}[name][what]
    copy = broken(good[name], tmp_path, change)
    findings = copy.findings()
    assert code in {finding.code for finding in findings}, findings
    assert all(finding.path.startswith(f"data/{name}") for finding in findings)


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
class TestAgainstTheReport:
    def test_every_count_of_the_report_is_held_against_what_is_there(self, name: str, good: dict[str, Package]) -> None:
        made = good[name]
        for field in ("messages", "message_versions", "files", "missing_files"):
            assert made.codes(**{field: 99}) == {"count"}
        assert made.codes(formats={name: FormatFacts(99, 99, made.facts.formats[name].paths)}) == {"count"}
        assert "count" in made.codes(conversations={**made.facts.conversations, "g:lost": 4})

    def test_a_zone_that_there_is_not_is_no_reason_to_stop(self, name: str, good: dict[str, Package]) -> None:
        assert good[name].codes(zone="../../etc/localtime") <= {"time"}
