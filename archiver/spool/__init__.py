"""The spool: captures that are durable and not yet archived.

`Spool` is the contract; `sqlite` keeps it on one machine, `sqs` for several listeners.

A push is answered 200 only after `Spool.append` returned. The drain reads captures in order, commits them, and only
then discards them; the commit holds the watermark, so a crash between the two archives nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from archiver.model.capture import Capture, SpooledCapture

# A listener that did not beat for longer than this was not alive all the time: stopped, asleep, or without its spool.
BEAT_HOLE_MS_MAX: Final = 60_000


@dataclass(frozen=True, slots=True)
class SpoolDepth:
    """How much waits: captures, their bytes, and when the oldest arrived (ms since 1970 UTC, None if none waits)."""

    captures: int
    body_bytes: int
    oldest_at_ms: int | None


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages a queue has, as it counts them itself, roughly; ``under_way`` were received and are not archived yet.

    A message holds up to 256 captures, or a part of one, or a listener's beat.
    """

    messages: int
    under_way: int


@dataclass(frozen=True, slots=True)
class SpooledBlock:
    """Captures with consecutive sequences from ``first_sequence`` on, still as one frame (`archiver.spool.frame`).

    Whoever reads them may hand the frame to another process as it is, which costs nothing for each capture.
    """

    first_sequence: int
    captures: int
    body_bytes: int
    frame: bytes

    @property
    def last_sequence(self) -> int:
        """The sequence of its last capture."""
        return self.first_sequence + self.captures - 1


@dataclass(frozen=True, slots=True)
class Uptime:
    """From when to when one listener was alive, in ms since 1970 UTC: its first and its last beat."""

    listener: str
    from_at_ms: int
    to_at_ms: int


class Spool(Protocol):
    """An ordered, durable queue. Every method raises `SpoolError` if the spool cannot do it."""

    @property
    def spool_id(self) -> str:
        """Name of this very spool; a new one starts its sequences anew, so watermarks are kept by spool."""
        ...

    def append(self, captures: Sequence[Capture]) -> None:
        """Return when all these captures are durable, in order. One that raises may have kept some of them nevertheless."""
        ...

    def probe(self) -> None:
        """Find out, without an append, whether one would succeed just now; whatever this writes is no capture."""
        ...

    def read(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledCapture]:
        """Return the next captures with a sequence above ``after``, in order, up to both limits.

        At least one is returned if any waits, however large it is.
        """
        ...

    def read_blocks(self, *, after: int, captures_max: int, bytes_max: int) -> list[SpooledBlock]:
        """Return what `read` would return with the same arguments, in blocks; maybe less of it, to leave a block whole.

        At least one capture is returned if any waits.
        """
        ...

    def discard(self, *, through: int) -> None:
        """Forget the captures up to a sequence that was read here and that a durable commit holds."""
        ...

    def scrub(self) -> bool:
        """Leave no byte of what was discarded on this machine, for the sake of what was disposed of; raises nothing for being busy.

        Returns False if another process that uses the spool is in the way; trying again later may work.
        """
        ...

    def depth(self) -> SpoolDepth:
        """Return how much waits."""
        ...

    def beat(self, listener: str, *, at_ms: int) -> None:
        """Note that a listener is alive: its newest uptime ends at ``at_ms`` from now on.

        ``listener`` names one process, made anew when it starts. After a silence of more than `BEAT_HOLE_MS_MAX` a new uptime
        begins. A beat is rare and may be lost like the last seconds before a power failure.
        """
        ...

    def uptimes(self) -> list[Uptime]:
        """Return when listeners were alive, in order of their beginning, as far as it was not forgotten."""
        ...

    def forget_uptimes(self, *, before_ms: int) -> None:
        """Forget the uptimes that ended before an instant."""
        ...

    def close(self) -> None:
        """Release the spool; what was appended stays."""
        ...
