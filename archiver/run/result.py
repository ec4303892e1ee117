"""What a run did, stage by stage; what the report prints and what decides the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

from archiver.archive.ledger import Gap
from archiver.errors import EXIT_DONE, EXIT_GAPS, ArchiverError

StageName = Literal[
    "recover",
    "directory",
    "drain",
    "fetch",
    "sweep",
    "files",
    "history",
    "holds",
    "retention",
    "gaps",
    "index",
    "catalogs",
]
STAGES: tuple[StageName, ...] = (
    "recover",
    "directory",
    "drain",
    "fetch",
    "sweep",
    "files",
    "history",
    "holds",
    "retention",
    "gaps",
    "index",
    "catalogs",
)
# Of these kinds stages say how many they met; met by two stages, they are as many as both say.
_COUNTED = frozenset({"file-not-stored", "unparsed"})


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
    """One stage: what it counted, what it knows it missed, the error that ended it early, and whether time ran out.

    ``asked`` is False where the stage could not ask at all, so that what it does not name is not known. ``open_gaps`` is for
    the stage gaps: how many are open by kind, of this run and of all before. ``notes`` are sentences for the report.
    """

    stage: StageName
    counts: Mapping[str, int] = field(default_factory=dict)
    gaps: tuple[Gap, ...] = ()
    error: ArchiverError | None = None
    unfinished: bool = False
    seconds: float = 0.0
    asked: bool = True
    open_gaps: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Tell whether the stage did all its work, so that a gap which it does not name is none."""
        return self.asked and self.error is None and not self.unfinished


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
        """Everything that the stages know they missed, each thing once."""
        found: dict[Gap, None] = {}
        counted: dict[Gap, int] = {}
        for gap in (gap for stage in self.stages for gap in stage.gaps):
            if gap.kind in _COUNTED:
                uncounted = msgspec.structs.replace(gap, count=0)
                counted[uncounted] = counted.get(uncounted, 0) + gap.count
                found.setdefault(uncounted)
            else:
                found.setdefault(gap)
        return tuple(msgspec.structs.replace(gap, count=counted.get(gap, gap.count)) for gap in found)

    @property
    def open_gaps(self) -> Mapping[str, int] | None:
        """How many gaps are open by kind, of this run and of all before; None if the run did not get to look."""
        return next((stage.open_gaps for stage in self.stages if stage.open_gaps is not None), None)

    @property
    def exit_code(self) -> int:
        """The error of a stage decides, else gaps or an early end, else all is done."""
        errors = [stage.error.exit_code for stage in self.stages if stage.error is not None]
        if errors:
            return max(errors)
        return EXIT_GAPS if self.gaps or any(stage.unfinished for stage in self.stages) else EXIT_DONE
