"""What is new in the directory: the rows that a crawl adds to the tables users, channels, groups and conversations.

Pure: last known states and what was seen now go in, changed rows come out. A row is written when a state differs from
the last one, so equal answers give no rows. A field that an answer does not carry stays as it was known, and absence
counts as an event only where a whole list proves it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

import msgspec

from archiver.capture.directory_seen import USER_METHODS, DirectorySeen, SeenChannel, SeenMembers, SeenUser
from archiver.normalise.content import without_signature

Row = Mapping[str, Any]

# What a state consists of, by table; the rest of a row says when, by whom and in which bytes it was seen.
USER_STATE: Final = ("user_id", "first_name", "last_name", "email", "team_id", "role", "timezone", "profile_image")
CHANNEL_STATE: Final = ("channel_id", "state", "name", "purpose", "profile_image", "member_count")
GROUP_STATE: Final = ("channel_id", "user_id", "state", "affiliation")
CONVERSATION_STATE: Final = ("chat_id", "chat_kind", "name", "participants")

LISTED: Final = "listed"
UNLISTED: Final = "unlisted"
MEMBER: Final = "member"
LEFT: Final = "left"

_encode = msgspec.json.Encoder(order="deterministic").encode
_RAW_BY_METHOD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class DirectoryKnown:
    """The latest row of each key as the archive holds them.

    Users, channels and conversations stand under their id, groups under (channel id, user id).
    """

    users: Mapping[str, Row] = field(default_factory=dict)
    channels: Mapping[str, Row] = field(default_factory=dict)
    groups: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    conversations: Mapping[str, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DirectoryChanges:
    """The rows to add, each with all columns of its table (see `archiver.archive.schema`), instants in milliseconds."""

    users: tuple[Row, ...] = ()
    channels: tuple[Row, ...] = ()
    groups: tuple[Row, ...] = ()
    conversations: tuple[Row, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.users or self.channels or self.groups or self.conversations)


def changes(known: DirectoryKnown, seen: DirectorySeen, *, seen_at_ms: int) -> DirectoryChanges:
    """Return the rows that make the known directory into the seen one, sorted by key.

    The order of what was seen does not matter. Rows carry ``valid_from = seen_at_ms``.
    """
    people = DirectoryChanges(
        users=tuple(_changed_users(known, seen.users, seen_at_ms)),
        groups=tuple(_changed_groups(known, seen.members, seen_at_ms)),
    )
    # Whether a channel is gone hangs on who is in it, as far as we know by now.
    known = after(known, people)
    return replace(
        people,
        channels=tuple(_changed_channels(known, seen, seen_at_ms)),
        conversations=tuple(_changed_conversations(known, seen.channels, seen_at_ms)),
    )


def after(known: DirectoryKnown, changed: DirectoryChanges) -> DirectoryKnown:
    """Return what is known once the changed rows are archived."""
    return DirectoryKnown(
        users={**known.users, **{row["user_id"]: row for row in changed.users}},
        channels={**known.channels, **{row["channel_id"]: row for row in changed.channels}},
        groups={**known.groups, **{(row["channel_id"], row["user_id"]): row for row in changed.groups}},
        conversations={**known.conversations, **{row["chat_id"]: row for row in changed.conversations}},
    )


def conversation_row(
    *,
    chat_id: str,
    chat_kind: str,
    name: str | None,
    participants: Sequence[str] | None,
    captured_by: str,
    seen_at_ms: int,
) -> dict[str, Any]:
    """Return a row of the table conversations; also for one-to-one chats, which no directory lists."""
    row = {
        "chat_id": chat_id,
        "valid_from": seen_at_ms,
        "chat_kind": chat_kind,
        "name": name,
        "participants": None if participants is None else list(participants),
        "captured_by": captured_by,
    }
    return {**row, "state_digest": state_digest(row, CONVERSATION_STATE)}


def state_digest(row: Row, columns: Iterable[str]) -> str:
    """Return the SHA-256 (64 hex digits) of the canonical JSON of these columns; a URL counts without its expiring part."""
    state = {column: row[column] for column in columns}
    if isinstance(image := state.get("profile_image"), str):
        state["profile_image"] = without_signature(image)
    return sha256(_encode(state)).hexdigest()


def _is_new(row: Row, last: Row | None) -> bool:
    return last is None or last["state_digest"] != row["state_digest"]


def _changed_users(known: DirectoryKnown, seen: Iterable[SeenUser], seen_at_ms: int) -> Iterable[Row]:
    by_user: dict[str, list[SeenUser]] = {}
    for user in seen:
        by_user.setdefault(user.user_id, []).append(user)
    for user_id, views in sorted(by_user.items()):
        last = known.users.get(user_id)
        # From the least to the most believed, so that the last word stays; equal methods in an order of their own.
        views.sort(key=lambda view: (-_belief(view), view.captured_by, view.raw), reverse=True)
        row: dict[str, Any] = {column: None if last is None else last[column] for column in USER_STATE}
        for view in views:
            row |= view.state
        row |= {
            "user_id": user_id,
            "valid_from": seen_at_ms,
            "captured_by": views[-1].captured_by,
            "raw": _raw_by_method(last, views),
        }
        row["state_digest"] = state_digest(row, USER_STATE)
        if _is_new(row, last):
            yield row


def _belief(view: SeenUser) -> int:
    return USER_METHODS.index(view.method) if view.method in USER_METHODS else -1


def _raw_by_method(last: Row | None, views: Iterable[SeenUser]) -> str:
    """Return a JSON object of the answers by method, each exactly as received; a method not asked now keeps its last."""
    raws: dict[str, bytes] = {}
    if last is not None:
        try:
            raws = {method: bytes(raw) for method, raw in _RAW_BY_METHOD.decode(last["raw"]).items()}
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raws = {}  # half an emoji in an old answer; the older row still holds it
    for view in views:
        raws[view.method] = view.raw
    return "{" + ",".join(f"{_encode(method).decode()}:{raw.decode()}" for method, raw in sorted(raws.items())) + "}"


def _changed_channels(known: DirectoryKnown, seen: DirectorySeen, seen_at_ms: int) -> Iterable[Row]:
    listed = _one_view_each(seen.channels)
    for channel_id, view in listed.items():
        last = known.channels.get(channel_id)
        row: dict[str, Any] = {column: None if last is None else last[column] for column in CHANNEL_STATE}
        row |= view.state
        row |= {
            "channel_id": channel_id,
            "valid_from": seen_at_ms,
            "state": LISTED,
            "captured_by": view.captured_by,
            "raw": view.raw.decode(),
        }
        row["state_digest"] = state_digest(row, CHANNEL_STATE)
        if _is_new(row, last):
            yield row
    missing = {
        channel_id: row
        for channel_id, row in sorted(known.channels.items())
        if channel_id not in listed and row["state"] == LISTED
    }
    members = _known_members(known, missing)
    for channel_id, last in missing.items():
        if _is_gone(last, members[channel_id], known, seen):
            row = {column: last[column] for column in (*CHANNEL_STATE, "captured_by", "raw")}
            row |= {"valid_from": seen_at_ms, "state": UNLISTED}
            yield {**row, "state_digest": state_digest(row, CHANNEL_STATE)}


def _is_gone(last: Row, members: Collection[str], known: DirectoryKnown, seen: DirectorySeen) -> bool:
    """Tell whether everybody who could have listed a channel was heard this time.

    These are its members for whom there is or was a token, and the user who showed it to us, unless known to have left.
    Without a single known member it could be anybody.
    """
    listers = {user_id for user_id in members if user_id in seen.asked or _had_token(known.users.get(user_id))}
    shown_by = last["captured_by"]
    membership = known.groups.get((last["channel_id"], shown_by))
    if membership is None or membership["state"] != LEFT:
        listers.add(shown_by)
    if not members:
        listers |= set(seen.asked)
    return bool(seen.answered) and listers <= set(seen.answered)


def _known_members(known: DirectoryKnown, channels: Iterable[str]) -> dict[str, set[str]]:
    """Return who is in each of these channels, as far as known."""
    members: dict[str, set[str]] = {channel_id: set() for channel_id in channels}
    for (channel_id, user_id), row in known.groups.items():
        if channel_id in members and row["state"] == MEMBER:
            members[channel_id].add(user_id)
    return members


def _had_token(user: Row | None) -> bool:
    """Tell whether a user once installed the app: only then does ``users.getInfo`` speak of him (flock-api.md 5.9)."""
    return user is not None and '"users.getInfo":' in user["raw"]


def _changed_groups(known: DirectoryKnown, seen: Iterable[SeenMembers], seen_at_ms: int) -> Iterable[Row]:
    lists: dict[str, list[SeenMembers]] = {}
    for members in seen:
        lists.setdefault(members.channel_id, []).append(members)
    known_members = _known_members(known, lists)
    for channel_id, of_channel in sorted(lists.items()):
        captured_by = min(members.captured_by for members in of_channel)
        present: dict[str, str | None] = {}
        for members in of_channel:
            for user_id, affiliation in members.members.items():
                present[user_id] = max(affiliation, present.get(user_id), key=lambda text: text or "")
        gone = known_members[channel_id] - present.keys() if all(members.complete for members in of_channel) else set()
        for user_id in sorted({*present, *gone}):
            last_row = known.groups.get((channel_id, user_id))
            carried = present.get(user_id)
            row = {
                "channel_id": channel_id,
                "user_id": user_id,
                "valid_from": seen_at_ms,
                "state": LEFT if user_id in gone else MEMBER,
                "affiliation": carried if carried is not None or last_row is None else last_row["affiliation"],
                "captured_by": captured_by,
            }
            row["state_digest"] = state_digest(row, GROUP_STATE)
            if _is_new(row, last_row):
                yield row


def _changed_conversations(known: DirectoryKnown, seen: Iterable[SeenChannel], seen_at_ms: int) -> Iterable[Row]:
    for channel_id, view in _one_view_each(seen).items():
        last = known.conversations.get(channel_id)
        carried = view.state.get("name")
        row = conversation_row(
            chat_id=channel_id,
            chat_kind="channel",
            name=str(carried) if carried is not None else (None if last is None else last["name"]),
            participants=None,
            captured_by=view.captured_by,
            seen_at_ms=seen_at_ms,
        )
        if _is_new(row, last):
            yield row


def _one_view_each(seen: Iterable[SeenChannel]) -> dict[str, SeenChannel]:
    """Return one view of each channel, always the same of several, in the order of ids."""
    chosen: dict[str, SeenChannel] = {}
    for view in seen:
        known = chosen.get(view.channel_id, view)
        chosen[view.channel_id] = min(known, view, key=lambda item: (item.captured_by, item.raw))
    return dict(sorted(chosen.items()))
