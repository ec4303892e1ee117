"""A plan lists exactly what is due and held by nothing: as one would find it who looked at every item by itself."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive import layout
from archiver.archive.ledger import canonical_json
from archiver.archive.reader import Archive, Head, files_of, read_rows
from archiver.archive.schema import FILES, MESSAGES
from archiver.archive.tables import rows_of, rows_to_table
from archiver.clock import from_text
from archiver.errors import DamageFoundError
from archiver.retention.context import read_context
from archiver.retention.coverage import any_of, read_coverage
from archiver.retention.evaluate import Evaluator
from archiver.retention.plan import groups_of, horizon_of, start_of, today
from archiver.retention.plan_document import Plan, items_digest, load_plan, store_plan
from archiver.retention.policy import Policy
from tests.retention.lived import Row, added, at_ms, attached, held, items_of, lived, planned, sent, stated_uid
from tests.retention.policies import policy

FIRST = date(2020, 1, 1)
AS_OF = date(2026, 11, 27)

Item = tuple[Any, ...]


def looked_at_one_by_one(archive: Archive, head: Head, rules: Policy, as_of: date) -> dict[Item, int]:
    """Every item that leaves until the horizon and no hold covers, with when: each judged with all its rows and nothing else."""
    rows: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for table in (MESSAGES, FILES):
        by_key = rows.setdefault(table.name, defaultdict(list))
        for batch in read_rows(archive.store, files_of(head, table.name), table.schema.names):
            for row in rows_of(batch):
                by_key[row["chat_id"], row["message_uid"]].append(row)
    evaluator = Evaluator(rules, read_context(archive.store, head, rules))
    coverage = read_coverage(archive.store, head)
    horizon = horizon_of(as_of, zone=rules.zone)
    leaving: dict[Item, int] = {}
    for key in rows["messages"].keys() | rows["files"].keys():
        messages = rows_to_table(MESSAGES, rows["messages"].get(key, []))
        files = rows_to_table(FILES, rows["files"].get(key, []))
        # Every one as a later version, so that rows are put together by nothing but their uids.
        later = pa.array([2] * messages.num_rows, pa.int32())
        numbered = messages.set_column(messages.column_names.index("version"), "version", later)
        if messages.num_rows:
            (due,) = set(evaluator.of_messages(numbered, files).delete_at_ms.to_pylist())
            is_held = any(any_of(coverage.of_messages(messages, files), rows=messages.num_rows).to_pylist())
            if due is not None and due <= horizon and not is_held:
                leaving["message", *key, None, None] = due
        for ordinal in {row["ordinal"] for row in rows["files"].get(key, [])}:
            one = rows_to_table(FILES, [row for row in rows["files"][key] if row["ordinal"] == ordinal])
            (due,) = set(evaluator.of_files(one, numbered).delete_at_ms.to_pylist())
            is_held = any(any_of(coverage.of_files(one, messages), rows=one.num_rows).to_pylist())
            if due is not None and due <= horizon and not is_held:
                leaving["file", *key, ordinal, None] = due
    return leaving


days = st.integers(0, 2_500).map(lambda number: FIRST + timedelta(days=number))
periods = st.sampled_from(["1d", "30d", "6m", "1y", "3y", "7y"])
texts = st.sampled_from(["good morning", "the secret plan", "lunch"])
chats = st.sampled_from(["g:general", "g:random", "u:ann,u:bob"])
senders = st.sampled_from(["u:ann", "u:bob", "u:zoe"])


@st.composite
def message_rows(draw: st.DrawFn) -> list[Row]:
    """The rows of one message: mostly one, at times several versions, which may say that they were sent on another day."""
    first = draw(days)
    number = draw(st.integers(0, 9))
    uid = stated_uid(first, number) if draw(st.booleans()) else f"m-{number}"
    chat_id, sender_id = draw(chats), draw(senders)
    rows = []
    for version in range(1, draw(st.sampled_from([1, 1, 1, 2, 3])) + 1):
        day = draw(st.one_of(st.just(first), days))
        rows.append(sent(uid, day, version=version, chat_id=chat_id, sender_id=sender_id, text=draw(texts)))
    return rows


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, list[Row]]]:
    """Commits with messages and files."""
    by_key = {}
    for rows in draw(st.lists(message_rows(), min_size=1, max_size=8)):
        by_key[rows[0]["chat_id"], rows[0]["message_uid"]] = rows
    commits: list[dict[str, list[Row]]] = [{"messages": [], "files": []} for _ in range(draw(st.integers(1, 3)))]
    for row in (row for rows in by_key.values() for row in rows):
        place = draw(st.integers(0, len(commits) - 1))
        commits[place]["messages"].append(row)
        if draw(st.booleans()):
            file = attached(row["message_uid"], FIRST, draw(st.integers(0, 1)), version=row["version"])
            mime = draw(st.sampled_from(["text/plain", "image/png"]))
            commits[place]["files"].append(file | {"sent_at": row["sent_at"], "chat_id": row["chat_id"], "mime": mime})
    return commits


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {"on": draw(st.sampled_from(["both", "messages", "files"]))}
    match = draw(
        st.sampled_from(
            [{}, {"channel": "g:general"}, {"sender": "u:bob"}, {"words": "secret"}, {"has_file": True}, {"mime": "image/*"},
             {"kind": "direct"}]
        )
    )  # fmt: skip
    if match:
        rule["match"] = match
    kinds = draw(st.sampled_from([("delete",), ("retain",), ("delete", "retain")]))
    rule |= {kind: draw(periods) for kind in kinds}
    return rule


policies = st.builds(
    lambda rules, mode: policy(*rules, zone="Europe/Berlin", mode=mode),
    st.lists(rules(), min_size=1, max_size=4),
    st.sampled_from(["longest", "specific"]),
)
scopes = st.sampled_from(
    [
        {"custodians": ("u:bob",)},
        {"chats": ("g:general",)},
        {"from_at_ms": at_ms(date(2021, 1, 1)), "until_ms": at_ms(date(2024, 1, 1))},
        {"custodians": ("u:ann",), "chats": ("u:ann,u:bob",)},
    ]
)


def due_in(plan: Plan) -> set[Item]:
    return items_of(plan)


@settings(max_examples=12)
@given(histories(), policies, st.lists(scopes, max_size=2), st.sampled_from([1, 7, 10**6]))
def test_a_plan_has_what_is_due_of_all_items_looked_at_one_by_one(
    history: list[dict[str, list[Row]]], rules: Policy, held_by: list[Mapping[str, Any]], stretch_rows: int
) -> None:
    archive, head = lived(history)
    for number, scope in enumerate(held_by):
        head = held(archive, head, f"hold-{number}", **scope)
    plan = planned(archive, head, rules, AS_OF, stretch_rows=stretch_rows)
    leaving = looked_at_one_by_one(archive, head, rules, AS_OF)
    start = start_of(AS_OF, zone=rules.zone)
    assert due_in(plan) == {item for item, due in leaving.items() if due <= start}
    later = [item[0] for item, due in leaving.items() if due > start]
    counted = {kind: sum(due.items for due in plan.header.later if due.kind == kind) for kind in ("message", "file")}
    assert counted == {kind: later.count(kind) for kind in ("message", "file")}
    assert all(due.items > 0 and due.bytes >= 0 for due in plan.header.later)


@settings(max_examples=8)
@given(histories(), policies, scopes)
def test_a_hold_beats_everything_and_another_one_never_grows_a_plan(
    history: list[dict[str, list[Row]]], rules: Policy, scope: Mapping[str, Any]
) -> None:
    archive, head = lived(history)
    before = planned(archive, head, rules, AS_OF)
    after = planned(archive, held(archive, head, "smith", **scope), rules, AS_OF)
    gone = due_in(before) - due_in(after)
    assert due_in(after) <= due_in(before)
    assert after.header.held == len(gone)
    assert sum(saved.items for saved in after.header.saved) == len(gone)


@settings(max_examples=8)
@given(histories(), policies)
def test_where_everything_is_held_nothing_goes(history: list[dict[str, list[Row]]], rules: Policy) -> None:
    archive, head = lived(history)
    plan = planned(archive, held(archive, head, "all", from_at_ms=0), rules, AS_OF)
    assert plan.items.num_rows == 0
    assert plan.header.later == ()


@settings(max_examples=8)
@given(histories(), policies, st.data())
def test_a_longer_period_never_grows_a_plan(
    history: list[dict[str, list[Row]]], rules: Policy, data: st.DataObject
) -> None:
    archive, head = lived(history)
    rule = data.draw(st.sampled_from(rules.rules))
    said = rules.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    (changed,) = [one for one in said["rules"] if one["name"] == rule.name]
    for kind in ("retain", "delete"):
        if kind in changed:
            changed[kind] = "9y"
    longer = Policy(**said)
    assert due_in(planned(archive, head, longer, AS_OF)) <= due_in(planned(archive, head, rules, AS_OF))


@contextmanager
def machine_zone(zone: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@settings(max_examples=8)
@given(histories(), policies, st.randoms(use_true_random=False))
def test_neither_the_order_of_rules_nor_the_machines_zone_changes_the_digest(
    history: list[dict[str, list[Row]]], rules: Policy, chance: Any
) -> None:
    archive, head = lived(history)
    shuffled = list(rules.rules)
    chance.shuffle(shuffled)
    with machine_zone("Pacific/Kiritimati"):
        there = planned(archive, head, rules.model_copy(update={"rules": tuple(shuffled)}), AS_OF)
    assert there.digest == planned(archive, head, rules, AS_OF, stretch_rows=1).digest


@settings(max_examples=8)
@given(histories(), policies, st.randoms(use_true_random=False))
def test_the_order_in_which_rows_came_in_changes_no_item(
    history: list[dict[str, list[Row]]], rules: Policy, chance: Any
) -> None:
    in_one = {table: [row for commit in history for row in commit[table]] for table in ("messages", "files")}
    for rows in in_one.values():
        chance.shuffle(rows)
    names = ("kind", "chat_id", "message_uid", "ordinal", "day", "sent_at", "due_at", "rule", "principle", "rows")
    plans = [planned(*lived(commits), rules, AS_OF) for commits in (history, [in_one])]
    assert plans[0].items.select(names) == plans[1].items.select(names)


def test_the_digest_can_be_worked_out_by_hand_from_the_stored_objects() -> None:
    commits = [
        {"messages": [sent("m-1", FIRST), sent("m-2", FIRST, chat_id='g:"q"\\')], "files": [attached("m-1", FIRST)]}
    ]
    archive, head = lived(commits)
    digest = store_plan(archive.store, planned(archive, head, policy({"delete": "1y"}), AS_OF))
    header = json.loads(archive.store.read(layout.plan_key(digest)))
    assert sha256(archive.store.read(layout.plan_key(digest))).hexdigest() == digest
    assert (header["head_digest"], header["head_sequence"]) == (head.digest, 1)
    import io  # noqa: PLC0415 - whoever checks by hand has nothing of ours

    lines = []
    for row in pq.read_table(io.BytesIO(archive.store.read(layout.plan_items_key(digest)))).to_pylist():
        row["day"] = row["day"].isoformat()
        row |= {name: int(row[name].timestamp() * 1000) for name in ("sent_at", "due_at")}
        lines.append(json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    assert len(lines) == 3
    assert sha256("".join(lines).encode()).hexdigest() == header["items_sha256"]


@given(
    st.lists(
        st.tuples(*[st.one_of(st.none(), st.text(alphabet='a"\\\n\x00\x1f\x7f日\u2028😀</', max_size=4))] * 4),
        max_size=5,
    )
)
def test_items_have_one_digest_whatever_stands_in_them(texts: Sequence[tuple[str | None, ...]]) -> None:
    """Texts without anything to escape are joined as columns; both ways write the same."""
    import pyarrow as pa  # noqa: PLC0415

    from archiver.retention.plan_document import ITEMS  # noqa: PLC0415 - the schema is no part of what is tested

    names = ("chat_id", "message_uid", "user_id", "rule")
    rows = [
        {"kind": "message", "day": FIRST, "rows": 1, "bytes": number, **dict(zip(names, text, strict=True))}
        for number, text in enumerate(texts)
    ]
    lines = b"".join(
        canonical_json({**{field.name: None for field in ITEMS}, **row, "day": FIRST.isoformat()}) + b"\n"
        for row in rows
    )
    assert items_digest(pa.Table.from_pylist(rows, schema=ITEMS)) == sha256(lines).hexdigest()


class TestWhatAPlanSays:
    def test_a_plan_is_as_of_the_first_instant_of_its_day_in_the_policys_zone(self) -> None:
        archive, head = lived([{"messages": [sent("m-1", FIRST)]}])
        tokyo = policy({"delete": "1y"}, zone="Asia/Tokyo")
        # Sent on 1 January 2020, it runs until the end of 1 January 2021.
        assert planned(archive, head, tokyo, date(2021, 1, 1)).items.num_rows == 0
        plan = planned(archive, head, tokyo, date(2021, 1, 2))
        assert plan.items.num_rows == 1
        assert plan.header.as_of == "2021-01-01T15:00:00.000Z"

    def test_today_is_that_of_the_zone(self) -> None:
        at = from_text("2026-11-27T16:00:00Z")
        assert today(at, zone="Asia/Tokyo") == date(2026, 11, 28)
        assert today(at, zone="America/New_York") == date(2026, 11, 27)

    @pytest.mark.parametrize(
        ("as_of", "last"),
        [
            (date(2026, 11, 27), "2028-10-31T22:59:59.999Z"),
            (date(2026, 12, 1), "2028-11-30T22:59:59.999Z"),
            (date(2027, 1, 31), "2028-12-31T22:59:59.999Z"),
        ],
    )
    def test_it_looks_ahead_to_the_last_instant_of_24_months_of_which_the_first_is_its_own(
        self, as_of: date, last: str
    ) -> None:
        assert horizon_of(as_of, zone="Europe/Berlin") == from_text(last)

    def test_what_it_weighs_is_told_of_what_goes_of_what_is_held_and_of_each_month_to_come(self) -> None:
        stored = {"status": "stored", "blob_bytes": 1_000}
        later = [(date(2026, 3, 1), "c"), (date(2026, 3, 2), "d"), (date(2026, 4, 1), "e")]
        files = [attached("m-1", FIRST, 0, blob_digest="a" * 64, **stored)]
        files += [attached("m-2", FIRST, 0, chat_id="g:held", blob_digest="b" * 64, **stored)]
        files += [attached(f"m-{name}", day, 0, blob_digest=name * 64, **stored) for day, name in later]
        archive, head = lived([{"files": files}])
        rules = policy({"name": "all", "on": "files", "delete": "1y"}, limits={"rows_max": 7, "percent_max": 12.5})
        header = planned(archive, held(archive, head, "case", chats=("g:held",)), rules, AS_OF).header
        assert (header.counts, header.rows, header.bytes) == ({"file": 1}, 1, 1_000)
        assert (header.held, header.held_bytes) == (1, 1_000)
        assert [(one.hold, one.items, one.bytes) for one in header.saved] == [("case", 1, 1_000)]
        assert [(one.month, one.rule, one.kind, one.items, one.bytes) for one in header.later] == [
            ("2027-03", "all", "file", 2, 2_000),
            ("2027-04", "all", "file", 1, 1_000),
        ]
        assert (header.limits.rows_max, header.limits.percent_max) == (7, 12.5)
        nothing = planned(archive, head, rules, FIRST).header
        assert (nothing.counts, nothing.rows, nothing.bytes) == ({}, 0, 0)

    def test_what_leaves_later_is_told_by_month_for_two_years(self) -> None:
        sendings = [date(2025, 11, 26), date(2025, 12, 31), date(2027, 10, 15), date(2027, 11, 15)]
        archive, head = lived([{"messages": [sent(f"m-{number}", day) for number, day in enumerate(sendings)]}])
        plan = planned(archive, head, policy({"name": "all", "delete": "1y"}), AS_OF)
        assert plan.items.num_rows == 1
        assert [(due.month, due.rule, due.items) for due in plan.header.later] == [
            ("2027-01", "all", 1),
            ("2028-10", "all", 1),
        ]

    def test_an_edit_that_says_another_day_keeps_the_whole_message(self) -> None:
        uid = stated_uid(FIRST)
        rows = [sent(uid, FIRST), sent(uid, date(2026, 6, 1), version=2)]
        archive, head = lived([{"messages": rows[:1]}, {"messages": [*rows[1:], sent("m-1", date(2026, 7, 1))]}])
        plan = planned(archive, head, policy({"delete": "1y"}), AS_OF, stretch_rows=1)
        assert plan.items.num_rows == 0
        assert [(due.month, due.items) for due in plan.header.later] == [("2027-06", 1), ("2027-07", 1)]
        plan = planned(archive, head, policy({"delete": "1y"}), date(2027, 6, 2), stretch_rows=1)
        assert plan.items.select(["day", "rows"]).to_pylist() == [{"day": date(2026, 6, 1), "rows": 2}]

    @pytest.mark.parametrize("stretch_rows", [1, 10**6])
    def test_a_record_that_was_brought_twice_with_other_times_is_one_message(self, stretch_rows: int) -> None:
        """Its uid tells no time, so the archive could not see that it knew it, and numbered both as the first."""
        commits = [
            {"messages": [sent("m-1", FIRST), sent("m-2", FIRST)]},
            {"messages": [sent("m-1", date(2026, 6, 1))]},
        ]
        archive, head = lived(commits)
        plan = planned(archive, head, policy({"delete": "1y"}), AS_OF, stretch_rows=stretch_rows)
        assert plan.items.column("message_uid").to_pylist() == ["m-2"]

    @pytest.mark.parametrize("uid", ["m-1", stated_uid(date(2026, 1, 1))])
    @pytest.mark.parametrize("stretch_rows", [1, 10**6])
    def test_what_leaves_later_knows_of_a_version_under_a_day_that_is_too_young_to_be_judged(
        self, stretch_rows: int, uid: str
    ) -> None:
        commits = [
            {"messages": [sent(uid, date(2026, 1, 1)), sent("m-2", date(2026, 1, 1))]},
            {"messages": [sent(uid, date(2028, 6, 1), version=2)]},
        ]
        archive, head = lived(commits)
        plan = planned(archive, head, policy({"delete": "1y"}), AS_OF, stretch_rows=stretch_rows)
        assert [(due.month, due.items) for due in plan.header.later] == [("2027-01", 1)]

    def test_a_row_that_completes_another_is_of_the_same_message(self) -> None:
        rows = [sent("m-1", FIRST), sent("m-1", FIRST, supersedes="1" * 64, text="the secret plan")]
        archive, head = lived([{"messages": rows}])
        plan = planned(archive, head, policy({"match": {"words": "secret"}, "delete": "1y"}), AS_OF)
        assert plan.items.select(["rows"]).to_pylist() == [{"rows": 2}]

    def test_a_blob_is_lost_only_with_its_last_reference(self) -> None:
        stored = {"status": "stored", "blob_bytes": 1_000}
        files = [
            attached("m-1", FIRST, 0, blob_digest="a" * 64, **stored),
            attached("m-1", FIRST, 1, blob_digest="b" * 64, **stored),
            attached("m-2", date(2026, 11, 1), 0, blob_digest="b" * 64, **stored),
        ]
        archive, head = lived([{"messages": [sent("m-1", FIRST), sent("m-2", date(2026, 11, 1))], "files": files}])
        header = planned(archive, head, policy({"delete": "1y"}), AS_OF).header
        assert (header.counts, header.rows) == ({"message": 1, "file": 2}, 3)
        assert (header.blobs, header.blob_bytes) == (1, 1_000)

    def test_several_rows_of_a_file_are_one_item_and_its_blob_weighs_once(self) -> None:
        stored = {"status": "stored", "blob_bytes": 1_000, "blob_digest": "a" * 64}
        files = [
            attached("m-1", FIRST, status="pending"),
            attached("m-1", FIRST, **stored),
            attached("m-1", FIRST, version=2, **stored),
        ]
        archive, head = lived([{"messages": [sent("m-1", FIRST)], "files": files[:1]}, {"files": files[1:]}])
        plan = planned(archive, head, policy({"on": "files", "delete": "1y"}), AS_OF)
        assert plan.items.select(["kind", "rows", "bytes"]).to_pylist() == [{"kind": "file", "rows": 3, "bytes": 1_000}]
        assert plan.header.blobs == 1

    def test_groups_are_by_rule_kind_and_month_of_sending(self) -> None:
        rows = [sent("m-1", FIRST), sent("m-2", FIRST + timedelta(days=3)), sent("m-3", date(2020, 2, 1))]
        archive, head = lived([{"messages": rows}])
        groups = groups_of(planned(archive, head, policy({"name": "all", "delete": "1y"}), AS_OF).items)
        assert [(group.rule, group.kind, group.month, group.items) for group in groups] == [
            ("all", "message", "2020-01", 2), ("all", "message", "2020-02", 1),
        ]  # fmt: skip

    def test_no_text_of_a_message_is_in_a_plan(self) -> None:
        archive, head = lived([{"messages": [sent("m-1", FIRST, text="zebra-crossing")]}])
        digest = store_plan(archive.store, planned(archive, head, policy({"delete": "1y"}), AS_OF))
        for key in (layout.plan_key(digest), layout.plan_items_key(digest)):
            assert b"zebra" not in archive.store.read(key)
        assert load_plan(archive.store, digest).items.num_rows == 1

    def test_days_that_are_too_young_for_every_rule_are_not_read(self) -> None:
        young = date(2026, 11, 1)
        archive, head = lived([{"messages": [sent("m-1", FIRST)]}, {"messages": [sent("m-2", young)]}])
        (key,) = [record.key for record in files_of(head, "messages") if layout.partition_of(record.key)[1] == young]
        archive.store.delete(key)
        assert planned(archive, head, policy({"delete": "5y"}), AS_OF).items.num_rows == 1
        with pytest.raises(DamageFoundError, match=key):
            planned(archive, head, policy({"delete": "6m"}), AS_OF)

    def test_an_empty_archive_has_an_empty_plan(self) -> None:
        archive, head = lived([])
        plan = planned(archive, head, policy({"delete": "1y"}), AS_OF)
        assert (plan.items.num_rows, plan.header.counts, plan.header.rows) == (0, {}, 0)


def test_a_commit_in_between_is_another_plan() -> None:
    archive, head = lived([{"messages": [sent("m-1", FIRST)]}])
    before = planned(archive, head, policy({"delete": "1y"}), AS_OF)
    after = planned(archive, added(archive, head, {"messages": [sent("m-2", AS_OF)]}), policy({"delete": "1y"}), AS_OF)
    assert before.items == after.items
    assert before.digest != after.digest
