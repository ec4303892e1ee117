"""Two listeners behind one queue, and a run: what was answered 200 is in the archive, each push once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import pytest

from archiver.archive.reader import Archive, files_of, read_rows
from archiver.simulator.s3server import S3Access
from archiver.spool.sqlite import SqliteSpool
from archiver.store.local import LocalStore
from tests.capture.running_listener import PATH_SECRET, WEBHOOK_TOKEN
from tests.spool.conftest import created_queue, moto_messages, show_again
from tests.spool.test_sqs import capture

REPOSITORY = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 60
SECRETS = {
    "ARCHIVER_LISTEN__PATH_SECRET": PATH_SECRET,
    "ARCHIVER_LISTEN__WEBHOOK_TOKENS": json.dumps({"general": WEBHOOK_TOKEN}),
}


class Machines:
    """Machines that share one queue and one archive; each has a configuration and a state folder of its own."""

    def __init__(self, folder: Path, access: S3Access, queue: str) -> None:
        self.folder = folder
        self.access = access
        self.queue = queue

    def configuration(self, machine: str, **more: str) -> Path:
        folder = self.folder / machine
        folder.mkdir(exist_ok=True)
        path = folder / "archiver.yaml"
        settings = {
            "workspace": "acme",
            "archive": str(self.folder / "archive"),
            "spool": f"sqs://{self.queue}",
            "sqs": {"endpoint_url": self.access.endpoint_url, "region": self.access.region},
            "listen": {"port": 0},
        }
        path.write_text(json.dumps(settings | more))
        return path

    def command(self, machine: str, *words: str, **more: str) -> subprocess.Popen[str]:
        arguments = [*words, "--config", str(self.configuration(machine, **more)), "--json"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVER_")}
        return subprocess.Popen(
            [sys.executable, "-m", "archiver", *arguments],
            cwd=REPOSITORY,
            env=inherited | SECRETS | self.access.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self, machine: str, *words: str, code: int = 0, **more: str) -> Any:
        process = self.command(machine, *words, **more)
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == code, err
        return json.loads(out)

    @contextlib.contextmanager
    def listener(self, machine: str) -> Iterator[str]:
        process = self.command(machine, "listen")
        try:
            yield json.loads(process.stdout.readline())["listening"]
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=DEADLINE_SECONDS)
            assert process.returncode == 0, err

    def events(self) -> list[dict[str, Any]]:
        return sorted(self.rows("events", "outcome", "sequence", "spool_id"), key=itemgetter("sequence"))

    def texts(self) -> list[str]:
        return sorted(row["text"] for row in self.rows("messages", "text"))

    def rows(self, table: str, *columns: str) -> list[dict[str, Any]]:
        archive = Archive.open(LocalStore(self.folder / "archive"))
        batches = read_rows(archive.store, files_of(archive.head(), table), columns)
        return [row for batch in batches for row in batch.to_pylist()]


@pytest.fixture
def machines(tmp_path: Path, moto_server: S3Access) -> Machines:
    return Machines(tmp_path, moto_server, created_queue(moto_server))


def message(number: int) -> bytes:
    return json.dumps(
        {
            "to": "g:0123",
            "from": "u:ada",
            "uid": f"1-{number:04}",
            "text": f"text {number:04}",
            "timestamp": 1_700_000_000,
        }
    ).encode()


def push(url: str, body: bytes) -> None:
    answer = httpx.post(
        f"{url}/hooks/{PATH_SECRET}/general", params={"token": WEBHOOK_TOKEN}, content=body, trust_env=False
    )
    assert (answer.status_code, answer.content) == (200, b"")


def test_what_two_listeners_took_is_archived_once_whatever_comes_again(machines: Machines, moto_server: S3Access):
    with machines.listener("one") as one, machines.listener("two") as two, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: push((one, two)[n % 2], message(n)), range(60)))
        for url in (one, two):  # what Flock itself sends twice is two pushes of one message
            push(url, message(1_000))
        first = machines.done("run", "run", "--only", "drain")
        status = machines.done("run", "status")
        list(pool.map(lambda n: push((one, two)[n % 2], message(n)), range(60, 90)))
        with moto_messages(moto_server, machines.queue) as messages:
            again = list(messages)
        machines.done("run", "run", "--only", "drain")
    with moto_messages(moto_server, machines.queue) as messages:
        messages += [message for message in again if message not in messages]
    show_again(moto_server, machines.queue)
    last = machines.done("run", "run", "--only", "drain")

    assert first["commits"] == 1
    assert status["spool"] is None
    assert set(status["queue"]) == {"messages", "under_way"}
    assert last["commits"] == 0
    events = machines.events()
    assert [event["sequence"] for event in events] == list(range(1, 93))
    assert Counter(event["outcome"] for event in events) == {"archived": 91, "duplicate": 1}
    assert len({event["spool_id"] for event in events}) == 1
    assert machines.texts() == [f"text {n:04}" for n in (*range(90), 1_000)]
    with moto_messages(moto_server, machines.queue) as messages:
        assert all('"beat"' in message.body for message in messages)
    assert not (machines.folder / "one" / "state" / "spool.sqlite").exists()


def test_a_run_on_another_machine_is_refused_and_archives_nothing(machines: Machines):
    with machines.listener("one") as url:
        push(url, message(1))
        machines.done("run", "run", "--only", "drain")
        push(url, message(2))
    refused = machines.done("other", "run", "--only", "drain", code=5)

    assert refused["error"]["kind"] == "SpoolTaken"
    assert machines.texts() == ["text 0001"]
    machines.done("run", "run", "--only", "drain")
    assert machines.texts() == ["text 0001", "text 0002"]


@pytest.mark.parametrize("command", ["listen", "run"])
def test_a_queue_that_is_missing_is_exit_code_7(machines: Machines, command: str):
    error = machines.done("one", command, code=7, spool="sqs://nowhere")["error"]

    assert error["kind"] == "Spool"
    assert "the queue nowhere" in error["what"]


def test_what_waits_in_the_spool_of_before_is_archived_first(machines: Machines):
    with contextlib.closing(SqliteSpool(machines.folder / "run" / "state" / "spool.sqlite")) as spool:
        spool.append([capture(1, body=message(1))])

    error = machines.done("run", "run", code=2)["error"]
    assert "1 captures wait in" in error["what"]
    assert "ARCHIVER_SPOOL=sqlite" in error["next_step"]
    machines.done("run", "run", "--only", "drain", spool="sqlite")
    machines.done("run", "run", "--only", "drain")

    assert machines.texts() == ["text 0001"]
