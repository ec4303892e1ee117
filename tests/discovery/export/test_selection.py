"""What an export takes: the same as a hold of that scope covers, with its context, each message once and whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from archiver.archive.reader import Archive, Head, PlacedHold
from archiver.archive.schema import MESSAGES
from archiver.archive.tables import rows_to_table
from archiver.discovery.export.asked import parse_context
from archiver.discovery.export.preview import preview
from archiver.errors import UsageError
from archiver.expression import ExpressionError
from archiver.query.engine import open_engine
from archiver.retention.coverage import Coverage
from archiver.scope.membership import read_membership
from tests.discovery.export import lived
from tests.discovery.export.lived import at_ms, messages, opened, slices, wanted
from tests.small_archive import FILE_DIGEST, message

Lived = tuple[Archive, Head]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return lived.fresh(tmp_path_factory.mktemp("lived"))


def taken(archive: Lived, folder: Path, context: str | None = None, **parts: object) -> dict[str, bool]:
    """By name whether a message only stands around a hit."""
    found = messages(slices(archive, wanted(context, **parts), folder))
    return {name: each.is_context for name, each in found.items()}


class TestScope:
    def test_nothing_asked_for_is_everything(self, archive: Lived, tmp_path: Path) -> None:
        found = [each for part in slices(archive, wanted(), tmp_path) for each in part.messages]
        assert len(found) == len({(each.chat_id, each.message_uid) for each in found}) == 6 + 6 + 24

    def test_a_custodian_stands_for_what_they_sent_were_sent_and_could_see(
        self, archive: Lived, tmp_path: Path
    ) -> None:
        assert set(taken(archive, tmp_path, custodians=("kenji@acme.com",))) == {
            *("edited", "gone", "files", "astray", "named"),  # he was in that channel
            "private",
        }

    def test_parts_are_met_together(self, archive: Lived, tmp_path: Path) -> None:
        parts = {"custodians": ("u:kenji",), "expression": "merger", "from_at_ms": at_ms(21, 0)}
        assert set(taken(archive, tmp_path, **parts)) == {"private"}

    def test_a_version_that_matches_brings_all_the_others(self, archive: Lived, tmp_path: Path) -> None:
        found = messages(slices(archive, wanted(expression='"price is 12"'), tmp_path))
        assert [each.text for each in found["edited"].versions] == ["the price is 10", "the price is 12"]

    def test_an_expression_may_ask_for_all_that_a_search_may(self, archive: Lived, tmp_path: Path) -> None:
        assert set(taken(archive, tmp_path, expression="is:missing")) == {"gone"}
        assert set(taken(archive, tmp_path, expression='is:edited in:"deal room"')) == {"edited", "astray"}
        assert set(taken(archive, tmp_path, expression="has:file from:田中")) == {"files"}

    @pytest.mark.parametrize(
        "parts",
        [
            {"custodians": ("u:ann",)},
            {"chats": ("deal*",), "until_ms": at_ms(21, 0)},
            {"custodians": ("u:bob",), "expression": "price OR lunch"},
            {"from_at_ms": at_ms(21, 0), "until_ms": at_ms(22, 0)},
        ],
    )
    def test_it_means_what_it_means_in_a_hold(self, archive: Lived, tmp_path: Path, parts: dict[str, object]) -> None:
        """The oracle is the hold's own coverage, of all rows at once."""
        rows = _all_rows()
        scope = wanted(**parts).asked.scope
        hold = PlacedHold(scope=scope, reason="x", actor="x", placed_at="x", sequence=1)
        store, head = archive[0].store, archive[1]
        mask = Coverage({"h": hold}, read_membership(store, head)).of_messages(rows)["h"]
        covered = {
            uid.rpartition("-")[2]
            for uid in rows.filter(mask).column("message_uid").to_pylist()
            if uid != "provisional:1"
        }
        assert set(taken(archive, tmp_path, **parts)) == covered

    def test_who_and_what_nobody_knows_is_an_error_that_names_the_nearest(self, archive: Lived) -> None:
        for parts, what, near in (
            ({"custodians": ("anne@acme.com",)}, "nobody", "ann@acme.com"),
            ({"custodians": ("Áslaug",)}, "nobody", "u:ann"),
            ({"chats": ("#deal rom",)}, "no channel", "deal room"),
        ):
            with pytest.raises(UsageError, match=what) as caught:
                opened(archive, wanted(**parts))
            assert near in caught.value.next_step
        with pytest.raises(ExpressionError):
            opened(archive, wanted(expression="(merger"))
        with pytest.raises(UsageError, match="label"):
            opened(archive, wanted(expression="label:privileged"))


class TestContext:
    def test_messages_are_counted_on_both_sides_of_a_hit(self, archive: Lived, tmp_path: Path) -> None:
        found = taken(archive, tmp_path, "2msgs", expression='"lunch 11"')
        assert found == {"9": True, "10": True, "11": False, "12": True, "13": True}

    def test_also_beyond_the_days_that_were_asked_for(self, archive: Lived, tmp_path: Path) -> None:
        days = {"from_at_ms": at_ms(21, 0), "until_ms": at_ms(22, 0), "chats": ("lunch",)}
        found = taken(archive, tmp_path, "3msgs", expression='"lunch 12"', **days)
        assert found == {"9": True, "10": True, "11": True, "12": False, "13": True, "14": True, "15": True}
        days = {"from_at_ms": at_ms(20, 0), "until_ms": at_ms(20, 20), "chats": ("lunch",)}
        found = taken(archive, tmp_path, "2msgs", expression='"lunch 11"', **days)
        assert found == {"9": True, "10": True, "11": False, "12": True, "13": True}

    def test_hours_are_hours(self, archive: Lived, tmp_path: Path) -> None:
        found = taken(archive, tmp_path, "2h", expression='"lunch 10"')
        assert found == {"8": True, "9": True, "10": False, "11": True}

    def test_only_of_the_same_conversation(self, archive: Lived, tmp_path: Path) -> None:
        assert set(taken(archive, tmp_path, "500h", expression="tell", chats=("u:ann,u:kenji",))) == {"private"}

    def test_it_goes_by_when_a_message_was_first_sent_wherever_its_rows_lie(
        self, archive: Lived, tmp_path: Path
    ) -> None:
        assert taken(archive, tmp_path, "1msgs", expression='"price is 10"') == {"edited": False, "astray": True}
        assert taken(archive, tmp_path, "1msgs", expression='"not agreed"') == {
            "edited": True,
            "astray": False,
            "gone": True,
        }

    @pytest.mark.parametrize("text", ["", "12", "h", "0h", "-3h", "5 days", "99999999msgs", "1e3h"])
    def test_what_is_no_context_is_an_error(self, text: str) -> None:
        with pytest.raises(UsageError, match="no context"):
            parse_context(text)


class TestMessages:
    def test_a_message_that_several_feeds_captured_is_there_once(self, archive: Lived, tmp_path: Path) -> None:
        found = messages(slices(archive, wanted(), tmp_path))["edited"]
        assert [(each.number, each.captured_by) for each in found.versions] == [(1, "general"), (2, "general")]

    def test_one_that_came_without_a_uid_is_there_as_what_it_turned_out_to_be(
        self, archive: Lived, tmp_path: Path
    ) -> None:
        found = messages(slices(archive, wanted(), tmp_path))
        assert found["named"].newest.text == "who am I"
        assert not [uid for uid in found if uid.startswith("provisional")]

    def test_what_turned_out_to_be_another_is_what_a_query_says(self, archive: Lived) -> None:
        with open_engine(*archive) as engine:
            sql = "SELECT chat_id, provisional_uid, message_uid FROM provisional_uids WHERE outcome = 'reconciled'"
            known = {(chat, provisional): uid for chat, provisional, uid in engine.ask(sql).rows}
        assert known
        assert opened(archive, wanted()).selection.identities.known == known

    def test_one_whose_rows_lie_under_two_days_is_whole(self, archive: Lived, tmp_path: Path) -> None:
        days = {"from_at_ms": at_ms(22, 0), "until_ms": at_ms(23, 0), "chats": ("g:deal",)}
        found = messages(slices(archive, wanted(**days), tmp_path))
        assert [each.text for each in found["astray"].versions] == ["agreed", "not agreed"]
        assert found["astray"].sent_at_ms == at_ms(20, 10)

    def test_only_the_last_version_if_that_is_asked(self, archive: Lived, tmp_path: Path) -> None:
        found = messages(slices(archive, wanted(versions="last"), tmp_path))
        assert [each.text for each in found["edited"].versions] == ["the price is 12"]

    def test_since_when_flock_does_not_return_it(self, archive: Lived, tmp_path: Path) -> None:
        found = messages(slices(archive, wanted(), tmp_path))
        assert found["gone"].not_returned_since_ms == at_ms(21)
        assert found["edited"].not_returned_since_ms is None
        with open_engine(*archive) as engine:
            sql = "SELECT message_uid, epoch_ms(valid_from) FROM message_absences WHERE valid_to IS NULL"
            known = {uid.rpartition("-")[2]: since for uid, since in engine.ask(sql).rows}
        assert known == {
            name: each.not_returned_since_ms for name, each in found.items() if each.not_returned_since_ms is not None
        }

    def test_each_version_names_its_object_and_commit(self, archive: Lived, tmp_path: Path) -> None:
        for each in messages(slices(archive, wanted(), tmp_path)).values():
            for version in each.versions:
                assert version.object_key in archive[1].files
                assert 1 <= version.commit <= archive[1].sequence
                assert len(version.raw_digest) == len(version.content_digest) == 64

    def test_control_numbers_count_in_the_order_of_the_package(self, archive: Lived, tmp_path: Path) -> None:
        found = [each.control_number for part in slices(archive, wanted(), tmp_path) for each in part.messages]
        assert found == [f"SMITH-V-ACME-{number:08d}" for number in range(1, len(found) + 1)]


class TestFiles:
    def test_of_many_tries_the_outcome_counts_and_a_name_is_no_path(self, archive: Lived, tmp_path: Path) -> None:
        contract, annex = messages(slices(archive, wanted(), tmp_path))["files"].files
        assert (contract.name, contract.status, contract.path_name[-4:]) == ("contract.PDF", "stored", ".pdf")
        assert (annex.name, annex.status) == ("../../annex.doc", "failed")
        assert annex.reason == "the host of the file refused it (HTTP 403)"
        assert "/" not in annex.path_name
        assert ".." not in annex.path_name

    def test_files_that_nobody_wants_say_so(self, archive: Lived, tmp_path: Path) -> None:
        contract, annex = messages(slices(archive, wanted(with_files=False), tmp_path))["files"].files
        assert (contract.status, annex.status) == ("withheld", "failed")
        assert contract.reason is not None


class TestSlices:
    def test_they_come_by_conversation_and_local_day(self, archive: Lived, tmp_path: Path) -> None:
        parts = slices(archive, wanted(zone="Asia/Tokyo"), tmp_path)
        keys = [(part.conversation.chat_id, part.day, part.part) for part in parts]
        assert keys == sorted(keys)
        # 23:30 UTC on the 20th is the 21st in Tokyo.
        assert ("g:deal", "2026-11-21", 1) in keys
        found = next(part for part in parts if part.day == "2026-11-21" and part.conversation.chat_id == "g:deal")
        assert [each.message_uid.rpartition("-")[2] for each in found.messages] == ["gone", "files", "named"]

    def test_conversations_have_names_people_and_safe_folders(self, archive: Lived, tmp_path: Path) -> None:
        found = {
            part.conversation.chat_id: part.conversation
            for part in slices(archive, wanted(custodians=("u:ann",)), tmp_path)
        }
        assert found["g:deal"].shown == "deal room"
        assert [person.shown for person in found["g:deal"].participants] == ["Ann Áslaug", "Bob", "健二 田中"]
        assert [person.user_id for person in found["u:ann,u:kenji"].custodians] == ["u:ann"]
        assert all(each.path_name.isascii() and each.path_name.isprintable() for each in found.values())

    def test_gaps_that_touch_a_day_stand_on_it(self, archive: Lived, tmp_path: Path) -> None:
        parts = slices(archive, wanted(), tmp_path)
        touched = {(part.conversation.chat_id, part.day) for part in parts if part.gaps}
        assert touched == {("g:deal", "2026-11-20"), ("g:general", "2026-11-20"), ("g:lunch", "2026-11-20")}
        known = {note.gap_id for note in opened(archive, wanted(custodians=("u:ann",))).touching(["g:deal"])}
        assert known == {"outage", "feed"}

    def test_they_are_the_same_however_little_memory_there_is(self, archive: Lived, tmp_path: Path) -> None:
        whole = slices(archive, wanted(), tmp_path / "whole")
        for piece_bytes_min, merged_runs in ((1, 2), (3_000, 64)):
            limits = {"memory_bytes_max": 1_000, "group_bytes_max": 2_000, "merged_runs": merged_runs, "batch_rows": 2}
            limits["piece_bytes_min"] = piece_bytes_min
            spilt = tmp_path / f"spilt-{piece_bytes_min}"
            assert slices(archive, wanted(), spilt, **limits) == whole
            assert list(spilt.iterdir())
        assert not list((tmp_path / "whole").iterdir())


@pytest.mark.parametrize(
    "wish",
    [
        wanted(),
        wanted(custodians=("u:kenji",)),
        wanted("1msgs", expression="merger", versions="last"),
        wanted(expression="nobodysaidthis"),
    ],
)
def test_a_preview_counts_what_an_export_has(archive: Lived, tmp_path: Path, wish: lived.Wanted) -> None:
    foreseen = preview(opened(archive, wish))
    parts = slices(archive, wish, tmp_path)
    found = [each for part in parts for each in part.messages]
    assert foreseen.total("messages") == len(found)
    assert foreseen.total("context") == sum(each.is_context for each in found)
    assert foreseen.total("versions") == sum(len(each.versions) for each in found)
    assert foreseen.total("files") == sum(len(each.files) for each in found)
    assert foreseen.total("not_returned") == sum(each.not_returned_since_ms is not None for each in found)
    assert {each.chat_id for each, _ in foreseen.conversations} == {part.conversation.chat_id for part in parts}


def _all_rows() -> pa.Table:
    rows = [
        lived.EDITED,
        lived.EDITED_LATER,
        lived.TWICE,
        lived.GONE,
        lived.WITH_FILES,
        lived.ASTRAY,
        lived.ASTRAY_EDIT,
    ]
    rows += [lived.NAMELESS, lived.NAMED, lived.PRIVATE, *lived.LUNCH]
    rows += [
        message("m-1", 20, "good morning"),
        message("m-2", 20, "naïve"),
        message("m-3", 21, "the minutes", blob_digests=[FILE_DIGEST]),
        message("m-4", 21, "a reminder", app_id="app-1", send_as_name="Reminders"),
        message("m-5", 22, "privately", chat_id="u:ann,u:bob", chat_kind="direct"),
        message("m-6", 22, "bleep", sender_id="u:Bot00000000000"),
    ]
    return rows_to_table(MESSAGES, rows)
