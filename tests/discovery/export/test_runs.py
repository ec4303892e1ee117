"""An external sort: what went in by day comes out by conversation, all of it and in order, however little memory there is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.discovery.export.runs import Runs

Row = tuple[str, int, str]

INSTANT = pa.timestamp("ms", tz="UTC")
rows = st.tuples(st.sampled_from(["g:a", "g:b", "g:ö", "u:z"]), st.integers(-3, 9), st.sampled_from("xyz"))
days = st.lists(st.lists(rows, max_size=6), max_size=12)


def table(found: Sequence[Row], *, number_from: int = 0) -> pa.Table:
    """Rows of messages or files, each with a number of its own."""
    return pa.table(
        {
            "chat_id": pa.array([chat for chat, _, _ in found], pa.string()),
            "sent_at": pa.array([at_ms for _, at_ms, _ in found], INSTANT),
            "message_uid": pa.array([uid for _, _, uid in found], pa.string()),
            "number": pa.array(range(number_from, number_from + len(found)), pa.int64()),
        }
    )


def numbers(found: Sequence[pa.Table]) -> list[int]:
    return sorted(number for part in found for number in part.column("number").to_pylist())


@given(
    messages=days,
    files=days,
    limits=st.fixed_dictionaries(
        {
            "memory_bytes_max": st.sampled_from([1, 200, 10_000]),
            "group_bytes_max": st.sampled_from([1, 200, 10_000]),
            "piece_bytes_min": st.sampled_from([1, 200, 10_000]),
            "merged_runs": st.integers(2, 4),
            "batch_rows": st.integers(1, 4),
        }
    ),
    is_beside=st.booleans(),
)
def test_what_went_in_comes_out_by_conversation(
    messages: list[list[Row]], files: list[list[Row]], limits: dict[str, int], is_beside: bool
) -> None:
    added: list[Row] = []
    added_files: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(3) as executor:
        runs = Runs(Path(folder), executor if is_beside else None, **limits)
        for place, day in enumerate(messages):
            of_files = files[place] if place < len(files) and day else []
            runs.add(table(day, number_from=len(added)), table(of_files, number_from=len(added_files)))
            added += day
            added_files += of_files
        groups = list(runs.groups())
        pieces = {group: list(runs.pieces(*group)) for group in groups}
    assert [chat for group in groups for chat in group] == sorted(chat for group in groups for chat in group)
    for (first, last), found in pieces.items():
        inside = [place for place, (chat, _, _) in enumerate(added) if first <= chat <= last]
        assert numbers([piece.messages for piece in found]) == inside
        inside = [place for place, (chat, _, _) in enumerate(added_files) if first <= chat <= last]
        assert numbers([piece.files for piece in found]) == inside
        for place, piece in enumerate(found):
            later = [row["sent_at"] for each in found[place + 1 :] for row in each.messages.to_pylist()]
            before = piece.nothing_before_ms
            assert (before is None) == (place == len(found) - 1)
            assert before is None or all(at.timestamp() * 1000 >= before for at in later)
    assert sorted({chat for chat, _, _ in added}) == sorted(
        {chat for found in pieces.values() for piece in found for chat in piece.messages.column("chat_id").to_pylist()}
    )


def test_a_message_and_its_files_come_together(tmp_path: Path) -> None:
    sent: list[Row] = [("g:a", place, f"uid{place:02d}") for place in range(40)]
    runs = Runs(tmp_path, None, 1, 1, 1, merged_runs=3, batch_rows=2)
    for first in range(0, len(sent), 5):
        runs.add(table(sent[first : first + 5]), table(sent[first : first + 5]))
    pieces = list(runs.pieces("g:a", "g:a"))
    assert len(pieces) > len(sent) // 5
    for piece in pieces:
        assert piece.files.column("message_uid").to_pylist() == piece.messages.column("message_uid").to_pylist()


def test_a_merged_run_is_told_to_begin_with_the_earliest_of_its_runs(tmp_path: Path) -> None:
    runs = Runs(tmp_path, None, 1, 1, 1, merged_runs=3, batch_rows=1)
    for at_ms in (50, 51, 52, 60, 40, 61):
        runs.add(table([("g:a", at_ms, "x")]), table([]))
    assert len(list(tmp_path.iterdir())) == 4
    pieces = list(runs.pieces("g:a", "g:a"))
    assert [piece.nothing_before_ms for piece in pieces] == [40, 40, 40, 60, 61, None]


@pytest.mark.parametrize(("runs_added", "kept"), [(3, 3), (4, 1), (7, 4), (16, 1)])
def test_runs_are_merged_when_there_are_many_and_leave_no_files_behind(
    tmp_path: Path, runs_added: int, kept: int
) -> None:
    runs = Runs(tmp_path, None, 1, merged_runs=4)
    for place in range(runs_added):
        runs.add(table([("g:a", place, "x"), ("g:b", place, "x")]), table([]))
    assert len(list(tmp_path.iterdir())) == 2 * kept
    ((first, last),) = runs.groups()
    (piece,) = runs.pieces(first, last)
    assert piece.messages.num_rows == 2 * runs_added


def test_rows_that_come_after_others_were_read_are_added_to_them(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    for place in range(2):
        runs.add(table([("g:a", place, "x")], number_from=place), table([], number_from=0))
        (piece,) = runs.pieces("g:a", "g:a")
        assert numbers([piece.messages]) == list(range(place + 1))
