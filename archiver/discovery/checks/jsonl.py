"""Reads JSON lines back: every line an object with all of its fields, times that agree, digests that fit what they are of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.tally import Tally, files_in

LINE_BYTES_MAX: Final = 512 * 1024 * 1024

_TEXT: Final = (str,)
_TEXT_OR_NONE: Final = (str, type(None))
_NUMBER_OR_NONE: Final = (int, type(None))
_MESSAGE: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("conversation", "conversation_kind", "day", "sent_at", "chat_id", "message_uid"), _TEXT),
    **dict.fromkeys(("control_number", "sent_at_basis"), _TEXT),
    **dict.fromkeys(("sent_at_ms", "redactions"), (int,)),
    "sender": (dict,),
    **dict.fromkeys(("versions", "files", "visible_to"), (list,)),
    **dict.fromkeys(("send_as_name", "app_id", "reply_to"), _TEXT_OR_NONE),
    "on_behalf_of": (dict, type(None)),
    "not_returned_since_ms": _NUMBER_OR_NONE,
    "is_context": (bool,),
}
_VERSION: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("number", "observed_at_ms", "commit"), (int,)),
    **dict.fromkeys(("text", "source", "captured_by", "content_digest", "raw_digest", "object_key"), _TEXT),
    **dict.fromkeys(("flockml", "notification", "attachments", "raw"), _TEXT_OR_NONE),
    "mentions": (list,),
}
_FILE: Final[dict[str, tuple[type, ...]]] = {
    "ordinal": (int,),
    **dict.fromkeys(("name", "control_number", "kind", "path_name", "status"), _TEXT),
    **dict.fromkeys(("mime", "sha256", "md5", "path", "reason"), _TEXT_OR_NONE),
    "size": _NUMBER_OR_NONE,
}
_PERSON: Final[dict[str, tuple[type, ...]]] = {
    "user_id": _TEXT,
    **dict.fromkeys(("name", "email"), _TEXT_OR_NONE),
    "is_bot": (bool,),
}
_CONVERSATION: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("chat_id", "kind", "path_name"), _TEXT),
    "name": _TEXT_OR_NONE,
    **dict.fromkeys(("participants", "custodians"), (list,)),
}
_GAP: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(("gap_id", "kind", "evidence"), _TEXT),
    "count": (int,),
    **dict.fromkeys(("chat_id", "day", "from_at", "to_at", "subject"), _TEXT_OR_NONE),
    **dict.fromkeys(("from_at_ms", "to_at_ms"), _NUMBER_OR_NONE),
}
_TABLES: Final = {"messages": _MESSAGE, "conversations": _CONVERSATION, "gaps": _GAP}


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield whatever is wrong with the JSON lines of a package."""
    paths, findings = files_in(folder, "jsonl", facts)
    yield from findings
    tally = Tally("jsonl", facts)
    listed: set[str] = set()
    told: dict[str, str] = {}
    for path in paths:
        table = path.rpartition("/")[2].partition("-")[0]
        if table not in _TABLES or not path.endswith(".jsonl"):
            yield Finding(path, None, "stray", "this is no file of this format")
            continue
        for place, line in _lines(folder / path):
            if isinstance(line, str):
                yield Finding(path, place, "parse", line)
                continue
            wrong = list(_fields(line, _TABLES[table], ""))
            yield from (Finding(path, place, "field", what) for what in wrong)
            if wrong:
                continue
            if table == "messages":
                told.setdefault(line["chat_id"], path)
                yield from _message(line, path, place, tally)
            elif table == "conversations":
                if line["chat_id"] in listed:
                    yield Finding(path, place, "duplicate", f"conversation {line['chat_id']!r} is listed twice")
                listed.add(line["chat_id"])
    for chat_id in sorted(told.keys() - listed):
        yield Finding(told[chat_id], None, "reference", f"conversation {chat_id!r} is not listed")
    yield from tally.differences("data/jsonl")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield each line's place and its object, or what is wrong with it."""
    with path.open("rb") as stream:
        number = 0
        while block := stream.readline(LINE_BYTES_MAX + 1):
            number += 1
            place = f"line {number}"
            if len(block) > LINE_BYTES_MAX:
                yield place, f"the line is longer than {LINE_BYTES_MAX} bytes"
                return
            if not block.endswith(b"\n"):
                yield place, "the line does not end"
            try:
                value = json.loads(block.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                yield place, f"this is no JSON: {error}"
                continue
            yield place, value if isinstance(value, dict) else "this is no object"


def _fields(value: object, expected: dict[str, tuple[type, ...]], where: str) -> Iterator[str]:
    """Yield what is missing, too much, or of another type."""
    if not isinstance(value, dict):
        yield f"{where or '/'} is no object"
        return
    for name in sorted(expected.keys() | value.keys()):
        if name not in value:
            yield f"{where}/{name} is missing"
        elif name not in expected:
            yield f"{where}/{name} is no field of this format"
        elif type(value[name]) not in expected[name]:
            yield f"{where}/{name} is of another type"


def _message(line: dict[str, Any], path: str, place: str, tally: Tally) -> Iterator[Finding]:
    wrong = [
        *_fields(line["sender"], _PERSON, "/sender"),
        *(what for at, one in enumerate(line["versions"]) for what in _fields(one, _VERSION, f"/versions/{at}")),
        *(what for at, one in enumerate(line["files"]) for what in _fields(one, _FILE, f"/files/{at}")),
        *(what for at, one in enumerate(line["visible_to"]) for what in _fields(one, _PERSON, f"/visible_to/{at}")),
    ]
    if not line["versions"]:
        wrong.append("/versions is empty")
    yield from (Finding(path, place, "field", what) for what in wrong)
    at_ms = line["sent_at_ms"]
    yield from tally.message(path, place, chat_id=line["chat_id"], uid=line["message_uid"], sent_at_ms=at_ms)
    yield from tally.time(path, place, text=line["sent_at"], at_ms=at_ms, day=line["day"])
    if wrong:
        return
    numbers = [version["number"] for version in line["versions"]]
    if numbers != sorted(set(numbers)):
        yield Finding(path, f"{place} /versions", "order", "the versions are not in the order of their numbers")
    tally.versions(len(numbers))
    for at, version in enumerate(line["versions"]):
        if (
            version["raw"] is not None
            and sha256(version["raw"].encode("utf-8", "surrogatepass")).hexdigest() != version["raw_digest"]
        ):
            yield Finding(path, f"{place} /versions/{at}/raw", "digest", "its SHA-256 is not raw_digest")
    for at, file in enumerate(line["files"]):
        native = None if file["path"] is None else f"data/{file['path']}"
        yield from tally.file(path, f"{place} /files/{at}", native=native, sha256=file["sha256"])
