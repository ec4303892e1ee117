"""The tables of ``docs/retention.md`` that repeat what the code says; tests hold the two together."""

from __future__ import annotations

from pydantic import BaseModel

from archiver.retention.decide import PRINCIPLES
from archiver.retention.findings import ERRORS, WARNINGS
from archiver.retention.policy import Label, Limits, Match, Policy, Rule, SentRange, SizeRange, Tier
from archiver.retention.policy_test_keys import (
    HELD,
    ChannelFacts,
    Expectation,
    FileFacts,
    HoldFacts,
    Item,
    PersonFacts,
    PolicyTests,
    PushItem,
)

# Where each group of keys stands in a policy, and in a file of tests.
_POLICY_GROUPS: dict[str, type[BaseModel]] = {
    "": Policy,
    "limits.": Limits,
    "labels.NAME.": Label,
    "rules[].": Rule,
    "rules[].tier.": Tier,
}
_GROUPS: dict[str, type[BaseModel]] = {
    "": PolicyTests,
    "items[].": Item,
    "items[].files[].": FileFacts,
    "items[].expect.": Expectation,
    "pushes[].": PushItem,
    "people.ID.": PersonFacts,
    "channels.ID.": ChannelFacts,
    "holds.NAME.": HoldFacts,
}


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _keys(model: type[BaseModel], prefix: str = "") -> list[tuple[str, ...]]:
    return [
        (f"`{prefix}{field.alias or name}`", " ".join((field.description or "").split()))
        for name, field in model.model_fields.items()
    ]


def policy_keys() -> str:
    """The keys of a policy and of its rules, but for those that match."""
    rows = [row for prefix, model in _POLICY_GROUPS.items() for row in _keys(model, prefix)]
    return _table(("Key", "What it says"), rows)


def match_keys() -> str:
    """The keys of ``match`` and ``not``."""
    rows = [*_keys(Match), *_keys(SizeRange, "size."), *_keys(SentRange, "sent.")]
    return _table(("Key", "What it matches"), rows)


def principles() -> str:
    """The principles that decide."""
    rows = [(f"`{word}`", sentence) for word, sentence in PRINCIPLES.items()]
    rows.append((f"`{HELD}`", "a hold covers it, and a hold wins over everything until it is released"))
    return _table(("Principle", "What it says"), rows)


def keys_of_tests() -> str:
    """The keys of a file of policy tests."""
    rows = [row for prefix, model in _GROUPS.items() for row in _keys(model, prefix)]
    return _table(("Key", "What it says"), rows)


def findings() -> str:
    """The codes of `archiver retention validate`."""
    rows = [(f"`{code}`", "error", sentence) for code, sentence in ERRORS.items()]
    rows += [(f"`{code}`", "warning", sentence) for code, sentence in WARNINGS.items()]
    return _table(("Code", "Kind", "Meaning"), rows)


def all_tables() -> list[str]:
    return [policy_keys(), match_keys(), principles(), keys_of_tests(), findings()]
