"""The gaps stage: what may be missing, as rows for what changed, and so the honest end of every run.

It looks at the newest states of the directory, at the tokens, at the spool's uptimes, at what the stages of this run say, and at
what was committed since the last look (`archiver.run.gap_news`); never at the whole of messages, files or events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from archiver.archive.commit import Draft
from archiver.archive.ledger import Gap
from archiver.archive.reader import Head
from archiver.archive.schema import GAPS
from archiver.archive.tables import rows_to_table
from archiver.capture import feeds, gaps
from archiver.capture.feeds import Feeds
from archiver.capture.gaps import Findings, gap_id
from archiver.capture.history import HISTORY_KINDS
from archiver.capture.versions import Key
from archiver.run.gap_news import CURSOR, News, read_news
from archiver.run.known_states import States
from archiver.run.result import StageResult
from archiver.run.session import Session

# These the stage tells by itself, each time anew or from what it knew and what is new.
_ALWAYS_JUDGED: Final = frozenset(
    {
        gaps.NO_TOKEN,
        gaps.USER_WITHOUT_TOKEN,
        gaps.TOKEN_REFUSED,
        gaps.CHANNEL_WITHOUT_FEED,
        gaps.CHANNEL_SILENT,
        gaps.CHAT_UNREADABLE,
        gaps.NO_LISTENER,
        gaps.LISTENER_DOWN,
        gaps.UNPARSED,
        gaps.FILE_NOT_STORED,
        gaps.MESSAGE_NOT_RETURNED,
    }
)
# These are a stage's own word: what it does not say again, having done all its work, is no more.
_JUDGED_BY_STAGE: Final[dict[str, frozenset[str]]] = {
    "directory": frozenset({gaps.DIRECTORY, gaps.ANSWER_SUSPECT}),
    "fetch": frozenset({gaps.MESSAGE_UNKNOWN_CHAT, gaps.MESSAGE_FAILED}),
    "history": HISTORY_KINDS,
    "sweep": frozenset({gaps.SWEEP_FAILED}),
}
# A sweep tells whether its promise is kept also where it could not go on; it does so by counting this.
_SWEEP_LOOKED: Final = "overdue"
# These happened and are over.
_MOMENTARY: Final = frozenset({gaps.SPOOL_SET_BACK})
# What a stage says in total, the table tells by chat, uid or feed, as this kind.
_TOTALS: Final[dict[str, str]] = {
    gaps.FILE_NOT_STORED: gaps.FILE_NOT_STORED,
    gaps.UNPARSED: gaps.UNPARSED,
    "message-unparsed": gaps.UNPARSED,
    gaps.MESSAGE_NOT_RETURNED: gaps.MESSAGE_NOT_RETURNED,
}


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at a head makes of it: rows to commit, those of them that no stage has told of, and what is open then."""

    rows: Sequence[dict[str, Any]] = ()
    untold: tuple[Gap, ...] = ()
    open_gaps: Sequence[Gap] = ()


def list_gaps(session: Session) -> StageResult:
    """Compare what may be missing with what the table says, and commit the changes.

    The result's gaps are those that are new or have changed and that no stage before has told of in this run.
    """
    session.progress.start("gaps", total=None)
    spool = session.ports.spool
    rules = session.ports.gap_rules
    uptimes = gaps.believable(spool.uptimes(), now_ms=session.ports.clock.now_ms(), rules=rules)
    look = _Look()

    def draft_for(head: Head) -> Draft:
        nonlocal look
        at_ms = session.ports.clock.now_ms()
        known = session.states("gaps")
        news = read_news(session.ports.archive, head, awaited=_awaited(known))
        before = feeds.read_feeds(head.cursors)
        fed = feeds.after(before, news.deliveries.values())
        present, past = gaps.listener_gaps(uptimes, spool_id=spool.spool_id, now_ms=at_ms, rules=rules)
        present += _of_states(session, fed)
        present += _of_news(known, news)
        stated, momentary = _stated(session, news)
        found = Findings(
            present=present + stated,
            past=past + momentary,
            judged=_ALWAYS_JUDGED | _judged_by_stages(session),
            ended_at_ms=_first_pushes(news),
        )
        rows = gaps.changed_rows(known, found, at_ms=at_ms)
        look = _Look(
            rows=rows,
            untold=_untold(session, known, rows),
            open_gaps=gaps.open_gaps({**known, **{(row["gap_id"],): row for row in rows}}),
        )
        cursors = feeds.cursors_of(fed, known=before)
        if news.through is not None:
            cursors[CURSOR] = str(news.through)
        elif CURSOR not in head.cursors and head.sequence:
            # That there is nothing, and that somebody has looked, is what an archive without gaps must be able to show.
            cursors[CURSOR] = str(head.sequence)
        return Draft(at_ms=at_ms, tables={"gaps": rows_to_table(GAPS, rows)}, cursors=cursors)

    session.commit(draft_for)
    since = gaps.newest_uptime_from(uptimes, rules=rules)
    if since is not None and any(uptime.to_at_ms < since for uptime in uptimes):
        spool.forget_uptimes(before_ms=since)
    counts = Counter(row["state"] for row in look.rows)
    return StageResult(
        "gaps",
        counts={"opened_or_changed": counts[gaps.OPEN], "closed": counts[gaps.CLOSED]},
        gaps=look.untold,
        open_gaps=Counter(gap.kind for gap in look.open_gaps),
    )


def _of_states(session: Session, fed: Feeds) -> list[Gap]:
    """Return the gaps that the newest states of the directory, the tokens and the feeds show."""
    tokens = session.tokens
    usable = frozenset(tokens.usable_users())
    channels = session.states_of_flock("channels")
    last_push = feeds.last_push_by_chat(fed)
    refused = gaps.still_refused(
        gaps.open_gaps(session.states("gaps"), gaps.TOKEN_REFUSED),
        [*tokens.refused(), *tokens.set_aside],
        given=frozenset(tokens.users),
        accepted=frozenset(token.user_id for token in tokens.accepted()),
    )
    return [
        *([] if tokens.users else [gaps.without_token()]),
        *refused,
        *gaps.users_without_token(session.states_of_flock("users"), usable=usable, refused=refused),
        *gaps.channels_without_feed(channels, last_push),
        *gaps.silent_channels(channels, last_push, days_max=session.ports.gap_rules.silent_days_max),
        *gaps.unreadable_chats(
            channels=channels,
            groups=session.states_of_flock("groups"),
            conversations=session.states_of_flock("conversations"),
            usable=usable,
        ),
    ]


def _of_news(known: States, news: News) -> list[Gap]:
    """Return the gaps that are counted on from what the table knew: unreadable captures, files, messages by uid."""
    return [*_unparsed(known, news), *_files_not_stored(known, news), *_not_returned(known, news)]


def _unparsed(known: States, news: News) -> Iterable[Gap]:
    before = {gap.subject or "": gap for gap in gaps.open_gaps(known, gaps.UNPARSED)}
    for feed in sorted(before.keys() | news.unreadable.keys()):
        last, more = before.get(feed), news.unreadable.get(feed)
        if more is None:
            if last is not None:
                yield last
            continue
        starts = [more.first_at_ms, *([last.from_at_ms] if last and last.from_at_ms is not None else [])]
        ends = [more.last_at_ms, *([last.to_at_ms] if last and last.to_at_ms is not None else [])]
        yield Gap(
            kind=gaps.UNPARSED,
            count=more.count + (last.count if last else 0),
            evidence="kept in events with the error and the body",
            subject=feed,
            from_at_ms=min(starts),
            to_at_ms=max(ends),
        )


def _files_not_stored(known: States, news: News) -> Iterable[Gap]:
    counts = Counter({gap.chat_id or "": gap.count for gap in gaps.open_gaps(known, gaps.FILE_NOT_STORED)})
    counts.update(news.files_missing)
    for chat_id, count in sorted(counts.items()):
        if count > 0:
            evidence = "rows in files with their status and reason"
            yield Gap(kind=gaps.FILE_NOT_STORED, count=count, evidence=evidence, chat_id=chat_id)


def _awaited(known: States) -> dict[Key, Gap]:
    """Return the messages that were asked for by uid and never came."""
    return {(gap.chat_id or "", gap.subject or ""): gap for gap in gaps.open_gaps(known, gaps.MESSAGE_NOT_RETURNED)}


def _not_returned(known: States, news: News) -> Iterable[Gap]:
    awaited = _awaited(known)
    for (chat_id, uid), at_ms in sorted(news.not_returned.items()):
        new = Gap(
            kind=gaps.MESSAGE_NOT_RETURNED,
            count=1,
            evidence="asked for by uid, not returned by Flock, and not archived; see observations",
            chat_id=chat_id,
            subject=uid,
            from_at_ms=at_ms,
        )
        awaited.setdefault((chat_id, uid), new)
    return [gap for key, gap in awaited.items() if key not in news.arrived]


def _stated(session: Session, news: News) -> tuple[list[Gap], list[Gap]]:
    """Return what stages say that the stage cannot tell by itself: what goes on by this run's word, and what is over.

    What is over is also taken from the commits of runs that ended before they got here.
    """
    said = [gap for result in session.results for gap in result.gaps]
    going_on = [gap for gap in said if gap.kind not in _ALWAYS_JUDGED | _TOTALS.keys() | _MOMENTARY]
    over = [gap for gap in [*news.stated, *said] if gap.kind in _MOMENTARY]
    return going_on, [_named(gap) for gap in over]


def _named(gap: Gap) -> Gap:
    """Return a gap that is told apart from others of its kind by what was found, if it names nothing."""
    if gap.subject is not None:
        return gap
    return Gap(kind=gap.kind, count=gap.count, evidence=gap.evidence, subject=gap.evidence)


def _judged_by_stages(session: Session) -> set[str]:
    """Return the kinds of which this run's stages have said all there is: they asked, and came to their end."""
    judged: set[str] = set()
    for result in session.results:
        if result.is_complete:
            judged |= _JUDGED_BY_STAGE.get(result.stage, frozenset())
        if _SWEEP_LOOKED in result.counts:
            judged.add(gaps.SWEEP_BOUND)
    return judged


def _first_pushes(news: News) -> dict[str, int]:
    """Return for each chat that was heard again when, by the ids of the gaps that this ends."""
    first: dict[str, int] = {}
    for delivery in news.deliveries.values():
        if delivery.chat_id:
            at_ms = first.get(delivery.chat_id, delivery.first_at_ms)
            first[delivery.chat_id] = min(at_ms, delivery.first_at_ms)
    return {
        gap_id(Gap(kind=kind, count=1, evidence="", chat_id=chat_id)): at_ms
        for chat_id, at_ms in first.items()
        for kind in (gaps.CHANNEL_WITHOUT_FEED, gaps.CHANNEL_SILENT)
    }


def _untold(session: Session, known: States, rows: Iterable[dict[str, Any]]) -> tuple[Gap, ...]:
    """Return what changed rows say that no stage has said: what is open now, and what was missed and was over at once."""
    said = [gap for result in session.results for gap in result.gaps]
    ids = {gap_id(gap) for gap in said} | {gap_id(_named(gap)) for gap in said if gap.kind in _MOMENTARY}
    totals = {_TOTALS[gap.kind] for gap in said if gap.kind in _TOTALS}
    was_open = {gap_id(gap) for gap in gaps.open_gaps(known)}
    return tuple(
        gaps.gap_of(row)
        for row in rows
        if row["gap_id"] not in ids and row["kind"] not in totals
        if row["state"] == gaps.OPEN or row["gap_id"] not in was_open
    )
