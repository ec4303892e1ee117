"""Imports beside everything else that a machine does: killed anywhere, asked for by uid, and never taken for Flock's."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from archiver import wiring_imports
from archiver.archive.commit import Author
from archiver.capture.imports.survey import survey
from archiver.errors import RefusedError
from archiver.run import imports
from archiver.run.imports import ImportResult, bring, open_session, place_of
from archiver.run.lock import writer_id
from archiver.run.session import Limits
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor, missing, unnamed
from tests.brought import message, slack_zip
from tests.faulty_store import EFFECTS, Stopped
from tests.run import truth
from tests.run.installation import DEADLINE_SECONDS, Installation, install
from tests.run.power import Moment, Power
from tests.run.station import Station, station

_runs = itertools.count(1)

LIMITS = Limits(messages_per_commit=8)
DAYS = {
    f"general/2023-11-{day}.json": [message(f"17000{day}00{n}.000100", f"text {n}") for n in range(10)]
    for day in (14, 15, 16)
}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An export of thirty messages on three days, of which one record cannot be read."""
    days = {
        name: [*records, {"type": "message", "text": "no ts"}] if "15" in name else records
        for name, records in DAYS.items()
    }
    return slack_zip(tmp_path / "export.zip", days)


def apply(machine: Station, file: Path, *, power: Power | None = None, limits: Limits = LIMITS) -> ImportResult:
    """Import a Slack export as `archiver import slack --apply --accept-errors` does."""
    store = power.store(machine.store) if power else None
    inline = InlineExecutor() if power else None
    with machine.ports(store=store, executor=inline) as ports, wiring_imports.slack_export(file, team=None) as source:
        author = Author(f"import-{next(_runs)}", "test", "test", writer_id(machine.state, fresh=secrets.token_hex(16)))
        session = open_session(ports, author=author, limits=limits)
        found = survey(source, progress=lambda _: None)
        place = place_of(session.head, source, now_ms=ports.clock.now_ms())
        return bring(session, source, found, place, progress=lambda _: None)


def check_imported(machine: Station) -> None:
    """Everything of the export is there, once."""
    assert machine.verify().damages == ()
    assert missing(machine.store) == unnamed(machine.store) == set()
    raws = Counter(row["raw"] for row in machine.rows("messages") if row["source"] == "import")
    assert sorted(json.loads(raw)["ts"] for raw in raws) == sorted(one["ts"] for day in DAYS.values() for one in day)
    assert set(raws.values()) == {1}
    kept = Counter(row["outcome"] for row in machine.rows("events") if row["feed"] == imports.FEED)
    assert kept == {"noted": 1, "unparsed": 1}
    assert len(machine.rows("users")) == 2
    assert len(machine.rows("channels")) == 1


# Killed


def test_the_power_may_go_at_any_moment_and_the_import_goes_on(machine: Station, export: Path) -> None:
    before = machine.objects()

    def twin() -> Station:
        store = MemoryStore()
        for key, data in before.items():
            store.create(key, data)
        return replace(machine, store=store)

    def forget() -> None:
        # Each twin is another archive; what this machine saw of the last one says nothing about it.
        (machine.state / "last-head.json").unlink(missing_ok=True)

    counting = Power()
    apply(twin(), export, power=counting)
    forget()
    moments = [
        Moment(label, number, effect)
        for label, total in sorted(counting.counts.items())
        for number in sorted({1, (total + 1) // 2, total})
        for effect in EFFECTS
    ]
    assert {"create note", "create data", "create entry", "delete note"} <= {moment.label for moment in moments}
    for moment in moments:
        attempt, power = twin(), Power(moment)
        with contextlib.suppress(Stopped):
            apply(attempt, export, power=power)
        assert power.went_off, f"the import never came to {moment}"
        apply(attempt, export)
        check_imported(attempt)
        assert apply(attempt, export).commits == 0
        forget()


def test_an_import_that_is_killed_goes_on_where_it_was(home: tuple[Station, Installation], export: Path) -> None:
    """Real processes, killed after every few files that they write."""
    machine, archiver = home
    archiver.change("run", messages_per_commit=3)
    random = Random(5)
    words = ("import", "slack", str(export), "--apply", "--accept-errors", "--json")
    ends = []
    for _ in range(4):
        enough = sum(path.is_file() for path in (archiver.folder / "archive").rglob("*")) + random.randint(2, 12)
        process = archiver.start(*words)
        while (
            process.poll() is None and sum(path.is_file() for path in (archiver.folder / "archive").rglob("*")) < enough
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=DEADLINE_SECONDS)
        ends.append(process.returncode)
    assert -signal.SIGKILL in ends, "nothing was killed"
    last = archiver.call(*words)
    assert last.code in (0, 3)
    check_imported(machine)
    again = archiver.call(*words)
    assert (again.code, again.document["commits"], again.document["imported_before"]) == (0, 0, True)


def test_of_two_machines_that_import_one_file_one_is_refused(machine: Station, export: Path, tmp_path: Path) -> None:
    """Both would keep what cannot be read; messages would be told apart, records that are none would not."""
    other = replace(machine, state=tmp_path / "other")
    (tmp_path / "other").mkdir()
    both = wiring_imports.slack_export
    with machine.ports() as ports, both(export, team=None) as source:
        author = Author("one", "test", "test", writer_id(machine.state, fresh="a" * 32))
        session = open_session(ports, author=author, limits=LIMITS)
        found = survey(source, progress=lambda _: None)
        place = place_of(session.head, source, now_ms=ports.clock.now_ms())
        apply(other, export)
        with pytest.raises(RefusedError, match="another machine"):
            bring(session, source, found, place, progress=lambda _: None)
    check_imported(machine)


# Beside Flock


def test_flock_is_not_asked_about_what_is_not_flocks_and_nothing_of_it_is_a_gap(machine: Station, export: Path) -> None:
    machine.flock.play_all(connections=1)
    alone = machine.run()
    apply(machine, export)
    before = {name: machine.rows(name) for name in ("observations", "users", "channels", "groups")}
    machine.clock.sleep(40 * 86_400)
    result = machine.run()
    assert {gap.kind for gap in result.gaps} <= {gap.kind for gap in alone.gaps} | {"unparsed"}
    foreign = [
        row
        for name in ("observations", "gaps")
        for row in machine.rows(name)
        if "import:" in json.dumps([row.get("chat_id"), row.get("user_id"), row.get("asked_as")])
    ]
    assert foreign == []
    for name in ("users", "channels", "groups"):
        assert machine.rows(name) == before[name]
    assert any(row["outcome"] == "swept" for row in machine.rows("observations"))
    assert machine.head().cursors.keys().isdisjoint(f"sweep/2023-11-{day}" for day in (14, 15, 16))


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[tuple[Station, Installation]]:
    """A machine whose Flock has told it nothing, and the program on it."""
    with station(
        tmp_path, store=LocalStore(tmp_path / "archive"), seed=11, people=6, channels=3, messages=0
    ) as running:
        yield running, install(running.flock, tmp_path, listener_url=running.url, token_key=running.token_key.reveal())


def test_uids_are_fetched_by_the_next_run_in_any_chat(quiet: tuple[Station, Installation], tmp_path: Path) -> None:
    machine, archiver = quiet
    flock = machine.flock
    channel = max(flock.channels.values(), key=lambda found: len(found.members))
    one, other, *_ = channel.members
    private = flock.send(one, other, text="between us")
    public = flock.send(one, channel.channel_id, text="to all")
    (tmp_path / "uids.csv").write_text(
        f"chat,uid,as\n{other},{private},{one}\n{channel.channel_id},{public},\n{channel.channel_id},gone-1,\n"
    )
    assert archiver.call("import", "uids", str(tmp_path / "uids.csv"), "--apply").code == 0
    done = archiver.call("run", "--only", "fetch", "--json")
    assert done.gaps.keys() == {"message-not-returned"}
    fetched = {row["message_uid"]: row for row in machine.rows("messages")}
    assert {uid: row["text"] for uid, row in fetched.items()} == {private: "between us", public: "to all"}
    assert {row["source"] for row in fetched.values()} == {"fetch"}
    assert fetched[private]["chat_id"] == ",".join(sorted((one, other)))
    again = archiver.call("import", "uids", str(tmp_path / "uids.csv"), "--apply", "--json")
    assert again.document["commits"] == 0
    assert truth.archived(machine)
