from __future__ import annotations

from pathlib import Path

import pytest

from archiver.archive import ledger
from archiver.archive.ledger import HoldScope, MatterAct
from archiver.archive.matters import checked_matter, record_act
from archiver.errors import StoreRefusedError, UsageError
from archiver.store.memory import MemoryStore
from tests import small_archive


def _act(head: small_archive.Head) -> MatterAct:
    return MatterAct(
        matter="acme-v-roe",
        scope=HoldScope(custodians=("u:ann",), expression="merger"),
        head_sequence=head.sequence,
        head_digest=head.digest,
        counts={"messages": 3},
    )


def test_what_is_done_on_behalf_of_a_matter_is_an_entry_of_its_own_that_changes_no_row(tmp_path: Path) -> None:
    archive, head = small_archive.build(MemoryStore(), tmp_path)
    after = record_act(
        archive, head, "search", _act(head), author=small_archive.AUTHOR, now_ms=lambda: 1_800_000_000_000
    )
    entry, digest = ledger.read_entry(archive.store, after.sequence)
    assert (entry.kind, entry.actor, entry.matter) == ("search", "test", _act(head))
    assert (after.digest, after.files, after.rows) == (digest, head.files, head.rows)
    assert archive.head() == after


def test_it_follows_whatever_another_writer_entered_meanwhile(tmp_path: Path) -> None:
    archive, head = small_archive.build(MemoryStore(), tmp_path)
    moved = small_archive.add(
        archive, head, {"messages": [small_archive.message("m-9", 22, "late")]}, attempt="cccccccc"
    )
    after = record_act(
        archive, head, "export", _act(head), author=small_archive.AUTHOR, now_ms=lambda: 1_800_000_000_000
    )
    assert after.sequence == moved.sequence + 1
    assert after.rows == moved.rows


class _ForgetfulStore(MemoryStore):
    """A store that lets two writers both win, as one without conditional writes does."""

    def probe(self) -> None:
        raise StoreRefusedError("it takes a second create", next_step="name another store")


def test_nothing_is_entered_in_a_store_that_lets_two_writers_win(tmp_path: Path) -> None:
    archive, head = small_archive.build(_ForgetfulStore(), tmp_path)
    with pytest.raises(StoreRefusedError):
        record_act(archive, head, "replay", _act(head), author=small_archive.AUTHOR, now_ms=lambda: 1_800_000_000_000)
    assert archive.head() == head


@pytest.mark.parametrize("name", ["", " ", "../x", "Smith v. Acme", "-x", "x.", "a" * 65, "ma\x1btter"])
def test_a_matter_has_one_name_that_can_be_part_of_a_files_name(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a matter"):
        checked_matter(name)
    assert checked_matter("smith-v-acme") == "smith-v-acme"
