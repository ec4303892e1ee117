"""The set-based evaluation against a plain reading of the law, and what must hold whatever the policy and the rows."""

from __future__ import annotations

import os
import pickle
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.clock import to_ms
from archiver.retention.context import Context
from archiver.retention.decide import PRINCIPLES
from archiver.retention.evaluate import Evaluator, Verdicts
from archiver.retention.periods import OPEN_END_MS
from archiver.retention.policy import Policy
from tests.retention.plain_reading import World
from tests.retention.policies import files, messages

# Zones whose days begin oddly: at one, at 00:01 twice, half an hour off, and one that left out a whole day.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
)
CHATS = ("g:general", "g:trade", "u:ann,u:bob", "import:old:1")
USERS = ("u:ann", "u:bob", "u:Bot1")
UIDS = ("m-1", "m-2", "m-3")
CONTEXT = {
    "names": {"g:general": frozenset({"general", "lobby"}), "g:trade": frozenset({"trade floor"})},
    "emails": {"u:ann": frozenset({"ann@acme.example"}), "u:bob": frozenset({"bob@acme.example", "bob@old.example"})},
    "last_activity_ms": {"g:general": to_ms(datetime(2021, 3, 28, 1, 30, tzinfo=UTC))},
    "left_at_ms": {"u:bob": to_ms(datetime(2019, 11, 3, 3, tzinfo=UTC))},
}
DAYS = [
    date(2018, 2, 17),
    date(2018, 11, 4),
    date(2020, 2, 29),
    date(2020, 10, 25),
    date(2011, 12, 29),
    date(2011, 11, 6),
]
PERIODS = ("1d", "2w", "1m", "6m", "1y", "1y6m", "3y", "4y", "30d")

instants = st.builds(
    lambda day, minutes: to_ms(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)),
    st.sampled_from(DAYS),
    st.integers(-60, 26 * 60),
)
message_rows = st.fixed_dictionaries(
    {
        "chat_id": st.sampled_from(CHATS),
        "message_uid": st.sampled_from(UIDS),
        "sent_at": instants,
        "sender_id": st.sampled_from(USERS),
        "app_id": st.sampled_from([None, None, "app-1"]),
        "plain_text": st.sampled_from(["good morning", "price 100 EUR", "Ärger"]),
        "source": st.sampled_from(["webhook", "fetch", "import"]),
    }
)
file_rows = st.fixed_dictionaries(
    {
        "chat_id": st.sampled_from(CHATS),
        "message_uid": st.sampled_from(UIDS),
        "ordinal": st.integers(0, 1),
        "sent_at": instants,
        "mime": st.sampled_from([None, "image/png", "text/plain"]),
        "size": st.sampled_from([None, 10, 2000]),
    }
)
CONDITIONS: dict[str, Any] = {
    "channel": ["general", "g:trade", "*", ["lob*", "trade floor"]],
    "kind": ["channel", "direct"],
    "sender": ["u:ann", "u:*", "*@old.example", ["bob@acme.example", "u:Bot1"]],
    "custodian": ["u:bob", "ann@*", "u:nobody"],
    "app": ["app-*"],
    "bot": [True, False],
    "regex": ["[0-9]+ EUR", ["^good", "ger$"]],
    "words": ["morning", ["price", "nothing"], "rger"],
    "search": ["morning from:u:ann", "NOT price", "is:edited", "has:file OR price"],
    "source": ["webhook", ["fetch", "import"]],
    "sent": [
        {"after": date(2018, 11, 4)},
        {"before": date(2020, 2, 29)},
        {"after": date(2011, 12, 30), "before": date(2020, 10, 25)},
    ],
    "label": ["deal", "closed", ["deal", "closed"]],
    "has_file": [True, False],
    "mime": ["image/*", ["text/plain", "image/png"]],
    "size": [{"min": 1000}],
}
LABELS = {"deal": {"messages": ["m-1"], "chats": ["u:ann,u:bob"]}, "closed": {"chats": ["g:trade"]}}
conditions = st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=2, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries({key: st.sampled_from(CONDITIONS[key]) for key in keys})
)


def is_a_rule(rule: dict[str, Any]) -> bool:
    """Whether a rule says something and does not contradict itself."""
    match, exclude = rule.get("match", {}), rule.get("not", {})
    contradicts = any(
        ("channel" in part and part.get("kind") == "direct")
        or (part.get("has_file") is False and ("mime" in part or "size" in part))
        for part in (match, exclude)
    )
    has_no_file = match.get("has_file") is False or exclude.get("has_file") is True
    contradicts |= rule.get("on") == "files" and has_no_file
    contradicts |= any(value == exclude.get(key) for key, value in match.items())
    return not contradicts and ("retain" in rule or "delete" in rule)


rules = st.fixed_dictionaries(
    {},
    optional={
        "on": st.sampled_from(["messages", "files", "both"]),
        "match": conditions,
        "not": conditions,
        "retain": st.sampled_from(PERIODS),
        "delete": st.sampled_from(PERIODS),
        "from": st.sampled_from(["sent", "last_activity", "departure"]),
    },
).filter(is_a_rule)
policies = st.builds(
    lambda mode, zone, rules: {
        "name": "drawn",
        "mode": mode,
        "zone": zone,
        "labels": LABELS,
        "departures": {"ann@acme.example": date(2020, 3, 1)},
        "rules": [{"name": f"rule {place}", **rule} for place, rule in enumerate(rules)],
    },
    st.sampled_from(["longest", "specific"]),
    st.sampled_from(ZONES),
    st.lists(rules, min_size=1, max_size=4),
)
archives = st.tuples(st.lists(message_rows, min_size=1, max_size=8), st.lists(file_rows, max_size=5))


def numbered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with versions that count up for each message, as the archive has them."""
    seen: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["chat_id"], row["message_uid"])
        seen[key] = seen.get(key, 0) + 1
        row["version"] = seen[key]
    return rows


def known_files(rows: list[dict[str, Any]], of: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of files whose message is there."""
    there = {(row["chat_id"], row["message_uid"]) for row in of}
    return [row for row in rows if (row["chat_id"], row["message_uid"]) in there]


def evaluated(said: dict[str, Any], of_messages: list[Any], of_files: list[Any]) -> tuple[Verdicts, Verdicts]:
    evaluator = Evaluator(Policy(**said), Context(**CONTEXT))
    rows, attached = (
        messages(of_messages).select(evaluator.message_columns),
        files(of_files).select(evaluator.file_columns),
    )
    return evaluator.of_messages(rows, attached), evaluator.of_files(attached, rows)


def dates(verdicts: Verdicts) -> list[tuple[Any, Any]]:
    pairs = zip(verdicts.retain_until_ms.to_pylist(), verdicts.delete_at_ms.to_pylist(), strict=True)
    return [(float("inf") if retain == OPEN_END_MS else retain, delete) for retain, delete in pairs]


def everything(verdicts: Verdicts) -> list[tuple[Any, ...]]:
    columns = (verdicts.retain_until_ms, verdicts.delete_at_ms, verdicts.rule, verdicts.principle)
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


@settings(max_examples=50)
@given(policies, archives)
def test_it_says_what_a_plain_reading_says(said: dict[str, Any], archive: tuple[list[Any], list[Any]]) -> None:
    rows = numbered(archive[0])
    attached = known_files(archive[1], rows)
    world = World(said, rows, attached, CONTEXT)
    on_messages, on_files = evaluated(said, rows, attached)
    assert dates(on_messages) == [world.message(row["chat_id"], row["message_uid"]) for row in rows]
    assert dates(on_files) == [world.file(row["chat_id"], row["message_uid"], row["ordinal"]) for row in attached]


@settings(max_examples=20)
@given(policies, archives, st.randoms(use_true_random=False))
def test_the_order_of_rules_and_of_rows_never_matters(
    said: dict[str, Any], archive: tuple[list[Any], list[Any]], shuffled: random.Random
) -> None:
    rows = numbered(archive[0])
    attached = known_files(archive[1], rows)
    first = [everything(verdicts) for verdicts in evaluated(said, rows, attached)]
    order, order_of_files = list(range(len(rows))), list(range(len(attached)))
    for places in (order, order_of_files):
        shuffled.shuffle(places)
    other = {**said, "rules": shuffled.sample(said["rules"], len(said["rules"]))}
    assert Policy(**other).digest == Policy(**said).digest
    again = [
        everything(verdicts)
        for verdicts in evaluated(
            other, [rows[place] for place in order], [attached[place] for place in order_of_files]
        )
    ]
    assert again[0] == [first[0][place] for place in order]
    assert again[1] == [first[1][place] for place in order_of_files]


@contextmanager
def machine_in(zone: str) -> Iterator[None]:
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


@settings(max_examples=10)
@given(policies, archives)
def test_the_time_zone_of_the_machine_never_matters(said: dict[str, Any], archive: tuple[list[Any], list[Any]]) -> None:
    rows = numbered(archive[0])
    attached = known_files(archive[1], rows)
    found = []
    for zone in ("UTC", "Pacific/Kiritimati", "America/St_Johns"):
        with machine_in(zone):
            found.append([everything(verdicts) for verdicts in evaluated(said, rows, attached)])
    assert found[0] == found[1] == found[2]


@settings(max_examples=20)
@given(policies, archives)
def test_every_verdict_has_a_reason_and_no_match_is_kept(
    said: dict[str, Any], archive: tuple[list[Any], list[Any]]
) -> None:
    rows = numbered(archive[0])
    names = {rule["name"] for rule in said["rules"]}
    for verdicts in evaluated(said, rows, known_files(archive[1], rows)):
        for retain, delete, rule, principle in everything(verdicts):
            assert principle in PRINCIPLES
            assert rule in names if principle != "no-match" else (retain, delete, rule) == (None, None, None)
            assert delete is None or retain is None or delete >= retain


@given(policies, archives, st.data())
def test_a_longer_or_a_further_retain_period_never_lets_anything_go_earlier(
    said: dict[str, Any], archive: tuple[list[Any], list[Any]], data: st.DataObject
) -> None:
    rows = numbered(archive[0])
    attached = known_files(archive[1], rows)
    before = evaluated(said, rows, attached)
    rules = [dict(rule) for rule in said["rules"]]
    retaining = [rule for rule in rules if "retain" in rule]
    if retaining and data.draw(st.booleans()):
        longer = data.draw(st.sampled_from(retaining))
        longer["retain"] = {"1d": "2d", "2w": "30d", "30d": "300d"}.get(longer["retain"], "30y")
    else:
        further = data.draw(rules_that_retain)
        rules.append({**further, "name": "further"})
    after = evaluated({**said, "rules": rules}, rows, attached)
    for earlier, later in zip(before, after, strict=True):
        for (_, was), (_, now) in zip(dates(earlier), dates(later), strict=True):
            assert now is None or (was is not None and now >= was)


rules_that_retain = rules.filter(lambda rule: "retain" in rule and "delete" not in rule)


@settings(max_examples=20)
@given(policies, archives)
def test_an_explanation_ends_in_the_verdict(said: dict[str, Any], archive: tuple[list[Any], list[Any]]) -> None:
    rows = numbered(archive[0])
    attached = known_files(archive[1], rows)
    evaluator = Evaluator(Policy(**said), Context(**CONTEXT))
    verdicts, _ = evaluated(said, rows, attached)
    for row, verdict in zip(rows, everything(verdicts), strict=True):
        key = (row["chat_id"], row["message_uid"])
        of_item = messages([one for one in rows if (one["chat_id"], one["message_uid"]) == key])
        with_files = files([one for one in attached if (one["chat_id"], one["message_uid"]) == key])
        explained = evaluator.explain_message(of_item, with_files)
        assert (explained.retain_until_ms, explained.delete_at_ms, explained.rule, explained.principle) == verdict
        assert [rule.rule for rule in explained.rules] == [rule["name"] for rule in said["rules"]]
        assert all(rule.is_matching == (not rule.fails) for rule in explained.rules)


def test_an_evaluator_travels_to_another_process_as_what_it_was_made_of() -> None:
    said = {"name": "a", "zone": "UTC", "rules": [{"name": "all", "delete": "1y"}]}
    evaluator = pickle.loads(pickle.dumps(Evaluator(Policy(**said), Context(**CONTEXT))))
    rows = messages(numbered([{"chat_id": "g:general", "message_uid": "m-1", "sent_at": 0, "sender_id": "u:ann"}]))
    assert evaluator.of_messages(rows).rule.to_pylist() == ["all"]


@pytest.mark.parametrize("chunks", [1, 2])
def test_dictionary_columns_and_chunks_are_judged_as_any_other(chunks: int) -> None:
    said = {
        "name": "a",
        "zone": "UTC",
        "rules": [{"name": "ann", "match": {"sender": "u:ann", "app": "*"}, "delete": "1y"}],
    }
    rows = messages(
        numbered(
            [
                {"chat_id": "g:general", "message_uid": uid, "sent_at": 0, "sender_id": sender, "app_id": app}
                for uid, sender, app in (
                    ("m-1", "u:ann", "a"),
                    ("m-2", "u:bob", "a"),
                    ("m-3", "u:ann", None),
                    ("m-4", "u:ann", "b"),
                )
            ]
        )
    )
    encoded = pa.concat_tables(
        [
            pa.table(
                {
                    name: part.column(name).dictionary_encode()
                    if name in ("sender_id", "app_id", "chat_id")
                    else part.column(name)
                    for name in part.column_names
                }
            )
            for part in ([rows] if chunks == 1 else [rows.slice(0, 1), rows.slice(1)])
        ]
    )
    assert Evaluator(Policy(**said), Context()).of_messages(encoded).rule.to_pylist() == ["ann", None, None, "ann"]
