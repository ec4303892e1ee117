"""What Flock shows, a run archives: everything once, byte for byte, with every version, whatever shape it comes in."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
import pytest

from archiver.archive.reader import open_files
from archiver.run.result import RunResult, StageName
from archiver.run.session import Limits
from archiver.simulator.s3server import S3Access
from archiver.simulator.server import Simulator
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from archiver.store.s3_client import make_client
from tests.run import truth
from tests.run.conftest import SMALL
from tests.run.station import Row, Station, flock_in_a_hurry, station

HOUR_SECONDS = 3_600


def play(machine: Station, **how: Any) -> None:
    """Let the day happen, its pushes in order, and see that all were taken."""
    report = machine.flock.play_all(connections=1, **how)
    assert report.pushes.keys() == {"200"}


def gaps(result: RunResult) -> Counter[str]:
    return Counter({gap.kind: gap.count for gap in result.gaps})


def truth_of(flock: Simulator) -> dict[tuple[str, str], Row]:
    return {(row["chat_id"], row["uid"]): row for row in flock.truth("message")}


def versions(machine: Station, uid: str) -> list[str]:
    """Return what each version of a message says."""
    found = next(rows for key, rows in truth.archived(machine).items() if key[1] == uid)
    return [version[0]["text"] for version in found]


def some_channel(flock: Simulator) -> tuple[str, str, str]:
    """Return a channel and two of its members."""
    channel = max(flock.channels.values(), key=lambda channel: len(channel.members))
    one, other, *_ = channel.members
    return channel.channel_id, one, other


# A day


def test_a_seeded_day_is_archived_as_it_was(tmp_path: Path) -> None:
    with station(tmp_path, store=LocalStore(tmp_path / "archive"), seed=7) as machine:
        play(machine)
        result = machine.run()
        truth.check(machine)
        truth.check_directory(machine)
        happened, found = truth_of(machine.flock), truth.archived(machine)
        to_bot = {key for key, message in happened.items() if message["to"] == machine.flock.bot_id}
        in_channels = {key for key in happened if key[0].startswith("g:")}
        # The directory came first, so every row says how its sender was called.
        names = {
            user: f"{person.first_name} {person.last_name}".strip() for user, person in machine.flock.people.items()
        }
        assert all(row["sender_name"].strip() == names[row["sender_id"]] for row in machine.rows("messages"))
        # Nothing of what Flock pushes is missing; of direct chats a user must select the messages.
        assert found.keys() >= in_channels | to_bot
        selected = {key for key in happened.keys() - in_channels - to_bot if happened[key]["deleted_at_ms"] is None}
        assert found.keys() == in_channels | to_bot | selected
    assert not [stage.error for stage in result.stages if stage.error]
    # What is known to be missing makes the exit code 3: files that the host does not give, a uid that is none, a user who has
    # not installed the app.
    assert gaps(result).keys() == {"file-not-stored", "message-not-returned", "user-without-token"}
    assert result.exit_code == 3


def test_an_s3_bucket_holds_the_same_as_a_directory(tmp_path: Path, seaweedfs: S3Access) -> None:
    session = boto3.Session(seaweedfs.access_key_id, seaweedfs.secret_access_key)
    client = make_client(endpoint_url=seaweedfs.endpoint_url, region=seaweedfs.region, session=session)
    store = S3Store(seaweedfs.bucket, "end-to-end", client=client)
    with station(tmp_path, store=store, **SMALL) as machine:
        play(machine)
        machine.run()
        truth.check(machine)
        truth.check_directory(machine)
        before = machine.objects()
        assert machine.run().commits == 0
        assert machine.objects() == before


def test_a_second_run_at_once_finds_nothing_new_and_adds_nothing(machine: Station) -> None:
    play(machine)
    first = machine.run()
    before = machine.objects()
    second = machine.run()
    assert machine.objects() == before
    assert (second.commits, second.sequence, second.digest) == (0, first.sequence, first.digest)
    assert second.exit_code == 0
    assert not any(count for stage in second.stages for count in stage.counts.values())


def test_a_run_before_anything_happened_archives_the_directory_alone(machine: Station) -> None:
    result = machine.run()
    truth.check(machine)
    truth.check_directory(machine)
    assert gaps(result).keys() == {"channel-without-feed", "user-without-token"}
    assert machine.head().rows.keys() == {"users", "channels", "groups", "conversations", "gaps"}


def test_many_small_commits_hold_what_one_large_one_does(machine: Station) -> None:
    machine.flock.configure(push_edits=True)
    machine.flock.inject("duplicate", "webhooks", probability=0.3)
    play(machine)
    result = machine.run(limits=Limits(messages_per_commit=1))
    # So many that a checkpoint was taken and the next run opens it.
    assert result.commits > 64
    assert machine.run(limits=Limits(bytes_per_commit=1)).commits == 0
    truth.check(machine)
    truth.check_directory(machine)


def test_what_is_pushed_while_a_run_is_at_work_is_in_the_next_run(machine: Station) -> None:
    machine.flock.play_next(30, connections=1)
    playing = threading.Thread(target=play, args=(machine,))
    playing.start()
    runs = [machine.run(limits=Limits(messages_per_commit=10)) for _ in range(4)]
    playing.join()
    runs.append(machine.run())
    truth.check(machine)
    assert runs[-1].sequence == sum(run.commits for run in runs)


def test_a_run_that_is_out_of_time_says_so_and_the_next_one_goes_on(machine: Station) -> None:
    play(machine)
    late = machine.run(limits=Limits(run_seconds_max=0.0))
    assert (late.exit_code, late.commits) == (3, 0)
    assert [stage.stage for stage in late.stages if not stage.unfinished] == [
        "recover",
        "history",
        "holds",
        "retention",
        "gaps",
        "index",
        "catalogs",
    ]
    machine.run()
    truth.check(machine)


class TimeFlies:
    """A progress in which a minute passes with every step that is reported."""

    def __init__(self, machine: Station) -> None:
        self._clock = machine.clock

    def start(self, stage: StageName, *, total: int | None) -> None:
        pass

    def advance(self, steps: int) -> None:
        self._clock.sleep(60)


def test_a_run_whose_time_ends_in_the_middle_stops_after_the_commit_it_is_at(machine: Station) -> None:
    machine.flock.configure(action_messages=False)
    play(machine)
    limits = Limits(run_seconds_max=100.0, messages_per_commit=5)
    waiting = [len(machine.tap.accepted)]
    while True:
        result = machine.run(limits=limits, progress=TimeFlies(machine), skip=["directory"])
        waiting.append(machine.waiting())
        if not any(stage.unfinished for stage in result.stages):
            break
        assert result.exit_code == 3
        assert result.commits <= 4  # the last one tells what may be missing
        assert result.commits > 0 or waiting[-1] == waiting[-2] == 0
    assert waiting == sorted(waiting, reverse=True)
    assert len(set(waiting)) > 3
    machine.run()
    truth.check(machine)


def test_stages_can_be_chosen(machine: Station) -> None:
    play(machine)
    machine.flock.reset_counters()
    drained = machine.run(only=["drain"])
    assert [stage.stage for stage in drained.stages] == ["recover", "drain"]
    assert machine.flock.counters()["methods"] == {}
    rest = machine.run(skip=["drain", "files"])
    assert [stage.stage for stage in rest.stages] == [
        "recover",
        "directory",
        "fetch",
        "sweep",
        "history",
        "holds",
        "retention",
        "gaps",
        "index",
        "catalogs",
    ]
    machine.run()
    truth.check(machine)
    truth.check_directory(machine)


# Versions


def test_every_edit_that_is_pushed_is_a_version_in_its_order(machine: Station) -> None:
    machine.flock.configure(push_edits=True)
    play(machine)
    machine.run()
    truth.check(machine)
    found = truth.archived(machine)
    edited = {key: row for key, row in truth_of(machine.flock).items() if len(row["versions"]) > 1}
    in_channels = {key: row for key, row in edited.items() if key[0].startswith("g:")}
    assert in_channels
    for key, row in in_channels.items():
        assert [rows[0]["text"] for rows in found[key]] == [version["text"] for version in row["versions"]]


def test_an_edit_after_a_run_is_a_new_version_and_the_old_one_stays(machine: Station) -> None:
    flock = machine.flock
    flock.configure(push_edits=True)
    channel, one, _ = some_channel(flock)
    uid = flock.send(one, channel, text="at noon")
    machine.run()
    flock.edit(uid, text="at one")
    flock.edit(uid, text="at two")
    machine.run()
    truth.check(machine)
    assert versions(machine, uid) == ["at noon", "at one", "at two"]


@pytest.mark.parametrize("carried", [True, False])
def test_an_edit_that_nobody_pushed_is_seen_when_a_user_selects_the_message(machine: Station, carried: bool) -> None:
    flock = machine.flock
    flock.configure(action_messages=carried)
    channel, one, other = some_channel(flock)
    uid = flock.send(one, channel, text="at noon", mentions=[other])
    machine.run()
    flock.edit(uid, text="at one")
    flock.message_action(other, channel, [uid])
    machine.run()
    truth.check(machine)
    assert versions(machine, uid) == ["at noon", "at one"]
    sources = [rows[0]["source"] for rows in truth.archived(machine)[channel, uid]]
    assert sources == ["webhook", "event" if carried else "fetch"]


def test_a_message_edited_back_to_its_first_text_is_a_version_if_flock_is_asked(machine: Station) -> None:
    flock = machine.flock
    flock.configure(action_messages=False)
    channel, one, other = some_channel(flock)
    uid = flock.send(one, channel, text="at noon")
    for text in ("at one", "at noon"):
        flock.edit(uid, text=text)
        flock.message_action(other, channel, [uid])
        machine.run()
    truth.check(machine)
    assert versions(machine, uid) == ["at noon", "at one", "at noon"]


def test_a_deleted_message_that_is_asked_for_is_an_observation_and_stays(machine: Station) -> None:
    flock = machine.flock
    channel, one, other = some_channel(flock)
    uid = flock.send(one, channel, text="never mind")
    machine.run()
    flock.delete(uid)
    flock.send_event("client.messageAction", other, {"chat": channel, "messageUids": [uid]})
    result = machine.run()
    assert gaps(result)["message-not-returned"] == 1
    truth.check(machine)
    assert versions(machine, uid) == ["never mind"]
    (observed,) = machine.rows("observations")
    assert (observed["chat_id"], observed["message_uid"], observed["outcome"]) == (channel, uid, "not_returned")
    # Asked again and skipped again, it is no news.
    flock.send_event("client.messageAction", other, {"chat": channel, "messageUids": [uid]})
    machine.run()
    assert len(machine.rows("observations")) == 1


def test_a_chat_that_no_token_may_read_stays_wanted_until_one_may(machine: Station) -> None:
    flock = machine.flock
    flock.configure(action_messages=False)
    one, other = list(flock.user_tokens)[:2]
    uids = [flock.send(one, other, text=f"between us {number}") for number in range(60)]
    for start in (0, 20, 40):
        flock.message_action(one, other, uids[start : start + 20])
    tokens = {user: token for user, token in flock.user_tokens.items() if user not in (one, other)}
    strangers = machine.run(tokens=tokens)
    assert gaps(strangers)["message-unknown-chat"] == 60
    assert not machine.rows("messages")
    machine.run(tokens=tokens)
    assert len(machine.rows("observations")) == 60
    machine.run()
    truth.check(machine)
    assert {row["text"] for row in machine.rows("messages")} == {f"between us {number}" for number in range(60)}


# The directory


def test_changes_of_the_directory_are_rows_and_nothing_is_taken_away(machine: Station) -> None:
    flock = machine.flock
    machine.run()
    before = machine.rows("channels") + machine.rows("groups") + machine.rows("users")
    channel, _, other = some_channel(flock)
    flock.rename(channel, "another name \u202egnp.exe")
    flock.leave(channel, other)
    flock.change_person(other, first_name="Renée", email="renee@example.com")
    machine.run()
    truth.check_directory(machine)
    after = machine.rows("channels") + machine.rows("groups") + machine.rows("users")
    assert all(row in after for row in before)
    assert len(after) == len(before) + 3
    states = truth.newest(machine, "groups")
    assert states[channel, other]["state"] == "left"
    flock.join(channel, other)
    machine.run()
    truth.check_directory(machine)


def test_users_who_install_the_app_are_asked_as_from_the_next_run_on(tmp_path: Path) -> None:
    with station(tmp_path, **SMALL, installed=0) as machine:
        play(machine)
        nobody = machine.run()
        assert gaps(nobody).keys() >= {"no-token"}
        assert nobody.exit_code == 3
        assert not machine.rows("users")
        for user in [
            user for user, person in machine.flock.people.items() if not person.is_bot and not person.outsider
        ]:
            machine.flock.install(user)
        # The listener keeps the tokens and the run reads them from there; nobody gives it any.
        machine.run()
        truth.check(machine)
        truth.check_directory(machine)
        tokens = machine.flock.user_tokens
        everything = b"".join(machine.objects().values())
        assert not [user for user, token in tokens.items() if token.encode() in everything]
        # Who uninstalls it takes the token away, and no run asks with it any more.
        machine.flock.uninstall(next(iter(tokens)))
        machine.flock.reset_counters()
        assert machine.run(only=["directory"]).gaps == ()
        assert "403" not in machine.flock.counters()["methods"]["users.getInfo"]


# Shapes and faults


@pytest.mark.parametrize(("push", "fetch"), [("iso", "iso"), ("number", "number")])
def test_both_shapes_of_time_are_one_time(machine: Station, push: str, fetch: str) -> None:
    machine.flock.configure(
        push_timestamp=push, fetch_timestamp=fetch, action_messages=False, fetch_shuffled=True, team_id_text=True
    )
    play(machine)
    machine.run()
    truth.check(machine)
    truth.check_directory(machine)


def test_fields_that_nobody_knows_change_nothing_and_are_kept(machine: Station) -> None:
    machine.flock.configure(unknown_fields=True, action_messages=False)
    play(machine)
    machine.run()
    truth.check(machine)
    assert all('"futureField"' in row["raw"] for row in machine.rows("messages"))


def test_answers_with_the_documented_fields_alone_never_hide_what_is_known(machine: Station) -> None:
    """A fetched message without its attachments says less; it is no version in which they were removed."""
    flock = machine.flock
    play(machine)
    machine.run()
    flock.configure(fetch_fields="documented", action_messages=False)
    before = truth.archived(machine)
    for (chat_id, uid), row in truth_of(flock).items():
        if row["deleted_at_ms"] is None and chat_id.startswith("g:") and len(row["versions"]) == 1:
            reader = next(iter(flock.channels[chat_id].members))
            flock.message_action(reader, chat_id, [uid])
    machine.run()
    truth.check(machine)
    assert truth.archived(machine) == before
    # What was never seen otherwise is archived as far as it is told, under its time, which the uid gives.
    one, other = list(flock.user_tokens)[:2]
    uid = flock.send(one, other, text="only the text")
    flock.message_action(one, other, [uid])
    machine.run()
    truth.check(machine)
    assert versions(machine, uid) == ["only the text"]


def test_a_fuller_answer_completes_a_version_and_makes_no_other(machine: Station) -> None:
    flock = machine.flock
    flock.configure(fetch_fields="documented", action_messages=False)
    one, other = list(flock.user_tokens)[:2]
    attachment = {"title": "a link", "url": "https://example.com/", "views": {}}
    uid = flock.send(one, other, text="look", attachments=[attachment])
    flock.message_action(one, other, [uid])
    machine.run()
    flock.configure(action_messages=True)
    flock.message_action(one, other, [uid])
    machine.run()
    truth.check(machine)
    (rows,) = truth.archived(machine)[",".join(sorted((one, other))), uid]
    assert [row["attachments"] is not None for row in rows] == [False, True]


def test_pushes_of_the_documented_shape_are_kept_under_provisional_uids(tmp_path: Path) -> None:
    """The old shape has XMPP ids, no uid and no time (flock-api.md 11.1)."""
    with station(tmp_path, shape="documented", **SMALL) as machine:
        play(machine)
        machine.run()
        expected = Counter(
            (row["chat_id"], row["from"], row["versions"][0]["text"])
            for row in machine.flock.truth("message")
            if row["to"].startswith("g:")
        )
        rows = [row for row in machine.rows("messages") if row["chat_kind"] == "channel"]
        assert Counter((row["chat_id"], row["sender_id"], row["text"]) for row in rows) == expected
        assert all(row["message_uid"].startswith("provisional:") for row in rows)
        assert {(row["sent_at_basis"], row["sent_at"] == row["observed_at"]) for row in rows} == {("observed", True)}
        truth.check_whole(machine)
        assert machine.run().commits == 0


@pytest.mark.parametrize("fault", ["duplicate", "reorder", "delay", "gzip", "unknown_fields", "absurd_time"])
def test_the_way_in_which_pushes_arrive_does_not_change_what_is_archived(machine: Station, fault: str) -> None:
    machine.flock.configure(push_edits=True)
    machine.flock.inject(fault, "webhooks", probability=0.4, seed=3, seconds=0.01)
    if fault != "absurd_time":
        machine.flock.inject(fault, "events", probability=0.4, seed=4, seconds=0.01)
    play(machine)
    machine.run()
    truth.check(machine)
    told = {key[1] for key in truth.archived(machine)}
    assert told >= {uid for (chat, uid) in truth_of(machine.flock) if chat.startswith("g:")}


def test_pushes_that_come_again_another_night_add_nothing(machine: Station) -> None:
    machine.flock.configure(push_edits=True)
    play(machine)
    machine.run()
    before = machine.rows("messages") + machine.rows("files")
    machine.push(*(shown.body for shown in machine.tap.accepted if shown.kind == "webhook"))
    result = machine.run()
    truth.check(machine)
    assert machine.rows("messages") + machine.rows("files") == before
    again = machine.rows("events")[-len(machine.tap.accepted) // 2 :]
    assert {row["outcome"] for row in again if row["feed_kind"] == "webhook"} == {"duplicate"}
    assert "messages" not in result.stages[2].counts


@pytest.mark.parametrize("retry_after", [None, "seconds", "date"])
def test_a_flock_that_limits_the_rate_is_asked_more_slowly_and_all_the_same(machine: Station, retry_after: str) -> None:
    flock = machine.flock
    flock.configure(action_messages=False)
    play(machine)
    flock.configure(calls_per_second=5.0, calls_burst=2, retry_after=retry_after is not None)
    if retry_after:
        flock.configure(retry_after_form=retry_after)
    result = machine.run()
    assert sum(statuses.get("429", 0) for statuses in flock.counters()["methods"].values())
    assert not [stage.error for stage in result.stages if stage.error]
    assert gaps(result).keys() <= {"file-not-stored", "message-not-returned", "user-without-token"}
    truth.check(machine)
    truth.check_directory(machine)


@pytest.mark.parametrize(
    "fault",
    [
        "too_many_requests",
        "internal_error",
        "unavailable",
        "request_timeout",
        "bad_gateway",
        "empty_error",
        "not_json",
        "truncated",
        "disconnect",
        "slow",
    ],
)
def test_bad_answers_are_asked_for_again(machine: Station, fault: str) -> None:
    flock = machine.flock
    flock.configure(action_messages=False)
    play(machine)
    flock.inject(fault, "api", probability=0.3, seed=5, seconds=0.02)
    result = machine.run()
    assert sum(statuses.get(fault, 0) for statuses in flock.counters()["methods"].values())
    assert not [stage.error for stage in result.stages if stage.error]
    flock.clear_faults()
    machine.run()
    truth.check(machine)
    truth.check_directory(machine)


@pytest.mark.parametrize("fault", ["internal_error", "truncated", "disconnect", "bad_gateway"])
def test_a_file_that_does_not_come_at_once_is_tried_again_at_once(machine: Station, fault: str) -> None:
    machine.flock.inject(fault, "files", probability=0.3, seed=6)
    play(machine)
    machine.run()
    machine.flock.clear_faults()
    machine.clock.sleep(2 * HOUR_SECONDS)
    machine.run()
    truth.check(machine)


def test_a_file_that_was_refused_is_stored_once_its_host_gives_it(machine: Station) -> None:
    play(machine)
    first = machine.run()
    refused = [row for row in machine.rows("files") if row["status"] == "failed"]
    assert gaps(first)["file-not-stored"] >= len(refused) > 0
    for url in {row["url"] for row in refused}:
        machine.flock.set_file_mode(url, "direct")
    machine.run()
    assert {row["attempts"] for row in machine.rows("files")} == {1}, "a file was tried before it was due"
    machine.clock.sleep(2 * HOUR_SECONDS)
    machine.run()
    truth.check(machine)
    again = [row for row in machine.rows("files") if row["attempts"] == 2]
    assert {row["status"] for row in again} == {"stored"}
    assert len(again) == len(refused)
    # All is done, and nobody looks into these objects again.
    assert not open_files(machine.head(), "files")
    assert machine.run().commits == 0


def test_two_machines_may_feed_one_archive(tmp_path: Path) -> None:
    """Each has its own spool and hears everything; what both heard is archived once, whichever runs first."""
    with (
        flock_in_a_hurry(**SMALL) as flock,
        station(tmp_path / "one", on=flock) as one,
        station(tmp_path / "other", on=flock, store=one.store) as other,
    ):
        flock[0].configure(push_edits=True)
        flock[0].play_all(connections=1)
        one.run()
        other.run()
        assert one.run().commits == 0
        both = truth.told_by(one.shown + other.shown)
        truth.check_messages(one, both)
        truth.check_told_is_true(one, both)
        truth.check_files(one)
        truth.check_directory(one)
        assert one.verify().damages == ()
