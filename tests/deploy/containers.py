"""Reads `Dockerfile` and `docker-compose.yml`, and runs a service's command here as it would run in its container.

No container engine is needed: a container's folders become folders of the test, its host names and ports become free ports of
127.0.0.1, and its environment is the image's and the service's and nothing else.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from archiver.simulator import s3server

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE_FILE = ROOT / "docker-compose.yml"

FOLDERS = ("config", "state", "data", "credentials", "tmp")
PORTS = ("8080", "8090", "8091", "8092", "8093")
HOSTS = ("s3", "listener", "simulator")

READY_SECONDS_MAX = 60


@dataclass(frozen=True)
class Instruction:
    """One line of a Dockerfile, continuation lines joined: its word, the rest, and the stage it is in."""

    word: str
    rest: str
    stage: str


@dataclass
class Stage:
    """What a container of one image starts with."""

    base: str
    environment: dict[str, str] = field(default_factory=dict)
    user: str = ""
    health: list[str] | None = None
    command: list[str] | None = None


def instructions(text: str) -> list[Instruction]:
    """Return a Dockerfile's instructions in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[Instruction] = []
    stage = ""
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stage = rest.partition(" AS ")[2]
        found.append(Instruction(word, rest.strip(), stage))
    return found


def stages(text: str) -> dict[str, Stage]:
    """Return every stage with what it inherits."""
    found: dict[str, Stage] = {}
    for step in instructions(text):
        if step.word == "FROM":
            base = found.get(step.rest.partition(" AS ")[0], Stage(""))
            found[step.stage] = Stage(
                step.rest.partition(" AS ")[0], dict(base.environment), base.user, base.health, base.command
            )
        stage = found[step.stage]
        match step.word:
            case "ENV":
                stage.environment.update(re.findall(r"(\w+)=(\S+)", step.rest))
            case "USER":
                stage.user = step.rest
            case "CMD":
                stage.command = yaml.safe_load(step.rest)
            case "HEALTHCHECK":
                stage.health = ["CMD", *yaml.safe_load(step.rest.partition("CMD ")[2])]
    return found


def compose() -> dict[str, Any]:
    """Return the compose file as YAML reads it, anchors resolved and variables not."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text("utf-8"))
    return document


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``${NAME:-default}`` and ``$$`` as compose does."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match["name"]) or match["default"]

    return re.sub(r"\$\$|\$\{(?P<name>\w+):-(?P<default>[^}]*)\}", value, text)


class Machine:
    """Runs services of the compose file on this machine; leaving the block ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in FOLDERS:
            (folder / name).mkdir(parents=True)
        # A port of the server's own choice for each of its parts; only the one for S3 is known outside.
        self._s3_ports = s3server._Ports.pick()
        self.ports = {port: str(_free_port()) for port in PORTS} | {
            "8333": str(self._s3_ports.s3),
            "8888": str(self._s3_ports.filer),
        }
        self._services = compose()["services"]
        self._stages = stages(DOCKERFILE.read_text("utf-8"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for leftover in self._s3_ports.sockets():
            leftover.unlink(missing_ok=True)
        self._stack.close()

    def here(self, text: str) -> str:
        """Return what a text of the container's world is called on this machine."""
        text = re.sub(rf"(?<!\w)/({'|'.join(FOLDERS)})\b", rf"{self.folder}/\1", text)
        text = re.sub(rf"(?<==|/)({'|'.join(HOSTS)})(?=$|:)", "127.0.0.1", text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        return re.sub(rf"\b({'|'.join(self.ports)})\b", lambda match: self.ports[match[0]], text)

    def run(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a service's command, or other words in its container, to its end."""
        return subprocess.run(
            [self.here(word) for word in words] or self._command(service),
            env=self._environment(service),
            cwd=self.folder / "state",
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_SECONDS_MAX,
        )

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Start a service's command; what it prints goes to a file named after it."""
        log = self._stack.enter_context(self.log(service).open("wb"))
        self._running[service] = process = subprocess.Popen(
            self._command(service),
            env=self._environment(service),
            cwd=self.folder / "state",
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return process

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def health(self, service: str) -> int:
        """Run a service's health check once; returns its exit code."""
        check: list[str] | None = (
            self._services[service].get("healthcheck", {}).get("test") or self._stage(service).health
        )
        assert check is not None
        assert check[0] == "CMD"
        return self.run(service, *check[1:]).returncode

    def wait_until_healthy(self, service: str) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while self.health(service) != 0:
            assert self._running[service].poll() is None, self.log(service).read_text()
            assert time.monotonic() < deadline, self.log(service).read_text()

    def stop(self, service: str) -> int:
        """Ask a service to end, as an engine does, and return its exit code."""
        process = self._running.pop(service)
        process.terminate()
        return process.wait(60)

    def _stage(self, service: str) -> Stage:
        return self._stages[self._services[service]["build"]["target"]]

    def _command(self, service: str) -> list[str]:
        command = self._services[service]["command"]
        words = [self.here(interpolated(word, {})) for word in command]
        if words[0] == "weed":
            words += [flag for flag in self._s3_ports.flags() if not flag.startswith("-s3.port=")]
            words += [f"-{part}.localSocket={self.folder}/{part}.sock" for part in ("s3", "filer")]
        return words

    def _environment(self, service: str) -> dict[str, str]:
        shims = self.folder / "shims"
        programs = f"{shims}:{Path(sys.executable).parent}:{os.defpath}"
        given = self._stage(service).environment | self._services[service].get("environment", {})
        return {name: self.here(value) for name, value in given.items()} | {
            "PATH": programs,
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder / "state"),
            "TMPDIR": str(self.folder / "tmp"),
        }


def _free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        return port
