"""Columns of small numbers crossed to the combinations that occur, however many there could be."""

from __future__ import annotations

import pyarrow as pa

from archiver.retention.crossing import Crossed, Crossing, taken

# Two such columns may be crossed before what occurs is counted; four such keys in one would be too large for an integer.
WIDE = 1 << 20


def read(crossed: Crossed) -> list[tuple[int, ...]]:
    """The combination of each row."""
    return [crossed.combinations[code] for code in crossed.codes.to_pylist()]


def test_rows_have_the_combination_of_their_numbers() -> None:
    crossing = Crossing(4)
    crossing.add(pa.array([0, 1, 0, 1]), 2)
    crossing.add(None, base=7)
    crossing.add(pa.chunked_array([[2, 0], [2, 2]]), 3, base=10)
    crossing.add(pa.array([0, 0, 0, 0]), 1, base=5)
    crossed = crossing.crossed()
    assert read(crossed) == [(0, 7, 12, 5), (1, 7, 10, 5), (0, 7, 12, 5), (1, 7, 12, 5)]
    assert len(crossed.combinations) == 3


def test_more_combinations_than_an_integer_can_tell_apart_are_told_apart_if_they_do_not_occur() -> None:
    columns = [[0, WIDE - 1, 0, 1], [WIDE - 1, 0, 0, 1], [5, 5, 5, 1], [0, 1, WIDE - 1, 1], [1, 1, 0, WIDE - 1]]
    crossing = Crossing(4)
    for column in columns:
        crossing.add(pa.array(column), WIDE)
    assert read(crossing.crossed()) == list(zip(*columns, strict=True))


def test_what_was_crossed_may_be_crossed_on() -> None:
    crossing = Crossing(3)
    crossing.add(pa.array([0, 1, 1]), 2)
    assert read(crossing.crossed()) == [(0,), (1,), (1,)]
    crossing.add(pa.array([1, 0, 1]), 2)
    assert read(crossing.crossed()) == [(0, 1), (1, 0), (1, 1)]


def test_rows_without_a_column_have_one_combination_and_no_rows_none() -> None:
    assert Crossing(3).crossed() == Crossed(pa.array([0, 0, 0]), [()])
    numbers, count = Crossing(3).numbered()
    assert (numbers.to_pylist(), count) == ([0, 0, 0], 1)
    numbers, count = Crossing(0).numbered()
    assert (numbers.to_pylist(), numbers.type, count) == ([], pa.int64(), 0)
    assert Crossing(0).crossed() == Crossed(pa.array([], pa.int64()), [])


def test_combinations_that_mean_the_same_are_one() -> None:
    codes, meanings = Crossed(pa.array([0, 1, 2, 1]), [(1, 2), (2, 2), (3, 0)]).map(sum)
    assert ([meanings[code] for code in codes.to_pylist()], meanings) == ([3, 4, 3, 4], [3, 4])


def test_values_are_whole_numbers_also_where_there_is_only_none() -> None:
    for values in ([None], [None, 5]):
        found = taken(values, pa.array([0, 0]))
        assert (found.type, found.to_pylist()) == (pa.int64(), [None, None])
