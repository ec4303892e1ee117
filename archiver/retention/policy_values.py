"""The kinds of values that a policy has: names, patterns, periods, sizes, days; and what is said of one that is none."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from archiver.retention.periods import Calendar, Period, parse_period
from archiver.retention.searching import any_phrase, check_search
from archiver.scope.regex import check_regex

ENTRIES_MAX = 10_000
TEXT_CHARACTERS_MAX = 2_000
PATTERN_CHARACTERS_MAX = 500
NAME_CHARACTERS_MAX = 80
SIZE_BYTES_MAX = 2**60

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SIZE = re.compile(r"([0-9]{1,15}) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class WrittenSchema(GenerateJsonSchema):
    """A JSON Schema of what a person writes: a key may be left out, but none stands there without a value."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Return the schema of the value itself."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema with the value that a key has when it is left out, if it has one."""
        written = super().default_schema(schema)
        default = written.pop("default", None)
        if isinstance(default, dict):
            default = {key: value for key, value in default.items() if value is not None}
        return written if default is None else {**written, "default": default}


def mistake(code: str, reason: str) -> PydanticCustomError:
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
    # A text must be a day by itself: pydantic would read a number in quotes as seconds since 1970.
    is_day = _DAY.fullmatch(value) is not None if isinstance(value, str) else isinstance(value, date)
    if not is_day or hasattr(value, "hour"):
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
        raise mistake("unknown-zone", str(error)) from None


def _search(value: str) -> str:
    try:
        return check_search(value)
    except ValueError as error:
        raise mistake("unsupported-search", str(error)) from None


def _phrase(value: str) -> str:
    _search(any_phrase([value]))
    return value


def _phrases(values: tuple[str, ...]) -> tuple[str, ...]:
    _search(any_phrase(values))
    return values


def _regex(value: str) -> str:
    try:
        return check_regex(value)
    except ValueError as error:
        raise mistake("unsupported-regex", str(error)) from None


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
            return parse_period(str(value))
        except ValueError as error:
            raise mistake("impossible-period", str(error)) from None


class _OneOrMany:
    """How a list that may be written as its single entry stands in the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], {**many, "minItems": 1}]}


class SizeOrText:
    """How a number of bytes stands in the JSON Schema: as a number, or with its unit."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}


Pattern = Annotated[str, Field(max_length=PATTERN_CHARACTERS_MAX), AfterValidator(_text)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_listed), AfterValidator(_unique), _OneOrMany()]
Regexes = Annotated[
    tuple[Annotated[Pattern, AfterValidator(_regex)], ...],
    BeforeValidator(_listed),
    AfterValidator(_unique),
    _OneOrMany(),
]
Phrases = Annotated[
    tuple[Annotated[Pattern, AfterValidator(_phrase)], ...],
    BeforeValidator(_listed),
    AfterValidator(_unique),
    AfterValidator(_phrases),
    _OneOrMany(),
]
Source = Literal["webhook", "event", "fetch", "history", "import"]
Sources = Annotated[tuple[Source, ...], BeforeValidator(_listed), AfterValidator(_unique), _OneOrMany()]
Size = Annotated[int, BeforeValidator(_bytes), Field(ge=0, le=SIZE_BYTES_MAX), SizeOrText()]
Day = Annotated[date, BeforeValidator(_day)]
Flag = Annotated[bool, BeforeValidator(_flag)]
PeriodText = Annotated[Period, _PeriodAsText]
Listed = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_unique), _OneOrMany()]
Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Text = Annotated[str, AfterValidator(_text)]
Description = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]
Search = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX), AfterValidator(_search)]
NO_FLAG = BeforeValidator(_no_flag)
