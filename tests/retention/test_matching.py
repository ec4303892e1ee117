"""Which rows belong to the items of a plan: as one would find it who compared every row with every item."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pyarrow as pa
import pytest

from archiver.retention.matching import Targets, joined, uids_carried, whole

Row = tuple[str | None, str | None, int | None]

UIDS = [f"m-{number}" for number in range(8)]
CHATS = ["g:b", "g:a", "u:x,u:y"]


def compared(items: Sequence[Row], row: Row, *, has_chats: bool, has_ordinals: bool) -> int | None:
    """The item of a row by the plainest reading; a row without a chat fits the first item of its uid."""
    if has_chats and row[1] is None:
        seen = list(dict.fromkeys(chat for _, chat, _ in items))
        of_uid = [number for number, item in enumerate(items) if item[0] == row[0]]
        return min(of_uid, key=lambda number: (seen.index(items[number][1]), items[number][2] or 0), default=None)
    for number, item in enumerate(items):
        if item[0] == row[0] and (not has_chats or item[1] == row[1]) and (not has_ordinals or item[2] == row[2]):
            return number
    return None


def column(rows: Sequence[Row], place: int) -> pa.Array:
    return pa.array([row[place] for row in rows], pa.int32() if place == 2 else pa.string())


def found(items: Sequence[Row], rows: Sequence[Row], *, has_chats: bool, has_ordinals: bool) -> list[int | None]:
    targets = Targets(
        column(items, 0),
        chats=column(items, 1) if has_chats else None,
        ordinals=column(items, 2) if has_ordinals else None,
    )
    matched = targets.match(
        column(rows, 0),
        chats=column(rows, 1) if has_chats else None,
        ordinals=column(rows, 2) if has_ordinals else None,
    )
    assert matched.type == pa.int64()
    numbers: list[int | None] = matched.to_pylist()
    return numbers


@pytest.mark.parametrize(("has_chats", "has_ordinals"), [(False, False), (True, False), (True, True), (False, True)])
@pytest.mark.parametrize("seed", range(12))
def test_rows_are_matched_as_by_comparing_each_with_each(seed: int, *, has_chats: bool, has_ordinals: bool) -> None:
    drawn = random.Random(seed)
    # Few uids, so that items share them, or many, so that none do and most rows fit nothing.
    uids = UIDS[: drawn.choice([2, 8])] if seed % 2 else [f"m-{number:03}" for number in range(200)]
    keys = {
        (drawn.choice(uids), drawn.choice(CHATS) if has_chats else None, drawn.randrange(3) if has_ordinals else None)
        for _ in range(drawn.choice([1, 4, 60]))
    }
    items = sorted(keys, key=str)
    drawn.shuffle(items)
    rows: list[Row] = [
        (
            drawn.choice([*uids, "a", "z", None]),
            drawn.choice([*CHATS, "g:other", None]),
            drawn.choice([0, 1, 2, 3, -1]),
        )
        for _ in range(drawn.choice([1, 3, 40]))
    ]
    if not has_chats:
        rows = [(uid, None, ordinal) for uid, _, ordinal in rows]
    asked = {"has_chats": has_chats, "has_ordinals": has_ordinals}
    assert found(items, rows, **asked) == [compared(items, row, **asked) for row in rows]


def test_few_rows_find_their_items_among_very_many() -> None:
    items: list[Row] = [(f"m-{number:03}", CHATS[number % 2], None) for number in range(100)]
    rows: list[Row] = [("m-050", "g:b", None), ("m-007", "g:b", None), ("m-099", "g:a", None), ("m-0505", "g:b", None)]
    assert found(items, rows, has_chats=True, has_ordinals=False) == [50, None, 99, None]
    twice: list[Row] = [*items, ("m-050", "g:a", None)]
    assert found(twice, [("m-050", "g:a", None)], has_chats=True, has_ordinals=False) == [100]


def test_where_no_two_items_share_a_uid_a_row_without_a_chat_fits_by_it_alone() -> None:
    items: list[Row] = [("m-2", "g:b", None), ("m-1", "g:a", None)]
    rows: list[Row] = [("m-1", None, None), ("m-1", "g:b", None), ("m-2", "g:b", None), ("m-3", None, None)]
    assert found(items, rows, has_chats=True, has_ordinals=False) == [1, None, 0, None]
    targets = Targets(column(items, 0), chats=column(items, 1))
    assert targets.match(column(rows, 0)).to_pylist() == [1, 1, 0, None]


def test_no_items_and_no_rows_match_nothing() -> None:
    assert found([], [("m-1", "g:a", None)], has_chats=True, has_ordinals=False) == [None]
    assert found([("m-1", "g:a", 0)], [], has_chats=True, has_ordinals=True) == []
    nowhere: list[Row] = [(None, None, None), (None, "g:a", None)]
    assert found([("m-1", "g:a", None)], nowhere, has_chats=True, has_ordinals=False) == [None, None]
    assert found([("m-1", "g:a", None), ("m-1", "g:b", None)], nowhere, has_chats=True, has_ordinals=False) == [
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("least", "greatest", "meets"),
    [
        ("m-1", "m-1", True),
        ("a", "m-1", True),
        ("m-5", "z", True),
        ("m-2", "m-4", False),
        ("n", "z", False),
        ("a", "b", False),
    ],
)
def test_an_object_is_opened_only_if_a_uid_may_lie_in_it(least: str, greatest: str, *, meets: bool) -> None:
    assert Targets(pa.array(["m-5", "m-1", "m-5"])).meets(least, greatest) is meets
    assert not Targets(pa.array([], pa.string())).meets(least, greatest)


def test_uids_in_bodies_are_found_also_where_they_are_no_json() -> None:
    bodies = [
        b'{"uid":"m-1","new":[{"uid" : "m-2"}]}', None, b'{"uid": -17', b"nothing", b'{"uid":""}{"uid":"m-3"',
        b'{"uid":"\xff"}', b'{"uid":"%s"}' % (b"x" * 512), b'{"uid":"%s"}' % (b"x" * 513),
    ]  # fmt: skip
    uids, rows = uids_carried(pa.array(bodies, pa.binary()))
    assert uids.to_pylist() == ["m-1", "m-2", "-17", "m-3", "�", "x" * 512]
    assert rows.to_pylist() == [0, 0, 2, 4, 5, 6]
    none, of_none = uids_carried(pa.array([None], pa.binary()))
    assert (none.type, len(none), of_none.type, len(of_none)) == (pa.string(), 0, pa.int64(), 0)


def test_columns_are_made_one() -> None:
    assert whole(pa.chunked_array([[1], [2]])).to_pylist() == whole(pa.array([1, 2])).to_pylist() == [1, 2]
    assert joined([pa.array([1]), pa.array([2, 3])]).to_pylist() == [1, 2, 3]
    assert joined([]) == pa.array([], pa.int64())
