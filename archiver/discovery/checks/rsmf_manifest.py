"""The rules of an RSMF manifest: which fields an object may have, what refers to what, and in which order things stand (formats.md).

The manifest is read as it is and nothing is mended: a field of another type is told of and then looked at no further.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

Told = tuple[str, str, str]
"""A JSON pointer, a code and a sentence."""

JsonObject = dict[str, Any]

# Of each object its fields: a star marks one that must be there. ``ids``, ``customs`` and the like are arrays of what they name.
_FIELDS: Final[dict[str, dict[str, str]]] = {
    "root": {
        "version": "*string",
        "eventcollectionid": "string",
        "participants": "*participants",
        "conversations": "*conversations",
        "events": "*events",
    },
    "participant": {
        "id": "*string",
        **dict.fromkeys(("display", "email", "account_id", "avatar"), "string"),
        "custom": "customs",
    },
    "conversation": {
        "id": "*string",
        "platform": "*string",
        "participants": "*ids",
        **dict.fromkeys(("display", "type", "custodian", "icon"), "string"),
        "custom": "customs",
    },
    "event": {
        "type": "*string",
        **dict.fromkeys(("id", "parent", "body", "participant", "conversation", "timestamp"), "string"),
        **dict.fromkeys(("importance", "direction"), "string"),
        "deleted": "boolean",
        "reactions": "reactions",
        "attachments": "attachments",
        "edits": "edits",
        "read_receipts": "read_receipts",
        "custom": "customs",
    },
    "custom": {"name": "*string", "value": "*string"},
    "reaction": {"value": "*string", "count": "integer", "participants": "ids"},
    "attachment": {"id": "*string", "display": "string", "size": "integer"},
    "edit": {"participant": "*string", "timestamp": "string", "previous": "string", "new": "string"},
    "read_receipt": {"participant": "*string", "timestamp": "string", "action": "string"},
}
_VALUES: Final = {
    ("conversation", "type"): {"direct", "channel"},
    ("event", "type"): {"message", "disclaimer", "join", "leave", "history", "unknown"},
    ("event", "importance"): {"normal", "high"},
    ("event", "direction"): {"incoming", "outgoing"},
    ("read_receipt", "action"): {"read", "delivered"},
}
_PLAIN: Final = {"string": str, "boolean": bool, "integer": int}
_VERSION_CHARACTERS_MIN = 5
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that has the fields it must have, each of its type."""

    root: JsonObject
    told: list[Told] = field(default_factory=list)

    @property
    def participants(self) -> list[JsonObject]:
        """Everybody whom the manifest knows."""
        return list(self.root["participants"])

    @property
    def conversations(self) -> list[JsonObject]:
        """The conversations, usually one."""
        return list(self.root["conversations"])

    @property
    def events(self) -> list[JsonObject]:
        """What happened, in order."""
        return list(self.root["events"])


def load(data: bytes) -> tuple[Manifest | None, list[Told]]:
    """Read a manifest; None where it is no JSON or lacks what all other rules need."""
    try:
        root = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return None, [("", "json", f"the manifest is no JSON: {str(error)[:200]}")]
    told = list(_shape(root, "root", ""))
    if any(code in ("field", "type") for _, code, _ in told):
        return None, told
    return Manifest(root), told


def check_manifest(manifest: Manifest) -> Iterator[Told]:
    """Yield what of a manifest breaks the rules that its objects have among each other."""
    if len(manifest.root["version"]) < _VERSION_CHARACTERS_MIN:
        yield "/version", "value", "the version has less than 5 characters"
    yield from _ids(manifest)
    yield from _references(manifest)
    yield from _parents(manifest)
    yield from _times(manifest)
    yield from _order(manifest)
    for number, event in enumerate(manifest.events):
        yield from _edits(event, f"/events/{number}")


def instant(text: Any) -> datetime | None:
    """Return the instant of an RFC 3339 text with an offset; None for any other."""
    if not isinstance(text, str) or not _RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def customs(owner: JsonObject) -> Iterator[tuple[str, str]]:
    """Yield the names and values of an object's ``custom``."""
    for item in owner.get("custom", ()):
        yield item["name"], item["value"]


def _shape(value: Any, kind: str, pointer: str) -> Iterator[Told]:
    if not isinstance(value, dict):
        yield pointer, "type", f"a {kind} is no object"
        return
    fields = _FIELDS[kind]
    for name, wanted in fields.items():
        if wanted.startswith("*") and name not in value:
            yield f"{pointer}/{name}", "field", f"a {kind} has no {name}"
    for name, inner in value.items():
        at = f"{pointer}/{name}"
        known = fields.get(name)
        if known is None:
            yield at, "unknown", f"unknown field of a {kind}: {name[:40]!r}"
        else:
            yield from _field(inner, known.lstrip("*"), at)
            allowed = _VALUES.get((kind, name))
            if allowed is not None and isinstance(inner, str) and inner not in allowed:
                yield at, "value", f"{name} of a {kind} is {inner[:40]!r} and none of {', '.join(sorted(allowed))}"


def _field(value: Any, wanted: str, pointer: str) -> Iterator[Told]:
    if (plain := _PLAIN.get(wanted)) is not None:
        if not isinstance(value, plain) or (wanted == "integer" and isinstance(value, bool)):
            yield pointer, "type", f"it is no {wanted}"
        return
    if not isinstance(value, list):
        yield pointer, "type", "it is no array"
        return
    for number, item in enumerate(value):
        at = f"{pointer}/{number}"
        if wanted == "ids":
            if not isinstance(item, str):
                yield at, "type", "an id is no string"
        else:
            yield from _shape(item, wanted.removesuffix("s"), at)


def _ids(manifest: Manifest) -> Iterator[Told]:
    for name, objects in (
        ("participants", manifest.participants),
        ("conversations", manifest.conversations),
        ("events", manifest.events),
    ):
        counted = Counter(item["id"] for item in objects if "id" in item)
        for number, item in enumerate(objects):
            if "id" in item and counted[item["id"]] > 1:
                yield f"/{name}/{number}/id", "id", f"{counted[item['id']]} of the {name} have this id"
                counted[item["id"]] = 0


def _references(manifest: Manifest) -> Iterator[Told]:
    people = {item["id"] for item in manifest.participants}
    chats = {item["id"] for item in manifest.conversations}
    for number, conversation in enumerate(manifest.conversations):
        at = f"/conversations/{number}"
        named = [("custodian", conversation["custodian"])] if "custodian" in conversation else []
        named += [(f"participants/{n}", person) for n, person in enumerate(conversation["participants"])]
        yield from (_undefined(f"{at}/{place}", person) for place, person in named if person not in people)
    for number, event in enumerate(manifest.events):
        at = f"/events/{number}"
        if "conversation" in event and event["conversation"] not in chats:
            yield _undefined(f"{at}/conversation", event["conversation"])
        named = [("participant", event["participant"])] if "participant" in event else []
        for list_name in ("edits", "read_receipts"):
            named += [(f"{list_name}/{n}", item["participant"]) for n, item in enumerate(event.get(list_name, ()))]
        for reaction in event.get("reactions", ()):
            named += [("reactions", person) for person in reaction.get("participants", ())]
        yield from (_undefined(f"{at}/{place}", person) for place, person in named if person not in people)


def _undefined(pointer: str, identifier: str) -> Told:
    return pointer, "reference", f"nothing has the id {identifier[:80]!r} that is referred to here"


def _parents(manifest: Manifest) -> Iterator[Told]:
    events = {event["id"]: event for event in manifest.events if "id" in event}
    for number, event in enumerate(manifest.events):
        if "parent" not in event:
            continue
        at = f"/events/{number}/parent"
        parent = events.get(event["parent"])
        if parent is None:
            yield _undefined(at, event["parent"])
            continue
        if parent is event:
            yield at, "parent", "an event is its own parent"
        if parent.get("conversation") != event.get("conversation"):
            yield at, "parent", "the parent is in another conversation"
        mine, its = instant(event.get("timestamp")), instant(parent.get("timestamp"))
        if mine is not None and its is not None and its > mine:
            yield at, "parent", "the parent is later than its child"


def _times(manifest: Manifest) -> Iterator[Told]:
    for number, event in enumerate(manifest.events):
        places = [("timestamp", event)]
        for name in ("edits", "read_receipts"):
            places += [(f"{name}/{n}/timestamp", item) for n, item in enumerate(event.get(name, ()))]
        for place, item in places:
            if "timestamp" in item and instant(item["timestamp"]) is None:
                yield f"/events/{number}/{place}", "time", "it is no RFC 3339 instant with an offset"


def _order(manifest: Manifest) -> Iterator[Told]:
    last: tuple[datetime, str] | None = None
    for number, event in enumerate(manifest.events):
        at = instant(event.get("timestamp"))
        if at is None:
            continue
        key = (at, event.get("id", ""))
        if last is not None and key < last:
            yield f"/events/{number}", "order", "events are not sorted by timestamp and id"
            return
        last = key


def _edits(event: JsonObject, pointer: str) -> Iterator[Told]:
    edits = event.get("edits", [])
    times = [at for edit in edits if (at := instant(edit.get("timestamp"))) is not None]
    if times != sorted(times):
        yield f"{pointer}/edits", "edits", "the edits are not oldest first"
    for number, (earlier, later) in enumerate(itertools.pairwise(edits), 1):
        if earlier.get("new") != later.get("previous"):
            yield f"{pointer}/edits/{number}", "edits", "an edit does not begin with what the one before ended with"
    if edits and edits[-1].get("new") != event.get("body"):
        yield f"{pointer}/edits/{len(edits) - 1}/new", "edits", "the last edit does not end with the body"


def _once(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
