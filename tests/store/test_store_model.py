"""Any sequence of calls does to a store what it would do to a dictionary."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from archiver.errors import KeyExistsError, KeyMissingError
from archiver.store import ObjectInfo, Store
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore

# Folders are upper case and objects lower case, so that no key is also a folder; few of each, so that they meet often.
FOLDERS = st.sampled_from(["A", "AB", "A-B", "A.B", "dT=1-2", "A B"])
NAMES = st.sampled_from(["a", "ab", "a-b", "a.b", "a b", "~", "!"])
KEYS = st.builds(lambda folders, name: "/".join([*folders, name]), st.lists(FOLDERS, max_size=3), NAMES)
CONTENTS = st.binary(max_size=20)
BEGINNINGS = st.one_of(st.just(""), KEYS.flatmap(lambda key: st.integers(0, len(key)).map(lambda length: key[:length])))


class StoreMachine(RuleBasedStateMachine):
    """The store under test beside the dictionary that it should be."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(key=KEYS, content=CONTENTS, from_file=st.booleans())
    def create(self, key: str, content: bytes, from_file: bool) -> None:
        source = Path(self.folder.name, "source")
        source.write_bytes(content)
        data = source if from_file else content
        if key in self.model:
            with pytest.raises(KeyExistsError):
                self.store.create(key, data)
        else:
            self.store.create(key, data)
            self.model[key] = content

    @rule(key=KEYS, content=CONTENTS)
    def replace(self, key: str, content: bytes) -> None:
        self.store.replace(key, content)
        self.model[key] = content

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(key=KEYS)
    def erase(self, key: str) -> None:
        self.store.erase(key)
        self.model.pop(key, None)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete_one_that_is_there(self, data: st.DataObject) -> None:
        self.delete(data.draw(st.sampled_from(sorted(self.model))))

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        if key in self.model:
            assert self.store.read(key) == self.model[key]
            assert self.store.stat(key) == ObjectInfo(key, len(self.model[key]))
            with self.store.open(key) as reader:
                assert reader.read() == self.model[key]
        else:
            for ask in (self.store.read, self.store.stat, self.store.open):
                with pytest.raises(KeyMissingError):
                    ask(key)

    @rule()
    def probe_and_sweep(self) -> None:
        self.store.probe()
        assert self.store.sweep() == 0

    @rule(prefix=BEGINNINGS, after=BEGINNINGS)
    def list_a_part(self, prefix: str, after: str) -> None:
        expected = [key for key in sorted(self.model) if key.startswith(prefix) and key > after]
        assert [info.key for info in self.store.list(prefix, after=after)] == expected

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        expected = [ObjectInfo(key, len(content)) for key, content in sorted(self.model.items())]
        assert list(self.store.list("")) == expected


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()


class LocalMachine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = LocalStore(Path(self.folder.name, "store"))


TestMemoryStore = MemoryMachine.TestCase
TestMemoryStore.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLocalStore = LocalMachine.TestCase
TestLocalStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
