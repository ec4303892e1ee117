from __future__ import annotations

from pathlib import Path

from archiver.archive import ledger
from archiver.archive.ledger import HoldScope, MatterAct
from archiver.archive.matters import record_act
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
