"""The JSON Schema for editors says what the settings say."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from archiver.settings import schema_text
from archiver.settings.loading import secret_keys

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(schema_text())


def test_the_file_in_docs_is_what_make_schema_writes() -> None:
    assert (ROOT / "docs" / "archiver.schema.json").read_text("utf-8") == schema_text(), "run `make schema`"


def test_it_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("workspace: a", True),
        ("workspace: a\nlisten: {port: 1}", True),
        ("archive: x", False),
        ("workspace: a\nlisten: {port: 70000}", False),
        ("workspace: a\nlisten: {path_secret: x}", False),
        ("workspace: a\nflock: {auth: bot}", False),
        ("workspace: a\nflock: {requests_per_second: 0}", False),
    ],
)
def test_it_accepts_and_refuses_as_the_settings_do(text: str, is_good: bool) -> None:
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(text)) == is_good


def test_no_secret_is_a_key_of_it_and_everything_else_is_explained() -> None:
    for name, definition in SCHEMA["$defs"].items():
        for key, property_ in definition["properties"].items():
            assert property_.get("description"), f"{name}.{key}"
    keys = {key for definition in SCHEMA["$defs"].values() for key in definition["properties"]}
    assert keys.isdisjoint(key for _, key in secret_keys())
