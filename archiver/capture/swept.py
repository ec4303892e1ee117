"""What came of reading a conversation's day again, as rows of ``observations``.

One row a reading says how many uids were asked for and how many came back, and lists those that did not. A uid has a row of its own
only when that changes: the first time it does not come back, and when it comes back again. Nothing here removes anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from archiver.capture.fetch import ASK_AGAIN, UidOutcome
from archiver.capture.sweep import Conversation
from archiver.capture.versions import Key

SWEPT: Final = "swept"
RETURNED: Final = "returned"
NOT_RETURNED: Final = "not_returned"
UNKNOWN: Final = "unknown_chat"
FAILED: Final = "failed"


@dataclass(slots=True)
class SweptRows:
    """Rows of ``observations``, and how much of what they tell: ``counts`` is for the report, ``reasons`` says why asking failed."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SweptConversation:
    """A conversation's day, or a part of it, of which every uid was asked for."""

    day: date
    conversation: Conversation
    replies: Mapping[str, UidOutcome]


def is_settled(outcome: UidOutcome | None) -> bool:
    """Tell whether we know what became of a uid; what could not be asked for is asked for again."""
    return outcome is not None and not (outcome.outcome == FAILED and outcome.reason in ASK_AGAIN)


def settled_part(conversation: Conversation, replies: Mapping[Key, UidOutcome]) -> Conversation:
    """Return the conversation up to the first uid of which we do not know what became."""
    for number, uid in enumerate(conversation.uids):
        if not is_settled(replies.get((conversation.chat_id, uid))):
            return Conversation(conversation.chat_id, conversation.uids[:number])
    return conversation


def observe(swept: Iterable[SweptConversation], *, gone: Collection[Key], at_ms: int) -> SweptRows:
    """Return the rows that these readings add; ``gone`` are the uids that did not come back when last asked for."""
    observed = SweptRows()
    told: set[Key] = set()
    for item in swept:
        _observe(observed, item, gone, told, at_ms)
    return observed


def gone_after(gone: set[Key], rows: Iterable[Mapping[str, Any]]) -> None:
    """Bring up to date which uids did not come back, by rows of ``observations`` in the order in which they were observed."""
    for row in rows:
        chat_id, uid = row["chat_id"], row["message_uid"]
        if uid is None:
            gone.update((chat_id, missing) for missing in row.get("not_returned") or ())
        elif row["outcome"] == NOT_RETURNED:
            gone.add((chat_id, uid))
        elif row["outcome"] == RETURNED:
            gone.discard((chat_id, uid))


def _observe(observed: SweptRows, item: SweptConversation, gone: Collection[Key], told: set[Key], at_ms: int) -> None:
    chat_id, uids = item.conversation.chat_id, item.conversation.uids
    outcomes: Counter[str] = Counter(item.replies[uid].outcome for uid in uids)
    is_unknown = outcomes[UNKNOWN] == len(uids)
    still_gone = []
    for uid in uids:
        reply, key = item.replies[uid], (chat_id, uid)
        # Of what was not answered we know what we knew.
        if reply.outcome == NOT_RETURNED or (reply.outcome in (UNKNOWN, FAILED) and key in gone):
            still_gone.append(uid)
        is_news = (reply.outcome == NOT_RETURNED and key not in gone) or (reply.outcome == RETURNED and key in gone)
        if is_news and key not in told:
            told.add(key)
            observed.counts["gone" if reply.outcome == NOT_RETURNED else "came_back"] += 1
            observed.rows.append(_row(chat_id, reply, reply.outcome, at_ms, message_uid=uid))
        if reply.outcome == FAILED:
            observed.reasons[reply.reason] = None
    best = max(
        (item.replies[uid] for uid in uids),
        key=lambda reply: (reply.outcome == RETURNED, reply.outcome == NOT_RETURNED),
    )
    observed.rows.append(
        {
            **_row(chat_id, best, UNKNOWN if is_unknown else SWEPT, at_ms),
            "reason": best.reason if is_unknown else _failures(outcomes),
            "day_on": item.day,
            "asked": len(uids),
            "returned": outcomes[RETURNED],
            "not_returned": still_gone or None,
        }
    )
    observed.counts["conversations"] += 1
    observed.counts["asked"] += len(uids)
    observed.counts["returned"] += outcomes[RETURNED]
    observed.counts["unreadable"] += is_unknown
    observed.counts["failed"] += outcomes[FAILED]


def _row(
    chat_id: str, reply: UidOutcome, outcome: str, at_ms: int, *, message_uid: str | None = None
) -> dict[str, Any]:
    return {
        "observed_at": at_ms,
        "chat_id": chat_id,
        "message_uid": message_uid,
        "asked_as": reply.asked_as,
        "outcome": outcome,
        "reason": reply.reason or None,
    }


def _failures(outcomes: Mapping[str, int]) -> str | None:
    said = [
        f"{outcomes[outcome]} {words}"
        for outcome, words in ((UNKNOWN, "in a chat that became unknown"), (FAILED, "refused by Flock"))
        if outcomes[outcome]
    ]
    return ", ".join(said) or None
