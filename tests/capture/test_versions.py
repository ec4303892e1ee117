"""What is a new version and what only repeats: late, twice, edited, edited back, richer, poorer, from another day."""

from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.reader import files_of
from archiver.archive.tables import rows_of
from archiver.capture.drain import Batch
from archiver.capture.versions import find_known, find_repeats
from archiver.clock import DAY_MS
from archiver.model.capture import Capture
from archiver.model.message import Message
from archiver.normalise.imported import ImportedMessage, to_message
from archiver.normalise.message import Observed, read_message
from archiver.store.memory import MemoryStore
from tests.capture.draining import NOW_MS, SENT_AT_MS, Draining, event, raw_of, webhook

LATER_MS = NOW_MS + 3 * DAY_MS
UID = "1700000000123-aBc-m201"


@pytest.fixture
def archive() -> Draining:
    return Draining()


class TestDeliveries:
    def test_a_message_is_version_one(self, archive: Draining) -> None:
        archive.night([webhook(raw_of())])
        assert archive.versions("version", "text", "supersedes") == [(1, "hello", None)]

    def test_a_push_that_comes_twice_in_a_night_is_one_version(self, archive: Draining) -> None:
        archive.night([webhook(raw_of()), webhook(raw_of(), NOW_MS + 1)])
        assert archive.versions("version", "observed_at") == [(1, NOW_MS)]

    def test_a_push_that_comes_again_another_night_is_one_version(self, archive: Draining) -> None:
        archive.night([webhook(raw_of())])
        archive.night([webhook(raw_of(), LATER_MS)])
        assert archive.versions("version", "observed_at") == [(1, NOW_MS)]

    def test_the_same_by_webhook_event_and_fetch_is_one_version(self, archive: Draining) -> None:
        pushed = raw_of(to="u:Bot")
        in_event = event({"name": "chat.receiveMessage", "userId": "u:ann", "message": json.loads(pushed)})
        fetched = raw_of(to="u:Bot", timestampInMillis=None, timestamp=SENT_AT_MS, onBehalfOf="", mentions=[])
        archive.night([webhook(pushed), in_event])
        archive.fetched(fetched, at_ms=LATER_MS)
        archive.night([in_event])
        assert archive.versions("version", "source") == [(1, "webhook")]

    def test_commits_of_one_night_know_of_each_other(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(text=text), NOW_MS + n) for n, text in enumerate("abacb")], per_commit=1)
        assert archive.versions("version", "text") == [(1, "a"), (2, "b"), (3, "c")]

    def test_nothing_new_is_nothing_added(self, archive: Draining) -> None:
        archive.night([webhook(raw_of())])
        head = archive.archive.head()
        archive.night()
        assert archive.archive.head() == head


class TestEdits:
    def test_each_edit_is_a_version_that_names_the_one_before(self, archive: Draining) -> None:
        for number, text in enumerate(["one", "two", "three"]):
            archive.night([webhook(raw_of(text=text), NOW_MS + number)])
        rows = archive.versions("version", "text", "supersedes", "content_digest")
        assert [row[:2] for row in rows] == [(1, "one"), (2, "two"), (3, "three")]
        assert [row[2] for row in rows] == [None, rows[0][3], rows[1][3]]

    def test_edits_in_one_night_too(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(text=text), NOW_MS + n) for n, text in enumerate(["one", "two", "three"])])
        rows = archive.versions("version", "text", "supersedes", "content_digest")
        assert [row[:2] for row in rows] == [(1, "one"), (2, "two"), (3, "three")]
        assert [row[2] for row in rows] == [None, rows[0][3], rows[1][3]]

    def test_a_push_of_an_older_version_comes_late_and_adds_nothing(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(text="one")), webhook(raw_of(text="two"), NOW_MS + 1)])
        archive.night([webhook(raw_of(text="one"), LATER_MS)])
        assert archive.versions("version", "text") == [(1, "one"), (2, "two")]

    def test_a_fetch_of_the_older_text_is_an_edit_back(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(text="one")), webhook(raw_of(text="two"), NOW_MS + 1)])
        archive.fetched(raw_of(text="one"), at_ms=LATER_MS)
        assert archive.versions("version", "text") == [(1, "one"), (2, "two"), (3, "one")]
        archive.fetched(raw_of(text="one"), at_ms=LATER_MS + 1)
        assert len(archive.versions("version")) == 3

    def test_a_fetch_that_sees_what_is_newest_adds_nothing(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(text="one")), webhook(raw_of(text="two"), NOW_MS + 1)])
        archive.fetched(raw_of(text="two"), at_ms=LATER_MS)
        assert archive.versions("version") == [1, 2]

    def test_clearing_a_field_is_an_edit(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(mentions=["u:1"]))])
        archive.night([webhook(raw_of(mentions=[]), LATER_MS)])
        assert archive.versions("version", "mentions") == [(1, ["u:1"]), (2, None)]

    def test_an_edit_that_carries_the_time_of_the_edit_is_a_version_of_the_same_message(
        self, archive: Draining
    ) -> None:
        archive.night([webhook(raw_of(text="one"))])
        archive.night([webhook(raw_of(text="two", timestampInMillis=SENT_AT_MS + 2 * DAY_MS), LATER_MS)])
        archive.night([webhook(raw_of(text="one"), LATER_MS), webhook(raw_of(text="three"), LATER_MS)])
        assert archive.versions("version", "text") == [(1, "one"), (2, "two"), (3, "three")]


class TestCompletions:
    """A field that an answer does not carry is unknown, not removed."""

    RICH = raw_of(mentions=["u:1"], appId="app")

    def test_a_poorer_capture_adds_nothing(self, archive: Draining) -> None:
        archive.night([webhook(self.RICH)])
        archive.night([webhook(raw_of(), LATER_MS)])
        archive.fetched(raw_of(), at_ms=LATER_MS)
        assert archive.versions("version", "mentions") == [(1, ["u:1"])]

    def test_a_richer_capture_completes_under_the_same_number(self, archive: Draining) -> None:
        archive.night([webhook(raw_of())])
        archive.fetched(self.RICH, at_ms=LATER_MS)
        rows = archive.versions("version", "app_id", "supersedes", "content_digest")
        assert [row[:2] for row in rows] == [(1, None), (1, "app")]
        assert rows[1][2] == rows[0][3]

    def test_what_was_completed_is_not_completed_again(self, archive: Draining) -> None:
        archive.night([webhook(raw_of())])
        for at_ms in (LATER_MS, LATER_MS + 1):
            archive.fetched(self.RICH, at_ms=at_ms)
            archive.night([webhook(raw_of(), at_ms), webhook(self.RICH, at_ms)])
        assert archive.versions("version", "app_id") == [(1, None), (1, "app")]

    def test_two_captures_that_each_know_more_are_both_kept(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(mentions=["u:1"]))])
        archive.night([webhook(raw_of(appId="app"), LATER_MS)])
        assert archive.versions("version", "mentions", "app_id") == [(1, ["u:1"], None), (1, None, "app")]
        archive.night(
            [
                webhook(raw_of(appId="app"), LATER_MS),
                webhook(raw_of(mentions=["u:1"]), LATER_MS),
                webhook(raw_of(), LATER_MS),
            ]
        )
        assert len(archive.versions("version")) == 2

    def test_an_older_version_is_completed_under_its_own_number(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(text="one")), webhook(raw_of(text="two"), NOW_MS + 1)])
        archive.night([webhook(raw_of(text="one", appId="app"), LATER_MS)])
        assert archive.versions("version", "text", "app_id") == [(1, "one", None), (1, "one", "app"), (2, "two", None)]

    @pytest.mark.parametrize("per_commit", [1, 2, 50_000])
    def test_completing_an_older_version_makes_it_no_newer(self, archive: Draining, per_commit: int) -> None:
        said = [{"text": "one"}, {"text": "two"}, {"text": "one", "appId": "app"}, {"text": "three"}]
        archive.night([webhook(raw_of(**some), NOW_MS + n) for n, some in enumerate(said)], per_commit=per_commit)
        assert archive.versions("version", "text", "app_id") == [
            (1, "one", None),
            (1, "one", "app"),
            (2, "two", None),
            (3, "three", None),
        ]

    def test_nothing_that_any_capture_said_is_lost(self, archive: Draining) -> None:
        said = [
            raw_of(**some)
            for some in (
                {},
                {"mentions": ["u:1"]},
                {"appId": "a"},
                {"text": None, "flockml": "<flockml/>"},
                {"text": "x"},
            )
        ]
        archive.night([webhook(raw, NOW_MS + n) for n, raw in enumerate(said)])
        kept = [json.loads(raw) for raw in archive.versions("raw")]
        for raw in said:
            assert any(json.loads(raw).items() <= one.items() for one in kept)


class TestKeys:
    def test_the_same_uid_in_two_chats_is_two_messages(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(to="g:1", text="one")), webhook(raw_of(to="g:2", text="two"))])
        archive.night([webhook(raw_of(to="g:2", text="one"), LATER_MS), webhook(raw_of(to="g:3"), LATER_MS)])
        assert archive.versions("chat_id", "version", "text") == [
            ("g:1", 1, "one"),
            ("g:2", 1, "two"),
            ("g:2", 2, "one"),
            ("g:3", 1, "hello"),
        ]

    def test_both_sides_of_a_one_to_one_chat_are_one_message(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(to="u:bob"))])
        archive.fetched(raw_of(to="u:bob"), at_ms=LATER_MS)
        assert archive.versions("chat_id", "version") == [("u:ann,u:bob", 1)]

    def test_without_a_uid_two_arrivals_are_two_messages_and_a_replay_is_none(self, archive: Draining) -> None:
        raw = raw_of(uid=None, timestampInMillis=None)
        archive.night([webhook(raw, NOW_MS), webhook(raw, NOW_MS + DAY_MS)])
        archive.night([webhook(raw, NOW_MS), webhook(raw, NOW_MS + DAY_MS)])
        assert archive.versions("version") == [1, 1]

    def test_case_and_look_of_a_uid_matter(self, archive: Draining) -> None:
        archive.night([webhook(raw_of(uid=uid)) for uid in ("abc", "ABC", "é", "e\u0301")])
        assert len(archive.versions("message_uid")) == 4


# Ways in which captures of one message may tell their time. Every pair of them must be known as one message.
CLOTHES: dict[str, dict[str, Any]] = {
    "both": {"timestamp": "2023-11-14T22:13:20.123Z"},
    "number": {"timestampInMillis": None, "timestamp": SENT_AT_MS},
    "none": {"timestampInMillis": None},
    "absurd": {"timestampInMillis": 17, "timestamp": "never"},
    "two days on": {"timestampInMillis": SENT_AT_MS + 2 * DAY_MS},
}


class TestDays:
    """A capture is compared with what was known under whatever day that lies."""

    @pytest.mark.parametrize("first", CLOTHES)
    @pytest.mark.parametrize("second", CLOTHES)
    @pytest.mark.parametrize("uid", [UID, "1700000000123", "1600000000000-aBc-m201"])
    def test_a_uid_that_tells_the_time_finds_its_message(
        self, archive: Draining, uid: str, first: str, second: str
    ) -> None:
        archive.night([webhook(raw_of(uid, **CLOTHES[first])), webhook(raw_of("other"))])
        archive.night([webhook(raw_of(uid, **CLOTHES[second]), LATER_MS), webhook(raw_of("another"), LATER_MS)])
        assert archive.versions("message_uid").count(uid) == 1

    @pytest.mark.parametrize("first", ["both", "number", "none", "absurd"])
    @pytest.mark.parametrize("second", ["both", "number", "none", "absurd"])
    def test_so_does_an_opaque_uid_where_a_time_was_told_or_none(
        self, archive: Draining, first: str, second: str
    ) -> None:
        uid = "7b4f2a90-0000-4000-8000-000000000000"
        archive.night([webhook(raw_of(uid, **CLOTHES[first])), webhook(raw_of("zzz"), NOW_MS + DAY_MS)])
        archive.night([webhook(raw_of(uid, text="edited", **CLOTHES[second]), LATER_MS)])
        archive.night([webhook(raw_of(uid, **CLOTHES[first]), LATER_MS + DAY_MS)])
        found = [row[1:] for row in archive.versions("message_uid", "version", "text") if row[0] == uid]
        assert found == [(1, "hello"), (2, "edited")]

    def test_a_doubtful_message_beside_others_of_its_days_is_judged_by_all_that_is_known(
        self, archive: Draining
    ) -> None:
        opaque = "7b4f2a90"
        archive.night([webhook(raw_of(opaque, timestampInMillis=SENT_AT_MS - DAY_MS))])
        moved = raw_of(opaque, text="edited", timestampInMillis=SENT_AT_MS)
        archive.night(
            [webhook(moved, LATER_MS), webhook(raw_of("7b4f2a91", timestampInMillis=SENT_AT_MS - DAY_MS), LATER_MS)]
        )
        assert archive.versions("message_uid", "version") == [(opaque, 1), (opaque, 2), ("7b4f2a91", 1)]

    @pytest.mark.parametrize("offset_ms", [-1, 0, 1, DAY_MS - 1, DAY_MS])
    def test_midnight_is_no_border(self, archive: Draining, offset_ms: int) -> None:
        midnight = SENT_AT_MS - SENT_AT_MS % DAY_MS
        raw = raw_of(f"{midnight + offset_ms}-aBc-m201", timestampInMillis=midnight + offset_ms)
        archive.night([webhook(raw)])
        archive.night([webhook(raw, LATER_MS)])
        archive.fetched(raw, at_ms=LATER_MS)
        assert archive.versions("version") == [1]


class TestCost:
    """Telling what is new reads what tonight's messages touch, however large the archive is."""

    @staticmethod
    def opened_on(archive: Draining, *raws: bytes) -> set[str]:
        opened: set[str] = set()

        class Watched(MemoryStore):
            def open(self, key: str) -> Any:
                opened.add(key.split("/")[1])
                return super().open(key)

        watched = Watched()
        for info in archive.store.list(""):
            watched.create(info.key, archive.store.read(info.key))
        batch = Batch()
        batch.add_messages([read_message(raw, Observed(LATER_MS, "webhook", "f")) for raw in raws])
        find_repeats(watched, archive.archive.head(), batch.messages())
        return opened

    @pytest.fixture
    def months(self, archive: Draining) -> Draining:
        for day in range(1, 60):
            at_ms = SENT_AT_MS - day * DAY_MS
            archive.night([webhook(raw_of(f"{at_ms}-aBc-m201", timestampInMillis=at_ms))])
        return archive

    def test_tonights_messages_open_nothing_older(self, months: Draining) -> None:
        assert self.opened_on(months, raw_of()) == set()

    def test_a_message_opens_its_own_day(self, months: Draining) -> None:
        at_ms = SENT_AT_MS - 7 * DAY_MS
        assert self.opened_on(months, raw_of(f"{at_ms}-aBc-m201", timestampInMillis=at_ms)) == {"dt=2023-11-07"}

    def test_messages_without_uid_open_only_the_day_of_their_arrival(self, months: Draining) -> None:
        months.night([webhook(raw_of(uid=None, timestampInMillis=None), NOW_MS + n) for n in range(3)])
        assert self.opened_on(months, raw_of(uid=None, timestampInMillis=None)) == set()
        assert self.opened_on(months, raw_of()) <= {"dt=2023-11-14"}

    def test_one_message_that_tells_no_day_opens_no_more_for_the_others(self, months: Draining) -> None:
        homeless = raw_of("0pague", timestampInMillis=None)
        assert self.opened_on(months, homeless) == set()
        assert self.opened_on(months, homeless, raw_of()) == set()


uids = st.sampled_from(
    ["a", "b", "0", "~", "\u00e9", "\U0001f600", UID, "1699900000000-aBc-m201", "1699900000000", "17"]
)
times = st.sampled_from(
    [
        {},
        {"timestampInMillis": None},
        {"timestampInMillis": SENT_AT_MS - DAY_MS},
        {"timestampInMillis": SENT_AT_MS + DAY_MS},
        {"timestampInMillis": None, "timestamp": SENT_AT_MS - 2 * DAY_MS},
        {"timestampInMillis": 5},
    ]
)
captures = st.builds(
    lambda uid, to, text, time: raw_of(uid, text, to=to, **time),
    uids,
    st.sampled_from(["g:1", "g:2"]),
    st.sampled_from(["x", "y"]),
    times,
)
nights = st.lists(st.lists(captures, min_size=1, max_size=4), min_size=1, max_size=4)
slow_is_fine = settings(max_examples=20, deadline=None)


@slow_is_fine
@given(nights=nights, tonight=st.lists(captures, min_size=1, max_size=4))
def test_looking_where_a_message_can_lie_finds_what_reading_everything_finds(
    nights: list[list[bytes]], tonight: list[bytes]
) -> None:
    archive = Draining()
    for number, raws in enumerate(nights):
        archive.night([webhook(raw, NOW_MS + number * DAY_MS + n) for n, raw in enumerate(raws)])
    pushes = [webhook(raw, LATER_MS) for raw in tonight]
    rows = rows_of_pushes(pushes)
    keys = set(zip(rows.column("chat_id").to_pylist(), rows.column("message_uid").to_pylist(), strict=True))
    head = archive.archive.head()
    found = find_repeats(archive.store, head, rows)
    known = find_known(archive.store, head, rows, keys)
    everything = archive.rows("messages", "chat_id", "message_uid")
    earlier = [webhook(raw) for raws in nights for raw in raws]
    for key in keys - moved([*earlier, *pushes]):
        assert (key in found) == (key in everything)
        assert len(known.get(key, ())) == everything.count(key)


@slow_is_fine
@given(nights=nights, seed=st.integers(0, 99))
def test_however_captures_are_cut_into_commits_and_nights_the_versions_are_the_same(
    nights: list[list[bytes]], seed: int
) -> None:
    pushes = [webhook(raw, NOW_MS + n) for n, raw in enumerate(raw for night in nights for raw in night)]
    told = ("chat_id", "message_uid", "version", "text", "observed_at", "supersedes")
    at_once = Draining()
    at_once.night(pushes)
    in_pieces = Draining()
    cuts = sorted(random.Random(seed).choices(range(len(pushes) + 1), k=2))
    for start, end in zip([0, *cuts], [*cuts, len(pushes)], strict=True):
        in_pieces.night(pushes[start:end], per_commit=1 + seed % 3)
    strays = moved(pushes)
    expected, found = ([row for row in one.versions(*told) if row[:2] not in strays] for one in (at_once, in_pieces))
    assert found == expected


@slow_is_fine
@given(nights=nights)
def test_every_night_a_second_time_adds_nothing(nights: list[list[bytes]]) -> None:
    pushes = [
        [webhook(raw, NOW_MS + number * DAY_MS + n) for n, raw in enumerate(raws)] for number, raws in enumerate(nights)
    ]
    archive = Draining()
    for night in pushes:
        archive.night(night)
    before = archive.versions("chat_id", "message_uid", "version", "raw_digest")
    for night in pushes:
        archive.night(night)
    assert archive.versions("chat_id", "message_uid", "version", "raw_digest") == before
    assert len(files_of(archive.archive.head(), "messages")) <= sum(map(len, nights))


def rows_of_pushes(pushes: list[Capture]) -> pa.Table:
    batch = Batch()
    batch.add_messages([read_message(push.body, Observed(push.received_at_ms, "webhook", "f")) for push in pushes])
    return batch.messages()


def moved(pushes: list[Capture]) -> set[tuple[str, str]]:
    """Return the messages whose uid tells no time and whose captures state two different days.

    Nothing but reading everything would find those; Flock's own uids tell the time.
    """
    rows = rows_of_pushes(pushes)
    days: dict[tuple[str, str], set[int]] = {}
    for row in rows_of(rows):
        if row["sent_at_basis"].startswith("timestamp") and not row["message_uid"].startswith(("169", "170")):
            days.setdefault((row["chat_id"], row["message_uid"]), set()).add(row["sent_at"] // DAY_MS)
    return {key for key, stated in days.items() if len(stated) > 1}


class TestImports:
    """What somebody brings is judged with everything else, by what its columns say."""

    @staticmethod
    def record(text: str = "hello", raw: str = "1", at_ms: int = LATER_MS, **further: Any) -> Message:
        said = {
            "chat_id": "g:general",
            "chat_kind": "channel",
            "uid": UID,
            "sent_at_ms": SENT_AT_MS,
            "sender_id": "u:ann",
        }
        return to_message(
            ImportedMessage(**said, raw=raw, text=text, **further), observed_at_ms=at_ms, captured_by="import:x"
        )

    def test_what_flock_showed_already_adds_nothing(self, archive: Draining) -> None:
        archive.fetched(raw_of(UID, to="g:general", mentions=["u:bob"]))
        archive.brought(self.record(), at_ms=LATER_MS)
        assert archive.versions("version", "source") == [(1, "fetch")]

    def test_what_flock_shows_later_adds_nothing_either(self, archive: Draining) -> None:
        archive.brought(self.record(at_ms=NOW_MS))
        archive.fetched(raw_of(UID, to="g:general"), at_ms=LATER_MS)
        archive.night([webhook(raw_of(UID, to="g:general"), LATER_MS)])
        assert archive.versions("version", "source") == [(1, "import")]

    def test_flock_completes_what_a_file_did_not_carry(self, archive: Draining) -> None:
        archive.brought(self.record(at_ms=NOW_MS))
        archive.fetched(raw_of(UID, to="g:general", mentions=["u:bob"]), at_ms=LATER_MS)
        assert archive.versions("version", "source") == [(1, "import"), (1, "fetch")]

    def test_other_content_is_another_version(self, archive: Draining) -> None:
        archive.brought(self.record("one"))
        archive.brought(self.record("two", "2"))
        archive.brought(self.record("one"))
        assert archive.versions("version", "text") == [(1, "one"), (2, "two")]

    def test_a_file_that_is_gone_is_another_version(self, archive: Draining) -> None:
        """Two records state all they know, so what the second lacks was taken away."""
        archive.brought(self.record(attachments=[{"downloads": [{"filename": "a"}]}]))
        archive.brought(self.record(raw="2"))
        assert archive.versions("version", "attachments")[1] == (2, None)

    def test_other_bytes_are_kept_once_beside_what_says_the_same(self, archive: Draining) -> None:
        for raw in ("1", "2", "2", "1"):
            archive.brought(self.record(raw=raw))
        archive.brought(self.record(raw="2"), self.record(raw="3"), self.record(raw="3"))
        assert archive.versions("version", "raw") == [(1, "1"), (1, "2"), (1, "3")]
