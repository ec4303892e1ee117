"""A ledger that has lost its end is still a chain; a machine that saw the end knows better."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archiver.archive import ledger
from archiver.archive.reader import Archive, Head
from archiver.errors import EXIT_DAMAGE, LedgerBrokenError
from archiver.run import last_head
from archiver.simulator.config_files import write_config
from archiver.simulator.server import Simulator
from archiver.store.memory import MemoryStore


def _archive(archive_id: str = "a1") -> Archive:
    store = MemoryStore()
    facts = ledger.ArchiveFacts(
        format=1, archive_id=archive_id, workspace="acme", created_at="2026-11-22T00:00:00.000Z"
    )
    ledger.found(store, facts)
    return Archive.open(store)


def _commit(archive: Archive, head: Head, *, run: str) -> Head:
    entry = ledger.Entry(
        format=1,
        archive_id=archive.facts.archive_id,
        sequence=head.sequence + 1,
        previous=head.digest,
        at="2026-11-22T02:15:00.000Z",
        kind="capture",
        run=run,
        actor="cron",
        software="test",
        added=(),
        blobs=(),
        removed=(),
        settled=(),
        watermarks={},
        counts={},
        gaps=(),
    )
    ledger.append(archive.store, entry)
    return archive.head(head)


class TestAMachineThatSawTheHead:
    def test_goes_on_where_the_ledger_still_holds_it(self, tmp_path: Path) -> None:
        archive = _archive()
        head = _commit(archive, archive.head(), run="one")
        last_head.remember(tmp_path, archive, head)
        last_head.check(tmp_path, archive)
        _commit(archive, head, run="of another machine")
        last_head.check(tmp_path, archive)

    def test_refuses_a_ledger_whose_end_is_gone(self, tmp_path: Path) -> None:
        archive = _archive()
        head = _commit(archive, _commit(archive, archive.head(), run="one"), run="two")
        last_head.remember(tmp_path, archive, head)
        archive.store.delete("ledger/000000000002.json")
        with pytest.raises(LedgerBrokenError, match="does not hold entry 2") as broken:
            last_head.check(tmp_path, archive)
        assert broken.value.exit_code == EXIT_DAMAGE

    def test_refuses_a_ledger_that_went_another_way(self, tmp_path: Path) -> None:
        archive = _archive()
        first = _commit(archive, archive.head(), run="one")
        last_head.remember(tmp_path, archive, _commit(archive, first, run="two"))
        archive.store.delete("ledger/000000000002.json")
        _commit(archive, first, run="a forged two")
        with pytest.raises(LedgerBrokenError):
            last_head.check(tmp_path, archive)

    def test_has_no_opinion_on_another_archive(self, tmp_path: Path) -> None:
        archive = _archive()
        last_head.remember(tmp_path, archive, _commit(archive, archive.head(), run="one"))
        last_head.check(tmp_path, _archive("a2"))

    @pytest.mark.parametrize("left", [b"", b"{", b"\xff", b'{"archive_id": 3}'])
    def test_takes_what_a_crash_left_for_no_memory(self, tmp_path: Path, left: bytes) -> None:
        (tmp_path / "last-head.json").write_bytes(left)
        last_head.check(tmp_path, _archive())


def test_run_and_verify_end_with_4_and_change_nothing(tmp_path: Path) -> None:
    def archiver(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "archiver", *words, "--config", str(tmp_path / "archiver.yaml")]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    with Simulator(seed=3, messages=0) as flock:
        write_config(flock, tmp_path, listener_url="http://127.0.0.1:1")
        assert archiver("run").returncode == 3  # nothing was ever pushed
        shutil.copytree(tmp_path / "archive", tmp_path / "earlier")
        flock.change_person(next(iter(flock.user_tokens)), first_name="Renamed")
        assert archiver("run").returncode == 0
        shutil.rmtree(tmp_path / "archive")
        shutil.copytree(tmp_path / "earlier", tmp_path / "archive")
        for words in (("run",), ("verify",)):
            refused = archiver(*words)
            assert refused.returncode == EXIT_DAMAGE, refused.stderr
            assert "does not hold entry 3" in refused.stderr + refused.stdout
        assert len(list((tmp_path / "archive" / "ledger").glob("0*.json"))) == 2
