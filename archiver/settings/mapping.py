"""A mapping: which field of somebody's JSON lines or CSV is what, in YAML; its mistakes are named by file and line."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import CoreSchema

from archiver import document
from archiver.document import Document, Location, reason_of, unknown_key
from archiver.errors import ConfigError
from archiver.settings.parts import PART

_ORIGIN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# An origin with this beginning is a workspace's of Slack, whose exports have a reader of their own.
SLACK_ORIGIN_PREFIX = "slack-"
# What CSV is made of must be the same bytes in every encoding that we read by lines.
_CSV_SIGNS = "".join(map(chr, range(0x09, 0x7F)))


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("must be 1 to 40 lower-case letters, digits and hyphens")
    if value.startswith(SLACK_ORIGIN_PREFIX):
        raise ValueError(f"must not begin with {SLACK_ORIGIN_PREFIX}: `archiver import slack` gives these")
    return value


def _path(value: str) -> str:
    if not value or not all(value.split(".")):
        raise ValueError("must be the name of a field, or names joined by dots such as user.name")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a named time zone such as Europe/Berlin or UTC") from None
    return value


def _encoding(value: str) -> str:
    try:
        codec = codecs.lookup(value)
        is_text = _CSV_SIGNS.encode(value) == _CSV_SIGNS.encode("ascii")
    except (LookupError, ValueError):
        codec, is_text = None, False
    if codec is None or not is_text:
        raise ValueError("must be an encoding that extends ASCII, such as utf-8 or windows-1252")
    return codec.name


def _sign(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in "\r\n\0":
        raise ValueError("must be one ASCII character")
    return value


_Path = Annotated[str, AfterValidator(_path)]
_Sign = Annotated[str, AfterValidator(_sign)]


class _Part(BaseModel):
    model_config = PART


class _FromField(_Part):
    """A group that may also be written as the name of a field alone."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of both ways to write it."""
        group = handler(schema)
        group = handler.resolve_ref_schema(group)
        return {"anyOf": [{"type": "string"}, group]}


def _spelt_out(value: object) -> object:
    return {"field": value} if isinstance(value, str) else value


class ValueMapping(_FromField):
    """Where a value is: in a field, or the same for every record."""

    field: _Path | None = None
    """The field's name; names joined by dots lead into objects and lists."""
    constant: str | None = None
    """A text that every record has."""

    @model_validator(mode="after")
    def _one_of_both(self) -> ValueMapping:
        if (self.field is None) == (self.constant is None):
            raise ValueError("needs either a field or a constant")
        return self


class ListMapping(_FromField):
    """Where a list of ids is."""

    field: _Path
    """The field's name: a list, or a text."""
    split: str = ""
    """What parts a text into several."""


class TimeMapping(_FromField):
    """When a message was sent."""

    field: _Path
    """The field's name."""
    unit: Literal["seconds", "milliseconds", "microseconds", "nanoseconds"] | None = None
    """The unit of a number since 1970 UTC."""
    format: str | None = None
    """How a text is written, as in Python's strptime (%d.%m.%Y %H:%M); ISO 8601 without it."""
    zone: Annotated[str, AfterValidator(_zone)] | None = None
    """The zone of texts that name none."""

    @model_validator(mode="after")
    def _fits_together(self) -> TimeMapping:
        if self.unit is not None and (self.format is not None or self.zone is not None):
            raise ValueError("a number in a unit has neither format nor zone")
        return self


class AttachmentsMapping(_FromField):
    """Where attached files are."""

    field: _Path | None = None
    """A list of objects or of URLs; without it the record itself has the fields below, and one file at most."""
    url: _Path | None = None
    """Where a file's URL is."""
    name: _Path | None = None
    """Where its name is."""
    mime: _Path | None = None
    """Where its media type is."""
    size: _Path | None = None
    """Where its size in bytes is."""

    @model_validator(mode="after")
    def _fits_together(self) -> AttachmentsMapping:
        if self.field is None and self.url is None:
            raise ValueError("needs a field or a url")
        return self


_Value = Annotated[ValueMapping, BeforeValidator(_spelt_out)]
_List = Annotated[ListMapping, BeforeValidator(_spelt_out)]


class FieldsMapping(_Part):
    """Which field of a record is what; a field is named, or given as a group."""

    time: Annotated[TimeMapping, BeforeValidator(_spelt_out)]
    """When it was sent."""
    sender: _Value
    """Who sent it: an id."""
    chat: _Value | None = None
    """The chat that it is in: of Flock's a channel (g:…), or two users with a comma."""
    recipient: _Value | None = None
    """Where it is there, to whom it was sent; the chat is then the one-to-one chat of both, or of Flock's a channel."""
    chat_kind: _Value | None = None
    """channel or direct, in another system; channel without it."""
    uid: _Value | None = None
    """Its uid, unique in its chat. Without it one is derived from the record, and equal records are counted."""
    sender_name: _Value | None = None
    """What another system calls the sender, for the table users."""
    text: _Value | None = None
    """The text exactly as sent."""
    plain_text: _Value | None = None
    """What a reader sees, where that is something else than the text."""
    flockml: _Value | None = None
    """The FlockML exactly as sent."""
    notification: _Value | None = None
    """The notification text."""
    send_as_name: _Value | None = None
    """The name shown instead of the sender's."""
    on_behalf_of: _Value | None = None
    """The user a bot posted for: an id."""
    app_id: _Value | None = None
    """The sending app."""
    client_id: _Value | None = None
    """The id the client chose."""
    mentions: _List | None = None
    """The users mentioned: ids."""
    visible_to: _List | None = None
    """The users that could see it, if limited: ids."""
    attachments: Annotated[AttachmentsMapping, BeforeValidator(_spelt_out)] | None = None
    """The files attached."""

    @model_validator(mode="after")
    def _fits_together(self) -> FieldsMapping:
        if self.chat is None and self.recipient is None:
            raise ValueError("needs a chat or a recipient")
        return self


class CsvMapping(_Part):
    """How a CSV file is written."""

    delimiter: _Sign = ","
    """What stands between values."""
    quote: _Sign = '"'
    """What stands around values with a delimiter or a line end in them; doubled inside."""
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    """The encoding of its text."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns' names, for a file whose first line is not their names."""


class Mapping(_Part):
    """How the records of a file become messages."""

    format: Literal["jsonl", "csv"] = "jsonl"
    """JSON lines or CSV."""
    origin: Annotated[str, AfterValidator(_origin)] | None = None
    """The other system: its ids become import:<origin>:<id>. Left out, ids are Flock's own, and are taken as they are."""
    csv: CsvMapping = CsvMapping()
    """How a CSV file is written."""
    fields: FieldsMapping
    """Which field is what."""

    @model_validator(mode="after")
    def _fits_together(self) -> Mapping:
        if self.origin is None and (self.fields.sender_name or self.fields.chat_kind):
            raise ValueError("sender_name and chat_kind need an origin; of its own people and chats Flock tells")
        columns = self.csv.columns or ()
        if len(set(columns)) < len(columns):
            raise ValueError("csv.columns names a column twice")
        return self


def mapping_schema_text() -> str:
    """Return the JSON Schema of a mapping: its keys, types, limits, defaults and meaning."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Mapping.model_json_schema()}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def load_mapping(path: Path) -> tuple[Mapping, bytes]:
    """Read a mapping and return it with its bytes; raises `ConfigError` that names every mistake with its line."""
    missing = ConfigError(f"there is no mapping at {path}", next_step="docs/import.md shows how one is written")
    data = document.data_of(path, missing=missing)
    written = document.parse(path, data)
    try:
        return Mapping(**written.values), data
    except ValidationError as error:
        details = sorted(error.errors(include_url=False), key=lambda detail: written.line(detail["loc"]))
        raise ConfigError(
            "\n".join(_sentence(detail, written) for detail in details),
            next_step="correct the mapping; docs/import.md explains every key",
        ) from None


def _sentence(detail: ErrorDetails, written: Document) -> str:
    location: Location = detail["loc"]
    place = written.place(location)
    dotted = ".".join(map(str, location))
    if detail["type"] == "extra_forbidden":
        reason = unknown_key(str(location[-1]), _siblings(location))
    elif detail["type"] == "model_type":
        reason = "must be the name of a field, or a group of keys"
    else:
        reason = reason_of(detail)
    return f"{place}: {dotted}: {reason}" if dotted else f"{place}: {reason}"


def _siblings(location: Location) -> list[str]:
    model: Any = Mapping
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        kinds += [inner for kind in kinds for inner in getattr(kind, "__args__", ())]
        model = next(kind for kind in kinds if hasattr(kind, "model_fields"))
    return list(model.model_fields)
