"""`archiver replay`: archived messages are posted back into a channel of Flock."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.errors import UsageError
from archiver.ids import is_channel

if TYPE_CHECKING:
    from archiver.discovery.replay import Uncertain


@click.command(
    epilog=examples(
        "archiver replay --channel general --day 2026-03-02 --to g:0123456789abcdef --as u:ann",
        'archiver replay --channel general --search "merger" --to g:0123456789abcdef --as u:ann --go --matter "Smith v. Acme"',
        "archiver replay --conversation ann@acme.com,u:bob --to g:0123456789abcdef --as u:ann --go --uncertain arrived",
    ),
    short_help="Post archived messages back into a channel of Flock.",
)
@click.option(
    "--to", "channel", required=True, metavar="CHANNEL-ID", help="The channel that they are posted to, such as g:0123…."
)
@click.option(
    "--as", "poster", metavar="USER", help="The user whose token posts; needed where there are several tokens."
)
@click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="CHANNEL",
    help="Messages of a channel, by id, name or pattern; may be repeated.",
)
@click.option(
    "--conversation",
    "pairs",
    multiple=True,
    metavar="USER,USER",
    help="Messages of a one-to-one chat; may be repeated.",
)
@click.option("--day", "day", metavar="DAY", help="One day, such as 2026-03-02.")
@click.option("--from", "first_on", metavar="DAY", help="The first day.")
@click.option("--until", "last_on", metavar="DAY", help="The last day; all of it is replayed.")
@click.option("--zone", default="UTC", show_default=True, help="The time zone of the days, such as Europe/Berlin.")
@click.option("--search", "expression", metavar="EXPR", help="Only what this search expression finds.")
@click.option("--go", is_flag=True, help="Post; without this, only say what would be posted.")
@click.option(
    "--uncertain",
    type=click.Choice(["ask", "resend", "arrived"]),
    default="ask",
    show_default=True,
    help="What to do with messages of which nobody knows whether they arrived: end and ask; or what somebody found who looked.",
)
@click.option("--resend-uncertain", is_flag=True, help="The same as --uncertain resend.")
@click.option(
    "--matter", metavar="NAME", help="On behalf of which matter; it is entered in the ledger before anything is posted."
)
@config_options
def command(
    invocation: Invocation,
    *,
    channel: str,
    poster: str | None,
    channels: tuple[str, ...],
    pairs: tuple[str, ...],
    day: str | None,
    first_on: str | None,
    last_on: str | None,
    zone: str,
    expression: str | None,
    go: bool,
    uncertain: Uncertain,
    resend_uncertain: bool,
    matter: str | None,
) -> int | None:
    """Post archived messages into a channel, in order of time, each exactly once however often the call is given.

    Each is shown under its sender's name, with the time at which it was sent and a mark by which it is known as a replay; nobody is
    mentioned anew, and formatting becomes plain text. Files are links and are named, for Flock takes none. What was replayed itself and
    what only some people could see is left out, and counted. A message of which the answer was lost is looked for in the archive; where
    that does not tell, the replay ends and asks (5).
    """
    from archiver.cli.replay_work import Order, work  # noqa: PLC0415 - the parts are heavy, and --help needs none of them

    if not is_channel(channel):
        raise UsageError(f"{channel!r} is no channel", next_step="name the channel by its id, which begins with g:")
    if not (channels or pairs):
        raise UsageError("say what to replay", next_step="name a --channel or a --conversation")
    if day is not None and (first_on or last_on):
        raise UsageError(
            "--day is one day, and --from and --until are another way to say it", next_step="give one of them"
        )
    one = _day("--day", day)
    order = Order(
        channel=channel,
        poster=poster,
        chats=(*channels, *pairs),
        first_on=one or _day("--from", first_on),
        last_on=one or _day("--until", last_on),
        zone=zone,
        expression=expression,
        uncertain="resend" if resend_uncertain else uncertain,
        matter=matter,
    )
    return work(invocation, order, go=go)


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no day", next_step="write it as 2026-03-02") from None
