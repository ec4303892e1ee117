"""Items of pages: what is told of their places is what reading them says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.tables import messages_to_table, rows_of
from archiver.capture.history_rows import FLOCKS_OWN_UID, HistoryRows, place_items
from archiver.capture.reading import ShownPage, read_shown
from archiver.errors import UnparseableError
from archiver.normalise.message import Observed, read_message
from tests.archive.archive_steps import InlineExecutor
from tests.capture.test_reading import AT_MS, PLAIN, bodies

DOCUMENTED = {key: value for key, value in PLAIN.items() if key != "timestampInMillis"} | {"timestamp": AT_MS}


def raw(**changes: object) -> bytes:
    return json.dumps({**DOCUMENTED, **changes}).encode()


@given(
    st.lists(
        st.one_of(bodies, st.builds(raw, text=st.text(max_size=5), timestamp=st.sampled_from([AT_MS, 5, "x", None]))),
        max_size=6,
    )
)
def test_items_are_read_as_if_one_by_one(raws: list[bytes]) -> None:
    messages, numbers, unread = [], [], []
    for number, each in enumerate(raws):
        try:
            message = read_message(each, Observed(AT_MS + number, "history", f"u:{number}"))
        except UnparseableError:
            unread.append(number)
            continue
        if message.uid_provisional:
            unread.append(number)
        else:
            messages.append(message)
            numbers.append(number)
    read = read_shown([ShownPage([each], AT_MS + number, f"u:{number}") for number, each in enumerate(raws)])
    rows = dict(zip(read.item_of_row, rows_of(read.messages), strict=True))
    assert [rows[number] for number in numbers] == rows_of(messages_to_table(messages))
    assert sorted(read.unread) == unread


@given(st.lists(bodies, max_size=6))
def test_a_place_is_what_reading_says(raws: list[bytes]) -> None:
    told = place_items(raws, at_ms=AT_MS, uid=FLOCKS_OWN_UID)
    for each, uid, at_ms in zip(raws, told.uids, told.times_ms, strict=True):
        try:
            message = read_message(each, Observed(AT_MS, "history", ""))
        except UnparseableError:
            continue  # it may have a place all the same
        if message.uid_provisional:
            assert (uid, at_ms) == (None, None)
        else:
            assert uid == message.message_uid
            assert at_ms == (None if message.sent_at_basis == "observed" else message.sent_at_ms)


def test_an_item_that_is_not_plain_keeps_its_place_among_those_that_are() -> None:
    rows = HistoryRows(executor=InlineExecutor())
    said = ["first", "second", "third"]
    raws = [raw(text=text, sendAs={"name": "Build"} if text == "second" else None) for text in said]
    rows.add(place_items(raws, at_ms=AT_MS, uid=FLOCKS_OWN_UID), feed="f", chat_id="g:1", asked_as="u:a", at_ms=AT_MS)
    batch = rows.finished()
    texts = batch.messages().column("text").to_pylist()
    assert [texts[row] for row in batch.in_order(range(3))] == said


def test_a_declared_uid_stands_where_the_source_says() -> None:
    rows = HistoryRows(("meta", "key"), executor=InlineExecutor())
    raws = [raw(meta={"key": "k-1"}), raw(meta={})]
    items = place_items(raws, at_ms=AT_MS, uid=("meta", "key"))
    assert (items.uids, items.times_ms) == (["k-1", None], [AT_MS, None])
    rows.add(items, feed="f", chat_id="g:1", asked_as="u:a", at_ms=AT_MS)
    assert rows.count == 2
    assert rows.finished().messages().column("message_uid").to_pylist() == ["k-1"]
    assert [row["error"] for row in rows.unread.values()] == ["the item has no meta.key"]
