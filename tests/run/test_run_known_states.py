"""What is known of the directory costs a run as much as has changed since the last one, and never another answer."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.reader import Archive, Head, add_states, files_of, latest_states, read_states
from archiver.run import known_states
from archiver.run.known_states import States
from archiver.run.session import STATE_KEYS
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.run.station import station

KEY = STATE_KEYS["channels"]
_attempts = count(1)


def named(channel_id: str, name: str, *, at_ms: int) -> dict[str, Any]:
    facts = {"state": "listed", "captured_by": "u:ann", "raw": "{}", "state_digest": name}
    return {"channel_id": channel_id, "valid_from": at_ms, "name": name, **facts}


def add(archive: Archive, head: Head, *rows: dict[str, Any]) -> Head:
    return small_archive.add(archive, head, {"channels": list(rows)}, attempt=f"{next(_attempts):08x}")


def known(folder: Path, archive: Archive, head: Head) -> States:
    """Return what a run knows that recalls what it can and reads the rest."""
    states, records = known_states.recall(folder, head, "channels", KEY)
    add_states(states, KEY, read_states(archive.store, records, "channels"))
    return states


@pytest.fixture
def archive() -> Archive:
    return small_archive.found(MemoryStore())


@pytest.fixture
def head(archive: Archive) -> Head:
    """Two nights on which a channel got its name and another one."""
    first = add(archive, archive.head(), named("g:1", "one", at_ms=1_000))
    return add(archive, first, named("g:1", "two", at_ms=2_000))


class TestMemory:
    def test_only_what_was_committed_since_is_read(self, archive: Archive, head: Head, tmp_path: Path) -> None:
        known_states.keep(tmp_path, head, {"channels": known(tmp_path, archive, head)})
        later = add(archive, head, named("g:2", "other", at_ms=3_000))
        states, records = known_states.recall(tmp_path, later, "channels", KEY)
        assert [record.key for record in records] == [files_of(later, "channels")[-1].key]
        assert {key: row["name"] for key, row in states.items()} == {("g:1",): "two"}

    def test_without_one_everything_is_read(self, head: Head, tmp_path: Path) -> None:
        assert known_states.recall(tmp_path, head, "channels", KEY) == ({}, files_of(head, "channels"))

    @pytest.mark.parametrize("harm", [b"", b"short", b"\0" * 400], ids=["empty", "short", "zeros"])
    def test_a_damaged_one_is_none(self, archive: Archive, head: Head, tmp_path: Path, harm: bytes) -> None:
        known_states.keep(tmp_path, head, {"channels": known(tmp_path, archive, head)})
        (kept,) = (tmp_path / "states").iterdir()
        kept.write_bytes(harm)
        assert known_states.recall(tmp_path, head, "channels", KEY) == ({}, files_of(head, "channels"))

    def test_one_bit_is_damage(self, archive: Archive, head: Head, tmp_path: Path) -> None:
        known_states.keep(tmp_path, head, {"channels": known(tmp_path, archive, head)})
        (kept,) = (tmp_path / "states").iterdir()
        kept.write_bytes(kept.read_bytes().replace(b"two", b"twp"))
        assert known(tmp_path, archive, head)[("g:1",)]["name"] == "two"

    def test_of_another_archive_it_is_none(self, archive: Archive, head: Head, tmp_path: Path) -> None:
        known_states.keep(tmp_path, head, {"channels": known(tmp_path, archive, head)})
        other = small_archive.found(MemoryStore())
        others = add(other, add(other, other.head(), named("g:9", "nine", at_ms=1)), named("g:9", "ten", at_ms=2))
        assert known(tmp_path, other, others).keys() == {("g:9",)}

    def test_what_the_archive_no_longer_holds_is_not_remembered(
        self, archive: Archive, head: Head, tmp_path: Path
    ) -> None:
        known_states.keep(tmp_path, head, {"channels": known(tmp_path, archive, head)})
        gone = files_of(head, "channels")[-1].key
        disposed = msgspec.structs.replace(head, files={key: item for key, item in head.files.items() if key != gone})
        assert known(tmp_path, archive, disposed)[("g:1",)]["name"] == "one"

    def test_a_folder_that_cannot_be_written_fails_no_run(self, archive: Archive, head: Head, tmp_path: Path) -> None:
        (tmp_path / "states").write_text("a file where the folder should be")
        known_states.keep(tmp_path, head, {"channels": known(tmp_path, archive, head)})
        assert known(tmp_path, archive, head)[("g:1",)]["name"] == "two"


nights = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["g:1", "g:2"]), st.integers(0, 3)), min_size=1, max_size=3), st.booleans()
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(nights)
def test_whatever_was_kept_when_a_run_knows_what_reading_everything_tells(
    nights: list[tuple[list[tuple[str, int]], bool]],
) -> None:
    """Also where clocks go back: the newest instant counts, and of two from one instant the later commit."""
    archive = small_archive.found(MemoryStore())
    head = archive.head()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, (changes, is_kept) in enumerate(nights):
            rows = {channel: named(channel, f"n{number}", at_ms=at * 90_000_000) for channel, at in changes}
            head = add(archive, head, *rows.values())
            if is_kept:
                known_states.keep(folder, head, {"channels": known(folder, archive, head)})
            assert known(folder, archive, head) == latest_states(archive.store, head, "channels", KEY)


class Watched(MemoryStore):
    """A store that tells which objects were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self, key: str) -> BinaryIO:
        self.opened.append(key)
        return super().open(key)


def test_a_run_opens_no_state_that_it_knew_the_night_before(tmp_path: Path) -> None:
    store = Watched()
    with station(tmp_path, store=store, seed=7, people=5, channels=2, messages=0) as machine:
        machine.run()
        someone = next(iter(machine.flock.user_tokens))
        machine.flock.change_person(someone, first_name="Renamed")
        machine.run()
        store.opened.clear()
        machine.run()
        opened = {key.partition("/")[0] for key in store.opened}
        assert opened.isdisjoint(STATE_KEYS)
        assert [row["first_name"] for row in machine.rows("users") if row["user_id"] == someone][-1] == "Renamed"
