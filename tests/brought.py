"""Files that somebody brings: a Slack export as a zip, and how the items of a source are read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archiver.capture.imports.records import Item, Noted, Said, Source, Tally, Unreadable
from archiver.clock import to_ms
from archiver.normalise.imported import ImportedMessage

NOW_MS = to_ms(datetime(2026, 11, 27, 12, tzinfo=UTC))
TEAM = "T0TEAM"
ANN: dict[str, Any] = {
    "id": "U0ANN",
    "team_id": TEAM,
    "name": "ann",
    "tz_offset": 32_400,
    "is_admin": True,
    "updated": 1_700_000_000,
    "profile": {"real_name": "Ann Example", "display_name": "ann", "email": "ann@acme.example", "image_512": "https://a.example/a"},
}  # fmt: skip
BOB: dict[str, Any] = {
    "id": "U0BOB",
    "team_id": TEAM,
    "name": "bob",
    "profile": {"first_name": "Bob", "last_name": "B."},
}
GENERAL: dict[str, Any] = {
    "id": "C0GEN",
    "name": "general",
    "created": 1_690_000_000,
    "members": ["U0ANN", "U0BOB"],
    "purpose": {"value": "everything"},
}


def message(ts: str = "1700000100.000100", text: str = "hello", **further: Any) -> dict[str, Any]:
    return {"type": "message", "user": "U0ANN", "ts": ts, "text": text, **further}


def slack_zip(
    path: Path,
    days: Mapping[str, Sequence[Any] | bytes] | None = None,
    *,
    lists: Mapping[str, Any] | None = None,
    further: Sequence[tuple[str | zipfile.ZipInfo, bytes]] = (),
    top: str = "",
) -> Path:
    """Write an export. ``days`` are records, or bytes in their place, by member name; ``lists`` replace the usual ones, None leaves one out."""
    named: dict[str, Any] = {"users.json": [ANN, BOB], "channels.json": [GENERAL], **(lists or {})}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**named, **(days or {})}.items():
            if content is not None:
                data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
                archive.writestr(top + name, data)
        for member, data in further:
            archive.writestr(member, data)
    return path


def items_of(source: Source) -> list[Item]:
    return list(source.items(Tally()))


def said(items: Sequence[Item]) -> list[ImportedMessage]:
    return [item.message for item in items if isinstance(item, Said)]


def bad(items: Sequence[Item]) -> list[tuple[str, str]]:
    return [(item.place, item.error) for item in items if isinstance(item, Unreadable)]


def noted(items: Sequence[Item]) -> list[str]:
    return [item.name for item in items if isinstance(item, Noted)]
