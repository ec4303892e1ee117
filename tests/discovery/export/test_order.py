"""Whether rows ascend is answered as comparing each with the one above it would, however few columns are looked at."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.discovery.export.order import ascends, repeated, starts_of

Row = tuple[int, str, int]


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(0, 2)), max_size=6),
    is_sorted=st.booleans(),
    cut=st.integers(0, 6),
)
@example(rows=[(0, "a", 0), (0, "b", 0), (0, "b", 0)], is_sorted=False, cut=2)
@example(rows=[(0, "b", 0), (1, "a", 0), (1, "a", 1)], is_sorted=False, cut=2)
@example(rows=[(0, "a", 1), (0, "b", 0), (1, "a", 1), (1, "a", 0)], is_sorted=False, cut=2)
def test_rows_ascend_as_tuples_do(rows: list[Row], is_sorted: bool, cut: int) -> None:
    if is_sorted:
        rows = sorted(rows)
    columns = [[row[place] for row in rows] for place in range(3)]
    whole = pa.table(columns, schema=pa.schema({"x": pa.int64(), "y": pa.string(), "z": pa.int64()}))
    table = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert ascends(table, "xyz") == all(one <= other for one, other in pairwise(rows))
    assert ascends(table, "xyz", strictly=True) == all(one < other for one, other in pairwise(rows))


@given(values=st.lists(st.sampled_from("abc"), max_size=6), cut=st.integers(0, 6))
def test_what_stands_there_several_times_is_found(values: list[str], cut: int) -> None:
    found = repeated(pa.chunked_array([values[:cut], values[cut:]], pa.string()))
    assert (found is None) == (len(set(values)) == len(values))
    assert found is None or found.to_pylist() == [values.count(value) > 1 for value in values]


@given(rows=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")), max_size=6), cut=st.integers(0, 6))
def test_a_message_begins_where_either_its_chat_or_its_uid_changes(rows: list[tuple[str, str]], cut: int) -> None:
    whole = pa.table(
        [[chat for chat, _ in rows], [uid for _, uid in rows]],
        schema=pa.schema({"chat_id": pa.string(), "message_uid": pa.string()}),
    )
    table = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    assert starts_of(table) == [place for place, row in enumerate(rows) if not place or row != rows[place - 1]]


@pytest.mark.parametrize("strictly", [True, False])
def test_rows_of_which_something_is_unknown_are_not_said_to_ascend(strictly: bool) -> None:
    table = pa.table({"x": [1, 1, 2], "y": ["a", None, "b"]})
    assert not ascends(table, "xy", strictly=strictly)
