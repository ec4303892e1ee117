"""Puts concrete parts together for the commands; the only place that names both a part and its settings.

Imports stand inside the functions, so that a command loads what it uses and `archiver --help` loads none of it.
"""

from __future__ import annotations

import getpass
import os
import platform
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archiver import __version__
from archiver.clock import Clock, SystemClock, to_text
from archiver.errors import (
    ConfigError,
    DamageFoundError,
    KeyExistsError,
    KeyMissingError,
    LedgerBrokenError,
    UsageError,
)

if TYPE_CHECKING:
    from archiver.archive.commit import Author
    from archiver.archive.reader import Archive
    from archiver.capture.history_source import OpenHistory
    from archiver.capture.listener_server import ListenerServer
    from archiver.capture.token_keeper import TokenKeeper
    from archiver.flock.client import FlockClient
    from archiver.flock.token_store import TokenStore
    from archiver.run.session import Limits, Ports, RetentionOrder
    from archiver.settings import Secrets, Settings
    from archiver.spool import QueueDepth, Spool, SpoolDepth
    from archiver.spool.sqs import SqsSpool
    from archiver.store import Store

SPOOL_FILE = "spool.sqlite"
TOKENS_FILE = "tokens.sqlite"
REFUSALS_FILE = "refused-tokens.json"
DOWNLOADS_FOLDER = "downloads"
# Keys of a history source that are paths in an answer.
_HISTORY_PATHS = ("items", "next_cursor", "more", "uid")
SOFTWARE = f"flock-archiver {__version__}"


def open_store(settings: Settings) -> Store:
    """Return the store that ``archive:`` names; nothing is asked of it yet."""
    place = settings.place()
    if isinstance(place, Path):
        from archiver.store.local import LocalStore  # noqa: PLC0415 - see the module's docstring

        return LocalStore(place)
    from archiver.store.s3 import S3Store  # noqa: PLC0415 - see the module's docstring

    return S3Store(place.bucket, place.prefix, endpoint_url=settings.s3.endpoint_url, region=settings.s3.region)


def open_archive(settings: Settings) -> Archive:
    """Return the archive; raises `UsageError` if there is none yet."""
    from archiver.archive.reader import Archive  # noqa: PLC0415 - see the module's docstring

    return Archive.open(open_store(settings))


def open_seen_archive(settings: Settings) -> Archive:
    """Return the archive, held against what this machine saw of its ledger; raises `LedgerBrokenError` if its end is gone."""
    from archiver.run import last_head  # noqa: PLC0415 - see the module's docstring

    archive = open_archive(settings)
    last_head.check(settings.state, archive)
    return archive


def open_or_found_archive(settings: Settings, *, clock: Clock) -> Archive:
    """Return the archive, founded now if there is none; for runs, which write.

    Raises `ConfigError` if it is another team's, `RefusedError` if it is a copy.

    The store is asked first to show that it keeps what the archive rests on, such as conditional writes.
    """
    from archiver.archive import ledger  # noqa: PLC0415 - see the module's docstring
    from archiver.archive.copies import refuse_copy  # noqa: PLC0415 - see the module's docstring
    from archiver.archive.reader import Archive  # noqa: PLC0415 - see the module's docstring
    from archiver.archive.schema import FORMAT  # noqa: PLC0415 - see the module's docstring

    store = open_store(settings)
    refuse_copy(store)
    store.probe()
    try:
        ledger.read_facts(store)
    except KeyMissingError:
        facts = ledger.ArchiveFacts(
            format=FORMAT,
            archive_id=secrets.token_hex(16),
            workspace=settings.workspace,
            created_at=to_text(clock.now_ms()),
        )
        with suppress(KeyExistsError):  # another run founded it just now
            ledger.found(store, facts)
    archive = Archive.open(store)
    if archive.facts.workspace != settings.workspace:
        raise ConfigError(
            f"the archive at {store.url} is of the workspace {archive.facts.workspace!r}, the configuration names "
            f"{settings.workspace!r}",
            next_step="name another archive, or set `workspace` to the name that the archive was founded with",
        )
    return archive


def lost_end(settings: Settings, store: Store) -> str | None:
    """Return what this machine saw of the ledger that is there no more, None if all is; see `archiver.run.last_head`."""
    from archiver.archive.reader import Archive  # noqa: PLC0415 - see the module's docstring
    from archiver.run import last_head  # noqa: PLC0415 - see the module's docstring

    try:
        archive = Archive.open(store)
    except (UsageError, DamageFoundError):
        return None  # which `verify` itself tells
    try:
        last_head.check(settings.state, archive)
    except LedgerBrokenError as error:
        return error.what
    return None


def open_spool(settings: Settings) -> Spool:
    """Return the spool that ``spool:`` names: this machine's own, made if it is not there, or a queue."""
    if settings.queue() is not None:
        return _open_queue(settings)
    from archiver.spool.sqlite import SqliteSpool  # noqa: PLC0415 - see the module's docstring

    return SqliteSpool(settings.state / SPOOL_FILE)


def _open_queue(settings: Settings) -> SqsSpool:
    from archiver.spool.sqs import SqsSpool  # noqa: PLC0415 - see the module's docstring
    from archiver.spool.sqs_queue import SqsQueue  # noqa: PLC0415 - see the module's docstring

    address = settings.queue()
    assert address is not None
    queue = SqsQueue(
        address.queue,
        account=address.account,
        region=settings.sqs.region or settings.s3.region,
        endpoint_url=settings.sqs.endpoint_url,
    )
    return SqsSpool(queue, settings.state, clock=SystemClock(), machine=platform.node())


def _leave_nothing_behind(settings: Settings) -> None:
    """Raise `ConfigError` if pushes wait in this machine's own spool, which no run drains while ``spool:`` names a queue."""
    from archiver.spool.sqlite import SqliteSpool  # noqa: PLC0415 - see the module's docstring

    path = settings.state / SPOOL_FILE
    if settings.queue() is None or not path.exists():
        return
    with closing(SqliteSpool(path)) as left:
        captures = left.depth().captures
    if captures:
        raise ConfigError(
            f"{captures} captures wait in {path}, and `spool: {settings.spool}` would leave them there",
            next_step="archive them once with `ARCHIVER_SPOOL=sqlite archiver run --only drain`",
        )


def open_token_store(settings: Settings, given: Secrets) -> TokenStore | None:
    """Return the store of installing users' tokens, or None where no key for it is configured."""
    from archiver.flock.token_store import TokenStore  # noqa: PLC0415 - see the module's docstring
    from archiver.flock.tokens import Secret  # noqa: PLC0415 - see the module's docstring

    key = given.token_key()
    if key is None:
        return None
    return TokenStore(settings.state / TOKENS_FILE, key=Secret(key.get_secret_value()))


def open_token_keeper(settings: Settings, given: Secrets) -> TokenKeeper:
    """Return what knows every token: the configured ones, and those of users who installed the app."""
    from archiver.capture.token_keeper import TokenKeeper  # noqa: PLC0415 - see the module's docstring
    from archiver.flock.refusals import RefusalMemory  # noqa: PLC0415 - see the module's docstring
    from archiver.flock.tokens import Secret, UserToken  # noqa: PLC0415 - see the module's docstring

    return TokenKeeper(
        [UserToken(user, Secret(token.get_secret_value())) for user, token in given.user_tokens().items()],
        refusals=RefusalMemory(settings.state / REFUSALS_FILE),
        open_store=lambda: open_token_store(settings, given),
    )


def holds_tokens_without_key(settings: Settings, given: Secrets) -> bool:
    """Tell whether users' tokens are stored here that cannot be read, because no key for them is configured."""
    return given.token_key() is None and (settings.state / TOKENS_FILE).exists()


@contextmanager
def listener(settings: Settings, given: Secrets) -> Iterator[ListenerServer]:
    """Open what the listener writes to and bind its address, and close it afterwards; raises `ConfigError` if it has no door."""
    from archiver.capture.listener import ListenerOptions, listener_app  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.listener_server import ListenerServer  # noqa: PLC0415 - see the module's docstring
    from archiver.flock.tokens import Secret  # noqa: PLC0415 - see the module's docstring
    from archiver.spool.group_commit import GroupCommitter  # noqa: PLC0415 - see the module's docstring

    path_secret, app_secret = given.path_secret(), given.app_secret()
    options = ListenerOptions(
        path_secret=Secret(path_secret.get_secret_value()) if path_secret else None,
        webhook_tokens={name: Secret(token.get_secret_value()) for name, token in given.webhook_tokens().items()},
        app_id=settings.listen.app_id or "",
        app_secret=Secret(app_secret.get_secret_value()) if app_secret else None,
        event_leeway_seconds=settings.listen.event_leeway_seconds,
        body_bytes_max=settings.listen.body_bytes_max,
    )
    with ExitStack() as stack:
        tokens = open_token_store(settings, given)
        if tokens is not None:
            stack.enter_context(tokens)
        spool = open_spool(settings)
        stack.callback(spool.close)
        app = listener_app(options, committer=GroupCommitter(spool), clock=SystemClock(), tokens=tokens)
        yield ListenerServer(app, host=settings.listen.host, port=settings.listen.port)


@contextmanager
def run_ports(settings: Settings, given: Secrets) -> Iterator[Ports]:
    """Open everything a run needs and close it afterwards. Call it while holding this machine's run lock."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - see the module's docstring

    from archiver.archive.memory import give_memory_back  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.files import Downloader, FileOptions  # noqa: PLC0415 - see the module's docstring
    from archiver.capture.gaps import GapRules  # noqa: PLC0415 - see the module's docstring
    from archiver.flock.client import FlockClient, FlockOptions  # noqa: PLC0415 - see the module's docstring
    from archiver.run.interpreter import tuned_for_runs  # noqa: PLC0415 - see the module's docstring
    from archiver.run.session import Ports  # noqa: PLC0415 - see the module's docstring

    give_memory_back()
    clock = SystemClock()
    with ExitStack() as stack:
        stack.enter_context(tuned_for_runs())
        archive = open_or_found_archive(settings, clock=clock)
        _leave_nothing_behind(settings)
        spool = open_spool(settings)
        stack.callback(spool.close)
        executor = stack.enter_context(ThreadPoolExecutor(max_workers=max(4, os.cpu_count() or 1)))
        keeper = open_token_keeper(settings, given)
        flock = settings.flock
        options = FlockOptions(
            base_url=flock.base_url,
            auth=flock.auth,
            requests_per_second=flock.requests_per_second,
            connections=flock.connections,
            timeout_seconds=flock.timeout_seconds,
            tries_max=flock.tries_max,
        )
        client = stack.enter_context(FlockClient(options, clock=clock))
        downloader = stack.enter_context(
            Downloader(
                FileOptions(
                    hosts_allowed=settings.files.hosts_allowed,
                    trusted_origins=settings.files.trusted_origins,
                    size_bytes_max=settings.files.size_bytes_max,
                    timeout_seconds=settings.files.timeout_seconds,
                    connections=settings.files.connections,
                ),
                folder=settings.state / DOWNLOADS_FOLDER,
                clock=clock,
            )
        )
        yield Ports(
            archive=archive,
            spool=spool,
            client=client,
            tokens=keeper.pool(now_ms=clock.now_ms()),
            keeper=keeper,
            downloader=downloader,
            clock=clock,
            executor=executor,
            state=settings.state,
            gap_rules=GapRules(silent_days_max=settings.gaps.silent_days, expects_pushes=given.expects_pushes()),
            threads=flock.connections,
            mirror_holds=settings.holds.mirror,
            new_attempt=lambda: secrets.token_hex(4),
            histories=tuple(
                _histories(settings, given, client, lambda: stack.enter_context(FlockClient(options, clock=clock)))
            ),
            retention=_retention(settings),
        )


def _histories(
    settings: Settings, given: Secrets, flock: FlockClient, new_client: Callable[[], FlockClient]
) -> Iterator[OpenHistory]:
    """Yield the declared sources of history; each gateway has a client of its own, so that one that is down slows no other."""
    from archiver.capture.history_source import (  # noqa: PLC0415 - see the module's docstring
        GatewayPages,
        HistorySource,
        MethodPages,
        OpenHistory,
    )
    from archiver.flock.tokens import Secret, UserToken  # noqa: PLC0415 - see the module's docstring

    for declared in settings.history.sources:
        facts = declared.model_dump(exclude={"credential", "verb", "chats", *_HISTORY_PATHS})
        paths: dict[str, Any] = {
            name: tuple(filter(None, getattr(declared, name).split("."))) for name in _HISTORY_PATHS
        }
        source = HistorySource(
            **{name: value for name, value in facts.items() if value is not None},
            **paths,
            verb="GET" if declared.verb == "get" else "POST",
            chats=frozenset(declared.chats) or None,
        )
        if source.method:
            yield OpenHistory(source, MethodPages(flock, source))
            continue
        credential = None
        if declared.credential == "own":
            secret = given.history_secrets().get(declared.name)
            if secret is None:
                raise ConfigError(
                    f"history.secrets has no credential of the source {declared.name}, which is to have its own",
                    next_step="put it into the file that history.secrets_file names, or into ARCHIVER_HISTORY__SECRETS",
                )
            credential = UserToken(f"history:{declared.name}", Secret(secret.get_secret_value()))
        yield OpenHistory(source, GatewayPages(new_client(), source), credential)


def _retention(settings: Settings) -> RetentionOrder | None:
    """Return what runs do about retention, None if nothing."""
    from archiver.run.session import RetentionOrder  # noqa: PLC0415 - see the module's docstring

    declared = settings.retention
    if declared.mode == "off":
        return None
    return RetentionOrder(declared.policy, applies=declared.mode == "apply", approved_by=declared.approved_by)


def spool_depth(settings: Settings) -> SpoolDepth | None:
    """Return how much waits in this machine's own spool, or None if it has none; nothing is made."""
    if settings.queue() is not None or not (settings.state / SPOOL_FILE).exists():
        return None
    with closing(open_spool(settings)) as spool:
        return spool.depth()


def queue_depth(settings: Settings) -> QueueDepth | None:
    """Return how much the queue says that it has, or None if pushes wait in a file; nothing is received."""
    if settings.queue() is None:
        return None
    with closing(_open_queue(settings)) as spool:
        return spool.queue_depth()


def author(settings: Settings, *, clock: Clock) -> Author:
    """Return who commits as a new run on this machine. Call it while holding this machine's run lock."""
    from archiver.run.lock import writer_id  # noqa: PLC0415 - see the module's docstring

    return replace(author_beside_runs(clock=clock), writer=writer_id(settings.state, fresh=secrets.token_hex(16)))


def author_beside_runs(*, clock: Clock) -> Author:
    """Return who enters something without this machine's run lock, as a hold or an export: a writer of its own each time."""
    from archiver.archive.commit import Author  # noqa: PLC0415 - see the module's docstring

    return Author(
        run=f"{to_text(clock.now_ms())}-{secrets.token_hex(4)}",
        actor=user_name(),
        software=SOFTWARE,
        writer=secrets.token_hex(16),
    )


def user_name() -> str:
    """Return who runs this; a container's user often has a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def limits(settings: Settings, *, minutes_max: float | None) -> Limits:
    """Return how much one commit may hold, how long the run may take, and what is read again."""
    from archiver.capture.sweep import SweepRules  # noqa: PLC0415 - see the module's docstring
    from archiver.run.session import Limits  # noqa: PLC0415 - see the module's docstring

    return Limits(
        messages_per_commit=settings.run.messages_per_commit,
        seconds_per_commit=settings.run.minutes_per_commit * 60,
        run_seconds_max=None if minutes_max is None else minutes_max * 60,
        sweep=SweepRules(
            hot_days=settings.sweep.hot_days,
            full_within_days=settings.sweep.full_within_days,
            requests_max=settings.sweep.requests_max,
            hours_between=settings.sweep.hours_between,
        ),
    )
