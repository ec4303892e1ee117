"""What a run did, stage by stage; what the report prints and what decides the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from archiver.archive.ledger import Gap
from archiver.errors import EXIT_DONE, EXIT_GAPS, ArchiverError

StageName = Literal["recover", "directory", "drain", "fetch", "files"]
STAGES: tuple[StageName, ...] = ("recover", "directory", "drain", "fetch", "files")


class Progress(Protocol):
    """Where a run says how far it is; the command line draws it."""

    def start(self, stage: StageName, *, total: int | None) -> None:
        """Begin a stage of ``total`` steps, if known."""
        ...

    def advance(self, steps: int) -> None:
        """Report steps of the current stage as done."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, stage: StageName, *, total: int | None) -> None:
        """Begin a stage."""

    def advance(self, steps: int) -> None:
        """Report steps."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stage: what it counted, what it knows it missed, the error that ended it early, and whether time ran out."""

    stage: StageName
    counts: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    error: ArchiverError | None = None
    unfinished: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunResult:
    """A whole run. ``sequence`` and ``digest`` name the head that it left, ``commits`` how many it added."""

    run: str
    started_at_ms: int
    finished_at_ms: int
    sequence: int
    digest: str
    commits: int
    stages: tuple[StageResult, ...]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Everything that the stages know they missed."""
        return tuple(gap for stage in self.stages for gap in stage.gaps)

    @property
    def exit_code(self) -> int:
        """The error of a stage decides, else gaps or an early end, else all is done."""
        errors = [stage.error.exit_code for stage in self.stages if stage.error is not None]
        if errors:
            return max(errors)
        return EXIT_GAPS if self.gaps or any(stage.unfinished for stage in self.stages) else EXIT_DONE
