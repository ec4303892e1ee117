"""Real servers that tests share, one of each per test process; they start only when a test asks for them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

from archiver.simulator.s3server import REGION, S3Access, S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Access]:
    """A SeaweedFS server with an empty bucket: the one to rest claims about refusals on."""
    with S3Server(tmp_path_factory.mktemp("seaweedfs"), bucket="archive") as access:
        yield access


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Access]:
    """A moto server, over HTTP. It accepts wrong secrets and wrong checksums."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        access = S3Access(
            endpoint_url=f"http://{host}:{port}",
            region=REGION,
            bucket="archive",
            access_key_id="moto",
            secret_access_key="anything",
        )
        s3_client(access).create_bucket(Bucket=access.bucket)
        yield access
    finally:
        server.stop()


def s3_client(access: S3Access) -> S3Client:
    """A plain boto3 client, for what the product itself never does, such as making buckets or looking behind the store."""
    session = session_of(access.access_key_id, access.secret_access_key)
    return session.client("s3", endpoint_url=access.endpoint_url, region_name=access.region)


@functools.cache
def session_of(access_key_id: str, secret_access_key: str) -> boto3.Session:
    """Return a session with these credentials, always the same one: reading S3's description is most of a client's cost."""
    return boto3.Session(access_key_id, secret_access_key)
