"""Calls that need not wait where they are made: a turn knows how far a call has come and when it may be tried next.

A thread that sleeps until one token may ask again cannot ask with another. So a call that holds a `Turn` never sleeps; it
raises `NotYetError`, and its caller, who has other calls to make meanwhile, comes back to it.
"""

from __future__ import annotations

from typing import Final

import tenacity

BACKOFF_SECONDS_FIRST: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 60.0

_BACKOFF: Final = tenacity.wait_exponential(
    multiplier=BACKOFF_SECONDS_FIRST, max=BACKOFF_SECONDS_MAX
) + tenacity.wait_random(0, BACKOFF_SECONDS_FIRST)
_RETRYING: Final = tenacity.Retrying()


class NotYetError(Exception):
    """A call cannot be made, or not tried again, before so many seconds have passed.

    ``of_token`` tells whether the token's rate limit is the reason, and so concerns every call with that token, or only
    the pause of this very call before another try.
    """

    def __init__(self, seconds: float, *, of_token: bool) -> None:
        super().__init__(f"not before {seconds} seconds have passed")
        self.seconds = seconds
        self.of_token = of_token


class Turn:
    """How far one call has come: whoever holds it makes the same call again until it does not raise `NotYetError`.

    A turn belongs to one call with one token, and to one thread at a time.
    """

    __slots__ = ("_state", "paused_until", "tries_max")

    def __init__(self) -> None:
        self._state = tenacity.RetryCallState(_RETRYING, None, (), {})
        self.paused_until = 0.0
        self.tries_max = 0

    @property
    def tries(self) -> int:
        """How often it was tried, the try under way included."""
        return self._state.attempt_number

    def pause(self, now: float) -> float:
        """Let some time pass before the next try, more after each one and never quite the same; return the seconds."""
        seconds = _BACKOFF(self._state)
        self._state.prepare_for_next_attempt()
        self.paused_until = now + seconds
        return seconds
