"""JSON lines, CSV and Parquet: read back by others, they say what was captured, to the letter."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.discovery.checks.csv import unguarded
from archiver.discovery.export.formats import parquet as parquet_format
from archiver.discovery.export.formats.parquet import ParquetWriter
from archiver.discovery.export.record import Slice
from tests.discovery.export import slices
from tests.discovery.export.packages import package
from tests.discovery.export.slices import ANN, FORMULA, GENERAL, HOSTILE_TEXT, SLICES, FolderSink, message, version

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/export-jsonl.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: package(name, tmp_path_factory.mktemp(name)).folder for name in ("jsonl", "csv", "parquet")}


@pytest.fixture
def jsonl(made: dict[str, Path]) -> Path:
    return made["jsonl"]


@pytest.fixture(name="csv_folder")
def csv_package(made: dict[str, Path]) -> Path:
    return made["csv"]


@pytest.fixture
def parquet(made: dict[str, Path]) -> Path:
    return made["parquet"]


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["=1+1", "'=1", "''@x", "'", "+49", "-", "\t=", "\r\n", "a\u2028b", "\x00", HOSTILE_TEXT, FORMULA, "\uff1dcmd"]
)


def lines(folder: Path, table: str = "messages") -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted((folder / "data/jsonl").glob(f"{table}-*"))
        for line in path.read_bytes().decode().split("\n")
        if line
    ]


def rows(folder: Path, table: str = "messages") -> list[dict[str, str]]:
    found = []
    for path in sorted((folder / "data/csv").glob(f"{table}-*")):
        found += list(csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    return found


def said(text: str) -> Slice:
    return Slice(GENERAL, "2026-11-20", 1, 1, (message("m-1", 20, ANN, version(text, raw=json.dumps({"text": text}))),))


class TestJsonLines:
    def test_every_line_fits_the_schema_of_the_documentation(self, jsonl: Path) -> None:
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        validator = jsonschema.Draft202012Validator(SCHEMA)
        assert len(lines(jsonl)) == slices.MESSAGES
        for line in lines(jsonl):
            validator.validate(line)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**lines(jsonl)[0], "surprise": 1})

    def test_a_line_has_all_that_is_known_of_a_message(self, jsonl: Path) -> None:
        line = next(line for line in lines(jsonl) if line["message_uid"] == "m-2")
        assert [one["text"] for one in line["versions"]] == [one.text for one in slices.EDITED.versions]
        assert line["versions"][2]["flockml"] == slices.EDITED.versions[2].flockml
        assert line["reply_to"] == "m-1"
        assert line["sent_at"] == "2026-11-20T21:01:00.000+09:00"
        assert line["day"] == "2026-11-20"
        assert line["conversation"] == "general"

    def test_conversations_have_their_participants_and_gaps_their_day(self, jsonl: Path) -> None:
        known = {one["chat_id"]: one for one in lines(jsonl, "conversations")}
        assert [one["user_id"] for one in known["g:general"]["participants"]] == ["u:ann", "u:bob", "u:kenji"]
        gaps = [(gap["told_in"], gap["day"], gap["kind"]) for gap in lines(jsonl, "gaps")]
        assert gaps == [
            ("g:general", "2026-11-20", "listener-down"),
            ("g:general", "2026-11-20", "export:file-not-stored"),
            (None, None, "listener-down"),
        ]

    def test_no_line_has_a_name_twice(self, jsonl: Path) -> None:
        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            assert len(dict(pairs)) == len(pairs), pairs
            return dict(pairs)

        for path in (jsonl / "data/jsonl").iterdir():
            for line in path.read_bytes().splitlines():
                json.loads(line, object_pairs_hook=once)

    @given(text=texts)
    @settings(max_examples=30)
    def test_a_text_comes_back_as_it_was(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        folder = package("jsonl", tmp_path_factory.mktemp("text"), slices=(said(text),)).folder
        [line] = lines(folder)
        assert line["versions"][0]["text"] == text


class TestCsv:
    def test_there_is_a_row_for_each_version_and_one_list_of_files(self, csv_folder: Path) -> None:
        assert len(rows(csv_folder)) == slices.VERSIONS
        assert len(rows(csv_folder, "files")) == slices.FILES
        prices = [row["text"] for row in rows(csv_folder) if row["message_uid"] == "m-2"]
        assert prices == [one.text for one in slices.EDITED.versions]
        [gone] = [row["not_returned_since"] for row in rows(csv_folder) if row["not_returned_since"]]
        assert gone == "2026-11-25T21:00:00.000+09:00"

    def test_it_is_what_rfc_4180_and_a_spreadsheet_expect(self, csv_folder: Path) -> None:
        data = (csv_folder / "data/csv/messages-00001.csv").read_bytes()
        assert data.startswith(b'\xef\xbb\xbf"control_number",')
        assert data.endswith(b'"\r\n')

    def test_a_formula_is_made_harmless_counted_and_comes_back(self, tmp_path: Path) -> None:
        made = package("csv", tmp_path, slices=(said(FORMULA),))
        [row] = rows(tmp_path)
        assert row["text"] == f"'{FORMULA}"
        assert unguarded(row["text"]) == FORMULA
        assert made.written.replaced == {"cells that a spreadsheet would run, behind an apostrophe": 1}

    def test_a_cell_that_a_spreadsheet_cuts_is_remarked_on(self, tmp_path: Path) -> None:
        made = package("csv", tmp_path, slices=(said("x" * 40_000),))
        assert made.written.all_remarks == (
            "1 cells are whole here, but longer than the 32,767 characters that spreadsheets show",
        )
        assert len(rows(tmp_path)[0]["text"]) == 40_000

    @given(text=texts)
    @settings(max_examples=30)
    def test_no_text_runs_and_every_text_comes_back(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        folder = package("csv", tmp_path_factory.mktemp("text"), slices=(said(text),)).folder
        [row] = rows(folder)
        assert not re.match("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", row["text"])
        assert unguarded(row["text"]) == text


class TestParquet:
    def test_duckdb_reads_typed_columns(self, parquet: Path) -> None:
        found = duckdb.sql(
            f"""SELECT message_uid, epoch_ms(sent_at), sender.name, len(visible_to), is_newest
            FROM '{parquet}/data/parquet/messages-*.parquet' WHERE message_uid IN ('m-2', 'm-6') ORDER BY ALL"""
        ).fetchall()
        assert found == [
            ("m-2", slices.EDITED.sent_at_ms, None, 0, False),
            ("m-2", slices.EDITED.sent_at_ms, None, 0, False),
            ("m-2", slices.EDITED.sent_at_ms, None, 0, True),
            ("m-6", slices.BOT_POST.sent_at_ms, "Reminders", 2, True),
        ]

    def test_texts_and_raw_come_back_as_they_were(self, parquet: Path) -> None:
        table = pq.read_table(parquet / "data/parquet/messages-00001.parquet")
        versions = [one for part in SLICES for each in part.messages for one in each.versions]
        assert table.column("text").to_pylist() == [one.text for one in versions]
        assert table.column("raw").to_pylist() == [one.raw for one in versions]

    @pytest.mark.slow
    def test_long_texts_end_a_row_group_early(self, tmp_path: Path) -> None:
        half = "x" * (parquet_format.ROW_GROUP_CHARACTERS_MAX // 2)
        writer = ParquetWriter(slices.TERMS, FolderSink(tmp_path))
        many = tuple(message(f"m-{at}", 20, ANN, version(half, raw=None)) for at in range(4))
        writer.add(Slice(GENERAL, "2026-11-20", 1, 1, many))
        writer.finish()
        metadata = pq.read_metadata(tmp_path / "data/parquet/messages-00001.parquet")
        assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [2, 2]
