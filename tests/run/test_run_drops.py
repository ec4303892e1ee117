"""Pushes are dropped and listeners go away: what the archive does not hold, the list of gaps tells of, or nobody could know."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from archiver.capture.gaps import GapRules
from archiver.capture.sweep import SweepRules
from archiver.run.session import Limits
from tests.run import accounts, truth
from tests.run.accounts import Diary, Phase
from tests.run.deeds import act, behave
from tests.run.station import Station, station

SEEDS = 3
SEEDS_SLOW = 120
TURNS = 6
DAY_SECONDS = 86_400
# Up to a day without a beat is what these machines call alive, so that their clock may jump; five days are not.
RULES = GapRules(listener_hole_ms_max=2 * DAY_SECONDS * 1000)
DOWN_SECONDS = 5 * DAY_SECONDS
# Whenever a message was sent, one night is enough to see it again.
ALL_HOT = Limits(sweep=SweepRules(hot_days=1_000))

# Faults of pushes beside those that are dropped.
WEBHOOK_FAULTS = (
    "duplicate",
    "reorder",
    "delay",
    "gzip",
    "wrong_token",
    "unknown_fields",
    "no_uid",
    "not_json",
    "not_utf8",
)
EVENT_FAULTS = ("duplicate", "reorder", "gzip", "unknown_fields", "expired", "no_token", "not_json", "not_utf8")

# What became of a push that a listener which was there never took: it was dropped on the way, or came with a wrong token.
LOST_STATUSES = frozenset({"dropped", "401", "403"})


def spoil(machine: Station, random: Random) -> None:
    """Draw how many pushes are dropped from now on, and what else goes wrong with them."""
    machine.flock.clear_faults()
    for place, kinds in (("webhooks", WEBHOOK_FAULTS), ("events", EVENT_FAULTS)):
        machine.flock.inject(
            "drop", place, probability=random.choice([0.0, 0.1, 0.3, 0.9]), seed=random.getrandbits(32)
        )
        for kind in random.sample(kinds, random.randint(0, 2)):
            machine.flock.inject(kind, place, probability=0.1, seed=random.getrandbits(32), seconds=0.01)


def let_happen(machine: Station, random: Random, diary: Diary) -> None:
    """Let people write and act, until every push has found its end."""
    from_ms = machine.clock.now_ms()
    machine.flock.play_next(random.randint(0, 40), connections=random.choice([1, 8]))
    for _ in range(random.randint(0, 4)):
        act(machine, random)
    machine.flock.settle()
    diary.note(machine, from_ms=from_ms)


def without_listener(machine: Station, random: Random, diary: Diary) -> None:
    """Let the listener go away, people write on, and the listener come back days later."""
    from_ms = machine.clock.now_ms()
    machine.listening.stop()
    machine.clock.sleep(DOWN_SECONDS / 2)
    let_happen(machine, random, diary)
    if random.random() < 0.5:
        machine.run()
    machine.clock.sleep(DOWN_SECONDS / 2)
    machine.listening.start()
    diary.phases.append(Phase(from_ms, machine.clock.now_ms(), is_up=False))


def end_well(machine: Station) -> None:
    """Let nothing go wrong any more, and a night go by, in which the listener is there and everything is read again."""
    machine.flock.clear_faults()
    machine.clock.sleep(DAY_SECONDS)
    machine.listening.stop()
    machine.listening.start()
    machine.run(limits=ALL_HOT)


def live(machine: Station, random: Random) -> Diary:
    diary = Diary()
    behave(machine, random)
    for name, token in list(machine.feeds.items()):
        if random.random() < 0.2 and len(machine.feeds) > 1:
            machine.flock.remove_webhook(token)
            del machine.feeds[name]
    for _ in range(TURNS):
        spoil(machine, random)
        if random.random() < 0.25:
            without_listener(machine, random, diary)
        let_happen(machine, random, diary)
        if random.random() < 0.6:
            machine.run(limits=Limits(messages_per_commit=random.choice([1, 7, 50_000])), threads=random.choice([1, 4]))
    end_well(machine)
    return diary


def check_seed(folder: Path, seed: int) -> None:
    random = Random(seed)
    with station(
        folder, seed=seed, people=random.randint(4, 9), channels=random.randint(1, 5), messages=random.randint(0, 150)
    ) as machine:
        machine.gap_rules = RULES
        diary = live(machine, random)
        truth.check(machine)
        account = accounts.take(machine, diary)
        accounts.check_gaps(machine, diary)
        accounts.check_newest(machine)
        check_unnoticed(machine, account)
        assert machine.run(limits=ALL_HOT).commits == 0


def check_unnoticed(machine: Station, account: accounts.Account) -> None:
    """Nothing is unnoticed but what was dropped on its way, or refused, while a listener was there."""
    statuses: dict[str, set[str]] = {}
    for push in machine.flock.truth("push"):
        statuses.setdefault(push["uid"], set()).add(push["status"])
    for uid in account.of("dropped"):
        # An edit may have been pushed while nobody listened; what counts is that the message itself was.
        assert accounts.TAKEN not in statuses[uid]
        assert statuses[uid] & LOST_STATUSES, statuses[uid]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_message_is_archived_or_accounted_for(tmp_path: Path, seed: int) -> None:
    check_seed(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS_SLOW))
def test_every_message_is_archived_or_accounted_for_whatever_the_seed(tmp_path: Path, seed: int) -> None:
    check_seed(tmp_path, seed)
