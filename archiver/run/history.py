"""The history stage: what declared sources of paged history show, page by page into commits that say how far they came.

It runs when all other capture is done. A page is an answer about now, so it is held against the newest version alone, and every
push that is older must be in the archive by then; and a first reading may take as long as a night may, which must not keep the
stages that are soon done from their work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any, Final, Self
from zlib import crc32

from archiver.archive.commit import Draft
from archiver.archive.ledger import Gap
from archiver.archive.reader import Head
from archiver.archive.schema import EVENTS, OBSERVATIONS
from archiver.archive.tables import rows_to_table
from archiver.capture import history as kinds
from archiver.capture import history_place as places
from archiver.capture.history import Budget, Chat, Depth, End, Step, World
from archiver.capture.history_crawl import read_chats
from archiver.capture.history_place import Place
from archiver.capture.history_rows import HistoryRows
from archiver.capture.history_source import HistorySource, OpenHistory
from archiver.capture.token_pool import TokenPool
from archiver.clock import DAY_MS
from archiver.errors import FlockError, FlockUnreachableError
from archiver.ids import parties_of
from archiver.run.batch import prepare
from archiver.run.result import StageResult
from archiver.run.session import Session

FEED_PREFIX: Final = "history:"
# Tips leave this share of a night's requests to the full readings, which would never end otherwise.
TIP_SHARE: Final = 0.75
# An item that cannot be read is kept once; the ledger remembers so many of a source, and any further ones are kept again.
KEPT_MARKS_MAX: Final = 10_000
READERS_MAX: Final = 20
# After these ends of a reading another one may be tried in the same night.
_MAY_GO_ON: Final[frozenset[End]] = frozenset({"done", "lost", "no_requests"})

_NO_TOKEN: Final = "it could not be asked, because no token works"  # noqa: S105 - a sentence


def read_histories(session: Session) -> StageResult:
    """Read every declared source, and commit what is new with the cursors that it was read to."""
    counts: Counter[str] = Counter()
    gaps: list[Gap] = []
    errors: list[FlockError] = []
    unfinished, asked = False, True
    if session.ports.histories:
        session.progress.start("history", total=None)
    for history in session.ports.histories:
        crawl = _Crawl(session, history)
        if not crawl.can_ask:
            gaps.append(crawl.unasked())
            asked = False
            continue
        crawl.run()
        counts += crawl.counts
        gaps += crawl.gaps()
        errors += crawl.errors()
        unfinished = unfinished or "no_time" in crawl.ends.values()
    return StageResult(
        "history",
        counts=dict(counts),
        gaps=tuple(gaps),
        error=errors[0] if errors else None,
        unfinished=unfinished,
        asked=asked,
    )


class _Crawl:
    """One source tonight: its places as they will be once everything is committed, how each chat ended, and what was counted."""

    def __init__(self, session: Session, history: OpenHistory) -> None:
        self._session = session
        self._source = history.source
        self._tokens = _tokens_for(session, history)
        clock = session.ports.clock
        self._world = World(history.source, history.server, self._tokens, clock, is_time_up=lambda: session.out_of_time)
        self._chats = _chats(session, history.source, self._tokens, is_shared=history.credential is not None)
        self._places = {
            chat_id: places.from_text(session.head.cursors.get(places.key_of(self._source, chat_id)), self._source)
            for chat_id in self._chats
        }
        self._writer = _Writer(session, history.source)
        self._now_ms = clock.now_ms()
        self._problems: dict[str, set[str]] = {}
        self._cut_short: set[str] = set()
        self.ends: dict[str, End] = {}
        self.counts: Counter[str] = Counter()

    @property
    def can_ask(self) -> bool:
        """Tell whether there is anybody to ask as."""
        return bool(self._tokens.usable_users())

    def run(self) -> None:
        """Read the tips of all chats and the full readings that are due, each with a share of tonight's requests."""
        requests = self._source.requests_per_night
        for_tips = max(int(requests * TIP_SHARE), 1)
        with_tips = self._with_tips()
        with self._writer:
            if places.begins_with_tip(self._now_ms):
                left = self._read(with_tips, "tip", for_tips)
                self._read(self._due(), "full", requests - for_tips + left)
            else:
                left = self._read(self._due(), "full", requests - for_tips)
                left = self._read(with_tips, "tip", for_tips + left)
                self._read(self._due(), "full", left)
        self.counts += self._writer.counts

    def gaps(self) -> list[Gap]:
        """Return what this source may keep from us."""
        source, ended = self._source, self.ends
        found = [
            Gap(
                kind=kinds.HISTORY_UNREADABLE,
                count=1,
                evidence=f"{source.name}: {self._places[chat_id].unreadable}; a row in observations",
                chat_id=chat_id,
                subject=source.name,
            )
            for chat_id, end in sorted(ended.items())
            if end == "unreadable"
        ]
        for problem, chats in sorted(self._problems.items()):
            found.append(self._gap(kinds.HISTORY_PROBLEM, chats, problem, subject=f"{source.name}: {problem}"))
        spent = (
            f"not read to what was there before, with {source.requests_per_night} requests a night and the run's time"
        )
        found.append(self._gap(kinds.HISTORY_CUT_SHORT, self._cut_short, spent))
        unread = [chat_id for chat_id, place in self._places.items() if self._is_unread(chat_id, place)]
        later = f"not read to the beginning yet, at {source.requests_per_night} requests a night"
        found.append(self._gap(kinds.HISTORY_UNREAD, unread, later))
        late = [
            chat_id
            for chat_id, place in self._places.items()
            if places.is_overdue(place, source, now_ms=self._now_ms) and ended.get(chat_id) != "unreadable"
        ]
        found.append(self._gap(kinds.HISTORY_OVERDUE, late, f"not read again within {source.full_within_days} days"))
        return [*(gap for gap in found if gap.count), *self._writer.gaps()]

    def unasked(self) -> Gap:
        """Return the gap of a source that nobody can ask."""
        return self._gap(kinds.HISTORY_PROBLEM, self._chats, _NO_TOKEN, subject=f"{self._source.name}: {_NO_TOKEN}")

    def errors(self) -> list[FlockError]:
        """Return the error of a source that could not be asked at all; what concerns a chat is a gap."""
        if self.ends and set(self.ends.values()) == {"unreachable"}:
            return [
                FlockUnreachableError(
                    f"the history source {self._source.name} gave no usable answer",
                    next_step="run again later; it goes on where it was",
                )
            ]
        return []

    def _is_unread(self, chat_id: str, place: Place) -> bool:
        return place.full_started_at_ms is None and self.ends.get(chat_id) != "unreadable"

    def _gap(self, kind: str, chats: Iterable[str], evidence: str, *, subject: str = "") -> Gap:
        named = sorted(chats)
        first = f" (the first of {len(named)} chats: {named[0]})" if named else ""
        name = self._source.name
        return Gap(kind=kind, count=len(named), evidence=f"{name}: {evidence}{first}", subject=subject or name)

    def _with_tips(self) -> list[str]:
        """Return the chats that have a tip to read, another one first every night: requests may not last for all."""
        chats = sorted(chat_id for chat_id, place in self._places.items() if places.has_tip(place, self._source))
        Random(self._now_ms // DAY_MS).shuffle(chats)  # noqa: S311 - fairness, no secret
        return chats

    def _due(self) -> list[str]:
        """Return the chats whose full reading is due, those first that were never read, then the longest waiting."""

        def due_at_ms(chat_id: str) -> int:
            return places.full_due_at_ms(self._places[chat_id], self._source, chat_id, now_ms=self._now_ms)

        chats = [
            chat_id
            for chat_id in self._places
            if due_at_ms(chat_id) <= self._now_ms and self.ends.get(chat_id, "done") in _MAY_GO_ON
        ]
        return sorted(
            chats, key=lambda chat_id: (self._places[chat_id].full_started_at_ms or 0, due_at_ms(chat_id), chat_id)
        )

    def _read(self, chats: Sequence[str], depth: Depth, requests: int) -> int:
        """Read chats with so many requests and return how many were left over."""
        budget = Budget(requests)
        asked = (Chat(chat_id, self._places[chat_id], self._chats[chat_id]) for chat_id in chats)
        threads = self._session.ports.threads
        for step in read_chats(self._world, asked, depth, budget, threads=threads):
            self._places[step.chat_id] = step.place
            if step.items is not None:
                self.counts["pages"] += 1
            if step.end is not None:
                self.ends[step.chat_id] = step.end
                if depth == "tip" and step.end in ("no_requests", "no_time"):
                    self._cut_short.add(step.chat_id)
            if step.problem and step.end != "unreadable":
                self._problems.setdefault(step.problem, set()).add(step.chat_id)
            self._writer.take(step)
        return budget.left


class _Writer:
    """Steps on their way into commits: while one batch is committed, the next is read."""

    def __init__(self, session: Session, source: HistorySource) -> None:
        self._session = session
        self._source = source
        self._committer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._under_way: Future[None] | None = None
        self._rows = HistoryRows(source.uid, executor=session.ports.executor)
        self._moved: dict[str, Step] = {}
        self._carried: dict[str, Step] = {}
        self._begun = session.ports.clock.monotonic()
        self._said = self._begun
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Commit what is left, unless something went wrong."""
        try:
            if kind is None:
                self._hand_over(is_last=True)
            if self._under_way is not None:
                self._under_way.result()
        finally:
            self._committer.shutdown()

    def take(self, step: Step) -> None:
        """Take a step; commits when there is enough."""
        if step.items is not None:
            self._rows.add(
                step.items,
                feed=f"{FEED_PREFIX}{self._source.name}",
                chat_id=step.chat_id,
                asked_as=step.asked_as,
                at_ms=step.at_ms,
            )
            self._session.progress.advance(len(step.items.raws))
        self._moved[step.chat_id] = replace(step, items=None)
        limits = self._session.limits
        seconds = self._session.ports.clock.monotonic() - self._begun
        if (
            self._rows.count >= limits.messages_per_commit
            or self._rows.bytes >= limits.bytes_per_commit
            or seconds >= limits.seconds_per_commit
        ):
            self._hand_over(is_last=False)

    def gaps(self) -> list[Gap]:
        """Return what was captured and could not be read or stored."""
        return _gaps(self.counts)

    def _hand_over(self, *, is_last: bool) -> None:
        if self._under_way is not None:
            self._under_way.result()
        rows, moved = self._rows, self._moved
        self._rows, self._moved = HistoryRows(self._source.uid, executor=self._session.ports.executor), {}
        self._begun = self._session.ports.clock.monotonic()
        self._under_way = self._committer.submit(self._commit, rows, moved, is_last=is_last)

    def _commit(self, rows: HistoryRows, moved: Mapping[str, Step], *, is_last: bool) -> None:
        """Commit a batch and its cursors. What only repeats the archive is no reason for a commit until the end, or for long."""
        session, clock = self._session, self._session.ports.clock
        batch = rows.finished()
        moved = {**self._carried, **moved}
        must_say = is_last or clock.monotonic() - self._said >= session.limits.seconds_per_commit
        counts: Counter[str] = Counter()
        says_something = False
        with session.file_fetches() as fetches:

            def draft_for(head: Head) -> Draft:
                nonlocal says_something
                at_ms = clock.now_ms()
                prepared = prepare(session, head, batch, fetches, at_ms=at_ms)
                unread = self._new_unread(head, rows.unread)
                unreadable = list(self._new_unreadable(head, moved, at_ms))
                counts.clear()
                counts.update(prepared.counts, unparsed=len(unread))
                tables = {
                    **prepared.tables,
                    "events": rows_to_table(EVENTS, list(unread.values())),
                    "observations": rows_to_table(OBSERVATIONS, unreadable),
                }
                says_something = must_say or any(table.num_rows for table in tables.values())
                if not says_something:
                    return Draft(at_ms=at_ms)
                cursors = self._cursors(head, moved) | self._marks(head, unread)
                return Draft(
                    at_ms=at_ms, tables=tables, blobs=prepared.blobs, cursors=cursors, gaps=tuple(_gaps(counts))
                )

            session.commit(draft_for)
        self._carried = {} if says_something else moved
        self._said = clock.monotonic() if says_something else self._said
        self.counts += Counter({name: count for name, count in counts.items() if name != "captures"})

    def _cursors(self, head: Head, moved: Mapping[str, Step]) -> dict[str, str]:
        texts = {places.key_of(self._source, chat_id): places.to_text(step.place) for chat_id, step in moved.items()}
        return {key: text for key, text in texts.items() if head.cursors.get(key) != text}

    def _new_unread(self, head: Head, unread: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        return {digest: row for digest, row in unread.items() if self._mark(digest) not in head.cursors}

    def _marks(self, head: Head, unread: Iterable[str]) -> dict[str, str]:
        """Return the marks of items that are kept now; a source of endless nonsense must not fill the ledger with them."""
        prefix = self._mark("")
        room = KEPT_MARKS_MAX - sum(key.startswith(prefix) for key in head.cursors) if unread else 0
        return {self._mark(digest): "kept" for digest in list(unread)[: max(room, 0)]}

    def _mark(self, digest: str) -> str:
        return f"history-kept/{self._source.name}/{digest[:32]}"

    def _new_unreadable(self, head: Head, moved: Mapping[str, Step], at_ms: int) -> Iterator[dict[str, Any]]:
        """Yield an observation for each chat that nobody may read and that was not so before."""
        for chat_id, step in moved.items():
            before = places.from_text(head.cursors.get(places.key_of(self._source, chat_id)), self._source)
            if step.place.unreadable and not before.unreadable:
                yield {
                    "observed_at": at_ms,
                    "chat_id": chat_id,
                    "message_uid": None,
                    "asked_as": step.asked_as,
                    "outcome": "unknown_chat",
                    "reason": f"{self._source.name}: {step.place.unreadable}",
                }


def _tokens_for(session: Session, history: OpenHistory) -> TokenPool:
    """Return the tokens that a source is asked with. A gateway that refuses a token of Flock's says nothing about Flock."""
    if history.credential is not None:
        return TokenPool([history.credential])
    if history.source.method:
        return session.tokens
    return TokenPool([session.tokens.token_of(user_id) for user_id in session.tokens.usable_users()])


def _chats(
    session: Session, source: HistorySource, tokens: TokenPool, *, is_shared: bool
) -> dict[str, tuple[str, ...]]:
    """Return the chats to read, and whom to ask as for each; those of a source with its own credential need no user."""
    known = {chat_id for (chat_id,) in session.states_of_flock("conversations")}
    known |= {channel_id for (channel_id,) in session.states_of_flock("channels")}
    chats = source.chats if source.chats is not None else known
    if is_shared:
        return dict.fromkeys(sorted(chats), tokens.users)
    members = _members(session)
    return {chat_id: _readers(chat_id, members, tokens) for chat_id in sorted(chats)}


def _members(session: Session) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for (channel_id, user_id), row in session.states_of_flock("groups").items():
        of_channel = members.setdefault(channel_id, [])
        if row["state"] == "member":
            of_channel.append(user_id)
    return members


def _readers(chat_id: str, members: Mapping[str, Sequence[str]], tokens: TokenPool) -> tuple[str, ...]:
    """Return the users who may read a chat and whom we can ask as; different chats begin with different ones.

    Of a channel that the directory does not know anybody may be a member.
    """
    parties = parties_of(chat_id)
    if parties is not None:
        candidates: Sequence[str] = parties
    else:
        candidates = members[chat_id] if chat_id in members else tokens.usable_users()
    usable = [user_id for user_id in candidates if tokens.can_ask_as(user_id)]
    first = crc32(chat_id.encode()) % len(usable) if usable else 0
    return tuple([*usable[first:], *usable[:first]][:READERS_MAX])


def _gaps(counts: Mapping[str, int]) -> list[Gap]:
    texts = {
        "unparsed": ("unparsed", "kept in events with outcome 'unparsed', its error and its body"),
        "files_not_stored": ("file-not-stored", "rows in files with their status and reason"),
    }
    return [
        Gap(kind=kind, count=counts[name], evidence=evidence)
        for name, (kind, evidence) in texts.items()
        if counts.get(name)
    ]
