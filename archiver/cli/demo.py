"""`archiver demo`: a day of a workspace captured, archived, queried and checked, in front of one's eyes."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archiver.cli.options import examples, output_options
from archiver.cli.output import Output
from archiver.errors import EXIT_DONE, EXIT_GAPS, ArchiverError, RefusedError

if TYPE_CHECKING:
    from archiver.simulator.server import Simulator

SEED = 7
PROGRAM = "archiver"
MARK_FILE = ".archiver-demo"
S3_BUCKET = "archive"
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1

_BUSIEST = """
SELECT c.name AS channel, count(*) AS messages, count(DISTINCT m.sender_id) AS people, min(m.sent_at) AS first, max(m.sent_at) AS last
FROM messages m JOIN conversations c USING (chat_id)
WHERE c.name IS NOT NULL GROUP BY ALL ORDER BY messages DESC LIMIT 5
"""
_FILES = (
    "SELECT status, reason, count(*) AS files, sum(blob_bytes) AS bytes FROM files GROUP BY ALL ORDER BY files DESC"
)
_VERSIONS = "SELECT version, observed_at, sender_name, text FROM messages WHERE message_uid = '{uid}' ORDER BY version"
_MISSING = """
SELECT o.outcome, o.observed_at, m.text AS still_archived
FROM observations o JOIN messages m USING (message_uid) WHERE o.message_uid = '{uid}'
"""


@click.command(epilog=examples("archiver demo", "archiver demo --s3 --folder /tmp/flock-demo"))
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Where everything is put; an earlier demo there is replaced.",
)
@click.option("--s3", is_flag=True, help="Keep the archive on a real S3 server, SeaweedFS, that the demo starts.")
@click.option("--seed", default=SEED, show_default=True, help="Another seed gives another workspace.")
@output_options
def command(output: Output, *, folder: Path, s3: bool, seed: int) -> int | None:
    """Capture a simulated Flock workspace, archive it, query it and check it: everything on this machine.

    Plays a day, runs, shows a query, edits and deletes some messages, runs again and shows both versions. It listens on
    free loopback ports only and leaves no process behind; what it wrote stays to be looked at.
    """
    from archiver.simulator.config_files import write_config  # noqa: PLC0415 - heavy, and --help needs none of it
    from archiver.simulator.server import Simulator  # noqa: PLC0415 - as above

    folder = folder.absolute()
    _prepare(folder)
    interrupted = _interruption()
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ) | {"ARCHIVER_CONFIG": str(folder / "archiver.yaml")}
        if s3:
            environment |= stack.enter_context(_s3_environment(folder / "s3"))
        flock = stack.enter_context(Simulator(seed=seed))
        config = write_config(flock, folder, listener_url=f"http://127.0.0.1:{_free_port()}")
        demo = _Demo(output, environment, interrupted)
        demo.say(
            f"A Flock workspace of {len(flock.people)} people and {len(flock.channels)} channels, from seed {seed}."
        )
        demo.say(
            f"{len(flock.user_tokens)} of them installed the app; {config.webhooks} channels have a webhook to us."
        )
        stack.enter_context(_listening(demo, log=folder / "listen.log"))
        played = flock.play_all()
        answers = ", ".join(f"{count} times {status}" for status, count in sorted(played.pushes.items()))
        demo.say(f"A day happens: {sum(played.actions.values())} actions; what Flock pushed was answered {answers}.")
        demo.run("run")
        demo.say("The busiest channels, and what became of the files (some links lead to login pages or refuse us):")
        demo.run("query", _BUSIEST)
        demo.run("query", _FILES)
        edited, deleted = _change_history(flock, demo)
        demo.run("run")
        demo.say("Both versions of the edited message, and the deleted one, which Flock no longer returns:")
        demo.run("query", _VERSIONS.format(uid=edited))
        demo.run("query", _MISSING.format(uid=deleted))
        demo.say("Nothing is lost, and anybody can check that:")
        demo.run("verify")
    document = _document(folder, environment, s3=s3, edited=edited, deleted=deleted)
    output.result(document, show=lambda out: _show(out, folder, s3=s3))
    return None


class _Demo:
    """Tells what happens and runs the program's own commands, as the user would type them."""

    def __init__(self, output: Output, environment: Mapping[str, str], interrupted: threading.Event) -> None:
        self.output = output
        self.environment = environment
        self.interrupted = interrupted

    def say(self, text: str) -> None:
        if not self.output.as_json:
            self.output.line()
            self.output.line(text)

    def run(self, *words: str) -> None:
        """Run a command and show it with what it prints; raises `ArchiverError` if it fails."""
        words = tuple(" ".join(word.split()) for word in words)
        self.say(f"$ archiver {_as_typed(words)}")
        exit_code = self._finish([sys.executable, "-m", "archiver", *words, "--quiet"])
        if exit_code not in (EXIT_DONE, EXIT_GAPS):
            failure = ArchiverError(f"`archiver {_as_typed(words)}` ended with exit code {exit_code}")
            failure.exit_code = exit_code
            raise failure
        if exit_code == EXIT_GAPS:
            self.say("(Exit code 3: done, with gaps. What could not be captured is said out loud.)")

    def _finish(self, command: Sequence[str]) -> int:
        """Run a process to its end, or stop it when the demo is asked to stop; returns its exit code."""
        stdout = subprocess.DEVNULL if self.output.as_json else None
        process = subprocess.Popen(command, env=self.environment, stdout=stdout)  # noqa: S603 -- our own program
        while not self.interrupted.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=POLL_SECONDS)
        _stop(process)
        raise KeyboardInterrupt


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _prepare(folder: Path) -> None:
    """Make the folder, or empty it if it holds an earlier demo and nothing else can have put it there."""
    mark = folder / MARK_FILE
    if folder.exists() and any(folder.iterdir()):
        if not mark.is_file():
            raise RefusedError(
                f"{folder} is not empty and holds no earlier demo", next_step="name another folder with --folder"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _interruption() -> threading.Event:
    """Return what is set once somebody asks us to end.

    An exception from a signal handler could come between the start of a process and the line that remembers it.
    """
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: interrupted.set())
    return interrupted


@contextlib.contextmanager
def _s3_environment(directory: Path) -> Iterator[dict[str, str]]:
    """Start an S3 server and return the variables that lead the program's commands to it."""
    from archiver.simulator.s3server import S3Server  # noqa: PLC0415 - only --s3 needs it

    with S3Server(directory, bucket=S3_BUCKET) as access:
        yield access.environment() | {
            "ARCHIVER_ARCHIVE": f"s3://{access.bucket}/demo",
            "ARCHIVER_S3__ENDPOINT_URL": access.endpoint_url,
            "ARCHIVER_S3__REGION": access.region,
        }


@contextlib.contextmanager
def _listening(demo: _Demo, *, log: Path) -> Iterator[None]:
    """Run `archiver listen` beside the demo until the block ends."""
    demo.say("$ archiver listen &")
    with log.open("wb") as stderr:
        listener = subprocess.Popen(
            [sys.executable, "-m", "archiver", "listen", "--json"],
            env=demo.environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        try:
            _wait_until_listening(listener, log)
            yield
        finally:
            _stop(listener)
            if listener.stdout is not None:
                listener.stdout.close()


def _wait_until_listening(listener: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the line in which the listener says where it listens; raises `ArchiverError` if it ends without one."""
    line = listener.stdout.readline() if listener.stdout is not None else b""
    if not line:
        raise ArchiverError("`archiver listen` ended at once", next_step=f"read {log}, which says why")


def _change_history(flock: Simulator, demo: _Demo) -> tuple[str, str]:
    """Let somebody edit a message and somebody delete one, and let a user point the app at both; return their uids."""
    flock.configure(push_edits=True, action_messages=False)
    channels = flock.channels
    seen = [
        message
        for message in flock.truth("message")
        if message["chat_id"] in channels and message["deleted_at_ms"] is None and len(message["versions"]) == 1
        if message["from"] in flock.user_tokens and _reads_well(message["versions"][0].get("text", ""))
    ]
    edited, deleted = seen[0], seen[-1]
    flock.edit(edited["uid"], text=f"{edited['versions'][0]['text']} (on second thought: better not)")
    flock.message_action(deleted["from"], deleted["chat_id"], [deleted["uid"]])
    flock.delete(deleted["uid"])
    demo.say("Somebody edits a message. Somebody else marks one for the archive, then deletes it.")
    return edited["uid"], deleted["uid"]


def _reads_well(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " in text and "<" not in text


def _as_typed(words: Sequence[str]) -> str:
    """Return words as a person would type them: SQL in double quotes, because it is full of single ones."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in words
    )


def _program() -> str:
    """Return how to call the program again from where the user is."""
    if shutil.which(PROGRAM):
        return PROGRAM
    script = Path(sys.executable).with_name(PROGRAM)
    if not script.exists():
        return f"{sys.executable} -m archiver"
    here = Path.cwd()
    return str(script.relative_to(here) if script.is_relative_to(here) else script)


def _free_port() -> int:
    """Return a loopback port that is free now; the listener takes it in a moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _document(folder: Path, environment: Mapping[str, str], *, s3: bool, edited: str, deleted: str) -> dict[str, Any]:
    return {
        "folder": folder,
        "config": folder / "archiver.yaml",
        "archive": environment["ARCHIVER_ARCHIVE"] if s3 else folder / "archive",
        "edited_uid": edited,
        "deleted_uid": deleted,
    }


def _show(output: Output, folder: Path, *, s3: bool) -> None:
    place = f"{folder / 's3'} (SeaweedFS's own files; its server is stopped)" if s3 else folder / "archive"
    output.line("\nEverything lies here:")
    output.facts(
        {
            "  configuration": folder / "archiver.yaml",
            "  secrets": folder / "secrets",
            "  archive": place,
            "  spool, lock": folder / "state",
        }
    )
    if s3:
        return
    program = _program()
    glob = folder / "archive" / "messages" / "**" / "*.parquet"
    output.line("\nTry next:")
    output.line(f"  export ARCHIVER_CONFIG={shlex.quote(str(folder / 'archiver.yaml'))}")
    output.line(f"  {program} status")
    output.line(f'  {program} query "SELECT dt, chat_kind, count(*) FROM messages GROUP BY ALL"')  # noqa: S608 -- to be read
    output.line(f"  {program} verify")
    output.line("or, with nothing of ours, in DuckDB:")
    output.line(f"  FROM read_parquet('{glob}', hive_partitioning=true) LIMIT 10;")
