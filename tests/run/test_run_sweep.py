"""What is known is read again: edits and disappearances are seen within the bound, and nothing is asked, written or doubled beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import BinaryIO

import pytest

from archiver.capture.sweep import SweepRules
from archiver.clock import day_of
from archiver.run.result import RunResult, StageResult
from archiver.run.session import Limits
from archiver.store.memory import MemoryStore
from tests.run import truth
from tests.run.nights import calls, channel_of, night, truth_of, workplace
from tests.run.station import Row, Station


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Station]:
    """A machine whose Flock lives today, and where nothing has happened yet."""
    with workplace(tmp_path) as running:
        yield running


def of_sweep(result: RunResult) -> StageResult:
    return next(stage for stage in result.stages if stage.stage == "sweep")


def versions(machine: Station, uid: str) -> list[str]:
    found = next(rows for key, rows in truth.archived(machine).items() if key[1] == uid)
    return [version[0]["text"] for version in found]


def readings(machine: Station) -> list[Row]:
    """Return the rows about conversations' days, in the order in which they were read."""
    return sorted(
        (row for row in machine.rows("observations") if row["message_uid"] is None), key=lambda row: row["observed_at"]
    )


def facts(machine: Station) -> list[tuple[str, str]]:
    """Return uid and outcome of each row about a message that there was, in their order."""
    there = {row["uid"] for row in machine.flock.truth("message")}
    rows = sorted(machine.rows("observations"), key=lambda row: row["observed_at"])
    return [(row["message_uid"], row["outcome"]) for row in rows if row["message_uid"] in there]


class TestANight:
    def test_an_edit_that_nobody_pushed_is_a_new_version_the_next_night(self, machine: Station) -> None:
        channel, (one, *_) = channel_of(machine)
        uid = machine.flock.send(one, channel, text="at noon")
        machine.run()
        machine.flock.edit(uid, text="at one")
        result = night(machine)
        assert versions(machine, uid) == ["at noon", "at one"]
        assert [rows[0]["source"] for rows in truth.archived(machine)[channel, uid]] == ["webhook", "fetch"]
        assert of_sweep(result).counts["messages"] == 1
        truth.check(machine)

    def test_a_message_edited_back_is_a_version_each_time(self, machine: Station) -> None:
        channel, (one, *_) = channel_of(machine)
        uid = machine.flock.send(one, channel, text="at noon")
        machine.run()
        for text in ("at one", "at noon", "at one"):
            machine.flock.edit(uid, text=text)
            night(machine)
        assert versions(machine, uid) == ["at noon", "at one", "at noon", "at one"]
        truth.check(machine)

    def test_a_second_run_at_once_reads_nothing_again(self, machine: Station) -> None:
        channel, (one, *_) = channel_of(machine)
        machine.flock.send(one, channel, text="at noon")
        machine.run()
        before = machine.objects()
        machine.flock.reset_counters()
        second = machine.run()
        assert (second.commits, calls(machine)) == (0, 0)
        assert machine.objects() == before
        assert not any(of_sweep(second).counts.values())

    def test_every_conversation_s_day_has_one_row_a_night(self, machine: Station) -> None:
        channel, (one, *_) = channel_of(machine)
        uids = [machine.flock.send(one, channel, text=f"{number}") for number in range(30)]
        machine.run()
        machine.flock.delete(uids[3])
        night(machine)
        first, second = readings(machine)
        assert (first["chat_id"], first["outcome"], first["asked"], first["returned"]) == (channel, "swept", 30, 30)
        assert (second["asked"], second["returned"], second["not_returned"]) == (30, 29, [uids[3]])
        assert {first["day_on"], second["day_on"]} == {day_of(truth_of(machine, uids[0])["sent_at_ms"])}

    def test_what_does_not_come_back_is_told_once_and_stays(self, machine: Station) -> None:
        channel, (one, *_) = channel_of(machine)
        uid = machine.flock.send(one, channel, text="never mind")
        machine.run()
        machine.flock.delete(uid)
        for _ in range(3):
            result = night(machine)
            assert not result.gaps
        assert facts(machine) == [(uid, "not_returned")]
        assert versions(machine, uid) == ["never mind"]
        truth.check(machine)

    def test_what_comes_back_is_told_too_and_may_go_again(self, machine: Station) -> None:
        flock = machine.flock
        channel, (one, *_) = channel_of(machine)
        uid = flock.send(one, channel, text="never mind")
        machine.run()
        flock.delete(uid)
        for is_shown in (False, False, True, True, False):
            flock.configure(fetch_deleted=is_shown)
            night(machine)
        assert facts(machine) == [(uid, "not_returned"), (uid, "returned"), (uid, "not_returned")]

    def test_uids_of_ours_are_never_asked_for(self, tmp_path: Path) -> None:
        with workplace(tmp_path, shape="documented") as machine:
            channel, (one, *_) = channel_of(machine)
            machine.flock.send(one, channel, text="no uid")
            machine.run()
            assert {row["message_uid"].startswith("provisional:") for row in machine.rows("messages")} == {True}
            machine.flock.reset_counters()
            result = night(machine)
            assert (calls(machine), of_sweep(result).counts["days"]) == (0, 1)
            assert machine.run().commits == 0


class Watched(MemoryStore):
    """A store that tells which objects were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self, key: str) -> BinaryIO:
        self.opened.append(key)
        return super().open(key)


class TestCost:
    def test_days_that_wait_for_another_night_make_nothing_old_be_read(self, tmp_path: Path) -> None:
        """What was observed is read since the days of tonight were read last, however long others have waited."""
        store = Watched()
        rules = SweepRules(hot_days=2, full_within_days=3, requests_max=1)
        with workplace(tmp_path, store=store) as machine:
            channel, (one, *_) = channel_of(machine)
            for number in range(8):
                machine.flock.send(one, channel, text=f"night {number}")
                night(machine, limits=Limits(sweep=rules))
            machine.flock.send(one, channel, text="tonight")
            store.opened.clear()
            result = night(machine, limits=Limits(sweep=rules))
            opened = {
                date.fromisoformat(key.split("/")[1][3:]) for key in store.opened if key.startswith("observations/")
            }
            assert of_sweep(result).counts["overdue"] > 0
            nights = sorted({row["observed_at"] for row in readings(machine)})
            assert len(nights) > 5
            assert min(opened, default=day_of(nights[-1])) >= day_of(nights[-3])
