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
    PlanLimits,
    breakers_passed,
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


def test_a_text_that_json_escapes_changes_the_line_and_not_its_order() -> None:
    """Chats and rules that are the same in all items, or none, are written otherwise than those that differ."""
    for rule, chat in (("a", "g:1"), ('say "a"', "g:1"), (None, "g:\\")):
        items = pa.Table.from_pylist(
            [message_item(uid, chat_id=chat, rule=rule, user_id=user) for uid, user in (("m-1", "u:1"), ("m\n", None))],
            schema=ITEMS,
        )
        lines = []
        for row in items.to_pylist():
            row["day"] = row["day"].isoformat()
            row |= {name: int(row[name].timestamp() * 1000) for name in ("sent_at", "due_at")}
            lines.append(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
        for batch in (items, items.slice(0, 1)):
            assert items_digest(batch) == sha256("".join(lines[: batch.num_rows]).encode()).hexdigest()


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
    with pytest.raises(UsageError) as caught:
        load_plan(archive.store, given_digest)
    assert (caught.value.what, caught.value.next_step) == (
        f"not the digest of a plan: {given_digest!r}",
        "give the digest that `archiver retention plan` printed, or its first 12 digits or more",
    )


def test_one_of_several_plans_is_named_whole_and_one_that_is_not_there_is_said_to_be_missing(
    archive: Archive, plan: Plan
) -> None:
    digest = store_plan(archive.store, plan)
    archive.store.create(layout.plan_key(digest[:12] + "f" * 52), b"{}")
    for beginning, what in (
        ("0" * 64, f"memory: has no plan {'0' * 64}"),
        (digest[:12], f"2 plans begin with {digest[:12]}"),
    ):
        with pytest.raises(UsageError) as caught:
            load_plan(archive.store, beginning)
        assert (caught.value.what, caught.value.next_step) == (
            what,
            "give the whole digest that `archiver retention plan` printed",
        )
    assert load_plan(archive.store, digest).digest == digest
    with pytest.raises(UsageError) as caught:
        load_plan(archive.store, "x" * 200)
    assert caught.value.what == f"not the digest of a plan: {('x' * 80)!r}"


def damaged(archive: Archive, digest: str) -> str:
    """What is said of a plan that is damaged."""
    with pytest.raises(DamageFoundError) as caught:
        load_plan(archive.store, digest)
    assert caught.value.next_step == "make the plan again with `archiver retention plan`"
    return caught.value.what


def test_an_item_that_was_slipped_in_is_found(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    more = pa.concat_tables([plan.items, pa.Table.from_pylist([message_item("m-9")], schema=ITEMS)])
    sink = pa.BufferOutputStream()
    pq.write_table(more, sink)
    archive.store.replace(layout.plan_items_key(digest), sink.getvalue().to_pybytes())

    assert (
        damaged(archive, digest)
        == f"plans/{digest}.parquet in memory:: its items do not have the digest that the plan names"
    )


def test_items_with_other_columns_are_damage(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    sink = pa.BufferOutputStream()
    pq.write_table(plan.items.drop_columns(["rule"]), sink)
    archive.store.replace(layout.plan_items_key(digest), sink.getvalue().to_pybytes())
    assert (
        damaged(archive, digest) == f"plans/{digest}.parquet in memory:: it does not have the columns of a plan's items"
    )


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (None, "it is missing"),
        (b"", "it cannot be read as Parquet: "),
        (b"PAR1 and nothing", "it cannot be read as Parquet: "),
    ],
)
def test_items_that_are_gone_or_no_parquet_are_damage(
    archive: Archive, plan: Plan, items: bytes | None, said: str
) -> None:
    digest = store_plan(archive.store, plan)
    archive.store.delete(layout.plan_items_key(digest))
    if items is not None:
        archive.store.create(layout.plan_items_key(digest), items)

    assert damaged(archive, digest).startswith(f"plans/{digest}.parquet in memory:: {said}")


def test_a_header_that_was_changed_is_found(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    header = json.loads(archive.store.read(layout.plan_key(digest))) | {"as_of": "2030-01-01T00:00:00.000Z"}
    archive.store.replace(layout.plan_key(digest), json.dumps(header).encode())

    assert (
        damaged(archive, digest)
        == f"plans/{digest}.json in memory:: its bytes do not have the digest that it is named by"
    )


def test_a_byte_that_changed_in_the_items_is_found_by_the_checksum_of_its_page(archive: Archive, plan: Plan) -> None:
    digest = store_plan(archive.store, plan)
    data = bytearray(archive.store.read(layout.plan_items_key(digest)))
    column = pq.read_metadata(pa.BufferReader(bytes(data))).row_group(0).column(ITEMS.names.index("message_uid"))
    assert column.compression == "ZSTD"
    data[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    archive.store.replace(layout.plan_items_key(digest), bytes(data))

    said = damaged(archive, digest)
    assert said.startswith(f"plans/{digest}.parquet in memory:: it cannot be read as Parquet: ")
    assert "CRC checksum verification failed" in said


@pytest.mark.parametrize("data", [b"{}", b"\xff", b'{"format":1}', b'{"format":"1"}', b"[" * 100_000])
def test_a_header_that_is_none_is_damage(archive: Archive, data: bytes) -> None:
    digest = sha256(data).hexdigest()
    archive.store.create(layout.plan_key(digest), data)
    assert damaged(archive, digest).startswith(f"plans/{digest}.json in memory:: it cannot be read: ")


def test_a_plan_of_a_later_version_is_refused_and_not_called_damaged(archive: Archive) -> None:
    data = b'{"format":2}'
    digest = sha256(data).hexdigest()
    archive.store.create(layout.plan_key(digest), data)

    with pytest.raises(NewerFormatError) as caught:
        load_plan(archive.store, digest)
    assert (caught.value.what, caught.value.next_step) == (
        f"plans/{digest}.json in memory: is a plan of format 2; this version reads up to 1",
        "upgrade flock-archiver and run again; nothing was changed",
    )


@pytest.mark.parametrize(
    ("limits", "rows", "passed"),
    [
        (PlanLimits(), 10**9, []),
        (PlanLimits(rows_max=5, percent_max=50.0), 5, []),
        (PlanLimits(rows_max=5), 6, ["6 rows, and the policy's limit is 5 (rows_max)"]),
        (PlanLimits(percent_max=12.5), 25, []),
        (PlanLimits(percent_max=12.5), 26, ["13.00 % of 200 rows, and the policy's limit is 12.5 % (percent_max)"]),
        (
            PlanLimits(rows_max=0, percent_max=0.0),
            1,
            [
                "1 rows, and the policy's limit is 0 (rows_max)",
                "0.50 % of 200 rows, and the policy's limit is 0 % (percent_max)",
            ],
        ),
    ],
)
def test_which_limits_a_removal_would_pass(limits: PlanLimits, rows: int, passed: list[str]) -> None:
    assert breakers_passed(limits, rows=rows, totals={"messages": 150, "files": 50}) == passed


def test_a_share_that_is_just_the_limit_passes_nothing() -> None:
    """18.4 % of 375 rows are 69, though the number that a computer has for 18.4 is a little less."""
    for rows, passed in ((69, []), (70, ["18.67 % of 375 rows, and the policy's limit is 18.4 % (percent_max)"])):
        assert breakers_passed(PlanLimits(percent_max=18.4), rows=rows, totals={"messages": 375}) == passed


def test_a_share_of_no_rows_is_all_of_them() -> None:
    assert breakers_passed(PlanLimits(percent_max=50.0), rows=1, totals={}) == [
        "100.00 % of 0 rows, and the policy's limit is 50 % (percent_max)"
    ]
    assert breakers_passed(PlanLimits(percent_max=50.0), rows=0, totals={}) == []


def test_the_format_explains_every_field_and_column() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "archive-format.md").read_text("utf-8")
    section = text[text.index("## Plans\n") : text.index("## Identity\n")]
    named = set(re.findall(r"`([a-z_0-9]+)`", section))
    assert {field.name for field in msgspec.structs.fields(PlanHeader)} <= named
    assert set(ITEMS.names) <= named
