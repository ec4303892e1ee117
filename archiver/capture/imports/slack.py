"""A Slack export as a source: its days in order, chat by chat, each record as what it is."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.capture.imports.opened import OpenedFile
from archiver.capture.imports.records import Item, Noted, Said, Source, Tally, Unreadable, unreadable
from archiver.capture.imports.slack_messages import rename_of, said_by
from archiver.capture.imports.slack_people import ORIGIN_PREFIX, SlackDirectory, read_directory
from archiver.capture.imports.slack_zip import DayFile, SlackZip, open_zip
from archiver.errors import UnparseableError
from archiver.normalise.message import read_object


def slack_export(source: OpenedFile, *, team: str | None, now_ms: int) -> Source:
    """Return an export as a source; raises `UsageError` if it is none, or does not say whose.

    ``team`` stands for the workspace in all ids; ``now_ms`` tells which times cannot be.
    """
    export = open_zip(source.handle, source.file.name)
    directory = read_directory(export, team=team)

    def items(tally: Tally) -> Iterator[Item]:
        for name in export.others:
            tally.leave(name)
        yield from directory.unread
        for day in export.days:
            yield from _day(export, day, directory, tally, now_ms=now_ms)

    reading = {"team": directory.origin.removeprefix(ORIGIN_PREFIX)}
    return Source("slack", source.file, reading, items, source.check_unchanged, directory.directory)


def _day(export: SlackZip, day: DayFile, directory: SlackDirectory, tally: Tally, *, now_ms: int) -> Iterator[Item]:
    if day.error:
        yield unreadable(day.name, day.error, export.bytes_of(day.info))
        return
    room = directory.room_of(day.folder)
    for number, raw in enumerate(export.elements(day.info)):
        if isinstance(raw, Unreadable):
            yield raw
            continue
        place = f"{day.name}[{number}]"
        try:
            fields = read_object(raw)
            said = said_by(fields, raw.decode(), room, directory, now_ms=now_ms)
        except UnparseableError as error:
            yield unreadable(place, error.what, raw)
            continue
        except UnicodeDecodeError as error:
            yield unreadable(place, f"not UTF-8: {error.reason}", raw)
            continue
        if isinstance(said, str):
            yield Noted(place, said, raw, room.chat_id)
            continue
        renamed = rename_of(fields, now_ms=now_ms)
        if renamed is not None:
            tally.renames.setdefault(room.chat_id, []).append(renamed)
        for item in said:
            yield Said(place, item)
