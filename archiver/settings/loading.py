"""File and environment to `Settings`, and a sentence with its place for everything that is wrong in them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from archiver import document
from archiver.document import Document, Location, reason_of, unknown_key
from archiver.errors import ConfigError
from archiver.settings.models import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, S3Address, Settings

# Variables of ours that are no setting.
_OTHER_VARIABLES = frozenset({"config"})

_SHOWN_CHARACTERS_MAX = 60

# Keys that people look for in the file, and where the thing belongs.
_HINTS: dict[str, str] = {
    "s3.access_key_id": "credentials come from boto3's own chain: AWS_ACCESS_KEY_ID, a profile or an instance role",
    "s3.secret_access_key": "credentials come from boto3's own chain: AWS_SECRET_ACCESS_KEY, a profile or an instance role",
    "s3.session_token": "credentials come from boto3's own chain: AWS_SESSION_TOKEN, a profile or an instance role",
    "s3.bucket": "the bucket is part of `archive`: s3://bucket/prefix",
    "flock.token": "tokens are by user: name a file with flock.tokens_file, or set ARCHIVER_FLOCK__TOKENS",
}


def load(path: Path) -> Settings:
    """Read the configuration file and the environment over it; raises `ConfigError` that names every mistake with its place.

    Relative paths, also those of variables, are relative to the folder of the file.
    """
    written = document.read(path)
    environment = EnvSettingsSource(Settings)()
    mistakes = [*_literal_secrets(written), *_unknown_at_top(written)]
    known = {key: value for key, value in written.values.items() if key in Settings.model_fields}
    settings: Settings | None = None
    try:
        settings = Settings(**known)
    except ValidationError as error:
        places = {location[:2] for _, location in mistakes}
        mistakes += [
            (_sentence(detail, written, environment), detail["loc"])
            for detail in error.errors(include_url=False)
            if detail["loc"][:2] not in places
        ]
    if mistakes or settings is None:
        mistakes.sort(key=lambda mistake: written.line(mistake[1]))
        raise ConfigError(
            "\n".join(sentence for sentence, _ in mistakes),
            next_step="correct the configuration; docs/configuration.md explains every key",
        ) from None
    absolute = _absolute(settings, path.absolute().parent)
    _refuse_state_in_archive(absolute, written)
    return absolute


def warnings(settings: Settings) -> list[str]:
    """Return what works but should be looked at."""
    found = [_unknown_variable(name) for name in _unknown_variables()]
    if settings.is_flock_in_clear():
        found.append(f"flock.base_url is {settings.flock.base_url}: tokens cross the network in clear")
    if settings.are_pushes_in_clear():
        found.append(
            f"listen.public_url is {settings.listen.public_url}: messages and secrets cross the network in clear"
        )
    return found


def _literal_secrets(written: Document) -> list[tuple[str, Location]]:
    mistakes: list[tuple[str, Location]] = []
    for section, key in secret_keys():
        if written.holds((section, key)):
            variable = _variable((section, key))
            sentence = (
                f"{written.place((section, key))}: {section}.{key}: a secret has no place in this file; "
                f"put it into a file that {section}.{key}_file names, or into {variable}, and replace the one that stood here"
            )
            mistakes.append((sentence, (section, key)))
    return mistakes


def secret_keys() -> list[tuple[str, str]]:
    """Return section and key of every setting that holds a secret."""
    return [
        (section, key)
        for section, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for key, inner in field.annotation.model_fields.items()
        if SecretStr in _parts(inner.annotation)
    ]


def _parts(annotation: object) -> Iterable[object]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _unknown_at_top(written: Document) -> list[tuple[str, Location]]:
    return [
        (f"{written.place((key,))}: {key}: {unknown_key(key, Settings.model_fields)}", (key,))
        for key in written.values
        if key not in Settings.model_fields
    ]


def _sentence(detail: ErrorDetails, written: Document, environment: Mapping[str, Any]) -> str:
    location: Location = detail["loc"]
    dotted = ".".join(map(str, location))
    place = _variable(location) if _reaches(environment, location) else f"{written.place(location)}: {dotted}"
    if detail["type"] == "extra_forbidden":
        key = str(location[-1])
        return f"{place}: {_HINTS.get(dotted) or unknown_key(key, _siblings(location))}"
    return f"{place}: {reason_of(detail)}{_shown(detail, location)}"


def _shown(detail: ErrorDetails, location: Location) -> str:
    value = detail.get("input")
    if detail["type"] == "missing" or location[:2] in secret_keys() or not isinstance(value, (str, int, float)):
        return ""
    if isinstance(value, str) and "@" in value:
        return ""  # an address with a password in it
    text = repr(value)
    return f", not {text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + '…'}"


def _siblings(location: Location) -> Iterable[str]:
    model: Any = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            model = next(kind for kind in _parts(model.model_fields[part].annotation) if hasattr(kind, "model_fields"))
    return [key for key in model.model_fields if (*location[:-1], key) not in secret_keys()]


def _reaches(values: Any, location: Location) -> bool:
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return bool(location)


def _variable(location: Location) -> str:
    return ENVIRONMENT_PREFIX + ENVIRONMENT_DELIMITER.join(str(part).upper() for part in location[:2])


def _unknown_variables() -> list[str]:
    names = (name for name in os.environ if name.upper().startswith(ENVIRONMENT_PREFIX))
    known = Settings.model_fields.keys() | _OTHER_VARIABLES
    return sorted(
        name
        for name in names
        if name[len(ENVIRONMENT_PREFIX) :].lower().partition(ENVIRONMENT_DELIMITER)[0] not in known
    )


def _unknown_variable(name: str) -> str:
    # Only a warning: a cluster sets ARCHIVER_SERVICE_HOST by itself for a service of that name.
    known = [ENVIRONMENT_PREFIX + key.upper() for key in Settings.model_fields]
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"the variable {name} is no setting and has no effect{f'; did you mean {close[0]}?' if close else ''}"


def _absolute(settings: Settings, base: Path) -> Settings:
    place = settings.place()
    changes: dict[str, object] = {"state": _under(base, settings.state)}
    if not isinstance(place, S3Address):
        changes["archive"] = str(_under(base, place))
    for section in Settings.model_fields:
        part = getattr(settings, section)
        if isinstance(part, BaseModel):
            paths = {key: _under(base, value) for key, value in part if isinstance(value, Path)}
            changes[section] = part.model_copy(update=paths)
    return settings.model_copy(update=changes)


def _under(base: Path, path: Path) -> Path:
    return Path(os.path.normpath(base / path.expanduser()))


def _refuse_state_in_archive(settings: Settings, written: Document) -> None:
    place = settings.place()
    if isinstance(place, Path) and settings.state.is_relative_to(place):
        raise ConfigError(
            f"{written.place(('state',))}: state: {settings.state} lies inside the archive {place}",
            next_step="give the state a folder of its own: it is this machine's, and holds encrypted tokens",
        )
