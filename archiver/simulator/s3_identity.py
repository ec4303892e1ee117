"""Credentials for an S3 server of one's own, made once and kept in two files: one that SeaweedFS reads, one that boto3 reads.

`docker-compose.yml` runs it before the server starts (``python -m archiver.simulator.s3_identity FOLDER BUCKET``), so that nobody
has to invent a secret, and none stands in a file that is shared or on a command line.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

from archiver.errors import StorageError

# For SeaweedFS: ``-s3.config=FOLDER/identities.json``.
IDENTITIES_FILE = "identities.json"
# For boto3: AWS_SHARED_CREDENTIALS_FILE=FOLDER/credentials.
CREDENTIALS_FILE = "credentials"

_NAME = "archiver"
_ACTIONS = ("Read", "Write", "List", "Tagging")
_FILE_MODE = 0o600
_ACCESS_KEY_BYTES = 10
_SECRET_KEY_BYTES = 20


def make_identity(folder: Path, bucket: str) -> None:
    """Write both files, with a new secret unless the server has one already; the identity may use this bucket and no other.

    Raises `StorageError` if the folder cannot be written or holds something else under these names.
    """
    try:
        if not (folder / IDENTITIES_FILE).exists():
            _write(folder / IDENTITIES_FILE, json.dumps(_new_identities(bucket), indent=1))
        # Always from the server's file, so that the two agree also after a stop between them.
        credentials = json.loads((folder / IDENTITIES_FILE).read_bytes())["identities"][0]["credentials"][0]
        _write(
            folder / CREDENTIALS_FILE,
            f"[default]\n"
            f"aws_access_key_id = {credentials['accessKey']}\n"
            f"aws_secret_access_key = {credentials['secretKey']}\n",
        )
    except OSError as error:
        raise StorageError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise StorageError(
            f"{folder / IDENTITIES_FILE} is not a list of identities as SeaweedFS reads it",
            next_step="move it away; a new one is made then",
        ) from None


def _new_identities(bucket: str) -> dict[str, object]:
    return {
        "identities": [
            {
                "name": _NAME,
                "credentials": [
                    {
                        "accessKey": secrets.token_hex(_ACCESS_KEY_BYTES).upper(),
                        "secretKey": secrets.token_hex(_SECRET_KEY_BYTES),
                    }
                ],
                "actions": [f"{action}:{bucket}" for action in _ACTIONS],
            }
        ]
    }


def _write(path: Path, text: str) -> None:
    """Replace a file in one step; nobody else can read it at any moment."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


if __name__ == "__main__":
    make_identity(Path(sys.argv[1]), sys.argv[2])
