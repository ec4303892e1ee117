"""What a command ends with that committed beside a run: the index of searches and the catalogs show its commit too."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archiver.cli.output import Output
from archiver.cli.run import stage_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from archiver.archive.reader import Archive, Head
    from archiver.errors import ArchiverError
    from archiver.run.result import StageName, StageResult
    from archiver.run.status import CatalogStanding
    from archiver.settings import Settings

_LATER = "the commit stands; once that is mended, `archiver run --only index --only catalogs` brings them to it"
_BY_HAND = {"athena": "archiver catalog athena --register", "iceberg": "archiver catalog iceberg"}


@dataclass(frozen=True, slots=True)
class Published:
    """What became of the index and of the catalogs, at which commit.

    ``behind`` says of catalogs that are not configured and were published once how each is brought up by hand.
    ``left`` is set where words of what was disposed of may still stand in the index; the command fails with it, when all else is told.
    """

    sequence: int
    stages: tuple[StageResult, ...]
    behind: tuple[str, ...]
    left: ArchiverError | None

    @property
    def document(self) -> dict[str, Any]:
        """The stages for programs, by name."""
        return {stage.stage: stage_document(stage) for stage in self.stages}

    def show(self, output: Output) -> None:
        """Print for people which catalogs show the commit; nothing where there are none."""
        if published := sum(stage.counts.get("published", 0) for stage in self.stages):
            output.line(f"{published} catalog{'s show' if published > 1 else ' shows'} commit {self.sequence}.")

    def tell(self, output: Output) -> None:
        """Tell what is not up to date and what to do about it, on standard error; raise what the command fails with."""
        failed = [stage for stage in self.stages if stage.error is not None]
        for stage in failed:
            for note in stage.notes:
                output.warn(f"archiver: {note}")
            output.warn(f"archiver: {stage.stage}: {stage.error}")
        if failed:
            output.warn(f"archiver: {_LATER}")
        for told in self.behind:
            output.warn(f"archiver: {told}")
        if self.left is not None:
            raise self.left


def publish(settings: Settings, archive: Archive, head: Head, *, step: Callable[[str], None]) -> Published:
    """Bring the index and the catalogs to the head that a command left, or the newest. Call it while holding this machine's run lock.

    Nothing that fails here undoes or hides what was committed: it stands in the result. ``step`` is told what is being done.
    """
    from archiver import wiring_query, wiring_search  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.errors import ArchiverError  # noqa: PLC0415 - as above
    from archiver.run.publishing import catalogs_at, index_at  # noqa: PLC0415 - as above

    told = _Told(step)
    # Another machine may have published a commit of its own since. A store that fails here fails below as well, and is told there.
    with suppress(ArchiverError):
        head = archive.head(head)
    if not head.sequence:
        return Published(0, (), (), None)
    stages = []
    refresh, catalogs = wiring_search.refresher(settings), wiring_query.publishers(settings)
    # First the index, which would not be kept up any more if what it had were all forgotten; then what is still in it of what is gone.
    if refresh is not None:
        stages.append(index_at(archive, head, refresh, progress=told))
    left: ArchiverError | None = None
    try:
        wiring_search.forget_disposed(settings, archive)
    except ArchiverError as error:
        left = error
    if catalogs:
        stages.append(catalogs_at(archive, head, catalogs, progress=told))
    try:
        behind = tuple(_behind(wiring_query.catalog_standings(settings, archive), head))
    except ArchiverError as error:
        behind = (f"whether a catalog that was published by hand is behind cannot be told: {error.what}",)
    return Published(head.sequence, tuple(stages), behind, left)


def _behind(standings: Iterable[CatalogStanding], head: Head) -> Iterator[str]:
    for one in standings:
        if not one.in_runs and one.sequence is not None and one.sequence < head.sequence:
            yield (
                f"{one.name} shows commit {one.sequence} and is not under `catalogs:`; `{_BY_HAND[one.name]}` brings it to commit "
                f"{head.sequence}"
            )


class _Told:
    """A run's progress, told as what is being done alone."""

    def __init__(self, step: Callable[[str], None]) -> None:
        self._step = step

    def start(self, stage: StageName, *, total: int | None) -> None:
        del total
        self._step("indexing what is new" if stage == "index" else "publishing in catalogs")

    def advance(self, steps: int) -> None:
        del steps
