"""When a record says that its message was sent: numbers in a unit, texts in a format, in a zone that is named and never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from archiver.clock import from_ms, to_ms
from archiver.errors import UnparseableError
from archiver.normalise.message import PLAUSIBLE_AHEAD_MS

Unit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]

_PER_SECOND: Final[dict[Unit, int]] = {
    "seconds": 1,
    "milliseconds": 1_000,
    "microseconds": 1_000_000,
    "nanoseconds": 1_000_000_000,
}
# Older than any chat of people: a number before this is in another unit than the mapping says.
EARLIEST_MS: Final = to_ms(datetime(1980, 1, 1, tzinfo=UTC))
_CHARACTERS_MAX: Final = 100
# Nanoseconds of the year 9999 have 21 digits; a decimal of a few more can still be divided.
_POWER_MAX: Final = 23
_SHOWN_CHARACTERS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class TimeRule:
    """Where the time is and how it is written: a number in ``unit`` since 1970 UTC, a text in ``format``, else ISO 8601.

    ``zone`` is that of texts which name none; without it they cannot be read.
    """

    path: tuple[str, ...]
    unit: Unit | None = None
    format: str | None = None
    zone: ZoneInfo | None = None


def instant_of(value: Any, rule: TimeRule, *, now_ms: int) -> int:
    """Return milliseconds since 1970 UTC, rounded down; raises `UnparseableError` for what is no time or cannot be one."""
    if value is None or value == "":
        raise UnparseableError("it has no time")
    at_ms = _of_number(value, rule.unit) if rule.unit else _of_text(value, rule)
    if not EARLIEST_MS <= at_ms <= now_ms + PLAUSIBLE_AHEAD_MS:
        try:
            day = from_ms(at_ms).date().isoformat()
        except OverflowError:
            day = "beyond any calendar"
        raise UnparseableError(
            f"its time, {_shown(value)}, would be {day}; is the unit, the format or the clock wrong?"
        )
    return at_ms


def _of_number(value: Any, unit: Unit) -> int:
    # Decimal and not float: microseconds of today have more digits than a float keeps.
    number = _decimal(value)
    if number is None or not number.is_finite():
        raise UnparseableError(f"its time, {_shown(value)}, is no number")
    if number.adjusted() > _POWER_MAX:
        raise UnparseableError(f"its time, {_shown(value)}, is beyond any calendar")
    return int(number * 1_000 // _PER_SECOND[unit])


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        text = str(value).strip()
        return Decimal(text) if len(text) <= _CHARACTERS_MAX else None
    except (InvalidOperation, ValueError):  # an integer may have more digits than Python writes
        return None


def _of_text(value: Any, rule: TimeRule) -> int:
    if not isinstance(value, str) or len(value) > _CHARACTERS_MAX:
        raise UnparseableError(f"its time, {_shown(value)}, is no text; a number needs a unit")
    try:
        instant = (
            datetime.strptime(value.strip(), rule.format)  # noqa: DTZ007 - the zone comes below
            if rule.format
            else datetime.fromisoformat(value.strip())
        )
    except ValueError:
        expected = rule.format or "ISO 8601"
        raise UnparseableError(f"its time, {_shown(value)}, is not written as {expected}") from None
    if instant.tzinfo is None:
        if rule.zone is None:
            raise UnparseableError(f"its time, {_shown(value)}, names no zone, and the mapping names none either")
        instant = instant.replace(tzinfo=rule.zone)
    try:
        return to_ms(instant)
    except OverflowError:
        raise UnparseableError(f"its time, {_shown(value)}, is beyond any calendar") from None


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number without end"
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else f"{text[:_SHOWN_CHARACTERS_MAX]}…"
