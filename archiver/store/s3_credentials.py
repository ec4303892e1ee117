"""The credentials that boto3's chain finds, for another engine that reads the same bucket."""

from __future__ import annotations

from dataclasses import dataclass, field

import boto3
from botocore.exceptions import BotoCoreError

from archiver.errors import StoreRefusedError


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """What lets one into a bucket at this moment; temporary ones carry a session token. Secrets stay out of every representation."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def find_credentials() -> S3Credentials | None:
    """Return what boto3 would use now, or None if it finds nothing (then only a public bucket can be read).

    Raises `StoreRefusedError` if a configured source of credentials does not work.
    """
    try:
        found = boto3.Session().get_credentials()
        if found is None:
            return None
        frozen = found.get_frozen_credentials()
    except BotoCoreError as error:
        raise StoreRefusedError(
            f"the credentials of the bucket cannot be found: {error}",
            next_step="check the AWS_ variables, the profile, or the role of this machine",
        ) from None
    if frozen.access_key is None or frozen.secret_key is None:
        return None
    return S3Credentials(frozen.access_key, frozen.secret_key, frozen.token)


def default_region() -> str | None:
    """Return the region that boto3 would use, or None if none is configured."""
    return boto3.Session().region_name
