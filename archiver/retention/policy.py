"""What a policy says: rules, what they match, how long they retain, when they delete. Frozen values; the words are the YAML's own.

The docstrings of the keys are the text of ``policies/schema.json``, which editors show. What a policy *means* is in
`archiver.retention.decide` (which rule wins) and `archiver.retention.conditions` (what a match matches).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from archiver.retention.policy_values import (
    ENTRIES_MAX,
    NO_FLAG,
    Day,
    Description,
    Flag,
    Listed,
    Name,
    Patterns,
    PeriodText,
    Phrases,
    Regexes,
    Search,
    Size,
    Sources,
    Text,
    WrittenSchema,
    Zone,
    mistake,
)

RULES_MAX = 500

# How explicit a rule is: for an item by its label, for some, for everything. A more explicit one chooses when to delete.
Level = Literal["label", "scoped", "all"]

# As with settings: what nobody knows is refused, and the docstrings are the JSON Schema's text.
PART = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class _Part(BaseModel):
    model_config = PART


class SizeRange(_Part):
    """Files of a size: of so many bytes as were received, or as declared where nothing was."""

    min: Size | None = None
    """So many bytes or more; 10MB and 10MiB are understood."""
    max: Size | None = None
    """So many bytes or fewer."""

    @model_validator(mode="after")
    def _fits_together(self) -> SizeRange:
        if self.min is None and self.max is None:
            raise ValueError("needs a min or a max")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise mistake("contradictory", "contradicts itself: max is less than min, so no file could match")
        return self


class SentRange(_Part):
    """Messages sent on some days, by the calendar of the policy's zone."""

    after: Day | None = None
    """On this day or later."""
    before: Day | None = None
    """Before this day."""

    @model_validator(mode="after")
    def _fits_together(self) -> SentRange:
        if self.after is None and self.before is None:
            raise ValueError("needs an after or a before")
        if self.after is not None and self.before is not None and self.before <= self.after:
            raise mistake(
                "contradictory", "contradicts itself: before is not later than after, so no message could match"
            )
        return self


class Match(_Part):
    """What is matched: each key that is given must hold; of several entries of a key one must."""

    channel: Patterns | None = None
    """Channels by id, or by any name they ever had, whatever its case; * and ? stand for any letters and for one."""
    kind: Literal["channel", "direct"] | None = None
    """Messages of channels, or of one-to-one chats."""
    sender: Patterns | None = None
    """Who sent it: user ids or e-mail addresses (any they ever had), with * and ?."""
    custodian: Patterns | None = None
    """Whose message it is: sent by them, or in a one-to-one chat sent to them; ids or e-mail addresses, with * and ?."""
    app: Patterns | None = None
    """The apps that posted it, by id, with * and ?."""
    bot: Flag | None = None
    """Posted by an app or a bot (yes), or by a person (no)."""
    words: Phrases | None = None
    """Words or phrases, one of which it says: whole words whatever their case, as in a search; one that ends in * may go on."""
    regex: Regexes | None = None
    """Regular expressions (RE2), one of which is found in the text as a reader sees it. RE2 needs time only as long as the text."""
    search: Search | None = None
    """A search expression, as `archiver search` takes it."""
    has_file: Flag | None = None
    """With a file, or with none."""
    mime: Patterns | None = None
    """Media types of files, as declared or as served, with * and ?, such as image/*."""
    size: SizeRange | None = None
    """How large a file is."""
    source: Sources | None = None
    """How it was captured: webhook, event, fetch, history or import."""
    sent: SentRange | None = None
    """When it was sent."""
    label: Listed | None = None
    """Labels of this policy, one of which the item has. A rule for a label is the most explicit there is."""

    def given(self) -> dict[str, Any]:
        """Return the keys that are given, in the order of the schema."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _fits_together(self) -> Match:
        if self.channel is not None and self.kind == "direct":
            raise mistake("contradictory", "contradicts itself: kind: direct has no channel")
        if self.has_file is False and (self.mime is not None or self.size is not None):
            raise mistake("contradictory", "contradicts itself: has_file: no has neither mime nor size")
        return self


class Tier(_Part):
    """Where data moves that nobody reads any more."""

    after: PeriodText
    """How long after the rule's clock began."""
    to: Literal["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"]
    """The storage class of S3."""


class Rule(_Part):
    """One rule: what it matches, how long that is kept, when it goes."""

    name: Name
    """Its name, unique in the policy; verdicts, plans and certificates speak of it by this name."""
    description: Description = ""
    """What it is for, in a sentence."""
    authority: Description = ""
    """What demands it, such as SEC 17a-4(b)(4)."""
    on: Literal["messages", "files", "both"] = "both"
    """What it is about: messages, the files attached to them, or both."""
    match: Match = Match()
    """What it matches; without it, everything."""
    exclude: Annotated[Match, Field(alias="not")] = Match()
    """What it does not match: an item for which any of these keys holds is not matched."""
    retain: PeriodText | None = None
    """How long it is kept: nothing removes it before the end of that day."""
    delete: PeriodText | None = None
    """When it goes, unless something still retains it. With neither retain nor delete a rule can only move (tier)."""
    clock: Annotated[Literal["sent", "last_activity", "departure"], Field(alias="from")] = "sent"
    """When the periods begin: when it was sent, when the conversation was last active, or when the sender departed."""
    tier: Tier | None = None
    """When it moves to another storage class."""
    locked: Flag = False
    """Whether the retain period is locked in the storage too, where nobody can shorten it any more."""

    @property
    def level(self) -> Level:
        """How explicit the rule is. A rule is for everything only if it names no condition and is about both."""
        if self.match.label is not None:
            return "label"
        return "scoped" if self.match.given() or self.exclude.given() or self.on != "both" else "all"

    @property
    def decides(self) -> bool:
        """Whether it takes part in deciding: a rule that only moves data does not."""
        return self.retain is not None or self.delete is not None

    @model_validator(mode="after")
    def _fits_together(self) -> Rule:
        if not self.decides and self.tier is None:
            raise mistake("says-nothing", "says nothing: give it retain, delete or tier")
        if self.locked and self.retain is None:
            raise ValueError("locked needs a retain period to lock")
        if self.on == "files" and (self.match.has_file is False or self.exclude.has_file is True):
            raise mistake("contradictory", "contradicts itself: what is on files always has a file")
        for key, value in self.match.given().items():
            if value == getattr(self.exclude, key):
                raise mistake("contradictory", f"contradicts itself: {key} stands in match and in not alike")
        return self


class Label(_Part):
    """Items that carry a label: single messages, whole conversations."""

    messages: Patterns | None = None
    """Uids of messages."""
    chats: Patterns | None = None
    """Ids of channels or of one-to-one chats."""

    @model_validator(mode="after")
    def _fits_together(self) -> Label:
        if self.messages is None and self.chats is None:
            raise ValueError("needs messages or chats")
        return self


class Limits(_Part):
    """Breakers: a plan that would remove more is refused before the first removal."""

    rows_max: Annotated[int, Field(ge=0), NO_FLAG] | None = None
    """At most so many rows of messages and files."""
    percent_max: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), NO_FLAG] | None = None
    """At most this share of all rows of messages and files, in percent."""


def _some(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    # Not by the field's own length: a rule that cannot be read would count as none.
    if not 0 < len(rules) <= RULES_MAX:
        raise ValueError(f"must have 1 to {RULES_MAX} rules")
    return rules


class Policy(_Part):
    """A retention policy: which messages and files are kept how long, and when they go."""

    name: Name
    """The policy's name."""
    description: Description = ""
    """What it is for, in a sentence."""
    zone: Zone
    """The time zone by whose calendar days are counted, such as Europe/Berlin or UTC; the machine's own never matters."""
    mode: Literal["longest", "specific"] = "longest"
    """Which rule wins: the longest retention (as in Microsoft Purview), or the most specific rule (as in Google Vault)."""
    limits: Limits = Limits()
    """Breakers on what a plan may remove."""
    labels: dict[Name, Label] = {}
    """Labels by name, and the items that carry them."""
    departures: dict[Text, Day] = {}
    """When people left, as HR says: a user id or e-mail address, and their last day."""
    rules: Annotated[
        tuple[Rule, ...], AfterValidator(_some), Field(json_schema_extra={"minItems": 1, "maxItems": RULES_MAX})
    ]
    """The rules. Their order never matters."""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the policy's `canonical` JSON: what says the same has the same digest, whatever the order of rules."""
        return sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """Return the policy as canonical JSON: rules by name, entries in order, periods as `Period` writes them, defaults left out."""
        said = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        said["rules"] = sorted(said["rules"], key=lambda rule: rule["name"])
        return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def rule(self, name: str) -> Rule:
        """Return a rule by its name; raises `KeyError`."""
        return next(rule for rule in self.rules if rule.name == name)

    @model_validator(mode="after")
    def _fits_together(self) -> Policy:
        for key in ("labels", "departures"):
            if len(getattr(self, key)) > ENTRIES_MAX:
                raise ValueError(f"{key} must have at most {ENTRIES_MAX} entries")
        names = {folded_name(rule.name) for rule in self.rules}
        if len(names) < len(self.rules):
            raise mistake("duplicate-rule", "two rules have the same name")
        unknown = sorted(labels_of(self.rules) - self.labels.keys())
        if unknown:
            raise mistake("unknown-label", f"labels has no {unknown[0]}")
        return self


def folded_name(name: str) -> str:
    """Return a rule's name as people tell names apart: whatever its case, and however its letters are written (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


def schema_text() -> str:
    """Return the JSON Schema of a policy: its keys, types, limits, defaults and meaning."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Policy.model_json_schema(schema_generator=WrittenSchema),
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def labels_of(rules: Iterable[Rule]) -> set[str]:
    """Return the labels that rules speak of."""
    return {label for rule in rules for part in (rule.match, rule.exclude) for label in part.label or ()}
