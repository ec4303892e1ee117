"""The keys of a file of policy tests: messages as a person describes them, and what the policy must say of each.

The docstrings of the keys are the text of ``docs/retention.md`` on policy tests. What a test means is in `archiver.retention.policy_tests`.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from archiver.model.message import Source
from archiver.retention.decide import PRINCIPLES
from archiver.retention.policy import SizeRange
from archiver.retention.policy_values import SizeOrText, WrittenSchema

ITEMS_MAX = 2_000
TEXT_CHARACTERS_MAX = 20_000
NAME_CHARACTERS_MAX = 200
# What a hold that covers an item makes of it, beside the principles of rules.
HELD = "held"

_NONE, _NEVER, _OPEN = "none", "never", "open"

Verdict = Literal["kept", "deleted"]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _day(value: object) -> object:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a day such as 2026-11-22") from None


def _instant(value: object) -> object:
    """Read a day, or a day and a time; one without an offset is a time by the clock on the wall in the policy's zone."""
    if isinstance(value, (date, datetime)):
        return value
    text = str(value)
    try:
        return date.fromisoformat(text) if len(text) == len("2026-11-22") else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day such as 2026-11-22, or a day and a time such as 2026-11-22T18:30") from None


def _day_or(*words: str) -> BeforeValidator:
    def read(value: object) -> object:
        if value in words:
            return value
        try:
            return _day(value)
        except ValueError as error:
            raise ValueError(f"{error}, or {' or '.join(words)}") from None

    return BeforeValidator(read)


def _expected(value: object) -> object:
    return {"verdict": value} if isinstance(value, str) else value


def _size(value: object) -> object:
    # As policies read sizes.
    return SizeRange(min=value).min  # type: ignore[arg-type]


def _principle(value: str) -> str:
    if value not in (*PRINCIPLES, HELD):
        raise ValueError(f"must be one of {', '.join((*PRINCIPLES, HELD))}")
    return value


class _NameOrNames:
    """How names that may be none, one or many stand in the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


_Text = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]
_Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX)]
_Names = Annotated[tuple[_Name, ...], BeforeValidator(_listed), _NameOrNames()]
_Day = Annotated[date, BeforeValidator(_day)]
# As text in the JSON Schema: a time that has no offset is none of its formats.
_InstantText = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.*)?$")]
_Instant = Annotated[datetime | date, BeforeValidator(_instant, json_schema_input_type=_InstantText)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)


class Expectation(_Part):
    """What must be said of an item; only what is given is compared. ``expect: kept`` is short for the verdict alone."""

    verdict: Verdict | None = None
    """kept, or deleted: whether a plan as of the day `as_of` removes it."""
    deleted_after: Annotated[date | Literal["never"], _day_or(_NEVER)] | None = None
    """The last day on which it is kept: from the end of that day on a plan removes it; or never."""
    retained_until: Annotated[date | Literal["none", "open"], _day_or(_NONE, _OPEN)] | None = None
    """The last day on which a retain period runs; none where nothing retains it, open where the period has no end yet."""
    rule: _Name | None = None
    """The rule that decided; none where no rule matches."""
    principle: (
        Annotated[str, AfterValidator(_principle), Field(json_schema_extra={"enum": [*PRINCIPLES, HELD]})] | None
    ) = None
    """The principle that decided, by its word, such as longest-retention."""
    held: _Names | None = None
    """The holds that cover it; an empty list where none does."""

    @property
    def says_verdict(self) -> bool:
        """Whether it says what becomes of the item."""
        return self.verdict is not None or self.deleted_after is not None


class PersonFacts(_Part):
    """What is known of a user."""

    emails: _Names = ()
    """All e-mail addresses that the user ever had."""
    names: _Names = ()
    """All names that the user ever had."""


class ChannelFacts(_Part):
    """What is known of a channel."""

    names: _Names = ()
    """All names that the channel ever had."""
    members: _Names = ()
    """Who was in it all the time: user ids or e-mail addresses."""


class HoldFacts(_Part):
    """A hold in force; its keys are those of a file of holds, and its days are days in the policy's zone."""

    custodians: _Names = ()
    """User ids or e-mail addresses."""
    channels: _Names = ()
    """Channels by id or name."""
    conversations: _Names = ()
    """One-to-one chats: both user ids or addresses with a comma between."""
    first: Annotated[_Day | None, Field(alias="from")] = None
    """The first day."""
    until: _Day | None = None
    """The last day."""
    search: _Text | None = None
    """A search expression."""
    everything: bool = False
    """Whether everything is meant."""


class FileFacts(_Part):
    """A file of an item."""

    name: _Name | None = None
    """Its name."""
    mime: _Name | None = None
    """Its media type."""
    size: Annotated[int, BeforeValidator(_size), SizeOrText()] | None = None
    """Its size, such as 10MB."""
    expect: Annotated[Expectation, BeforeValidator(_expected, json_schema_input_type=Verdict | Expectation)] | None = (
        None
    )
    """What must be said of the file; without it, what must be said of the message."""


class Item(_Part):
    """A message, with its files, and what must be said of it."""

    name: _Name
    """What the case is, in words; unique in the file."""
    channel: _Name | None = None
    """The channel in which it was sent: an id, or a name; this or `between` is given."""
    between: Annotated[tuple[_Name, _Name], BeforeValidator(_listed)] | None = None
    """The two people of a one-to-one chat: user ids or e-mail addresses."""
    sender: _Name
    """Who sent it: a user id or an e-mail address."""
    sent: _Instant
    """When: a day, which is its noon, or a day and a time; by the clock in the policy's zone unless it has an offset."""
    text: _Text = ""
    """What it says."""
    earlier: Annotated[tuple[_Text, ...], BeforeValidator(_listed), _NameOrNames()] = ()
    """What it said before it was edited, the first version first."""
    files: tuple[FileFacts, ...] = ()
    """The files attached to it."""
    app: _Name | None = None
    """The app that posted it, by id."""
    send_as: _Name | None = None
    """The name shown instead of the sender's."""
    on_behalf_of: _Name | None = None
    """The user for whom a bot posted it: a user id or an e-mail address."""
    source: Source = "webhook"
    """How it was captured."""
    uid: _Name | None = None
    """Its uid, where a label of the policy names it."""
    last_activity: _Instant | None = None
    """When the newest message of its conversation was sent; without it, this message is the newest."""
    departed: _Instant | None = None
    """When its sender was seen to have left; the policy's own `departures` come first."""
    as_of: _Day | None = None
    """The day of the plan, where it is another than the file's."""
    expect: Annotated[Expectation, BeforeValidator(_expected, json_schema_input_type=Verdict | Expectation)] | None = (
        None
    )
    """What must be said of it. An item of which neither verdict nor deleted_after is said fails."""

    @model_validator(mode="after")
    def _fits_together(self) -> Item:
        if (self.channel is None) == (self.between is None):
            raise ValueError("needs a channel, or the two it was between, and not both")
        return self


class PushItem(_Part):
    """A push that no message reaches, and what must be said of it: it goes only when it would whatever cannot be told of it."""

    name: _Name
    """What the case is, in words; unique in the file, among the items, too."""
    received: _Instant
    """When it was received, which is its clock: a day, which is its noon, or a day and a time; as with `sent`."""
    channel: _Name | None = None
    """The channel, if the push tells it: an id, or a name."""
    between: Annotated[tuple[_Name, _Name] | None, BeforeValidator(_listed)] = None
    """The two people of the one-to-one chat, if the push tells it: user ids or e-mail addresses."""
    last_activity: _Instant | None = None
    """When the newest message of its conversation was sent; without it, nothing is known of any."""
    as_of: _Day | None = None
    """The day of the plan, where it is another than the file's."""
    expect: Annotated[Expectation, BeforeValidator(_expected, json_schema_input_type=Verdict | Expectation)] | None = (
        None
    )
    """What must be said of it. A push of which neither verdict nor deleted_after is said fails."""

    @model_validator(mode="after")
    def _fits_together(self) -> PushItem:
        if self.channel is not None and self.between is not None:
            raise ValueError("needs a channel, or the two it was between, or none of them, and not both")
        if self.last_activity is not None and self.channel is None and self.between is None:
            raise ValueError("last_activity is that of a conversation, and none is told")
        return self


class PolicyTests(_Part):
    """Tests of one policy."""

    policy: _Name
    """The policy's file, as seen from this one."""
    as_of: _Day
    """The day of the plan: what was to be deleted by the end of the day before is deleted."""
    description: _Text = ""
    """What these tests show, in a sentence."""
    people: dict[str, PersonFacts] = {}
    """Users by user id, where an address or an id alone does not say enough."""
    channels: dict[str, ChannelFacts] = {}
    """Channels by channel id, where a name alone does not say enough."""
    holds: dict[str, HoldFacts] = {}
    """Holds in force, by name."""
    items: Annotated[tuple[Item, ...], Field(json_schema_extra={"minItems": 1, "maxItems": ITEMS_MAX})]
    """The items."""
    pushes: Annotated[tuple[PushItem, ...], Field(json_schema_extra={"maxItems": ITEMS_MAX})] = ()
    """Pushes that no message reaches: what could not be read, or names no message that is there."""

    @model_validator(mode="after")
    def _fits_together(self) -> PolicyTests:
        if not 0 < len(self.items) <= ITEMS_MAX:
            raise ValueError(f"items must hold at least one item, and at most {ITEMS_MAX}")
        if len(self.pushes) > ITEMS_MAX:
            raise ValueError(f"pushes must hold at most {ITEMS_MAX}")
        names = [*(item.name for item in self.items), *(push.name for push in self.pushes)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two items are called {twice[0]!r}")
        uids = [item.uid for item in self.items if item.uid is not None]
        if len(set(uids)) < len(uids):
            raise ValueError("two items have the same uid")
        return self


def schema_of_tests_text() -> str:
    """Return the JSON Schema of a file of policy tests: its keys, types, limits, defaults and meaning."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PolicyTests.model_json_schema(schema_generator=WrittenSchema),
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
