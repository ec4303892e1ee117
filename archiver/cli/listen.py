"""`archiver listen`: receive what Flock pushes, until it is told to stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output

if TYPE_CHECKING:
    from archiver.settings import Settings


@click.command(epilog=examples("archiver listen", "archiver listen --config /etc/archiver/archiver.yaml --json"))
@config_options
def command(invocation: Invocation) -> int | None:
    """Receive Flock's outgoing webhooks and app events, and keep them in the spool for the next run.

    A push is answered only after it is on disk, or in the queue that the setting `spool` names. Let it run as a service
    behind a proxy that speaks https; SIGTERM and Ctrl-C let it finish what has begun. With --json it prints one line,
    {"listening": "http://…"}, once it is there.
    """
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    settings = invocation.settings()
    output = invocation.output
    with wiring.listener(settings, invocation.secrets(settings)) as server:
        server.run(announce=lambda url: _announce(output, settings, url))
    output.note("archiver listen: stopped; every push that was answered 200 is in the spool")
    return None


def _announce(output: Output, settings: Settings, url: str) -> None:
    if output.as_json:
        output.write(json.dumps({"listening": url}).encode() + b"\n")
        return
    output.facts(
        {
            "listening": url,
            "webhooks": f"{url}/hooks/<path secret>/<webhook name>",
            "events": f"{url}/events" if settings.listen.app_id else "none: no listen.app_id",
            "spool": settings.state if settings.queue() is None else settings.spool,
        }
    )
