"""What the listener tells its log: every reason for a refusal once a period, and the counts of the period.

Never a path, a query, a header or a body: secrets travel in all of them, and whoever is refused chooses what they hold.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import structlog

from archiver.model.capture import FeedKind

PERIOD_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class PushTally:
    """Counts of one listener since the last report."""

    def __init__(self) -> None:
        self._accepted: Counter[FeedKind] = Counter()
        self._accepted_bytes = 0
        self._refused: Counter[tuple[FeedKind, int, str]] = Counter()

    def accepted(self, feed_kind: FeedKind, body_bytes: int) -> None:
        """Count a push that is durable."""
        self._accepted[feed_kind] += 1
        self._accepted_bytes += body_bytes

    def refused(self, feed_kind: FeedKind, status: int, reason: str, *, next_step: str = "") -> None:
        """Count a push that was refused, and log the first of its kind; ``reason`` is a sentence of ours."""
        kind = (feed_kind, status, reason)
        self._refused[kind] += 1
        if self._refused[kind] == 1:
            hint = {"next_step": next_step} if next_step else {}
            log.warning("push refused", feed_kind=feed_kind, status=status, reason=reason, **hint)

    def report(self) -> None:
        """Log the counts, if anything came, and begin anew."""
        if self._accepted or self._refused:
            log.info(
                "pushes",
                webhooks=self._accepted["webhook"],
                events=self._accepted["event"],
                body_bytes=self._accepted_bytes,
                refused=self._refused.total(),
            )
        self._accepted.clear()
        self._accepted_bytes = 0
        self._refused.clear()
