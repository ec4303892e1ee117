"""Whatever happens in whatever order, in the end the archive is the truth: days, deeds, faults and runs drawn from a seed."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from archiver.errors import EXIT_DONE, EXIT_FLOCK, EXIT_GAPS
from archiver.run.session import Limits
from tests.run import truth
from tests.run.deeds import act, behave
from tests.run.station import Station, station

SEEDS = 6
SEEDS_SLOW = 120
TURNS = 8
NINE_DAYS_SECONDS = 9 * 24 * 3_600

# Nothing is dropped: what never arrives can be in no archive. A wrong token is Flock's fault too, and rightly refused.
WEBHOOK_FAULTS = (
    "duplicate", "reorder", "delay", "gzip", "wrong_token", "unknown_fields", "absurd_time", "no_uid", "not_json", "not_utf8",
)  # fmt: skip
EVENT_FAULTS = (
    "duplicate", "reorder", "delay", "gzip", "unknown_fields", "unknown_name", "repeated_token", "not_json", "not_utf8",
    "expired", "wrong_app", "wrong_user", "wrong_algorithm", "no_algorithm", "wrong_secret", "no_token",
)  # fmt: skip
API_FAULTS = (
    "too_many_requests", "internal_error", "unavailable", "request_timeout", "bad_gateway", "empty_error", "not_json",
    "truncated", "disconnect", "invalid_token",
)  # fmt: skip
FILE_FAULTS = (
    "internal_error", "unavailable", "bad_gateway", "empty_error", "truncated", "disconnect", "forbidden", "login_page", "missing",
)  # fmt: skip


def spoil(machine: Station, random: Random) -> None:
    """Draw what goes wrong from now on."""
    machine.flock.clear_faults()
    for place, kinds in (
        ("webhooks", WEBHOOK_FAULTS),
        ("events", EVENT_FAULTS),
        ("api", API_FAULTS),
        ("files", FILE_FAULTS),
    ):
        for kind in random.sample(kinds, random.randint(0, 3)):
            chance = random.choice([0.02, 0.1, 0.3])
            machine.flock.inject(kind, place, probability=chance, seed=random.getrandbits(32), seconds=0.01)


def run(machine: Station, random: Random) -> None:
    """Run with limits that make one, several or many commits, all stages or some."""
    limits = Limits(
        messages_per_commit=random.choice([1, 7, 50, 50_000]), bytes_per_commit=random.choice([3_000, 2**27])
    )
    skip = random.choice([[], [], [], ["directory"], ["drain"], ["fetch", "files"]])
    result = machine.run(limits=limits, skip=skip, threads=random.choice([1, 4]))  # type: ignore[arg-type]
    assert result.exit_code in (EXIT_DONE, EXIT_GAPS, EXIT_FLOCK)
    if random.random() < 0.3:
        machine.clock.sleep(random.choice([3_600, 30_000, 200_000]))


def live(machine: Station, random: Random) -> None:
    """Let days pass, then let all faults end and the archiver catch up."""
    behave(machine, random)
    for _ in range(TURNS):
        if random.random() < 0.5:
            spoil(machine, random)
        if random.random() < 0.2:
            behave(machine, random)
        machine.flock.play_next(random.randint(0, 40), connections=random.choice([1, 8]))
        for _ in range(random.randint(0, 4)):
            act(machine, random)
        if random.random() < 0.6:
            run(machine, random)
    machine.flock.play_all()
    machine.flock.clear_faults()
    machine.flock.settle()
    machine.clock.sleep(NINE_DAYS_SECONDS)
    machine.run()


def check_seed(folder: Path, seed: int) -> None:
    random = Random(seed)
    with station(
        folder,
        seed=seed,
        people=random.randint(4, 9),
        channels=random.randint(1, 5),
        messages=random.randint(0, 150),
        days=random.choice([1, 1, 3]),
    ) as machine:
        live(machine, random)
        truth.check(machine)
        truth.check_directory(machine)
        before = machine.objects()
        assert machine.run().commits == 0
        assert machine.objects() == before


@pytest.mark.parametrize("seed", range(SEEDS))
def test_in_the_end_the_archive_is_the_truth(tmp_path: Path, seed: int) -> None:
    check_seed(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS, SEEDS_SLOW))
def test_in_the_end_the_archive_is_the_truth_for_many_seeds(tmp_path: Path, seed: int) -> None:
    check_seed(tmp_path, seed)
