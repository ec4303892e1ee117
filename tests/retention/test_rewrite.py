"""Rows that go are found wherever they lie, and what stays of an object is encoded as if they had never been there."""

from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import files_of
from archiver.archive.schema import MESSAGES, TABLES
from archiver.archive.tables import ROW_GROUP_ROWS, encode, rows_to_table, split_by_day
from archiver.clock import DAY_MS
from archiver.errors import DamageFoundError, StoreFullError
from archiver.retention.matching import Targets, uids_carried
from archiver.retention.rewrite import (
    Touched,
    find_events,
    find_files,
    find_messages,
    find_users,
    read_going,
    read_staying,
    rewrite,
)
from archiver.retention.storing import Storing
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import add, event, found, message

CHATS = ["g:1", "u:1,u:2", "g:1,", ",g:1"]
NEW_KEY = "messages/dt=2026-11-18/000000000009-00000000-00001.parquet"


def strings(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.string())


def targets_of(pairs: list[tuple[str, str]]) -> Targets:
    return Targets(strings([uid for _, uid in pairs]), chats=strings([chat for chat, _ in pairs]))


# Matching

PAIRS = st.tuples(st.sampled_from(CHATS), st.sampled_from(["m-1", "m-2", "m-10", "", "µ"]))


@given(
    st.lists(st.tuples(PAIRS, st.integers(0, 3)), unique=True, max_size=12),
    st.lists(st.tuples(PAIRS, st.integers(-1, 5))),
)
def test_a_row_belongs_to_the_item_whose_every_part_it_has(items: list[Any], rows: list[Any]) -> None:
    targets = Targets(
        strings([uid for (_, uid), _ in items]),
        chats=strings([chat for (chat, _), _ in items]),
        ordinals=pa.array([ordinal for _, ordinal in items], pa.int32()),
    )
    matched = targets.match(
        strings([uid for (_, uid), _ in rows]),
        chats=strings([chat for (chat, _), _ in rows]),
        ordinals=pa.array([ordinal for _, ordinal in rows], pa.int32()),
    )
    assert matched.to_pylist() == [items.index(row) if row in items else None for row in rows]


@given(
    st.lists(PAIRS, unique=True, max_size=12),
    st.lists(st.tuples(st.none() | st.sampled_from(CHATS), st.none() | PAIRS.map(lambda pair: pair[1]))),
)
def test_a_row_that_names_no_chat_goes_by_its_uid(items: list[Any], rows: list[Any]) -> None:
    matched = (
        targets_of(items)
        .match(strings([uid for _, uid in rows]), chats=strings([chat for chat, _ in rows]))
        .to_pylist()
    )
    for (chat, uid), item in zip(rows, matched, strict=True):
        if chat is None:
            assert (item is not None) == (uid in {known for _, known in items})
            assert item is None or items[item][1] == uid
        else:
            assert item == (items.index((chat, uid)) if (chat, uid) in items else None)


@given(
    st.lists(st.sampled_from(["a", "b", "ba", "z", "é", "🎉"]), min_size=1, unique=True),
    st.sampled_from(["", "a", "b", "bb", "é", "🎈", "🎉"]),
    st.sampled_from(["a", "b", "bb", "é", "🎉", "🎊"]),
)
def test_a_range_meets_items_just_where_one_lies_in_it(uids: list[str], least: str, greatest: str) -> None:
    assert Targets(strings(uids)).meets(least, greatest) == any(least <= uid <= greatest for uid in uids)


def test_few_rows_among_very_many_items_are_matched_and_so_are_many_among_few() -> None:
    uids = [f"{number:08}" for number in range(0, 200_000, 2)]
    random.Random(3).shuffle(uids)
    targets = Targets(strings(uids))
    for rows in (["00000000", "00199998", "00000001", "x"], [f"{number:08}" for number in range(0, 300_000, 3)]):
        matched = targets.match(strings(rows)).to_pylist()
        assert [None if item is None else uids[item] for item in matched] == [
            row if row.isdigit() and int(row) % 2 == 0 and int(row) < 200_000 else None for row in rows
        ]


def test_what_a_body_carries_is_found_even_in_what_is_no_json() -> None:
    bodies = [b'{"messages":[{"uid":"m-1"},{"uid" : 7}]}', None, b'{"uid":"m-2', b'broken {"uid": "m-3", ', b"{}"]
    uids, rows = uids_carried(pa.array(bodies, pa.binary()))
    assert list(zip(uids.to_pylist(), rows.to_pylist(), strict=True)) == [("m-1", 0), ("7", 0), ("m-3", 3)]


def test_what_carries_nothing_and_what_is_no_text_are_no_mistake() -> None:
    uids, rows = uids_carried(pa.array([None, b"{}"], pa.binary()))
    assert (uids.type, rows.type, len(uids), len(rows)) == (pa.string(), pa.int64(), 0, 0)
    uids, rows = uids_carried(pa.array([b'{"uid":"m-\xff"}', b'{"uid":"m-\xc3\xa9"}'], pa.binary()))
    assert (uids.to_pylist(), rows.to_pylist()) == (["m-\ufffd", "m-\xe9"], [0, 1])


# Rewriting


def stored(store: Any, rows: pa.Table) -> tuple[FileRecord, pa.Table]:
    """Store rows of messages of one day as a commit does, and return the record and the rows in their order."""
    [(day, data)] = split_by_day(MESSAGES, rows)
    file = encode(MESSAGES, day, data)
    key = f"messages/dt={day}/000000000001-00000000-00001.parquet"
    store.create(key, file.data)
    record = FileRecord(
        table="messages", key=key, bytes=len(file.data), sha256=file.sha256, rows=file.rows, ranges=file.ranges,
        open_rows=file.open_rows, astray_rows=file.astray_rows,
    )  # fmt: skip
    return record, data


def many(count: int) -> pa.Table:
    chance = random.Random(5)
    return rows_to_table(
        MESSAGES,
        [
            message(
                f"{1_795_000_000_000 + number - (number % 11 == 5) * DAY_MS}-x",
                text=chance.choice(["hello", "", "naïve 日本 🎉", "x" * 300]),
                chat_id=chance.choice(CHATS),
                version=chance.randint(1, 3),
                sent_at=1_795_000_000_000 + number % 1000,
                mentions=chance.choice([None, [], ["u:1", "u:2"]]),
                sent_at_basis=chance.choice(["observed", "uid"]),
            )
            for number in range(count)
        ],
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """An object of 50 rows, and what is known of it when the message of its first row is to go."""

    store: Any
    record: FileRecord
    data: pa.Table
    targets: Targets
    touched: Touched


def begun_in(store: Any) -> Begun:
    record, data = stored(store, many(50))
    first = data.select(["chat_id", "message_uid"]).to_pylist()[0]
    targets = targets_of([(first["chat_id"], first["message_uid"])])
    touched = find_messages(store, record, targets)
    assert touched is not None
    return Begun(store, record, data, targets, touched)


@pytest.fixture
def begun() -> Begun:
    return begun_in(MemoryStore())


@pytest.mark.parametrize("is_large", [False, True], ids=["in memory", "on disk"])
def test_what_stays_is_encoded_as_if_the_rest_had_never_been_there(
    is_large: bool,
) -> None:
    store = MemoryStore()
    record, data = stored(store, many(3_000))
    goes = [number % 7 == 3 for number in range(data.num_rows)]
    pairs = data.filter(pa.array(goes)).select(["chat_id", "message_uid"]).to_pylist()
    touched = find_messages(store, record, targets_of([(row["chat_id"], row["message_uid"]) for row in pairs]))
    assert touched is not None
    assert touched.goes.to_pylist() == goes
    assert pa.concat_tables(read_going(store, touched, ["message_uid"])).column(0).to_pylist() == [
        row["message_uid"] for row in pairs
    ]

    fresh = rewrite(
        store, touched, NEW_KEY, storing=Storing(store, None), in_memory_bytes_max=1 if is_large else record.bytes + 1
    )

    assert 0 < fresh.astray_rows < record.astray_rows
    stays = data.filter(pc.invert(pa.array(goes)))
    expected = encode(MESSAGES, stays.column("sent_at")[0].as_py().date(), stays)
    assert store.read(NEW_KEY) == expected.data
    assert (fresh.sha256, fresh.rows, fresh.bytes) == (
        sha256(expected.data).hexdigest(),
        stays.num_rows,
        len(expected.data),
    )
    assert (fresh.ranges, fresh.astray_rows, fresh.open_rows) == (
        expected.ranges,
        expected.astray_rows,
        expected.open_rows,
    )
    assert (
        pa.concat_tables(read_staying(store, record, touched, ["text"])).column(0).to_pylist()
        == stays.column("text").to_pylist()
    )
    assert store.stat(record.key).size == record.bytes


def test_many_row_groups_are_rewritten_one_at_a_time_into_whole_ones() -> None:
    store = MemoryStore()
    one = many(1).slice(0, 1)
    count = 2 * ROW_GROUP_ROWS + 10
    columns = {name: pa.repeat(one.column(name)[0], count) for name in MESSAGES.schema.names}
    columns["message_uid"] = pa.array([f"{number:09}" for number in range(count)])
    columns["chat_id"] = pa.repeat("g:1", count)
    record, data = stored(store, pa.table([columns[name] for name in MESSAGES.schema.names], schema=MESSAGES.schema))
    touched = find_messages(store, record, targets_of([("g:1", f"{number:09}") for number in range(0, count, 10)]))
    assert touched is not None

    fresh = rewrite(store, touched, NEW_KEY, storing=Storing(store, None))

    with pq.ParquetFile(io.BytesIO(store.read(NEW_KEY))) as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        assert groups == [ROW_GROUP_ROWS, fresh.rows - ROW_GROUP_ROWS]
        stays = data.filter(pc.invert(touched.goes))
        assert file.read().equals(stays)
    assert fresh.rows == count - len(touched.items)


def test_an_object_in_whose_range_no_item_lies_is_never_opened() -> None:
    store = MemoryStore()
    record, _ = stored(store, many(10))
    store.delete(record.key)
    elsewhere = targets_of([("g:1", "m-1")])
    assert find_messages(store, record, elsewhere) is None
    assert find_files(store, record, elsewhere) is None
    assert find_events(store, record, targets_of([])) is None


def in_small_groups(store: Any, record: FileRecord, **further: Any) -> pa.Table:
    """Write an object anew with two rows in a row group, so that a test need not have very many."""
    rows = pq.read_table(io.BytesIO(store.read(record.key)), schema=TABLES[record.table].schema)
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, row_group_size=2, write_page_checksum=True, **further)
    store.replace(record.key, sink.getvalue().to_pybytes())
    return rows


def test_rows_are_found_and_read_through_all_row_groups() -> None:
    store = MemoryStore()
    record, _ = stored(store, many(7))
    rows = in_small_groups(store, record)
    goes = [False, True, False, False, True, True, False]
    pairs = rows.filter(pa.array(goes)).select(["chat_id", "message_uid"]).to_pylist()
    touched = find_messages(store, record, targets_of([(row["chat_id"], row["message_uid"]) for row in pairs]))
    assert touched is not None
    assert touched.goes.to_pylist() == goes
    columns = ["text", "message_uid", "chat_id"]
    assert pa.concat_tables(read_going(store, touched, columns)).equals(rows.select(columns).filter(touched.goes))
    stays = pa.concat_tables(read_staying(store, record, touched, columns))
    assert stays.equals(rows.select(columns).filter(pc.invert(touched.goes)))
    assert pa.concat_tables(read_staying(store, record, None, columns)).equals(rows.select(columns))

    committed = replace(touched, record=structs.replace(record, sha256=sha256(store.read(record.key)).hexdigest()))
    rewrite(store, committed, NEW_KEY, storing=Storing(store, None))
    with pq.ParquetFile(io.BytesIO(store.read(NEW_KEY))) as file:
        assert file.read().equals(rows.filter(pc.invert(touched.goes)))


def test_a_page_that_is_not_as_it_was_written_is_damage_and_not_another_text() -> None:
    """Bytes that changed where they still can be decoded are other words, which only the page's own sum gives away."""
    store = MemoryStore()
    record, _ = stored(store, many(7))
    in_small_groups(store, record, compression="none", use_dictionary=False)
    content = store.read(record.key)
    with pq.ParquetFile(io.BytesIO(content)) as file:
        names = file.schema_arrow.names
        targets = targets_of([("g:1", file.read(["message_uid"]).column(0)[0].as_py())])
        group = file.metadata.row_group(1)
        pages = {name: group.column(names.index(name)) for name in ("message_uid", "raw_digest")}
    everything = Touched(record, pa.array([True] * 7), pa.array(range(7), pa.int64()))
    for column, actions in (
        ("message_uid", [lambda: find_messages(store, record, targets)]),
        ("raw_digest", [
            lambda: list(read_going(store, everything, ["raw_digest"])), lambda: list(read_staying(store, record, None, ["raw_digest"])),
        ]),
    ):  # fmt: skip
        last = pages[column].data_page_offset + pages[column].total_compressed_size - 1
        store.replace(record.key, content[:last] + bytes([content[last] ^ 1]) + content[last + 1 :])
        with pq.ParquetFile(io.BytesIO(store.read(record.key))) as file:
            assert file.read([column]).num_rows == 7  # whoever does not ask for the sum sees nothing
        for action in actions:
            assert damage(action).startswith(f"{record.key} in memory: cannot be read as Parquet: ")


def test_one_row_that_lies_under_another_day_than_its_uid_says_is_still_counted() -> None:
    store = MemoryStore()
    row = {"chat_id": "g:1", "version": 1, "sent_at": 1_795_000_000_000}
    uids = ["1795000000000-a", f"{1_795_000_000_000 - DAY_MS}-b"]
    rows = [message(uid, text="hello", **row) for uid in uids]
    record, _ = stored(store, rows_to_table(MESSAGES, rows))
    touched = find_messages(store, record, targets_of([("g:1", uids[0])]))
    assert touched is not None
    anew = [rewrite(store, touched, NEW_KEY, storing=Storing(store, None)) for _ in range(2)]
    assert [(fresh.rows, fresh.astray_rows) for fresh in anew] == [(1, 1)] * 2  # also when the first answer was lost


def test_items_that_are_kept_after_all_leave_their_rows() -> None:
    store = MemoryStore()
    record, data = stored(store, many(6))
    pairs = [(row["chat_id"], row["message_uid"]) for row in data.select(["chat_id", "message_uid"]).to_pylist()]
    touched = find_messages(store, record, targets_of(pairs[1:5]))
    assert touched is not None

    fewer = touched.without(pa.array([False, True, False, False]))
    assert fewer is not None
    assert fewer.goes.to_pylist() == [False, True, False, True, True, False]
    assert fewer.items.to_pylist() == [0, 2, 3]
    assert touched.without(pa.array([False] * 4)) is touched
    assert touched.without(pa.array([True] * 4)) is None


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_not_given_a_new_digest(tmp_path: Any, damage: str) -> None:
    """A rewritten object would be whole again by the ledger, and nobody could see any more that its rows are others."""
    begun = begun_in(LocalStore(tmp_path))
    store, record = begun.store, begun.record
    content = bytearray(store.read(record.key))
    content[len(content) // 2] ^= 1
    (tmp_path / record.key).unlink()
    if damage != "gone":
        (tmp_path / record.key).write_bytes(content if damage == "flipped" else content[:-20])

    with pytest.raises(DamageFoundError, match=record.key):
        rewrite(store, begun.touched, NEW_KEY, storing=Storing(store, None))
    assert [info.key for info in store.list("")] == ([record.key] if damage != "gone" else [])


NEXT_STEP = "run `archiver verify` for a full list, then restore the object from a copy; nothing was changed"


def damage(action: Callable[[], object]) -> str:
    with pytest.raises(DamageFoundError) as caught:
        action()
    assert (caught.value.next_step, caught.value.exit_code) == (NEXT_STEP, 4)
    return caught.value.what


@pytest.mark.parametrize("in_memory_bytes_max", [0, 1 << 30], ids=["on disk", "in memory"])
def test_what_is_damaged_is_named_with_what_the_ledger_says_of_it(begun: Begun, in_memory_bytes_max: int) -> None:
    store, record, targets, touched = begun.store, begun.record, begun.targets, begun.touched

    def anew(of: Touched) -> Callable[[], object]:
        return lambda: rewrite(
            store, of, NEW_KEY, storing=Storing(store, None), in_memory_bytes_max=in_memory_bytes_max
        )

    where = f"{record.key} in memory:"
    whole = store.read(record.key)
    other = structs.replace(record, rows=51)
    assert damage(lambda: find_messages(store, other, targets)) == f"{where} has 50 rows, the ledger says 51"

    sink = pa.BufferOutputStream()
    pq.write_table(begun.data.drop_columns(["text"]), sink)
    bare = sink.getvalue().to_pybytes()
    store.replace(record.key, bare)
    digest = sha256(bare).hexdigest()
    assert damage(anew(touched)) == f"{where} has SHA-256 {digest}, the ledger says {record.sha256}"
    narrower = replace(touched, record=structs.replace(record, sha256=digest))
    assert damage(anew(narrower)) == f"{where} does not have the columns of table messages"

    cut = whole[:-20]
    store.replace(record.key, cut)
    shorter = replace(touched, record=structs.replace(record, sha256=sha256(cut).hexdigest()))
    for action in (anew(shorter), lambda: find_messages(store, record, targets)):
        assert damage(action).startswith(f"{where} cannot be read as Parquet: ")

    store.delete(record.key)
    for action in (
        anew(touched),
        lambda: find_messages(store, record, targets),
        lambda: list(read_going(store, touched, ["text"])),
        lambda: list(read_staying(store, record, None, ["text"])),
    ):
        assert damage(action) == f"{where} is missing, the ledger names it"
    assert list(store.list("")) == []


def test_a_folder_for_temporary_files_that_takes_nothing_is_named(
    begun: Begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record, touched = begun.store, begun.record, begun.touched
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr(tempfile, "tempdir", str(nowhere))
    with pytest.raises(StoreFullError) as caught:
        rewrite(store, touched, NEW_KEY, storing=Storing(store, None), in_memory_bytes_max=0)
    assert (caught.value.what, caught.value.next_step) == (
        f"{nowhere} does not take {record.key} while it is written anew: No such file or directory",
        f"make some {2 * record.bytes:,} bytes of space for each task there, or name another folder with TMPDIR",
    )


def test_an_object_of_just_the_size_that_memory_takes_no_more_is_written_on_disk(
    begun: Begun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, record, touched = begun.store, begun.record, begun.touched
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StoreFullError):
        rewrite(store, touched, NEW_KEY, storing=Storing(store, None), in_memory_bytes_max=record.bytes)
    fresh = rewrite(store, touched, NEW_KEY, storing=Storing(store, None), in_memory_bytes_max=record.bytes + 1)
    assert (fresh.table, fresh.key, fresh.rows) == ("messages", NEW_KEY, record.rows - len(touched.items))


def test_users_are_found_by_their_ids_and_nobody_is_asked_for_none() -> None:
    archive = found(MemoryStore())
    rows = [
        {
            "user_id": user_id,
            "valid_from": at,
            "state": "listed",
            "captured_by": "u:0",
            "raw": "{}",
            "state_digest": f"{at}",
        }
        for at, user_id in enumerate(["u:1", "u:2", "u:1"])
    ]
    head = add(archive, archive.founding_head(), {"users": rows})
    [record] = files_of(head, "users")
    stored_ids = pa.concat_tables(read_staying(archive.store, record, None, ["user_id"])).column(0).to_pylist()
    touched = find_users(archive.store, record, Targets(strings(["u:3", "u:1"])))
    assert touched is not None
    assert touched.goes.to_pylist() == [user_id == "u:1" for user_id in stored_ids]
    assert (touched.items.to_pylist(), touched.is_whole) == ([1, 1], False)
    assert find_users(archive.store, record, Targets(strings(["u:3"]))) is None
    archive.store.delete(record.key)
    assert find_users(archive.store, record, Targets(strings([]))) is None


def test_events_are_found_by_their_uid_and_by_what_their_bodies_carry() -> None:
    archive = found(MemoryStore())
    head = add(
        archive,
        archive.founding_head(),
        {
            "events": [
                {**event(1), "chat_id": "g:1", "message_uid": "m-1"},
                {**event(2), "chat_id": "g:1", "message_uid": "m-2"},
                {**event(3), "chat_id": "g:2", "message_uid": "m-1"},
                {**event(4), "message_uid": None, "body": b'{"messages":[{"uid":"m-9"},{"uid":"m-1"}]}'},
                {**event(5), "chat_id": "g:2", "body": b'{"messages":[{"uid":"m-1"}]}'},
                {**event(6), "message_uid": None, "outcome": "wanted", "wanted_uids": ["m-1"]},
            ]
        },
    )
    [record] = files_of(head, "events")
    touched = find_events(archive.store, record, targets_of([("g:1", "m-1")]))
    assert touched is not None
    assert touched.goes.to_pylist() == [True, False, False, True, False, False]


@pytest.mark.parametrize("known", [False, [], ["body"], ["message_uid"]], ids=str)
def test_events_without_statistics_are_read(known: Any) -> None:
    """Whoever wrote them; and what is passed over in between does not move what comes after it."""
    archive = found(MemoryStore())
    uids = ["m-7", "m-8", "m-0", "m-1", "m-8", "m-9", "m-1"]
    events = [{**event(number), "chat_id": "g:1", "message_uid": uid} for number, uid in enumerate(uids)]
    head = add(archive, archive.founding_head(), {"events": events})
    [record] = files_of(head, "events")
    for statistics in (known, True):
        in_small_groups(archive.store, record, write_statistics=statistics)
        touched = find_events(archive.store, record, targets_of([("g:1", "m-1")]))
        assert touched is not None
        assert touched.goes.to_pylist() == [uid == "m-1" for uid in uids]


@pytest.mark.parametrize(
    ("rows", "is_read"),
    [
        ([{"message_uid": "m-1"}], True),
        ([{"message_uid": "m-0"}, {"message_uid": "m-2"}], True),
        ([{"message_uid": "m-2"}, {"message_uid": "m-3"}], False),
        ([{"message_uid": None}], False),
        ([{"message_uid": "m-2"}, {"message_uid": None, "body": b"a kept body"}], True),
    ],
)
def test_events_are_read_only_where_their_statistics_leave_it_open(rows: list[dict[str, Any]], is_read: bool) -> None:
    archive = found(MemoryStore())
    events = [{**event(number), **row} for number, row in enumerate(rows)]
    head = add(archive, archive.founding_head(), {"events": events})
    [record] = files_of(head, "events")
    targets = targets_of([("g:1", "m-1")])
    matched: list[int] = []

    class Noting(Targets):
        """Tells whether it was asked about any row."""

        def match(self, uids: pa.Array, **further: Any) -> pa.Array:
            matched.append(len(uids))
            return targets.match(uids, **further)

    noting = Noting(strings(["m-1"]), chats=strings(["g:1"]))
    find_events(archive.store, record, noting)
    assert bool(matched) == is_read
