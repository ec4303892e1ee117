"""What the spool in a queue owes beyond the contract: at least once in, exactly once out, whatever the queue does."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.clock import SystemClock
from archiver.errors import EXIT_REFUSED, EXIT_STORAGE, SpoolError, SpoolTakenError
from archiver.model.capture import Capture, SpooledCapture
from archiver.simulator.s3server import S3Access
from archiver.spool import BEAT_HOLE_MS_MAX, QueueDepth, Uptime
from archiver.spool.frame import BATCH_CAPTURES_MAX
from archiver.spool.sqs import DRAINED_BY_TAG, PROBE_SECONDS, SqsSpool
from archiver.spool.sqs_journal import ARCHIVED_REMEMBERED_MS, INCOMPLETE_KEPT_MS, SqsJournal
from archiver.spool.sqs_message import FORMAT, Part, text_of
from archiver.spool.sqs_queue import Received, SqsQueue
from tests.capture.running_listener import running
from tests.manual_clock import ManualClock
from tests.servers.plugin import session_of
from tests.servers.queue_between import BentAnswer, LostAnswer, QueueBetween, Refusal
from tests.servers.scripted import Answer, ScriptedServer
from tests.spool.conftest import created_queue, moto_messages, open_queue, show_again, sqs_client, sqs_spool

Result = TypeVar("Result")

REPOSITORY = Path(__file__).resolve().parents[2]
DAY_SECONDS = 86_400


def capture(number: int, *, body: bytes | None = None) -> Capture:
    return Capture("general", "webhook", number, "webhook-token", b"%d" % number if body is None else body)


def everything(spool: SqsSpool, *, after: int = 0) -> list[SpooledCapture]:
    return spool.read(after=after, captures_max=1_000_000, bytes_max=2**40)


def numbers(found: list[SpooledCapture]) -> list[int]:
    return [int(spooled.capture.body) for spooled in found]


@pytest.fixture
def access(moto_server: S3Access) -> S3Access:
    return moto_server


@pytest.fixture
def name(access: S3Access) -> str:
    return created_queue(access)


@pytest.fixture
def between(access: S3Access) -> Iterator[QueueBetween]:
    with QueueBetween(access) as service:
        yield service


def held(access: S3Access, name: str) -> int:
    """How many messages the queue has, hidden ones too."""
    with moto_messages(access, name) as messages:
        return len(messages)


class TestIn:
    def test_an_append_returns_when_the_queue_holds_it_and_touches_nothing_here(self, access, name, tmp_path):
        spool = sqs_spool(access, name, tmp_path / "state")
        spool.append([capture(n) for n in range(3)])

        assert held(access, name) == 1
        assert not (tmp_path / "state").exists()

    def test_many_captures_share_a_message(self, access, name, tmp_path):
        sqs_spool(access, name, tmp_path).append([capture(n) for n in range(3 * BATCH_CAPTURES_MAX)])

        assert held(access, name) == 3

    @pytest.mark.parametrize("bytes_max", ["262144", "1048576"])
    def test_a_push_larger_than_a_message_may_be_comes_in_parts_and_is_whole_again(self, access, tmp_path, bytes_max):
        name = created_queue(access, MaximumMessageSize=bytes_max)
        spool = sqs_spool(access, name, tmp_path)
        body = random.Random(1).randbytes(4_194_304)

        spool.append([capture(1), capture(2, body=body), capture(3)])

        with moto_messages(access, name) as messages:
            assert all(len(message.body) <= int(bytes_max) for message in messages)
            random.Random(2).shuffle(messages)
        assert [spooled.capture for spooled in everything(spool)] == [capture(1), capture(2, body=body), capture(3)]
        spool.discard(through=3)
        assert held(access, name) == 0

    def test_an_answer_that_was_lost_makes_no_capture_twice(self, access, name, between, tmp_path):
        lost = iter([True])
        between.rule = lambda action, _: LostAnswer() if action == "SendMessage" and next(lost, False) else None
        listener = sqs_spool(between.access, name, tmp_path)

        listener.append([capture(1)])

        assert held(access, name) == 2
        assert numbers(everything(listener)) == [1]
        listener.discard(through=1)
        show_again(access, name)
        assert numbers(everything(listener)) == []
        assert held(access, name) == 0

    def test_as_many_under_way_as_the_queue_allows_is_no_error(self, access, name, between, tmp_path):
        spool = sqs_spool(between.access, name, tmp_path)
        spool.append([capture(1)])
        between.rule = lambda action, _: Refusal("OverLimit", 403) if action == "ReceiveMessage" else None
        assert everything(spool) == []

        between.rule = lambda _action, _request: None
        assert numbers(everything(spool)) == [1]

    def test_a_queue_that_is_busy_for_a_moment_is_asked_again(self, access, name, between, tmp_path):
        refusals = iter([Refusal("RequestThrottled", 403), Refusal("ServiceUnavailable", 503)])
        between.rule = lambda action, _: next(refusals, None) if action == "SendMessage" else None
        spool = sqs_spool(between.access, name, tmp_path)

        spool.append([capture(1)])

        assert between.actions.count("SendMessage") == 3
        assert numbers(everything(spool)) == [1]

    @pytest.mark.parametrize(
        ("code", "next_step"),
        [
            ("AccessDenied", "Several listeners"),
            ("KmsAccessDenied", "kms:GenerateDataKey"),
            ("QueueDoesNotExist", "create the queue"),
            ("SomethingNew", "look the code up"),
        ],
    )
    def test_what_the_queue_does_not_take_is_an_error_that_says_what_to_do(
        self, name, between, tmp_path, code, next_step
    ):
        spool = sqs_spool(between.access, name, tmp_path)
        between.rule = lambda action, _: Refusal(code) if action == "SendMessage" else None

        with pytest.raises(SpoolError, match=code) as caught:
            spool.append([capture(1)])

        assert caught.value.exit_code == EXIT_STORAGE
        assert next_step in caught.value.next_step
        assert "secret details" not in str(caught.value)

    def test_a_push_of_which_a_part_is_refused_is_refused_and_never_appears(
        self, access, between, tmp_path, caplog: pytest.LogCaptureFixture
    ):
        name = created_queue(access, MaximumMessageSize="262144")
        clock = ManualClock()
        spool = sqs_spool(between.access, name, tmp_path, clock=clock)
        between.rule = lambda action, request: (
            Refusal("AccessDenied") if action == "SendMessage" and '"part":3' in request["MessageBody"] else None
        )

        with pytest.raises(SpoolError, match="AccessDenied"):
            spool.append([capture(1, body=random.Random(1).randbytes(1_000_000))])
        between.rule = lambda _action, _request: None
        spool.append([capture(2)])

        assert numbers(everything(spool)) == [2]
        assert held(access, name) > 2
        spool.discard(through=1)
        clock.turn(INCOMPLETE_KEPT_MS / 1_000 + 1)
        with moto_messages(access, name) as messages:  # its retention is over
            messages.clear()
        assert everything(spool) == []
        assert SqsJournal(next(tmp_path.glob("queue-*.sqlite"))).held() == (0, 0)

    def test_several_processes_behind_one_queue_lose_nothing_when_one_is_killed(self, access, name, tmp_path):
        writers = [_writer(access, name, tmp_path, first=1_000_000 * n) for n in range(3)]
        try:
            acknowledged = [_acknowledged(writer, at_least=20) for writer in writers]
            os.kill(writers[0].pid, signal.SIGKILL)
            acknowledged[1] += _acknowledged(writers[1], at_least=20)
        finally:
            for writer in writers:
                writer.kill()
                rest = writer.communicate()[0].split()
                acknowledged[writers.index(writer)] += map(int, rest)
        spool = sqs_spool(access, name, tmp_path)
        found = numbers(everything(spool))

        assert len(found) == len(set(found))
        for mine in acknowledged:
            assert set(mine) <= set(found)
            # What one process sent stands in the order in which it sent it.
            of_process = [number for number in found if number // 1_000_000 == mine[0] // 1_000_000]
            assert of_process == sorted(of_process)


WRITER = """
import sys
from pathlib import Path
from tests.spool.test_sqs import S3Access, capture, sqs_spool
access = S3Access(*sys.argv[1:6])
spool = sqs_spool(access, sys.argv[6], Path(sys.argv[7]))
number = int(sys.argv[8])
while True:
    spool.append([capture(number), capture(number + 1)])
    print(number, number + 1, flush=True)
    number += 2
"""


def _writer(access: S3Access, name: str, folder: Path, *, first: int) -> subprocess.Popen[str]:
    where = (access.endpoint_url, access.region, access.bucket, access.access_key_id, access.secret_access_key)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *where, name, str(folder), str(first)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def _acknowledged(writer: subprocess.Popen[str], *, at_least: int) -> list[int]:
    found: list[int] = []
    while len(found) < at_least:
        found += map(int, writer.stdout.readline().split())
    return found


class Twice:
    """Bends receives as a standard queue may: messages in any order, again at once, and again later under new receipts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._delivered: list[dict[str, Any]] = []

    def rule(self, action: str, request: dict[str, Any]) -> BentAnswer | LostAnswer | None:
        if action == "DeleteMessageBatch" and self._random.random() < 0.3:
            return LostAnswer() if self._random.random() < 0.3 else BentAnswer(self._some_failed)
        return BentAnswer(self._again) if action == "ReceiveMessage" else None

    def _again(self, answer: dict[str, Any]) -> dict[str, Any]:
        fresh = answer.get("Messages", [])
        again = [
            message | {"ReceiptHandle": f"old-{self._random.random()}"}
            for message in self._delivered
            if fresh and self._random.random() < 0.2
        ]
        self._delivered += fresh
        messages = fresh + again + [message for message in fresh if self._random.random() < 0.2]
        self._random.shuffle(messages)
        return answer | {"Messages": messages}

    def _some_failed(self, answer: dict[str, Any]) -> dict[str, Any]:
        done = answer.get("Successful", [])
        keep = [entry for entry in done if self._random.random() < 0.5]
        failed = [
            {"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in done if entry not in keep
        ]
        return answer | {"Successful": keep, "Failed": answer.get("Failed", []) + failed}


class TestOut:
    @pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
    def test_what_is_delivered_twice_and_in_any_order_comes_out_once_and_in_order(
        self, access, name, between, tmp_path, seed
    ):
        listeners = [sqs_spool(access, name, tmp_path / "elsewhere") for _ in range(3)]
        sent: list[int] = []
        archived: list[int] = []
        run = sqs_spool(between.access, name, tmp_path / "state", connections_at_once=2)
        for night in range(3):
            for n in range(30):
                number = night * 100 + n
                listeners[n % 3].append([capture(number)])
                sent.append(number)
            between.rule = Twice(seed * 10 + night).rule
            found = everything(run)
            archived += numbers(found)
            assert [s.sequence for s in found] == list(range(len(sent) - len(found) + 1, len(sent) + 1))
            run.discard(through=found[-1].sequence)
            show_again(access, name)
        between.rule = lambda _action, _request: None

        assert archived == sent
        assert everything(run) == []
        assert held(access, name) == 0

    def test_nothing_leaves_the_queue_before_it_is_discarded(self, access, name, tmp_path):
        spool = sqs_spool(access, name, tmp_path)
        for n in range(1, 4):
            spool.append([capture(n)])
        everything(spool)
        assert held(access, name) == 3

        spool.discard(through=2)

        assert held(access, name) == 1

    def test_a_message_of_which_a_part_is_archived_stays_until_all_of_it_is(self, access, name, tmp_path):
        spool = sqs_spool(access, name, tmp_path)
        spool.append([capture(n) for n in range(1, 6)])
        everything(spool)

        spool.discard(through=3)
        assert held(access, name) == 1
        assert numbers(everything(spool)) == [4, 5]
        spool.discard(through=5)
        assert held(access, name) == 0

    def test_a_delete_that_failed_is_made_up_for(self, access, name, between, tmp_path, caplog):
        spool = sqs_spool(between.access, name, tmp_path)
        spool.append([capture(1)])
        everything(spool)
        between.rule = lambda action, _: Refusal("AccessDenied") if action == "DeleteMessageBatch" else None

        spool.discard(through=1)
        assert held(access, name) == 1
        between.rule = lambda _action, _request: None
        assert everything(spool) == []

        assert held(access, name) == 0

    def test_a_message_that_comes_again_after_its_commit_is_known_for_as_long_as_it_can(self, access, name, tmp_path):
        clock = ManualClock()
        spool = sqs_spool(access, name, tmp_path, clock=clock)
        spool.append([capture(1)])
        with moto_messages(access, name) as messages:
            (copy,) = messages
        everything(spool)
        spool.discard(through=1)
        spool.close()

        clock.turn(28 * DAY_SECONDS)
        sqs_client(access).send_message(QueueUrl=_url(access, name), MessageBody=copy.body)
        later = sqs_spool(access, name, tmp_path, clock=clock)
        assert everything(later) == []
        assert held(access, name) == 0

        clock.turn(ARCHIVED_REMEMBERED_MS / 1_000)
        everything(later)
        sqs_client(access).send_message(QueueUrl=_url(access, name), MessageBody=copy.body)
        assert numbers(everything(later)) == [1]

    def test_a_run_that_died_after_its_receive_left_everything_for_the_next(self, access, name, tmp_path):
        sqs_spool(access, name, tmp_path).append([capture(1)])
        open_queue(access, name).receive(wait_seconds=0, hidden_seconds=3_600)
        run = sqs_spool(access, name, tmp_path)

        assert everything(run) == []
        show_again(access, name)

        assert numbers(everything(run)) == [1]

    def test_what_is_in_the_journal_need_not_come_again(self, access, name, tmp_path):
        first = sqs_spool(access, name, tmp_path)
        first.append([capture(1), capture(2)])
        found = everything(first)
        first.close()

        second = sqs_spool(access, name, tmp_path)
        assert everything(second) == found
        second.discard(through=2)
        assert held(access, name) == 0

    def test_more_than_may_be_under_way_is_taken_piece_by_piece(self, access, name, tmp_path):
        spool = sqs_spool(access, name, tmp_path, under_way_max=5)
        for n in range(1, 31):
            spool.append([capture(n)])

        archived: list[int] = []
        assert spool.depth().captures > 30
        while found := everything(spool, after=len(archived)):
            archived += numbers(found)
            assert len(found) < 20
            spool.discard(through=found[-1].sequence)

        assert archived == list(range(1, 31))
        assert spool.depth().captures == 0

    def test_a_receive_ends_although_listeners_go_on_sending(self, access, name, between, tmp_path):
        listener = sqs_spool(access, name, tmp_path)
        run = sqs_spool(between.access, name, tmp_path / "state")

        def send_more(action: str, _: dict[str, Any]) -> None:
            if action == "ReceiveMessage":
                for _ in range(12):
                    listener.append([capture(1)])

        between.rule = send_more
        assert run.depth().captures > 0

    def test_what_is_no_message_of_ours_stays_in_the_queue_and_is_told(self, access, name, tmp_path, capsys):
        spool = sqs_spool(access, name, tmp_path)
        spool.append([capture(1)])
        client = sqs_client(access)
        newer = json.dumps({"format": FORMAT + 1})
        broken = text_of(Part(format=FORMAT, kind="captures", sender="s", number=1, sent_at_ms=1, payload=b"x"))
        for text in ("hello", newer, broken):
            client.send_message(QueueUrl=_url(access, name), MessageBody=text)

        assert numbers(everything(spool)) == [1]
        spool.discard(through=1)

        assert held(access, name) == 3
        told = capsys.readouterr().out
        assert "messages in the queue cannot be read" in told
        assert "format 2, and this version reads formats up to 1" in told

    def test_pushes_that_waited_for_more_than_half_of_the_queue_s_time_are_warned_of(
        self, access, name, tmp_path, capsys
    ):
        spool = sqs_spool(access, name, tmp_path)
        for days, is_told in ((6, False), (8, True)):
            spool.append([capture(days)])
            with moto_messages(access, name) as messages:
                messages[-1].sent_timestamp -= days * DAY_SECONDS * 1_000
            spool.depth()
            assert ("waited long for a run" in capsys.readouterr().out) == is_told

    def test_a_second_state_folder_is_refused_and_after_a_handover_nothing_is_lost(self, access, name, tmp_path):
        listener = sqs_spool(access, name, tmp_path)
        listener.append([capture(1)])
        first = sqs_spool(access, name, tmp_path / "first", machine="här.example?")
        everything(first)
        first.discard(through=1)
        listener.append([capture(2)])
        everything(first)  # taken, and then the machine is lost
        first.close()

        second = sqs_spool(access, name, tmp_path / "second")
        with pytest.raises(SpoolTakenError, match=r"from another state folder: [0-9a-f-]{36} h_r.example_") as caught:
            second.depth()
        assert caught.value.exit_code == EXIT_REFUSED
        assert second.queue_depth() == QueueDepth(messages=0, under_way=1)

        sqs_client(access).untag_queue(QueueUrl=_url(access, name), TagKeys=[DRAINED_BY_TAG])
        show_again(access, name)
        assert numbers(everything(second)) == [2]
        with pytest.raises(SpoolTakenError):
            sqs_spool(access, name, tmp_path / "first").depth()

    def test_of_two_that_begin_together_one_gives_way(self, access, name, between, tmp_path):
        """Both see no tag; who wrote last has it."""
        first = sqs_spool(between.access, name, tmp_path / "first")
        second = sqs_spool(access, name, tmp_path / "second")

        def in_between(action: str, _: dict[str, Any]) -> None:
            if action == "TagQueue":
                between.rule = lambda _action, _request: None
                second.depth()

        between.rule = in_between
        first.depth()
        with pytest.raises(SpoolTakenError):
            second.depth()


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts what a drain does to the outside, and ends it at one step, before or after that is done."""

    def __init__(self, *, crash_at: int | None, after: bool) -> None:
        self._crash_at = crash_at
        self._after = after
        self.count = 0

    def take(self, do: Callable[[], Result]) -> Result:
        self.count += 1
        if self.count == self._crash_at and not self._after:
            raise Crash
        done = do()
        if self.count == self._crash_at:
            raise Crash
        return done


class SteppedQueue(SqsQueue):
    """A queue of which every call is a step."""

    steps: Steps

    def receive(self, **how: Any) -> list[Received]:
        return self.steps.take(lambda: super(SteppedQueue, self).receive(**how))

    def delete(self, receipts: Sequence[str]) -> list[str]:
        return self.steps.take(lambda: super(SteppedQueue, self).delete(receipts))

    def tag(self, key: str) -> tuple[str | None, int]:
        return self.steps.take(lambda: super(SteppedQueue, self).tag(key))

    def set_tag(self, key: str, value: str) -> None:
        return self.steps.take(lambda: super(SteppedQueue, self).set_tag(key, value))


class SteppedClock(SystemClock):
    """A look at the clock is a step too: it stands between what is done to the journal and what follows."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def now_ms(self) -> int:
        return self._steps.take(super().now_ms)


class Archive:
    """What a run commits: rows and the watermark of each spool, together or not at all; a commit is a step."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int]] = []
        self.watermarks: dict[str, int] = {}

    def drain(self, spool: SqsSpool, steps: Steps) -> None:
        """As `archiver.run.drain` does it, in commits of three captures."""
        after = self.watermarks.get(spool.spool_id, 0)
        spool.discard(through=after)
        waiting = spool.depth().captures
        while waiting > 0 and (found := spool.read(after=after, captures_max=min(3, waiting), bytes_max=2**20)):
            after = found[-1].sequence
            waiting -= len(found)
            steps.take(lambda found=found: self._commit(spool.spool_id, found))
            spool.discard(through=after)

    def _commit(self, spool_id: str, found: list[SpooledCapture]) -> None:
        self.rows += [(spool_id, spooled.sequence, int(spooled.capture.body)) for spooled in found]
        self.watermarks[spool_id] = found[-1].sequence


def _night(access: S3Access, name: str, folder: Path, archive: Archive, steps: Steps) -> None:
    session = session_of(access.access_key_id, access.secret_access_key)
    queue = SteppedQueue(name, region=access.region, endpoint_url=access.endpoint_url, session=session)
    queue.steps = steps
    how = {"wait_seconds": 0, "connections_at_once": 1, "clock": SteppedClock(steps)}
    archive.drain(SqsSpool(queue, folder, **how), steps)


def _sent(access: S3Access, folder: Path) -> str:
    """A queue with ten captures in five messages, one of which has two parts."""
    name = created_queue(access, MaximumMessageSize="1024")
    listener = sqs_spool(access, name, folder)
    for n in range(0, 8, 2):
        listener.append([capture(n), capture(n + 1)])
    listener.append([capture(8), capture(9, body=b"%0500d" % 9)])
    return name


def _steps_of_a_night(access: S3Access, folder: Path) -> int:
    steps = Steps(crash_at=None, after=False)
    _night(access, _sent(access, folder), folder / "whole", Archive(), steps)
    return steps.count


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_any_step_of_a_drain_leaves_each_capture_in_the_archive_exactly_once(access, tmp_path, every):
    last = _steps_of_a_night(access, tmp_path)
    assert last > 20
    for crash_at in range(1, last + 1, every):
        for after in (False, True):
            name = _sent(access, tmp_path)
            folder = tmp_path / f"{crash_at}-{after}"
            archive = Archive()
            with pytest.raises(Crash):
                _night(access, name, folder, archive, Steps(crash_at=crash_at, after=after))
            # Once with what was taken still hidden, once without, and once more with nothing to do.
            for _ in range(3):
                _night(access, name, folder, archive, Steps(crash_at=None, after=False))
                show_again(access, name)

            assert sorted(number for _, _, number in archive.rows) == list(range(10)), (crash_at, after)
            assert len({(spool_id, sequence) for spool_id, sequence, _ in archive.rows}) == 10
            assert held(access, name) == 0


class TestBeats:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
    @given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1_000)), max_size=30), st.randoms())
    def test_uptimes_do_not_depend_on_the_order_in_which_beats_come(self, tmp_path_factory, beats, shuffling):
        journals = [SqsJournal(tmp_path_factory.mktemp("beats") / "queue.sqlite") for _ in range(2)]
        shuffled = beats + beats[: len(beats) // 2]
        shuffling.shuffle(shuffled)
        for journal, given_beats in zip(journals, (sorted(beats, key=lambda beat: beat[1]), shuffled), strict=True):
            for listener, at_seconds in given_beats:
                journal.take([(_beat(listener, at_seconds * 1_000), "receipt")], at_ms=0)

        in_order, any_order = (journal.uptimes() for journal in journals)
        for journal in journals:
            journal.close()
        assert any_order == in_order
        assert all(
            later.from_at_ms - earlier.to_at_ms > BEAT_HOLE_MS_MAX
            for listener in "ab"
            for earlier, later in pairwise(uptime for uptime in in_order if uptime.listener == listener)
        )

    def test_the_beats_of_several_listeners_reach_the_run(self, access, name, tmp_path):
        listeners = [sqs_spool(access, name, tmp_path / "elsewhere") for _ in range(2)]
        run = sqs_spool(access, name, tmp_path)
        for at_ms in (0, 15_000, 30_000):
            for n, listener in enumerate(listeners):
                listener.beat(f"listener {n} é", at_ms=at_ms + n)

        assert run.uptimes() == [Uptime("listener 0 é", 0, 30_000), Uptime("listener 1 é", 1, 30_001)]
        assert held(access, name) == 0

    def test_a_beat_that_comes_after_its_time_was_forgotten_opens_nothing_anew(self, access, name, tmp_path):
        run = sqs_spool(access, name, tmp_path)
        run.beat("first", at_ms=100_000)
        run.forget_uptimes(before_ms=90_000)
        run.beat("first", at_ms=10_000)

        assert run.uptimes() == [Uptime("first", 100_000, 100_000)]


def _beat(listener: str, at_ms: int) -> Part:
    return Part(format=FORMAT, kind="beat", sender="s", number=1, sent_at_ms=at_ms, payload=listener.encode())


class TestHealth:
    def test_a_probe_sends_something_only_if_nothing_was_sent_lately(self, access, name, tmp_path):
        clock = ManualClock()
        spool = sqs_spool(access, name, tmp_path, clock=clock)
        spool.append([capture(1)])
        spool.probe()
        assert held(access, name) == 1

        clock.turn(PROBE_SECONDS)
        spool.probe()
        spool.probe()
        assert held(access, name) == 2
        assert numbers(everything(spool)) == [1]
        assert held(access, name) == 1

    def test_a_probe_after_a_failure_asks_again_and_says_so(self, name, between, tmp_path):
        spool = sqs_spool(between.access, name, tmp_path)
        spool.append([capture(1)])
        between.rule = lambda action, _: Refusal("AccessDenied") if action == "SendMessage" else None
        with pytest.raises(SpoolError):
            spool.append([capture(2)])

        with pytest.raises(SpoolError, match="AccessDenied"):
            spool.probe()
        between.rule = lambda _action, _request: None
        spool.probe()

    def test_a_listener_answers_503_while_the_queue_refuses_and_200_again_after(self, name, between, tmp_path):
        clock = ManualClock()
        spool = sqs_spool(between.access, name, tmp_path)
        with running(spool, tmp_path / "none.sqlite", clock=clock) as listener:
            assert (listener.push().status_code, listener.http.get(f"{listener.url}/healthz").status_code) == (200, 200)
            between.rule = lambda action, _: Refusal("AccessDenied") if action == "SendMessage" else None
            clock.turn(2)
            assert (listener.push().status_code, listener.http.get(f"{listener.url}/healthz").status_code) == (503, 503)
            between.rule = lambda _action, _request: None
            clock.turn(2)
            assert (listener.push().status_code, listener.http.get(f"{listener.url}/healthz").status_code) == (200, 200)
        assert len(everything(spool)) == 2

    def test_the_depth_is_shown_without_taking_anything(self, access, name, tmp_path):
        spool = sqs_spool(access, name, tmp_path)
        spool.append([capture(1)])
        assert spool.queue_depth() == QueueDepth(messages=1, under_way=0)
        spool.depth()
        assert spool.queue_depth() == QueueDepth(messages=0, under_way=1)


def _other_database(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE mine (x)")


def _newer_journal(path: Path) -> None:
    SqsJournal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA user_version = 2")


class TestOpening:
    def test_a_queue_that_is_not_there_is_said(self, access):
        with pytest.raises(SpoolError, match="the queue nowhere answers NonExistentQueue") as caught:
            open_queue(access, "nowhere")
        assert caught.value.exit_code == EXIT_STORAGE
        assert "create the queue" in caught.value.next_step

    def test_a_service_that_is_not_there_is_said(self, access):
        with pytest.raises(SpoolError, match="cannot be reached"):
            open_queue(replace(access, endpoint_url="http://127.0.0.1:1"), "captures")

    def test_no_credentials_and_no_region_are_said(self, access):
        with pytest.raises(SpoolError, match="no usable credentials") as caught:
            SqsQueue("captures", region="us-east-1", endpoint_url=access.endpoint_url)
        assert "AWS_ACCESS_KEY_ID" in caught.value.next_step
        with pytest.raises(SpoolError, match="no region") as caught:
            SqsQueue("captures")
        assert "sqs.region" in caught.value.next_step

    def test_what_answers_and_is_no_queue_service_is_said(self):
        with (
            ScriptedServer(lambda _: Answer(b"<html>")) as server,
            pytest.raises(SpoolError, match="does not speak SQS"),
        ):
            SqsQueue("q", region="r", endpoint_url=server.origin, session=session_of("a", "b"))

    @pytest.mark.parametrize(
        ("attributes", "told"),
        [
            ({"MessageRetentionPeriod": "345600"}, "set MessageRetentionPeriod to 1209600"),
            ({"RedrivePolicy": "dead"}, "take its RedrivePolicy away"),
            ({}, None),
        ],
    )
    def test_settings_of_the_queue_that_lose_pushes_are_warned_of(self, access, tmp_path, capsys, attributes, told):
        if "RedrivePolicy" in attributes:
            arn = open_queue(access, created_queue(access)).arn
            attributes = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})}
        sqs_spool(access, created_queue(access, **attributes), tmp_path)
        logged = capsys.readouterr().out
        assert told in logged if told else not logged

    def test_a_journal_is_for_its_owner_only_and_for_one_queue(self, access, name, tmp_path):
        for queue in (name, created_queue(access)):
            sqs_spool(access, queue, tmp_path / "state").depth()

        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        journals = list((tmp_path / "state").glob("queue-*.sqlite"))
        assert len(journals) == 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()} == {0o600}

    @pytest.mark.parametrize(
        ("spoil", "told"),
        [
            (lambda path: path.write_bytes(b"no database" * 1_000), "cannot be used"),
            (_other_database, "is not a journal of the archiver"),
            (_newer_journal, "has format 2; this version reads formats up to 1"),
        ],
    )
    def test_a_file_that_is_no_journal_is_not_written_over(self, access, name, tmp_path, spoil, told):
        spool = sqs_spool(access, name, tmp_path)
        spool.append([capture(1)])
        spool.depth()
        spool.close()
        (path,) = tmp_path.glob("queue-*.sqlite")
        path.unlink()
        spoil(path)
        before = path.read_bytes()

        with pytest.raises(SpoolError, match=told) as caught:
            sqs_spool(access, name, tmp_path).depth()
        assert caught.value.exit_code == EXIT_STORAGE
        assert path.read_bytes() == before

    def test_a_damaged_payload_is_noticed_when_it_is_read(self, access, name, tmp_path):
        spool = sqs_spool(access, name, tmp_path)
        spool.append([capture(1)])
        spool.depth()
        (path,) = tmp_path.glob("queue-*.sqlite")
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE parts SET payload = substr(payload, 1, 10) || x'00' || substr(payload, 12)")

        with pytest.raises(SpoolError, match="is damaged"):
            everything(spool)


def _url(access: S3Access, name: str) -> str:
    return sqs_client(access).get_queue_url(QueueName=name)["QueueUrl"]
