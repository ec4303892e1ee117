"""A message that came without a uid turns out to be one that has one, or is left apart: by a rule that no order of arrival changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.capture.draining import NOW_MS, SENT_AT_MS, Draining, raw_of, webhook
from tests.query.tables_in_memory import Asked, Row, instant, message

MINUTE = 60


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked()


def ours(number: int = 1, *, told: bool = True, observed: int = 1, sent: int = 0, **further: Any) -> Row:
    """A message that came without a uid, and where its time was not told, without that."""
    return message(
        f"provisional:{number:032x}", sent=sent if told else observed, observed=observed,
        **{"text": "hello", "client_id": "d_1", "sent_at_basis": "timestampInMillis" if told else "observed", **further},
    )  # fmt: skip


def flocks(uid: str = "1700000000123-aBc-m201", *, sent: int = 0, observed: int = 1, **further: Any) -> Row:
    return message(uid, sent=sent, observed=observed, **{"text": "hello", "client_id": "d_1", **further})


def outcomes(asked: Asked, *rows: Row) -> list[tuple[str, str | None, int]]:
    asked.fill({"messages": rows})
    return asked.rows("SELECT outcome, message_uid, candidates FROM provisional_uids ORDER BY provisional_uid")


UID = flocks()["message_uid"]


class TestOne:
    @pytest.mark.parametrize(
        "row",
        [
            ours(),
            ours(observed=100_000),
            ours(told=False, observed=10 * MINUTE),
            ours(told=False, observed=0),
            ours(told=False, observed=-MINUTE),
        ],
        ids=["same time told", "long after", "ten minutes after", "at once", "by a clock that is behind"],
    )
    def test_with_the_same_chat_sender_client_id_text_and_time_is_the_message(self, asked: Asked, row: Row) -> None:
        assert outcomes(asked, row, flocks()) == [("reconciled", UID, 1)]
        assert asked.rows("SELECT message_uid, text FROM current_messages") == [(UID, "hello")]

    @pytest.mark.parametrize(
        "changed",
        [
            {"chat_id": "g:two"},
            {"sender_id": "u:bob"},
            {"client_id": "d_2"},
            {"client_id": None},
            {"text": "hello!"},
            {"sent": 1},
            {"told": False, "observed": 10 * MINUTE + 1},
            {"told": False, "observed": -MINUTE - 1},
        ],
        ids=str,
    )
    def test_that_differs_in_any_of_these_stays_apart_and_is_shown(self, asked: Asked, changed: dict[str, Any]) -> None:
        row = ours(**changed)
        assert outcomes(asked, row, flocks()) == [("apart", None, 0)]
        shown = asked.rows("SELECT message_uid FROM current_messages ORDER BY 1")
        assert shown == [(UID,), (row["message_uid"],)]

    def test_is_found_by_the_text_that_it_had_and_shown_with_the_text_that_it_has(self, asked: Asked) -> None:
        edited = flocks(version=2, text="hello!", observed=5)
        assert outcomes(asked, ours(), flocks(observed=4), edited) == [("reconciled", UID, 1)]
        assert asked.rows("SELECT version, text FROM current_messages") == [(2, "hello!")]
        assert asked.rows("SELECT version, archived_as IS NULL FROM identified_messages ORDER BY ALL") == [
            (1, False), (1, True), (2, True),
        ]  # fmt: skip

    def test_is_the_message_already_before_its_uid_was_known(self, asked: Asked) -> None:
        outcomes(asked, ours(observed=1), flocks(observed=9), flocks(version=2, text="hello!", observed=12))
        for second, text in ((1, "hello"), (10, "hello"), (12, "hello!")):
            found = asked.rows(f"SELECT message_uid, text, basis FROM messages_as_of({instant(second)})")
            assert found == [(UID, text, "observed")]

    def test_that_came_three_times_is_one_message(self, asked: Asked) -> None:
        rows = [ours(number, observed=number) for number in (1, 2, 3)]
        assert outcomes(asked, *rows, flocks()) == [("reconciled", UID, 1)] * 3
        assert len(asked.rows("FROM current_messages")) == 1

    def test_that_came_again_later_is_shown_as_it_came_with_its_uid(self, asked: Asked) -> None:
        outcomes(asked, ours(observed=9), flocks(observed=1, mentions=["u:bob"]))
        assert asked.rows("SELECT mentions FROM current_messages") == [(["u:bob"],)]
        assert asked.rows(f"SELECT mentions FROM messages_as_of({instant(20)})") == [(["u:bob"],)]

    def test_from_an_app_is_one_notification(self, asked: Asked) -> None:
        outcomes(asked, ours(app_id="app"), flocks(app_id="app"))
        assert asked.rows("SELECT message_uid FROM notifications") == [(UID,)]


class TestAmbiguous:
    def test_two_messages_that_it_could_be(self, asked: Asked) -> None:
        for row in (ours(), ours(told=False)):
            assert outcomes(asked, row, flocks(), flocks("other")) == [("ambiguous", None, 2)]
            assert len(asked.rows("FROM current_messages")) == 3

    def test_two_that_could_be_one_message_where_the_time_was_not_told(self, asked: Asked) -> None:
        """One of them may be another message, whose uid nobody has seen."""
        rows = [ours(number, told=False, observed=number) for number in (1, 2)]
        assert outcomes(asked, *rows, flocks()) == [("ambiguous", None, 1)] * 2
        assert len(asked.rows("FROM current_messages")) == 3

    def test_a_time_that_was_told_decides(self, asked: Asked) -> None:
        assert outcomes(asked, ours(), flocks(), flocks("other", sent=3)) == [("reconciled", UID, 1)]
        nameless_time = flocks("other", sent=3, sent_at_basis="observed", observed=3)
        assert outcomes(asked, ours(), flocks(), nameless_time) == [("reconciled", UID, 1)]


SHORT = st.sampled_from([0, 5, MINUTE + 1, 10 * MINUTE, 11 * MINUTE, 12 * MINUTE + 30])
TEXTS = st.sampled_from(["hello", "hello", "bye"])
OURS = st.builds(lambda told, sent, observed, text: (told, sent, observed, text), st.booleans(), SHORT, SHORT, TEXTS)
FLOCKS = st.builds(
    lambda uid, told, sent, observed, text: (uid, told, sent, observed, text),
    st.sampled_from(["1", "2", "z"]), st.booleans(), SHORT, SHORT, TEXTS,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(nameless=st.lists(OURS, max_size=3), named=st.lists(FLOCKS, max_size=4))
def test_the_rule_is_what_it_is_said_to_be(
    asked: Asked, nameless: list[tuple[bool, int, int, str]], named: list[tuple[str, bool, int, int, str]]
) -> None:
    rows = [
        ours(number, told=told, sent=sent, observed=observed, text=text)
        for number, (told, sent, observed, text) in enumerate(nameless)
    ]
    count: Counter[str] = Counter()
    real = []
    for uid, told, sent, observed, text in named:
        count[uid] += 1
        basis = "timestampInMillis" if told else "observed"
        at = sent if told else observed
        real.append(flocks(uid, sent=at, observed=observed, text=text, version=count[uid], sent_at_basis=basis))
    expected = reconciled(rows, real)
    assert outcomes(asked, *rows, *real) == [expected[row["message_uid"]] for row in rows]
    shown = {uid for (uid,) in asked.rows("SELECT message_uid FROM current_messages")}
    assert shown == {*count, *(uid for uid, (outcome, _, _) in expected.items() if outcome != "reconciled")}


def reconciled(rows: Sequence[Row], real: Sequence[Row]) -> dict[str, tuple[str, str | None, int]]:
    """The rule, read plainly."""
    exact: dict[str, set[str]] = {}
    near: dict[str, set[str]] = {}
    for row in rows:
        for other in real:
            if row["text"] == other["text"] and is_compatible(row, other):
                both = "observed" not in (row["sent_at_basis"], other["sent_at_basis"])
                (exact if both else near).setdefault(row["message_uid"], set()).add(other["message_uid"])
    found: dict[str, tuple[str, str | None, int]] = {}
    for uid in (row["message_uid"] for row in rows):
        possible = exact.get(uid) or near.get(uid) or set()
        rivals = [other for other, uids in near.items() if possible & uids]
        if len(possible) == 1 and (uid in exact or len(rivals) == 1):
            found[uid] = ("reconciled", min(possible), 1)
        else:
            found[uid] = ("ambiguous" if possible else "apart", None, len(possible))
    return found


def is_compatible(row: Row, other: Row) -> bool:
    if row["sent_at_basis"] != "observed":
        if other["sent_at_basis"] != "observed":
            return bool(row["sent_at"] == other["sent_at"])
        return -60_000 <= other["observed_at"] - row["sent_at"] <= 600_000
    if other["sent_at_basis"] != "observed":
        return -60_000 <= row["observed_at"] - other["sent_at"] <= 600_000
    return bool(abs(row["observed_at"] - other["observed_at"]) <= 600_000)


# Three messages, each shown in some of four ways: pushed without a uid, pushed with it, edited, fetched.
WAYS = ("nameless", "named", "edited", "fetched")
SHOWN = st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.sampled_from(WAYS)), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(shown=SHOWN, nights=st.lists(st.booleans(), min_size=8, max_size=8))
def test_in_whatever_order_they_arrive_each_is_one_message(
    asked: Asked, shown: list[tuple[int, str]], nights: list[bool]
) -> None:
    archive = Draining()
    waiting = []
    for place, (number, way) in enumerate(shown):
        raw = raw_in(number, way)
        if way == "fetched":
            archive.night(waiting)
            archive.fetched(raw, at_ms=NOW_MS + place)
            waiting = []
            continue
        waiting.append(webhook(raw, NOW_MS + place))
        if nights[place]:  # a run comes between
            archive.night(waiting)
            waiting = []
    archive.night(waiting)
    before = archive.rows("messages")
    archive.night()
    assert archive.rows("messages") == before
    asked.fill({"messages": before})
    found = Counter(asked.rows("SELECT sent_at, client_id FROM current_messages"))
    assert len(found) == len({number for number, _ in shown})
    for number in range(3):
        ways = {way for other, way in shown if other == number}
        times = [count for (_, client_id), count in found.items() if client_id == f"d_{number}"]
        # Without its uid nobody can tell a repetition from another message; nor when its first text is known of no capture.
        if ways and (ways & {"named", "fetched"} or "nameless" not in ways):
            assert times == [1]


def raw_in(number: int, way: str) -> bytes:
    fields = {
        "uid": None if way == "nameless" else f"{SENT_AT_MS + number}-aBc-m201",
        "text": "edited" if way == "edited" else "hello",
        "id": f"d_{number}",
        "timestampInMillis": SENT_AT_MS + number,
    }
    return raw_of(**fields)
