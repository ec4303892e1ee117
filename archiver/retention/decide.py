"""Which rule wins, of those that match an item: the two modes of retention, as pure functions of dates.

Mode ``longest`` follows Microsoft Purview's principles of retention: retain and delete are decided independently over every rule
that matches; nothing goes while any retain period runs; the longest retention wins; the most explicit level that deletes chooses
when; in it the shortest deletion wins. Mode ``specific`` follows Google Vault's order: scoped rules replace the default even where
they are shorter, and of several the latest expiry wins. Holds stand above both and are not known here.

No match means kept. Where dates are equal, retain wins. The order of the rules never matters: of rules that say the same date the
more explicit one decided, and of these the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from archiver.retention.periods import OPEN_END_MS
from archiver.retention.policy import Level

Mode = Literal["longest", "specific"]
Principle = Literal[
    "no-match",
    "message-missing",
    "nothing-deletes",
    "not-begun",
    "retention-wins",
    "longest-retention",
    "only-deletion",
    "explicit-wins",
    "shortest-deletion",
    "default-rule",
    "scoped-rule",
    "scoped-replaces-default",
    "latest-expiry",
]

PRINCIPLES: dict[Principle, str] = {
    "no-match": "no rule matches it, so it is kept",
    "message-missing": "its message is not in the archive any more, so no rule can tell; it is kept",
    "nothing-deletes": "no rule that counts deletes it, so it is kept",
    "not-begun": "the period of the rule that decides has not begun, or ends beyond every calendar, so it is kept",
    "retention-wins": "retention wins over deletion: nothing goes while a retain period runs",
    "longest-retention": "the longest retention wins, and nothing goes while it runs",
    "only-deletion": "one date of deletion counts, and nothing retains it longer",
    "explicit-wins": "the explicit wins over the implicit: a label before a scoped rule, that before a rule for everything",
    "shortest-deletion": "the shortest deletion wins among rules that are equally explicit",
    "default-rule": "no scoped rule matches it, so the rule for everything decides",
    "scoped-rule": "the scoped rule decides",
    "scoped-replaces-default": "a scoped rule replaces the rule for everything, even where it is shorter",
    "latest-expiry": "of several rules of one rank the latest expiry wins",
}

_EXPLICIT: dict[Level, int] = {"label": 0, "scoped": 1, "all": 2}


@dataclass(frozen=True, slots=True)
class Said:
    """What one matching rule says of one item: until when it retains, from when on it deletes (milliseconds since 1970 UTC).

    None where the rule does not retain, or does not delete; `OPEN_END_MS` where the period has no end yet.
    """

    rule: str
    level: Level
    retain_until_ms: int | None
    delete_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What holds for one item: ``delete_at_ms`` is None where it is kept for good, ``rule`` where none matched."""

    retain_until_ms: int | None
    delete_at_ms: int | None
    rule: str | None
    principle: Principle


NO_MATCH = Decision(None, None, None, "no-match")
MESSAGE_MISSING = Decision(None, None, None, "message-missing")


def decide(mode: Mode, said: Sequence[Said]) -> Decision:
    """Return what holds, given what every matching rule says."""
    said = [one for one in said if one.retain_until_ms is not None or one.delete_at_ms is not None]
    if not said:
        return NO_MATCH
    return _longest(said) if mode == "longest" else _specific(said)


def _longest(said: Sequence[Said]) -> Decision:
    retains = sorted(
        ((one.retain_until_ms, one) for one in said if one.retain_until_ms is not None),
        key=lambda dated: (-dated[0], *_rank(dated[1])),
    )
    retain_until, retainer = retains[0] if retains else (None, None)
    deletes = _most_explicit((one.delete_at_ms, one) for one in said if one.delete_at_ms is not None)
    if not deletes:
        return Decision(retain_until, None, None if retainer is None else retainer.rule, "nothing-deletes")
    due, deleter = deletes[0]
    if retain_until is None or retainer is None or due > retain_until:
        if due >= OPEN_END_MS:
            return Decision(retain_until, None, deleter.rule, "not-begun")
        return Decision(retain_until, due, deleter.rule, _why_due(said, deletes))
    if retain_until >= OPEN_END_MS:
        return Decision(retain_until, None, retainer.rule, "not-begun")
    principle: Principle = "longest-retention" if len({date for date, _ in retains}) > 1 else "retention-wins"
    return Decision(retain_until, retain_until, retainer.rule, principle)


def _most_explicit(deletes: Iterable[tuple[int, Said]]) -> list[tuple[int, Said]]:
    """Return the deletions of the most explicit level that has one, the earliest first."""
    ordered = sorted(deletes, key=lambda dated: (_EXPLICIT[dated[1].level], dated[0], dated[1].rule))
    return [dated for dated in ordered if dated[1].level == ordered[0][1].level]


def _why_due(said: Sequence[Said], deletes: Sequence[tuple[int, Said]]) -> Principle:
    if len({date for date, _ in deletes}) > 1:
        return "shortest-deletion"
    level = deletes[0][1].level
    is_alone = all(one.delete_at_ms is None or one.level == level for one in said)
    return "only-deletion" if is_alone else "explicit-wins"


def _specific(said: Sequence[Said]) -> Decision:
    scoped = [one for one in said if one.level != "all"]
    counting = scoped or list(said)
    retain_until = max((one.retain_until_ms for one in counting if one.retain_until_ms is not None), default=None)
    # A rule expires when neither of its periods runs any more; where both end at once, it is retention that ended.
    winner = min(counting, key=lambda one: (-_expiry(one), one.retain_until_ms != _expiry(one), *_rank(one)))
    expiry = _expiry(winner)
    if all(one.delete_at_ms is None for one in counting):
        return Decision(retain_until, None, winner.rule, "nothing-deletes")
    if expiry >= OPEN_END_MS:
        return Decision(retain_until, None, winner.rule, "not-begun")
    return Decision(retain_until, expiry, winner.rule, _why_expired(counting, has_default=len(counting) < len(said)))


def _why_expired(counting: Sequence[Said], *, has_default: bool) -> Principle:
    if len({_expiry(one) for one in counting}) > 1:
        return "latest-expiry"
    if counting[0].level == "all":
        return "default-rule"
    return "scoped-replaces-default" if has_default else "scoped-rule"


def _expiry(one: Said) -> int:
    return max(date for date in (one.retain_until_ms, one.delete_at_ms) if date is not None)


def _rank(one: Said) -> tuple[int, str]:
    return _EXPLICIT[one.level], one.rule
