"""What the stages of one run share: the archive's head, who commits, what is known of names, and the time left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from archiver.archive.commit import Author, Draft, commit
from archiver.archive.ledger import HeadMovedError
from archiver.archive.reader import Archive, Head, add_states, files_of, read_states
from archiver.archive.tables import rows_of
from archiver.capture.file_rows import FileFetches
from archiver.capture.files import Downloader
from archiver.capture.gaps import GapRules
from archiver.capture.history_source import OpenHistory
from archiver.capture.sweep import SweepRules
from archiver.capture.token_keeper import TokenKeeper
from archiver.capture.token_pool import TokenPool
from archiver.clock import Clock
from archiver.flock.client import FlockClient
from archiver.ids import is_foreign
from archiver.run import known_states
from archiver.run.known_states import States
from archiver.run.result import Progress, StageResult
from archiver.spool import Spool

COMMIT_TRIES_MAX = (
    20  # another writer may be quicker many times in a row; each time costs one more look at what it added
)

STATE_KEYS = {
    "users": ("user_id",),
    "channels": ("channel_id",),
    "groups": ("channel_id", "user_id"),
    "conversations": ("chat_id",),
    "gaps": ("gap_id",),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one commit may hold, how long the run may take (None: as long as it needs), and what is read again."""

    messages_per_commit: int = 20_000
    bytes_per_commit: int = 128 * 1024 * 1024
    seconds_per_commit: float = 600.0
    run_seconds_max: float | None = None
    sweep: SweepRules = field(default_factory=SweepRules)


@dataclass(frozen=True, slots=True)
class RetentionOrder:
    """What a run does about retention: by the policy in this file, plan, and apply what it planned if somebody approved that."""

    policy: Path
    applies: bool = False
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """A catalog of another engine that runs bring to their last commit, by its name.

    ``publish`` returns how many things it changed, none where the catalog shows that head already; it raises `ArchiverError`.
    """

    name: str
    publish: Callable[[Archive, Head], int]


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside world as `archiver.wiring` put it together.

    ``client`` is None where Flock is not to be asked at all; ``scratch`` is a folder for files under way;
    ``new_attempt`` returns eight random hex digits.
    ``executor`` has threads for the store and the spool.
    ``state`` is this machine's own folder, None to keep no memory of the head; ``keeper`` learns which tokens were refused.
    ``mirror_holds`` says that the store is to have the legal holds too.
    ``retention`` is None where runs leave that to people. ``refresh_index`` brings the index of searches to a head and returns what it
    counted, None if another process is just doing so; it is None where runs leave that to searches.
    """

    archive: Archive
    spool: Spool
    client: FlockClient | None
    tokens: TokenPool
    downloader: Downloader
    clock: Clock
    executor: Executor
    threads: int
    new_attempt: Callable[[], str]
    state: Path | None = None
    keeper: TokenKeeper | None = None
    gap_rules: GapRules = field(default_factory=GapRules)
    histories: tuple[OpenHistory, ...] = ()
    mirror_holds: bool = False
    retention: RetentionOrder | None = None
    refresh_index: Callable[[Archive, Head], Mapping[str, int] | None] | None = None
    catalogs: tuple[Publisher, ...] = ()


class Session:
    """One run under way: it knows the head and commits on top of it."""

    def __init__(self, ports: Ports, *, author: Author, limits: Limits, progress: Progress) -> None:
        self.ports = ports
        self.author = author
        self.limits = limits
        self.progress = progress
        self.head: Head = ports.archive.head()
        self.commits = 0
        self.results: list[StageResult] = []
        started = ports.clock.monotonic()
        self._deadline = None if limits.run_seconds_max is None else started + limits.run_seconds_max
        self._states: dict[str, States] = {}
        self._names: dict[str, str] | None = None

    @property
    def tokens(self) -> TokenPool:
        """The tokens of this run, without those that Flock refused."""
        return self.ports.tokens

    @property
    def out_of_time(self) -> bool:
        """Tell whether the run has used up its time; a stage then ends after the commit it is at."""
        return self._deadline is not None and self.ports.clock.monotonic() >= self._deadline

    def states(self, table: str) -> States:
        """Return the newest row of everything in a table of states; read once a run and kept up by `commit`."""
        if table not in self._states:
            key, state = STATE_KEYS[table], self.ports.state
            known: States = {}
            records = files_of(self.head, table)
            if state is not None:
                known, records = known_states.recall(state, self.head, table, key)
            add_states(known, key, read_states(self.ports.archive.store, records, table))
            self._states[table] = known
        return self._states[table]

    def states_of_flock(self, table: str) -> States:
        """Return `states` without what was imported from another system, of which Flock knows nothing."""
        return {key: row for key, row in self.states(table).items() if not is_foreign(key[0])}

    def keep_states(self) -> None:
        """Keep what the run knew in the end for the next one on this machine."""
        if self.ports.state is not None:
            known_states.keep(self.ports.state, self.head, self._states)

    def sender_names(self) -> dict[str, str]:
        """Return the names of all known users by user id."""
        if self._names is None:
            named = (
                (state["user_id"], " ".join(filter(None, (state["first_name"], state["last_name"]))))
                for state in self.states("users").values()
            )
            self._names = {user_id: name for user_id, name in named if name}
        return self._names

    def file_fetches(self) -> FileFetches:
        """Return a new place for the files of one batch; leaving it removes what it holds on this machine."""
        return FileFetches(self.ports.downloader)

    def commit(self, prepare: Callable[[Head], Draft]) -> None:
        """Commit what ``prepare`` makes of the head; if another writer was first, start over on its head.

        A draft that would say nothing is not committed. Raises `HeadMovedError` after `COMMIT_TRIES_MAX` lost races.
        """
        for attempt in range(1, COMMIT_TRIES_MAX + 1):
            draft = prepare(self.head)
            if draft.is_empty:
                return
            try:
                self.head = commit(
                    self.ports.archive,
                    self.head,
                    draft,
                    author=self.author,
                    attempt=self.ports.new_attempt(),
                    executor=self.ports.executor,
                )
            except HeadMovedError:
                if attempt == COMMIT_TRIES_MAX:
                    raise
                self._forget()
                self.head = self.ports.archive.head(self.head)
            else:
                self.commits += 1
                self._learn(draft)
                return

    def stand_on(self, head: Head, *, are_ours: bool = False) -> None:
        """Go on from another head, whose commits are this run's own or others'; what was known of states is read anew."""
        if head.sequence == self.head.sequence:
            return
        if are_ours:
            self.commits += head.sequence - self.head.sequence
        self.head = head
        self._forget()

    def _learn(self, draft: Draft) -> None:
        for table, states in self._states.items():
            if table in draft.tables:
                add_states(states, STATE_KEYS[table], rows_of(draft.tables[table]))
        if "users" in draft.tables:
            self._names = None

    def _forget(self) -> None:
        self._states.clear()
        self._names = None
