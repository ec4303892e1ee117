"""One machine with everything real on it: a Flock, a listener on its spool, a store, and runs over them.

Only two things are not as in production. Time: waiting costs none, so that retries and rate limits can be tested. And a tap
between Flock and the listener, and one around `FlockClient.fetch_messages`, that remember what Flock showed us and in which order.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography.fernet import Fernet
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archiver.archive import ledger
from archiver.archive.commit import Author
from archiver.archive.ledger import ArchiveFacts
from archiver.archive.reader import Archive, Head, files_of, read_rows
from archiver.archive.schema import FORMAT, TABLES
from archiver.archive.tables import rows_of
from archiver.capture.files import Downloader, FileOptions
from archiver.capture.gaps import GapRules
from archiver.capture.listener import ListenerOptions, listener_app
from archiver.capture.token_pool import TokenPool
from archiver.custody.findings import Verification
from archiver.custody.verify import verify
from archiver.flock.client import FlockClient, FlockOptions
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret, UserToken
from archiver.flock.turns import Turn
from archiver.model.capture import FeedKind
from archiver.run.lock import hold, writer_id
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import Progress, RunResult, Silent, StageName
from archiver.run.session import Limits, Ports
from archiver.simulator.server import Simulator
from archiver.simulator.webhooks import PushShape
from archiver.spool import Spool
from archiver.spool.group_commit import GroupCommitter
from archiver.spool.sqlite import SqliteSpool
from archiver.store import Store
from archiver.store.memory import MemoryStore
from tests.run.listening import Listening

PATH_SECRET = "path-secret-0123456789abcdef"
Row = dict[str, Any]

# On a clock that jumps ahead a listener's beats are far apart.
PATIENT = GapRules(listener_hole_ms_max=10**12)

_attempts = itertools.count(1)


class HurriedClock:
    """The machine's clock, on which waiting takes no time: it goes forward by as much instead. ``at_ms`` is what it shows at first."""

    def __init__(self, *, at_ms: int | None = None) -> None:
        self._lock = threading.Lock()
        self._skipped = 0.0
        self._set_by_ms = 0 if at_ms is None else at_ms - time.time_ns() // 1_000_000

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._set_by_ms + int(self._skipped * 1000)

    def monotonic(self) -> float:
        return time.monotonic() + self._skipped

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._skipped += seconds

    def set(self, seconds: float) -> None:
        """Set it forward, or back, as somebody does whose clock was wrong."""
        with self._lock:
            self._set_by_ms += int(seconds * 1000)


@dataclass(frozen=True)
class Shown:
    """One thing that Flock showed us: by which way, and the body as it was before it was packed."""

    kind: FeedKind | str
    body: bytes


class Tap:
    """Stands before the listener and remembers each push that was answered 200, in the order in which they entered the spool."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.statuses: list[int] = []
        self.answers: list[bytes] = []
        self.accepted: list[Shown] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        body = bytearray()
        # The place is taken when the body is complete: from there to the spool's queue nobody else gets a turn.
        place: list[Shown | None] = []

        async def tapped_receive() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body", False) and not place:
                place.append(_shown(scope, bytes(body)))
                self.accepted.append(place[0])  # type: ignore[arg-type]
            return message

        async def tapped_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.append(message["status"])
                if message["status"] != 200 and place:
                    self.accepted.remove(place[0])  # type: ignore[arg-type]
            elif message.get("body"):
                self.answers.append(message["body"])
            await send(message)

        await self.app(scope, tapped_receive, tapped_send)


def _shown(scope: Scope, body: bytes) -> Shown:
    packed = dict(scope["headers"]).get(b"content-encoding") == b"gzip"
    kind = "webhook" if scope["path"].startswith("/hooks/") else "event"
    return Shown(kind, gzip.decompress(body) if packed else body)


class TappedClient(FlockClient):
    """Remembers the messages that Flock returned."""

    fetched: list[Shown]

    def fetch_messages(
        self, token: UserToken, chat: str, uids: Sequence[str], *, turn: Turn | None = None
    ) -> list[bytes]:
        answer = super().fetch_messages(token, chat, uids, turn=turn)
        self.fetched += [Shown("fetch", raw) for raw in answer]
        return answer


@dataclass
class Station:
    """A machine. ``shown`` is what the runs so far had to archive, in order."""

    flock: Simulator
    state: Path
    store: Store
    clock: HurriedClock
    tap: Tap
    url: str
    token_key: Secret
    client: TappedClient
    listening: Listening
    feeds: dict[str, str] = field(default_factory=dict)
    gap_rules: GapRules = PATIENT
    trusted_origins: tuple[str, ...] = ()
    shown: list[Shown] = field(default_factory=list)
    _taken: int = 0

    @property
    def spool_path(self) -> Path:
        return self.state / "spool.sqlite"

    def run(
        self,
        *,
        only: Collection[StageName] = (),
        skip: Collection[StageName] = (),
        limits: Limits | None = None,
        store: Store | None = None,
        wrap_spool: Callable[[Spool], Spool] | None = None,
        executor: Executor | None = None,
        tokens: dict[str, str] | None = None,
        ask_flock: bool = True,
        threads: int = 4,
        progress: Progress | None = None,
    ) -> RunResult:
        """Run once as `archiver run` does, with the tokens that Flock gave and those that installations brought."""
        with self.ports(
            store=store,
            wrap_spool=wrap_spool,
            executor=executor,
            tokens=tokens,
            ask_flock=ask_flock,
            threads=threads,
        ) as ports:
            author = Author(
                f"run-{next(_attempts)}", "test", "test", writer_id(self.state, fresh=secrets.token_hex(16))
            )
            selection = Selection(only=only, skip=skip)
            return run_nightly(
                ports, author=author, limits=limits or Limits(), selection=selection, progress=progress or Silent()
            )

    @contextlib.contextmanager
    def ports(
        self,
        *,
        store: Store | None = None,
        wrap_spool: Callable[[Spool], Spool] | None = None,
        executor: Executor | None = None,
        tokens: dict[str, str] | None = None,
        ask_flock: bool = True,
        threads: int = 4,
    ) -> Iterator[Ports]:
        """Open what a run needs, holding the run lock; afterwards `shown` holds what the run could see."""
        self.take_pushes()
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold(self.state))
            archive = found_or_open(store or self.store)
            spool = SqliteSpool(self.spool_path)
            stack.callback(spool.close)
            self.client.fetched = self.shown
            files = FileOptions(
                hosts_allowed=("flockusercontent.com",),
                trusted_origins=(self.flock.files_url, self.flock.signed_url, *self.trusted_origins),
                timeout_seconds=1_000,
            )
            downloader = Downloader(
                files, folder=self.state / "downloads", clock=self.clock, ssl_context=_tls_context()
            )
            stack.enter_context(downloader)
            yield Ports(
                archive=archive,
                spool=wrap_spool(spool) if wrap_spool else spool,
                client=self.client if ask_flock else None,
                tokens=TokenPool(self._tokens(tokens)),
                downloader=downloader,
                clock=self.clock,
                executor=executor or stack.enter_context(ThreadPoolExecutor(2)),
                threads=threads,
                new_attempt=lambda: f"{next(_attempts):08x}",
                state=self.state,
                gap_rules=self.gap_rules,
            )

    def push(self, *bodies: bytes) -> None:
        """Push bodies through a webhook of this machine's listener, which takes them."""
        name, token = next(iter(self.feeds.items()))
        with httpx.Client(trust_env=False) as http:
            for body in bodies:
                answer = http.post(f"{self.url}/hooks/{PATH_SECRET}/{name}", params={"token": token}, content=body)
                assert (answer.status_code, answer.content) == (200, b"")

    def take_pushes(self) -> None:
        """Count what Flock pushed until now as shown."""
        self.shown += self.tap.accepted[self._taken :]
        self._taken = len(self.tap.accepted)

    def _tokens(self, given: dict[str, str] | None) -> list[UserToken]:
        texts = self.flock.user_tokens if given is None else given
        tokens = [UserToken(user, Secret(text)) for user, text in texts.items()]
        with TokenStore(self.state / "tokens.sqlite", key=self.token_key) as store:
            return tokens + (store.load() if given is None else [])

    def archive(self) -> Archive:
        return Archive.open(self.store)

    def head(self) -> Head:
        return self.archive().head()

    def rows(self, table: str) -> list[Row]:
        """Return all rows of a table in the order in which a reader of its files meets them, instants in milliseconds."""
        names = TABLES[table].schema.names
        batches = read_rows(self.store, files_of(self.head(), table), names)
        return [row for batch in batches for row in rows_of(batch)]

    def verify(self) -> Verification:
        with ThreadPoolExecutor(2) as executor:
            return verify(self.store, level="full", executor=executor)

    def waiting(self) -> int:
        """Return how many captures wait in the spool."""
        with contextlib.closing(SqliteSpool(self.spool_path)) as spool:
            return spool.depth().captures

    def objects(self) -> dict[str, bytes]:
        return {info.key: self.store.read(info.key) for info in self.store.list("")}


def found_or_open(store: Store) -> Archive:
    with contextlib.suppress(ledger.KeyExistsError):
        ledger.found(
            store,
            ArchiveFacts(
                format=FORMAT, archive_id="0f0f", workspace="simulated", created_at="2026-03-01T00:00:00.000Z"
            ),
        )
    return Archive.open(store)


@contextlib.contextmanager
def flock_in_a_hurry(*, at_ms: int | None = None, **how: Any) -> Iterator[tuple[Simulator, HurriedClock]]:
    """Start a Flock whose waits, as those of whoever shares its clock, take no time; the clock shows ``at_ms`` at first, else now."""
    clock = HurriedClock(at_ms=at_ms)
    with Simulator(clock=clock, **how) as flock:
        yield flock, clock


@contextlib.contextmanager
def station(
    folder: Path,
    *,
    on: tuple[Simulator, HurriedClock] | None = None,
    store: Store | None = None,
    shape: PushShape = "observed",
    tries_max: int = 6,
    **how: Any,
) -> Iterator[Station]:
    """Start a machine whose listener every channel's webhook and the app's events lead to.

    ``on`` is a Flock that runs already, for a second machine; else ``how`` says what Flock to start.
    """
    with contextlib.ExitStack() as stack:
        flock, clock = on or stack.enter_context(flock_in_a_hurry(**how))
        state = folder / "state"
        spool = SqliteSpool(state / "spool.sqlite")
        stack.callback(spool.close)
        token_key = Secret(Fernet.generate_key().decode())
        tokens = stack.enter_context(TokenStore(state / "tokens.sqlite", key=token_key))
        tap = Tap()
        feeds: dict[str, str] = {}

        def listener() -> Tap:
            tap.app = listener_app(
                ListenerOptions(
                    path_secret=Secret(PATH_SECRET),
                    webhook_tokens={name: Secret(token) for name, token in feeds.items()},
                    app_id=flock.app_id,
                    app_secret=Secret(flock.app_secret),
                ),
                committer=GroupCommitter(spool),
                clock=clock,
                tokens=tokens,
            )
            return tap

        listening = Listening(listener)
        stack.callback(listening.close)
        feeds |= _lead_to(flock, listening.url, state.parent.name, shape=shape)
        flock.set_listener(f"{listening.url}/events")
        listening.start()
        # Other threads' waits move the clock too, so patience with one request is long.
        options = FlockOptions(
            base_url=flock.base_url,
            requests_per_second=1_000.0,
            connections=4,
            timeout_seconds=10_000.0,
            tries_max=tries_max,
        )
        yield Station(
            flock=flock,
            state=state,
            store=store or MemoryStore(),
            clock=clock,
            tap=tap,
            url=listening.url,
            token_key=token_key,
            client=stack.enter_context(TappedClient(options, clock=clock)),
            listening=listening,
            feeds=feeds,
        )


def _lead_to(flock: Simulator, url: str, machine: str, *, shape: PushShape) -> dict[str, str]:
    callback = f"{url}/hooks/{PATH_SECRET}/{{name}}"
    feeds = flock.add_webhooks(callback, shape=shape)
    if feeds:
        return feeds
    for number, (channel_id, channel) in enumerate(flock.channels.items(), 1):
        name = f"{machine}-{number}"
        owner = next(iter(reversed(channel.members)))
        feeds[name] = flock.add_webhook(owner, channel_id, callback.replace("{name}", name), name=name, shape=shape)
    return feeds


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Return one context for all runs: making one takes longer than everything else about opening a run."""
    return ssl.create_default_context()
