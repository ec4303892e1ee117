"""The boto3 client that `S3Store` works with: its credentials, time limits and retries."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from archiver.errors import ConfigError
from archiver.store.s3_errors import FAILURES, storage_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 60
TRIES_MAX = 5
CONNECTIONS_MAX = 32


def make_client(
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    session: boto3.Session | None = None,
    tries_max: int = TRIES_MAX,
) -> S3Client:
    """Return an S3 client with this store's time limits and retries.

    Credentials come from ``session``, or from boto3's chain. Raises `ConfigError` for an ``endpoint_url`` that is none, or that holds
    credentials, which would end up in messages.
    """
    try:
        if endpoint_url and urlsplit(endpoint_url).username is not None:
            raise ConfigError(
                "s3.endpoint_url holds a user name, and so perhaps a secret",
                next_step="take them out; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        return (session or boto3.Session()).client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                max_pool_connections=CONNECTIONS_MAX,
                tcp_keepalive=True,
                retries={"mode": "standard", "total_max_attempts": tries_max},
            ),
        )
    except ValueError as error:
        raise ConfigError(
            f"s3.endpoint_url is not the address of a server: {endpoint_url!r}", next_step="write http(s)://host:port"
        ) from error
    except FAILURES as error:
        raise storage_error(error, doing="set up", place="the connection to S3") from None
