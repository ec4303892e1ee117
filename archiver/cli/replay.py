"""`archiver replay`: archived messages are posted back into a channel of Flock."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.scope_options import (
    channel_option,
    conversation_option,
    day_option,
    days_asked,
    from_option,
    matter_option,
    search_option,
    until_option,
    zone_option,
)
from archiver.errors import UsageError
from archiver.ids import is_channel

if TYPE_CHECKING:
    from archiver.discovery.replay import Uncertain


@click.command(
    epilog=examples(
        "archiver replay --channel general --day 2026-03-02 --to g:0123456789abcdef --as u:ann",
        'archiver replay --channel general --search "merger" --to g:0123456789abcdef --as u:ann --go --matter smith-v-acme',
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
@channel_option
@conversation_option
@day_option
@from_option
@until_option
@zone_option
@search_option
@click.option("--go", is_flag=True, help="Post; without this, only say what would be posted.")
@click.option(
    "--uncertain",
    type=click.Choice(["ask", "resend", "arrived"]),
    default="ask",
    show_default=True,
    help="What to do with messages of which nobody knows whether they arrived: end and ask; or what somebody found who looked.",
)
@click.option("--resend-uncertain", is_flag=True, help="The same as --uncertain resend.")
@matter_option
@config_options
def command(
    invocation: Invocation,
    *,
    channel: str,
    poster: str | None,
    channels: tuple[str, ...],
    conversations: tuple[str, ...],
    day: date | None,
    first_on: date | None,
    last_on: date | None,
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
    if not (channels or conversations):
        raise UsageError("say what to replay", next_step="name a --channel or a --conversation")
    first_on, last_on = days_asked(day, first_on, last_on)
    order = Order(
        channel=channel,
        poster=poster,
        chats=(*channels, *conversations),
        first_on=first_on,
        last_on=last_on,
        zone=zone,
        expression=expression,
        uncertain="resend" if resend_uncertain else uncertain,
        matter=matter,
    )
    return work(invocation, order, go=go)
