"""A workspace from a seed: always the same, and everything in it that an archiver must stand."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.errors import UsageError
from archiver.simulator.marks import Mint, client_id
from archiver.simulator.records import Post
from archiver.simulator.seed import Scenario, build
from archiver.simulator.server import Simulator

FILES_URL = "http://127.0.0.1:1"


def _posts(scenario: Scenario) -> list[Post]:
    return [action for action in scenario.script if isinstance(action, Post)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32), people=st.integers(3, 40), channels=st.integers(1, 20))
def test_the_same_seed_gives_the_same_script(seed, people, channels):
    one, other = (
        build(seed, files_url=FILES_URL, people=people, channels=channels, messages=60, days=2) for _ in range(2)
    )
    assert one.script == other.script
    assert one.workspace.people == other.workspace.people
    assert one.workspace.files == other.workspace.files


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_any_seed_plays_to_its_end(seed):
    with Simulator(seed=seed, people=4, channels=2, messages=40) as flock:
        report = flock.play_all()
        assert report.remaining == 0
        assert len(list(flock.truth("message"))) == report.actions["post"] == 40


def test_another_seed_gives_another_script():
    assert build(1, files_url=FILES_URL).script != build(2, files_url=FILES_URL).script


def test_actions_are_in_order_and_on_the_day():
    scenario = build(7, files_url=FILES_URL, day=date(2026, 3, 2), days=2)
    times = [action.at_ms for action in scenario.script]
    assert times == sorted(times)
    days = {datetime.fromtimestamp(post.at_ms / 1000, UTC).date() for post in _posts(scenario)}
    assert days == {date(2026, 3, 2), date(2026, 3, 3)}
    assert scenario.workspace.now_ms < times[0]


def test_everything_an_archiver_must_stand_is_there():
    scenario = build(7, files_url=FILES_URL, messages=120)
    posts = [post.message for post in _posts(scenario)]
    versions = [message.latest for message in posts]
    texts = [version.text for version in versions]
    kinds = Counter(type(action).__name__ for action in scenario.script)
    assert {"Post", "Edit", "Delete", "Rename", "Join", "Leave", "ClientEvent"} == set(kinds)
    assert any(version.flockml for version in versions)
    assert any(version.mentions for version in versions)
    assert any("\U0001f44d" in text or "☺" in text or "🎉" in text or "👩" in text for text in texts)
    assert any("\u0590" <= character <= "\u06ff" for text in texts for character in text)
    assert any(len(text) > 32_768 for text in texts)
    assert any(text == "" for text in texts)
    assert any(version.visible_to for version in versions)
    assert any(len(version.attachments) > 1 for version in versions)
    assert any(version.send_as and version.on_behalf_of for version in versions)
    assert any(version.send_as and not version.text and version.flockml for version in versions)
    assert any(message.sender.startswith("u:B") for message in posts)
    assert any(message.recipient == scenario.workspace.bot_id for message in posts)
    assert any(message.recipient.startswith("u:") and not message.recipient.startswith("u:B") for message in posts)
    modes = {file.mode for file in scenario.workspace.files.values()}
    assert modes >= {"direct", "redirect", "forbidden", "login_page"}
    names = [channel.name for channel in scenario.workspace.channels.values()]
    assert "../../etc/passwd" in names
    assert any("\n" in name and "\0" in name for name in names)
    assert {channel.private for channel in scenario.workspace.channels.values()} == {True, False}


def test_messages_are_written_by_people_who_are_there():
    with Simulator(seed=3, messages=300) as flock:
        while flock.remaining:
            flock.play_next(1)
            message = list(flock.truth("message"))[-1:]
            for row in message:
                channel = flock.channels.get(row["to"])
                writer = row["versions"][0]["onBehalfOf"] or row["from"]
                assert channel is None or writer in channel.members


def test_everything_happens_in_order_whatever_the_number_of_connections(listener):
    told = []
    for connections in (1, 32):
        with Simulator(seed=5, messages=300) as flock:
            flock.add_webhooks(listener.url)
            flock.configure(push_edits=True)
            report = flock.play_all(connections=connections)
            assert report.pushes == {"200": sum(report.pushes.values())}
            told.append([{**row, "versions": [v["text"] for v in row["versions"]]} for row in flock.truth("message")])
            edits = sum(len(row["versions"]) - 1 for row in told[-1])
            assert edits == report.actions["edit"]
    assert told[0] == told[1]


def test_one_connection_pushes_in_the_order_of_the_script(listener):
    with Simulator(seed=5, messages=100) as flock:
        flock.add_webhooks(listener.url)
        flock.play_all(connections=1)
        order = [row["uid"] for row in flock.truth("message") if row["to"].startswith("g:")]
    assert [body["uid"] for body in listener.bodies()] == order


def test_a_team_too_small_is_refused():
    with pytest.raises(UsageError, match="3 people"):
        Simulator(people=2).start()


def test_how_many_installed_can_be_chosen():
    with Simulator(seed=7, installed=2) as flock:
        assert len(flock.user_tokens) == 2
    with Simulator(seed=7) as flock:
        people = [person for person in flock.people.values() if not person.is_bot and not person.outsider]
        assert len(flock.user_tokens) == len(people)


class TestUids:
    def test_a_quarter_of_a_million_in_one_millisecond_have_no_room(self):
        mint = Mint(0)
        uids = {mint.uid(5) for _ in range(62**3)}
        assert len(uids) == 62**3
        with pytest.raises(OverflowError):
            mint.uid(5)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(min_value=0, max_value=10), max_size=300))
    def test_they_are_unique_deterministic_and_carry_the_time(self, times):
        uids = [[mint.uid(at_ms) for at_ms in times] for mint in (Mint("a"), Mint("a"))]
        assert uids[0] == uids[1]
        assert len(set(uids[0])) == len(times)
        assert [int(uid.partition("-")[0]) for uid in uids[0]] == times

    def test_client_ids_are_no_keys(self):
        mint = Mint(0)
        ids = [client_id(mint.uid(number)) for number in range(20_000)]
        assert len(set(ids)) < len(ids)
        assert {identifier[:2] for identifier in ids} >= {"d_", "a_"}
