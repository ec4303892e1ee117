"""The options by which commands say which messages are meant, and on whose behalf: the same words and the same meaning everywhere.

A name or a day that can be none is refused where it is read, so that a command only meets good ones.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import click

from archiver.errors import UsageError


class _Day(click.ParamType[date]):
    name = "day"

    def convert(self, value: str | date, param: click.Parameter | None, ctx: click.Context | None) -> date:
        del ctx
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            option = "" if param is None else f"{param.opts[0]} "
            raise UsageError(f"{option}{value!r} is no day", next_step="write it as 2026-11-22") from None


class _Matter(click.ParamType[str]):
    name = "matter"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        del param, ctx
        from archiver.archive.matters import checked_matter  # noqa: PLC0415 - heavy, and --help needs none of it

        return checked_matter(value)


DAY: Final = _Day()

custodian_option = click.option(
    "--custodian", "custodians", multiple=True, metavar="USER", help="A user id or an e-mail address; may be repeated."
)
channel_option = click.option(
    "--channel",
    "channels",
    multiple=True,
    metavar="CHANNEL",
    help="A channel by its id or any name of it, also a former one; * and ? stand for other characters. May be repeated.",
)
conversation_option = click.option(
    "--conversation",
    "conversations",
    multiple=True,
    metavar="USER,USER",
    help="A one-to-one chat by its two users, as ids or addresses; may be repeated.",
)
day_option = click.option("--day", "day", type=DAY, metavar="DAY", help="One day, such as 2026-03-02.")
from_option = click.option("--from", "first_on", type=DAY, metavar="DAY", help="The first day, such as 2026-01-01.")
until_option = click.option("--until", "last_on", type=DAY, metavar="DAY", help="The last day; all of it is in.")
zone_option = click.option(
    "--zone",
    default="UTC",
    show_default=True,
    help="The time zone of days, such as Europe/Berlin, and of times that are shown to read.",
)
search_option = click.option("--search", "expression", metavar="EXPR", help="Only what this search expression finds.")
matter_option = click.option(
    "--matter",
    type=_Matter(),
    metavar="NAME",
    help="The matter on whose behalf this is done, such as smith-v-acme; it is entered in the ledger.",
)


def days_asked(day: date | None, first_on: date | None, last_on: date | None) -> tuple[date | None, date | None]:
    """Return the first and the last day that ``--day``, ``--from`` and ``--until`` say; raises `UsageError` where they disagree."""
    if day is not None:
        if first_on or last_on:
            raise UsageError(
                "--day is one day, and --from and --until are another way to say it", next_step="give one of them"
            )
        return day, day
    if first_on is not None and last_on is not None and first_on > last_on:
        raise UsageError(
            f"what is asked for ends before it begins: {last_on} is before {first_on}",
            next_step="exchange --from and --until",
        )
    return first_on, last_on
