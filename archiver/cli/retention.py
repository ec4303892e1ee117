"""`archiver retention`: what is kept how long, and when it goes. The group of its commands."""

from __future__ import annotations

import click

from archiver.cli import retention_explain, retention_plan, retention_tier
from archiver.cli.options import examples


@click.group(
    epilog=examples("archiver retention plan --html plan.html", "archiver retention plan --json"),
    short_help="Keep messages as long as policies say, and no longer.",
)
def command() -> None:
    """Read retention policies, see what they would do, and do exactly that."""


for _further in (
    retention_plan.plan,
    retention_plan.apply,
    retention_explain.explain,
    retention_explain.erase,
    retention_tier.tier,
):
    command.add_command(_further)
