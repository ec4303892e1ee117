"""What a policy says: rules, what they match, how long they retain, when they delete. Frozen values; the words are the YAML's own.

The docstrings of the keys are the text of ``policies/schema.json``, which editors show. What a policy *means* is in
`archiver.retention.decide` (which rule wins) and `archiver.retention.conditions` (what a match matches).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from archiver.retention.patterns import check_regex, words_regex
from archiver.retention.periods import Calendar, Period, parse_period

RULES_MAX = 500
ENTRIES_MAX = 10_000
TEXT_CHARACTERS_MAX = 2_000
PATTERN_CHARACTERS_MAX = 500

# How explicit a rule is: for an item by its label, for some, for everything. A more explicit one chooses when to delete.
Level = Literal["label", "scoped", "all"]

NAME_CHARACTERS_MAX = 80

# As with settings: what nobody knows is refused, and the docstrings are the JSON Schema's text.
PART = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

_SIZE = re.compile(r"([0-9]{1,15}) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _mistake(code: str, reason: str) -> PydanticCustomError:
    """Return a mistake with its stable code (`archiver.retention.findings`); the reason ends a sentence that begins with the key."""
    return PydanticCustomError(code, "{reason}", {"reason": reason})


def _name(value: str) -> str:
    if not value.isprintable() or value != value.strip() or not 0 < len(value) <= NAME_CHARACTERS_MAX:
        raise ValueError(f"must be a name of 1 to {NAME_CHARACTERS_MAX} printable characters")
    return value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("must name something; leave the key out to match everything")
    if len(values) > ENTRIES_MAX:
        raise ValueError(f"must have at most {ENTRIES_MAX} entries")
    return tuple(sorted(set(values)))


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    if "\0" in value:
        raise ValueError("must not hold a null character")
    return value


def _bytes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number of bytes, or a size such as 10MB")  # noqa: TRY004 - pydantic makes it a message
    if not isinstance(value, str):
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("must be a number of bytes, or a size such as 10MB")
    return int(found[1]) * _UNITS[found[2] or "B"]


def _day(value: object) -> object:
    if not isinstance(value, date | str) or hasattr(value, "hour"):
        raise ValueError("must be a day such as 2026-11-22")
    return value


def _no_flag(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not yes or no")  # noqa: TRY004 - as above
    return value


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("must be yes or no")  # noqa: TRY004 - as above
    return value


def _zone(value: str) -> str:
    try:
        return Calendar(value).name
    except ValueError as error:
        raise _mistake("unknown-zone", str(error)) from None


def _regex(value: str) -> str:
    try:
        return check_regex(value)
    except ValueError as error:
        raise _mistake("unsupported-regex", str(error)) from None


class _PeriodAsText:
    """How a `Period` stands in YAML, in canonical JSON and in the JSON Schema: as text."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del schema, handler
        return {
            "type": "string",
            "pattern": "^([0-9]+y)?([0-9]+m)?([0-9]+w)?([0-9]+d)?$",
            "minLength": 2,
            "examples": ["7y", "6m", "90d", "1y6m"],
        }

    @staticmethod
    def _read(value: object) -> Period:
        if isinstance(value, Period):
            return value
        try:
            return parse_period(value if isinstance(value, str) else "")
        except ValueError as error:
            raise _mistake("impossible-period", str(error)) from None


_Pattern = Annotated[str, AfterValidator(_text), Field(max_length=PATTERN_CHARACTERS_MAX)]
_Patterns = Annotated[tuple[_Pattern, ...], BeforeValidator(_listed), AfterValidator(_unique)]
_Regexes = Annotated[
    tuple[Annotated[_Pattern, AfterValidator(_regex)], ...], BeforeValidator(_listed), AfterValidator(_unique)
]
_Source = Literal["webhook", "event", "fetch", "history", "import"]
_Sources = Annotated[tuple[_Source, ...], BeforeValidator(_listed), AfterValidator(_unique)]
_Size = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
_Day = Annotated[date, BeforeValidator(_day)]
_Flag = Annotated[bool, BeforeValidator(_flag)]
_PeriodText = Annotated[Period, _PeriodAsText]


class _Part(BaseModel):
    model_config = PART


class SizeRange(_Part):
    """Files of a size: of so many bytes as were received, or as declared where nothing was."""

    min: _Size | None = None
    """So many bytes or more; 10MB and 10MiB are understood."""
    max: _Size | None = None
    """So many bytes or fewer."""

    @model_validator(mode="after")
    def _fits_together(self) -> SizeRange:
        if self.min is None and self.max is None:
            raise ValueError("needs a min or a max")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise _mistake("contradictory", "contradicts itself: max is less than min, so no file could match")
        return self


class SentRange(_Part):
    """Messages sent on some days, by the calendar of the policy's zone."""

    after: _Day | None = None
    """On this day or later."""
    before: _Day | None = None
    """Before this day."""

    @model_validator(mode="after")
    def _fits_together(self) -> SentRange:
        if self.after is None and self.before is None:
            raise ValueError("needs an after or a before")
        if self.after is not None and self.before is not None and self.before <= self.after:
            raise _mistake(
                "contradictory", "contradicts itself: before is not later than after, so no message could match"
            )
        return self


class Match(_Part):
    """What is matched: each key that is given must hold; of several entries of a key one must."""

    channel: _Patterns | None = None
    """Channels by id, or by any name they ever had, whatever its case; * and ? stand for any letters and for one."""
    kind: Literal["channel", "direct"] | None = None
    """Messages of channels, or of one-to-one chats."""
    sender: _Patterns | None = None
    """Who sent it: user ids or e-mail addresses (any they ever had), with * and ?."""
    custodian: _Patterns | None = None
    """Whose message it is: sent by them, or in a one-to-one chat sent to them; ids or e-mail addresses, with * and ?."""
    app: _Patterns | None = None
    """The apps that posted it, by id, with * and ?."""
    bot: _Flag | None = None
    """Posted by an app or a bot (yes), or by a person (no)."""
    words: _Patterns | None = None
    """Words or phrases, one of which stands in the text as a reader sees it; whole words, whatever their case."""
    regex: _Regexes | None = None
    """Regular expressions (RE2), one of which is found in the text as a reader sees it. RE2 needs time only as long as the text."""
    search: Annotated[str, AfterValidator(_text), Field(max_length=TEXT_CHARACTERS_MAX)] | None = None
    """A search expression, as `archiver search` takes it."""
    has_file: _Flag | None = None
    """With a file, or with none."""
    mime: _Patterns | None = None
    """Media types of files, as declared or as served, with * and ?, such as image/*."""
    size: SizeRange | None = None
    """How large a file is."""
    source: _Sources | None = None
    """How it was captured: webhook, event, fetch, history or import."""
    sent: SentRange | None = None
    """When it was sent."""
    label: Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_unique)] | None = None
    """Labels of this policy, one of which the item has. A rule for a label is the most explicit there is."""

    def given(self) -> dict[str, Any]:
        """Return the keys that are given, in the order of the schema."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}

    @model_validator(mode="after")
    def _fits_together(self) -> Match:
        if self.channel is not None and self.kind == "direct":
            raise _mistake("contradictory", "contradicts itself: kind: direct has no channel")
        if self.has_file is False and (self.mime is not None or self.size is not None):
            raise _mistake("contradictory", "contradicts itself: has_file: no has neither mime nor size")
        if self.words is not None:
            _regex(words_regex(self.words))
        return self


class Tier(_Part):
    """Where data moves that nobody reads any more."""

    after: _PeriodText
    """How long after the rule's clock began."""
    to: Literal["STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"]
    """The storage class of S3."""


class Rule(_Part):
    """One rule: what it matches, how long that is kept, when it goes."""

    name: Annotated[str, AfterValidator(_name)]
    """Its name, unique in the policy; verdicts, plans and certificates speak of it by this name."""
    description: Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)] = ""
    """What it is for, in a sentence."""
    authority: Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)] = ""
    """What demands it, such as SEC 17a-4(b)(4)."""
    on: Literal["messages", "files", "both"] = "both"
    """What it is about: messages, the files attached to them, or both."""
    match: Match = Match()
    """What it matches; without it, everything."""
    exclude: Annotated[Match, Field(alias="not")] = Match()
    """What it does not match: an item for which any of these keys holds is not matched."""
    retain: _PeriodText | None = None
    """How long it is kept: nothing removes it before the end of that day."""
    delete: _PeriodText | None = None
    """When it goes, unless something still retains it. With neither retain nor delete a rule can only move (tier)."""
    clock: Annotated[Literal["sent", "last_activity", "departure"], Field(alias="from")] = "sent"
    """When the periods begin: when it was sent, when the conversation was last active, or when the sender departed."""
    tier: Tier | None = None
    """When it moves to another storage class."""
    locked: _Flag = False
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
            raise _mistake("says-nothing", "says nothing: give it retain, delete or tier")
        if self.locked and self.retain is None:
            raise ValueError("locked needs a retain period to lock")
        if self.on == "files" and (self.match.has_file is False or self.exclude.has_file is True):
            raise _mistake("contradictory", "contradicts itself: what is on files always has a file")
        for key, value in self.match.given().items():
            if value == getattr(self.exclude, key):
                raise _mistake("contradictory", f"contradicts itself: {key} stands in match and in not alike")
        return self


class Label(_Part):
    """Items that carry a label: single messages, whole conversations."""

    messages: _Patterns | None = None
    """Uids of messages."""
    chats: _Patterns | None = None
    """Ids of channels or of one-to-one chats."""

    @model_validator(mode="after")
    def _fits_together(self) -> Label:
        if self.messages is None and self.chats is None:
            raise ValueError("needs messages or chats")
        return self


class Limits(_Part):
    """Breakers: a plan that would remove more is refused before the first removal."""

    rows_max: Annotated[int, Field(ge=0), BeforeValidator(_no_flag)] | None = None
    """At most so many rows of messages and files."""
    percent_max: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), BeforeValidator(_no_flag)] | None = None
    """At most this share of all rows of messages and files, in percent."""


class Policy(_Part):
    """A retention policy: which messages and files are kept how long, and when they go."""

    name: Annotated[str, AfterValidator(_name)]
    """The policy's name."""
    description: Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)] = ""
    """What it is for, in a sentence."""
    zone: Annotated[str, AfterValidator(_zone)]
    """The time zone by whose calendar days are counted, such as Europe/Berlin or UTC; the machine's own never matters."""
    mode: Literal["longest", "specific"] = "longest"
    """Which rule wins: the longest retention (as in Microsoft Purview), or the most specific rule (as in Google Vault)."""
    limits: Limits = Limits()
    """Breakers on what a plan may remove."""
    labels: dict[Annotated[str, AfterValidator(_name)], Label] = {}
    """Labels by name, and the items that carry them."""
    departures: dict[Annotated[str, AfterValidator(_text)], _Day] = {}
    """When people left, as HR says: a user id or e-mail address, and their last day."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=RULES_MAX)]
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
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise _mistake("duplicate-rule", "two rules have the same name")
        unknown = sorted(labels_of(self.rules) - self.labels.keys())
        if unknown:
            raise _mistake("unknown-label", f"labels has no {unknown[0]}")
        return self


def schema_text() -> str:
    """Return the JSON Schema of a policy: its keys, types, limits, defaults and meaning."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Policy.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def labels_of(rules: Iterable[Rule]) -> set[str]:
    """Return the labels that rules speak of."""
    return {label for rule in rules for part in (rule.match, rule.exclude) for label in part.label or ()}
