"""Crawling the directory: who is who, which channels there are, and who is in them, as each user who installed the app.

A token sees only its user's channels (flock-api.md 5.3, 12), so the directory is the union of what all tokens see. The
crawl writes nothing and decides nothing: it returns what it saw, and `archiver.capture.directory_changes` tells what of
it is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Final, TypeVar

import structlog

from archiver.capture.asking import Ask, Dialogue, ask_unordered
from archiver.capture.directory_seen import (
    DirectorySeen,
    Problem,
    SeenChannel,
    SeenMembers,
    SeenUser,
    read_channel,
    read_member,
    read_user,
)
from archiver.capture.token_pool import TokenPool
from archiver.errors import FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.client import FlockClient
from archiver.flock.tokens import UserToken
from archiver.flock.turns import Turn

# A member list that one user may not read is asked for as so many users at most.
READERS_PER_CHANNEL_MAX: Final = 5
# Flock documents no paging (flock-api.md 1). A list that is a multiple of this long may be cut; while Flock counts more
# members, it is.
ROUND_NUMBER: Final = 50
WRONG_USER: Final = "WrongUser"

_Answer = TypeVar("_Answer")
_Element = TypeVar("_Element")

log = structlog.get_logger(__name__)


def crawl(client: FlockClient, tokens: TokenPool, *, threads: int, senders: Iterable[str] = ()) -> DirectorySeen:
    """Ask Flock for the whole directory and return what was seen, with the bytes.

    As every user of ``tokens``: ``users.getInfo``, ``roster.listContacts``, ``channels.list``. Then the members of each
    channel, once, as one of the users who listed it. Then the profile of everybody who was seen without one: members,
    and ``senders``, user ids known from elsewhere. A token that Flock refuses, or that answers as somebody else, leaves
    ``tokens`` and stands in the result; what could not be had or read stands there as a problem. Raises
    `FlockUnreachableError` if Flock answered nobody at all.
    """
    crawled = _Crawled()
    crawl_all = partial(ask_unordered, tokens=tokens, clock=client.clock, threads=threads)
    for piece in crawl_all(partial(_crawl_own, client, tokens), tokens.usable_users()):
        crawled.take(piece)
    if crawled.unreachable is not None and not crawled.reached:
        raise crawled.unreachable
    for piece in crawl_all(partial(_crawl_members, client, tokens), crawled.channels_to_ask()):
        crawled.take(piece)
    asks = zip(sorted(crawled.people_without_profile(senders)), cycle(tokens.usable_users()), strict=False)
    for piece in crawl_all(partial(_crawl_profile, client), asks):
        crawled.take(piece)
    seen = crawled.result(tokens)
    log.info(
        "directory crawled",
        people=len({user.user_id for user in seen.users}),
        channels=len(seen.channels),
        refused=len(seen.refused),
        problems=sum(problem.count for problem in seen.problems),
    )
    return seen


@dataclass(frozen=True, slots=True)
class _ChannelToAsk:
    """A channel whose members are wanted: by whom to ask, first choice first, and how many Flock says there are."""

    channel_id: str
    readers: tuple[str, ...]
    member_count: int | None


@dataclass(slots=True)
class _Piece:
    """What one dialogue brings home."""

    users: list[SeenUser] = field(default_factory=list)
    channels: list[SeenChannel] = field(default_factory=list)
    members: SeenMembers | None = None
    answered: str | None = None
    problems: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    suspects: Counter[tuple[str, int]] = field(default_factory=Counter)
    reached: bool = False
    unreachable: FlockUnreachableError | None = None

    def attempt(
        self, method: str, subject: str, user_id: str, call: Callable[..., _Answer]
    ) -> Dialogue[_Answer | None]:
        """Return what a call as a user answers, or None with the problem noted."""
        try:
            answer: _Answer = yield Ask(user_id, call)
        except FlockUnreachableError as error:
            self.unreachable = error
            self.problems[method, subject, "no usable answer"] += 1
            return None
        except TokenRefusedError:
            self.reached = True  # the token stands among the refused ones; what it cannot show is no further problem
            return None
        except FlockMethodError as error:
            self.reached = True
            self.problems[method, subject, error.code or f"HTTP {error.status}"] += 1
            return None
        self.reached = True
        return answer

    def suspect(self, method: str, elements: int) -> None:
        """Note an answer that may be cut, because it is suspiciously round."""
        if elements and elements % ROUND_NUMBER == 0:
            self.suspects[method, elements] += 1

    def read(
        self, method: str, elements: Iterable[bytes], read: Callable[[bytes], tuple[_Element, list[str]]]
    ) -> Iterator[_Element]:
        """Yield the elements that can be read and note what is wrong with the others."""
        for raw in elements:
            try:
                element, wrong = read(raw)
            except ValueError as error:
                self.problems[method, "", f"skipped: {error}"] += 1
                continue
            for reason in wrong:
                self.problems[method, "", f"field ignored: {reason}"] += 1
            yield element


def _crawl_own(client: FlockClient, tokens: TokenPool, user_id: str) -> Dialogue[_Piece]:
    """Ask the three methods that show what a user sees of himself, his contacts and his channels."""
    piece = _Piece()
    method = "users.getInfo"
    info = yield from piece.attempt(method, user_id, user_id, partial(_own_info, client))
    if info is not None:
        piece.users += piece.read(method, [info], partial(read_user, method=method, captured_by=user_id))
    if not tokens.can_ask_as(user_id):
        return piece
    method = "roster.listContacts"
    contacts = yield from piece.attempt(method, user_id, user_id, client.roster_list_contacts)
    piece.suspect(method, len(contacts or ()))
    piece.users += piece.read(method, contacts or (), partial(read_user, method=method, captured_by=user_id))
    method = "channels.list"
    listed = yield from piece.attempt(method, user_id, user_id, client.channels_list)
    piece.suspect(method, len(listed or ()))
    piece.channels += piece.read(method, listed or (), partial(read_channel, captured_by=user_id))
    if listed is not None and len(piece.channels) == len(listed):
        piece.answered = user_id
    return piece


def _own_info(client: FlockClient, token: UserToken, *, turn: Turn) -> bytes:
    """Return ``users.getInfo``, unless it shows that the token is somebody else's.

    One-to-one chats are named by the other party, so a token under a wrong name would file messages in wrong chats.
    """
    raw = client.users_get_info(token, turn=turn)
    try:
        user, _ = read_user(raw, method="users.getInfo", captured_by=token.user_id)
    except ValueError:
        return raw  # read again, and noted, by the caller
    if user.user_id != token.user_id:
        raise TokenRefusedError(
            f"the token given for {token.user_id} (fingerprint {token.fingerprint}) is that of {user.user_id}",
            code=WRONG_USER,
            next_step="Put it under its own user's id in the tokens file.",
        )
    return raw


def _crawl_members(client: FlockClient, tokens: TokenPool, channel: _ChannelToAsk) -> Dialogue[_Piece]:
    """Ask for a channel's members as the first user who may read them."""
    piece = _Piece()
    method = "channels.listMembers"
    for user_id in channel.readers[:READERS_PER_CHANNEL_MAX]:
        if not tokens.can_ask_as(user_id):
            continue
        ask = partial(client.channels_list_members, channel_id=channel.channel_id)
        answer = yield from piece.attempt(method, channel.channel_id, user_id, ask)
        if answer is not None:
            _take_members(piece, channel, user_id, answer)
            return piece
    piece.problems[method, channel.channel_id, "nobody who lists the channel may read its members"] += 1
    return piece


def _take_members(piece: _Piece, channel: _ChannelToAsk, user_id: str, answer: Sequence[bytes]) -> None:
    method = "channels.listMembers"
    read = list(piece.read(method, answer, partial(read_member, captured_by=user_id)))
    members: dict[str, str | None] = {}
    for member in read:
        # Whoever is listed twice counts as what gives him more: "moderator" sorts after "member".
        members[member.user_id] = max(member.affiliation, members.get(member.user_id), key=lambda text: text or "")
    piece.users += [member.person for member in read if member.person is not None]
    cut = len(answer) % ROUND_NUMBER == 0 and len(answer) < (channel.member_count or 0)
    if cut or not answer:
        reason = f"Flock counts {channel.member_count} members and listed {len(answer)}"
        piece.problems[method, channel.channel_id, reason] += 1
    if channel.member_count is None:
        piece.suspect(method, len(answer))
    complete = bool(answer) and not cut and len(read) == len(answer)
    piece.members = SeenMembers(channel.channel_id, user_id, members, complete)


def _crawl_profile(client: FlockClient, ask: tuple[str, str]) -> Dialogue[_Piece]:
    """Ask for the profile of a person that no list described."""
    piece = _Piece()
    person, user_id = ask
    method = "users.getPublicProfile"
    call = partial(client.users_get_public_profile, user_id=person)
    raw = yield from piece.attempt(method, person, user_id, call)
    if raw is not None:
        profiles = piece.read(method, [raw], partial(read_user, method=method, captured_by=user_id))
        for profile in profiles:
            if profile.user_id == person:
                piece.users.append(profile)
            else:
                piece.problems[method, person, "skipped: it is somebody else's profile"] += 1
    return piece


class _Crawled:
    """What the pieces amount to. Of what several answers say alike one is kept, always the same, whatever came first."""

    def __init__(self) -> None:
        self.reached = False
        self.unreachable: FlockUnreachableError | None = None
        self._users: dict[tuple[str, str], SeenUser] = {}
        self._channels: dict[str, SeenChannel] = {}
        self._readers: dict[str, list[str]] = {}
        self._members: list[SeenMembers] = []
        self._answered: set[str] = set()
        self._problems: Counter[tuple[str, str, str]] = Counter()
        self._suspects: Counter[tuple[str, int]] = Counter()

    def take(self, piece: _Piece) -> None:
        """Add what one thread brought."""
        for user in piece.users:
            key = (user.user_id, user.method)
            self._users[key] = min(self._users.get(key, user), user, key=lambda item: (item.captured_by, item.raw))
        for channel in piece.channels:
            known = self._channels.get(channel.channel_id, channel)
            self._channels[channel.channel_id] = min(known, channel, key=lambda item: (item.captured_by, item.raw))
            self._readers.setdefault(channel.channel_id, []).append(channel.captured_by)
        if piece.members is not None:
            self._members.append(piece.members)
        if piece.answered is not None:
            self._answered.add(piece.answered)
        self._problems.update(piece.problems)
        self._suspects.update(piece.suspects)
        self.reached = self.reached or piece.reached
        self.unreachable = self.unreachable or piece.unreachable

    def channels_to_ask(self) -> list[_ChannelToAsk]:
        """Return each channel with its readers, so chosen that the users' rate limits share the work."""
        load: Counter[str] = Counter()
        asks = []
        for channel_id, channel in sorted(self._channels.items()):
            readers = sorted(set(self._readers[channel_id]), key=lambda user_id: (load[user_id], user_id))
            load[readers[0]] += 1
            count = channel.state.get("member_count")
            asks.append(_ChannelToAsk(channel_id, tuple(readers), count if isinstance(count, int) else None))
        return asks

    def people_without_profile(self, senders: Iterable[str]) -> set[str]:
        """Return the members and senders whom no answer described."""
        members = {user_id for channel in self._members for user_id in channel.members}
        return {*members, *senders} - {user_id for user_id, _ in self._users}

    def result(self, tokens: TokenPool) -> DirectorySeen:
        """Return everything in an order that does not depend on which thread was faster."""
        return DirectorySeen(
            users=tuple(user for _, user in sorted(self._users.items())),
            channels=tuple(channel for _, channel in sorted(self._channels.items())),
            members=tuple(sorted(self._members, key=lambda item: item.channel_id)),
            readers={key: tuple(sorted(set(users))) for key, users in sorted(self._readers.items())},
            asked=frozenset(tokens.users),
            answered=frozenset(self._answered),
            refused=tokens.refused(),
            problems=(
                *(Problem(*key, count) for key, count in sorted(self._problems.items())),
                *(_suspicion(*key, count) for key, count in sorted(self._suspects.items())),
            ),
        )


def _suspicion(method: str, elements: int, answers: int) -> Problem:
    reason = f"answers of exactly {elements} elements, which may be a limit that nothing documents"
    return Problem(method, "", reason, answers, is_suspicion=True)
