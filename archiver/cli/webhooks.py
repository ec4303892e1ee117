"""`archiver webhooks`: who should make which outgoing webhook, and which of them deliver."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.errors import EXIT_GAPS, ConfigError, UsageError

if TYPE_CHECKING:
    from archiver.capture.webhook_plan import Rank
    from archiver.run.webhooks import CheckedWebhook, CheckReport, PlanReport, WebhookSettings
    from archiver.settings import Secrets, Settings

# What stands where the address of the listener belongs, if nobody has said it.
_SOMEWHERE = "https://your-host"
_TAKEN = re.compile(r"(.+)=([0-9]{1,4})")
_NOT_CRAWLED = "No channel is known yet: no run has crawled the directory.\n  Next: run `archiver run`"

Format = Literal["table", "csv"]


@click.group(
    epilog=examples("archiver webhooks plan", "archiver webhooks check --json"),
    short_help="Plan outgoing webhooks, and check which deliver.",
)
def command() -> None:
    """Plan and check Flock's outgoing webhooks, by which messages of channels arrive as they are sent.

    Flock lets a user make 10 of them, by hand, each of one channel; no method of it makes or lists them.
    """


@command.command(
    "plan",
    epilog=examples(
        "archiver webhooks plan",
        "archiver webhooks plan --write webhooks-to-make",
        "archiver webhooks plan --taken u:aaaabbbbccccdddd=3 --format csv > plan.csv",
    ),
)
@click.option(
    "--write",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a file for each person, with the whole addresses, and one for the tokens, into a new folder.",
)
@click.option(
    "--taken", multiple=True, metavar="USER=N", help="Webhooks that a user has for other purposes; repeatable."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv"]),
    default="table",
    show_default=True,
    help="How it is printed.",
)
@config_options
def plan(invocation: Invocation, *, folder: Path | None, taken: tuple[str, ...], form: Format) -> int | None:
    """Say who should make which webhook, so that every channel has one.

    Channels and members are those of the newest commit. Webhooks whose tokens are configured count against a user's 10 if
    their owner is known: by the name that an earlier plan gave them, or by listen.webhook_owners. The path secret is
    shown nowhere but in the files of --write, which nobody else can read. Exit code 3: for some channel nobody is left.
    """
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.run.webhooks import plan_report  # noqa: PLC0415 - as above

    others = dict(map(_taken, taken))
    settings = invocation.settings()
    secrets = invocation.secrets(settings)
    output = invocation.output
    public_url = settings.listen.public_url
    report = plan_report(
        wiring.open_archive(settings),
        _facts(settings, secrets),
        public_url=public_url or _SOMEWHERE,
        ranks=_ranks(settings, secrets),
        others=others,
    )
    if public_url is None and report.people:
        output.warn("archiver: warning: listen.public_url is not set, so the addresses are not whole")
    written = [] if folder is None else _write(folder, report, settings, secrets)
    if form == "csv" and not output.as_json:
        _plan_sheet(output, report)
    else:
        document = {**asdict(report), "written": written}
        output.result(document, show=lambda out: _show_plan(out, report, settings, written))
    return None if report.is_complete else EXIT_GAPS


@command.command(
    "check", epilog=examples("archiver webhooks check", "archiver webhooks check --format csv > hooks.csv")
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv"]),
    default="table",
    show_default=True,
    help="How it is printed.",
)
@config_options
def check(invocation: Invocation, *, form: Format) -> int | None:
    """Say which webhooks deliver, since when and when last, and of which channels none delivers.

    As the last run left it: what waits in the spool counts after the next one. Exit code 3: a webhook whose token is
    configured does not deliver, or none does of some channel.
    """
    from archiver import wiring  # noqa: PLC0415 - as above
    from archiver.run.webhooks import check_report  # noqa: PLC0415 - as above

    settings = invocation.settings()
    report = check_report(wiring.open_archive(settings), _facts(settings, invocation.secrets(settings)))
    output = invocation.output
    if form == "csv" and not output.as_json:
        _check_sheet(output, report)
    else:
        output.result(asdict(report), show=lambda out: _show_check(out, report))
    return None if report.is_clean else EXIT_GAPS


def _facts(settings: Settings, secrets: Secrets) -> WebhookSettings:
    from archiver.run.webhooks import WebhookSettings  # noqa: PLC0415 - as above

    return WebhookSettings(
        configured=secrets.webhook_tokens().keys(),
        owners=settings.listen.webhook_owners,
        silent_days_max=settings.gaps.silent_days,
    )


def _ranks(settings: Settings, secrets: Secrets) -> dict[str, Rank]:
    """Return who has the app, and whether as far as this machine knows the token works."""
    from archiver import wiring  # noqa: PLC0415 - as above
    from archiver.capture.webhook_plan import INSTALLED, WORKING_TOKEN  # noqa: PLC0415 - as above
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above

    ranks: dict[str, Rank] = {}
    for token in wiring.open_token_keeper(settings, secrets).known(now_ms=SystemClock().now_ms()):
        rank = WORKING_TOKEN if token.disabled_at is None else INSTALLED
        ranks[token.user_id] = min(rank, ranks.get(token.user_id, rank))
    return ranks


def _taken(text: str) -> tuple[str, int]:
    match = _TAKEN.fullmatch(text)
    if match is None:
        raise UsageError(f"--taken {text!r} is no user and number", next_step="write it as u:aaaabbbbccccdddd=3")
    return match[1], int(match[2])


def _write(folder: Path, report: PlanReport, settings: Settings, secrets: Secrets) -> list[Path]:
    from archiver.cli import webhook_files  # noqa: PLC0415 - only --write needs it

    if settings.listen.public_url is None:
        raise ConfigError(
            "listen.public_url is not set, so nobody can be told an address",
            next_step="set it to the address under which Flock reaches the listener, such as https://archiver.acme.com",
        )
    path_secret = secrets.path_secret()
    if path_secret is None:
        raise ConfigError(
            "webhooks have no secret part in their address",
            next_step="set listen.path_secret_file (`archiver init` makes one)",
        )
    if not report.people:
        return []
    return webhook_files.write(folder, report.people, path_secret=path_secret.get_secret_value())


def _plan_sheet(output: Output, report: PlanReport) -> None:
    columns = ["user_id", "user_name", "token", "channel_id", "channel_name", "webhook", "callback_url"]
    rows = [
        (person.user_id, person.user_name, person.token, *asdict(order).values())
        for person in report.people
        for order in person.orders
    ]
    output.sheet(columns, rows)


def _show_plan(output: Output, report: PlanReport, settings: Settings, written: list[Path]) -> None:
    output.line(f"{report.channels} channels, as of {_commit(report)}")
    if not report.channels:
        output.line(_NOT_CRAWLED)
        return
    for person in report.people:
        name = _named(person.user_id, person.user_name)
        output.line(f"\n{name}: {len(person.orders)} to make, {person.has} known to be made; token: {person.token}")
        rows = [
            (_named(order.channel_id, order.channel_name), order.webhook, order.callback_url) for order in person.orders
        ]
        output.table(["channel", "webhook name", "callback URL"], rows)
    if report.uncovered:
        output.line("\nNobody is left to make one of:")
        output.table(
            ["channel", "why"], [(_named(item.channel_id, item.channel_name), item.reason) for item in report.uncovered]
        )
    if not report.planned and not report.uncovered:
        output.line("Every channel has a webhook; `archiver webhooks check` says which deliver.")
    if report.without_known_owner:
        names = ", ".join(report.without_known_owner)
        output.line(f"\nOf nobody knows whom, and so counted against nobody's 10: {names}")
        output.line("  listen.webhook_owners in archiver.yaml can say whose they are")
    if report.without_known_channel:
        output.line(
            f"\nOf nobody knows which channel, as nothing of them is archived: {', '.join(report.without_known_channel)}"
        )
    if report.people:
        _show_what_next(output, report, settings, written)


def _show_what_next(output: Output, report: PlanReport, settings: Settings, written: list[Path]) -> None:
    if written:
        output.line("\nWritten, for nobody else to read:")
        for path in written:
            output.line(f"  {path}")
    tokens = settings.listen.webhook_tokens_file or "the file that listen.webhook_tokens_file names"
    output.line("\nNext:")
    if not written:
        output.line(
            "  1. archiver webhooks plan --write FOLDER: a file for each person, with the path secret in the addresses"
        )
    else:
        output.line("  1. give each person the file, by a way that you would send a password by")
    output.line("  2. they make theirs in Flock's developer dashboard (Webhooks): channel, name, callback URL")
    output.line(f"  3. put the tokens that Flock shows into {tokens}, and restart the listener:")
    for order in report.people[0].orders[:1]:
        output.line(f'       "{order.webhook}": "<its token>"')
    output.line("  4. archiver webhooks check, once something was said in each channel and a run is done")


def _check_sheet(output: Output, report: CheckReport) -> None:
    from archiver.run.webhooks import CheckedWebhook  # noqa: PLC0415 - heavy, and --help needs none of it

    columns = list(CheckedWebhook.__dataclass_fields__)
    output.sheet(columns, [list(asdict(webhook).values()) for webhook in report.webhooks])


def _show_check(output: Output, report: CheckReport) -> None:
    output.line(f"{len(report.webhooks)} webhooks and {report.channels} channels, as of {_commit(report)}")
    if not report.channels:
        output.line(_NOT_CRAWLED)
    if report.states:
        output.table(
            ["state", "webhooks", "what it means"],
            [(count.state, count.webhooks, count.meaning) for count in report.states],
        )
        output.table(
            ["webhook", "state", "channel", "owner", "first push", "last push"],
            [
                (
                    webhook.webhook,
                    webhook.state if webhook.chats <= 1 else f"{webhook.state}, of {webhook.chats} chats",
                    _named(webhook.channel_id, webhook.channel_name),
                    _owner(webhook),
                    webhook.first_push_at,
                    webhook.last_push_at,
                )
                for webhook in report.webhooks
            ],
        )
    if report.unheard:
        output.line("\nNo webhook delivers of:")
        output.table(
            ["channel", "configured for it"],
            [
                (_named(item.channel_id, item.channel_name), ", ".join(item.configured) or "none")
                for item in report.unheard
            ],
        )
        output.line("`archiver webhooks plan` says who should make those that are not configured")
    elif report.is_clean:
        output.line("A webhook delivers of every channel.")


def _owner(webhook: CheckedWebhook) -> str | None:
    if webhook.owner_id is None:
        return None
    name = _named(webhook.owner_id, webhook.owner_name)
    return f"{name}, who has left the channel" if webhook.has_owner_left else name


def _commit(report: PlanReport | CheckReport) -> str:
    return f"commit {report.sequence} of {report.at or 'no time yet'}"


def _named(identifier: str | None, name: str | None) -> str:
    if identifier is None:
        return "not known"
    # A name from Flock may have several lines, and must not look like a sentence of ours.
    return f"{' '.join(name.split())} ({identifier})" if name else identifier
