"""The configuration's JSON Schema, for editors; ``docs/archiver.schema.json`` is its text, and a test holds the two together."""

from __future__ import annotations

import json

from archiver.settings.models import Settings


def schema_text() -> str:
    """Return the JSON Schema of ``archiver.yaml``: its keys, types, limits, defaults and meaning."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
