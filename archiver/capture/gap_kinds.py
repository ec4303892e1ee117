"""What each kind of gap means, and what to do about it: the words for whoever reads the list, in the order in which to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archiver.capture import gaps, history


@dataclass(frozen=True, slots=True)
class GapKind:
    """A kind of gap in words: what may be missing because of it, and what closes it."""

    meaning: str
    action: str


# What stops capture altogether comes first, then who and what is out of reach, then single things that did not come.
GAP_KINDS: Final[dict[str, GapKind]] = {
    gaps.NO_TOKEN: GapKind(
        "nobody's token is known, so Flock cannot be asked for anything",
        "set flock.tokens_file, or let users install the app",
    ),
    gaps.NO_LISTENER: GapKind(
        "pushes are expected, and no listener has ever run: nothing that is pushed is kept",
        "start `archiver listen`, with the same state folder or queue as the runs",
    ),
    gaps.LISTENER_DOWN: GapKind(
        "no listener was alive for a while; what Flock pushed meanwhile is lost, unless it is fetched or imported",
        "if it goes on: start `archiver listen`; if it is over: let users hand messages of that time to the app",
    ),
    gaps.SPOOL_SET_BACK: GapKind(
        "the spool was restored from a copy; what came between that copy and then is lost",
        "find out who restored it; nothing closes this, it is over",
    ),
    gaps.TOKEN_REFUSED: GapKind(
        "Flock refuses a user's token, so nothing is asked as this user",
        "see `archiver installs list`; let the user install the app again, or enable it",
    ),
    gaps.USER_WITHOUT_TOKEN: GapKind(
        "a user has not installed the app, so what only this user can read is out of reach",
        "let the user install the app, or put a token into flock.tokens_file; of a contact from another team it may stay",
    ),
    gaps.CHANNEL_WITHOUT_FEED: GapKind(
        "no outgoing webhook ever delivered anything of a channel, so its messages are not captured as they are sent",
        "`archiver webhooks plan` says who should make which webhook",
    ),
    gaps.CHANNEL_SILENT: GapKind(
        "a channel's webhook delivered once and has stopped, while others went on",
        "look whether its webhook still exists, and whether its owner is still in the channel: `archiver webhooks check`",
    ),
    gaps.CHAT_UNREADABLE: GapKind(
        "no user whose token works is in a conversation, so nothing of it can be fetched or read again",
        "let somebody who is in it install the app",
    ),
    gaps.SWEEP_BOUND: GapKind(
        "not everything was read again within the promised time, so edits and deletions may be unseen",
        "raise sweep.requests_max, or see why Flock was not asked",
    ),
    gaps.SWEEP_FAILED: GapKind(
        "Flock would not answer when messages were read again",
        "the next run tries again; if it stays, look at the reason",
    ),
    gaps.MESSAGE_NOT_RETURNED: GapKind(
        "a message was asked for by its uid, Flock did not return it, and the archive does not hold it",
        "it was deleted, or never was; whoever has it can export it for `archiver import`",
    ),
    gaps.MESSAGE_UNKNOWN_CHAT: GapKind(
        "messages are known by their uids, in a chat that no token may read",
        "let somebody who is in that chat install the app; the uids are kept and asked for again",
    ),
    gaps.MESSAGE_FAILED: GapKind(
        "messages are known by their uids and could not be asked for",
        "the next run tries again; if it stays, look at the reason",
    ),
    gaps.FILE_NOT_STORED: GapKind(
        "files of messages could not be fetched; the messages are archived",
        "what may still come is tried again by itself; `archiver query \"SELECT * FROM files WHERE status <> 'stored'\"` "
        "has the reasons",
    ),
    gaps.UNPARSED: GapKind(
        "pushes or answers could not be read; their bytes are kept in events, with the reason",
        'report what `archiver query "SELECT error, count(*) FROM events WHERE error IS NOT NULL GROUP BY ALL"` shows',
    ),
    gaps.DIRECTORY: GapKind(
        "something of the directory could not be had or read, so names, channels or members may be missing",
        "the next run tries again; if it stays, look at the method and the reason",
    ),
    gaps.ANSWER_SUSPECT: GapKind(
        "Flock answered with a suspiciously round number of things, and may have cut the answer",
        "compare that number with what Flock's own client shows",
    ),
    history.HISTORY_UNREADABLE: GapKind(
        "nobody may read a chat through a declared source of history",
        "give the source a credential that may, or let somebody who is in the chat install the app",
    ),
    history.HISTORY_PROBLEM: GapKind(
        "a declared source of history could not be asked, or answered in a way that cannot be read",
        "look at the reason, at the gateway and at its part of archiver.yaml",
    ),
    history.HISTORY_CUT_SHORT: GapKind(
        "the newest part of a declared source was not read back to what is archived already",
        "the next runs go on; raise the source's requests_per_night if they do not get through",
    ),
    history.HISTORY_UNREAD: GapKind(
        "not every chat of a declared source was read to its beginning yet",
        "the next runs go on; raise the source's requests_per_night if that takes too long",
    ),
    history.HISTORY_OVERDUE: GapKind(
        "a declared source was not read again within its promised time",
        "raise the source's requests_per_night, or see why it was not asked",
    ),
}
_UNKNOWN: Final = GapKind(
    "a kind of gap that this version does not know", "read its evidence, or upgrade to the version that found it"
)


def kind_in_words(kind: str) -> GapKind:
    """Return what a kind means; one that another version wrote is said to be unknown."""
    return GAP_KINDS.get(kind, _UNKNOWN)


def reading_order(kind: str) -> tuple[int, str]:
    """Return what sorts kinds in the order in which to read them, unknown ones last."""
    known = list(GAP_KINDS)
    return (known.index(kind) if kind in GAP_KINDS else len(known), kind)
