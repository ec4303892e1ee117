"""`archiver installs`: whose tokens we hold, which of them work, and how to be rid of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from archiver.cli.options import Invocation, config_options, examples
from archiver.cli.output import Output
from archiver.errors import EXIT_GAPS, RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from archiver.capture.token_keeper import KnownToken, TokenKeeper


@click.group(
    epilog=examples("archiver installs list --json", "archiver installs revoke u:aaaabbbbccccdddd --yes"),
    short_help="List and revoke the tokens by which Flock is asked.",
)
def command() -> None:
    """List, revoke and retry the tokens by which Flock is asked: configured ones, and those of users who installed the app.

    No token is ever shown, only its fingerprint: the first digits of its SHA-256, as logs and reports name it.
    """


@command.command("list", epilog=examples("archiver installs list", "archiver installs list --json"))
@config_options
def list_installs(invocation: Invocation) -> int | None:
    """Show every token: whose it is, where it comes from, and since when and why it is not used.

    A token that Flock refused rests for the day and is tried again on the day shown. One that a user brought by
    installing the app is given up after a week of that; it works again when the user installs the app anew.
    """
    keeper, now_ms = _keeper(invocation)
    tokens = keeper.known(now_ms=now_ms)
    invocation.output.result({"tokens": tokens}, show=lambda out: _show(out, tokens))
    return None


@command.command("revoke", epilog=examples("archiver installs revoke u:aaaabbbbccccdddd --yes"))
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do it; there is no way back but a new installation.")
@config_options
def revoke(invocation: Invocation, *, user: str, yes: bool) -> int | None:
    """Remove the stored token of USER from this machine for good.

    A run that is under way may use it until it ends. Flock is not told: it has no method for that, so the user ends the
    installation there. A token that stands in the configuration is not ours to remove; with one left the exit code is
    3, or 5 if there was nothing else.
    """
    keeper, now_ms = _keeper(invocation)
    tokens = [token for token in keeper.known(now_ms=now_ms) if token.user_id == user]
    if not tokens:
        raise UsageError(f"there is no token of {user}", next_step="see `archiver installs list` for whose there are")
    configured = any(token.source == "configuration" for token in tokens)
    hint = f"remove {user} from the file that flock.tokens_file names, or from ARCHIVER_FLOCK__TOKENS"
    if configured and len(tokens) == 1:
        raise RefusedError(f"the token of {user} stands in the configuration, which we do not change", next_step=hint)
    if not yes:
        raise UsageError(
            f"the token of {user} would be removed for good, and it takes a new installation to get another",
            next_step=f"say `archiver installs revoke {user} --yes` if that is meant",
        )
    keeper.revoke(user)
    if configured:
        invocation.output.warn(f"archiver: warning: another token of {user} stands in the configuration: {hint}")
    document = {"user_id": user, "revoked": True, "still_configured": configured}
    invocation.output.result(document, show=lambda out: out.line(f"the stored token of {user} is removed"))
    return EXIT_GAPS if configured else None


@command.command(
    "retry", epilog=examples("archiver installs retry u:aaaabbbbccccdddd", "archiver installs retry --all")
)
@click.argument("user", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every token that Flock refused.")
@config_options
def retry(invocation: Invocation, *, user: str | None, everybody: bool) -> int | None:
    """Let the next run try the refused tokens of USER at once, as after the app was enabled again."""
    if (user is None) != everybody:
        raise UsageError("name either a user or --all", next_step="see `archiver installs list` for refused tokens")
    keeper, _ = _keeper(invocation)
    tokens = [{"user_id": user_id, "fingerprint": fingerprint} for user_id, fingerprint in keeper.retry(user)]
    if user is not None and not tokens:
        raise UsageError(
            f"no token of {user} was refused", next_step="see `archiver installs list` for whose tokens there are"
        )
    shown = f"the next run tries {len(tokens)} token{'' if len(tokens) == 1 else 's'} again"
    invocation.output.result({"tokens": tokens}, show=lambda out: out.line(shown))
    return None


def _keeper(invocation: Invocation) -> tuple[TokenKeeper, int]:
    """Return what knows the tokens, and the time."""
    from archiver import wiring  # noqa: PLC0415 - the parts are heavy, and --help needs none of them
    from archiver.clock import SystemClock  # noqa: PLC0415 - as above

    settings = invocation.settings()
    secrets = invocation.secrets(settings)
    if wiring.holds_tokens_without_key(settings, secrets):
        invocation.output.warn(
            "archiver: warning: users' tokens are stored here and cannot be read: no listen.token_key is configured"
        )
    return wiring.open_token_keeper(settings, secrets), SystemClock().now_ms()


def _show(output: Output, tokens: Sequence[KnownToken]) -> None:
    if not tokens:
        output.line("no token is known: set flock.tokens_file, or let users install the app")
        return
    output.table(
        ["user", "fingerprint", "source", "installed at", "disabled since", "why", "tried again on"],
        [
            (
                token.user_id,
                token.fingerprint,
                token.source,
                token.installed_at,
                token.disabled_at,
                token.disabled_reason,
                token.retried_on or ("never" if token.disabled_at else None),
            )
            for token in tokens
        ],
    )
