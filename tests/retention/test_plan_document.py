"""A stored plan is what its digest says, to the last item, or it is refused."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.archive import layout
from archiver.archive.reader import Archive
from archiver.errors import DamageFoundError, NewerFormatError, UsageError
from archiver.retention.plan_document import (
    ITEMS,
    Plan,
    PlanHeader,
    items_digest,
    load_plan,
    plans,
    sorted_items,
    store_plan,
)
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import found
from tests.retention.plans import file_item, message_item, plan_of


@pytest.fixture
def archive() -> Archive:
    return found(MemoryStore())


@pytest.fixture
def plan(archive: Archive) -> Plan:
    return plan_of(archive, archive.founding_head(), [message_item("m-1"), file_item("m-1", 0), message_item("m-2")])


def test_what_was_stored_is_loaded_by_its_digest_or_the_beginning_of_it(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)

    for given_digest in (digest, digest[:12]):
        loaded = load_plan(archive.store, given_digest)
        assert (loaded.digest, loaded.header, loaded.items) == (digest, plan.header, plan.items)
    assert list(plans(archive.store)) == [digest]


def test_the_digest_is_that_of_the_header_as_it_lies_there(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)

    assert sha256(archive.store.read(layout.plan_key(digest))).hexdigest() == digest


def test_anybody_can_work_out_the_digest_of_the_items(archive: Archive, plan: Plan) -> None:
    lines = []
    for row in plan.items.to_pylist():
        row["day"] = row["day"].isoformat()
        row |= {name: int(row[name].timestamp() * 1000) for name in ("sent_at", "due_at")}
        lines.append(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    assert sha256("".join(lines).encode()).hexdigest() == plan.header.items_sha256


ODD = st.none() | st.text(max_size=6) | st.sampled_from(['"', "\\", "\n", "\x7f", "é🎉", "", "null", "\x00", "\u2028"])


@given(
    st.lists(st.tuples(ODD, ODD, st.none() | st.integers(0, 2**31 - 1), st.none() | st.integers(0, 2**43)), max_size=5)
)
def test_whatever_an_item_holds_its_line_is_canonical_json(parts: list[Any]) -> None:
    items = pa.Table.from_pylist(
        [
            message_item("m", chat_id=chat, rule=rule, ordinal=ordinal, due_at=due_at)
            for chat, rule, ordinal, due_at in parts
        ],
        schema=ITEMS,
    )
    lines = []
    for row, (_, _, _, due_at) in zip(items.to_pylist(), parts, strict=True):
        plain = row | {
            "day": row["day"].isoformat(),
            "sent_at": int(row["sent_at"].timestamp() * 1000),
            "due_at": due_at,
        }
        lines.append(msgspec.json.encode(plain, order="sorted") + b"\n")
    assert items_digest(items) == sha256(b"".join(lines)).hexdigest()


@given(st.permutations(range(12)))
def test_the_order_in_which_items_were_found_changes_no_digest(order: list[int]) -> None:
    items = pa.Table.from_pylist(
        [message_item(f"m-{number % 5}", sent_at=1_795_000_000_000 + number * 50_000_000) for number in range(8)]
        + [file_item("m-1", number) for number in range(4)],
        schema=ITEMS,
    )
    assert items_digest(sorted_items(items.take(pa.array(order)))) == items_digest(sorted_items(items))


def test_storing_it_again_changes_nothing(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    before = archive.store.read(layout.plan_items_key(digest))

    assert store_plan(archive.store, plan) == digest
    assert archive.store.read(layout.plan_items_key(digest)) == before


@pytest.mark.parametrize("given_digest", ["", "abc", "../../etc", "ABCDEF012345", "0123456789a", "g" * 64, "0" * 65])
def test_what_is_no_digest_is_no_key_either(archive: Archive, given_digest: str) -> None:
    with pytest.raises(UsageError, match="not the digest"):
        load_plan(archive.store, given_digest)


def test_a_plan_that_is_not_there_is_said_to_be_missing(archive: Archive) -> None:
    with pytest.raises(UsageError, match="no plan"):
        load_plan(archive.store, "0" * 64)


def test_an_item_that_was_slipped_in_is_found(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    more = pa.concat_tables([plan.items, pa.Table.from_pylist([message_item("m-9")], schema=ITEMS)])
    sink = pa.BufferOutputStream()
    pq.write_table(more, sink)
    archive.store.replace(layout.plan_items_key(digest), sink.getvalue().to_pybytes())

    with pytest.raises(DamageFoundError, match="items do not have the digest"):
        load_plan(archive.store, digest)


@pytest.mark.parametrize("items", [None, b"", b"PAR1 and nothing"])
def test_items_that_are_gone_or_no_parquet_are_damage(archive: Archive, plan: Plan, items: bytes | None) -> None:
    digest = store_plan(archive.store, plan)
    archive.store.delete(layout.plan_items_key(digest))
    if items is not None:
        archive.store.create(layout.plan_items_key(digest), items)

    with pytest.raises(DamageFoundError, match=r"items|missing|Parquet"):
        load_plan(archive.store, digest)


def test_a_header_that_was_changed_is_found(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    header = json.loads(archive.store.read(layout.plan_key(digest))) | {"as_of": "2030-01-01T00:00:00.000Z"}
    archive.store.replace(layout.plan_key(digest), json.dumps(header).encode())

    with pytest.raises(DamageFoundError, match="digest that it is named by"):
        load_plan(archive.store, digest)


def test_a_plan_of_a_later_version_is_refused_and_not_called_damaged(archive: Archive) -> None:
    data = b'{"format":2}'
    digest = sha256(data).hexdigest()
    archive.store.create(layout.plan_key(digest), data)

    with pytest.raises(NewerFormatError, match="format 2"):
        load_plan(archive.store, digest)


def test_the_format_explains_every_field_and_column() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "archive-format.md").read_text("utf-8")
    section = text[text.index("## Plans\n") : text.index("## Identity\n")]
    named = set(re.findall(r"`([a-z_0-9]+)`", section))
    assert {field.name for field in msgspec.structs.fields(PlanHeader)} <= named
    assert set(ITEMS.names) <= named
