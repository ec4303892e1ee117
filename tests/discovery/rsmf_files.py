"""RSMF files read by the standard library's parser of mails, and written again after a change, for tests that break them."""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any, cast

Entries = list[tuple[zipfile.ZipInfo, bytes]]

_ZIPPED = re.compile(rb'(filename="rsmf.zip"\r\n\r\n)(.*?)(\r\n--)', re.DOTALL)


def mail_of(path: Path) -> EmailMessage:
    return cast("EmailMessage", BytesParser(policy=policy.default).parsebytes(path.read_bytes()))


def entries_of(path: Path) -> Entries:
    found = _ZIPPED.search(path.read_bytes())
    assert found is not None
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(found[2]))) as archive:
        return [(entry, archive.read(entry)) for entry in archive.infolist()]


def manifest_of(path: Path) -> Any:
    return json.loads({entry.filename: data for entry, data in entries_of(path)}["rsmf_manifest.json"])


def event_of(path: Path, event_id: str) -> Any:
    return next(event for event in manifest_of(path)["events"] if event.get("id") == event_id)


def custom_of(owner: Any) -> dict[str, str]:
    return {item["name"]: item["value"] for item in owner["custom"]}


def put_zip(path: Path, zipped: bytes) -> None:
    lines = base64.encodebytes(zipped).replace(b"\n", b"\r\n")
    path.write_bytes(_ZIPPED.sub(lambda found: found[1] + lines + found[3], path.read_bytes()))


def zip_of(entries: Entries) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that stands twice
        for entry, data in entries:
            archive.writestr(entry, data)
    return target.getvalue()


def change_manifest(path: Path, change: Callable[[Any], object]) -> None:
    """Write a file again with another manifest: ``change`` alters what it is given."""
    entries = []
    for entry, data in entries_of(path):
        changed = data
        if entry.filename == "rsmf_manifest.json":
            manifest = json.loads(data)
            change(manifest)
            changed = json.dumps(manifest).encode()
        entries.append((entry, changed))
    put_zip(path, zip_of(entries))


def change_bytes(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data, old
    path.write_bytes(data.replace(old, new, 1))
