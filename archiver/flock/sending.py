"""What became of a message that was sent: it was posted, it was not, or nobody can tell.

Flock has no key by which a repeated call is known, and no list of messages in which to look. So a message may be sent again only where it
is certain that it was not posted: no connection came about, or Flock answered with an error of its own that it gives before it does
anything (400 to 405, and 429; flock-api.md 3). After any other answer, and after none, it may have been posted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from archiver.errors import AnswerLostError, FlockUnreachableError
from archiver.flock.answers import read_object
from archiver.flock.error_answers import describe, error_fields, refusal
from archiver.flock.tokens import UserToken

SEND_MESSAGE: Final = "chat.sendMessage"
# How the problem of a request begins that never left this machine.
NOTHING_SENT: Final = "no connection"

_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_PLAIN_REFUSALS: Final = frozenset({400, 401, 403, 404, 405})


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to a call: its status, None where there was none, its body, and what is wrong with it if anything."""

    status: int | None
    body: bytes
    problem: str


class NotSentError(Exception):
    """It was certainly not posted, and may be sent again."""


def read_sent(answer: Sent, token: UserToken, *, last: bool) -> str:
    """Return the uid of a message that was posted.

    Raises `NotSentError` where it may be sent again, with ``last`` `FlockUnreachableError` instead; `TokenRefusedError` or
    `FlockMethodError` where Flock refuses it; and `AnswerLostError` where nobody can tell.
    """
    if answer.status == _OK and not answer.problem:
        uid = _uid_in(answer.body)
        if uid:
            return uid
        raise _lost("the answer names no uid")
    if answer.status == _TOO_MANY_REQUESTS or (answer.status is None and answer.problem.startswith(NOTHING_SENT)):
        if not last:
            raise NotSentError
        problem = answer.problem or describe(_TOO_MANY_REQUESTS, error_fields(answer.body), token)
        raise FlockUnreachableError(
            f"Flock took no message for {token.user_id}: {problem}",
            next_step="See that flock.base_url is right and reachable from here, and run again later; nothing was posted.",
        )
    if answer.status in _PLAIN_REFUSALS:
        raise refusal(SEND_MESSAGE, token, answer.status, error_fields(answer.body))
    if answer.status is None or answer.problem:
        raise _lost(answer.problem)
    raise _lost(describe(answer.status, error_fields(answer.body), token))


def _uid_in(body: bytes) -> str:
    try:
        uid = read_object(body).get("uid")
    except ValueError:
        return ""
    return uid if isinstance(uid, str) else ""


def _lost(problem: str) -> AnswerLostError:
    return AnswerLostError(f"a message was sent and Flock gave no usable answer, so it may be posted or not: {problem}")
