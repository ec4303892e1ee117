"""`Simulator`: a Flock that starts, listens on loopback, and stops; for tests in this process and for `archiver simulate`.

    with Simulator(seed=7) as flock:
        flock.add_webhooks(f"{listener}/hooks/secret/{{name}}")
        flock.play_all()
        messages = list(flock.truth("message"))

It runs on an event loop in a thread of its own. Its methods may be called from any thread and return when done, pushes answered.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from datetime import date
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archiver.clock import Clock, SystemClock
from archiver.errors import UsageError
from archiver.simulator import dataset as from_dataset
from archiver.simulator import seed as from_seed
from archiver.simulator.control import control_app
from archiver.simulator.doors import Door, listen
from archiver.simulator.installs import install_from_start
from archiver.simulator.render import Json
from archiver.simulator.seed import Scenario
from archiver.simulator.stage import Stage
from archiver.simulator.verbs import Value, Verbs

LOOPBACK = "127.0.0.1"


class Simulator(Verbs):
    """A Flock in a box. Every argument is a keyword; ports of 0 are any that is free.

    A workspace comes from ``seed`` with ``people``, ``channels`` and ``messages`` over ``days`` from ``day`` on, or from the data set in
    the folder ``dataset``, whose files are cut to ``file_bytes_max``. ``installed`` is how many users hold a token from the start:
    by default everybody in a seeded workspace, and in a data set as few as see every channel. ``public_host`` is the host name that
    URLs carry, by default ``host``.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        people: int = from_seed.DEFAULT_PEOPLE,
        channels: int = from_seed.DEFAULT_CHANNELS,
        messages: int = from_seed.DEFAULT_MESSAGES,
        day: date = from_seed.DEFAULT_DAY,
        days: int = 1,
        dataset: Path | None = None,
        file_bytes_max: int = from_dataset.FILE_BYTES_MAX,
        installed: int | None = None,
        host: str = LOOPBACK,
        public_host: str = "",
        port: int = 0,
        files_port: int = 0,
        signed_port: int = 0,
        control_port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._build: Callable[..., Scenario]
        if dataset is not None:
            self._build = partial(from_dataset.build, dataset, seed=seed, file_bytes_max=file_bytes_max)
        else:
            self._build = partial(
                from_seed.build, seed, people=people, channels=channels, messages=messages, day=day, days=days
            )
        self._cover_only = dataset is not None
        self._installed = installed
        self._host = host
        self._public_host = public_host or host
        self._ports = (port, files_port, signed_port, control_port)
        self._clock = clock or SystemClock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._stage: Stage | None = None
        self._doors: tuple[Door, ...] = ()

    # Life

    def start(self) -> Self:
        """Build the workspace and open the doors; raises `UsageError` for a port in use or a data set that cannot be read."""
        if self._thread is not None:
            raise UsageError("this simulator was started before")
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Close the doors and end the thread; does nothing where it does not run."""
        if self._thread is None or not self._thread.is_alive() or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Where it is

    @property
    def base_url(self) -> str:
        """Return the API's base URL, which ends in ``/v1``."""
        return f"{self._origin(0)}/v1"

    @property
    def files_url(self) -> str:
        """Return the origin of the file host."""
        return self._origin(1)

    @property
    def signed_url(self) -> str:
        """Return the origin of the host that redirects lead to."""
        return self._origin(2)

    @property
    def control_url(self) -> str:
        """Return the origin of the control interface."""
        return self._origin(3)

    # The thread

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 -- whatever it is, `start` raises it in the caller's thread
            self._failure = error
        finally:
            self._started.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        opened: list[Door] = []
        try:
            for port in self._ports:
                opened.append(listen(self._host, port))
                self._doors = tuple(opened)
            scenario = self._build(files_url=self.files_url)
            install_from_start(scenario.workspace, count=self._installed, cover_only=self._cover_only)
            stage = Stage(
                scenario,
                self._clock,
                api_url=self._origin(0),
                files_url=self.files_url,
                signed_url=self.signed_url,
            )
            apps = (stage.api.app(), stage.hosts.app(), stage.hosts.signed_app(), control_app(stage, self._addresses()))
            for door, app in zip(opened, apps, strict=True):
                await door.open(app)
            self._stage = stage
            self._started.set()
            await self._stopping.wait()
            await stage.delivery.close()
        finally:
            for door in opened:
                await door.close()

    def _addresses(self) -> Json:
        return {
            "base_url": self.base_url,
            "files_url": self.files_url,
            "signed_url": self.signed_url,
            "control_url": self.control_url,
        }

    def _origin(self, door: int) -> str:
        if not self._doors:
            raise UsageError("this simulator does not run yet", next_step="start it, or use it in a with statement")
        host = f"[{self._public_host}]" if ":" in self._public_host else self._public_host
        return f"http://{host}:{self._doors[door].port}"

    @property
    def _on_stage(self) -> Stage:
        if self._stage is None:
            raise UsageError("this simulator does not run yet", next_step="start it, or use it in a with statement")
        return self._stage

    def _await(self, verb: Callable[[Stage], Coroutine[Any, Any, Value]]) -> Value:
        stage = self._on_stage
        if self._loop is None or self._loop.is_closed():
            raise UsageError("this simulator runs no more")
        return asyncio.run_coroutine_threadsafe(verb(stage), self._loop).result()


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 -- it does not exist on Windows

    return uvloop.new_event_loop()
