"""Days in a Flock, captured night by night; then one line of SQL says how things stood on any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from archiver.clock import to_text
from archiver.query.engine import Engine, open_engine
from archiver.store.local import LocalStore
from tests.run.station import Station, station

NIGHT_SECONDS = 24 * 3_600
HOUR_MS = 3_600_000
QUIET = {"seed": 11, "people": 6, "channels": 3, "messages": 0, "day": date(2026, 1, 1)}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Station]:
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), **QUIET) as running:
        yield running


@contextlib.contextmanager
def asked(machine: Station) -> Iterator[Engine]:
    with open_engine(machine.archive(), machine.head()) as engine:
        yield engine


def rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    return list(engine.ask(sql).rows)


def night(machine: Station) -> str:
    """Let a night go by for us and for Flock, run, and return the instant afterwards."""
    machine.clock.sleep(NIGHT_SECONDS)
    machine.run()
    now_ms = machine.clock.now_ms()
    machine.flock.play_until(now_ms)
    return to_text(now_ms)


def test_of_every_day_it_is_told_who_was_where_how_all_were_called_and_what_was_shown(machine: Station) -> None:
    flock = machine.flock
    first = night(machine)
    channel = max(flock.channels.values(), key=lambda item: len(item.members))
    chat, (one, other, *_) = channel.channel_id, list(channel.members)
    stranger = next(user for user in flock.people if user not in channel.members and not user.startswith("u:B"))
    before = {
        user
        for (user,) in asked_once(machine, f"SELECT user_id FROM members_as_of('{first}') WHERE channel_id = '{chat}'")
    }
    assert before == set(channel.members)
    kept, deleted = flock.send(one, chat, text="first words"), flock.send(one, chat, text="soon gone")
    second = night(machine)

    old_name, old_person = channel.name, flock.people[one].first_name
    flock.rename(chat, "new name")
    flock.change_person(one, first_name="Maximiliane")
    flock.join(chat, stranger)
    flock.leave(chat, other)
    flock.edit(kept, text="other words")
    flock.delete(deleted)
    third = night(machine)

    late = flock.send(one, chat, text="last words")
    fourth = night(machine)
    with asked(machine) as engine:
        names = f"SELECT name FROM channels_as_of('{{}}') WHERE channel_id = '{chat}'"
        people = f"SELECT first_name FROM users_as_of('{{}}') WHERE user_id = '{one}'"
        members = f"SELECT user_id FROM members_as_of('{{}}') WHERE channel_id = '{chat}'"
        shown = f"SELECT text FROM messages_as_of('{{}}') WHERE chat_id = '{chat}' ORDER BY sent_at, message_uid"
        gone = f"SELECT message_uid FROM messages_as_of('{{}}') WHERE chat_id = '{chat}' AND not_returned_since IS NOT NULL"
        for instant, name, person, in_it, texts, missing in (
            (second, old_name, old_person, before, {"first words", "soon gone"}, []),
            (third, "new name", "Maximiliane", before - {other} | {stranger}, {"other words", "soon gone"}, [(deleted,)]),
            (fourth, "new name", "Maximiliane", before - {other} | {stranger}, {"other words", "soon gone", "last words"},
             [(deleted,)]),
        ):  # fmt: skip
            assert rows(engine, names.format(instant)) == [(name,)]
            assert rows(engine, people.format(instant)) == [(person,)]
            assert {user for (user,) in rows(engine, members.format(instant))} == in_it
            assert {text for (text,) in rows(engine, shown.format(instant))} == texts
            assert rows(engine, gone.format(instant)) == missing
        assert rows(engine, f"SELECT * FROM messages_as_of('{first}')") == []
        assert rows(engine, f"SELECT old_name, new_name FROM channel_renames WHERE channel_id = '{chat}'") == [
            (old_name, "new name")
        ]
        assert rows(engine, "SELECT user_id FROM user_renames") == [(one,)]
        assert set(rows(engine, "SELECT user_id, change FROM membership_changes WHERE change <> 'present'")) == {
            (stranger, "joined"),
            (other, "left"),
        }
        transcript = dict(
            rows(engine, f"SELECT message_uid, sent_in || '/' || sent_by FROM transcript WHERE chat_id = '{chat}'")
        )
        assert transcript[kept].startswith(f"{old_name}/{old_person}")
        assert transcript[late].startswith("new name/Maximiliane")
        audience = f"SELECT user_id, basis FROM message_audience WHERE message_uid = '{{}}' AND user_id <> '{one}'"
        could = dict(rows(engine, audience.format(kept)))
        assert could == dict.fromkeys(before - {one}, "member") | {stranger: "joined_later"}
        assert dict(rows(engine, audience.format(late))) == dict.fromkeys(before - {one, other} | {stranger}, "member")


def asked_once(machine: Station, sql: str) -> list[tuple[Any, ...]]:
    with asked(machine) as engine:
        return rows(engine, sql)
