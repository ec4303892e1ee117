"""What may be missing, and why: from what is known to gaps, and from gaps to rows of the table ``gaps``.

Pure: states, tokens, feeds and uptimes go in, gaps come out. A gap is open as long as its cause goes on. It is closed when the
cause is gone, which does not bring back what was missed: ``from_at`` and ``to_at`` say when that was.

========================  ======================================================================  ==========================
kind                      what it says                                                            which gap it is
========================  ======================================================================  ==========================
no-token                  nobody's token is known, so Flock cannot be asked
user-without-token        a user of the directory has not installed the app                       user
token-refused             Flock refuses a user's token                                            user, token's fingerprint
channel-without-feed      no outgoing webhook ever delivered anything of a channel                chat
channel-silent            a channel's webhook delivered once, and not since others did            chat
chat-unreadable           no user whose token works is in a known conversation                    chat
no-listener               pushes are expected, and no listener was ever seen                      spool
listener-down             no listener was alive for a while                                       spool and when it began
spool-set-back            a spool was restored from a copy                                        what was found
unparsed                  pushes or answers that could not be read                                feed
file-not-stored           files of messages that could not be fetched                             chat
message-not-returned      a message that was asked for by uid, not returned, and is not archived  chat, uid
message-unknown-chat      messages named by events, in a chat that nobody may read                chat
message-failed            messages named by events that could not be asked for                    chat
directory                 something in the directory that could not be had or read                method, whom, reason
answer-suspect            an answer without pages that holds a suspiciously round number          method, number
sweep-bound               not everything was read again within the promised time                  older days, or the last
sweep-failed              re-reading that Flock refused
========================  ======================================================================  ==========================
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import msgspec

from archiver.archive.ledger import Gap
from archiver.capture.directory_changes import LEFT, LISTED, MEMBER, Row, state_digest
from archiver.capture.token_pool import RefusedToken
from archiver.clock import DAY_MS, to_text
from archiver.ids import is_bot, parties_of
from archiver.spool import Uptime

OPEN: Final = "open"
CLOSED: Final = "closed"

NO_TOKEN: Final = "no-token"  # noqa: S105 - the name of a kind
USER_WITHOUT_TOKEN: Final = "user-without-token"  # noqa: S105 - the name of a kind
TOKEN_REFUSED: Final = "token-refused"  # noqa: S105 - the name of a kind
CHANNEL_WITHOUT_FEED: Final = "channel-without-feed"
CHANNEL_SILENT: Final = "channel-silent"
CHAT_UNREADABLE: Final = "chat-unreadable"
NO_LISTENER: Final = "no-listener"
LISTENER_DOWN: Final = "listener-down"
SPOOL_SET_BACK: Final = "spool-set-back"
UNPARSED: Final = "unparsed"
FILE_NOT_STORED: Final = "file-not-stored"
MESSAGE_NOT_RETURNED: Final = "message-not-returned"
MESSAGE_UNKNOWN_CHAT: Final = "message-unknown-chat"
MESSAGE_FAILED: Final = "message-failed"
DIRECTORY: Final = "directory"
ANSWER_SUSPECT: Final = "answer-suspect"
SWEEP_BOUND: Final = "sweep-bound"
SWEEP_FAILED: Final = "sweep-failed"

# What a state consists of; the rest of a row says when it began and which gap it is.
GAP_STATE: Final = ("gap_id", "state", "kind", "chat_id", "user_id", "subject", "from_at", "to_at", "count", "evidence")

_NOBODYS: Final = (
    "no user's token is known, so Flock cannot be asked: set flock.tokens_file, or let users install the app"
)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class GapRules:
    """The bounds beyond which something counts as a gap, and whether anybody is expected to push.

    ``silent_days_max``: a channel's feed is silent if others delivered so many days after its last push.
    ``listener_hole_ms_max``: how long no listener may be seen alive.
    """

    silent_days_max: float = 14.0
    listener_hole_ms_max: int = 60_000
    expects_pushes: bool = False


@dataclass(frozen=True, slots=True)
class Findings:
    """What one look found.

    ``present`` are the gaps that are there, ``past`` those that were and are over. ``judged`` are the kinds of which
    ``present`` holds all: an open gap of such a kind that is not among them is closed, at the instant that ``ended_at_ms``
    gives by its id, else now.
    """

    present: Sequence[Gap] = ()
    past: Sequence[Gap] = ()
    judged: Collection[str] = frozenset()
    ended_at_ms: Mapping[str, int] = field(default_factory=dict)


def gap_id(gap: Gap) -> str:
    """Return the id of a gap: the digest of what it concerns. How often, since when and why may change under it."""
    return sha256(_encode([gap.kind, gap.chat_id, gap.user_id, gap.subject])).hexdigest()


def gap_of(row: Row) -> Gap:
    """Return the gap that a row of the table tells of."""
    return Gap(
        kind=row["kind"],
        count=row["count"],
        evidence=row["evidence"],
        chat_id=row["chat_id"],
        user_id=row["user_id"],
        subject=row["subject"],
        from_at_ms=row["from_at"],
        to_at_ms=row["to_at"],
    )


def open_gaps(known: Mapping[tuple[str, ...], Row], kind: str | None = None) -> list[Gap]:
    """Return the gaps that are open by their latest rows, of one kind or of all."""
    return [gap_of(row) for row in known.values() if row["state"] == OPEN and kind in (None, row["kind"])]


def changed_rows(known: Mapping[tuple[str, ...], Row], found: Findings, *, at_ms: int) -> list[dict[str, Any]]:
    """Return the rows that make the known list of gaps into what was found; ``known`` has the latest row by (gap id,).

    Finding the same again gives no rows.
    """
    present = {gap_id(gap): gap for gap in found.present}
    states = {name: (OPEN, gap) for name, gap in present.items()}
    states |= {gap_id(gap): (CLOSED, gap) for gap in found.past}
    for (name,), row in known.items():
        if row["state"] == OPEN and row["kind"] in found.judged and name not in states:
            ended = msgspec.structs.replace(gap_of(row), to_at_ms=found.ended_at_ms.get(name, at_ms))
            states[name] = (CLOSED, ended)
    rows = []
    for name, (state, gap) in sorted(states.items()):
        last = known.get((name,))
        row = _row(name, state, gap)
        if last is None or last["state_digest"] != row["state_digest"]:
            # A clock that was set back must not make the older row the newer one.
            rows.append({**row, "valid_from": at_ms if last is None else max(at_ms, last["valid_from"] + 1)})
    return rows


def without_token() -> Gap:
    """Return the gap of an installation that has nobody's token."""
    return Gap(kind=NO_TOKEN, count=1, evidence=_NOBODYS)


def refused_token(token: RefusedToken) -> Gap:
    """Return the gap of a token that Flock refused."""
    return Gap(
        kind=TOKEN_REFUSED,
        count=1,
        evidence=f"{token.user_id} ({token.fingerprint}): {', '.join(filter(None, (token.code, token.reason)))}",
        user_id=token.user_id,
        subject=token.fingerprint,
    )


def still_refused(
    known: Iterable[Gap], refused: Iterable[RefusedToken], *, given: Collection[str], accepted: Collection[str]
) -> list[Gap]:
    """Return the refused tokens as gaps: those that ``refused`` tells of, and those of earlier runs that still stand.

    A refusal of an earlier run stands until Flock lets its user in with any token, until another token of the user is refused, or
    until none of the user is given. ``given`` and ``accepted`` are users. What is known of a token already stays as it was said.
    """
    before = {(gap.user_id, gap.subject): gap for gap in known}
    now: dict[tuple[str | None, str | None], Gap] = {}
    for token in refused:
        key = (token.user_id, token.fingerprint)
        now[key] = before.get(key) or refused_token(token)
    refused_users = {user_id for user_id, _ in now}
    standing = [
        gap
        for key, gap in before.items()
        if key not in now and gap.user_id in given and gap.user_id not in accepted and gap.user_id not in refused_users
    ]
    return [*now.values(), *standing]


def users_without_token(
    users: Mapping[tuple[str, ...], Row], *, usable: Collection[str], refused: Iterable[Gap]
) -> list[Gap]:
    """Return the people of the directory as whom nobody can ask, but for those whose token was refused: that says it."""
    told = {gap.user_id for gap in refused}
    return [
        Gap(kind=USER_WITHOUT_TOKEN, count=1, evidence="this user has not installed the app", user_id=user_id)
        for (user_id,) in users
        if user_id not in usable and user_id not in told and not is_bot(user_id)
    ]


def channels_without_feed(channels: Mapping[tuple[str, ...], Row], fed: Collection[str]) -> list[Gap]:
    """Return the channels that the directory lists and of which no webhook ever delivered anything."""
    return [
        Gap(
            kind=CHANNEL_WITHOUT_FEED,
            count=1,
            evidence="no outgoing webhook has ever delivered anything of this channel",
            chat_id=channel_id,
        )
        for (channel_id,), row in channels.items()
        if row["state"] == LISTED and channel_id not in fed
    ]


def silent_channels(
    channels: Mapping[tuple[str, ...], Row], last_push_at_ms: Mapping[str, int], *, days_max: float
) -> list[Gap]:
    """Return the channels whose webhook has not delivered anything for longer than the bound while that of another has.

    A channel that nobody lists any more cannot speak.
    """
    newest = max(last_push_at_ms.values(), default=0)
    return [
        Gap(
            kind=CHANNEL_SILENT,
            count=1,
            evidence=f"its webhook delivered until {to_text(at_ms)}, others at least {days_max:g} days longer",
            chat_id=chat_id,
            from_at_ms=at_ms,
        )
        for chat_id, at_ms in last_push_at_ms.items()
        if newest - at_ms > days_max * DAY_MS and channels.get((chat_id,), _LISTED)["state"] == LISTED
    ]


_LISTED: Final[Row] = {"state": LISTED}


def unreadable_chats(
    *,
    channels: Mapping[tuple[str, ...], Row],
    groups: Mapping[tuple[str, ...], Row],
    conversations: Mapping[tuple[str, ...], Row],
    usable: Collection[str],
) -> list[Gap]:
    """Return the known conversations that no user whose token works can read.

    A channel is readable as a member, or as whoever listed it last and is not known to have left. While tokens work and no
    channel was ever listed, the directory is yet to be crawled, and of channels nothing can be said.
    """
    readable = {
        channel_id for (channel_id, user_id), row in groups.items() if row["state"] == MEMBER and user_id in usable
    }
    readable |= {
        channel_id
        for (channel_id,), row in channels.items()
        if row["captured_by"] in usable and groups.get((channel_id, row["captured_by"]), _STAYS)["state"] != LEFT
    }
    found: dict[str, str] = {}
    for (channel_id,), row in channels.items():
        if row["state"] != LISTED:
            found[channel_id] = "no token sees this channel any more"
        elif channel_id not in readable:
            found[channel_id] = "nobody in this channel has a token that works"
    for (chat_id,), row in conversations.items():
        parties = parties_of(chat_id)
        if parties is not None:
            if not any(party in usable for party in parties):
                found[chat_id] = "neither of the two has a token that works"
        elif row["chat_kind"] == "channel" and (chat_id,) not in channels and (channels or not usable):
            found[chat_id] = "no user whose token works lists this channel; we know it by what was pushed"
    return [Gap(kind=CHAT_UNREADABLE, count=1, evidence=text, chat_id=chat_id) for chat_id, text in found.items()]


_STAYS: Final[Row] = {"state": MEMBER}


def believable(uptimes: Iterable[Uptime], *, now_ms: int, rules: GapRules) -> list[Uptime]:
    """Return the uptimes without those that a clock wrote which was ahead: they would hide every hole until that time comes."""
    return [item for item in uptimes if item.from_at_ms - now_ms <= rules.listener_hole_ms_max]


def listener_gaps(
    uptimes: Iterable[Uptime], *, spool_id: str, now_ms: int, rules: GapRules
) -> tuple[list[Gap], list[Gap]]:
    """Return what goes on and what is over of the times at which no listener of a spool was alive."""
    end: int | None = None
    past = []
    for uptime in sorted(uptimes, key=lambda item: item.from_at_ms):
        if end is not None and uptime.from_at_ms - end > rules.listener_hole_ms_max:
            past.append(_listener_down(spool_id, end, uptime.from_at_ms))
        end = uptime.to_at_ms if end is None else max(end, uptime.to_at_ms)
    if end is None:
        evidence = (
            "webhooks or events are configured, and no listener has ever written to this spool: start `archiver listen`"
        )
        never = Gap(kind=NO_LISTENER, count=1, evidence=evidence, subject=spool_id)
        return ([never] if rules.expects_pushes else []), []
    return ([_listener_down(spool_id, end, None)] if now_ms - end > rules.listener_hole_ms_max else []), past


def newest_uptime_from(uptimes: Iterable[Uptime], *, rules: GapRules) -> int | None:
    """Return since when a listener was alive, without a hole, when one was seen last; None if none ever was."""
    since: int | None = None
    end = 0
    for uptime in sorted(uptimes, key=lambda item: item.from_at_ms):
        if since is None or uptime.from_at_ms - end > rules.listener_hole_ms_max:
            since = uptime.from_at_ms
        end = max(end, uptime.to_at_ms)
    return since


def _listener_down(spool_id: str, from_at_ms: int, to_at_ms: int | None) -> Gap:
    return Gap(
        kind=LISTENER_DOWN,
        count=1,
        evidence="no listener beat; Flock is not known to send again what nobody took",
        subject=f"{spool_id} {to_text(from_at_ms)}",
        from_at_ms=from_at_ms,
        to_at_ms=to_at_ms,
    )


def _row(name: str, state: str, gap: Gap) -> dict[str, Any]:
    row = {
        "gap_id": name,
        "state": state,
        "kind": gap.kind,
        "chat_id": gap.chat_id,
        "user_id": gap.user_id,
        "subject": gap.subject,
        "from_at": gap.from_at_ms,
        "to_at": gap.to_at_ms,
        "count": gap.count,
        "evidence": gap.evidence,
    }
    return {**row, "state_digest": state_digest(row, GAP_STATE)}
