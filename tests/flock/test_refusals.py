"""The memory of refused tokens: kept from run to run, without any token, and no obstacle when it is damaged."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from archiver.errors import StorageError
from archiver.flock.refusals import Refusal, RefusalMemory

AT_MS = 1_700_000_000_000


def refusal(user: str = "u:ada", fingerprint: str = "0a1b2c3d", at_ms: int = AT_MS) -> Refusal:
    return Refusal(user, fingerprint, "InvalidToken", "Flock says no", "install again", at_ms, at_ms)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "refused-tokens.json"


def test_what_was_refused_is_known_to_the_next_run(path):
    RefusalMemory(path).update(refused=[refusal(), refusal("u:bob")])
    assert RefusalMemory(path).load() == {
        ("u:ada", "0a1b2c3d"): refusal(),
        ("u:bob", "0a1b2c3d"): refusal("u:bob"),
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_refused_again_is_refused_since_its_first_time(path):
    memory = RefusalMemory(path)
    memory.update(refused=[refusal()])
    memory.update(refused=[refusal(at_ms=AT_MS + 5)])
    (kept,) = memory.load().values()
    assert (kept.first_at_ms, kept.last_at_ms) == (AT_MS, AT_MS + 5)


def test_what_is_forgotten_is_gone_and_the_rest_stays(path):
    memory = RefusalMemory(path)
    memory.update(refused=[refusal(), refusal("u:bob")])
    memory.update(forget=[("u:ada", "0a1b2c3d"), ("u:eve", "0a1b2c3d")])
    assert memory.load().keys() == {("u:bob", "0a1b2c3d")}


def test_nothing_is_written_where_nothing_changes(path):
    RefusalMemory(path).update(forget=[("u:ada", "0a1b2c3d")])
    assert not path.exists()


@pytest.mark.parametrize("left", [b"", b"{", b"[{}]", b"\xff", b"null"])
def test_a_damaged_file_is_no_memory_and_is_written_anew(path, left):
    path.parent.mkdir()
    path.write_bytes(left)
    memory = RefusalMemory(path)
    assert memory.load() == {}
    memory.update(refused=[refusal()])
    assert len(memory.load()) == 1


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="refused-tokens"):
        RefusalMemory(tmp_path / "state" / "refused-tokens.json").update(refused=[refusal()])
