"""What commands that copy out of the archive share: where a further bucket answers, and how what lies cold is asked for and waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from archiver.cli.restore_words import cold_words

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from rich.progress import Progress, TaskID

    from archiver.cli.output import Output
    from archiver.discovery.restore_thaw import Cold
    from archiver.store import Store, ThawSpeed

endpoint_option = click.option(
    "--endpoint-url",
    metavar="URL",
    help="Where the bucket that it goes to answers, if not where s3.endpoint_url says.",
)
region_option = click.option("--region", metavar="REGION", help="Region of that bucket, if not that of the archive's.")
speed_option = click.option(
    "--speed",
    type=click.Choice(["expedited", "standard", "bulk"]),
    default="standard",
    show_default=True,
    help="How quickly, and so how dearly, what lies cold is asked for.",
)
thaw_days_option = click.option(
    "--thaw-days", type=click.IntRange(1, 365), default=7, show_default=True, help="How long it can be read then."
)
no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Ask for what lies cold and end; the same call later goes on."
)


@dataclass(frozen=True, slots=True)
class ThawOrder:
    """How what lies cold is asked for: for how many days, how quickly, and whether the call waits for it."""

    days: int
    speed: ThawSpeed
    waits: bool


def thaw_all(
    output: Output,
    store: Store,
    cold: Cold,
    *,
    look: Callable[[], Cold],
    order: ThawOrder,
    executor: Executor,
) -> bool:
    """Have what lies cold thawed, look again, and go on until nothing is; returns whether all of it can be read now.

    If not, all that the last look found was asked for. Each look may find more: what is read may tell of further objects.
    """
    from archiver.clock import SystemClock  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.discovery.restore_thaw import thaw  # noqa: PLC0415 - as above

    while cold.objects:
        output.note(f"archiver: {cold_words(cold, order.speed)}")
        with output.progress() as bars:
            task = bars.add_task("thawing", total=len(cold.objects))
            left = thaw(
                store,
                cold.objects,
                days=order.days,
                speed=order.speed,
                waits=order.waits,
                executor=executor,
                clock=SystemClock(),
                progress=partial(_show_progress, bars, task),
            )
        if left:
            return False
        cold = look()
    return True


def _show_progress(bars: Progress, task: TaskID, _: str, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)


def cold_document(cold: Cold) -> dict[str, dict[str, int]]:
    """Return what lies cold by class, for programs."""
    return {name: {"objects": objects, "bytes": size} for name, (objects, size) in cold.by_class.items()}
