"""Fetching messages whose uids are known and whose content is not: 25 a call, as a user who may read the chat.

An event such as ``client.messageAction`` names messages without bringing them. ``chat.fetchMessages`` returns them to
the chat's members (flock-api.md 5.2): it skips what it does not know or show, promises no order, and calls a chat of
others unknown. So every answer is matched by uid, and every uid asked for comes out again with what became of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Final, Literal

import msgspec

from archiver.capture.asking import Ask, Dialogue, ask_unordered
from archiver.capture.directory_seen import ID_CHARACTERS_MAX
from archiver.capture.token_pool import TokenPool
from archiver.errors import FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.answers import read_object
from archiver.flock.client import UIDS_PER_FETCH_MAX, FlockClient
from archiver.ids import ChatKind, direct_chat_id, is_channel, parties_of

# A uid that one member is not shown is asked for as so many members in all: it may be visible to few (visibleTo). Whoever named it to
# us has seen it, and is asked as beside these.
READERS_PER_UID_MAX: Final = 2
UNKNOWN_CHAT: Final = "UnknownChat"
# The reason of a ``failed`` outcome where Flock could not be reached; every other one is about this chat or uid.
NO_USABLE_ANSWER: Final = "no usable answer"
TOKENS_REFUSED: Final = "every token that could ask was refused"
BUDGET_SPENT: Final = "the requests of this night are spent"
# Reasons of a ``failed`` outcome that say nothing about the uid: it is to be asked for again as soon as that can be.
ASK_AGAIN: Final = frozenset({NO_USABLE_ANSWER, TOKENS_REFUSED, BUDGET_SPENT})
# Refusals that may concern one odd uid and not the whole call; the call is then halved until that uid stands alone.
_HALVED_STATUSES: Final = frozenset({400, 413, 414})

FetchOutcome = Literal["returned", "not_returned", "unknown_chat", "failed"]


@dataclass(frozen=True, slots=True)
class WantedMessages:
    """Messages somebody told us of: the chat as that event named it, the event's user, and the uids.

    For a one-to-one chat ``chat`` is the party other than ``user_id``; it may also be a ``chat_id`` of the archive.
    """

    chat: str
    user_id: str
    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UidOutcome:
    """What became of one uid.

    ``returned`` carries ``raw``, the message exactly as received. ``not_returned``: Flock skipped it. ``unknown_chat``:
    none of our users may read the chat. ``failed``: we could not ask, so it stays wanted; ``reason`` says why.
    ``asked_as`` is the user whose token brought the message or asked last, empty if nobody could ask.
    """

    uid: str
    outcome: FetchOutcome
    asked_as: str
    reason: str = ""
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class FetchedBatch:
    """The outcomes of up to 25 uids of one chat, and what an answer held beyond them.

    A uid has one outcome, or several ``returned`` if Flock returned different messages under it. ``unasked`` counts
    messages with a uid that nobody asked for, ``unreadable`` those without a readable one, ``repeated`` those that came
    twice alike; all three are dropped.
    """

    chat_id: str
    chat_kind: ChatKind
    outcomes: tuple[UidOutcome, ...]
    unasked: int = 0
    unreadable: int = 0
    repeated: int = 0


class RequestBudget:
    """How many more calls may be made, shared by all threads. A call that is tried again is one call."""

    def __init__(self, requests_max: int) -> None:
        self._left = requests_max
        self._spent = 0
        self._lock = Lock()

    @property
    def left(self) -> int:
        """The calls that may still be made."""
        return self._left

    @property
    def spent(self) -> int:
        """The calls that were made."""
        return self._spent

    def take(self) -> bool:
        """Take one call out of the budget; False where none is left."""
        with self._lock:
            if self._left <= 0:
                return False
            self._left -= 1
            self._spent += 1
            return True


def fetch(
    client: FlockClient,
    tokens: TokenPool,
    wanted: Iterable[WantedMessages],
    *,
    readers: Mapping[str, Collection[str]],
    threads: int,
    budget: RequestBudget | None = None,
    strangers_max: int | None = None,
) -> Generator[FetchedBatch, None, None]:
    """Ask for all wanted messages and yield each batch as its answers come, in no particular order.

    ``readers`` maps channel ids to the users known to be in them, as `DirectorySeen.readers`. A chat is asked for as
    the users whose events named it, then as its known members, then as anybody, until somebody may read it. Batches
    are spread over those who may, so that everybody's rate limit shares the work. Refused tokens leave ``tokens``; an
    unreachable Flock gives ``failed`` outcomes, and so does a ``budget`` that is spent.
    """
    chats = _chats(wanted, tokens, readers)
    for chat in chats:
        chat.strangers_max = strangers_max
    work = partial(_fetch_batch, client, budget)
    yield from ask_unordered(work, _batches(chats), tokens=tokens, clock=client.clock, threads=threads)


class _Chat:
    """One conversation: what is wanted of it, and who may read it as far as we found out."""

    def __init__(self, chat_id: str) -> None:
        self.chat_id = chat_id
        self.chat_kind: ChatKind = "channel" if is_channel(chat_id) else "direct"
        self.uids: list[str] = []
        self.named_by: dict[str, None] = {}
        self.witnesses: dict[str, str] = {}
        self.likely: tuple[str, ...] = ()
        self.others: tuple[str, ...] = ()
        self.strangers_max: int | None = None
        self._strangers: dict[str, None] = {}
        self._lock = Lock()

    def name_for(self, user_id: str) -> str:
        """Return Flock's name of this chat as this user sees it."""
        parties = parties_of(self.chat_id)
        if parties is None:
            return self.chat_id
        return parties[1] if user_id == parties[0] else parties[0]

    def is_strange_to(self, user_id: str) -> None:
        """Remember that Flock calls the chat unknown to this user."""
        with self._lock:
            self._strangers[user_id] = None

    @property
    def is_given_up(self) -> bool:
        """Tell whether so many users do not know the chat that nobody else is tried."""
        return self.strangers_max is not None and len(self._strangers) >= self.strangers_max

    def named_as(self, uids: Iterable[str]) -> dict[str, list[str]]:
        """Return the users who named these uids, each with what they named, of those who may be able to read the chat."""
        strangers = self.strangers()
        named: dict[str, list[str]] = {}
        for uid in uids:
            user_id = self.witnesses.get(uid, "")
            if user_id in self.likely and user_id not in strangers:
                named.setdefault(user_id, []).append(uid)
        return named

    def strangers(self) -> list[str]:
        """Return the users to whom Flock calls the chat unknown, in the order we learnt it."""
        with self._lock:
            return list(self._strangers)

    def readers(self, number: int) -> list[str]:
        """Return whom to ask as for a batch, first choice first; batches begin with different likely readers."""
        with self._lock:
            likely = [user_id for user_id in self.likely if user_id not in self._strangers]
            others = [user_id for user_id in self.others if user_id not in self._strangers]
        first = number % len(likely) if likely else 0
        return [*likely[first : first + 1], *likely[:first], *likely[first + 1 :], *others]


@dataclass(frozen=True, slots=True)
class _Batch:
    chat: _Chat
    number: int
    uids: Sequence[str]


def _chats(wanted: Iterable[WantedMessages], tokens: TokenPool, readers: Mapping[str, Collection[str]]) -> list[_Chat]:
    """Group what is wanted by conversation, each uid once, and find out who is likely to be allowed to read it."""
    chats: dict[str, _Chat] = {}
    uids: dict[str, dict[str, None]] = {}
    load: Counter[str] = Counter()
    for item in wanted:
        chat_id = _chat_id(item)
        chat = chats.setdefault(chat_id, _Chat(chat_id))
        chat.named_by[item.user_id] = None
        uids.setdefault(chat_id, {}).update(dict.fromkeys(item.uids))
        if tokens.can_ask_as(item.user_id):
            for uid in item.uids:
                chat.witnesses.setdefault(uid, item.user_id)
    for chat_id, chat in chats.items():
        chat.uids = list(uids[chat_id])
        parties = parties_of(chat_id)
        members = sorted(readers.get(chat_id, ())) if parties is None else parties
        likely = dict.fromkeys([*chat.named_by, *members])
        if parties is not None:
            likely = {user_id: None for user_id in likely if user_id in parties}
        chat.likely = _shared([user_id for user_id in likely if tokens.can_ask_as(user_id)], len(chat.uids), load)
        if parties is None:
            chat.others = tuple(user_id for user_id in tokens.usable_users() if user_id not in likely)
    return list(chats.values())


def _shared(likely: Sequence[str], uids: int, load: Counter[str]) -> tuple[str, ...]:
    """Return the likely readers, beginning with the one who has least to do, and add these uids' batches to their load."""
    if not likely:
        return ()
    first = min(range(len(likely)), key=lambda place: load[likely[place]])
    readers = (*likely[first:], *likely[:first])
    share, rest = divmod(-(-uids // UIDS_PER_FETCH_MAX), len(readers))
    load.update({user_id: share + (place < rest) for place, user_id in enumerate(readers)})
    return readers


def _chat_id(item: WantedMessages) -> str:
    if is_channel(item.chat) or parties_of(item.chat) is not None:
        return item.chat
    return direct_chat_id(item.user_id, item.chat)


def _batches(chats: Sequence[_Chat]) -> Iterator[_Batch]:
    """Yield every chat's first batch, then every second one, and so on, so that no chat keeps all tokens but its own idle."""
    left = [(chat, iter(range(0, len(chat.uids), UIDS_PER_FETCH_MAX))) for chat in chats]
    number = 0
    while left:
        going_on = []
        for chat, starts in left:
            start = next(starts, None)
            if start is not None:
                going_on.append((chat, starts))
                yield _Batch(chat, number, chat.uids[start : start + UIDS_PER_FETCH_MAX])
        left = going_on
        number += 1


def _fetch_batch(client: FlockClient, budget: RequestBudget | None, batch: _Batch) -> Dialogue[FetchedBatch]:
    """Ask for a batch as one reader after the other until every uid is accounted for."""
    result = _Answers(batch, budget)
    for user_id in batch.chat.readers(batch.number):
        if not result.left or len(result.asked_as) >= READERS_PER_UID_MAX or batch.chat.is_given_up:
            break
        yield from result.ask(client, user_id, list(result.left))
    for user_id, uids in batch.chat.named_as(list(result.left)).items():
        if user_id not in result.asked_as and not batch.chat.is_given_up:
            yield from result.ask(client, user_id, uids)
    return result.result()


class _Answers:
    """What one batch brought so far."""

    def __init__(self, batch: _Batch, budget: RequestBudget | None) -> None:
        self._chat = batch.chat
        self._budget = budget
        sendable = all(_is_sendable(part) for part in parties_of(batch.chat.chat_id) or (batch.chat.chat_id,))
        self.left = {uid: None for uid in batch.uids if sendable and _is_sendable(uid)}
        self.asked_as: set[str] = set()
        self._returned = [
            UidOutcome(uid, "failed", "", "chat or uid cannot be sent") for uid in batch.uids if uid not in self.left
        ]
        self._skipped_for: dict[str, str] = {}
        self._not_afforded: set[str] = set()
        self._failed_for: dict[str, tuple[str, str]] = {}
        self._unasked = 0
        self._unreadable = 0
        self._repeated = 0

    def ask(self, client: FlockClient, user_id: str, wanted: list[str]) -> Dialogue[None]:
        """Ask for some of what is left as one more user, in halves where the whole is refused."""
        chat = self._chat.name_for(user_id)
        pieces = [wanted]
        while pieces:
            uids = pieces.pop()
            if self._budget is not None and not self._budget.take():
                self._not_afforded.update(uids, *pieces)
                break
            try:
                answer: list[bytes] = yield Ask(user_id, partial(client.fetch_messages, chat=chat, uids=uids))
            except TokenRefusedError:
                return
            except FlockUnreachableError:
                self._fail([*uids, *(uid for piece in pieces for uid in piece)], user_id, NO_USABLE_ANSWER)
                break
            except FlockMethodError as error:
                if error.code == UNKNOWN_CHAT:
                    self._chat.is_strange_to(user_id)
                    return
                if len(uids) > 1 and _may_be_one_uids_fault(error):
                    pieces += [uids[len(uids) // 2 :], uids[: len(uids) // 2]]
                else:
                    self._fail(uids, user_id, error.code or f"HTTP {error.status}")
            else:
                self._take(answer, uids, user_id)
        self.asked_as.add(user_id)

    def result(self) -> FetchedBatch:
        """Return every uid with what became of it."""
        return FetchedBatch(
            chat_id=self._chat.chat_id,
            chat_kind=self._chat.chat_kind,
            outcomes=(*self._returned, *(self._outcome_without_message(uid) for uid in self.left)),
            unasked=self._unasked,
            unreadable=self._unreadable,
            repeated=self._repeated,
        )

    def _take(self, answer: Iterable[bytes], uids: Collection[str], user_id: str) -> None:
        seen: dict[str, set[bytes]] = {uid: set() for uid in uids}
        for raw in answer:
            uid = _uid_of(raw)
            if uid is None:
                self._unreadable += 1
            elif uid not in seen:
                self._unasked += 1
            elif raw in seen[uid]:
                self._repeated += 1
            else:
                seen[uid].add(raw)
                self.left.pop(uid, None)
                self._returned.append(UidOutcome(uid, "returned", user_id, raw=raw))
        for uid, raws in seen.items():
            if not raws:
                self._skipped_for[uid] = user_id

    def _fail(self, uids: Iterable[str], user_id: str, reason: str) -> None:
        for uid in uids:
            self._failed_for[uid] = (user_id, reason)

    def _outcome_without_message(self, uid: str) -> UidOutcome:
        if uid in self._not_afforded:  # what one reader is not shown, another may be
            return UidOutcome(uid, "failed", "", BUDGET_SPENT)
        if uid in self._skipped_for:
            return UidOutcome(uid, "not_returned", self._skipped_for[uid], "Flock skipped it")
        if uid in self._failed_for:
            return UidOutcome(uid, "failed", *self._failed_for[uid])
        strangers = self._chat.strangers()
        if strangers:
            return UidOutcome(uid, "unknown_chat", strangers[-1], UNKNOWN_CHAT)
        if self._chat.likely or self._chat.others:
            return UidOutcome(uid, "failed", "", TOKENS_REFUSED)
        return UidOutcome(uid, "unknown_chat", "", "there is no token of anybody who could be in this chat")


class _Named(msgspec.Struct, gc=False):
    """A message of which nothing is read but its uid; a third of the time that all of it takes."""

    uid: str


_decode_named = msgspec.json.Decoder(_Named).decode


def _uid_of(raw: bytes) -> str | None:
    with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_named(raw).uid
    with suppress(ValueError):  # the slower reader knows more of what Flock may send
        uid = read_object(raw).get("uid")
        return uid if isinstance(uid, str) else None
    return None


def _is_sendable(text: str) -> bool:
    """Tell whether a text is fit to be a chat or uid in a request: not empty, not absurd, and UTF-8."""
    if not 0 < len(text) <= ID_CHARACTERS_MAX:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_be_one_uids_fault(error: FlockMethodError) -> bool:
    return error.status in _HALVED_STATUSES and error.parameter in {"", "uids"}
