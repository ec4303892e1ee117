"""A call's parameters from query, form or JSON body, read as what a method needs (flock-api.md 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from archiver.simulator.answers import FlockCallError, invalid_parameter

_FIELDS_MAX = 1_000
_FORM_TYPES = frozenset({"application/x-www-form-urlencoded", ""})
_JSON_TYPES = frozenset({"application/json", "text/json"})


class Parameters:
    """The parameters of one call. Every reader raises 400 InvalidParameter with the name of what is missing or wrong."""

    def __init__(self, values: Mapping[str, Any], *, comma_lists: bool) -> None:
        self._values = values
        self._comma_lists = comma_lists

    def text(self, name: str, *, default: str | None = None) -> str:
        """Return a text; one that is missing is an error unless there is a default. Empty counts as given."""
        value = self._values.get(name)
        if value is None:
            if default is None:
                raise invalid_parameter(name, f"{name} is missing")
            return default
        if not isinstance(value, str):
            raise invalid_parameter(name, f"{name} must be a string")
        return value

    def required(self, name: str) -> str:
        """Return a text that must not be empty."""
        value = self.text(name)
        if not value:
            raise invalid_parameter(name, f"{name} is empty")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false, false where it is missing."""
        value = self._values.get(name)
        if value in (None, False, "false", ""):
            return False
        if value in (True, "true"):
            return True
        raise invalid_parameter(name, f"{name} must be true or false")

    def texts(self, name: str, *, required: bool = False) -> list[str]:
        """Return a list of texts: a JSON array, as text or as such, or where allowed a comma-separated list."""
        value = self._structured(name, required=required)
        if isinstance(value, str) and self._comma_lists:
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid_parameter(name, f"{name} must be an array of strings")
        return value

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Return a list of objects, empty where it is missing."""
        value = self._structured(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise invalid_parameter(name, f"{name} must be an array of objects")
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """Return an object, or None where it is missing."""
        if self._values.get(name) in (None, "", "null"):
            return None
        value = self._structured(name)
        if not isinstance(value, dict):
            raise invalid_parameter(name, f"{name} must be an object")
        return value

    def _structured(self, name: str, *, required: bool = False) -> Any:
        value = self._values.get(name)
        if value in (None, "", "null"):
            if required:
                raise invalid_parameter(name, f"{name} is missing")
            return []
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                return msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError):
                raise invalid_parameter(name, f"{name} is not JSON") from None
        return value


def read_query(query: bytes) -> dict[str, str]:
    """Return a query string or a form body as names and values, the last where one is repeated.

    Raises 400 InvalidRequestData if it is not UTF-8, percent-encoded.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=_FIELDS_MAX,
        )
    except ValueError:
        raise FlockCallError(400, "InvalidRequestData", "The request is not percent-encoded UTF-8") from None
    return dict(pairs)


def read_body(body: bytes, content_type: str, *, json_bodies: bool) -> dict[str, Any]:
    """Return the parameters of a body: a form, or a JSON object, which may come without a content type.

    The official Python SDK sends JSON without one (flock-api.md 16). Raises 400 InvalidRequestData for anything else.
    """
    if not body:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    if json_bodies and (kind in _JSON_TYPES or (not kind and body.lstrip()[:1] == b"{")):
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise FlockCallError(400, "InvalidRequestData", "The body is not JSON") from None
        if not isinstance(decoded, dict):
            raise FlockCallError(400, "InvalidRequestData", "The body is not a JSON object")
        return decoded
    if kind not in _FORM_TYPES:
        raise FlockCallError(400, "InvalidRequestData", f"The content type {kind} is not understood")
    return read_query(body)
