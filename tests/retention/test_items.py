"""Rows that belong together are put together, and what they say together is said of each."""

from __future__ import annotations

import pyarrow as pa

from archiver.retention.answers import Answered
from archiver.retention.items import Groups, groups_of, messages_among, messages_of, repeated_messages
from tests.retention.policies import file, files, message, messages

SALES = "g:sales"


def test_a_message_is_its_chat_and_its_uid() -> None:
    rows = messages([message("m-1"), message("m-1", chat_id=SALES), message("m-2"), message("m-1", version=2)])
    groups = groups_of(rows, "chat_id", "message_uid")
    assert (groups.numbers.to_pylist(), groups.count) == ([0, 1, 2, 0], 3)
    assert groups_of(rows.slice(0, 0), "chat_id", "message_uid") == Groups(pa.array([], pa.int64()), 0)
    same = groups_of(messages([message(), message(version=2)]), "chat_id", "message_uid")
    assert (same.numbers.to_pylist(), same.count) == ([0, 0], 1)


def test_of_each_item_the_greatest_is_found_in_every_column() -> None:
    groups = Groups(pa.array([0, 1, 0, 1, 2]), 3)
    columns = pa.array([5, 1, 4, None, None], pa.int64()), pa.array([1, 2, 3, 4, 5])
    assert [found.to_pylist() for found in groups.greatest(*columns)] == [[5, 1, None], [3, 4, 5]]
    assert groups.greatest() == []


def test_an_item_answers_all_that_any_of_its_rows_answers() -> None:
    groups = Groups(pa.array([0, 1, 0, 1, 2]), 3)
    united = groups.union(Answered(pa.array([0, 2, 1, 2, 0]), [0b1001, 0b1010, 0b1100]))
    assert [united.answers[code] for code in united.codes.to_pylist()] == [0b1011, 0b1100, 0b1001]
    alike = groups.union(Answered(pa.array([0] * 5), [0b11]))
    assert (alike.codes.to_pylist(), alike.answers) == ([0, 0, 0], [0b11])


class TestRepeated:
    ROWS = messages(
        [
            message("m-1"),
            message("m-2"),
            message("m-1", version=2),
            message("m-3", version=2),
            message("m-1", chat_id=SALES),
            message("m-3"),
        ]
    )

    def test_messages_of_several_rows_are_found_by_their_later_versions(self) -> None:
        repeated = repeated_messages(self.ROWS)
        assert repeated is not None
        # The first message of the other chat has a uid in common with one that has two.
        assert repeated.mask.to_pylist() == [True, False, True, True, True, True]
        assert (repeated.groups.numbers.to_pylist(), repeated.groups.count) == ([0, 0, 1, 2, 1], 3)
        assert repeated_messages(self.ROWS.slice(0, 2)) is None

    def test_each_row_of_them_has_the_greatest_and_answers_all(self) -> None:
        repeated = repeated_messages(self.ROWS)
        assert repeated is not None
        assert repeated.greatest(pa.array([1, 9, 2, 5, 3, 4])).to_pylist() == [2, 9, 2, 5, 3, 5]
        united = repeated.union(Answered(pa.array([0, 0, 1, 0, 1, 0]), [0b01, 0b10]))
        assert [united.answers[code] for code in united.codes.to_pylist()] == [0b11, 0b01, 0b11, 0b01, 0b10, 0b01]
        alike = Answered(pa.array([0] * 6), [0b01])
        assert repeated.union(alike) is alike


def test_rows_of_files_find_their_message_and_no_other() -> None:
    known = messages_of(messages([message("m-1"), message("m-2"), message("m-2", version=2)]))
    assert (known.groups.numbers.to_pylist(), known.groups.count) == ([0, 1, 1], 2)
    rows = files([file("m-2"), file("m-3"), file("m-1"), file("m-2", chat_id=SALES)])
    assert known.places_of(rows).to_pylist() == [1, None, 0, None]


def test_rows_that_others_could_belong_to_are_those_with_a_uid_of_theirs() -> None:
    rows = messages([message("m-1"), message("m-2"), message("m-1", chat_id=SALES)])
    found = messages_among(rows, files([file("m-1"), file("m-3")]))
    assert found.select(["chat_id", "message_uid"]).to_pylist() == [
        {"chat_id": "g:general", "message_uid": "m-1"}, {"chat_id": SALES, "message_uid": "m-1"},
    ]  # fmt: skip
