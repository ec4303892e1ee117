"""What a crawl of the directory saw: users, channels and member lists, each with the bytes it was read from.

Reading is tolerant, because everything here is foreign: an element without a usable id is skipped with its reason, an
optional field of a wrong type counts as not carried, and the bytes keep whatever we do not understand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from archiver.capture.token_pool import RefusedToken
from archiver.flock.answers import read_object

ELEMENT_BYTES_MAX: Final = 1024 * 1024
ID_CHARACTERS_MAX: Final = 512
TEXT_CHARACTERS_MAX: Final = 65_536
_INT32_MAX: Final = 2**31 - 1

# The same person is described by several methods; where two of them disagree, the later in this list is believed.
USER_METHODS: Final = ("channels.listMembers", "roster.listContacts", "users.getPublicProfile", "users.getInfo")

# From Flock's fields to columns of the archive (flock-api.md 6.3, 6.6, 6.7).
_USER_COLUMNS: Final = {
    "firstName": "first_name",
    "lastName": "last_name",
    "email": "email",
    "teamId": "team_id",
    "role": "role",
    "timezone": "timezone",
    "profileImage": "profile_image",
}
_CHANNEL_COLUMNS: Final = {"name": "name", "purpose": "purpose", "profileImage": "profile_image"}


@dataclass(frozen=True, slots=True)
class SeenUser:
    """A person as one method showed them to one user; ``state`` holds the columns that the answer carried."""

    user_id: str
    method: str
    captured_by: str
    raw: bytes
    state: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SeenChannel:
    """A channel as one user's ``channels.list`` showed it; ``state`` holds the columns that the answer carried."""

    channel_id: str
    captured_by: str
    raw: bytes
    state: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class SeenMember:
    """One element of a member list: the user, the affiliation if given, and the person if a profile came along."""

    user_id: str
    affiliation: str | None
    person: SeenUser | None


@dataclass(frozen=True, slots=True)
class SeenMembers:
    """The members of one channel with their affiliation (None if not given).

    ``complete`` says that a user who is not in it is not a member; it is False if an element could not be read, if the
    list was empty, or if it looks cut.
    """

    channel_id: str
    captured_by: str
    members: Mapping[str, str | None]
    complete: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the crawl could not read or get: by which method, as or about whom, why, and how often.

    ``is_suspicion`` says that it may be nothing: an answer that only looks cut.
    """

    method: str
    subject: str
    reason: str
    count: int = 1
    is_suspicion: bool = False


@dataclass(frozen=True, slots=True)
class DirectorySeen:
    """All that one crawl saw.

    ``readers`` maps each channel to the users whose own ``channels.list`` held it; ``asked`` are all users we had a
    token of and ``answered`` those whose channel list came back whole, which is what allows to say that a channel is
    gone.
    """

    users: tuple[SeenUser, ...] = ()
    channels: tuple[SeenChannel, ...] = ()
    members: tuple[SeenMembers, ...] = ()
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: Collection[str] = frozenset()
    answered: Collection[str] = frozenset()
    refused: tuple[RefusedToken, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_user(raw: bytes, *, method: str, captured_by: str) -> tuple[SeenUser, list[str]]:
    """Read a User or PublicProfile (flock-api.md 6.6, 6.7) and what was wrong with it; raises `ValueError` if unusable."""
    fields = _read(raw)
    wrong: list[str] = []
    user_id = _identifier(fields, "id")
    return SeenUser(user_id, method, captured_by, raw, _user_state(fields, wrong)), wrong


def read_member(raw: bytes, *, captured_by: str) -> tuple[SeenMember, list[str]]:
    """Read a ChannelMember (6.4) and what was wrong with it; raises `ValueError` if it names no user."""
    fields = _read(raw)
    wrong: list[str] = []
    user_id = _identifier(fields, "userId")
    affiliation = _text(fields, "affiliation", wrong)
    profile = fields.get("publicProfile")
    if profile is None:
        return SeenMember(user_id, affiliation, None), wrong
    if not isinstance(profile, dict) or profile.get("id", user_id) != user_id:
        wrong.append("publicProfile is not the member's")
        return SeenMember(user_id, affiliation, None), wrong
    person = SeenUser(user_id, "channels.listMembers", captured_by, raw, _user_state(profile, wrong))
    return SeenMember(user_id, affiliation, person), wrong


def read_channel(raw: bytes, *, captured_by: str) -> tuple[SeenChannel, list[str]]:
    """Read a Channel (6.3) and what was wrong with it; raises `ValueError` if it has no usable id."""
    fields = _read(raw)
    wrong: list[str] = []
    channel_id = _identifier(fields, "id")
    state: dict[str, str | int] = {}
    for name, column in _CHANNEL_COLUMNS.items():
        if (text := _text(fields, name, wrong)) is not None:
            state[column] = text
    count = fields.get("memberCount")
    if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _INT32_MAX:
        state["member_count"] = count
    elif count is not None:
        wrong.append("memberCount is no usable number")
    return SeenChannel(channel_id, captured_by, raw, state), wrong


def _read(raw: bytes) -> dict[str, Any]:
    if len(raw) > ELEMENT_BYTES_MAX:
        raise ValueError(f"it is larger than {ELEMENT_BYTES_MAX} bytes")
    return read_object(raw)


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing or no text")
    if len(value) > ID_CHARACTERS_MAX:
        raise ValueError(f"{name} is longer than {ID_CHARACTERS_MAX} characters")
    return value


def _user_state(fields: Mapping[str, Any], wrong: list[str]) -> dict[str, str]:
    state = {}
    for name, column in _USER_COLUMNS.items():
        value = fields.get(name)
        if name == "teamId" and isinstance(value, int) and not isinstance(value, bool):
            state[column] = str(value)  # a number on one page of the documentation, text on another (6.7)
        elif (text := _text(fields, name, wrong)) is not None:
            state[column] = text
    return state


def _text(fields: Mapping[str, Any], name: str, wrong: list[str]) -> str | None:
    """Return a text field, or None where the answer does not carry it: absent, null, of a wrong type or absurdly long."""
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        wrong.append(f"{name} is no text")
        return None
    if len(value) > TEXT_CHARACTERS_MAX:
        wrong.append(f"{name} is longer than {TEXT_CHARACTERS_MAX} characters")
        return None
    return value
