"""What `archiver replay` does once it is known what is asked for: look, tell, and with ``--go`` post."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from archiver import wiring, wiring_restore
from archiver.archive.ledger import HoldScope, MatterAct
from archiver.archive.matters import record_act
from archiver.archive.reader import Archive, Head
from archiver.cli.options import Invocation
from archiver.cli.output import Output
from archiver.clock import SystemClock, to_text
from archiver.discovery.replay import Replayed, Standing, Uncertain, replay, standing
from archiver.discovery.replay_journal import open_journal, read_journal
from archiver.discovery.replay_message import Post, posts_of
from archiver.discovery.replay_selection import Selection, captured_marks, select
from archiver.discovery.restore_selection import Wanted
from archiver.errors import EXIT_GAPS
from archiver.expression import Expression, parse_expression
from archiver.scope.days import days_in_zone, zone_called
from archiver.scope.membership import read_membership
from archiver.scope.named import chats_named

if TYPE_CHECKING:
    from archiver.settings import Settings

SHOWN_MAX = 10
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for, as it was written."""

    channel: str
    poster: str | None
    chats: tuple[str, ...]
    first_on: date | None
    last_on: date | None
    zone: str
    expression: str | None
    uncertain: Uncertain
    matter: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What the archive has of it."""

    archive: Archive
    head: Head
    scope: HoldScope
    selection: Selection
    posts: tuple[Post, ...]


def work(invocation: Invocation, order: Order, *, go: bool) -> int | None:
    """Look, and tell or post; returns the exit code."""
    settings = invocation.settings()
    poster = wiring_restore.poster(settings, invocation.secrets(settings), order.poster)
    found = _find(settings, order)
    captured = captured_marks(found.archive, found.head, order.channel, poster.user_id)
    if not go:
        now = standing(found.posts, read_journal(settings.state, order.channel), captured)
        document = _document(order, found, now) | {"posted_now": 0, "exit_code": 0}
        seconds = len(now.to_post) / settings.flock.requests_per_second
        invocation.output.result(document, show=lambda out: _show(out, order, found, now, seconds))
        return None
    clock = SystemClock()
    with (
        open_journal(settings.state, order.channel) as journal,
        wiring_restore.flock_sender(settings) as sender,
        invocation.output.progress() as bars,
    ):
        now = standing(
            found.posts, {post.mark: line for post in found.posts if (line := journal.of(post.mark))}, captured
        )
        entry = _enter(found, order, now)
        task = bars.add_task("replaying", total=len(found.posts))
        done = replay(
            found.posts,
            journal,
            captured,
            lambda parameters: sender.send_message(poster, parameters),
            uncertain=order.uncertain,
            channel=order.channel,
            clock=clock,
            progress=lambda number, total: bars.update(task, completed=number, total=total),
        )
    exit_code = EXIT_GAPS if done.refused else 0
    document = _document(order, found, now) | {
        "posted_now": done.posted,
        "found_now": done.found,
        "refused_now": [{"message_uid": uid, "why": why} for uid, why in done.refused],
        "entry": entry,
        "exit_code": exit_code,
    }
    invocation.output.result(document, show=lambda out: _show_done(out, order, now, done))
    return exit_code or None


def _find(settings: Settings, order: Order) -> _Found:
    archive = wiring.open_seen_archive(settings)
    head = archive.head()
    membership = read_membership(archive.store, head)
    chats = chats_named(membership, order.chats)
    from_at_ms, until_ms = days_in_zone(order.first_on, order.last_on, zone=order.zone)
    expression = _expression(order)
    wanted = Wanted(chats=chats, from_at_ms=from_at_ms, until_ms=until_ms)
    selection = select(archive, head, wanted, expression, membership)
    posts = [
        post
        for source in selection.sources
        for post in posts_of(source, archive_id=archive.facts.archive_id, channel=order.channel)
    ]
    scope = HoldScope(
        chats=tuple(sorted(chats or ())),
        from_at_ms=from_at_ms,
        until_ms=until_ms,
        expression=order.expression,
        zone=order.zone if order.expression else None,
    )
    return _Found(archive, head, scope, selection, tuple(posts))


def _expression(order: Order) -> Expression | None:
    return None if order.expression is None else parse_expression(order.expression, zone=zone_called(order.zone))


def _enter(found: _Found, order: Order, now: Standing) -> int | None:
    """Enter what is about to be posted on behalf of a matter, before anything is."""
    if order.matter is None:
        return None
    act = MatterAct(
        matter=order.matter,
        head_sequence=found.head.sequence,
        head_digest=found.head.digest,
        counts={"messages": len(found.selection.sources), "to_post": len(now.to_post), "posted_before": now.posted},
        scope=found.scope,
        detail={"channel": order.channel},
    )
    clock = SystemClock()
    author = wiring.author_beside_runs(clock=clock)
    return record_act(found.archive, found.head, "replay", act, author=author, now_ms=clock.now_ms).sequence


def _document(order: Order, found: _Found, now: Standing) -> dict[str, Any]:
    sources = found.selection.sources
    return {
        "archive": found.archive.store.url,
        "sequence": found.head.sequence,
        "channel": order.channel,
        "messages": len(sources),
        "first": to_text(sources[0].sent_at_ms) if sources else None,
        "last": to_text(sources[-1].sent_at_ms) if sources else None,
        "left_out": dict(found.selection.left_out),
        "posts": len(found.posts),
        "to_post": len(now.to_post),
        "posted_before": now.posted,
        "refused_before": now.refused,
        "uncertain": [_named(post) for post in now.uncertain],
    }


def _named(post: Post) -> dict[str, Any]:
    return {
        "chat_id": post.source.chat_id,
        "message_uid": post.source.message_uid,
        "part": post.part,
        "mark": post.mark,
        "sent_at": to_text(post.source.sent_at_ms),
    }


def _show(output: Output, order: Order, found: _Found, now: Standing, seconds: float) -> None:
    sources = found.selection.sources
    if not sources:
        output.line("Nothing of this is in the archive.")
    else:
        output.line(
            f"{len(sources):,} messages from {to_text(sources[0].sent_at_ms)} to {to_text(sources[-1].sent_at_ms)} would make "
            f"{len(found.posts):,} posts in {order.channel}"
        )
        output.line(
            f"{now.posted:,} are there already; {len(now.to_post):,} would be posted, in {_span(seconds)} at least"
        )
    for why, count in sorted(found.selection.left_out.items()):
        output.line(f"{count:,} are left out: {why}")
    _show_uncertain(output, now.uncertain)
    if now.refused:
        output.line(f"{now.refused:,} were refused by Flock before")
    if now.to_post:
        output.line("The first of them:")
        output.line(now.to_post[0].fields["text"])
        output.line("Nothing was posted; --go posts.")


def _span(seconds: float) -> str:
    return (
        f"{seconds:,.0f} seconds"
        if seconds < 2 * SECONDS_PER_MINUTE
        else f"{seconds / SECONDS_PER_MINUTE:,.0f} minutes"
    )


def _show_uncertain(output: Output, uncertain: Sequence[Post]) -> None:
    for post in uncertain[:SHOWN_MAX]:
        output.line(
            f"message {post.source.message_uid} of {post.source.chat_id} may be there or not: look for its mark {post.mark}, "
            "then say --uncertain arrived or --uncertain resend"
        )


def _show_done(output: Output, order: Order, now: Standing, done: Replayed) -> None:
    output.line(
        f"{done.posted:,} posts were made in {order.channel}; {now.posted:,} were there before, {done.found:,} were found to have arrived"
    )
    for uid, why in done.refused[:SHOWN_MAX]:
        output.line(f"message {uid} was refused: {why}")
