"""`archiver simulate`: a faithful Flock on this machine, from a seed or from a data set, until it is interrupted."""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from archiver.cli.options import examples, output_options
from archiver.cli.output import Output

if TYPE_CHECKING:
    from archiver.simulator.server import Simulator

LISTENER_URL = "http://127.0.0.1:8080"
PORT = 8090


@click.command(
    epilog=examples(
        "archiver simulate --seed 7",
        "archiver simulate --dataset ../chat/irc --write-config ./try",
    )
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same workspace and the same day.")
@click.option("--people", default=12, show_default=True, type=click.IntRange(3), help="How many people.")
@click.option("--channels", default=6, show_default=True, type=click.IntRange(1), help="How many channels.")
@click.option("--messages", default=400, show_default=True, type=click.IntRange(0), help="How many messages.")
@click.option(
    "--day", default="2026-03-02", show_default=True, type=click.DateTime(["%Y-%m-%d"]), help="The first day."
)
@click.option("--days", default=1, show_default=True, type=click.IntRange(1), help="How many days.")
@click.option(
    "--dataset",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of users, channels and messages as JSON lines, instead of a seeded workspace.",
)
@click.option("--installed", type=click.IntRange(0), help="How many people installed the app; default: who is needed.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; there is no password.")
@click.option("--public-host", default="", help="The host name in URLs; default: the address listened on.")
@click.option("--port", default=PORT, show_default=True, help="The API's port; 0 is any free one.")
@click.option("--files-port", default=PORT + 1, show_default=True, help="The file host's port.")
@click.option("--signed-port", default=PORT + 2, show_default=True, help="The port of signed file URLs.")
@click.option("--control-port", default=PORT + 3, show_default=True, help="The control interface's port.")
@click.option(
    "--write-config",
    "config_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write an archiver.yaml and its secrets there, and lead webhooks and events to --listener.",
)
@click.option("--listener", "listener_url", default=LISTENER_URL, show_default=True, help="Where archiver listen is.")
@output_options
def command(
    output: Output,
    *,
    seed: int,
    people: int,
    channels: int,
    messages: int,
    day: datetime,
    days: int,
    dataset: Path | None,
    installed: int | None,
    host: str,
    public_host: str,
    port: int,
    files_port: int,
    signed_port: int,
    control_port: int,
    config_folder: Path | None,
    listener_url: str,
) -> int | None:
    """Run a Flock that is made of a seed or a data set, with an interface that makes things happen in it.

    Nothing happens until the control interface is told to play; the addresses are printed once everything listens.
    """
    from archiver.simulator.config_files import write_config  # noqa: PLC0415 - the server is heavy, and --help needs none of it
    from archiver.simulator.server import Simulator  # noqa: PLC0415 - as above

    interrupted = _interruption()
    with Simulator(
        seed=seed,
        people=people,
        channels=channels,
        messages=messages,
        day=day.replace(tzinfo=UTC).date(),
        days=days,
        dataset=dataset,
        installed=installed,
        host=host,
        public_host=public_host,
        port=port,
        files_port=files_port,
        signed_port=signed_port,
        control_port=control_port,
    ) as flock:
        document = _addresses(flock)
        if config_folder is not None:
            written = write_config(flock, config_folder, listener_url=listener_url)
            document |= {"config": str(written.path.absolute()), "webhooks": written.webhooks}
        output.result(document, show=lambda out: _show(out, document))
        interrupted.wait()
    output.note("archiver simulate: stopped")
    return None


def _interruption() -> threading.Event:
    """Return what is set once somebody asks us to end."""
    interrupted = threading.Event()

    def interrupt(_: int, __: FrameType | None) -> None:
        interrupted.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    return interrupted


def _addresses(flock: Simulator) -> dict[str, object]:
    return {
        "api": flock.base_url,
        "files": flock.files_url,
        "signed_files": flock.signed_url,
        "control": flock.control_url,
        "app_id": flock.app_id,
        "people": len(flock.people),
        "channels": len(flock.channels),
        "installed": len(flock.user_tokens),
        "script_actions": flock.remaining,
    }


def _show(output: Output, document: dict[str, object]) -> None:
    output.facts(document)
    output.line()
    output.line("Next:")
    if "config" in document:
        output.line(f"  archiver listen --config {document['config']}")
    output.line(f"  curl -X POST {document['control']}/play     # let everything happen at once")
    output.line(f"  curl {document['control']}/truth             # what happened")
    output.line("  Ctrl-C to stop")
