"""What a run did decides how it ends: an error of a stage, else a gap or an early end, else all is done."""

from __future__ import annotations

import pytest

from archiver.archive.ledger import Gap
from archiver.cli.run import STAGES as STAGES_OF_THE_COMMAND
from archiver.errors import FlockUnreachableError, StoreUnreachableError, TokenRefusedError
from archiver.run.nightly import Selection
from archiver.run.result import STAGES, RunResult, StageResult

GAP = Gap(kind="unparsed", count=2, evidence="kept")
UNREACHABLE = FlockUnreachableError("no answer")
REFUSED = TokenRefusedError("no", code="InvalidToken")
FULL = StoreUnreachableError("no answer")


def result(*stages: StageResult) -> RunResult:
    return RunResult("run", started_at_ms=0, finished_at_ms=1, sequence=0, digest="", commits=0, stages=stages)


@pytest.mark.parametrize(
    ("stages", "code"),
    [
        ([], 0),
        ([StageResult("drain", counts={"messages": 7})], 0),
        ([StageResult("drain", gaps=(GAP,)), StageResult("fetch")], 3),
        ([StageResult("drain"), StageResult("files", unfinished=True)], 3),
        ([StageResult("directory", error=UNREACHABLE), StageResult("drain", gaps=(GAP,))], 6),
        ([StageResult("directory", error=REFUSED), StageResult("files", unfinished=True)], 6),
        ([StageResult("directory", error=UNREACHABLE), StageResult("drain", error=FULL)], 7),
    ],
)
def test_the_exit_code_is_the_gravest(stages: list[StageResult], code: int) -> None:
    assert result(*stages).exit_code == code


def test_the_gaps_of_a_run_are_those_of_its_stages_in_order_each_thing_once() -> None:
    other = Gap(kind="no-token", count=1, evidence="none")
    stages = (
        StageResult("directory", gaps=(other,)),
        StageResult("drain", gaps=(GAP,)),
        StageResult("fetch", gaps=(other,)),
    )
    assert result(*stages).gaps == (other, GAP)


def test_what_two_stages_counted_is_as_much_as_both_say() -> None:
    (gap,) = result(StageResult("drain", gaps=(GAP,)), StageResult("files", gaps=(GAP,))).gaps
    assert gap.count == 2 * GAP.count


def test_the_open_gaps_of_a_run_are_those_of_the_stage_that_looked() -> None:
    assert result(StageResult("drain", gaps=(GAP,))).open_gaps is None
    assert result(StageResult("drain"), StageResult("gaps", open_gaps={"no-token": 1})).open_gaps == {"no-token": 1}


class TestASelection:
    def test_is_everything_in_order_unless_told_otherwise(self) -> None:
        assert Selection().stages() == STAGES

    def test_takes_what_is_named_in_the_order_of_the_run(self) -> None:
        assert Selection(only=["fetch", "drain"]).stages() == ("recover", "drain", "fetch")

    def test_leaves_out_what_is_named(self) -> None:
        assert Selection(skip=["directory", "files"]).stages() == (
            "recover",
            "drain",
            "fetch",
            "sweep",
            "history",
            "holds",
            "retention",
            "gaps",
            "index",
            "catalogs",
        )
        assert Selection(only=["drain", "fetch"], skip=["fetch"]).stages() == ("recover", "drain")

    def test_always_recovers_because_every_stage_relies_on_it(self) -> None:
        assert Selection(skip=["recover"]).stages() == STAGES
        assert Selection(only=["drain"]).stages() == ("recover", "drain")


def test_the_command_line_names_the_stages_of_the_run() -> None:
    assert STAGES_OF_THE_COMMAND == STAGES
