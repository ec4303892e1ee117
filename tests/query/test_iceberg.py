"""Each head is a snapshot of Iceberg tables over the archive's own files; read back with pyiceberg and with DuckDB's own reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import msgspec
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.table import Table

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import Head, files_of
from archiver.archive.schema import TABLES
from archiver.errors import RefusedError, UsageError
from archiver.query import iceberg
from archiver.query.engine import open_engine
from archiver.query.iceberg import open_catalog, publish
from archiver.query.published import ICEBERG_FOLDER, CatalogPlace
from archiver.query.scanner import S3Login
from archiver.simulator.s3server import S3Access
from archiver.store import Store
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests import avro, small_archive
from tests.servers.plugin import s3_client

NAMESPACE = "flock"


class Published:
    """An archive, its catalog, and how both readers see a table."""

    def __init__(self, store: Store, folder: Path, login: S3Login | None = None) -> None:
        self.archive, self.head = small_archive.build(store, folder)
        self.place = CatalogPlace("sql", f"sqlite:///{folder}/catalog.sqlite", NAMESPACE)
        self.catalog: Catalog = open_catalog(self.place, login=login)

    def publish(self, head: Head | None = None) -> dict[str, iceberg.Published]:
        self.head = head or self.head
        done = publish(self.catalog, self.archive, self.head, place=self.place)
        return {one.table: one for one in done}

    def table(self, name: str = "messages") -> Table:
        return self.catalog.load_table(f"{NAMESPACE}.{name}")

    def metadata(self) -> str:
        """All bytes below the catalog's folder, where what is gone may not be named; Avro's blocks are unpacked too."""
        texts = []
        for info in self.archive.store.list(ICEBERG_FOLDER):
            data = self.archive.store.read(info.key)
            texts.append(data.decode("utf-8", "replace"))
            if info.key.endswith(".avro"):
                texts.append(avro.blocks(data).decode("utf-8", "replace"))
        return "\n".join(texts)

    def without(self, key: str) -> Head:
        """The head after a disposal that took an object out of the archive and erased it."""
        files = {name: record for name, record in self.head.files.items() if name != key}
        self.archive.store.erase(key)
        return msgspec.structs.replace(self.head, sequence=self.head.sequence + 1, files=files)

    def rewritten(self, day: int, attempt: str, messages: list[dict[str, Any]]) -> Head:
        """The head after a compaction, or a disposal of some rows: the objects of a day replaced by one."""
        old = [record for record in files_of(self.head, "messages") if f"dt=2026-11-{day}" in record.key]
        after = small_archive.add(self.archive, self.head, {"messages": messages}, attempt=attempt)
        for record in old:
            self.archive.store.erase(record.key)
        gone = {record.key for record in old}
        return msgspec.structs.replace(after, files={k: v for k, v in after.files.items() if k not in gone})


def by_pyiceberg(table: Table) -> list[tuple[Any, ...]]:
    found = table.scan(selected_fields=("message_uid", "version", "text")).to_arrow().to_pylist()
    return sorted((row["message_uid"], row["version"], row["text"]) for row in found)


def by_duckdb(connection: duckdb.DuckDBPyConnection, metadata: str) -> list[tuple[Any, ...]]:
    path = metadata.removeprefix("file://")
    sql = f"SELECT message_uid, version, text FROM iceberg_scan('{path}') ORDER BY ALL"
    return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def reader() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        for wheel in (duckdb_extension_avro, duckdb_extension_iceberg):
            (path,) = Path(wheel.__file__).parent.rglob("*.duckdb_extension")
            connection.execute(f"LOAD '{path}'")
        yield connection


@pytest.fixture
def published(tmp_path: Path) -> Published:
    made = Published(LocalStore(tmp_path / "archive"), tmp_path)
    made.publish()
    return made


def paths(table: Table) -> set[str]:
    return {task.file.file_path for task in table.scan().plan_files()}


def live(made: Published, table: str = "messages") -> set[str]:
    return {f"file://{made.archive.store.url}/{record.key}" for record in files_of(made.head, table)}


def everything(made: Published) -> list[tuple[Any, ...]]:
    with open_engine(made.archive, made.head) as engine:
        return list(engine.ask("SELECT message_uid, version, text FROM messages ORDER BY ALL").rows)


def test_both_readers_see_what_the_archive_holds_with_nothing_copied(
    published: Published, reader: duckdb.DuckDBPyConnection
) -> None:
    table = published.table()
    assert by_pyiceberg(table) == by_duckdb(reader, table.metadata_location) == everything(published)
    assert paths(table) == live(published)
    assert {name for (_, name) in published.catalog.list_tables(NAMESPACE)} == set(TABLES)
    metadata = table.metadata_location.removeprefix("file://")
    ((mentions, sent_at),) = reader.execute(
        f"SELECT mentions, sent_at::VARCHAR FROM iceberg_scan('{metadata}') WHERE message_uid = 'm-3'"
    ).fetchall()
    assert (mentions, sent_at[:19]) == (["u:bob"], "2026-11-21 12:00:00")


def test_days_and_ranges_pass_over_files_without_opening_them(published: Published) -> None:
    def files(row_filter: str) -> int:
        return len(list(published.table().scan(row_filter=row_filter).plan_files()))

    assert files("sent_at >= '2026-11-21T00:00:00+00:00' and sent_at < '2026-11-22T00:00:00+00:00'") == 1
    assert files("message_uid = 'm-5'") == 1
    assert files("message_uid = 'zzz'") == 0


def test_publishing_twice_adds_nothing(published: Published) -> None:
    before = sorted((info.key, info.size) for info in published.archive.store.list(ICEBERG_FOLDER))
    again = published.publish()
    assert {(one.added, one.removed, one.expired) for one in again.values()} == {(0, 0, 0)}
    assert sorted((info.key, info.size) for info in published.archive.store.list(ICEBERG_FOLDER)) == before


def test_a_later_head_is_a_later_snapshot_and_the_one_before_still_reads(published: Published) -> None:
    first = published.table().current_snapshot()
    assert first is not None
    late = [small_archive.message("m-7", 22, "late")]
    after = small_archive.add(published.archive, published.head, {"messages": late}, attempt="cccccccc")
    assert published.publish(after)["messages"].added == 1
    table = published.table()
    assert len(by_pyiceberg(table)) == small_archive.MESSAGE_ROWS + 1
    assert table.scan(snapshot_id=first.snapshot_id).to_arrow().num_rows == small_archive.MESSAGE_ROWS
    assert table.properties[iceberg.HEAD_PROPERTY] == str(after.sequence)
    assert table.current_snapshot().summary[iceberg.DIGEST_PROPERTY] == after.digest


def test_compaction_replaces_files_in_one_snapshot_without_a_duplicate_or_a_loss(
    published: Published, reader: duckdb.DuckDBPyConnection
) -> None:
    before = by_pyiceberg(published.table())
    loaded_before = published.table()
    messages = [
        small_archive.message("m-1", 20, "good morning"),
        small_archive.message("m-1", 20, "good evening", version=2),
        small_archive.message("m-2", 20, "naïve 日本 \U0001f600 'quoted'"),
    ]
    done = published.publish(published.rewritten(20, "cccccccc", messages))["messages"]
    assert (done.added, done.removed) == (1, 2)
    table = published.table()
    assert by_pyiceberg(table) == by_duckdb(reader, table.metadata_location) == before
    assert paths(table) == live(published)
    # One change of the metadata: whoever looks sees the version before or this one.
    assert table.metadata.metadata_log[-1].metadata_file == loaded_before.metadata_location


def test_after_a_disposal_nothing_names_what_was_disposed_of(
    published: Published, reader: duckdb.DuckDBPyConnection
) -> None:
    victim = next(record for record in files_of(published.head, "messages") if "dt=2026-11-22" in record.key)
    assert victim.key in published.metadata()
    done = published.publish(published.without(victim.key))["messages"]
    assert (done.added, done.removed, done.expired) == (0, 1, 1)
    table = published.table()
    seen = by_pyiceberg(table)
    assert seen == by_duckdb(reader, table.metadata_location) == everything(published)
    assert not {"m-5", "m-6"} & {uid for uid, _, _ in seen}
    assert len(table.metadata.snapshots) == 1
    metadata = published.metadata()
    assert victim.key not in metadata
    assert "m-5" not in metadata
    assert "u:ann,u:bob" not in metadata


@pytest.mark.slow
def test_a_table_that_lost_all_its_objects_is_empty(published: Published) -> None:
    for record in files_of(published.head, "channels"):
        published.publish(published.without(record.key))
    assert published.table("channels").scan().to_arrow().num_rows == 0


def test_metadata_holds_no_text_of_a_message(published: Published) -> None:
    assert "good morning" not in published.metadata()
    assert "the minutes" not in published.metadata()


def test_one_document_names_the_metadata_of_all_tables_at_one_head(
    published: Published, reader: duckdb.DuckDBPyConnection
) -> None:
    index = json.loads(published.archive.store.read(published.place.tables_key))
    assert (index["sequence"], index["digest"]) == (published.head.sequence, published.head.digest)
    assert set(index["tables"]) == set(TABLES)
    assert by_duckdb(reader, index["tables"]["messages"]) == everything(published)


def test_of_two_publishers_the_second_is_refused_and_no_file_is_there_twice(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [small_archive.message("m-7", 22, "late")]
    after = small_archive.add(published.archive, published.head, {"messages": late}, attempt="cccccccc")
    slow = open_catalog(published.place, login=None)
    loaded = slow.load_table(f"{NAMESPACE}.messages")
    published.publish(after)
    with pytest.raises(RefusedError, match="another publisher"), iceberg._told("the catalog"):
        root = f"file://{published.archive.store.url}/"
        iceberg._publish_table(loaded, TABLES["messages"], after, root=root)
    assert len(by_pyiceberg(published.table())) == small_archive.MESSAGE_ROWS + 1


class StoppingCatalog(SqlCatalog):
    """A machine that stops at a change of some table's metadata: just before it, or just after."""

    left = 1_000
    after = False

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> Any:
        self.left -= 1
        if self.left < 0 and not self.after:
            raise RuntimeError("the machine stopped")
        done = super().commit_table(table, requirements, updates)
        if self.left < 0:
            raise RuntimeError("the machine stopped")
        return done


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stop", [0, 1, 4, 8])
def test_a_publisher_that_stops_midway_leaves_each_table_whole_and_the_next_finishes(
    published: Published, stop: int, after: bool
) -> None:
    before = by_pyiceberg(published.table())
    messages = [
        small_archive.message("m-1", 20, "good morning"),
        small_archive.message("m-1", 20, "good evening", version=2),
        small_archive.message("m-2", 20, "naïve 日本 \U0001f600 'quoted'"),
    ]
    old = {record.key for record in files_of(published.head, "messages") if "dt=2026-11-20" in record.key}
    kept = {key: published.archive.store.read(key) for key in old}
    head = published.rewritten(20, "cccccccc", messages)
    for key, data in kept.items():
        published.archive.store.replace(key, data)  # as a disposal does: published before what left is erased
    stopping = StoppingCatalog("archiver", uri=published.place.uri)
    stopping.left, stopping.after = stop, after
    with pytest.raises(RuntimeError, match="stopped"):
        publish(stopping, published.archive, head, place=published.place)
    assert by_pyiceberg(published.table()) == before
    for key in old:
        published.archive.store.erase(key)
    published.publish(head)
    assert by_pyiceberg(published.table()) == before
    assert paths(published.table()) == live(published)
    assert not any(key in published.metadata() for key in old)
    assert {(one.added, one.removed) for one in published.publish().values()} == {(0, 0)}


@pytest.mark.slow
def test_a_table_of_another_archive_is_left_alone(published: Published, tmp_path: Path) -> None:
    other, head = small_archive.build(LocalStore(tmp_path / "other"), tmp_path)
    before = published.table().metadata_location
    with pytest.raises(UsageError, match="another namespace"):
        publish(published.catalog, other, head, place=published.place)
    assert published.table().metadata_location == before


@pytest.mark.slow
def test_an_older_object_lacks_columns_and_reads_as_null(published: Published, tmp_path: Path) -> None:
    swept = {"observed_at": small_archive.at_ms(22), "chat_id": "g:general", "asked_as": "u:ann", "outcome": "swept"}
    after = small_archive.add(published.archive, published.head, {"observations": [swept]}, attempt="cccccccc")
    published.publish(after)
    assert published.table("observations").scan().to_arrow().to_pylist()[0]["day_on"] is None


def test_the_ledger_says_of_each_file_what_its_footer_says(published: Published) -> None:
    """No object is opened to publish it; what pyiceberg itself would have read must be the same."""
    table = published.table()
    for record in files_of(published.head, "messages"):
        path = f"file://{published.archive.store.url}/{record.key}"
        ours = iceberg._data_file(table, TABLES["messages"], record, path)
        theirs = parquet_file_to_data_file(table.io, table.metadata, path)
        assert (ours.record_count, ours.file_size_in_bytes) == (theirs.record_count, theirs.file_size_in_bytes)
        assert ours.partition[0] == theirs.partition[0]
        for field_id, bound in ours.lower_bounds.items():
            assert theirs.lower_bounds[field_id][:16] == bound[:16]


@pytest.mark.slow
def test_a_bucket_is_published_like_a_folder(seaweedfs: S3Access, tmp_path: Path) -> None:
    store = S3Store(seaweedfs.bucket, "query/iceberg", client=s3_client(seaweedfs))
    login = S3Login(
        endpoint_url=seaweedfs.endpoint_url,
        region=seaweedfs.region,
        access_key_id=seaweedfs.access_key_id,
        secret_access_key=seaweedfs.secret_access_key,
    )
    made = Published(store, tmp_path, login)
    made.publish()
    assert len(by_pyiceberg(made.table())) == small_archive.MESSAGE_ROWS
    victim: FileRecord = files_of(made.head, "messages")[-1]
    made.publish(made.without(victim.key))
    assert len(by_pyiceberg(made.table())) == small_archive.MESSAGE_ROWS - victim.rows
    assert seaweedfs.secret_access_key not in made.metadata()


@pytest.mark.slow
def test_glue_keeps_where_the_metadata_is(moto_server: S3Access, tmp_path: Path) -> None:
    store = S3Store(moto_server.bucket, "query/glue", client=s3_client(moto_server))
    archive, head = small_archive.build(store, tmp_path)
    login = S3Login(
        endpoint_url=moto_server.endpoint_url,
        region=moto_server.region,
        access_key_id=moto_server.access_key_id,
        secret_access_key=moto_server.secret_access_key,
    )
    place = CatalogPlace("glue", moto_server.endpoint_url, "glued", moto_server.region)
    catalog = open_catalog(place, login=login)
    publish(catalog, archive, head, place=place)
    assert len(by_pyiceberg(catalog.load_table("glued.messages"))) == small_archive.MESSAGE_ROWS


@pytest.mark.slow
def test_two_catalogs_of_one_archive_do_not_touch_each_other_s_metadata(published: Published) -> None:
    other = CatalogPlace("sql", published.place.uri, "other")
    publish(published.catalog, published.archive, published.head, place=other)
    assert by_pyiceberg(published.table()) == by_pyiceberg(published.catalog.load_table("other.messages"))


def test_a_catalog_whose_metadata_is_gone_is_told_with_what_to_do(published: Published) -> None:
    for info in list(published.archive.store.list(ICEBERG_FOLDER)):
        published.archive.store.erase(info.key)
    with pytest.raises(UsageError, match="not there") as caught:
        published.publish()
    assert "iceberg.sqlite" in caught.value.next_step


def test_an_archive_that_iceberg_has_no_address_for_is_refused(tmp_path: Path) -> None:
    made = Published(LocalStore(tmp_path / "a#b"), tmp_path)
    with pytest.raises(UsageError, match="without # "):
        made.publish()
