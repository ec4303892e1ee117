"""Which rules cover each other, and which can never match one item: what their conditions alone make certain."""

from __future__ import annotations

from datetime import date
from typing import Any

from archiver.retention.patterns import is_glob
from archiver.retention.policy import Match, Rule, SentRange, SizeRange

# Keys of which one entry must hold; these of two rules are compared as sets.
_LISTS = frozenset({"channel", "sender", "custodian", "app", "words", "regex", "mime", "source", "label"})
# Of these an item has one value, so that two sets of exact ids without a common one never meet.
_IDS = {"channel": "g:", "sender": "u:", "source": ""}
_LEVELS = ("label", "scoped", "all")


def explicitness(rule: Rule) -> int:
    """Return how explicit a rule is, the most explicit first."""
    return _LEVELS.index(rule.level)


def covers(one: Rule, other: Rule) -> bool:
    """Tell whether the first rule matches whatever the second matches."""
    if one.on not in (other.on, "both"):
        return False
    wanted, narrower = one.match.given(), other.match.given()
    unwanted, excluded = one.exclude.given(), other.exclude.given()
    return all(key in narrower and _within(narrower[key], value) for key, value in wanted.items()) and all(
        key in excluded and _within(value, excluded[key]) for key, value in unwanted.items()
    )


def _within(inner: Any, outer: Any) -> bool:
    """Tell whether every item for which the first value of a key holds is one for which the second holds."""
    if isinstance(inner, tuple):
        return "*" in outer or set(inner) <= set(outer)
    if isinstance(inner, SizeRange):
        return (outer.min is None or (inner.min is not None and inner.min >= outer.min)) and (
            outer.max is None or (inner.max is not None and inner.max <= outer.max)
        )
    if isinstance(inner, SentRange):
        return (outer.after is None or (inner.after is not None and inner.after >= outer.after)) and (
            outer.before is None or (inner.before is not None and inner.before <= outer.before)
        )
    return bool(inner == outer)


def are_disjoint(one: Rule, other: Rule) -> bool:
    """Tell whether no item can be matched by both rules."""
    return (
        {one.on, other.on} == {"messages", "files"}
        or _never_meet(one.match, other.match)
        or _is_excluded(one.match, other.exclude)
        or _is_excluded(other.match, one.exclude)
    )


def excluded_key(rule: Rule) -> str | None:
    """Return a key of which a rule excludes all that it matches, so that it never matches anything; None if there is none."""
    wanted, unwanted = rule.match, rule.exclude
    for key, value in wanted.given().items():
        if key in unwanted.given() and _within(value, getattr(unwanted, key)):
            return key
    if wanted.channel is not None and unwanted.kind == "channel":
        return "channel"
    if unwanted.has_file is True:
        return next((key for key in ("mime", "size") if getattr(wanted, key) is not None), None)
    return None


def _never_meet(one: Match, other: Match) -> bool:
    kinds = {match.kind or ("channel" if match.channel is not None else None) for match in (one, other)}
    if kinds == {"channel", "direct"}:
        return True
    for key, prefix in _IDS.items():
        ours, theirs = getattr(one, key), getattr(other, key)
        if ours and theirs and not set(ours) & set(theirs) and _are_ids((*ours, *theirs), prefix):
            return True
    if any({getattr(one, key), getattr(other, key)} == {True, False} for key in ("bot", "has_file")):
        return True
    if one.sent is not None and other.sent is not None:
        latest = max(one.sent.after or date.min, other.sent.after or date.min)
        return latest >= min(one.sent.before or date.max, other.sent.before or date.max)
    return False


def _are_ids(patterns: tuple[str, ...], prefix: str) -> bool:
    return all(pattern.startswith(prefix) and not is_glob(pattern) for pattern in patterns)


def _is_excluded(wanted: Match, excluded: Match) -> bool:
    """Tell whether what one rule wants is what the other excludes."""
    given = wanted.given()
    return any(key in given and _within(given[key], value) for key, value in excluded.given().items())
