"""Faults on purpose: what goes wrong, where, and how often. The same seed gives the same faults in the same order of calls.

A place is ``api``, ``files``, ``webhooks`` or ``events``, alone or with a name after a colon: ``api:chat.fetchMessages``,
``files:/76/0a1b…``, ``webhooks:general``, ``events:app.install``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType

from archiver.errors import UsageError

DELAY_SECONDS = 0.2
REORDER_AFTER_PUSHES = 5

# What can go wrong while an HTTP answer is given.
_ANSWER_FAULTS = frozenset(
    {
        "too_many_requests",
        "internal_error",
        "unavailable",
        "request_timeout",
        "bad_gateway",  # 502 and an HTML page, as a proxy gives
        "bad_gateway_after",  # the same, when the call was made: a proxy lost the answer
        "empty_error",  # 500 without a body and without a content type
        "not_json",  # 200 and something that is not JSON
        "truncated",  # fewer bytes than promised
        "slow",  # the body in drops
        "hang",  # no answer for a long time
        "disconnect",  # the connection closes without an answer
        "invalid_token",
    }
)
_FILE_FAULTS = frozenset(
    {
        "internal_error",
        "unavailable",
        "bad_gateway",
        "empty_error",
        "truncated",
        "slow",
        "hang",
        "disconnect",
        "forbidden",
        "login_page",
        "missing",
    }
)
# What can go wrong with a push.
_PUSH_FAULTS = frozenset(
    {
        "drop",
        "duplicate",
        "reorder",
        "delay",
        "gzip",
        "wrong_token",
        "not_json",
        "not_utf8",
        "no_uid",
        "absurd_time",
        "unknown_fields",
    }
)
_EVENT_FAULTS = frozenset(
    {
        "drop",
        "duplicate",
        "reorder",
        "delay",
        "gzip",
        "not_json",
        "not_utf8",
        "unknown_fields",
        "expired",
        "wrong_app",
        "wrong_user",
        "wrong_algorithm",
        "no_algorithm",
        "wrong_secret",
        "no_token",
        "repeated_token",
        "unknown_name",
    }
)
FAULTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"api": _ANSWER_FAULTS, "files": _FILE_FAULTS, "webhooks": _PUSH_FAULTS, "events": _EVENT_FAULTS}
)


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong: the next ``count`` times, or with a ``probability`` every time.

    ``seconds`` is how long a slow, hanging or delayed one takes; ``happened`` counts.
    """

    kind: str
    where: str
    count: int | None = None
    probability: float | None = None
    seed: int = 0
    seconds: float = DELAY_SECONDS
    happened: int = 0
    _random: Random = field(default_factory=Random, repr=False)

    def __post_init__(self) -> None:
        place, _, _ = self.where.partition(":")
        if place not in FAULTS:
            raise UsageError(f"there is no place {place!r} for a fault", next_step=f"choose among {', '.join(FAULTS)}")
        if self.kind not in FAULTS[place]:
            raise UsageError(
                f"{self.kind!r} cannot happen at {place!r}",
                next_step=f"choose among {', '.join(sorted(FAULTS[place]))}",
            )
        if (self.count is None) == (self.probability is None):
            raise UsageError("a fault needs either a count or a probability")
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise UsageError("a probability lies between 0 and 1")
        self._random.seed(self.seed)

    @property
    def spent(self) -> bool:
        """Tell whether it happened as often as it should."""
        return self.count is not None and self.happened >= self.count

    def strikes(self, place: str, name: str) -> bool:
        """Tell whether it happens here and now, and count it if so."""
        where, _, only = self.where.partition(":")
        if where != place or (only and only != name) or self.spent:
            return False
        if self.probability is not None and self._random.random() >= self.probability:
            return False
        self.happened += 1
        return True


class Faults:
    """The faults that are set; the first that strikes wins."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def inject(self, fault: Fault) -> None:
        """Add a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def listed(self) -> list[Fault]:
        """Return the faults that are set, spent ones included."""
        return list(self._faults)

    def draw(self, place: str, name: str = "") -> Fault | None:
        """Return what goes wrong with this call or push, if anything."""
        for fault in self._faults:
            if fault.strikes(place, name):
                return fault
        return None
