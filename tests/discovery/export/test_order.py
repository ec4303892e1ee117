"""Whether rows ascend is answered as comparing each with the one above it would, however few columns are looked at."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.discovery.export.order import ascends

Row = tuple[int, str, int]


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 2)), max_size=6),
    is_sorted=st.booleans(),
)
@example(rows=[(0, "a", 0), (0, "b", 0), (0, "b", 0)], is_sorted=False)
@example(rows=[(0, "b", 0), (1, "a", 0), (1, "a", 1)], is_sorted=False)
@example(rows=[(0, "a", 1), (0, "b", 0), (1, "a", 1), (1, "a", 0)], is_sorted=False)
def test_rows_ascend_as_tuples_do(rows: list[Row], is_sorted: bool) -> None:
    if is_sorted:
        rows = sorted(rows)
    columns = [[row[place] for row in rows] for place in range(3)]
    table = pa.table(columns, schema=pa.schema({"x": pa.int64(), "y": pa.string(), "z": pa.int64()}))
    assert ascends(table, "xyz") == all(one <= other for one, other in pairwise(rows))
    assert ascends(table, "xyz", strictly=True) == all(one < other for one, other in pairwise(rows))


@pytest.mark.parametrize("strictly", [True, False])
def test_rows_of_which_something_is_unknown_are_not_said_to_ascend(strictly: bool) -> None:
    table = pa.table({"x": [1, 1, 2], "y": ["a", None, "b"]})
    assert not ascends(table, "xy", strictly=strictly)
