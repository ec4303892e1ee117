"""The archive held against the simulator's truth. Nothing here uses the code that is judged, except to read Parquet.

What an archive must hold is not everything that happened but everything that Flock *showed*: so what was shown (`Shown`, in order)
is first told apart into messages and versions by the rules of the design, and each of these must be a version of the truth.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pyarrow.parquet as pq

from archiver.archive import layout
from archiver.archive.reader import open_files
from tests.run.station import Row, Shown, Station

Key = tuple[str, str]
Fields = dict[str, Any]

# What a message says (flock-api.md 6.1), and the column that holds it.
CONTENT = {
    "text": "text",
    "flockml": "flockml",
    "notification": "notification",
    "appId": "app_id",
    "mentions": "mentions",
    "sendAs": "send_as_name",
    "attachments": "attachments",
    "onBehalfOf": "on_behalf_of",
    "visibleTo": "visible_to",
}

# The tables that have one row a change, and what tells their things apart.
DIRECTORY_KEYS = {
    "users": ("user_id",),
    "channels": ("channel_id",),
    "groups": ("channel_id", "user_id"),
    "conversations": ("chat_id",),
}


@dataclass
class Told:
    """One message as it was shown: who, when if that was told, and what it said in order. ``rows`` counts captures that added."""

    sender: str
    versions: list[Fields] = field(default_factory=list)
    rows: int = 0


def messages_in(shown: Shown) -> Iterator[Fields]:
    """Yield the message objects that a push or an answer carries; nothing where it cannot be read."""
    try:
        body = json.loads(shown.body)
    except ValueError:
        return
    if shown.kind != "event":
        yield body
        return
    if isinstance(body.get("message"), dict):
        yield body["message"]
    yield from body.get("messages") or ()


def told_by(shown: Iterable[Shown]) -> dict[Key, Told]:
    """Tell messages and versions apart in what was shown.

    A push repeats what any version said, because deliveries come late and twice; an answer to a question is about now. What adds
    fields to a version completes it; what a capture does not carry is unknown.
    """
    told: dict[Key, Told] = {}
    for item in shown:
        for message in messages_in(item):
            if message.get("uid"):
                _tell(told, message, of_now=item.kind == "fetch")
    return told


def nameless(shown: Iterable[Shown]) -> Counter[tuple[str, str, str]]:
    """Return chat, sender and text of each message that came without a uid."""
    messages = (message for item in shown for message in messages_in(item) if not message.get("uid"))
    return Counter((_chat_of(message), message["from"], message["text"]) for message in messages)


def _tell(told: dict[Key, Told], message: Fields, *, of_now: bool) -> None:
    known = told.setdefault((_chat_of(message), message["uid"]), Told(message["from"]))
    carried = {name: message[name] for name in CONTENT if name in message}
    rivals = known.versions[-1:] if of_now else known.versions[::-1]
    for version in rivals:
        if all(_said(version, name) == _said(carried, name) for name in CONTENT if name in version and name in carried):
            more = {name: value for name, value in carried.items() if name not in version and value}
            version.update(more)
            known.rows += bool(more)
            return
    known.versions.append(carried)
    known.rows += 1


def _said(fields: Fields, name: str) -> Any:
    value = fields.get(name)
    if name == "notification" and not value:
        value = fields.get("text")
    return value or None


def _chat_of(message: Fields) -> str:
    to = message["to"]
    return to if to.startswith("g:") else ",".join(sorted((message["from"], to)))


def archived(machine: Station) -> dict[Key, list[list[Row]]]:
    """Return the rows of each message by version; each version may have rows that complete it. Versions count from 1 without a hole."""
    found: dict[Key, dict[int, list[Row]]] = {}
    for row in machine.rows("messages"):
        found.setdefault((row["chat_id"], row["message_uid"]), {}).setdefault(row["version"], []).append(row)
    for key, versions in found.items():
        assert sorted(versions) == list(range(1, len(versions) + 1)), f"{key} has versions {sorted(versions)}"
    return {key: [versions[number] for number in sorted(versions)] for key, versions in found.items()}


def check(machine: Station) -> None:
    """Hold everything that a machine archived against the truth; its spool must be empty."""
    told = told_by(machine.shown)
    check_messages(machine, told)
    check_bytes(machine)
    check_nameless(machine)
    check_order(machine)
    check_told_is_true(machine, told)
    check_events(machine)
    check_wanted(machine)
    check_files(machine)
    check_whole(machine)


def check_messages(machine: Station, told: Mapping[Key, Told]) -> None:
    """Every message that was shown is there once, with every version in order, and nothing else."""
    found = {key: versions for key, versions in archived(machine).items() if not _is_provisional(key[1])}
    assert found.keys() - told.keys() == set(), "archived and never shown"
    assert told.keys() - found.keys() == set(), "shown and not archived"
    wrong = [
        (key, told[key].versions, [_content(rows) for rows in versions])
        for key, versions in found.items()
        if [_normal(version) for version in told[key].versions] != [_content(rows) for rows in versions]
    ]
    assert not wrong, f"{len(wrong)} messages say something else, the first is {wrong[0]}"
    for key, versions in found.items():
        assert {row["sender_id"] for rows in versions for row in rows} == {told[key].sender}
        assert sum(map(len, versions)) == told[key].rows, f"{key} has rows that say nothing new"
        for row in (row for rows in versions for row in rows):
            assert sha256(row["raw"].encode()).hexdigest() == row["raw_digest"]
        for before, after in pairwise(versions):
            assert after[0]["supersedes"] in {row["content_digest"] for row in before}


def check_bytes(machine: Station) -> None:
    """The raw form of a message is the very bytes that Flock sent: the whole of a push or of an answer, or a part of an event."""
    whole = {item.body for item in machine.shown if item.kind != "event"}
    events = [item.body for item in machine.shown if item.kind == "event"]
    captors = {"webhook": machine.feeds.keys(), "event": {"events"}, "fetch": machine.flock.people.keys()}
    for row in machine.rows("messages"):
        raw = row["raw"].encode()
        assert raw in whole or (row["source"] == "event" and any(raw in body for body in events))
        assert row["captured_by"] in captors[row["source"]]


def check_nameless(machine: Station) -> None:
    """What came without a uid is there under a provisional one, as often as it came."""
    rows = [row for row in machine.rows("messages") if _is_provisional(row["message_uid"])]
    found = Counter((row["chat_id"], row["sender_id"], row["text"]) for row in rows)
    assert found == nameless(machine.shown)


def check_wanted(machine: Station) -> None:
    """Whatever an event named is archived, or was asked for and not returned."""
    known = {uid for _, uid in archived(machine)} | {row["message_uid"] for row in machine.rows("observations")}
    for item in machine.shown:
        if item.kind == "event":
            body = json.loads(item.body)
            named = [*body.get("messageUids", ()), *([body["messageUid"]] if "messageUid" in body else [])]
            assert set(named) <= known
    assert not open_files(machine.head(), "events")


def check_told_is_true(machine: Station, told: Mapping[Key, Told]) -> None:
    """What was shown is what happened: chat, sender, time and every version are the truth's, and so are they in the archive."""
    truth = {(row["chat_id"], row["uid"]): row for row in machine.flock.truth("message")}
    assert told.keys() <= truth.keys()
    for key, message in told.items():
        assert message.sender == truth[key]["from"]
        said = [_normal(version) for version in truth[key]["versions"]]
        for version in message.versions:
            shown = _normal(version)
            assert any(_agree(shown, version, state) for state in said), f"{key} never said {shown}"
    for row in machine.rows("messages"):
        if not _is_provisional(row["message_uid"]):
            assert row["sent_at"] == truth[row["chat_id"], row["message_uid"]]["sent_at_ms"]
        assert row["chat_kind"] == ("channel" if row["chat_id"].startswith("g:") else "direct")


def check_order(machine: Station) -> None:
    """A reader who goes through the files of a day meets each chat's messages by time and uid, and each under its day."""
    head = machine.head()
    for key in sorted(head.files):
        table, day = layout.partition_of(key)
        if table == "messages":
            rows = rows_of_object(machine, key)
            order = [
                (row["chat_id"], row["sent_at"], row["message_uid"], row["version"], row["observed_at"]) for row in rows
            ]
            assert order == sorted(order)
            assert {row["sent_at"].date() for row in rows} == {day}


def rows_of_object(machine: Station, key: str) -> list[Row]:
    with machine.store.open(key) as stream:
        rows: list[Row] = pq.read_table(stream).to_pylist()
    return rows


def check_events(machine: Station) -> None:
    """Every push left one event row, and no push of a spool left two."""
    pushes = [row for row in machine.rows("events") if row["feed_kind"] != "fetch"]
    assert len(pushes) == sum(item.kind != "fetch" for item in machine.shown)
    numbers = {(row["spool_id"], row["sequence"], row["body_digest"]) for row in pushes}
    assert len(numbers) == len(pushes)


def check_files(machine: Station) -> None:
    """Each file of each version has its row, stored with the right bytes or with the reason why not."""
    truth = {row["url"]: row for row in machine.flock.truth("file")}
    newest: dict[tuple[Any, ...], Row] = {}
    for row in machine.rows("files"):
        place = (row["chat_id"], row["message_uid"], row["version"], row["ordinal"])
        assert place not in newest or newest[place]["attempts"] != row["attempts"], f"{place} was written twice"
        newest[place] = max(newest.get(place, row), row, key=lambda item: item["attempts"])
    wanted = {}
    for (chat_id, uid), versions in archived(machine).items():
        for number, rows in enumerate(versions, 1):
            offered = (_normal({"attachments": row["attachments"]})["attachments"] for row in rows)
            for ordinal, file in enumerate(_files_in(next(filter(None, offered), []))):
                wanted[chat_id, uid, number, ordinal] = file
    assert newest.keys() == wanted.keys()
    check_digests(machine)
    for place, row in newest.items():
        kind, item = wanted[place]
        assert (row["kind"], row["url"], row["name"]) == (kind, item["src"], item.get("filename") or None)
        check_file(machine, row, truth.get(row["url"]))


def check_digests(machine: Station) -> None:
    """A message row names the files that were stored with it, at their first try, each once and in order."""
    stored: dict[tuple[Any, ...], list[str]] = {}
    for row in sorted(machine.rows("files"), key=lambda row: row["ordinal"]):
        if row["status"] == "stored" and row["attempts"] == 1:
            digests = stored.setdefault((row["chat_id"], row["message_uid"], row["version"]), [])
            digests += [row["blob_digest"]] if row["blob_digest"] not in digests else []
    named = {
        (row["chat_id"], row["message_uid"], row["version"]): row["blob_digests"]
        for row in machine.rows("messages")
        if row["blob_digests"]
    }
    assert named == stored


def check_file(machine: Station, row: Row, file: Row | None) -> None:
    """A file's outcome follows from how its host answers."""
    if file is None:  # a trap, or an address outside Flock
        assert row["status"] != "stored"
    elif file["mode"] in ("direct", "redirect"):
        assert (row["status"], row["blob_digest"], row["blob_bytes"]) == ("stored", file["sha256"], file["size"])
        assert sha256(machine.store.read(layout.blob_key(file["sha256"]))).hexdigest() == file["sha256"]
    else:
        status, reason = {
            "forbidden": (403, "http_status"),
            "missing": (404, "http_status"),
            "login_page": (200, "login_page"),
        }[file["mode"]]
        assert (row["status"] in ("failed", "given_up"), row["http_status"], row["reason"]) == (True, status, reason)
        assert row["blob_digest"] is None


def check_whole(machine: Station) -> None:
    """The archive is what its ledger says, holds nothing else, and nothing waits; and we did nothing that Flock would show."""
    outcome = machine.verify()
    assert outcome.damages == ()
    assert outcome.unfinished == 0
    assert not list(machine.store.list(layout.PENDING_PREFIX))
    assert machine.waiting() == 0
    assert machine.flock.violations() == []
    assert machine.tap.answers == []


def check_directory(machine: Station) -> None:
    """The newest row of everybody and everything says what the users who installed the app see now."""
    check_people(machine)
    check_channels(machine)
    check_changes(machine)


def check_changes(machine: Station) -> None:
    """Every row of the directory's tables says something that the row before it did not."""
    for table, key in DIRECTORY_KEYS.items():
        last: dict[tuple[str, ...], str] = {}
        for row in sorted(machine.rows(table), key=lambda row: row["valid_from"]):
            name = tuple(row[column] for column in key)
            assert last.get(name) != row["state_digest"], f"{table} has a row of {name} that says nothing new"
            last[name] = row["state_digest"]


def check_people(machine: Station) -> None:
    """Users are as `users.getInfo` shows their own, and as profiles show the others."""
    users = newest(machine, "users")
    truth = {row["user_id"]: row for row in machine.flock.truth("user")}
    assert {key[0] for key in users} == truth.keys()
    for (user_id,), row in users.items():
        person = truth[user_id]
        assert (row["first_name"], row["last_name"]) == (person["first_name"], person["last_name"])
        own = (person["email"], person["role"]) if person["installed"] else (None, None)
        assert (row["email"], row["role"]) == own


def check_channels(machine: Station) -> None:
    """Channels, who is in them and who left, and their conversations are as they are now."""
    truth = {row["channel_id"]: row for row in machine.flock.truth("channel")}
    channels = newest(machine, "channels")
    assert {key[0] for key in channels} == truth.keys()
    for (channel_id,), row in channels.items():
        channel = truth[channel_id]
        assert (row["state"], row["name"], row["purpose"] or "") == ("listed", channel["name"], channel["purpose"])
        assert row["member_count"] == len(channel["members"])
    stays = {
        (row["channel_id"], row["user_id"]): row["affiliation"]
        for row in machine.flock.truth("membership")
        if row["until_ms"] is None
    }
    groups = newest(machine, "groups")
    assert {key: row["affiliation"] for key, row in groups.items() if row["state"] == "member"} == stays
    conversations = newest(machine, "conversations")
    chats = {row["chat_id"] for row in machine.rows("messages")}
    assert {key[0] for key in conversations} == truth.keys() | chats
    for (chat_id,), row in conversations.items():
        if chat_id in truth:
            assert (row["chat_kind"], row["name"], row["participants"]) == ("channel", truth[chat_id]["name"], None)
        else:
            assert (row["chat_kind"], row["participants"]) == ("direct", chat_id.split(","))


def newest(machine: Station, table: str) -> dict[tuple[str, ...], Row]:
    """Return the newest row of each thing in a table that has one row a change."""
    states: dict[tuple[str, ...], Row] = {}
    for row in sorted(machine.rows(table), key=lambda row: row["valid_from"]):
        states[tuple(row[column] for column in DIRECTORY_KEYS[table])] = row
    return states


def _is_provisional(uid: str) -> bool:
    return uid.startswith("provisional:")


def _normal(version: Mapping[str, Any]) -> Fields:
    """Return what a version says in one form: nothing is None, attachments are JSON values, send-as is its name."""
    normal = {name: version.get(name) or None for name in CONTENT}
    if isinstance(normal["attachments"], str):
        normal["attachments"] = json.loads(normal["attachments"])
    if isinstance(normal["sendAs"], dict):
        normal["sendAs"] = normal["sendAs"].get("name")
    return normal


def _content(rows: Iterable[Row]) -> Fields:
    """Return what the rows of one version say together."""
    said: Fields = {}
    for row in rows:
        said |= {name: row[column] for name, column in CONTENT.items() if row[column]}
    return _normal(said)


def _agree(shown: Fields, carried: Fields, state: Fields) -> bool:
    return all(shown[name] == state[name] for name in CONTENT if name in carried)


def _files_in(attachments: Iterable[Any]) -> Iterator[tuple[str, Fields]]:
    """Yield kind and facts of each downloadable thing of a message, in order (flock-api.md 6.2)."""
    for attachment in attachments:
        for item in attachment.get("downloads") or ():
            yield "download", item
        image = (attachment.get("views") or {}).get("image") or {}
        if "original" in image:
            yield "image", {"filename": image.get("filename"), **image["original"]}
        if "thumbnail" in image:
            yield "thumbnail", image["thumbnail"]
