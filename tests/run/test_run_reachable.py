"""Nothing that happens, and in no order, puts a message or an edit out of reach for ever: not a crash, a small budget, or a wrong place.

Nights of a life drawn from a seed are cut off at any operation of the store or the spool, find a Flock that is away, sweep with hardly any
requests and commit after a few messages. When that is over and a few nights go well, the archive holds every message that was pushed or named, once, as Flock shows
it now, with its versions in the order in which they were said.
"""

from __future__ import annotations

import contextlib
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from archiver.capture.sweep import SweepRules
from archiver.run.session import Limits
from tests.archive.archive_steps import InlineExecutor
from tests.faulty_store import EFFECTS, Stopped
from tests.run import accounts, truth
from tests.run.deeds import act, behave
from tests.run.nights import DAY, EVENING_MS, NIGHT_SECONDS, pass_time
from tests.run.power import ANY, Moment, Power
from tests.run.station import Station, station

SEEDS = 2
SEEDS_SLOW = 100
TURNS = 8
FULL_WITHIN_DAYS = 4
PLENTY = SweepRules(hot_days=2, full_within_days=FULL_WITHIN_DAYS)


def scarce(random: Random) -> Limits:
    """Draw limits under which no night gets far."""
    rules = SweepRules(hot_days=2, full_within_days=FULL_WITHIN_DAYS, requests_max=random.randint(0, 4))
    return Limits(messages_per_commit=random.choice([1, 3, 20]), sweep=rules)


def run_until_the_power_goes(machine: Station, random: Random) -> None:
    power = Power(Moment(ANY, random.randint(1, 120), random.choice(EFFECTS)))
    with contextlib.suppress(Stopped):
        machine.run(
            limits=scarce(random),
            store=power.store(machine.store),
            wrap_spool=power.spool,
            executor=InlineExecutor(),
        )


def live(machine: Station, random: Random) -> None:
    behave(machine, random)
    for _ in range(TURNS):
        machine.flock.configure(push_edits=random.random() < 0.3, action_messages=random.random() < 0.3)
        for _ in range(random.randint(0, 12)):
            act(machine, random)
        machine.flock.clear_faults()
        # What is not pushed can only be named, and must then be fetched.
        machine.flock.inject("drop", "webhooks", probability=0.5, seed=random.getrandbits(32))
        if random.random() < 0.4:
            # For all of a night Flock answers nothing that helps, or hardly anything.
            trouble = random.choice(["unavailable", "invalid_token", "not_json", "disconnect"])
            machine.flock.inject(trouble, "api:chat.fetchMessages", probability=random.choice([0.5, 1.0]))
        fate = random.random()
        if fate < 0.5:
            run_until_the_power_goes(machine, random)
        elif fate < 0.8:
            machine.run(limits=scarce(random))
        if random.random() < 0.6:
            pass_time(machine, nights=random.randint(1, 3))


def check_seed(folder: Path, seed: int) -> None:
    random = Random(seed)
    with station(folder, seed=seed, people=6, channels=3, messages=30, day=DAY, at_ms=EVENING_MS) as machine:
        pass_time(machine)
        live(machine, random)
        machine.flock.clear_faults()
        for _ in range(FULL_WITHIN_DAYS + 1):
            machine.clock.sleep(NIGHT_SECONDS)
            machine.run(limits=Limits(sweep=PLENTY))
        check(machine)
        assert machine.run(limits=Limits(sweep=PLENTY)).commits == 0


def check(machine: Station) -> None:
    found = truth.archived(machine)
    happened = {(row["chat_id"], row["uid"]): row for row in machine.flock.truth("message")}
    pushed = {row["uid"] for row in machine.flock.truth("push") if row["uid"] and row["status"] == accounts.TAKEN}
    assert pushed <= {uid for _, uid in found}
    truth.check_wanted(machine)
    truth.check_events(machine)
    truth.check_files(machine)
    truth.check_whole(machine)
    accounts.check_newest(machine)
    for key, versions in found.items():
        said = [version["text"] or "" for version in happened[key]["versions"]]
        places = [said.index(version[0]["text"] or "") for version in versions]
        assert all(one < other for one, other in pairwise(places)), f"{key} has its versions in another order: {places}"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_out_of_reach_for_ever(tmp_path: Path, seed: int) -> None:
    check_seed(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS_SLOW))
def test_nothing_is_out_of_reach_for_ever_whatever_the_seed(tmp_path: Path, seed: int) -> None:
    check_seed(tmp_path, seed)
