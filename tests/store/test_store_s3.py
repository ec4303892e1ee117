"""What is special about a store in S3: what a server may get wrong, what breaks on the way, and what Parquet needs."""

from __future__ import annotations

import socket
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from archiver.errors import (
    ConfigError,
    KeyExistsError,
    KeyMissingError,
    StorageError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)
from archiver.simulator.s3server import S3Access
from archiver.store import MULTIPART_FROM_BYTES
from archiver.store.s3 import S3Store
from archiver.store.s3_client import make_client
from archiver.store.s3_reader import READ_AHEAD_MIN_BYTES, TAIL_BYTES
from tests.servers.plugin import s3_client, session_of
from tests.servers.scripted import Answer, Received, ScriptedServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SECRET = "a-secret-that-nobody-may-see"

Use = Callable[[S3Store], object]
EVERY_USE: dict[str, Use] = {
    "create": lambda store: store.create("a/key", b"x"),
    "create in parts": lambda store: store.create("a/key", b"x" * MULTIPART_FROM_BYTES),
    "replace": lambda store: store.replace("a/key", b"x"),
    "read": lambda store: store.read("a/key"),
    "open": lambda store: store.open("a/key"),
    "stat": lambda store: store.stat("a/key"),
    "list": lambda store: list(store.list("a/")),
    "delete": lambda store: store.delete("a/key"),
    "erase": lambda store: store.erase("a/key"),
    "lock": lambda store: store.lock("a/key"),
    "can_hold": lambda store: store.can_hold(),
    "set_legal_hold": lambda store: store.set_legal_hold("a/key", on=True),
    "list_hidden": lambda store: list(store.list_hidden("a/")),
    "probe": lambda store: store.probe(),
    "sweep": lambda store: store.sweep(),
}
every_use = pytest.mark.parametrize("use", EVERY_USE.values(), ids=EVERY_USE.keys())


def client_of(
    endpoint_url: str, *, tries_max: int = 1, secret: str = SECRET, access_key_id: str = "key-id"
) -> S3Client:
    session = session_of(access_key_id, secret)
    client = make_client(endpoint_url=endpoint_url, region="us-east-1", session=session, tries_max=tries_max)
    # A scripted server does not answer 100 Continue, for which boto3 would wait a second.
    client.meta.events.register_last("before-call.s3", _expect_no_continue)
    return client


def _expect_no_continue(params: dict[str, Any], **_: object) -> None:
    params["headers"].pop("Expect", None)


def failure_of(use: Use, store: S3Store) -> StorageError:
    """Return the error, after making sure that nothing printed of it or its causes holds the secret."""
    with pytest.raises(StorageError) as caught:
        use(store)
    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=True))
    assert SECRET not in str(caught.value)
    assert caught.value.next_step
    return caught.value


# A real server that refuses


@every_use
def test_a_wrong_secret_is_refused_with_the_place_and_a_next_step(seaweedfs: S3Access, use: Use) -> None:
    store = S3Store(
        seaweedfs.bucket, "acme", client=client_of(seaweedfs.endpoint_url, access_key_id=seaweedfs.access_key_id)
    )

    error = failure_of(use, store)

    assert isinstance(error, StoreRefusedError)
    assert f"s3://{seaweedfs.bucket}/acme" in error.what
    assert "AWS_SECRET_ACCESS_KEY" in error.next_step or "credentials" in error.next_step


@every_use
def test_a_missing_bucket_is_refused_and_not_taken_for_a_missing_key(seaweedfs: S3Access, use: Use) -> None:
    store = S3Store("no-such-bucket", client=s3_client(seaweedfs))
    if use in (EVERY_USE["delete"], EVERY_USE["sweep"]):
        pytest.skip("SeaweedFS finds nothing to delete in a bucket that is not there, which is true")

    error = failure_of(use, store)

    assert isinstance(error, StoreRefusedError)
    assert "no-such-bucket" in error.what
    assert "create the bucket" in error.next_step


@pytest.fixture(scope="module")
def dead_port() -> Iterator[int]:
    """A port that is bound, so that nobody else takes it, and on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@every_use
def test_an_endpoint_where_nothing_answers_is_unreachable(dead_port: int, use: Use) -> None:
    store = S3Store("bucket", "acme", client=client_of(f"http://127.0.0.1:{dead_port}"))

    error = failure_of(use, store)

    assert isinstance(error, StoreUnreachableError)
    assert "s3://bucket/acme" in error.what
    assert "s3.endpoint_url" in error.next_step


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("no_credentials")
def test_without_credentials_it_says_where_they_are_looked_for(dead_port: int) -> None:
    store = S3Store("bucket", endpoint_url=f"http://127.0.0.1:{dead_port}", region="us-east-1")

    error = failure_of(EVERY_USE["create"], store)

    assert isinstance(error, StoreRefusedError)
    assert "AWS_ACCESS_KEY_ID" in error.next_step


@pytest.mark.usefixtures("no_credentials")
def test_credentials_come_from_boto3s_chain(seaweedfs: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    store = S3Store(seaweedfs.bucket, uuid.uuid4().hex, endpoint_url=seaweedfs.endpoint_url)

    store.create("key", b"x")

    assert store.read("key") == b"x"


@pytest.mark.parametrize("endpoint_url", ["not a url", "host:9000", "http://", "http://[::1"])
def test_an_endpoint_that_is_no_address_is_a_mistake_in_the_configuration(endpoint_url: str) -> None:
    with pytest.raises(ConfigError, match="endpoint_url"):
        S3Store("bucket", endpoint_url=endpoint_url, region="us-east-1")


def test_an_endpoint_with_credentials_in_it_is_refused_without_repeating_them() -> None:
    with pytest.raises(ConfigError) as caught:
        S3Store("bucket", endpoint_url=f"http://user:{SECRET}@127.0.0.1:1", region="us-east-1")

    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=True))


# Places


def test_a_store_sees_only_what_is_below_its_prefix(seaweedfs: S3Access) -> None:
    base = uuid.uuid4().hex
    one, longer, above = (
        S3Store(seaweedfs.bucket, prefix, client=s3_client(seaweedfs)) for prefix in (f"{base}/a", f"/{base}/ab/", base)
    )
    one.create("key", b"one")
    longer.create("key", b"longer")

    assert [info.key for info in one.list("")] == ["key"]
    assert longer.read("key") == b"longer"
    assert [info.key for info in above.list("")] == ["a/key", "ab/key"]
    assert (one.url, longer.url) == (f"s3://archive/{base}/a", f"s3://archive/{base}/ab")


def test_a_whole_bucket_can_be_a_store(moto_server: S3Access) -> None:
    client = s3_client(moto_server)
    client.create_bucket(Bucket="whole")
    store = S3Store("whole", client=client)

    store.create("key", b"x")
    store.probe()

    assert store.url == "s3://whole"
    assert [info.key for info in store.list("")] == ["key"]


def test_empty_folder_objects_of_consoles_are_not_listed(seaweedfs: S3Access, seaweedfs_store: S3Store) -> None:
    seaweedfs_store.create("folder/key", b"x")
    prefix = seaweedfs_store.url.removeprefix(f"s3://{seaweedfs.bucket}/")
    s3_client(seaweedfs).put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/folder/empty/", Body=b"")

    assert [info.key for info in seaweedfs_store.list("")] == ["folder/key"]


def test_a_server_that_keeps_folders_may_change_the_order_beside_a_folder_and_loses_nothing(
    seaweedfs_store: S3Store,
) -> None:
    """The contract's one exception; should this begin to fail, the exception can go."""
    for key in ("a/x", "a-b", "a.b"):
        seaweedfs_store.create(key, b"")

    listed = [info.key for info in seaweedfs_store.list("")]

    assert sorted(listed) == ["a-b", "a.b", "a/x"]
    assert listed != sorted(listed)


# Large objects


def uploads_below(seaweedfs: S3Access, store: S3Store) -> list[str]:
    prefix = store.url.removeprefix(f"s3://{seaweedfs.bucket}/")
    answer = s3_client(seaweedfs).list_multipart_uploads(Bucket=seaweedfs.bucket, Prefix=prefix)
    return [upload["Key"] for upload in answer.get("Uploads", [])]


def test_a_large_create_that_loses_a_race_at_its_end_leaves_no_parts(
    seaweedfs: S3Access, seaweedfs_store: S3Store
) -> None:
    client = seaweedfs_store._client
    winner = S3Store(
        seaweedfs.bucket, seaweedfs_store.url.removeprefix(f"s3://{seaweedfs.bucket}/"), client=s3_client(seaweedfs)
    )
    client.meta.events.register("before-call.s3.CompleteMultipartUpload", lambda **_: winner.replace("key", b"winner"))

    with pytest.raises(KeyExistsError):
        seaweedfs_store.create("key", b"x" * MULTIPART_FROM_BYTES)

    assert winner.read("key") == b"winner"
    assert uploads_below(seaweedfs, winner) == []


def test_a_sweep_aborts_old_uploads_below_the_prefix_only(seaweedfs: S3Access) -> None:
    client = s3_client(seaweedfs)
    base = uuid.uuid4().hex
    for key in (f"{base}/mine/a", f"{base}/mine/b", f"{base}/other/c"):
        client.create_multipart_upload(Bucket=seaweedfs.bucket, Key=key)
    patient = S3Store(seaweedfs.bucket, f"{base}/mine", client=client)
    hasty = S3Store(seaweedfs.bucket, f"{base}/mine", client=client, unfinished_hours_max=0)

    assert patient.sweep() == 0
    assert hasty.sweep() == 2
    assert hasty.sweep() == 0
    assert uploads_below(seaweedfs, S3Store(seaweedfs.bucket, base, client=client)) == [f"{base}/other/c"]


def test_a_file_that_shrinks_while_it_is_uploaded_is_no_object(
    seaweedfs: S3Access, seaweedfs_store: S3Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(MULTIPART_FROM_BYTES))

    def shrink(**_: object) -> None:
        source.write_bytes(b"short")

    seaweedfs_store._client.meta.events.register("before-call.s3.CreateMultipartUpload", shrink)

    with pytest.raises(OSError, match="became shorter"):
        seaweedfs_store.create("key", source)

    assert list(seaweedfs_store.list("")) == []
    assert uploads_below(seaweedfs, seaweedfs_store) == []


# Parquet


@pytest.fixture
def fetched(seaweedfs_store: S3Store) -> list[int]:
    """The sizes of everything that is got from the store from now on."""
    sizes: list[int] = []

    def note(parsed: dict[str, Any], **_: object) -> None:
        sizes.append(parsed.get("ContentLength", 0))

    seaweedfs_store._client.meta.events.register("after-call.s3.GetObject", note)
    return sizes


def test_parquet_reads_one_column_without_fetching_the_others(
    seaweedfs_store: S3Store, fetched: list[int], tmp_path: Path
) -> None:
    rows = 200_000
    table = pa.table(
        {
            "before": pa.array(range(rows), pa.int64()),
            "asked_for": pa.array((number % 100 for number in range(rows)), pa.int32()),
            **{f"column_{number}": pa.array(range(number, number + rows), pa.int64()) for number in range(6)},
        }
    )
    pq.write_table(
        table, tmp_path / "file.parquet", compression="none", use_dictionary=["asked_for"], row_group_size=rows // 2
    )
    seaweedfs_store.create("file.parquet", tmp_path / "file.parquet")
    size = (tmp_path / "file.parquet").stat().st_size

    with seaweedfs_store.open("file.parquet") as reader:
        column = pq.ParquetFile(reader).read(columns=["asked_for"])

    assert column == table.select(["asked_for"])
    assert sum(fetched) < size / 10
    assert sum(fetched) < TAIL_BYTES + 4 * READ_AHEAD_MIN_BYTES + 400_000
    assert len(fetched) <= 5


def test_a_small_object_is_opened_and_read_with_one_request(seaweedfs_store: S3Store, fetched: list[int]) -> None:
    seaweedfs_store.create("key", b"x" * 1000)

    with seaweedfs_store.open("key") as reader:
        reader.seek(500)
        assert reader.read() == b"x" * 500

    assert fetched == [1000]


# Servers that break, err and lie


def s3_error(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()
    return Answer(body, status, {"Content-Type": "application/xml"})


def operation(received: Received) -> str:
    """Name the S3 operation that a request is."""
    query = received.target.partition("?")[2]
    match received.verb:
        case "POST":
            return "complete" if "uploadId" in query else "begin"
        case "PUT":
            return "part" if "partNumber" in query else "put"
        case "DELETE":
            return "abort" if "uploadId" in query else "delete"
        case verb:
            return verb.lower()


BEGIN = Answer(b"<InitiateMultipartUploadResult><UploadId>upload</UploadId></InitiateMultipartUploadResult>")
COMPLETE = Answer(b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>")
ETAG = {"ETag": '"e"'}


def scripted(answers: dict[str, list[Answer]]) -> ScriptedServer:
    """Return a server that gives each operation its answers in turn, the last one for ever."""

    def script(received: Received) -> Answer:
        row = answers[operation(received)]
        return row.pop(0) if len(row) > 1 else row[0]

    return ScriptedServer(script)


def test_a_server_that_ignores_the_condition_of_a_put_is_refused() -> None:
    with scripted({"put": [Answer(headers=ETAG)]}) as server:
        error = failure_of(EVERY_USE["probe"], S3Store("bucket", client=client_of(server.origin)))

    assert isinstance(error, StoreRefusedError)
    assert "If-None-Match" in error.what
    assert server.requests[0].headers["if-none-match"] == "*"


def test_a_server_that_ignores_the_condition_of_an_upload_in_parts_is_refused() -> None:
    with scripted(
        {
            "put": [Answer(headers=ETAG), s3_error(412, "PreconditionFailed")],
            "begin": [BEGIN],
            "part": [Answer(headers=ETAG)],
            "complete": [COMPLETE],
        }
    ) as server:
        error = failure_of(EVERY_USE["probe"], S3Store("bucket", client=client_of(server.origin)))

    assert isinstance(error, StoreRefusedError)
    assert "If-None-Match" in error.what


def test_a_retry_may_find_its_own_first_try() -> None:
    """The contract of `create` says so: the caller compares what is there."""
    answers = {"put": [s3_error(500, "InternalError"), s3_error(412, "PreconditionFailed")]}
    with scripted(answers) as server, pytest.raises(KeyExistsError):
        S3Store("bucket", client=client_of(server.origin, tries_max=3)).create("key", b"x")

    assert len(server.requests) == 2


def test_two_writers_at_one_key_at_one_moment_try_again() -> None:
    conflict = s3_error(409, "ConditionalRequestConflict")
    with scripted({"put": [conflict, conflict, Answer(headers=ETAG)]}) as server:
        S3Store("bucket", client=client_of(server.origin)).create("key", b"x")
        assert len(server.requests) == 3
    with scripted({"put": [conflict, s3_error(412, "PreconditionFailed")]}) as server, pytest.raises(KeyExistsError):
        S3Store("bucket", client=client_of(server.origin)).create("key", b"x")
    with scripted({"put": [conflict]}) as server:
        error = failure_of(EVERY_USE["create"], S3Store("bucket", client=client_of(server.origin)))
        assert isinstance(error, StoreUnreachableError)


@pytest.mark.parametrize(("is_there", "kind"), [(True, KeyExistsError), (False, StoreUnreachableError)])
def test_an_upload_that_is_gone_at_its_end_was_perhaps_ended_by_a_first_try(
    is_there: bool, kind: type[StorageError]
) -> None:
    found = Answer(headers={"Content-Length": "5", **ETAG})
    missing = Answer(status=404)
    bucket = Answer()
    with (
        scripted(
            {
                "head": [missing, bucket, found if is_there else missing],
                "begin": [BEGIN],
                "part": [Answer(headers=ETAG)],
                "abort": [Answer(status=204)],
                "complete": [s3_error(404, "NoSuchUpload")],
            }
        ) as server,
        pytest.raises(kind),
    ):
        S3Store("bucket", client=client_of(server.origin)).create("key", b"x" * MULTIPART_FROM_BYTES)


def test_an_upload_whose_part_fails_is_aborted() -> None:
    with scripted(
        {
            "head": [Answer(status=404), Answer(), Answer(status=404)],
            "begin": [BEGIN],
            "part": [Answer(headers=ETAG), s3_error(403, "AccessDenied")],
            "abort": [Answer(status=204)],
        }
    ) as server:
        error = failure_of(EVERY_USE["create in parts"], S3Store("bucket", client=client_of(server.origin)))

    assert isinstance(error, StoreRefusedError)
    assert operation(server.requests[-1]) == "abort"


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    whole = Answer(b"0123456789", headers=ETAG)
    broken = Answer(b"0123456789", headers=ETAG, body_sent=4)
    with scripted({"get": [broken, broken, whole]}) as server:
        assert S3Store("bucket", client=client_of(server.origin)).read("key") == b"0123456789"
    with scripted({"get": [broken]}) as server:
        error = failure_of(EVERY_USE["read"], S3Store("bucket", client=client_of(server.origin)))
        assert isinstance(error, StoreUnreachableError)
        assert len(server.requests) == 3


def test_bytes_that_do_not_match_their_checksum_are_not_returned() -> None:
    damaged = Answer(b"damaged", headers={"x-amz-checksum-sha256": "A" * 43 + "=", **ETAG})
    with scripted({"get": [damaged]}) as server:
        error = failure_of(EVERY_USE["read"], S3Store("bucket", client=client_of(server.origin)))

    assert isinstance(error, StoreUnreachableError)


def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed() -> None:
    tail = Answer(b"t" * 10, 206, {"Content-Range": "bytes 999990-999999/1000000", **ETAG})
    with scripted({"get": [tail, s3_error(412, "PreconditionFailed")]}) as server:
        reader = S3Store("bucket", client=client_of(server.origin)).open("key")
        with pytest.raises(StoreUnreachableError, match="replaced while it was read"):
            reader.read(5)

    assert server.requests[1].headers["if-match"] == '"e"'


def test_a_server_that_ignores_ranges_is_found_out() -> None:
    tail = Answer(b"t" * 10, 206, {"Content-Range": "bytes 999990-999999/1000000", **ETAG})
    with scripted({"get": [tail, Answer(b"x" * 50, headers=ETAG)]}) as server:
        reader = S3Store("bucket", client=client_of(server.origin)).open("key")
        with pytest.raises(StoreRefusedError, match="range"):
            reader.read(5)


@pytest.mark.parametrize(
    ("status", "code", "kind", "next_step"),
    [
        (403, "AccessDenied", StoreRefusedError, "allow this user"),
        (403, "InvalidAccessKeyId", StoreRefusedError, "AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", StoreRefusedError, "renew"),
        (403, "RequestTimeTooSkewed", StoreRefusedError, "clock"),
        (301, "PermanentRedirect", StoreRefusedError, "s3.region"),
        (400, "SomethingNobodyKnows", StoreRefusedError, "manual"),
        (501, "NotImplemented", StoreRefusedError, "conditional writes"),
        (503, "SlowDown", StoreUnreachableError, "later"),
        (500, "InternalError", StoreUnreachableError, "later"),
        (507, "InsufficientStorage", StoreFullError, "make space"),
        (403, "QuotaExceeded", StoreFullError, "quota"),
    ],
)
def test_each_answer_of_a_server_is_told_as_what_it_is(
    status: int, code: str, kind: type[StorageError], next_step: str
) -> None:
    with scripted({"put": [s3_error(status, code)], "head": [Answer(status=400)]}) as server:
        error = failure_of(EVERY_USE["replace"], S3Store("bucket", client=client_of(server.origin)))

    assert type(error) is kind
    assert "s3://bucket/a/key" in error.what
    assert code in error.what
    assert next_step in error.next_step


@pytest.mark.parametrize(
    ("status", "kind"), [(200, StoreUnreachableError), (404, StoreRefusedError), (502, StoreUnreachableError)]
)
def test_a_server_that_does_not_speak_s3_is_not_believed(status: int, kind: type[StorageError]) -> None:
    page = Answer(b"<html><p>Welcome", status, {"Content-Type": "text/html"})
    with scripted({"get": [page], "put": [page]}) as server:
        store = S3Store("bucket", client=client_of(server.origin))
        for use in ("list", "create", "replace"):
            error = failure_of(EVERY_USE[use], store)
            assert type(error) is kind
            assert "s3.endpoint_url" in error.next_step


def test_a_missing_key_needs_no_second_question_once_the_bucket_is_known() -> None:
    with scripted({"head": [Answer(status=404), Answer(), Answer(status=404)]}) as server:
        store = S3Store("bucket", client=client_of(server.origin))
        for _ in range(3):
            with pytest.raises(KeyMissingError):
                store.stat("key")

    assert len(server.requests) == 4
