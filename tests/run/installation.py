"""An archiver as its users have it: a folder with a configuration and secrets, and the program, each call a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archiver.simulator.config_files import write_config
from archiver.simulator.server import Simulator
from tests.conftest import ROOT

DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Return what ``--json`` printed."""
        return json.loads(self.out)

    @property
    def gaps(self) -> dict[str, str]:
        """Return the evidence of each kind of gap of a run."""
        return {gap["kind"]: gap["evidence"] for gap in self.document["gaps"]}


@dataclass(frozen=True)
class Installation:
    """A folder with ``archiver.yaml``, ``secrets``, ``state`` and ``archive``."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "archiver.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def change(self, section: str, **values: object) -> None:
        """Set values of a section of the configuration, or at its top."""
        settings = yaml.safe_load(self.config.read_text())
        (settings.setdefault(section, {}) if section else settings).update(values)
        self.config.write_text(yaml.safe_dump(settings))

    def tokens(self, tokens: dict[str, str]) -> None:
        """Replace the tokens by which Flock is asked."""
        (self.folder / "secrets" / "flock_tokens.json").write_text(json.dumps(tokens))

    def call(
        self,
        *words: str,
        before: Callable[[], None] | None = None,
        timeout: float = DEADLINE_SECONDS,
        **environment: str,
    ) -> Outcome:
        """Call the program and wait for its end; ``before`` happens in the new process, before it starts."""
        done = subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            preexec_fn=before,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start the program and return the process; whoever starts it ends it."""
        return subprocess.Popen(
            self.command(*words),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    @contextlib.contextmanager
    def listening(self) -> Iterator[subprocess.Popen[str]]:
        """Run ``archiver listen`` until the end of the block, if it has not ended by then."""
        process = self.start("listen", "--json")
        try:
            assert process.stdout is not None
            assert "listening" in json.loads(process.stdout.readline())
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=DEADLINE_SECONDS)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "archiver", *words, "--config", str(self.config)]


def install(flock: Simulator, folder: Path, *, listener_url: str = "", token_key: str = "") -> Installation:
    """Configure an archiver for a simulator; without a listener's address its own listener gets a free port.

    ``token_key`` is the key of a token store that is there already.
    """
    if token_key:
        (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
        (folder / "secrets" / "token_key").write_text(token_key)
    write_config(flock, folder, listener_url=listener_url or f"http://127.0.0.1:{free_port()}")
    return Installation(folder)


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
