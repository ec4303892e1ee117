"""Over any sequence of commits, disposals and crashes: written = present + disposed, and the rows are those that a plain list holds."""

from __future__ import annotations

import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from archiver.archive import layout
from archiver.archive.reader import Archive, Head
from archiver.archive.recover import recover
from archiver.custody.verify import verify
from archiver.retention.erasing import finish_disposals
from archiver.retention.plan_document import store_plan
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import AT_MS, AUTHOR, InlineExecutor, add, blob, event, found, message
from tests.faulty_store import EFFECTS, Effect, FaultyStore, Stopped
from tests.retention.disposing import apply, file_row, objects_of, places_of, plan_for, rows_in

KEYS = st.tuples(
    st.sampled_from(["g:1", "g:2", "u:1,u:2"]), st.sampled_from([f"{AT_MS}-a", f"{AT_MS}-b", "import 1", "import 2"])
)
MESSAGES = st.lists(st.tuples(KEYS, st.integers(0, 2)), min_size=1, max_size=5)
FILES = st.lists(st.tuples(KEYS, st.integers(0, 1), st.sampled_from([b"one content", b"another content"])), max_size=3)

Row = tuple[str, str, str]  # table, chat, uid


class DisposalMachine(RuleBasedStateMachine):
    """An archive beside a list of its rows, each with a word that no other has."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = MemoryStore()
        self.archive = found(self.store)
        self.head: Head = self.archive.founding_head()
        self.rows: dict[str, Row] = {}
        self.files: dict[str, tuple[str, str, int, bytes]] = {}
        self.gone: set[str] = set()
        self.written: Counter[str] = Counter()
        self.number = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    def word(self) -> str:
        self.number += 1
        return f"word{self.number:04}."

    @initialize(messages=MESSAGES)
    def begin(self, messages: list[Any]) -> None:
        self.commit(messages, [], pushed=True)

    @rule(messages=MESSAGES, files=FILES, pushed=st.booleans())
    def commit(self, messages: list[Any], files: list[Any], pushed: bool) -> None:
        tables: dict[str, list[dict[str, Any]]] = {"messages": [], "files": [], "events": []}
        blobs: dict[Any, Path] = {}
        for (chat, uid), day in messages:
            word = self.word()
            self.rows[word] = ("messages", chat, uid)
            tables["messages"].append(message(uid, chat_id=chat, day=day, text=word))
            if pushed:
                word = self.word()
                self.rows[word] = ("events", chat, uid)
                tables["events"].append({**event(self.number), "chat_id": chat, "message_uid": uid, "attributes": word})
        for (chat, uid), ordinal, content in files:
            word = self.word()
            self.files[word] = (chat, uid, ordinal, content)
            tables["files"].append({**file_row((chat, uid), ordinal, content), "name": word})
            blobs |= blob(Path(self.folder.name), content)
        self.written.update({table: len(rows) for table, rows in tables.items()})
        self.head = add(self.archive, self.head, tables, blobs=blobs)

    def chosen(self, data: st.DataObject) -> tuple[list[Any], list[Any]]:
        messages = sorted({row[1:] for row in self.rows.values() if row[0] == "messages"})
        files = sorted({row[:3] for row in self.files.values()})
        picked = data.draw(st.lists(st.sampled_from([*messages, *files]), min_size=1, unique=True))
        return [key for key in picked if len(key) == 2], [key for key in picked if len(key) == 3]

    def forget(self, messages: list[Any], files: list[Any]) -> None:
        going = {word for word, (_, *key) in self.rows.items() if tuple(key) in messages}
        going |= {word for word, row in self.files.items() if row[:3] in files}
        self.gone |= going
        self.rows = {word: row for word, row in self.rows.items() if word not in going}
        self.files = {word: row for word, row in self.files.items() if word not in going}

    @precondition(lambda self: self.files or any(row[0] == "messages" for row in self.rows.values()))
    @rule(data=st.data())
    def dispose(self, data: st.DataObject) -> None:
        messages, files = self.chosen(data)
        plan = plan_for(self.archive, self.head, messages, files)
        store_plan(self.store, plan)
        self.head = apply(self.archive, self.head, plan, attempt=f"{self.number:08x}").head
        self.forget(messages, files)

    @precondition(lambda self: self.files or any(row[0] == "messages" for row in self.rows.values()))
    @rule(data=st.data(), stop_at=st.integers(1, 60), effect=st.sampled_from(EFFECTS))
    def stop_a_disposal(self, data: st.DataObject, stop_at: int, effect: Effect) -> None:
        messages, files = self.chosen(data)
        plan = plan_for(self.archive, self.head, messages, files)
        failing = Archive(
            FaultyStore(self.store, stop_at=stop_at, effect=effect), self.archive.facts, self.archive.facts_digest
        )
        try:
            apply(failing, self.head, plan, attempt=f"{self.number:08x}")
        except Stopped:
            self.look()
        head = self.archive.head()
        if head.sequence > self.head.sequence:
            self.forget(messages, files)
        recover(self.archive, writer=AUTHOR.writer, now_ms=AT_MS)
        self.head, _ = finish_disposals(
            self.archive, head, author=AUTHOR, now_ms=AT_MS, executor=InlineExecutor(), progress=lambda *_: None
        )

    def look(self) -> None:
        with ThreadPoolExecutor(1) as executor:
            outcome = verify(self.store, level="full", executor=executor)
        assert outcome.damages == ()
        for table, written in self.written.items():
            if written:
                account = outcome.accounts[table]
                assert account.written == written == account.present + account.disposed

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        self.look()
        words = [row["text"] for row in rows_in(self.store, self.head, "messages")]
        words += [row["attributes"] for row in rows_in(self.store, self.head, "events")]
        words += [row["name"] for row in rows_in(self.store, self.head, "files")]
        assert sorted(words) == sorted([*self.rows, *self.files])
        assert {table: count for table, count in self.head.disposed.items() if count} == {
            table: self.written[table] - count
            for table, count in ((name, self.head.rows.get(name, 0)) for name in self.written)
            if self.written[table] != count
        }

    @invariant()
    def nothing_that_went_is_found(self) -> None:
        objects = objects_of(self.store)
        assert {word for word in self.gone if places_of(word, objects)} == set()
        named = {layout.blob_key(sha256(row[3]).hexdigest()) for row in self.files.values()}
        assert {key for key in objects if key.startswith(layout.BLOB_PREFIX)} == named
        assert self.head == self.archive.head()
        assert self.head.unerased == ()


TestDisposals = DisposalMachine.TestCase
TestDisposals.settings = settings(max_examples=5, stateful_step_count=6, deadline=None)


class TestDisposalsAtLength(DisposalMachine.TestCase):  # type: ignore[name-defined]
    pytestmark = pytest.mark.slow
    settings = settings(max_examples=150, stateful_step_count=15, deadline=None)
