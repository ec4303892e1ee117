"""A day of very many messages is read by conversation or by instant: all of it, each conversation or message at once, little at a time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive.reader import Head, files_of
from archiver.discovery.export.dense_days import by_conversation, by_instant, spread
from archiver.discovery.export.stretches import Source, Stretch, weight_of
from archiver.scope.reach import item_keys
from archiver.store.memory import MemoryStore
from tests.small_archive import add, at_ms, found, message

# By object the conversations of its rows, cut into what is read at once.
objects = st.lists(
    st.lists(st.lists(st.sampled_from(["g:a", "g:b", "g:ö", "u:z"]), max_size=4), max_size=4), max_size=4
)
COLUMNS = ("chat_id", "message_uid", "version", "sent_at")


def tables(pieces: Sequence[Sequence[str]], read: list[int]) -> Iterator[pa.Table]:
    for piece in pieces:
        read.append(len(piece))
        yield pa.table({"chat_id": pa.array(piece, pa.string())})


def chats(parts: Sequence[pa.Table]) -> list[str]:
    return [chat for part in parts for chat in part.column("chat_id").to_pylist()]


@given(messages=objects, files=objects, rows_min=st.integers(1, 6), is_sorted=st.booleans())
def test_all_is_read_and_a_conversation_of_sorted_objects_at_once(
    messages: list[list[list[str]]], files: list[list[list[str]]], rows_min: int, is_sorted: bool
) -> None:
    if is_sorted:
        messages, files = ([_in_order(each) for each in kind] for kind in (messages, files))
    read: list[int] = []
    found = list(
        by_conversation(
            [tables(each, read) for each in messages], [tables(each, read) for each in files], rows_min=rows_min
        )
    )
    for kind, given_rows in enumerate((messages, files)):
        taken = [chat for part in found for chat in chats(part[kind])]
        assert sorted(taken) == sorted(chat for each in given_rows for piece in each for chat in piece)
    assert all(len(chats(part[0])) >= rows_min for part in found[:-1])
    if is_sorted:
        of_parts = [{*chats(part[0]), *chats(part[1])} for part in found]
        assert sum(map(len, of_parts)) == len(set().union(*of_parts))
        assert [chat for part in of_parts for chat in sorted(part)] == sorted(set().union(*of_parts))


def _in_order(pieces: list[list[str]]) -> list[list[str]]:
    ordered = iter(sorted(chat for piece in pieces for chat in piece))
    return [[next(ordered) for _ in piece] for piece in pieces]


def test_no_more_is_read_than_it_takes_to_know_that_a_conversation_is_whole() -> None:
    read: list[int] = []
    pieces = [["g:a", "g:b"], ["g:b", "g:c"], ["g:d", "g:e"]]
    parts = by_conversation([tables(pieces, read)], [], rows_min=1)
    assert chats(next(parts)[0]) == ["g:a"]
    assert len(read) == 1
    assert chats(next(parts)[0]) == ["g:b", "g:b"]
    assert len(read) == 2


@pytest.mark.parametrize(
    ("unsorted", "expected"),
    [
        ([["g:b", "g:a"], ["g:c"]], ["aa", "bb", "cc", "d"]),
        ([["g:b"], ["g:a", "g:c"]], ["aabb", "cc", "d"]),
    ],
)
def test_an_object_that_is_not_sorted_is_read_to_its_end_before_more_is_given(
    unsorted: list[list[str]], expected: list[str]
) -> None:
    others = [["g:a"], ["g:b"], ["g:c"], ["g:d"]]
    found = by_conversation([tables(unsorted, []), tables(others, [])], [], rows_min=2)
    assert ["".join(sorted(chat[2:] for chat in chats(part[0]))) for part in found] == expected


# Messages of two conversations by number, and the instants of their rows.
placed = st.lists(st.tuples(st.sampled_from(["g:a", "g:b"]), st.integers(0, 9), st.integers(0, 9)), max_size=40)


def placed_rows(drawn: Sequence[tuple[str, int, int]]) -> pa.Table:
    return pa.table(
        {
            "chat_id": pa.array([chat for chat, *_ in drawn], pa.string()),
            "message_uid": pa.array([str(number) for _, number, _ in drawn], pa.string()),
            "sent_at": pa.array([at_ms for *_, at_ms in drawn], pa.timestamp("ms", tz="UTC")),
        }
    )


@given(drawn=st.lists(placed, max_size=3), files=placed, size=st.integers(1, 5), rows_min=st.integers(1, 6))
def test_rows_of_a_message_come_at_once_also_where_conversations_do_not(
    drawn: list[list[tuple[str, int, int]]], files: list[tuple[str, int, int]], size: int, rows_min: int
) -> None:
    def read(kind: Sequence[Sequence[tuple[str, int, int]]]) -> list[Iterator[pa.Table]]:
        by_place = [sorted(each, key=lambda one: (one[0], one[2], one[1])) for each in kind]
        return [iter([placed_rows(each[at : at + size]) for at in range(0, len(each), size)]) for each in by_place]

    together = spread([placed_rows(each) for each in (*drawn, files)])
    found = list(by_instant(read(drawn), read([files]), rows_min=rows_min, together=together))
    items = [
        {(row["chat_id"], row["message_uid"]) for kind in part for rows in kind for row in rows.to_pylist()}
        for part in found
    ]
    assert sum(map(len, items)) == len(set().union(*items))
    for kind, given_rows in ((0, [one for each in drawn for one in each]), (1, files)):
        rows = pa.concat_tables([placed_rows([]), *(rows for part in found for rows in part[kind])])
        assert sorted(zip(*(column.to_pylist() for column in rows.columns), strict=True)) == sorted(
            zip(*(column.to_pylist() for column in placed_rows(given_rows).columns), strict=True)
        )
    of_one_instant = found[:-1] if len(together) else found
    assert all(sum(rows.num_rows for rows in part[0]) >= rows_min for part in of_one_instant[:-1])


def test_a_message_is_spread_if_any_of_its_rows_or_files_bears_another_instant() -> None:
    messages = placed_rows([("g:a", 1, 5), ("g:a", 1, 5), ("g:a", 2, 5), ("g:b", 1, 7), ("g:a", 3, 5), ("g:a", 3, 6)])
    assert (
        spread([messages, placed_rows([("g:a", 2, 6)])]).to_pylist()
        == item_keys(placed_rows([("g:a", 2, 0), ("g:a", 3, 0)])).to_pylist()
    )


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as executor:
        yield executor


@pytest.fixture(scope="module")
def archived() -> tuple[MemoryStore, Head]:
    """Three days, the second with many messages, half of them captured twice, some with files."""
    store = MemoryStore()
    archive = found(store)
    head = archive.founding_head()
    for attempt, version in (("aaaaaaaa", 1), ("bbbbbbbb", 2)):
        rows = [
            message(
                f"{at_ms(day)}-{number}",
                day,
                "x",
                chat_id=f"g:{number % 7}",
                version=version,
                # Every fifth bears another instant when it was edited.
                sent_at=at_ms(day) + number + (version - 1) * (number % 5 == 0) * 1_000,
            )
            for day, many in ((20, 10), (21, 3_000), (22, 10))
            for number in range(0, many, version)
        ]
        files = [
            {name: row[name] for name in ("chat_id", "message_uid", "version", "observed_at")}
            | {
                # Some bear a later instant than their message.
                "sent_at": row["sent_at"] + place % 3 * 1_000,
                "ordinal": 0,
                "kind": "download",
                "name": "x",
                "url": "https://x.test/",
                "status": "pending",
                "attempts": 0,
            }
            for place, row in enumerate(rows[::51])
        ]
        head = add(archive, head, {"messages": rows, "files": files}, attempt=attempt)
    return store, head


def read(source: Source) -> list[Stretch]:
    return list(source.stretches(COLUMNS))


def keys(rows: pa.Table) -> list[tuple[object, ...]]:
    return sorted(tuple(row[name] for name in ("chat_id", "message_uid", "version")) for row in rows.to_pylist())


@pytest.mark.parametrize("is_beside", [True, False])
def test_an_archive_gives_the_same_rows_however_its_days_are_read(
    archived: tuple[MemoryStore, Head], pool: Executor, is_beside: bool
) -> None:
    whole = pa.concat_tables([part.messages for part in read(Source(*archived))])
    whole_files = pa.concat_tables([part.files for part in read(Source(*archived))])
    limits = {"stretch_rows": 50, "day_rows_max": 100}
    parts = read(Source(*archived, executor=pool if is_beside else None, **limits))
    assert [part.first_on.day for part in parts] == [20, *(21 for _ in parts[2:]), 22]
    assert len(parts) > 5
    assert keys(pa.concat_tables([part.messages for part in parts])) == keys(whole)
    assert keys(pa.concat_tables([part.files for part in parts])) == keys(whole_files)
    for part in parts:
        chats_here = set(part.messages.column("chat_id").to_pylist())
        others = [other for other in parts if other is not part and other.first_on == part.first_on]
        assert all(chats_here.isdisjoint(other.messages.column("chat_id").to_pylist()) for other in others)
        assert {key[:2] for key in keys(part.files)} <= {key[:2] for key in keys(part.messages)}


def test_a_conversation_is_cut_where_nobody_need_see_it_whole_and_no_message_is(
    archived: tuple[MemoryStore, Head],
) -> None:
    whole = pa.concat_tables([part.messages for part in read(Source(*archived))])
    linked = item_keys(whole.filter(pc.equal(whole.column("chat_id"), "g:3")).slice(0, 200))
    source = Source(*archived, linked=pc.unique(linked), stretch_rows=50, day_rows_max=100)
    parts = list(source.stretches(COLUMNS, cuts_conversations=True))
    assert keys(pa.concat_tables([part.messages for part in parts])) == keys(whole)
    items = [set(item_keys(part.messages).to_pylist()) for part in parts]
    assert sum(map(len, items)) == len(set().union(*items))
    assert sum("g:1" in part.messages.column("chat_id").to_pylist() for part in parts) > 10
    for part in parts:
        assert {key[:2] for key in keys(part.files)} <= {key[:2] for key in keys(part.messages)}
    # What turned out to be one with another may not be told apart.
    assert sum(not set(linked.to_pylist()).isdisjoint(of_part) for of_part in items) == 2


def test_a_day_of_few_long_messages_is_read_as_one_of_many() -> None:
    archive = found(MemoryStore())
    long = [
        message(f"{at_ms(21)}-{number}", 21, random.Random(number).randbytes(2_000).hex(), chat_id=f"g:{number % 3}")
        for number in range(90)
    ]
    head = add(archive, archive.founding_head(), {"messages": long}, attempt="aaaaaaaa")
    (record,) = files_of(head, "messages")
    assert weight_of([record]) > 200
    (whole,) = read(Source(archive.store, head))
    cut = [
        list(Source(archive.store, head, stretch_rows=50, day_rows_max=100).stretches(COLUMNS, cuts_conversations=cuts))
        for cuts in (False, True)
    ]
    for parts in cut:
        assert len(parts) > 2
        assert keys(pa.concat_tables([part.messages for part in parts])) == keys(whole.messages)


def test_an_object_of_few_rows_counts_as_they_do() -> None:
    archive = found(MemoryStore())
    head = add(archive, archive.founding_head(), {"messages": [message("x", 21, "short")]}, attempt="aaaaaaaa")
    assert weight_of(files_of(head, "messages")) == 1


def test_who_wants_no_more_leaves_no_object_open(archived: tuple[MemoryStore, Head], pool: Executor) -> None:
    opened: list[BinaryIO] = []

    class Watched(MemoryStore):
        def open(self, key: str) -> BinaryIO:
            opened.append(archived[0].open(key))
            return opened[-1]

    parts = Source(Watched(), archived[1], executor=pool, stretch_rows=50, day_rows_max=100).stretches(COLUMNS)
    assert [next(parts).first_on.day for _ in range(2)] == [20, 21]
    assert not all(stream.closed for stream in opened)
    parts.close()
    assert all(stream.closed for stream in opened)
