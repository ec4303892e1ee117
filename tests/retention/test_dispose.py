"""A plan is done exactly, or not at all; nothing of what went is found again, and nothing else changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from archiver.archive import layout, ledger
from archiver.archive.commit import FOREIGN_NOTE_AGE_MS, Author, Draft, Pending, commit, write_note
from archiver.archive.ledger import HeadMovedError, HoldChange, HoldScope, MatterAct, Promotion
from archiver.archive.matters import record_act
from archiver.archive.promoted import promote_copy
from archiver.archive.reader import Archive, Head, files_of, open_files
from archiver.clock import DAY_MS, day_of
from archiver.errors import DamageFoundError, RefusedError, StoreUnreachableError
from archiver.retention.certificate import lines_of, load_certificate
from archiver.retention.coverage import Coverage
from archiver.retention.erasing import Erasure, finish_disposals
from archiver.retention.plan_document import ITEMS, Plan, PlanLimits, items_digest, load_plan, store_plan
from archiver.scope.membership import Membership
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import (
    AT_MS,
    AUTHOR,
    STRANGER,
    InlineExecutor,
    add,
    blob,
    message,
    missing,
    objects,
    unnamed,
)
from tests.faulty_store import FaultyStore, Stopped
from tests.retention.disposing import (
    ALONE,
    ASTRAY,
    EDITED,
    EVERY_SECRET,
    FILED,
    PENDING,
    SHARED,
    UNTIMED,
    Key,
    NoHolds,
    apply,
    build,
    every_row,
    file_row,
    objects_of,
    of_messages,
    places_of,
    plan_for,
    rows_but,
    rows_in,
    secret_of,
)
from tests.retention.hold_steps import placed
from tests.retention.late_listing import LateListing
from tests.retention.plans import message_item, plan_of

PLAN_ANEW = "make a new plan with `archiver retention plan`, and have that approved"
LESS = "make several plans of less, or raise the limit in the policy and plan again"
OWN = sha256(b"the peony's own file").hexdigest()
BOTH = sha256(b"a file of two messages").hexdigest()


@pytest.fixture
def built(tmp_path: Path) -> tuple[Archive, Head]:
    return build(MemoryStore(), tmp_path)


class TestWhatGoes:
    @pytest.mark.parametrize(
        "keys",
        [*((key,) for key in EVERY_SECRET), EVERY_SECRET],
        ids=lambda keys: secret_of(keys[0]) if len(keys) == 1 else "all",
    )
    def test_all_rows_of_an_item_wherever_they_lie_and_no_other_row(
        self, built: tuple[Archive, Head], keys: tuple[Key, ...]
    ) -> None:
        archive, head = built
        expected = rows_but(archive.store, head, of_messages(*keys))
        before = every_row(archive.store, head)
        plan = plan_for(archive, head, keys)
        store_plan(archive.store, plan)

        done = apply(archive, head, plan)

        assert every_row(archive.store, done.head) == expected
        assert sum(done.certificate.rows.values()) == sum((before - expected).values()) > 0
        assert archive.head() == done.head

    def test_no_byte_of_it_is_found_in_any_object(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        files = [(*FILED, 0), (*FILED, 1), (*FILED, 2), (*SHARED, 0)]
        words = [secret_of(key) for key in EVERY_SECRET] + ["the peony's own file", "a file of two messages"]
        assert all(places_of(word, objects_of(archive.store)) for word in words)
        plan = plan_for(archive, head, EVERY_SECRET, files)
        store_plan(archive.store, plan)

        apply(archive, head, plan)

        assert {word: found for word in words if (found := places_of(word, objects_of(archive.store)))} == {}
        assert places_of("kept 3", objects_of(archive.store)) != set()

    def test_an_object_of_which_all_goes_leaves_none_in_its_place(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        apply(archive, head, plan_for(archive, head, [ALONE]))

        entry, _ = ledger.read_entry(archive.store, head.sequence + 1)
        assert entry.added == ()
        assert [removal.key for removal in entry.removed] == [
            record.key
            for record in files_of(head, "messages")
            if (record.rows, layout.partition_of(record.key)[1]) == (1, _day(5))
        ]

    def test_a_file_goes_and_its_message_stays(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        expected = rows_but(
            archive.store,
            head,
            lambda table, row: table == "files" and row["message_uid"] == FILED[1] and row["ordinal"] == 0,
        )

        done = apply(archive, head, plan_for(archive, head, files=[(*FILED, 0)]))

        assert every_row(archive.store, done.head) == expected
        assert done.certificate.items == {"file": 1}

    def test_the_plan_and_the_certificate_stay(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        digest = store_plan(archive.store, plan)
        done = apply(archive, head, load_plan(archive.store, digest))
        assert load_plan(archive.store, digest).items == plan.items
        assert load_certificate(archive.store, digest) == done.certificate

    def test_threads_do_the_same(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        expected = rows_but(archive.store, head, of_messages(*EVERY_SECRET))
        with ThreadPoolExecutor(4) as executor:
            done = apply(archive, head, plan_for(archive, head, EVERY_SECRET), executor=executor)
        assert every_row(archive.store, done.head) == expected

    def test_nothing_is_left_lying_about_not_even_by_an_attempt_of_this_machine_before(
        self, built: tuple[Archive, Head]
    ) -> None:
        archive, head = built
        lost = layout.data_key("users", day_of(AT_MS), sequence=3, attempt="eeeeeeee", number=1)
        write_note(archive.store, Pending(sequence=3, attempt="eeeeeeee", writer="here", at_ms=AT_MS, keys=(lost,)))
        archive.store.create(lost, b"written before it crashed")
        plan = plan_for(archive, head, EVERY_SECRET)
        store_plan(archive.store, plan)
        done = apply(archive, head, plan)
        accounted = {
            layout.certificate_key(plan.digest),
            layout.plan_key(plan.digest),
            layout.plan_items_key(plan.digest),
        }
        assert unnamed(archive.store) == accounted
        assert missing(archive.store) & set(done.head.files) == set()
        assert (done.head.unerased, done.erasure.kept) == ((), ())


class TestBlobs:
    def blobs(self, archive: Archive) -> set[str]:
        return {info.key.rpartition("/")[2] for info in archive.store.list(layout.BLOB_PREFIX)}

    def test_the_last_reference_takes_the_blob_along(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        done = apply(archive, head, plan_for(archive, head, files=[(*FILED, 0), (*FILED, 1)]))
        assert self.blobs(archive) == {BOTH}
        assert [item.sha256 for item in done.certificate.blobs] == [OWN]

        again = apply(archive, done.head, plan_for(archive, done.head, files=[(*SHARED, 0)]), attempt="00000002")
        assert self.blobs(archive) == set()
        assert [item.sha256 for item in again.certificate.blobs] == [BOTH]

    def test_a_message_that_goes_leaves_its_files_to_their_own_rule(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        apply(archive, head, plan_for(archive, head, [FILED]))
        assert self.blobs(archive) == {OWN, BOTH}

    def test_one_that_came_again_since_is_not_erased(self, built: tuple[Archive, Head], tmp_path: Path) -> None:
        """Its bytes were committed again after the disposal's entry, and before anybody came to erase them."""
        archive, head = built
        head = self.unerased(archive, head)
        late = file_row(("g:1", "late"), 0, b"the peony's own file")
        head = add(
            archive,
            head,
            {"files": [late]},
            blobs=blob(tmp_path, b"the peony's own file"),
            at_ms=AT_MS + FOREIGN_NOTE_AGE_MS,
        )

        head, [erasure] = finish(archive, head)

        assert (erasure.kept, head.unerased) == ((), ())
        assert self.blobs(archive) == {OWN, BOTH}

    def test_one_that_is_just_being_erased_is_not_named_again(
        self, built: tuple[Archive, Head], tmp_path: Path
    ) -> None:
        """The other machine would find it there, and it would be gone when its commit is."""
        archive, head = built
        head = self.unerased(archive, head)
        before = objects(archive.store)
        with pytest.raises(RefusedError, match="while disposal 3 is still erasing it"):
            add(
                archive,
                head,
                {"messages": [message("m")]},
                author=STRANGER,
                blobs=blob(tmp_path, b"the peony's own file"),
            )
        assert objects(archive.store) == before
        add(archive, head, {"messages": [message("m")]}, author=STRANGER, blobs=blob(tmp_path, b"another content"))

    def unerased(self, archive: Archive, head: Head) -> Head:
        """Dispose of the peony's own file and stop right after the entry."""
        for stop_at in range(1, 100):
            store = FaultyStore(archive.store, stop_at=stop_at, effect="after", counted="writes")
            with pytest.raises(Stopped):
                apply(
                    Archive(store, archive.facts, archive.facts_digest),
                    head,
                    plan_for(archive, head, files=[(*FILED, 0)]),
                )
            head = archive.head()
            if head.unerased:
                return head
        raise AssertionError("there was no entry")


def finish(archive: Archive, head: Head, *, author: Author = AUTHOR, now_ms: int = AT_MS) -> tuple[Head, list[Erasure]]:
    return finish_disposals(
        archive, head, author=author, now_ms=now_ms, executor=InlineExecutor(), progress=lambda *_: None
    )


class TestOpenRows:
    def test_what_was_dealt_with_stays_dealt_with_where_it_lies_now(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        assert [open_files(head, table) for table in ("files", "events")] == [[], []]

        done = apply(archive, head, plan_for(archive, head, [EDITED], [(*FILED, 0)]))

        moved = {record.table for record in done.head.files.values() if record.open_rows}
        assert moved == {"files", "events"}
        assert [open_files(done.head, table) for table in ("files", "events")] == [[], []]

    def test_what_still_awaits_work_still_does(self, tmp_path: Path) -> None:
        archive, head = build(MemoryStore(), tmp_path)
        head = add(archive, head, {"files": [_pending(1), _pending(2)]})
        [before] = open_files(head, "files")

        done = apply(archive, head, plan_for(archive, head, files=[("g:1", "late", 1)]))

        [after] = open_files(done.head, "files")
        assert (before.open_rows, after.open_rows) == (2, 1)
        assert after.key not in done.head.settled


class TestRefusals:
    """Each leaves the archive as it was, to the last byte."""

    def refused(
        self,
        archive: Archive,
        plan: Plan,
        *,
        said: str,
        next_step: str = PLAN_ANEW,
        head: Head | None = None,
        **further: Any,
    ) -> None:
        """``said`` is the whole sentence, with ``*`` for the plan's digest."""
        before = objects(archive.store)
        with pytest.raises(RefusedError) as caught:
            apply(archive, head or archive.head(), plan, **further)
        assert (caught.value.what, caught.value.next_step) == (said.replace("*", plan.digest), next_step)
        assert caught.value.exit_code == 5
        assert objects(archive.store) == before

    def test_a_commit_since_makes_a_plan_stale(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        add(archive, head, {"messages": [message("later")]})
        self.refused(archive, plan, said="plan * was made of commit 2, and commit 3 (capture) came since")

    def test_so_does_a_commit_that_only_says_how_far_something_was_read(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        add(archive, head, {}, watermarks={"s": 9})
        self.refused(archive, plan, said="plan * was made of commit 2, and commit 3 (capture) came since")

    def test_a_released_hold_makes_a_plan_stale(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        head = _hold(archive, head, "place")
        plan = plan_for(archive, head, [EDITED])
        _hold(archive, head, "release")
        self.refused(
            archive, plan, said="plan * was made of commit 3, and commit 4 (hold acme was released) came since"
        )

    @pytest.mark.parametrize("changes", ["added", "removed", "blobs"])
    def test_so_does_a_hold_in_whose_entry_more_stands_than_the_hold(
        self, changes: str, built: tuple[Archive, Head]
    ) -> None:
        """Nobody writes such an entry; whatever did, what the plan counted is not what is there."""
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        placed_in, digest = ledger.read_entry(archive.store, _hold(archive, head, "place").sequence)
        some = {
            "added": tuple(head.files.values())[:1],
            "removed": (ledger.Removal(next(iter(head.files)), "moved"),),
            "blobs": (ledger.BlobRecord(OWN, 1),),
        }
        further = msgspec.structs.replace(
            placed_in,
            sequence=placed_in.sequence + 1,
            previous=digest,
            hold=msgspec.structs.replace(placed_in.hold, name="more"),
            **{changes: some[changes]},
        )
        ledger.append(archive.store, further)
        with pytest.raises(RefusedError) as caught:
            apply(archive, archive.head(), plan)
        assert caught.value.what == (
            f"plan {plan.digest} was made of commit 2, and commit 4 (a hold was placed, with rows) came since"
        )

    def test_a_search_for_a_matter_since_leaves_a_plan_as_it_is(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        act = MatterAct(matter="acme", head_sequence=head.sequence, head_digest=head.digest, counts={"messages": 1})
        head = record_act(archive, head, "search", act, author=AUTHOR, now_ms=lambda: AT_MS)
        assert apply(archive, head, plan).certificate.rows["messages"]

    def test_a_copy_that_became_the_archive_since_leaves_a_plan_as_it_is(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        archive.store.create(layout.CLONE_KEY, b"{}")
        told = Promotion(place="/backup", reason="it broke", head_sequence=head.sequence, head_digest=head.digest)
        head = promote_copy(archive, head, told, author=AUTHOR, at_ms=AT_MS)
        assert apply(archive, head, plan).certificate.rows["messages"]

    def test_a_plan_is_applied_once(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        apply(archive, head, plan)
        self.refused(
            archive, plan, said="plan * was made of commit 2, and commit 3 (dispose) came since", attempt="00000002"
        )

    def test_items_that_were_changed_after_the_approval(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        self.refused(
            archive,
            replace(plan, items=plan_for(archive, head, [ASTRAY]).items),
            said="the items of plan * are not those that were approved",
        )

    def test_a_plan_of_another_archive(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        header = msgspec.structs.replace(plan.header, archive_id="another")
        self.refused(
            archive,
            Plan(header, plan.items),
            said="plan * is of archive another, and this is 0f0f",
            next_step="apply it where it was made",
        )

    @pytest.mark.parametrize("changes", [{"head_digest": "00" * 32}, {"head_sequence": 1}, {"head_sequence": 9}])
    def test_a_head_that_this_archive_never_had(self, built: tuple[Archive, Head], changes: dict[str, Any]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        header = msgspec.structs.replace(plan.header, **changes)
        self.refused(
            archive,
            Plan(header, plan.items),
            said=f"plan * was made of commit {header.head_sequence} with digest {header.head_digest}, which this archive's head does not "
            "follow from",
            next_step=f"run `archiver verify`; if the archive was put back to an earlier state on purpose, {PLAN_ANEW}",
        )

    def test_an_item_with_another_number_of_rows_than_the_plan_says(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        for rows in (1, 3):
            wrong = _changed(plan_for(archive, head, [ALONE, EDITED]), rows)
            self.refused(
                archive,
                wrong,
                said="plan * does not fit the archive: of 1 items it says another number of rows than there are, of message "
                f"1795000000000-edited in g:1 {rows} and not 2; nothing was changed",
                next_step="run `archiver verify`, then make the plan again with `archiver retention plan`",
            )

    def test_an_item_that_is_not_there(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        items = plan_for(archive, head, [ALONE]).items.to_pylist()
        plan = plan_of(archive, head, [*items, message_item("nowhere")])
        self.refused(
            archive,
            plan,
            said="plan * does not fit the archive: of 1 items it says another number of rows than there are, of message nowhere in g:1 "
            "1 and not 0; nothing was changed",
            next_step="run `archiver verify`, then make the plan again with `archiver retention plan`",
        )

    def test_a_plan_of_nothing(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        self.refused(
            archive,
            plan_for(archive, head),
            said="nothing of plan * would go: of its items it has none",
            next_step="there is nothing to do",
        )

    @pytest.mark.parametrize(
        ("limits", "passed"),
        [
            (PlanLimits(rows_max=2), "3 rows, and the policy's limit is 2 (rows_max)"),
            (PlanLimits(rows_max=0), "3 rows, and the policy's limit is 0 (rows_max)"),
            (PlanLimits(percent_max=13.0), "13.04 % of 23 rows, and the policy's limit is 13 % (percent_max)"),
        ],
    )
    def test_more_than_the_policy_lets_a_plan_remove(
        self, built: tuple[Archive, Head], limits: PlanLimits, passed: str
    ) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED, ALONE], limits=limits)
        self.refused(archive, plan, said=f"plan * would remove {passed}; nothing was changed", next_step=LESS)

    def test_a_share_of_nobody_knows_what(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED], limits=PlanLimits(percent_max=100.0))
        header = msgspec.structs.replace(plan.header, totals={})
        self.refused(
            archive,
            Plan(header, plan.items),
            said="plan * would remove 100.00 % of 0 rows, and the policy's limit is 100 % (percent_max); nothing was changed",
            next_step=LESS,
        )

    def test_what_just_reaches_its_limits_is_done(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        limits = PlanLimits(rows_max=3, percent_max=13.0435)  # 3 of 23, as near as decimals come
        assert apply(archive, head, plan_for(archive, head, [EDITED, ALONE], limits=limits)).certificate.items == {
            "message": 2
        }

    def test_a_damaged_object_is_not_rewritten(self, tmp_path: Path) -> None:
        archive, head = build(LocalStore(tmp_path / "archive"), tmp_path)
        record = next(record for record in files_of(head, "messages") if record.rows > 5)
        path = tmp_path / "archive" / record.key
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        before = objects(archive.store)
        with pytest.raises(DamageFoundError, match=record.key):
            apply(archive, head, plan_for(archive, head, [EDITED]))
        assert objects(archive.store) == before

    def test_another_writer_who_is_first_wins_and_nothing_of_ours_stays(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        add(archive, head, {"messages": [message("first")]})
        write_note(archive.store, Pending(sequence=4, attempt="bbbbbbbb", writer="there", at_ms=AT_MS, keys=()))
        before = objects(archive.store)

        with pytest.raises(HeadMovedError):
            _dispose_on_old_head(archive, head, plan)
        assert objects(archive.store) == before

    def test_who_was_first_is_said_though_what_was_written_cannot_be_removed_now(
        self, built: tuple[Archive, Head]
    ) -> None:
        class Keeping(LateListing):
            def erase(self, key: str) -> None:
                raise StoreUnreachableError(key)

        archive, head = built
        add(archive, head, {"messages": [message("first")]})
        keeping: Any = Keeping(archive.store, until=head.sequence)
        with pytest.raises(HeadMovedError):
            apply(Archive(keeping, archive.facts, archive.facts_digest), head, plan_for(archive, head, [EDITED]))
        assert unnamed(archive.store) > {"ledger/pending/000000000003-d15905ed.json"}


class Held(NoHolds):
    """A hold by the words of a text: what it covers is told by the rows alone."""

    message_columns = ("chat_id", "message_uid", "sent_at", "text")

    def __init__(self, **words: str) -> None:
        self.words = words

    def of_messages(self, rows: pa.Table, files: pa.Table | None = None) -> Mapping[str, pa.BooleanArray]:
        return {
            hold: pc.match_substring(rows.column("text"), pattern=word).combine_chunks()
            for hold, word in self.words.items()
        }

    def of_files(
        self, rows: pa.Table, messages: pa.Table, *, files: pa.Table | None = None
    ) -> Mapping[str, pa.BooleanArray]:
        masks = {}
        for hold, mask in self.of_messages(messages).items():
            held = messages.filter(mask)
            keys = set(zip(held.column("chat_id").to_pylist(), held.column("message_uid").to_pylist(), strict=True))
            pairs = zip(rows.column("chat_id").to_pylist(), rows.column("message_uid").to_pylist(), strict=True)
            masks[hold] = pa.array([pair in keys for pair in pairs], pa.bool_())
        return masks


class TestHoldsPlacedSince:
    def test_a_hold_on_one_row_keeps_the_item_whole_with_its_events(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, EVERY_SECRET)
        head = _hold(archive, head, "place")
        expected = rows_but(
            archive.store, head, of_messages(*(key for key in EVERY_SECRET if key not in (EDITED, UNTIMED)))
        )

        done = apply(archive, head, plan, coverage=Held(acme="tulip 2", other="dahlia 1"))

        assert every_row(archive.store, done.head) == expected
        assert {share.hold: share.items for share in done.certificate.held} == {"acme": 1, "other": 1}
        assert (done.certificate.items_held, done.certificate.items) == (2, {"message": 4})
        assert done.certificate.items_planned == {"message": 6}

    def test_a_hold_on_a_message_keeps_its_files_and_their_blobs(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [ALONE], [(*FILED, 0), (*SHARED, 0)])
        head = _hold(archive, head, "place")
        done = apply(archive, head, plan, coverage=Held(acme="peony"))
        assert done.certificate.items == {"message": 1, "file": 1}
        assert done.certificate.blobs == ()
        assert {row["message_uid"] for row in rows_in(archive.store, done.head, "files")} >= {FILED[1]}

    def test_a_hold_that_searches_for_files_keeps_those_of_messages_that_have_one(
        self, built: tuple[Archive, Head]
    ) -> None:
        """Not the files of every message: whether one has what is searched for, its other files are asked."""
        archive, head = built
        picture = file_row(FILED, 3, None, **PENDING, mime="image/png")
        head = add(archive, head, {"files": [picture]})
        plan = plan_for(archive, head, [], [(*FILED, 0), (*SHARED, 0)])
        coverage = Coverage({"acme": placed(expression="mime:image/*")}, Membership())
        done = apply(archive, _hold(archive, head, "place"), plan, coverage=coverage)
        assert {share.hold: share.items for share in done.certificate.held} == {"acme": 1}
        left = {(row["message_uid"], row["ordinal"]) for row in rows_in(archive.store, done.head, "files")}
        assert (FILED[1], 0) in left
        assert (SHARED[1], 0) not in left

    def test_where_all_is_held_nothing_is_done(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        head = _hold(archive, head, "place")
        before = objects(archive.store)
        with pytest.raises(RefusedError) as caught:
            apply(archive, head, plan, coverage=Held(acme="tulip"))
        assert (caught.value.what, caught.value.next_step) == (
            f"nothing of plan {plan.digest} would go: of its items a hold keeps all of them",
            "there is nothing to do",
        )
        assert objects(archive.store) == before

    def test_a_hold_may_bring_a_plan_below_its_limit(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED, ALONE], limits=PlanLimits(rows_max=1))
        head = _hold(archive, head, "place")
        assert apply(archive, head, plan, coverage=Held(acme="tulip")).certificate.items == {"message": 1}


class TestTheCertificate:
    def test_says_what_went_by_which_rule_and_who_approved_it(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED, ALONE], [(*FILED, 0)])
        done = apply(archive, head, plan)
        certificate = done.certificate
        assert (certificate.plan, certificate.approved_by) == (plan.digest, "The Records Manager")
        assert (certificate.head_sequence, certificate.head_digest) == (head.sequence, head.digest)
        assert certificate.rows == {"messages": 3, "events": 2, "files": 1}
        assert [(share.rule, share.items, share.rows) for share in certificate.rules] == [
            ("old files", {"file": 1}, {"files": 1}),
            ("old messages", {"message": 2}, {"messages": 3, "events": 2}),
        ]
        told = lines_of(certificate)
        assert told[0] == f"Certificate of disposal, plan {plan.digest}"
        assert "  items        1 file, 2 messages of 1 file, 2 messages planned" in told
        assert "  by rule      old files: 1 file; rows: 1 file" in told

    def test_names_each_object_before_and_after_by_its_digest(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        done = apply(archive, head, plan_for(archive, head, EVERY_SECRET))
        for change in done.certificate.objects:
            assert head.files[change.key].sha256 == change.sha256
            assert change.key not in done.head.files
            if change.new_key is not None:
                assert sha256(archive.store.read(change.new_key)).hexdigest() == change.new_sha256
                assert done.head.files[change.new_key].rows == change.new_rows
        assert sum(change.rows - change.new_rows for change in done.certificate.objects) == sum(
            done.certificate.rows.values()
        )

    def test_is_named_by_the_entry_and_lies_there_before_it(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        done = apply(archive, head, plan_for(archive, head, [EDITED]))
        entry, _ = ledger.read_entry(archive.store, done.sequence)
        assert entry.disposal is not None
        data = archive.store.read(done.certificate_key)
        assert sha256(data).hexdigest() == entry.disposal.certificate_sha256
        assert data == ledger.canonical_json(json.loads(data))

    def test_another_attempt_at_the_same_plan_is_refused_and_keeps_its_certificate(
        self, built: tuple[Archive, Head]
    ) -> None:
        archive, head = built
        plan = plan_for(archive, head, [EDITED])
        key = layout.certificate_key(plan.digest)
        archive.store.create(key, b'{"attempt":"of another machine"}')
        before = objects(archive.store)
        with pytest.raises(RefusedError, match="already has certificates/"):
            apply(archive, head, plan)
        assert objects(archive.store) == before


class TestAnotherMachine:
    def test_which_is_about_to_name_a_blob_again_is_waited_for(self, built: tuple[Archive, Head]) -> None:
        archive, head = built
        note = Pending(sequence=3, attempt="bbbbbbbb", writer="there", at_ms=AT_MS, keys=(layout.blob_key(OWN),))
        key = write_note(archive.store, note)
        done = apply(archive, head, plan_for(archive, head, files=[(*FILED, 0)]))
        assert [(kept.key, kept.why) for kept in done.erasure.kept] == [(layout.blob_key(OWN), "awaited")]
        assert done.head.unerased == (3,)
        assert archive.store.stat(layout.blob_key(OWN)).size > 0

        archive.store.delete(key)
        head, [erasure] = finish(archive, done.head)
        assert (head.unerased, erasure.kept) == ((), ())
        assert places_of("the peony's own file", objects_of(archive.store)) == set()


def _day(number: int) -> Any:
    return day_of(AT_MS + number * DAY_MS)


def _pending(ordinal: int) -> dict[str, Any]:
    return file_row(("g:1", "late"), ordinal, None, **PENDING)


def _hold(archive: Archive, head: Head, action: Any) -> Head:
    scope = HoldScope(custodians=("u:1",)) if action == "place" else None
    draft = Draft(at_ms=AT_MS, kind="hold", hold=HoldChange(name="acme", action=action, reason="a court", scope=scope))
    return commit(archive, head, draft, author=AUTHOR, attempt=f"{head.sequence:08x}", executor=InlineExecutor())


def _changed(plan: Plan, rows: int) -> Plan:
    counts = [
        rows if uid == EDITED[1] else count
        for uid, count in zip(
            plan.items.column("message_uid").to_pylist(), plan.items.column("rows").to_pylist(), strict=True
        )
    ]
    items = plan.items.set_column(ITEMS.get_field_index("rows"), ITEMS.field("rows"), pa.array(counts, pa.int64()))
    return Plan(msgspec.structs.replace(plan.header, items_sha256=items_digest(items)), items)


def _dispose_on_old_head(archive: Archive, head: Head, plan: Plan) -> None:
    """Let the ledger's listing not show the newest entry yet, as it was when `dispose` looked."""
    apply(Archive(LateListing(archive.store, until=head.sequence), archive.facts, archive.facts_digest), head, plan)
