"""A plan as a page that people read before they approve it: one HTML file, with a picture of what leaves when.

Nothing on it comes from elsewhere and no script runs: its Content-Security-Policy allows nothing but its own style, named by digest. Names
come from outside: they are escaped, and characters that would reorder or hide a line are shown as escapes. There is no text of messages.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from importlib.resources import files
from typing import Final

import jinja2

from archiver.clock import from_text
from archiver.retention.periods import Calendar
from archiver.retention.plan import MONTHS_AHEAD, Group, groups_of
from archiver.retention.plan_document import Plan, PlanHeader, breakers_passed, passes_share, share_percent
from archiver.retention.plan_timeline import months_after, timeline

# Controls, and the marks that reorder a line or take no place in it.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_DIGEST_GROUP_DIGITS: Final = 8
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_TITLES: Final = {"policy": "Retention plan", "erase": "Plan of an erasure"}


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What a page says that a plan does not: whose archive it is, where it lies, and in words what of it the store has locked."""

    workspace: str
    location: str
    locked: str | None = None


@dataclass(frozen=True, slots=True)
class RuleRow:
    """What is due by one rule: how many items of a kind, what they weigh, and the months in which they were sent."""

    rule: str
    kind: str
    items: int
    bytes: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A breaker of the policy, what it allows and what the plan comes to."""

    name: str
    at_most: str
    plan: str
    outcome: str


def plan_page(plan: Plan, facts: PageFacts) -> str:
    """Return the page of a plan."""
    header = plan.header
    groups = groups_of(plan.items)
    rules = rules_of(groups)
    day = day_of(header)
    months = months_after(day[:7], MONTHS_AHEAD)
    if header.kind == "erase" and header.later:
        months = months_after(header.later[0].month, MONTHS_AHEAD)
    now = Counter[str]()
    for row in rules:
        now[row.rule] += row.items
    folder = files(__package__)
    style = folder.joinpath("plan_page.css").read_text("utf-8")
    template = _environment().from_string(folder.joinpath("plan_page.html").read_text("utf-8"))
    return template.render(
        title=_TITLES[header.kind],
        style=_Markup(style),
        style_digest=b64encode(sha256(style.encode()).digest()).decode(),
        header=header,
        facts=facts,
        day=day,
        digest=plan.digest,
        digest_parts=[
            plan.digest[at : at + _DIGEST_GROUP_DIGITS] for at in range(0, len(plan.digest), _DIGEST_GROUP_DIGITS)
        ],
        passed=breakers_passed(header.limits, rows=header.rows, totals=header.totals),
        limits=limits_of(header),
        total=sum(header.totals.values()),
        rules=rules,
        groups=groups,
        months=months,
        picture=timeline(header, now, months),
        picture_text=_in_words(header, sum(now.values())),
    )


def day_of(header: PlanHeader) -> str:
    """Return the day of its zone that a plan is as of."""
    return date.fromordinal(Calendar(header.zone).day_of(from_text(header.as_of))).isoformat()


def rules_of(groups: Sequence[Group]) -> list[RuleRow]:
    """Return what is due by rule and kind, the most items first."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.rule, group.kind), []).append(group)
    rows = [
        RuleRow(
            rule,
            kind,
            sum(group.items for group in several),
            sum(group.bytes for group in several),
            min(group.month for group in several),
            max(group.month for group in several),
        )
        for (rule, kind), several in found.items()
    ]
    return sorted(rows, key=lambda row: (-row.items, row.rule, row.kind))


def limits_of(header: PlanHeader) -> list[Limit]:
    """Return the breakers of the policy, held against the plan."""
    total = sum(header.totals.values())
    rows_max, percent_max = header.limits.rows_max, header.limits.percent_max
    is_share_passed = passes_share(percent_max, rows=header.rows, total=total)
    return [
        Limit(
            "rows (rows_max)",
            _count(rows_max),
            _count(header.rows),
            _outcome(rows_max, is_passed=rows_max is not None and header.rows > rows_max),
        ),
        Limit(
            "share of all rows (percent_max)",
            "none" if percent_max is None else f"{percent_max:g} %",
            f"{share_percent(header.rows, total):.2f} %",
            _outcome(percent_max, is_passed=is_share_passed),
        ),
    ]


def weight(count: int) -> str:
    """Return bytes as people read them, in powers of ten."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - powers of a thousand are what the units are
        size, unit = size / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


class _Markup(str):
    """Our own text that stands in the page as it is: the style."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(shown=_shown, count=_count, bytes=weight)
    return environment


def _shown(text: str) -> str:
    """Return text that shows itself and does nothing else; letters of every script stay as they are."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def _count(number: int | None) -> str:
    return "none" if number is None else f"{number:,}"


def _outcome(at_most: float | None, *, is_passed: bool) -> str:
    if at_most is None:
        return "no limit"
    return "passed: refused" if is_passed else "within"


def _in_words(header: PlanHeader, now: int) -> str:
    later = sum(due.items for due in header.later)
    return f"{_count(now)} items are due now, {_count(later)} in the months that follow."
