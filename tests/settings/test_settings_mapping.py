"""A mapping in YAML: what it may say, and a sentence with file and line for everything else."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from archiver.errors import ConfigError
from archiver.settings.mapping import load_mapping, mapping_schema_text

SCHEMA = json.loads(mapping_schema_text())
LEAST = "fields:\n  time: at\n  sender: from\n  chat: room\n"
FULL = """\
format: csv
origin: old-chat
csv: {delimiter: ";", quote: "'", encoding: windows-1252, columns: [a, b.c]}
fields:
  uid: id
  time: {field: at, format: "%d.%m.%Y", zone: Europe/Berlin}
  sender: {field: from}
  sender_name: name
  chat: {constant: lobby}
  chat_kind: kind
  mentions: {field: to, split: ","}
  attachments: {field: files, url: u, name: n, mime: m, size: s}
"""


def test_the_least_and_the_most(tmp_path: Path) -> None:
    for text in (LEAST, FULL):
        (tmp_path / "m.yaml").write_text(text)
        mapping, data = load_mapping(tmp_path / "m.yaml")
        assert data.decode() == text
        jsonschema.validate(yaml.safe_load(text), SCHEMA)
    assert mapping.csv.encoding == "cp1252"
    assert mapping.fields.chat is not None
    assert mapping.fields.chat.constant == "lobby"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fields:\n  sender: a\n  chat: b\n", "m.yaml:1: fields.time: is missing"),
        ("fields:\n  time: t\n  sender: a\n", "m.yaml:1: fields: needs a chat or a recipient"),
        (LEAST + "  sendr: x\n", "m.yaml:5: fields.sendr: unknown key; did you mean sender?"),
        (LEAST + "fomat: csv\n", "m.yaml:5: fomat: unknown key; did you mean format?"),
        (LEAST + "format: xml\n", "m.yaml:5: format: must be 'jsonl' or 'csv'"),
        (LEAST + "origin: Old Chat\n", "m.yaml:5: origin: must be 1 to 40 lower-case"),
        (LEAST + "origin: slack-t1\n", "m.yaml:5: origin: must not begin with slack-"),
        (LEAST + "  uid: [a]\n", "m.yaml:5: fields.uid: must be the name of a field, or a group"),
        (LEAST + "  uid: {}\n", "m.yaml:5: fields.uid: needs either a field or a constant"),
        (LEAST + "  uid: a..b\n", "m.yaml:5: fields.uid.field: must be the name of a field"),
        (LEAST + "  sender_name: a\n", "sender_name and chat_kind need an origin"),
        (LEAST + "  attachments: {name: a}\n", "m.yaml:5: fields.attachments: needs a field or a url"),
        (LEAST.replace("time: at", "time: {field: a, unit: hours}"), "fields.time.unit: must be 'seconds'"),
        (LEAST.replace("time: at", "time: {field: a, unit: seconds, zone: UTC}"), "neither format nor zone"),
        (LEAST.replace("time: at", "time: {field: a, zone: CET/../x}"), "named time zone"),
        (LEAST.replace("time: at", "time: {field: a, zone: Mars}"), "named time zone"),
        (LEAST + "csv: {encoding: utf-16}\n", "extends ASCII"),
        (LEAST + "csv: {encoding: hex}\n", "extends ASCII"),
        (LEAST + 'csv: {delimiter: ";;"}\n', "csv.delimiter: must be one ASCII character"),
        (LEAST + "csv: {columns: [a, a]}\n", "names a column twice"),
        ("fields: &a {b: *a}\n", "aliases"),
        ("- a\n", "keys and values"),
        ("a: [", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_mapping(tmp_path / "m.yaml")
    assert told in caught.value.what
    assert "m.yaml" in caught.value.what


def test_a_mapping_that_is_not_there_says_where_one_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no mapping at") as caught:
        load_mapping(tmp_path / "none.yaml")
    assert "docs/import.md" in caught.value.next_step


def test_the_schema_is_one_and_describes_every_key() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    parts = [SCHEMA, *(part["anyOf"][1] if "anyOf" in part else part for part in SCHEMA["$defs"].values())]
    undescribed = [
        key for part in parts for key, facts in part["properties"].items() if not {"description", "$ref"} & facts.keys()
    ]
    assert not undescribed
