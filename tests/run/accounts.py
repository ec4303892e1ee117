"""Every message that happened is archived, or is in the list of gaps, or is in the one class of losses that nobody can notice.

Flock numbers nothing and repeats nothing (flock-api.md 11.1), so a push that never came leaves no hole that could be seen. What can be
seen is told by the list of gaps, and this module says by which row of it each lost message is told:

=================  ==========================================================================================================
the message        is told by
=================  ==========================================================================================================
came unreadably    a row of ``events`` with its body, and ``unparsed`` of its feed with their number
came without uid   a row of ``messages`` under a provisional uid
was named          ``message-not-returned`` with its chat and uid, or ``message-unknown-chat``, ``message-failed`` of its chat
was sent to a      ``listener-down``, whose time covers the moment
listener not there
has no feed        ``channel-without-feed`` of its channel, at a time that covers the moment
is private         nothing: Flock pushes nothing of one-to-one conversations; until a user hands one over, nobody knows of it
was dropped        nothing, where its feed delivers other messages and a listener was there
=================  ==========================================================================================================

The last two are what docs/operations.md says cannot be noticed. Each lost message must fall into a class, and those two must be no
larger than they are: a message of which any push arrived, or whose uid was named to us, or that somebody's gap covers, is not in them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.run import truth
from tests.run.station import Row, Station

UNREADABLE = frozenset({"not_json", "not_utf8"})
TAKEN = "200"


@dataclass(frozen=True)
class Phase:
    """A time on the machine's clock at which a listener was there, or none was."""

    from_ms: int
    to_ms: int
    is_up: bool

    def covers(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms <= self.to_ms


@dataclass
class Diary:
    """When, by the machine's clock, each message was sent, and when a listener was there."""

    sent: dict[str, tuple[int, int]] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)

    def note(self, machine: Station, *, from_ms: int) -> None:
        """Note that what is new in the truth happened between an instant and now."""
        to_ms = machine.clock.now_ms()
        for row in machine.flock.truth("message"):
            self.sent.setdefault(row["uid"], (from_ms, to_ms))


@dataclass(frozen=True)
class Account:
    """The uids of all messages that ever were, by what became of them or what tells of their loss."""

    by_class: Mapping[str, frozenset[str]]

    def of(self, name: str) -> frozenset[str]:
        return self.by_class.get(name, frozenset())


def gaps_of(machine: Station) -> list[Row]:
    """Return the newest row of each gap."""
    newest: dict[str, Row] = {}
    for row in machine.rows("gaps"):
        if row["gap_id"] not in newest or newest[row["gap_id"]]["valid_from"] <= row["valid_from"]:
            newest[row["gap_id"]] = row
    return list(newest.values())


def take(machine: Station, diary: Diary) -> Account:
    """Find the class of every message; raises if one is in none."""
    gaps = gaps_of(machine)
    pushes: dict[str, list[Row]] = {}
    for row in machine.flock.truth("push"):
        pushes.setdefault(row["uid"], []).append(row)
    archived = {uid for _, uid in truth.archived(machine)}
    nameless = Counter(
        (row["chat_id"], row["sender_id"], row["text"])
        for row in machine.rows("messages")
        if row["message_uid"].startswith("provisional:")
    )
    named = set(uids_named(machine))
    classes: dict[str, set[str]] = {}
    for message in machine.flock.truth("message"):
        uid = message["uid"]
        if uid in archived:
            found = "archived"
        else:
            found = _class_of(
                message, pushes.get(uid, []), gaps, sent=diary.sent[uid], is_named=uid in named, nameless=nameless
            )
        classes.setdefault(found, set()).add(uid)
    return Account({name: frozenset(uids) for name, uids in classes.items()})


def uids_named(machine: Station) -> Iterator[str]:
    """Yield the uids that events named, of those that reached us and can be read."""
    for item in machine.shown:
        if item.kind == "event":
            try:
                body = json.loads(item.body)
            except ValueError:
                continue
            yield from body.get("messageUids") or ()
            if "messageUid" in body:
                yield body["messageUid"]


def _class_of(
    message: Row,
    pushes: Iterable[Row],
    gaps: list[Row],
    *,
    sent: tuple[int, int],
    is_named: bool,
    nameless: Counter[tuple[str, str, str]],
) -> str:
    """Return the class of a message that is not in the archive under its uid."""
    chat_id, uid = message["chat_id"], message["uid"]
    pushes = list(pushes)
    taken = {push["fault"] for push in pushes if push["status"] == TAKEN}
    assert taken <= UNREADABLE | {"no_uid"}, f"{uid} was taken, can be read, and is not archived"
    if "no_uid" in taken:
        said = [version["text"] for version in message["versions"]]
        assert any(nameless[chat_id, message["from"], text] for text in said), f"{uid} came without a uid and is lost"
        return "provisional"
    if is_named:
        told = [gap for gap in gaps if gap["kind"] == "message-not-returned" and gap["subject"] == uid]
        told += [
            gap
            for gap in gaps
            if gap["kind"] in ("message-unknown-chat", "message-failed") and gap["chat_id"] == chat_id
        ]
        assert any(gap["state"] == "open" and gap["chat_id"] == chat_id for gap in told), f"{uid} was named and is lost"
        return "named"
    if taken:
        feeds = {push["feed"] for push in pushes if push["status"] == TAKEN}
        assert all(any(gap["kind"] == "unparsed" and gap["subject"] == feed for gap in gaps) for feed in feeds)
        return "unparsed"
    if not chat_id.startswith("g:") and not pushes:
        return "private"
    for kind in ("listener-down", "channel-without-feed"):
        for gap in gaps:
            is_there = kind == "listener-down" or gap["chat_id"] == chat_id
            if gap["kind"] == kind and is_there and _covers(gap, sent):
                return kind
    assert pushes, f"no push of {uid} was ever tried, and no gap tells of {chat_id}"
    return "dropped"


def _covers(gap: Row, sent: tuple[int, int]) -> bool:
    """Tell whether a gap's time holds a moment; it began before we could know where it does not say when."""
    began, ended = gap["from_at"], gap["to_at"]
    return (began is None or began <= sent[0]) and (ended is None or ended >= sent[1])


def check_gaps(machine: Station, diary: Diary) -> None:
    """The other way round: each gap of these kinds is true, and each that must be there is there, once."""
    gaps = gaps_of(machine)
    _check_downtimes(gaps, diary)
    pushes = list(machine.flock.truth("push"))
    unreadable = Counter(push["feed"] for push in pushes if push["status"] == TAKEN and push["fault"] in UNREADABLE)
    told = Counter({gap["subject"]: gap["count"] for gap in gaps if gap["kind"] == "unparsed"})
    assert told == unreadable
    fed = {row["chat_id"] for row in machine.rows("events") if row["feed_kind"] == "webhook" and row["chat_id"]}
    silent = {row["channel_id"] for row in machine.flock.truth("channel")} - fed
    assert _open(gaps, "channel-without-feed", "chat_id") == silent
    archived = {uid for _, uid in truth.archived(machine)}
    not_returned = {row["message_uid"] for row in machine.rows("observations") if row["outcome"] == "not_returned"}
    assert _open(gaps, "message-not-returned", "subject") == not_returned - archived - {None}


def _open(gaps: Iterable[Row], kind: str, column: str) -> set[Any]:
    return {gap[column] for gap in gaps if gap["kind"] == kind and gap["state"] == "open"}


def _check_downtimes(gaps: Iterable[Row], diary: Diary) -> None:
    """Each time without a listener is one gap that lies within it but for the moments of stopping and starting."""
    downs = [phase for phase in diary.phases if not phase.is_up]
    told = sorted((gap for gap in gaps if gap["kind"] == "listener-down"), key=lambda gap: gap["from_at"])
    assert [gap["state"] for gap in told] == ["closed"] * len(downs)
    for phase, gap in zip(downs, told, strict=True):
        assert phase.covers(gap["from_at"])
        assert phase.covers(gap["to_at"])


def check_newest(machine: Station) -> None:
    """Of what is archived and still there, the newest version is what Flock shows, whatever pushes of edits were dropped."""
    shown = {
        (row["chat_id"], row["uid"]): row["versions"][-1]
        for row in machine.flock.truth("message")
        if row["deleted_at_ms"] is None
    }
    found = truth.archived(machine)
    stale = [
        key
        for key, versions in found.items()
        if key in shown and (versions[-1][-1]["text"] or "") != (shown[key]["text"] or "")
    ]
    assert not stale, f"{len(stale)} messages are archived as they no longer are, the first is {stale[0]}"
