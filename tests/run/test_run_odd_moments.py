"""What happens at an awkward moment: at the same instant, under a wrong clock, in the middle of a run."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from archiver.capture.gaps import GapRules
from archiver.run.result import RunResult, StageResult
from archiver.run.session import Limits
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor
from tests.faulty_store import EFFECTS, Stopped
from tests.run import accounts, truth
from tests.run.nights import DAY, EVENING_MS, NIGHT_SECONDS, SMALL, calls, channel_of, night, pass_time, workplace
from tests.run.power import Moment, Power
from tests.run.station import HurriedClock, Station, flock_in_a_hurry, station
from tests.servers.scripted import Answer, ScriptedServer


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Station]:
    """A machine that has run once, in a Flock where people only begin to write."""
    with workplace(tmp_path) as running:
        running.run()
        yield running


def stage(result: RunResult, name: str) -> StageResult:
    return next(found for found in result.stages if found.stage == name)


def texts(machine: Station, uid: str) -> list[str]:
    found = next((rows for key, rows in truth.archived(machine).items() if key[1] == uid), [])
    return [version[0]["text"] for version in found]


def on_call(machine: Station, method: str, deed: Callable[[int], object]) -> None:
    """Do something each time the archiver is about to call a method of its client; the deed is given the call's number."""
    call, numbers = getattr(machine.client, method), count()

    def meddling(*given: Any, **named: Any) -> Any:
        deed(next(numbers))
        return call(*given, **named)

    setattr(machine.client, method, meddling)


class TestAtTheSameInstant:
    def workspace(self, folder: Path, *, messages: int) -> Path:
        """Write a data set in which everything was said at one instant, in two channels."""
        said = [
            {"channel": f"C{n % 2}", "id": f"{n:03}", "ts_ms": EVENING_MS - 7_200_000, "from": f"U{n % 3}", "text": f"at once {n}"}
            for n in range(messages)
        ]  # fmt: skip
        rows = {
            "users": [{"id": f"U{n}", "name": f"Person {n}"} for n in range(3)],
            "channels": [{"id": f"C{n}", "name": f"channel {n}"} for n in range(2)],
            "messages": sorted(said, key=lambda row: (row["channel"], row["id"])),
        }
        folder.mkdir()
        for name, lines in rows.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    def test_messages_are_told_apart_and_read_again_each_once(self, tmp_path: Path) -> None:
        folder = self.workspace(tmp_path / "data", messages=45)
        limits = Limits(messages_per_commit=12)
        with station(tmp_path, dataset=folder, at_ms=EVENING_MS) as machine:
            machine.flock.play_all(connections=8)
            machine.run(limits=limits)
            truth.check(machine)
            assert len({row["sent_at"] for row in machine.rows("messages")}) == 1
            uids = sorted(uid for _, uid in truth.archived(machine))
            assert len(uids) == 45
            machine.clock.sleep(NIGHT_SECONDS)
            for uid in uids[::3]:
                machine.flock.edit(uid, text=f"edited {uid}")
            result = machine.run(limits=limits)
            assert stage(result, "sweep").counts["asked"] == 45
            truth.check(machine)
            assert {uid for uid in uids if len(texts(machine, uid)) == 2} == set(uids[::3])


# By so much our clock is ahead of Flock's, or behind it.
SKEWS_SECONDS = [-NIGHT_SECONDS, -90, 90, NIGHT_SECONDS, 3 * NIGHT_SECONDS]


class TestAClock:
    @pytest.mark.parametrize("skew", SKEWS_SECONDS)
    def test_that_differs_from_flock_s_hides_nothing(self, tmp_path: Path, skew: int) -> None:
        """Messages lie under the day that Flock says, and edits are seen the next night."""
        with self.skewed(tmp_path, skew) as machine:
            uid = self.said(machine, "at noon")
            machine.run()
            truth.check(machine)
            machine.flock.edit(uid, text="at one")
            machine.clock.sleep(NIGHT_SECONDS)
            machine.run()
            assert texts(machine, uid) == ["at noon", "at one"]
            truth.check(machine)
            truth.check_directory(machine)

    def test_that_is_days_behind_flock_s_and_is_set_right_doubles_nothing(self, tmp_path: Path) -> None:
        """What Flock says of the time is not believed then, so the message lies under our day, and is known there ever after."""
        with self.skewed(tmp_path, -3 * NIGHT_SECONDS) as machine:
            uid = self.said(machine, "at noon")
            machine.run()
            (row,) = machine.rows("messages")
            assert row["sent_at_basis"] == "observed"
            machine.clock.set(3 * NIGHT_SECONDS)
            machine.clock.sleep(NIGHT_SECONDS)
            machine.run()
            assert texts(machine, uid) == ["at noon"]
            machine.flock.edit(uid, text="at one")
            machine.clock.sleep(NIGHT_SECONDS)
            machine.run()
            assert texts(machine, uid) == ["at noon", "at one"]
            assert machine.verify().damages == ()

    @contextlib.contextmanager
    def skewed(self, folder: Path, skew: int) -> Iterator[Station]:
        """A machine whose clock is so many seconds ahead of Flock's."""
        with flock_in_a_hurry(at_ms=EVENING_MS, **SMALL, day=DAY) as (flock, _):
            flock.play_until(EVENING_MS - 3_600_000)
            with station(folder, on=(flock, HurriedClock(at_ms=EVENING_MS + skew * 1000))) as machine:
                yield machine

    def said(self, machine: Station, text: str) -> str:
        channel, (one, *_) = channel_of(machine)
        return machine.flock.send(one, channel, text=text)

    @pytest.mark.parametrize("ahead_days", [2, 400])
    def test_that_was_ahead_and_is_set_right_hides_no_edit(self, machine: Station, ahead_days: int) -> None:
        """What was read in the future was read now at the latest: it comes due as everything else does."""
        channel, (one, *_) = channel_of(machine)
        uid = machine.flock.send(one, channel, text="at noon")
        machine.run()
        machine.clock.set(ahead_days * NIGHT_SECONDS)
        machine.run()
        machine.clock.set(-ahead_days * NIGHT_SECONDS)
        machine.flock.edit(uid, text="at one")
        night(machine)
        assert texts(machine, uid) == ["at noon", "at one"]
        truth.check(machine)
        assert machine.run().commits == 0

    def test_that_was_ahead_and_is_set_right_keeps_no_file_waiting(self, machine: Station) -> None:
        channel, (one, *_) = channel_of(machine)
        with ScriptedServer(lambda _: Answer(b"minutes", headers={"Content-Type": "text/plain"})) as host:
            machine.flock.send(one, channel, text="", attachments=[{"downloads": [{"src": f"{host.origin}/minutes"}]}])
            machine.trusted_origins = (host.origin,)
            host.script = lambda _: Answer(b"", status=404)
            machine.clock.set(400 * NIGHT_SECONDS)
            machine.run()
            machine.clock.set(-400 * NIGHT_SECONDS)
            host.script = lambda _: Answer(b"minutes", headers={"Content-Type": "text/plain"})
            night(machine)
        assert [row["status"] for row in machine.rows("files")] == ["failed", "stored"]

    def test_that_was_ahead_and_is_set_right_hides_no_listener_that_is_down(self, machine: Station) -> None:
        machine.gap_rules = GapRules(listener_hole_ms_max=NIGHT_SECONDS * 1000)
        machine.clock.set(400 * NIGHT_SECONDS)
        machine.listening.stop()
        machine.listening.start()
        machine.clock.set(-400 * NIGHT_SECONDS)
        machine.listening.stop()
        machine.run()
        assert not [row for row in accounts.gaps_of(machine) if row["kind"] == "listener-down"]
        machine.clock.sleep(2 * NIGHT_SECONDS)
        machine.run()
        (down,) = [row for row in accounts.gaps_of(machine) if row["kind"] == "listener-down"]
        assert (down["state"], down["to_at"]) == ("open", None)


class TestAUserWhoLeaves:
    def selected(self, machine: Station) -> tuple[str, list[str], str]:
        """Let a message be named whose content was never pushed; return its channel, the members and its uid."""
        machine.flock.configure(action_messages=False)
        channel, members = channel_of(machine)
        machine.flock.inject("drop", "webhooks", count=1)
        uid = machine.flock.send(members[0], channel, text="only named")
        machine.flock.message_action(members[0], channel, [uid])
        return channel, members, uid

    def test_between_the_list_and_the_fetch_costs_no_message(self, machine: Station) -> None:
        channel, members, uid = self.selected(machine)
        left = iter(members[:-1])

        def leave(_: int) -> None:
            for user in left:
                machine.flock.leave(channel, user)
                return

        # Before each call one member more leaves, until one is left.
        on_call(machine, "fetch_messages", leave)
        result = machine.run()
        assert texts(machine, uid) == ["only named"]
        assert stage(result, "fetch").gaps == ()
        truth.check(machine)

    def test_as_the_last_one_leaves_a_gap_until_somebody_is_there_again(self, machine: Station) -> None:
        channel, members, uid = self.selected(machine)
        on_call(machine, "fetch_messages", lambda _: [machine.flock.leave(channel, user) for user in members])
        result = machine.run(skip=["sweep"])
        assert [(gap.kind, gap.chat_id) for gap in stage(result, "fetch").gaps] == [("message-unknown-chat", channel)]
        kinds = {
            row["kind"] for row in accounts.gaps_of(machine) if row["chat_id"] == channel and row["state"] == "open"
        }
        assert "message-unknown-chat" in kinds
        del machine.client.fetch_messages
        machine.flock.join(channel, members[1])
        night(machine)
        assert texts(machine, uid) == ["only named"]
        open_kinds = {row["kind"] for row in accounts.gaps_of(machine) if row["state"] == "open"}
        assert "message-unknown-chat" not in open_kinds

    def test_between_the_list_of_channels_and_that_of_members_is_no_error(self, machine: Station) -> None:
        channel, members = channel_of(machine)
        gone: list[str] = []

        def leave(_: int) -> None:
            if not gone:
                gone.append(members[0])
                machine.flock.leave(channel, members[0])

        on_call(machine, "channels_list_members", leave)
        first = machine.run()
        assert gone
        assert stage(first, "directory").error is None
        night(machine)
        truth.check_directory(machine)


class TestAChannelThatIsRenamed:
    @pytest.mark.parametrize("method", ["channels_get_info", "channels_list_members", "fetch_messages"])
    def test_in_the_middle_of_a_run_keeps_its_messages_and_has_both_names(self, machine: Station, method: str) -> None:
        channel, (one, *_) = channel_of(machine)
        before = machine.flock.channels[channel].name
        uids = [machine.flock.send(one, channel, text=f"{number}") for number in range(3)]
        machine.run()
        machine.flock.send(one, channel, text="3")
        renamed: list[int] = []

        def rename(number: int) -> None:
            if not renamed:
                renamed.append(number)
                machine.flock.rename(channel, "another name")

        on_call(machine, method, rename)
        night(machine)
        if method != "channels_get_info":  # which a crawl calls only for what no list names
            assert renamed
        delattr(machine.client, method)
        machine.flock.rename(channel, "another name")
        night(machine)
        names = [
            row["name"]
            for row in sorted(machine.rows("channels"), key=lambda row: row["valid_from"])
            if row["channel_id"] == channel
        ]
        assert names == [before, "another name"]
        assert {key[0] for key in truth.archived(machine) if key[1] in uids} == {channel}
        truth.check(machine)
        truth.check_directory(machine)


class TestAHundredUsers:
    USERS = 100

    def test_see_one_chat_and_it_is_read_once(self, tmp_path: Path) -> None:
        with workplace(tmp_path, people=self.USERS, channels=1) as machine:
            machine.run()
            machine.flock.configure(action_messages=False)
            (channel,) = machine.flock.channels
            people = [user for user, person in machine.flock.people.items() if not person.is_bot]
            for user in people:
                machine.flock.join(channel, user)
            assert len(people) >= self.USERS
            machine.flock.inject("drop", "webhooks", probability=1.0)
            uids = [machine.flock.send(people[0], channel, text=f"{number}") for number in range(60)]
            for number, user in enumerate(people):
                assert machine.flock.message_action(user, channel, uids[number % 41 : number % 41 + 20]) == "200"
            machine.flock.reset_counters()
            machine.run(skip=["sweep"])
            # 60 messages, 25 a call, whoever named them.
            assert calls(machine) == 3
            assert calls(machine, "channels.listMembers") == 1
            assert {texts(machine, uid)[0] for uid in uids} == {str(number) for number in range(60)}
            machine.flock.reset_counters()
            night(machine)
            assert calls(machine) == 3
            truth.check(machine)
            truth.check_directory(machine)


class TestARunThatIsKilledInTheMiddleOfASweep:
    LIMITS = Limits(messages_per_commit=10)

    def prepared(self, machine: Station) -> dict[str, bytes]:
        """Archive messages of two days, then edit and delete some, and return the archive before the sweep that finds it out."""
        channel, (one, other, *_) = channel_of(machine)
        uids = []
        for _ in range(2):
            uids += [machine.flock.send(one, channel, text=f"{number}") for number in range(12)]
            uids += [machine.flock.send(one, other, text="in private")]
            machine.flock.message_action(one, other, uids[-1:])
            night(machine, limits=self.LIMITS)
        for uid in uids[::4]:
            machine.flock.edit(uid, text=f"edited {uid}")
        for uid in uids[1::9]:
            machine.flock.delete(uid)
        pass_time(machine, nights=1)
        return machine.objects()

    def twin(self, machine: Station, objects: dict[str, bytes]) -> Station:
        (machine.state / "last-head.json").unlink(missing_ok=True)
        store = MemoryStore()
        for key, data in objects.items():
            store.create(key, data)
        return replace(machine, store=store, shown=list(machine.shown))

    def sweep_until(self, machine: Station, power: Power) -> None:
        with contextlib.suppress(Stopped):
            machine.run(
                limits=self.LIMITS,
                store=power.store(machine.store),
                executor=InlineExecutor(),
                threads=1,
                only=["sweep"],
            )

    def check(self, machine: Station, *, every: bool) -> None:
        objects = self.prepared(machine)
        counting, whole = Power(), self.twin(machine, objects)
        self.sweep_until(whole, counting)
        read = self.readings(whole)
        moments = [
            Moment(label, number, effect)
            for label, total in sorted(counting.counts.items())
            for number in (range(1, total + 1) if every else self.sampled(label, total))
            for effect in EFFECTS
        ]
        assert counting.counts["create entry"] > 2, "the sweep must come to several commits"
        for moment in moments:
            twin, power = self.twin(machine, objects), Power(moment)
            self.sweep_until(twin, power)
            assert power.went_off, f"the run never came to {moment}"
            twin.run(limits=self.LIMITS)
            assert self.readings(twin) == read, moment
            accounts.check_newest(twin)
            truth.check(twin)
            assert twin.run(limits=self.LIMITS).commits == 0

    @staticmethod
    def sampled(label: str, total: int) -> tuple[int, ...]:
        """Return one moment in the middle of writing the data, and of the entry that makes it count."""
        return ((total + 1) // 2,) if label in ("create data", "create entry") else ()

    @staticmethod
    def readings(machine: Station) -> Counter[tuple[Any, ...]]:
        """Return how many uids of which conversation's day were asked for, how many came back, and what is told of single ones."""
        found: Counter[tuple[Any, ...]] = Counter()
        for row in machine.rows("observations"):
            if row["message_uid"] is None:
                found[row["chat_id"], row["day_on"], "asked"] += row["asked"]
                found[row["chat_id"], row["day_on"], "returned"] += row["returned"]
            else:
                found[row["chat_id"], row["message_uid"], row["outcome"]] += 1
        return found

    def test_goes_on_where_it_was_and_tells_nothing_twice(self, machine: Station) -> None:
        self.check(machine, every=False)

    @pytest.mark.slow
    @pytest.mark.timeout(3_600)
    def test_goes_on_after_every_single_operation(self, machine: Station) -> None:
        self.check(machine, every=True)
