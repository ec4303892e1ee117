"""What messages seem to reply to: asked once for a whole export, kept in a file beside it, and looked up slice by slice.

Who asks is brought in from outside (`Asked`), for the inference is one of `archiver query`, which an export does not know. The question
names the chats in which a message says that it is a reply, and from when until when: most exports have none, and ask nothing. A large
export has it asked by another process, with which all that it took goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.reader import Head
from archiver.discovery.export.beside import Beside
from archiver.discovery.export.scratch import ask

# What every reply has in its attachments, whatever its case (the view `inferred_replies`).
REPLY_WORDS: Final = "in reply to "
FILE: Final = "replies.sqlite"
NAMES_AT_ONCE: Final = 500
REPLIES_AT_ONCE: Final = 1_000

Found = tuple[str, str, str]
# Given a head, chats, and the first and the last instant of what replies (milliseconds since 1970 UTC, both included), it yields chat,
# uid of the reply and uid of its original, of each reply of which one original is certain.
Asked = Callable[[Head, Sequence[str], int, int], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Said:
    """Where messages say that they are replies: in which chats, and from when until when (milliseconds since 1970 UTC, both included)."""

    chats: frozenset[str] = frozenset()
    first_ms: int | None = None
    last_ms: int | None = None

    @classmethod
    def by(cls, rows: pa.Table) -> Said:
        """Return it of rows of messages."""
        said = rows.select(["chat_id", "sent_at", "attachments", "app_id"])
        # Most have neither, and finding that out costs next to nothing.
        for name in ("app_id", "attachments"):
            if said.column(name).null_count:
                said = said.filter(pc.is_valid(said.column(name)))
        found = said.filter(pc.match_substring(said.column("attachments"), REPLY_WORDS, ignore_case=True))
        if not found.num_rows:
            return cls()
        bounds = pc.min_max(pc.cast(found.column("sent_at"), pa.int64())).as_py()
        return cls(frozenset(pc.unique(found.column("chat_id")).to_pylist()), bounds["min"], bounds["max"])

    def joined(self, other: Said) -> Said:
        """Return this and another together."""
        if self.first_ms is None or self.last_ms is None:
            return other
        if other.first_ms is None or other.last_ms is None:
            return self
        return Said(self.chats | other.chats, min(self.first_ms, other.first_ms), max(self.last_ms, other.last_ms))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about replies, of whom, and of which head. All of it can be sent to another process, if ``asked`` can."""

    asked: Asked
    head: Head
    said: Said


class Replies:
    """What each message replies to, by chat and uid as the archive has them. ``folder`` is one for temporary files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: frozenset[str] = frozenset()
        self._table: sqlite3.Connection | None = None

    def ask(self, question: Question) -> None:
        """Ask once for all that is said; raises `StoreFullError` if the folder is full, and what ``asked`` raises."""
        said = question.said
        if said.first_ms is None or said.last_ms is None:
            return
        self._open()
        # It is made anew by every try, so that nothing of it need survive a crash.
        self._run("PRAGMA journal_mode = OFF")
        self._run("PRAGMA synchronous = OFF")
        self._run(
            "CREATE TABLE replies (chat_id TEXT, message_uid TEXT, original_uid TEXT, "
            "PRIMARY KEY (chat_id, message_uid)) WITHOUT ROWID"
        )
        source = iter(question.asked(question.head, sorted(said.chats), said.first_ms, said.last_ms))
        while found := list(islice(source, REPLIES_AT_ONCE)):
            places = ", ".join(["(?, ?, ?)"] * len(found))
            self._run(f"INSERT INTO replies VALUES {places}", [part for each in found for part in each])  # noqa: S608 - signs only
        self._know()

    def ask_beside(self, question: Question) -> bool:
        """Ask in another process, and tell whether one could be begun; raises as `ask`."""
        try:
            beside = Beside(_serve, (self._folder, question), called="asking")
        except OSError:
            return False
        with beside:
            beside.received()
        self.take_up()
        return True

    def take_up(self) -> None:
        """Know what another process asked for, in the same folder."""
        if (self._folder / FILE).exists():
            self._open()
            self._know()

    @property
    def chats(self) -> frozenset[str]:
        """The chats in which any message replies to one."""
        return self._known

    def has(self, chat_id: str) -> bool:
        """Tell whether any message of a chat replies to one."""
        return chat_id in self._known

    def of(self, chat_id: str, uids: Iterable[str]) -> Mapping[str, str]:
        """Return by its uid what each of some messages of a chat replies to, of those that reply to one."""
        if not self.has(chat_id):
            return {}
        found: dict[str, str] = {}
        rest = iter(uids)
        while names := list(islice(rest, NAMES_AT_ONCE)):
            places = ", ".join("?" * len(names))
            sql = f"SELECT message_uid, original_uid FROM replies WHERE chat_id = ? AND message_uid IN ({places})"  # noqa: S608 - signs only
            found.update((uid, original) for uid, original in self._run(sql, [chat_id, *names]))
        return found

    def close(self) -> None:
        """Close the file; who made its folder removes it."""
        if self._table is not None:
            self._table.close()

    def _open(self) -> None:
        self._table = sqlite3.connect(self._folder / FILE, isolation_level=None)

    def _know(self) -> None:
        self._known = frozenset(chat_id for (chat_id,) in self._run("SELECT DISTINCT chat_id FROM replies"))

    def _run(self, sql: str, values: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
        assert self._table is not None
        return ask(self._table, sql, values, folder=self._folder.parent)


def _serve(connection: Connection, order: tuple[Path, Question]) -> None:
    folder, question = order
    replies = Replies(folder)
    replies.ask(question)
    replies.close()
    connection.send(("asked", None))
