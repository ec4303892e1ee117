"""The picture of a plan: what leaves when, by rule, as places and sizes that a template draws; no markup and no names of ours in it.

Two panels with a scale each, because what has become due over years would dwarf a month: what is due now, and what becomes due in each of
the months that follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from archiver.retention.plan_document import PlanHeader

# More shades than these nobody tells apart; what is left is drawn as one.
RULES_DRAWN_MAX: Final = 7
OTHERS: Final = "other rules"

WIDTH: Final = 760
HEIGHT: Final = 300
_TOP, _BOTTOM = 24, 48
_NOW_LEFT, _NOW_WIDTH = 64, 56
_MONTHS_LEFT = 196
_MONTHS_WIDTH = WIDTH - _MONTHS_LEFT - 12
_GAP_SHARE = 0.25
_STEPS = (10, 15, 20, 25, 30, 40, 50, 60, 80)
_PARTS = (4, 5, 3, 2, 1)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a bar: its rule's number among those drawn, its place in the picture, and what it stands for."""

    shade: int
    x: float
    y: float
    width: float
    height: float
    rule: str
    label: str
    items: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of a panel's scale, and what it says."""

    y: float
    x1: float
    x2: float
    label: str


@dataclass(frozen=True, slots=True)
class Label:
    """A word under a bar."""

    x: float
    text: str
    is_year: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """A picture: bars of boxes, the scales beside them, the words under them, and the rules by their numbers."""

    boxes: tuple[Box, ...]
    ticks: tuple[Tick, ...]
    labels: tuple[Label, ...]
    rules: tuple[str, ...]
    width: int = WIDTH
    height: int = HEIGHT
    base: int = HEIGHT - _BOTTOM


def timeline(header: PlanHeader, now: Mapping[str, int], months: Sequence[str]) -> Timeline:
    """Return the picture of a plan; ``now`` has the items that are due by rule, ``months`` are those of the second panel, in order."""
    later: dict[str, Counter[str]] = {month: Counter() for month in months}
    for due in header.later:
        if due.month in later:
            later[due.month][due.rule] += due.items
    totals = Counter(now)
    for of_month in later.values():
        totals.update(of_month)
    ordered = sorted(totals, key=lambda rule: (-totals[rule], rule))
    drawn = ordered if len(ordered) <= RULES_DRAWN_MAX else [*ordered[: RULES_DRAWN_MAX - 1], OTHERS]
    shades = {rule: min(place, len(drawn) - 1) for place, rule in enumerate(ordered)}
    highest = _ceiling(sum(now.values()))
    boxes = _bar(now, shades, drawn, x=_NOW_LEFT, width=_NOW_WIDTH, highest=highest, label="due now")
    ticks = _ticks(highest, x1=_NOW_LEFT - 6, x2=_NOW_LEFT + _NOW_WIDTH + 6)
    labels = [Label(_NOW_LEFT + _NOW_WIDTH / 2, "due now")]
    step = _MONTHS_WIDTH / max(1, len(months))
    highest = _ceiling(max((sum(found.values()) for found in later.values()), default=0))
    ticks += _ticks(highest, x1=_MONTHS_LEFT - 6, x2=WIDTH - 6)
    for place, month in enumerate(months):
        x = _MONTHS_LEFT + place * step
        boxes += _bar(
            later[month],
            shades,
            drawn,
            x=x + step * _GAP_SHARE / 2,
            width=step * (1 - _GAP_SHARE),
            highest=highest,
            label=month,
        )
        labels.append(Label(x + step / 2, month[5:]))
        if place == 0 or month.endswith("-01"):
            labels.append(Label(x + step / 2, month[:4], is_year=True))
    return Timeline(tuple(boxes), tuple(ticks), tuple(labels), tuple(drawn))


def _bar(
    found: Mapping[str, int],
    shades: Mapping[str, int],
    drawn: Sequence[str],
    *,
    x: float,
    width: float,
    highest: int,
    label: str,
) -> list[Box]:
    by_shade = Counter[int]()
    for rule, items in found.items():
        by_shade[shades[rule]] += items
    boxes, y = [], float(HEIGHT - _BOTTOM)
    for shade, items in sorted(by_shade.items()):
        height = items / highest * (HEIGHT - _BOTTOM - _TOP)
        y -= height
        boxes.append(
            Box(shade, round(x, 2), round(y, 2), round(width, 2), round(height, 2), drawn[shade], label, items)
        )
    return boxes


def _ticks(highest: int, *, x1: float, x2: float) -> list[Tick]:
    parts = next(count for count in _PARTS if highest % count == 0)
    full = HEIGHT - _BOTTOM - _TOP
    return [
        Tick(round(HEIGHT - _BOTTOM - full * part / parts, 2), x1, x2, short(highest * part // parts))
        for part in range(parts + 1)
    ]


def _ceiling(count: int) -> int:
    """Return a round number that is no less and not much more."""
    if count <= _STEPS[0]:
        return max(1, count)
    power = 1
    while True:
        for step in _STEPS:
            if count <= step * power:
                return step * power
        power *= 10


def short(count: int) -> str:
    """Return a count in three digits, as 12.5k."""
    rounded = round(count, 3 - len(str(count)))
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if rounded >= size:
            return f"{rounded / size:g}{unit}"
    return str(count)


def months_after(first: str, count: int) -> list[str]:
    """Return a month and those that follow it, as YYYY-MM."""
    year, month = map(int, first.split("-"))
    start = year * 12 + month - 1
    return [f"{place // 12:04d}-{place % 12 + 1:02d}" for place in range(start, start + count)]
