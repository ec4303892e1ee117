"""The S3 server's one identity: made once, in files that only their owner reads, the same for server and client."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from archiver.errors import StorageError
from archiver.simulator.s3_identity import make_identity


def _secrets(folder: Path) -> tuple[str, str]:
    """Return the secret as the server and as boto3 read it."""
    credentials = configparser.ConfigParser()
    credentials.read(folder / "credentials")
    identities = json.loads((folder / "identities.json").read_text("utf-8"))["identities"]
    return identities[0]["credentials"][0]["secretKey"], credentials["default"]["aws_secret_access_key"]


def test_server_and_client_get_the_same_new_secret(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    make_identity(tmp_path / "one", "archive")
    make_identity(tmp_path / "other", "archive")

    server, client = _secrets(tmp_path / "one")
    assert server == client
    assert len(server) == 40
    assert server != _secrets(tmp_path / "other")[0]
    for path in (tmp_path / "one").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_call_keeps_the_secret_and_mends_what_a_stop_left_out(tmp_path: Path) -> None:
    make_identity(tmp_path, "archive")
    before = _secrets(tmp_path)
    (tmp_path / "credentials").unlink()

    make_identity(tmp_path, "archive")

    assert _secrets(tmp_path) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"identities": []}', "not json"])
def test_what_somebody_else_put_there_is_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "identities.json").write_text(content)

    with pytest.raises(StorageError, match=r"identities\.json"):
        make_identity(tmp_path, "archive")

    assert (tmp_path / "identities.json").read_text() == content


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        make_identity(tmp_path / "nowhere", "archive")
