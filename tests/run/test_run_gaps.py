"""Every kind of gap arises in a run when its cause does, is shown by `archiver gaps`, and is closed when the cause is gone."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from archiver.capture import gaps
from archiver.capture.gap_kinds import GAP_KINDS
from archiver.capture.gaps import GapRules
from archiver.capture.history import HISTORY_KINDS
from archiver.capture.sweep import SweepRules
from archiver.cli import main
from archiver.clock import from_text
from archiver.errors import EXIT_DONE, EXIT_GAPS
from archiver.ids import direct_chat_id
from archiver.run.session import Limits
from archiver.simulator.server import Simulator
from archiver.spool.sqlite import SqliteSpool
from archiver.store.local import LocalStore
from tests.run.installation import install
from tests.run.station import Station, station

DAY_SECONDS = 24 * 3_600
# Nothing happens in it unless a test lets it happen.
QUIET = {"seed": 11, "people": 6, "channels": 3, "messages": 0, "day": date(2026, 1, 1)}


@dataclass
class Watched:
    """A machine, and the command that tells what it may have missed."""

    machine: Station
    config: Path
    capsys: pytest.CaptureFixture[str]

    def call(self, *words: str) -> tuple[int, str]:
        """Call the command; return its exit code and what it printed."""
        self.capsys.readouterr()
        handlers = list(logging.getLogger().handlers)
        code = main(["gaps", "--config", str(self.config), *words])
        # It sends the log of this process to a standard error that ends with the test.
        logging.getLogger().handlers[:] = handlers
        return code, self.capsys.readouterr().out

    def document(self, *words: str, code: int = EXIT_GAPS) -> Any:
        found, printed = self.call("--json", *words)
        assert found == code, printed
        return json.loads(printed)

    def shown(self, *words: str) -> str:
        return self.call(*words)[1]

    def open(self, kind: str) -> list[dict[str, Any]]:
        """The gaps of a kind that are open."""
        return self._in_state("open", kind)

    def closed(self, kind: str) -> list[dict[str, Any]]:
        """The gaps of a kind that are closed."""
        return self._in_state("closed", kind)

    def _in_state(self, state: str, kind: str) -> list[dict[str, Any]]:
        found = json.loads(self.call("--json", "--all")[1])["gaps"]
        return [gap for gap in found if (gap["kind"], gap["state"]) == (kind, state)]

    def pass_days(self, days: float) -> None:
        self.machine.clock.sleep(days * DAY_SECONDS)
        # What the seeded day would push is no matter of ours.
        self.machine.flock.play_until(self.machine.clock.now_ms() - 3_600_000, push=False)

    def channels(self) -> dict[str, list[str]]:
        """The members of each channel who are people with the app."""
        tokens = self.machine.flock.user_tokens
        return {
            channel_id: [user for user in channel.members if user in tokens]
            for channel_id, channel in self.machine.flock.channels.items()
        }

    def speak(self, channel_id: str) -> str:
        return self.machine.flock.send(self.channels()[channel_id][0], channel_id, text="hello")

    def install_everybody(self) -> None:
        flock = self.machine.flock
        for user, person in flock.people.items():
            if not person.is_bot and user not in flock.user_tokens:
                flock.install(user)


@contextlib.contextmanager
def watching(folder: Path, capsys: pytest.CaptureFixture[str], **how: Any) -> Iterator[Watched]:
    with station(folder, store=LocalStore(folder / "archive"), **{**QUIET, **how}) as machine:
        config = folder / "archiver.yaml"
        config.write_text("workspace: simulated\n")
        watched = Watched(machine, config, capsys)
        if not how.get("messages"):
            watched.pass_days(0)
        yield watched


@pytest.fixture
def watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Watched]:
    """A machine whose Flock lives today, and where nothing has happened yet."""
    with watching(tmp_path, capsys) as running:
        yield running


class TestWhoAndWhatIsOutOfReach:
    def test_without_anybody_s_token(self, watched: Watched) -> None:
        watched.machine.run(tokens={})
        assert len(watched.open(gaps.NO_TOKEN)) == 1
        watched.machine.run()
        assert not watched.open(gaps.NO_TOKEN)
        assert len(watched.closed(gaps.NO_TOKEN)) == 1

    def test_a_user_without_a_token_until_the_app_is_installed(self, watched: Watched) -> None:
        watched.machine.run()
        before = watched.open(gaps.USER_WITHOUT_TOKEN)
        people = watched.machine.flock.people
        assert before
        for gap in before:
            person = people[gap["user_id"]]
            assert gap["user_name"] == f"{person.first_name} {person.last_name}"
        watched.machine.flock.install(before[0]["user_id"])
        watched.machine.run()
        assert [gap["user_id"] for gap in watched.closed(gaps.USER_WITHOUT_TOKEN)] == [before[0]["user_id"]]

    def test_a_token_that_flock_refuses_until_it_takes_it(self, watched: Watched) -> None:
        user = next(iter(watched.machine.flock.user_tokens))
        watched.machine.flock.disable(user, by="team")
        watched.machine.run()
        (gap,) = watched.open(gaps.TOKEN_REFUSED)
        assert gap["user_id"] == user
        watched.machine.flock.disable(user, by=None)
        watched.machine.run()
        assert not watched.open(gaps.TOKEN_REFUSED)
        assert len(watched.closed(gaps.TOKEN_REFUSED)) == 1

    def test_a_channel_without_a_feed_until_its_first_push(self, watched: Watched) -> None:
        watched.machine.run()
        found = watched.open(gaps.CHANNEL_WITHOUT_FEED)
        channels = watched.machine.flock.channels
        assert {gap["chat_id"]: gap["chat_name"] for gap in found} == {
            channel_id: channel.name for channel_id, channel in channels.items()
        }
        heard = next(iter(channels))
        watched.speak(heard)
        watched.machine.run()
        (closed,) = watched.closed(gaps.CHANNEL_WITHOUT_FEED)
        assert closed["chat_id"] == heard
        # It ended when the push came, not when a run saw it.
        (pushed,) = [row for row in watched.machine.rows("events") if row["chat_id"] == heard]
        assert from_text(closed["to_at"]) == pushed["received_at"]

    def test_a_channel_that_fell_silent_until_it_is_heard_again(self, watched: Watched) -> None:
        one, other, *_ = watched.channels()
        watched.speak(one)
        watched.machine.run()
        watched.pass_days(20)
        watched.machine.run()
        assert not watched.open(gaps.CHANNEL_SILENT)  # nobody else was heard either
        watched.speak(other)
        watched.machine.run()
        (gap,) = watched.open(gaps.CHANNEL_SILENT)
        assert gap["chat_id"] == one
        watched.speak(one)
        watched.machine.run()
        assert not watched.open(gaps.CHANNEL_SILENT)
        (closed,) = watched.closed(gaps.CHANNEL_SILENT)
        assert closed["from_at"] == gap["from_at"] < closed["to_at"]

    def test_a_conversation_that_nobody_s_token_can_read_until_one_can(self, watched: Watched) -> None:
        flock = watched.machine.flock
        one, other = list(flock.user_tokens)[:2]
        uid = flock.send(one, other, text="between us")
        flock.message_action(one, other, [uid])
        watched.machine.run()
        assert not watched.open(gaps.CHAT_UNREADABLE)
        others = {user: token for user, token in flock.user_tokens.items() if user not in (one, other)}
        watched.machine.run(tokens=others)
        (gap,) = [gap for gap in watched.open(gaps.CHAT_UNREADABLE) if "," in gap["chat_id"]]
        assert gap["chat_id"] == direct_chat_id(one, other)
        assert flock.people[one].first_name in gap["chat_name"]
        watched.machine.run()
        assert not watched.open(gaps.CHAT_UNREADABLE)
        assert gap["chat_id"] in {closed["chat_id"] for closed in watched.closed(gaps.CHAT_UNREADABLE)}


class TestListeners:
    def test_a_listener_that_is_down_until_one_is_up(self, watched: Watched) -> None:
        watched.machine.gap_rules = GapRules(listener_hole_ms_max=60_000)
        watched.machine.run()
        assert not watched.open(gaps.LISTENER_DOWN)
        watched.machine.clock.sleep(3_600)
        watched.machine.run()
        (gap,) = watched.open(gaps.LISTENER_DOWN)
        assert gap["to_at"] is None
        with contextlib.closing(SqliteSpool(watched.machine.spool_path)) as spool:
            spool.beat("another", at_ms=watched.machine.clock.now_ms())
        watched.machine.run()
        (closed,) = watched.closed(gaps.LISTENER_DOWN)
        assert closed["gap_id"] == gap["gap_id"]
        assert from_text(closed["to_at"]) - from_text(closed["from_at"]) >= 3_600_000

    def test_that_none_ever_ran_where_one_is_configured(self, tmp_path: Path) -> None:
        with Simulator(**QUIET) as flock:
            archiver = install(flock, tmp_path)
            archiver.call("run")
            (gap,) = archiver.call("gaps", "--kind", gaps.NO_LISTENER, "--json").document["gaps"]
            assert gap["state"] == "open"
            with archiver.listening():
                pass
            archiver.call("run")
            done = archiver.call("gaps", "--kind", gaps.NO_LISTENER, "--all", "--json")
            assert (done.code, done.document["gaps"][0]["state"]) == (EXIT_DONE, "closed")


class TestWhatDidNotCome:
    def test_a_message_asked_for_and_not_returned_until_it_comes(self, watched: Watched) -> None:
        flock = watched.machine.flock
        flock.configure(action_messages=False)
        one, other = list(flock.user_tokens)[:2]
        uid = flock.send(one, other, text="never mind")
        flock.message_action(one, other, [uid])
        flock.delete(uid)
        watched.machine.run()
        (gap,) = watched.open(gaps.MESSAGE_NOT_RETURNED)
        assert (gap["chat_id"], gap["subject"]) == (direct_chat_id(one, other), uid)
        flock.configure(fetch_deleted=True)
        flock.send_event("client.messageAction", one, {"chat": other, "messageUids": [uid]})
        watched.machine.run()
        assert not watched.open(gaps.MESSAGE_NOT_RETURNED)
        assert len(watched.closed(gaps.MESSAGE_NOT_RETURNED)) == 1

    def test_messages_of_a_chat_that_nobody_may_read_until_somebody_may(self, watched: Watched) -> None:
        flock = watched.machine.flock
        flock.configure(action_messages=False)
        one, other = list(flock.user_tokens)[:2]
        flock.message_action(one, other, [flock.send(one, other, text="between us")])
        strangers = {user: token for user, token in flock.user_tokens.items() if user not in (one, other)}
        watched.machine.run(tokens=strangers)
        assert [gap["count"] for gap in watched.open(gaps.MESSAGE_UNKNOWN_CHAT)] == [1]
        watched.machine.run()
        assert not watched.open(gaps.MESSAGE_UNKNOWN_CHAT)

    def test_a_push_that_could_not_be_read_stays_one(self, watched: Watched) -> None:
        watched.machine.push(b"no JSON")
        for _ in range(2):
            watched.machine.run()
            (gap,) = watched.open(gaps.UNPARSED)
            assert (gap["subject"], gap["count"]) == (next(iter(watched.machine.feeds)), 1)

    def test_files_that_were_not_fetched_until_they_are(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with watching(tmp_path, capsys, messages=50, day=date(2026, 3, 2)) as watched:
            machine = watched.machine
            machine.flock.play_all(connections=1)
            machine.run()
            refused = [row for row in machine.rows("files") if row["status"] == "failed"]
            before = {gap["chat_id"]: gap["count"] for gap in watched.open(gaps.FILE_NOT_STORED)}
            assert sum(before.values()) >= len(refused) > 0
            for url in {row["url"] for row in refused}:
                machine.flock.set_file_mode(url, "direct")
            watched.pass_days(0.1)
            machine.run()
            after = {gap["chat_id"]: gap["count"] for gap in watched.open(gaps.FILE_NOT_STORED)}
            assert sum(after.values()) == sum(before.values()) - len(refused)
            given_up = {row["chat_id"] for row in machine.rows("files") if row["status"] == "given_up"}
            assert after.keys() == given_up
            assert {gap["chat_id"] for gap in watched.closed(gaps.FILE_NOT_STORED)} == before.keys() - given_up


class TestTheSweepsPromise:
    def test_it_is_told_with_its_date_also_where_it_is_kept(self, watched: Watched) -> None:
        watched.machine.run()
        assert watched.document()["sweep"]["is_kept"] is None
        assert "there is no message to read again yet" in watched.shown()
        watched.speak(next(iter(watched.channels())))
        watched.machine.run()
        promise = watched.document()["sweep"]
        assert (promise["is_kept"], promise["full_within_days"], promise["days"]) == (True, 30, 1)
        assert from_text(promise["oldest_read_at"]) <= from_text(promise["judged_at"])
        assert "re-read within 30 nights, the last 7 days every night: yes" in watched.shown()

    def test_it_is_broken_until_everything_was_read_again(self, watched: Watched) -> None:
        watched.speak(next(iter(watched.channels())))
        watched.machine.run()
        watched.pass_days(40)
        watched.machine.run(limits=Limits(sweep=SweepRules(requests_max=0)))
        (gap,) = watched.open(gaps.SWEEP_BOUND)
        assert gap["subject"] == "full"
        assert watched.document("--kind", gaps.SWEEP_BOUND)["sweep"]["is_kept"] is False
        assert "every night: no" in watched.shown()
        watched.machine.run()
        assert not watched.open(gaps.SWEEP_BOUND)
        assert watched.document("--kind", gaps.SWEEP_BOUND, code=EXIT_DONE)["sweep"]["is_kept"] is True

    def test_it_is_broken_also_where_no_run_was_there_to_say_so(self, watched: Watched) -> None:
        """The commit is of today, the reading of forty days ago."""
        watched.speak(next(iter(watched.channels())))
        watched.machine.run()
        watched.pass_days(40)
        watched.machine.run(only=["directory", "drain"])
        watched.speak(next(iter(watched.channels())))
        watched.machine.run(only=["drain"])
        found = watched.document("--kind", gaps.SWEEP_BOUND)
        assert (found["gaps"], found["sweep"]["is_kept"]) == ([], False)


class TestWhetherSomebodyLooked:
    def test_before_the_first_look_nothing_is_claimed(self, watched: Watched) -> None:
        watched.speak(next(iter(watched.channels())))
        watched.machine.run(skip=["gaps"])
        found = watched.document()
        assert (found["has_looked"], found["gaps"]) == (False, [])
        assert "Nobody has looked yet" in watched.shown()

    def test_what_came_after_the_last_look_is_told(self, watched: Watched) -> None:
        watched.machine.run()
        watched.speak(next(iter(watched.channels())))
        assert watched.document()["commits_not_looked_at"] == 0
        watched.machine.run(skip=["gaps"])
        assert watched.document()["commits_not_looked_at"] > 0
        assert "not looked at yet" in watched.shown()
        watched.machine.run()
        assert watched.document()["commits_not_looked_at"] == 0

    def test_where_nothing_is_missing_the_exit_code_is_0(self, watched: Watched) -> None:
        watched.install_everybody()
        for channel_id in watched.channels():
            watched.speak(channel_id)
        watched.machine.run()
        found = watched.document(code=EXIT_DONE)
        assert (found["has_looked"], found["gaps"], found["exit_code"]) == (True, [], EXIT_DONE)
        assert "No gap of what you asked for is known." in watched.shown()


def test_every_kind_is_explained() -> None:
    """Each kind that the table in `gaps` lists, and each kind of history, says what it means and what to do."""
    kinds = set(re.findall(r"^([a-z-]+)  ", gaps.__doc__ or "", re.MULTILINE)) - {"kind"}
    assert kinds | HISTORY_KINDS == GAP_KINDS.keys()
    documents = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
    assert [kind for kind in GAP_KINDS if f"`{kind}`" not in documents] == []
