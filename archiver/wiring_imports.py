"""Puts together what `archiver import` reads from: a part of `archiver.wiring`.

Its imports stand inside the functions for the same reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from archiver.archive.ledger import InputFile
from archiver.clock import SystemClock
from archiver.errors import KeyMissingError

if TYPE_CHECKING:
    from archiver.archive.reader import Head
    from archiver.capture.imports.mapped import FieldRule, MappingRules
    from archiver.capture.imports.records import Source
    from archiver.capture.imports.uid_lists import ListForm
    from archiver.settings.mapping import Mapping, ValueMapping
    from archiver.store import Store

_LISTS = ("mentions", "visible_to")


def head_if_any(store: Store) -> Head | None:
    """Return the head of the archive that lies in a store, None if none does yet."""
    from archiver.archive import ledger  # noqa: PLC0415 - see the module's docstring
    from archiver.archive.reader import Archive  # noqa: PLC0415 - see the module's docstring

    try:
        ledger.read_facts(store)
    except KeyMissingError:
        return None
    return Archive.open(store).head()


@contextmanager
def uid_list(file: Path, *, form: ListForm, chat: str | None, user_id: str | None) -> Iterator[Source]:
    """Open a list of uids."""
    from archiver.capture.imports import uid_lists  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.imports.opened import opened  # noqa: PLC0415 - see the module's docstring

    with opened(file) as source:
        yield uid_lists.uid_list(source, form=form, defaults=uid_lists.Defaults(chat or "", user_id or ""))


@contextmanager
def mapped_file(file: Path, mapping: Path) -> Iterator[Source]:
    """Open a file of messages with its mapping; raises `ConfigError` for a mapping that cannot be used."""
    from archiver.capture.imports import mapped  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.imports.opened import opened  # noqa: PLC0415 - see the module's docstring
    from archiver.settings.mapping import load_mapping  # noqa: PLC0415 - see the module's docstring

    declared, text = load_mapping(mapping)
    digest = sha256(text).hexdigest()
    with opened(file) as source:
        found = mapped.mapped_file(source, _rules(declared), now_ms=SystemClock().now_ms())
        yield replace(
            found,
            reading={**found.reading, "mapping_sha256": digest},
            mapping=text,
            mapping_file=InputFile(name=mapping.name, sha256=digest, bytes=len(text)),
        )


@contextmanager
def slack_export(file: Path, *, team: str | None) -> Iterator[Source]:
    """Open a Slack export."""
    from archiver.capture.imports import slack  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.imports.opened import opened  # noqa: PLC0415 - see the module's docstring

    with opened(file) as source:
        yield slack.slack_export(source, team=team, now_ms=SystemClock().now_ms())


def _rules(declared: Mapping) -> MappingRules:
    from archiver.capture.imports.instants import TimeRule  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.imports.mapped import (  # noqa: PLC0415 - see the module's docstring
        FIELDS,
        AttachmentRule,
        FieldRule,
        MappingRules,
    )
    from archiver.capture.imports.tabular import CsvForm  # noqa: PLC0415 - see the module's docstring

    fields: dict[str, FieldRule] = {}
    for name in FIELDS:
        value = getattr(declared.fields, name)
        if value is not None and name in _LISTS:
            fields[name] = FieldRule(_path(value.field), split=value.split)
        elif value is not None:
            fields[name] = _rule(value)
    time, files = declared.fields.time, declared.fields.attachments
    return MappingRules(
        form=declared.format,
        time=TimeRule(_path(time.field), time.unit, time.format, ZoneInfo(time.zone) if time.zone else None),
        fields=fields,
        attachments=None
        if files is None
        else AttachmentRule(*map(_path, (files.field, files.url, files.name, files.mime, files.size))),
        origin=declared.origin or "",
        csv=CsvForm(**declared.csv.model_dump()),
    )


def _rule(value: ValueMapping) -> FieldRule:
    from archiver.capture.imports.mapped import FieldRule  # noqa: PLC0415 - see the module's docstring

    return FieldRule(_path(value.field), constant=value.constant)


def _path(dotted: str | None) -> tuple[str, ...]:
    return tuple(dotted.split(".")) if dotted else ()
