"""The history stage against a faithful Flock whose gateway offers pages: all of it, once, whatever goes wrong on the way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.commit import Author
from archiver.capture.history_source import GatewayPages, HistorySource, MethodPages, OpenHistory
from archiver.errors import EXIT_DONE, EXIT_GAPS
from archiver.run.lock import writer_id
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import RunResult, Silent, StageName, StageResult
from archiver.run.session import Limits
from archiver.store.memory import MemoryStore
from tests.archive.archive_steps import InlineExecutor
from tests.faulty_store import EFFECTS, Stopped
from tests.run.power import Moment, Power
from tests.run.station import Station, station
from tests.run.truth import archived

ONLY: tuple[StageName, ...] = ("directory", "drain", "history")
DAY_SECONDS = 86_400

_runs = count(1)


def source(**changes: Any) -> HistorySource:
    """The simulator's own method, newest first unless told otherwise."""
    order = changes.get("order", "newest_first")
    kind = changes.get("cursor", "token")
    cursor = {"token": "cursor", "uid": "from_uid", "timestamp": "from_time"}[kind]
    facts = {
        "name": "gateway",
        "method": "chat.history",
        "parameters": {
            "chat": "{chat}", "limit": "{page_size}", cursor: "{cursor}", "order": order.partition("_")[0],
        },
        "items": ("messages",),
        "next_cursor": ("next",) if kind == "token" else (),
        "page_size": 7,
    }  # fmt: skip
    return HistorySource(**{**facts, **changes})


def night(
    machine: Station,
    *sources: HistorySource,
    only: Collection[StageName] = ONLY,
    limits: Limits | None = None,
    power: Power | None = None,
    tokens: dict[str, str] | None = None,
) -> RunResult:
    """Run once with these sources declared."""
    inline = InlineExecutor() if power else None
    store = power.store(machine.store) if power else None
    # One thread, so that the same operation is the same moment each time.
    with machine.ports(store=store, executor=inline, tokens=tokens, threads=1 if power else 4) as ports:
        opened = tuple(OpenHistory(declared, MethodPages(machine.client, declared)) for declared in sources)
        return run_nightly(
            replace(ports, histories=opened),
            author=Author(f"history-{next(_runs)}", "test", "test", writer_id(machine.state, fresh="f" * 32)),
            limits=limits or Limits(),
            selection=Selection(only=only),
            progress=Silent(),
        )


def stage(result: RunResult) -> StageResult:
    return next(found for found in result.stages if found.stage == "history")


def shown(machine: Station) -> dict[tuple[str, str], str]:
    """What the gateway shows of chats that somebody with a token is in, to everybody in them."""
    users = set(machine.flock.user_tokens)
    channels = {row["channel_id"] for row in machine.flock.truth("channel") if users & set(row["members"])}
    return {
        (row["chat_id"], row["uid"]): row["versions"][-1]["text"]
        for row in machine.flock.truth("message")
        if row["deleted_at_ms"] is None
        and not row["versions"][-1].get("visibleTo")
        and (row["chat_id"] in channels or users & set(row["chat_id"].split(",")))
    }


def newest_texts(machine: Station) -> dict[tuple[str, str], str]:
    return {key: versions[-1][-1]["text"] for key, versions in archived(machine).items()}


def assert_complete(machine: Station) -> None:
    """Everything that is shown is archived as it is shown, once for each content, and the archive is whole."""
    found = newest_texts(machine)
    expected = shown(machine)
    assert {key: found.get(key) for key in expected} == expected
    for versions in archived(machine).values():
        digests = [rows[0]["content_digest"] for rows in versions]
        assert all(one != other for one, other in pairwise(digests))
    assert machine.verify().damages == ()


def know_all_chats(machine: Station) -> None:
    """One push or event of every one-to-one chat makes it known; the rest of its past is for the gateway to tell."""
    chats = {row["chat_id"] for row in machine.flock.truth("message") if "," in row["chat_id"]}
    machine.push(
        *(
            json.dumps({"uid": f"1700000000000-{n:04x}-m201", "from": chat.split(",")[0], "to": chat.split(",")[1], "text": "hi", "timestampInMillis": 1_700_000_000_000}).encode()
            for n, chat in enumerate(sorted(chats))
        )
    )  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Station]:
    """A Flock with a past that nobody pushed, and a gateway that shows it."""
    with station(tmp_path, seed=11, people=6, channels=3, messages=120) as running:
        running.flock.play_all(push=False)
        running.flock.configure(history=True)
        know_all_chats(running)
        yield running


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
@pytest.mark.parametrize("kind", ["token", "uid", "timestamp"])
def test_the_past_of_channels_and_one_to_one_chats_is_archived(machine: Station, order: str, kind: str) -> None:
    result = night(machine, source(order=order, cursor=kind))
    assert stage(result).error is None
    assert_complete(machine)
    rows = [row for row in machine.rows("messages") if row["source"] == "history"]
    assert {row["chat_kind"] for row in rows} == {"channel", "direct"}
    assert {row["captured_by"] for row in rows} <= machine.flock.user_tokens.keys()


def test_without_a_declared_source_nothing_is_asked(machine: Station) -> None:
    result = night(machine)
    assert stage(result) == StageResult("history", seconds=stage(result).seconds)
    assert "chat.history" not in machine.flock.counters()["methods"]


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_a_second_run_at_once_adds_nothing(machine: Station, order: str) -> None:
    night(machine, source(order=order))
    before = machine.objects()
    assert night(machine, source(order=order)).commits == 0
    assert machine.objects() == before


def test_a_night_asks_for_what_is_new_and_a_little_more(machine: Station) -> None:
    declared = source(lookback_days=0, page_size=2)
    night(machine, declared)
    first = machine.flock.counters()["methods"]["chat.history"]["200"]
    machine.flock.reset_counters()
    channel = next(iter(machine.flock.channels.values()))
    uid = machine.flock.send(next(iter(channel.members)), channel.channel_id, text="news")
    night(machine, declared)
    second = machine.flock.counters()["methods"]["chat.history"]["200"]
    assert any(key[1] == uid for key in archived(machine))
    assert second <= first / 2


def test_pushes_and_fetches_of_the_same_messages_make_no_further_versions(tmp_path: Path) -> None:
    with station(tmp_path, seed=5, people=5, channels=2, messages=80) as machine:
        machine.flock.play_all(connections=1)
        machine.flock.configure(history=True)
        result = night(machine, source(), only=("directory", "drain", "fetch", "history"))
        assert stage(result).counts["repeated"] > 0
        assert_complete(machine)
        machine.flock.configure(fetch_timestamp="iso")
        again = stage(night(machine, replace(source(), name="other"))).counts
        assert again.get("messages", 0) == 0
        assert again["repeated"] >= len(shown(machine))


def test_an_edit_is_a_new_version_and_back_again_another(machine: Station) -> None:
    channel = next(iter(machine.flock.channels.values()))
    uid = machine.flock.send(next(iter(channel.members)), channel.channel_id, text="one")
    for text in ("one", "two", "one"):
        machine.flock.edit(uid, text=text)
        night(machine, source())
    versions = archived(machine)[channel.channel_id, uid]
    assert [rows[0]["text"] for rows in versions] == ["one", "two", "one"]


@pytest.mark.parametrize("kind", ["place", "offset"])
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_what_happens_between_two_pages_is_found_within_the_bound(machine: Station, order: str, kind: str) -> None:
    """Messages are edited, deleted and sent while their chat is read; what shifts out of sight is found by the full reading."""
    machine.flock.configure(history_cursor=kind)
    declared = source(order=order, page_size=3, full_within_days=4)
    channel = next(iter(machine.flock.channels.values()))
    sender = next(iter(channel.members))
    uids = sorted(uid for chat_id, uid in shown(machine) if chat_id == channel.channel_id)
    pages = count()
    ask = machine.client.method_page

    def meddling(*given: Any, **named: Any) -> Any:
        page = ask(*given, **named)
        number = next(pages)
        if number < 12:
            machine.flock.send(sender, channel.channel_id, text=f"news {number}")
            machine.flock.edit(uids[-1 - number], text=f"edited {number}")
            machine.flock.delete(uids[number])
        return page

    machine.client.method_page = meddling  # type: ignore[method-assign]
    night(machine, declared)
    machine.client.method_page = ask  # type: ignore[method-assign]
    for _ in range(6):
        machine.clock.sleep(DAY_SECONDS)
        night(machine, declared)
    assert_complete(machine)


def test_a_small_budget_takes_more_nights_and_says_so(machine: Station) -> None:
    declared = source(requests_per_night=10, page_size=5)
    first = night(machine, declared)
    assert first.exit_code == EXIT_GAPS
    assert "history-unread" in {gap.kind for gap in stage(first).gaps}
    assert stage(first).counts["pages"] <= 10
    for _ in range(40):
        machine.clock.sleep(DAY_SECONDS)
        result = night(machine, declared)
        if "history-unread" not in {gap.kind for gap in stage(result).gaps}:
            break
    else:
        pytest.fail("it never came to the end")
    assert_complete(machine)


def test_a_chat_that_no_token_may_read_is_an_observation_and_a_gap(machine: Station) -> None:
    night(machine, only=("directory", "drain"))
    lonely = next(iter(machine.flock.channels.values()))
    for user in list(lonely.members):
        machine.flock.leave(lonely.channel_id, user)
    for _ in range(2):
        result = night(machine, source(), only=("drain", "history"))
        gaps = [gap for gap in stage(result).gaps if gap.kind == "history-unreadable"]
        assert [gap.chat_id for gap in gaps] == [lonely.channel_id]
    seen = [row for row in machine.rows("observations") if row["chat_id"] == lonely.channel_id]
    assert [(row["outcome"], row["message_uid"]) for row in seen] == [("unknown_chat", None)]


def test_a_user_who_left_is_no_reason_to_miss_a_chat(machine: Station) -> None:
    night(machine, only=("directory", "drain"))
    for channel in machine.flock.channels.values():
        machine.flock.leave(channel.channel_id, min(channel.members))
    result = night(machine, source(), only=("drain", "history"))
    assert "history-unreadable" not in {gap.kind for gap in stage(result).gaps}
    assert_complete(machine)


FAULTS = (
    "too_many_requests", "internal_error", "unavailable", "request_timeout", "bad_gateway", "empty_error", "not_json",
    "truncated", "disconnect",
)  # fmt: skip


@pytest.mark.parametrize("seed", [*range(1), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_whatever_goes_wrong_the_archive_is_the_truth(machine: Station, order: str, seed: int) -> None:
    for number, kind in enumerate(FAULTS):
        machine.flock.inject(kind, "api:chat.history", probability=0.05, seed=100 * seed + number)
    for _ in range(6):
        night(machine, source(order=order), limits=Limits(messages_per_commit=20))
        machine.clock.sleep(DAY_SECONDS)
    machine.flock.clear_faults()
    result = night(machine, source(order=order))
    assert not [gap for gap in stage(result).gaps if gap.kind.startswith("history")]
    assert_complete(machine)
    assert machine.flock.violations() == []


def test_a_gateway_that_is_down_is_the_stage_s_error_and_costs_nothing_else(machine: Station) -> None:
    machine.flock.inject("unavailable", "api:chat.history", probability=1.0)
    result = night(machine, source())
    assert stage(result).error is not None
    assert result.exit_code == 6
    machine.flock.clear_faults()
    night(machine, source())
    assert_complete(machine)


def test_a_source_that_is_declared_wrongly_says_what_is_missing(machine: Station) -> None:
    result = night(machine, source(items=("data", "messages")))
    (gap,) = [gap for gap in stage(result).gaps if gap.kind == "history-problem"]
    assert "the answer has no data.messages" in gap.evidence
    assert [row for row in machine.rows("messages") if row["source"] == "history"] == []


def test_without_any_token_that_works_nothing_is_asked_and_nothing_is_said_about_chats(machine: Station) -> None:
    night(machine, only=("directory", "drain"))
    result = night(machine, source(), only=("drain", "history"), tokens={})
    assert [gap.kind for gap in stage(result).gaps] == ["history-problem"]
    assert machine.rows("observations") == []
    night(machine, source())
    assert_complete(machine)


def check_killed(machine: Station, declared: HistorySource, *, every: bool) -> None:
    """Kill a run at moments of every kind, let the next one go on, and find everything there once."""
    night(machine, only=("directory", "drain"))
    before, limits, only = machine.objects(), Limits(messages_per_commit=15), ("drain", "history")
    counting = Power()
    night(_copied(machine, before), declared, only=only, limits=limits, power=counting)
    moments = [
        Moment(label, number, effect)
        for place, (label, total) in enumerate(sorted(counting.counts.items()))
        for number in (range(1, total + 1) if every else ((total + 1) // 2,))
        for effect in (EFFECTS if every else EFFECTS[place % 2 :][:1])
    ]
    assert {"create note", "create data", "create entry", "delete note"} <= {moment.label for moment in moments}
    for moment in moments:
        twin, power = _copied(machine, before), Power(moment)
        with contextlib.suppress(Stopped):
            night(twin, declared, only=only, limits=limits, power=power)
        assert power.went_off, f"the run never came to {moment}"
        night(twin, declared, only=only, limits=limits)
        assert_complete(twin)
        rows = [(row["chat_id"], row["message_uid"], row["version"]) for row in twin.rows("messages")]
        assert len(rows) == len(set(rows)), moment
        assert night(twin, declared, only=only).commits == 0


def test_a_run_that_is_killed_in_any_kind_of_operation_loses_and_doubles_nothing(machine: Station) -> None:
    check_killed(machine, source(order="newest_first"), every=False)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_a_run_that_is_killed_at_every_single_operation_loses_and_doubles_nothing(machine: Station, order: str) -> None:
    check_killed(machine, source(order=order), every=True)


def _copied(machine: Station, objects: dict[str, bytes]) -> Station:
    """Return the machine with its archive as it was, and without its memory of what came after."""
    (machine.state / "last-head.json").unlink(missing_ok=True)
    store = MemoryStore()
    for key, data in objects.items():
        store.create(key, data)
    return replace(machine, store=store)


class TestAGateway:
    """A URL of a customer's own, here the simulator's method behind a path."""

    def opened(self, machine: Station, declared: HistorySource) -> OpenHistory:
        return OpenHistory(declared, GatewayPages(machine.client, declared))

    def test_is_asked_with_a_header_and_a_path(self, machine: Station) -> None:
        machine.flock.configure(header_auth=True)
        declared = source(method="", url=f"{machine.flock.base_url}/chat.history", verb="GET")
        with machine.ports() as ports:
            result = run_nightly(
                replace(ports, histories=(self.opened(machine, declared),)),
                author=Author("gateway", "test", "test", writer_id(machine.state, fresh="f" * 32)),
                limits=Limits(),
                selection=Selection(only=ONLY),
                progress=Silent(),
            )
        assert result.exit_code in (EXIT_DONE, EXIT_GAPS)
        assert_complete(machine)
        assert machine.flock.counters()["tokens_in"].get("query", 0) == 0
