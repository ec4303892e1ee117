"""`archiver replay`: archived messages are posted back into a channel of Flock, each exactly once.

What was posted stands in a journal (`replay_journal`), one line before each call and one after it. A stop between the two, or an answer
that was lost, leaves a message of which nobody can say whether it was posted: Flock lists no messages. Where the archive captured it since,
its mark tells. Otherwise the replay does not guess: it says which message it is, and does nothing more until somebody who looked has told
it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from archiver.clock import Clock, to_text
from archiver.discovery.replay_journal import Journal, Line
from archiver.discovery.replay_message import Post
from archiver.errors import AnswerLostError, FlockError, FlockMethodError, RefusedError

# What is wrong with one message and not with the channel or the caller (flock-api.md 3 and 5.1).
_OF_ONE_MESSAGE: Final = frozenset(
    {"InvalidParameter", "MissingParameter", "InvalidRequestData", "MissingTextOrAttachment"}
)
# These parameters are the caller's and the channel's, the same for every message.
_OF_ALL_MESSAGES: Final = frozenset({"to", "onBehalfOf", "token"})
UNCERTAIN_SHOWN_MAX: Final = 5

# What to do with messages of which nobody knows whether they were posted.
Uncertain = Literal["ask", "resend", "arrived"]
Progress = Callable[[int, int], None]


class Send(Protocol):
    """Posts one message and returns Flock's uid; raises as `FlockSender.send_message` does."""

    def __call__(self, parameters: Mapping[str, str]) -> str:
        """Post."""
        ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a replay is: what is to be posted, what is there already, and what nobody knows of."""

    to_post: tuple[Post, ...]
    posted: int
    refused: int
    uncertain: tuple[Post, ...]


@dataclass(slots=True)
class Replayed:
    """What a call did: posts that were made, found to have arrived, and refused by Flock, with its reasons."""

    posted: int = 0
    found: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def standing(posts: Sequence[Post], lines: Mapping[str, Line], captured: Mapping[str, str]) -> Standing:
    """Return how far the posts are by the journal's lines and by the marks that the archive captured."""
    to_post: list[Post] = []
    uncertain: list[Post] = []
    posted = refused = 0
    for post in posts:
        line = lines.get(post.mark)
        if post.mark in captured or (line is not None and line.state == "sent"):
            posted += 1
        elif line is None or line.state == "not sent":
            to_post.append(post)
        elif line.state == "refused":
            refused += 1
        else:
            uncertain.append(post)
    return Standing(tuple(to_post), posted, refused, tuple(uncertain))


def replay(
    posts: Sequence[Post],
    journal: Journal,
    captured: Mapping[str, str],
    send: Send,
    *,
    uncertain: Uncertain,
    channel: str,
    clock: Clock,
    progress: Progress,
) -> Replayed:
    """Post what is not posted yet, in order; a call that was stopped is gone on with by the next.

    Raises `RefusedError` if it is not known of a message whether it was posted, and ``uncertain`` does not say what to do;
    `AnswerLostError` if that happens now; `TokenRefusedError` and `FlockUnreachableError`, after which nothing is uncertain; and
    `SpoolError` if the journal cannot be written.
    """
    done = Replayed()
    _settle(posts, journal, captured, done, uncertain=uncertain, clock=clock)
    for number, post in enumerate(posts, 1):
        line = journal.of(post.mark)
        if line is None or line.state in ("not sent", "about"):
            _post(post, journal, send, done, channel=channel, clock=clock)
        progress(number, len(posts))
    return done


def _settle(
    posts: Sequence[Post],
    journal: Journal,
    captured: Mapping[str, str],
    done: Replayed,
    *,
    uncertain: Uncertain,
    clock: Clock,
) -> None:
    """Enter what the archive captured since, and what somebody tells of the rest."""
    open_ones: list[Post] = []
    for post in posts:
        line = journal.of(post.mark)
        if post.mark in captured and (line is None or line.state != "sent"):
            arrived = _line(post, "sent", clock, posted_uid=captured[post.mark], why="the archive captured it")
            journal.enter(arrived)
            done.found += 1
        elif line is not None and line.state == "about":
            open_ones.append(post)
    if open_ones and uncertain == "ask":
        raise _uncertain_error(open_ones)
    for post in open_ones:
        state: Literal["sent", "not sent"] = "sent" if uncertain == "arrived" else "not sent"
        journal.enter(_line(post, state, clock, why="somebody looked and said so"))
        done.found += uncertain == "arrived"


def _post(post: Post, journal: Journal, send: Send, done: Replayed, *, channel: str, clock: Clock) -> None:
    journal.enter(_line(post, "about", clock))
    try:
        uid = send({"to": channel, **post.fields})
    except AnswerLostError as error:
        raise AnswerLostError(
            f"{_name(post)}: {error.what}",
            next_step="let the archive capture the channel and replay again, which finds it; or look yourself, and replay with "
            "--uncertain arrived or --uncertain resend. Nothing was posted after it.",
        ) from None
    except FlockMethodError as error:
        if error.code in _OF_ONE_MESSAGE and error.parameter not in _OF_ALL_MESSAGES:
            journal.enter(_line(post, "refused", clock, why=error.what))
            done.refused.append((post.source.message_uid, error.what))
            return
        journal.enter(_line(post, "not sent", clock, why=error.what))
        raise
    except FlockError as error:
        journal.enter(_line(post, "not sent", clock, why=error.what))
        raise
    journal.enter(_line(post, "sent", clock, posted_uid=uid))
    done.posted += 1


def _line(
    post: Post,
    state: Literal["about", "sent", "not sent", "refused"],
    clock: Clock,
    *,
    posted_uid: str | None = None,
    why: str | None = None,
) -> Line:
    return Line(
        mark=post.mark,
        chat_id=post.source.chat_id,
        message_uid=post.source.message_uid,
        part=post.part,
        state=state,
        at=to_text(clock.now_ms()),
        posted_uid=posted_uid,
        why=why,
    )


def _uncertain_error(posts: Sequence[Post]) -> RefusedError:
    shown = ", ".join(_name(post) for post in posts[:UNCERTAIN_SHOWN_MAX])
    more = f" and {len(posts) - UNCERTAIN_SHOWN_MAX} more" if len(posts) > UNCERTAIN_SHOWN_MAX else ""
    return RefusedError(
        f"nobody knows whether {shown}{more} arrived in the channel: the answer was lost, or the replay was stopped there",
        next_step="let the archive capture the channel and replay again, which finds it by its mark; or look yourself, and replay with "
        "--uncertain arrived or --uncertain resend. Nothing was posted.",
    )


def _name(post: Post) -> str:
    part = f", part {post.part}" if post.part > 1 else ""
    return f"message {post.source.message_uid} of {post.source.chat_id}{part} (mark {post.mark})"
