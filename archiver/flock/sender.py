"""A client that can also post messages, and belongs to replays alone: whatever captures has one that cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from archiver.errors import FlockError
from archiver.flock.client import WAIT_SECONDS_MAX, FlockClient, Request
from archiver.flock.limits import Permit
from archiver.flock.sending import SEND_MESSAGE, NotSentError, Sent, read_sent
from archiver.flock.tokens import UserToken, require_sendable
from archiver.flock.turns import Turn

OK: Final = 200


class FlockSender(FlockClient):
    """A `FlockClient` with the one method that writes; its limits are the same."""

    def send_message(self, token: UserToken, parameters: Mapping[str, str]) -> str:
        """Post a message and return the uid that Flock gave it (5.1); what may have been posted is never sent again.

        Waits while the token's limit lasts, and tries again where nothing was sent, or Flock says that it is too much. Raises
        `AnswerLostError` where it was sent and no answer tells what became of it.
        """
        require_sendable(token)
        request = Request(SEND_MESSAGE, SEND_MESSAGE, parameters)
        self._counter.add(request.name, calls=1)
        turn = Turn()
        while True:
            permit = self._limiter.try_acquire(token.fingerprint)
            if not isinstance(permit, Permit):
                self._clock.sleep(min(permit, WAIT_SECONDS_MAX))
                continue
            response, body, problem = self._exchange(request, token)
            if response is not None and response.status_code != OK:
                self._heed(response, permit, request.name)
            answer = Sent(None if response is None else response.status_code, body, problem)
            try:
                return read_sent(answer, token, last=turn.tries >= self._options.tries_max)
            except NotSentError:
                self._counter.add(request.name, retries=1)
                self._clock.sleep(turn.pause(self._clock.monotonic()))
            except FlockError:
                self._counter.add(request.name, failed=1)
                raise
