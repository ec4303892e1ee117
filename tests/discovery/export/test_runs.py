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

from archiver.discovery.export.batches import Rows
from archiver.discovery.export.order import FIRST
from archiver.discovery.export.runs import Runs
from archiver.discovery.export.sorted_rows import Folder

Row = tuple[str, int, str]

rows = st.tuples(st.sampled_from(["g:a", "g:b", "g:ö", "u:z"]), st.integers(-3, 9), st.sampled_from("xyz"))
days = st.lists(st.lists(rows, max_size=6), max_size=12)


def table(found: Sequence[Row], *, number_from: int = 0) -> pa.Table:
    """Rows of messages or files, each with a number of its own."""
    return pa.table(
        {
            "chat_id": pa.array([chat for chat, _, _ in found], pa.string()),
            FIRST: pa.array([at_ms for _, at_ms, _ in found], pa.int64()),
            "message_uid": pa.array([uid for _, _, uid in found], pa.string()),
            "number": pa.array(range(number_from, number_from + len(found)), pa.int64()),
        }
    )


def numbers(found: Sequence[pa.Table]) -> list[int]:
    return sorted(number for part in found for number in part.column("number").to_pylist())


@given(
    messages=days,
    with_files=st.lists(st.integers(0, 70)),
    limits=st.fixed_dictionaries(
        {
            "memory_bytes_max": st.sampled_from([1, 200, 10_000]),
            "group_bytes_max": st.sampled_from([1, 200, 10_000]),
            "piece_bytes_min": st.sampled_from([1, 200, 10_000]),
            "merged_runs": st.integers(2, 4),
            "batch_rows": st.integers(1, 4),
            "apart_rows_min": st.integers(1, 4),
            "together_rows_min": st.integers(1, 3),
        }
    ),
    is_beside=st.booleans(),
)
def test_what_went_in_comes_out_by_conversation_each_file_with_its_message(
    messages: list[list[Row]], with_files: list[int], limits: dict[str, int], is_beside: bool
) -> None:
    added: list[Row] = []
    added_files: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(3) as executor:
        runs = Runs(Path(folder), executor if is_beside else None, **limits)
        for day in messages:
            of_files = [day[place - len(added)] for place in with_files if 0 <= place - len(added) < len(day)]
            runs.add(table(day, number_from=len(added)), table(of_files, number_from=len(added_files)))
            added += day
            added_files += of_files
        groups = list(runs.given().groups())
        pieces = {group: list(runs.given().pieces(*group)) for group in groups}
    assert [chat for group in groups for chat in group] == sorted(chat for group in groups for chat in group)
    for (first, last), found in pieces.items():
        inside = [place for place, (chat, _, _) in enumerate(added) if first <= chat <= last]
        assert numbers([piece.messages for piece in found]) == inside
        inside = [place for place, (chat, _, _) in enumerate(added_files) if first <= chat <= last]
        assert numbers([piece.files for piece in found]) == inside
        for place, piece in enumerate(found):
            assert keys(piece.files) <= keys(piece.messages)
            later = [row[FIRST] for each in found[place + 1 :] for row in each.messages.to_pylist()]
            before = piece.nothing_before_ms
            assert (before is None) == (place == len(found) - 1)
            assert before is None or all(at >= before for at in later)
    assert sorted({chat for chat, _, _ in added}) == sorted(
        {chat for found in pieces.values() for piece in found for chat in piece.messages.column("chat_id").to_pylist()}
    )


def keys(rows: pa.Table) -> set[Row]:
    return {(row["chat_id"], row[FIRST], row["message_uid"]) for row in rows.to_pylist()}


def uids(rows: pa.Table) -> list[str]:
    return list(rows.column("message_uid").to_pylist())


def test_a_message_and_its_files_come_together(tmp_path: Path) -> None:
    sent: list[Row] = [("g:a", place, f"uid{place:02d}") for place in range(40)]
    runs = Runs(tmp_path, None, 1, 1, 1, merged_runs=3, batch_rows=2, apart_rows_min=2)
    for first in range(0, len(sent), 5):
        runs.add(table(sent[first : first + 5]), table(sent[first : first + 5]))
    pieces = list(runs.given().pieces("g:a", "g:a"))
    assert len(pieces) > len(sent) // 5
    for piece in pieces:
        assert piece.files.column("message_uid").to_pylist() == piece.messages.column("message_uid").to_pylist()


def test_files_that_are_read_before_their_message_is_merged_wait_for_it(tmp_path: Path) -> None:
    runs = Runs(tmp_path, None, 1, 1, merged_runs=2, batch_rows=2)
    chats = [f"g:{number:02d}" for number in range(40)]
    for part in (chats[::2], chats[1::2]):
        sent = [(chat, 1, "x") for chat in part]
        runs.add(table(sent), table(sent))
    found = [piece for chat in chats for piece in runs.given().pieces(chat, chat)]
    assert [(piece.messages.num_rows, piece.files.num_rows) for piece in found] == [(1, 1)] * len(chats)


def test_conversations_with_few_rows_share_a_batch_as_long_as_it_is_small(tmp_path: Path) -> None:
    sent = table(
        [("g:a", 1, "x"), ("g:b", 1, "x"), *(("g:c", 1, uid) for uid in "uvwxyz"), ("g:d", 1, "x"), ("g:e", 1, "x")]
    )
    folder = Folder(tmp_path, sent.schema, sent.schema, batch_rows=4, apart_rows_min=3)
    found = folder.written([Rows(sent, sent.slice(0, 0))], 1)
    assert [(each.first, each.last) for each in found.shared] == [("g:a", "g:b"), ("g:d", "g:e")]
    assert {chat: len(list(places)) for chat, places in found.apart.items()} == {"g:c": 2}


@pytest.mark.parametrize("how", ["written", "spilled", "merged"])
def test_of_long_rows_a_batch_has_few_however_many_it_may_have(tmp_path: Path, how: str) -> None:
    sent = table([("g:a", place, f"uid{place:03d}") for place in range(100)])
    sent = sent.append_column("raw", pa.array(["x" * 200_000] * 100))
    none = sent.slice(0, 0)
    folder = Folder(tmp_path, sent.schema, sent.schema, apart_rows_min=1)
    if how == "merged":
        halves = [folder.written([Rows(sent.slice(start, 50), none)], start + 1) for start in (0, 50)]
        found = folder.merged(halves, 201)
    else:
        found = getattr(folder, how)([Rows(sent, none)], 1)
    places = [*found.apart.get("g:a", ()), *(each.place for each in found.shared)]
    assert max(place.message_bytes for place in places) < 5_000_000
    assert numbers([folder.read(place).messages for place in places]) == list(range(100))


def test_days_of_a_conversation_that_come_out_of_turn_are_sorted_like_others(tmp_path: Path) -> None:
    days = [[("g:a", day * 10 + place, uid) for place, uid in enumerate("xyz")] for day in (2, 1, 3)]
    parts = [Rows(table(day), table(day[:1])) for day in days]
    folder = Folder(tmp_path, parts[0].messages.schema, parts[0].files.schema, 4, 1, together_rows_min=1)
    found = [folder.read(place) for place in folder.spilled(parts, 1).apart["g:a"]]
    assert [uid for rows in found for uid in rows.messages.column(FIRST).to_pylist()] == [
        *(10, 11, 12, 20),
        *(21, 22, 30, 31),
        32,
    ]
    assert [rows.files.num_rows for rows in found] == [2, 1, 0]


def test_messages_of_one_instant_are_sorted_by_uid_so_that_each_file_lies_beside_its_own(tmp_path: Path) -> None:
    sent: list[Row] = [("g:a", 1, "z"), ("g:a", 1, "x")]
    folder = Folder(tmp_path, table([]).schema, table([]).schema, 1, 1, together_rows_min=1)
    found = [folder.read(place) for place in folder.spilled([Rows(table(sent), table(sent))], 1).apart["g:a"]]
    assert [uids(rows.messages) for rows in found] == [uids(rows.files) for rows in found] == [["x"], ["z"]]


def test_files_of_a_conversation_that_is_apart_lie_with_none_that_shares(tmp_path: Path) -> None:
    sent: list[Row] = [("g:many", 1, "x"), ("g:many", 1, "y"), ("g:some", 1, "x")]
    folder = Folder(tmp_path, table([]).schema, table([]).schema, 4, 2, together_rows_min=2)
    found = folder.spilled([Rows(table(sent), table(sent))], 1)
    (shared,) = [folder.read(each.place) for each in found.shared]
    assert shared.files.column("chat_id").to_pylist() == ["g:some"]


@pytest.mark.parametrize("apart_rows_min", [1, 2])
def test_a_file_that_bears_a_later_instant_than_its_message_is_no_file_of_the_next_conversation(
    tmp_path: Path, apart_rows_min: int
) -> None:
    runs = Runs(tmp_path, None, 1, 1, apart_rows_min=apart_rows_min)
    runs.add(table([("g:a", 1, "x"), ("g:b", 1, "x")]), table([("g:a", 9, "x")]))
    assert [piece.files.num_rows for chat in ("g:a", "g:b") for piece in runs.given().pieces(chat, chat)] == [1, 0]


@pytest.mark.parametrize("apart_rows_min", [1, 2])
def test_what_comes_next_is_told_also_where_earlier_rows_came_later(tmp_path: Path, apart_rows_min: int) -> None:
    runs = Runs(tmp_path, None, 1, 1, 1, merged_runs=3, batch_rows=1, apart_rows_min=apart_rows_min)
    for at_ms in (50, 51, 52, 60, 40, 61):
        runs.add(table([("g:a", at_ms, "x")]), table([]))
    pieces = list(runs.given().pieces("g:a", "g:a"))
    assert [piece.nothing_before_ms for piece in pieces] == [50, 51, 52, 60, 61, None]


@pytest.mark.parametrize(("runs_added", "kept"), [(3, 3), (4, 1), (7, 4), (16, 1)])
def test_what_is_shared_is_merged_when_there_are_many_runs_and_leaves_no_files_behind(
    tmp_path: Path, runs_added: int, kept: int
) -> None:
    runs = Runs(tmp_path, None, 1, merged_runs=4)
    for place in range(runs_added):
        runs.add(table([("g:a", place, "x"), ("g:b", place, "x")]), table([]))
    assert len(list(tmp_path.iterdir())) == kept
    ((first, last),) = runs.given().groups()
    (piece,) = runs.given().pieces(first, last)
    assert piece.messages.num_rows == 2 * runs_added


def test_a_conversation_of_many_rows_is_written_once_and_one_of_few_until_it_has_as_many(tmp_path: Path) -> None:
    runs = Runs(tmp_path, None, 1, merged_runs=2, apart_rows_min=3)
    for place in range(4):
        runs.add(table([("g:many", place, uid) for uid in "xyz"] + [("g:few", place, "x")]), table([]))
    # What was apart lies where it was first written, run by run; of the rest two together were shared still, and four were no more.
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"{number:08d}" for number in (1, 3, 7, 9, 13)]
    for chat, rows in (("g:few", 4), ("g:many", 12)):
        (piece,) = runs.given().pieces(chat, chat)
        assert piece.messages.num_rows == rows
