"""Days, conversations and files come back as they were, and what does not is said."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from moto.moto_api import state_manager

from archiver.archive import layout, ledger
from archiver.archive.ledger import ArchiveFacts
from archiver.archive.reader import Archive
from archiver.archive.schema import TABLES
from archiver.cli import main
from archiver.custody.verify import verify
from archiver.discovery.restore_missing import not_stored
from archiver.discovery.restore_names import NAME_BYTES_MAX, safe_name
from archiver.discovery.restore_thaw import LOOK_EVERY_SECONDS, Stored, find_cold, thaw
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests.archive.archive_steps import InlineExecutor
from tests.manual_clock import ManualClock
from tests.retention.disposing import EDITED, FILED, apply, build, plan_for, rows_in
from tests.servers.plugin import s3_client

DAY = "2026-11-18"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("restore")
    build(LocalStore(folder / "archive"), folder)
    return folder


@pytest.fixture
def place(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and an archive of its own."""
    shutil.copytree(built / "archive", tmp_path / "archive")
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def archive(place: Path) -> Archive:
    return Archive.open(LocalStore(place / "archive"))


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["restore", *words, "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def rows_at(folder: Path, table: str) -> list[dict[str, Any]]:
    sql = f"SELECT * FROM read_parquet('{folder}/rows/{table}/**/*.parquet', hive_partitioning = false)"
    return duckdb.connect().execute(sql).to_arrow_table().to_pylist()


def checks(folder: Path) -> bool:
    """`sha256sum -c` of the list, and nothing in the folder that the list does not name."""
    subprocess.run(["sha256sum", "--quiet", "-c", "manifest-sha256.txt"], cwd=folder, check=True)
    named = {line.split("  ", 1)[1] for line in (folder / "manifest-sha256.txt").read_text().splitlines()}
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return there - named == {"manifest-sha256.txt", ".restore-order.json"}


class TestToAFolder:
    def test_everything_comes_byte_by_byte(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = document(capsys, "--all", "--to", "out", code=3)  # some files were never captured
        head = archive.head()
        assert checks(place / "out")
        for record in head.files.values():
            assert (place / "out" / "rows" / record.key).read_bytes() == archive.store.read(record.key)
        assert told["rows"] == head.rows
        assert told["files"] == 2
        contents = {path.read_bytes() for path in (place / "out" / "files").iterdir()}
        assert contents == {b"the peony's own file", b"a file of two messages"}
        assert {item["why"] for item in told["missing"]} == {"not captured"}

    def test_a_conversation_comes_with_its_files_and_states(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = document(capsys, "--conversation", "u:1,u:2", "--to", "out")
        expected = [row for row in rows_in(archive.store, archive.head(), "messages") if row["chat_id"] == "u:1,u:2"]
        assert told["rows"] == {"messages": len(expected)}
        assert {row["text"] for row in rows_at(place / "out", "messages")} == {row["text"] for row in expected}
        assert checks(place / "out")

    def test_a_day_is_that_day_alone(self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
        day = next(layout.partition_of(key)[1] for key in archive.head().files if key.startswith("messages/"))
        told = document(capsys, "--day", day.isoformat(), "--to", "out", code=3)
        assert {path.parent.name for path in (place / "out" / "rows").rglob("*.parquet")} == {f"dt={day}"}
        assert told["rows"]["messages"] > 0

    def test_a_zone_moves_the_day(self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
        """Rows were sent at one instant of some days; a zone in which it is another day finds them there."""
        here = document(capsys, "--day", "2026-11-19", "--zone", "Pacific/Kiritimati", "--dry-run")
        utc = document(capsys, "--day", "2026-11-19", "--dry-run")
        assert here["wanted"]["from"] == "2026-11-18T10:00:00.000Z"
        assert here["objects"] >= utc["objects"]

    def test_a_message_comes_by_its_uid_with_its_files(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        told = document(capsys, "--file", FILED[1], "--to", "out", "--format", "jsonl", "--format", "parquet", code=3)
        assert told["rows"] == {"files": 3, "messages": 1}
        assert told["files"] == 2
        [path] = (place / "out" / "rows" / "messages").rglob("*.jsonl")
        [line] = path.read_text().splitlines()
        assert json.loads(line)["message_uid"] == FILED[1]
        assert json.loads(line)["sent_at"].endswith("Z")
        assert set(json.loads(line)) == set(TABLES["messages"].schema.names)

    def test_a_file_comes_by_its_digest(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        digest = next(info.key for info in archive.store.list(layout.BLOB_PREFIX)).rpartition("/")[2]
        told = document(capsys, "--file", digest, "--to", "out")
        [path] = (place / "out" / "files").iterdir()
        assert path.name.startswith(f"{digest[:16]}-")
        assert told["files"] == 1

    def test_what_nobody_knows_is_said_plainly(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert document(capsys, "--file", "no-such-uid", "--to", "out", code=3)["missing"][0]["what"] == (
            "nothing called no-such-uid is in the archive"
        )
        assert document(capsys, "--day", "1999-01-01", "--dry-run")["objects"] == 0
        error = document(capsys, "--channel", "generl", "--dry-run", code=2)["error"]
        assert "generl" in error["what"]

    def test_the_same_call_again_keeps_what_is_there_and_mends_what_is_not(
        self, place: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = document(capsys, "--all", "--to", "out", code=3)
        [one, other] = (place / "out" / "files").iterdir()
        one.write_bytes(b"spoilt")
        other.unlink()
        (place / "out" / ".restore-unfinished-0123").write_bytes(b"half")
        again = document(capsys, "--all", "--to", "out", code=3)
        assert checks(place / "out")
        assert again["kept"] == sum(1 for path in (place / "out" / "rows").rglob("*.parquet"))
        assert again["manifest_sha256"] == first["manifest_sha256"]

    def test_a_folder_with_anything_else_is_refused(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (place / "out").mkdir()
        (place / "out" / "letter.txt").write_text("x")
        assert "not empty" in document(capsys, "--all", "--to", "out", code=5)["error"]["what"]
        document(capsys, "--all", "--to", "in", code=3)
        assert "another restore" in document(capsys, "--day", DAY, "--to", "in", code=5)["error"]["what"]

    @pytest.mark.parametrize(
        "words", [(), ("--all", "--day", DAY), ("--day", "soon"), ("--all", "--into", "a", "--to", "b")]
    )
    def test_what_makes_no_sense_is_refused(
        self, place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
    ) -> None:
        to = () if "--to" in words else ("--to", "out")
        assert document(capsys, *words, *to, code=2)["error"]["next_step"]

    def test_a_matter_is_entered(self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
        told = document(capsys, "--file", EDITED[1], "--to", "out", "--matter", "smith-v-acme")
        entry, _ = list(archive.entries())[-1]
        assert (entry.sequence, entry.kind) == (told["entry"], "restore")
        assert entry.matter is not None
        assert (entry.matter.matter, entry.matter.package_sha256) == ("smith-v-acme", told["manifest_sha256"])
        assert entry.matter.counts["messages"] == told["rows"]["messages"]


class TestDamage:
    def test_of_rows_and_files_is_named_and_the_rest_comes(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        key = next(key for key in sorted(archive.head().files) if key.startswith("messages/"))
        blob = next(info.key for info in archive.store.list(layout.BLOB_PREFIX))
        archive.store.replace(key, b"spoilt")
        archive.store.replace(blob, b"spoilt too")
        told = document(capsys, "--all", "--to", "out", code=4)
        damaged = " ".join(item["what"] for item in told["missing"] if item["why"] == "damaged")
        assert key in damaged
        assert blob in damaged
        assert not (place / "out" / "rows" / key).exists()
        assert not list((place / "out" / "files").glob(f"{blob.rpartition('/')[2][:16]}*"))
        assert told["files"] == 1
        assert checks(place / "out")


class TestWhatIsNotThere:
    def test_was_disposed_of_by_a_certificate(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        head = archive.head()
        plan = plan_for(archive, head, [EDITED], [(*FILED, 0)])
        digest = next(
            row["blob_digest"]
            for row in rows_in(archive.store, head, "files")
            if (row["message_uid"], row["ordinal"]) == (FILED[1], 0)
        )
        apply(archive, head, plan)
        told = document(capsys, "--file", digest, "--to", "out", code=3)
        disposed = [item for item in told["missing"] if item["why"] == "disposed"]
        assert {item["certificate"] for item in disposed} == {layout.certificate_key(plan.digest)}
        assert any(digest in item["what"] for item in disposed)
        everything = document(capsys, "--all", "--to", "all", code=3)
        by_table = {item["what"].split()[2] for item in everything["missing"] if item["why"] == "disposed"}
        assert by_table == {"messages", "files", "events"}


class TestIntoAnotherArchive:
    def test_chosen_rows_are_added_once(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = document(capsys, "--file", FILED[1], "--into", "other", code=3)
        other = Archive.open(LocalStore(place / "other"))
        assert told["rows"] == {"files": 3, "messages": 1}
        assert other.head().rows == told["rows"]
        assert other.facts.archive_id != archive.facts.archive_id
        [(entry, _)] = list(other.entries())
        assert {item.sha256 for item in entry.inputs} <= {record.sha256 for record in archive.head().files.values()}
        assert verify(other.store, level="full", executor=InlineExecutor()).damages == ()
        again = document(capsys, "--file", FILED[1], "--into", "other", code=3)
        assert (again["rows"], again["rows_there"]) == ({}, 4)
        document(capsys, "--all", "--into", "other", code=3)
        for table in archive.head().rows:
            mine, theirs = (
                sorted(map(str, rows_in(store, Archive.open(store).head(), table)))
                for store in (archive.store, other.store)
            )
            assert mine == theirs
        assert verify(other.store, level="full", executor=InlineExecutor()).damages == ()

    def test_a_copy_and_the_archive_itself_are_refused(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["clone", "copy", "--quiet"]) == 0
        capsys.readouterr()
        assert "archiver clone" in document(capsys, "--all", "--into", "copy", code=5)["error"]["what"]
        assert document(capsys, "--all", "--into", "archive", code=2)["error"]

    @pytest.mark.parametrize(
        ("into", "what", "next_step"),
        [
            ("letters", "{} is not empty, and no archive lies there", "name an archive, or an empty place"),
            (
                "foreign",
                "{} is of the workspace 'others', and what is restored is of 'acme'",
                "name another archive, or an empty place",
            ),
            (
                "copied",
                "{} is the archive itself, or a copy that `archiver clone` keeps",
                "name another archive, or an empty place",
            ),
        ],
    )
    def test_a_place_that_nothing_is_added_to_is_told_with_what_to_name_instead(
        self, place: Path, capsys: pytest.CaptureFixture[str], into: str, what: str, next_step: str
    ) -> None:
        (place / "letters").mkdir()
        (place / "letters" / "letter.txt").write_text("x")
        facts = ArchiveFacts(format=1, archive_id="bb" * 16, workspace="others", created_at="2026-11-19T00:00:00.000Z")
        ledger.found(LocalStore(place / "foreign"), facts)
        shutil.copytree(place / "archive", place / "copied")
        before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
        error = document(capsys, "--all", "--into", into, code=5)["error"]
        assert (error["what"], error["next_step"]) == (what.format(LocalStore(place / into).url), next_step)
        assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before

    def test_into_a_bucket_that_answers_elsewhere(
        self,
        place: Path,
        moto_server: S3Access,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """The archive is a folder, and the configuration knows of no bucket."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto_server.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto_server.secret_access_key)
        url = f"s3://{moto_server.bucket}/into-{uuid.uuid4().hex}"
        where = ("--endpoint-url", moto_server.endpoint_url, "--region", moto_server.region)
        told = document(capsys, "--file", FILED[1], "--into", url, *where, code=3)
        assert (told["into"], told["files"]) == (url, 2)
        other = S3Store(moto_server.bucket, url.rpartition("/")[2], client=s3_client(moto_server))
        assert Archive.open(other).head().rows == told["rows"]
        assert document(capsys, "--all", "--to", "out", *where, code=2)["error"]["next_step"]

    def test_a_damaged_file_is_not_named_there(
        self, place: Path, archive: Archive, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for info in list(archive.store.list(layout.BLOB_PREFIX)):
            archive.store.replace(info.key, b"spoilt")
        told = document(capsys, "--all", "--into", "other", code=4)
        assert told["files"] == 0
        other = Archive.open(LocalStore(place / "other"))
        assert all(row["blob_digest"] is None for row in rows_in(other.store, other.head(), "files"))


@pytest.fixture
def slow_thaw() -> Iterator[None]:
    state_manager.set_transition("s3::keyrestore", {"progression": "manual", "times": 2})
    yield
    state_manager.unset_transition("s3::keyrestore")


@pytest.mark.parametrize(
    "inside",
    ["archiver.yaml", "archive", "archive/messages/x", "state/x", "link/x", "s3://bucket/x", "messages/../archive"],
)
def test_a_folder_inside_the_archive_or_the_state_is_wrong_usage(
    place: Path, capsys: pytest.CaptureFixture[str], inside: str
) -> None:
    (place / "link").symlink_to("archive")
    before = sorted(place.rglob("*"))
    assert document(capsys, "--all", "--to", inside, code=2)["error"]["next_step"]
    assert sorted(place.rglob("*")) == before


class TestCold:
    @pytest.fixture
    def bucket(self, built: Path, moto_server: S3Access) -> S3Store:
        """The archive in a bucket whose older objects a lifecycle rule moved away. moto plays the classes; SeaweedFS has none."""
        client, prefix = s3_client(moto_server), f"cold/{uuid.uuid4().hex}"
        source = LocalStore(built / "archive")
        for info in source.list(""):
            is_cold = info.key.startswith((layout.BLOB_PREFIX, "messages/", "files/"))
            client.put_object(
                Bucket=moto_server.bucket,
                Key=f"{prefix}/{info.key}",
                Body=source.read(info.key),
                StorageClass="DEEP_ARCHIVE" if is_cold else "STANDARD",
            )
        return S3Store(moto_server.bucket, prefix, client=client)

    def configured(self, place: Path, bucket: S3Store, access: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / "archiver.yaml").write_text(
            f"workspace: acme\narchive: {bucket.url}\ns3: {{endpoint_url: '{access.endpoint_url}', region: {access.region}}}\n"
        )
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", access.secret_access_key)

    @pytest.mark.slow
    @pytest.mark.usefixtures("slow_thaw")
    def test_is_told_asked_for_and_read_by_the_call_that_comes_later(
        self,
        place: Path,
        bucket: S3Store,
        moto_server: S3Access,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.configured(place, bucket, moto_server, monkeypatch)
        told = document(capsys, "--file", FILED[1], "--dry-run")
        assert set(told["cold"]) == {"DEEP_ARCHIVE"}
        assert told["files"] is None
        for _ in range(12):  # the rows first, then the files that they tell of
            code = main(["restore", "--file", FILED[1], "--to", "out", "--no-wait", "--json", "--speed", "bulk"])
            out = json.loads(capsys.readouterr().out)
            if "manifest_sha256" in out:
                break
            assert (code, out["asked"]) == (3, True)
            assert not (place / "out").exists()
        assert out["files"] == 2
        assert checks(place / "out")

    @pytest.mark.usefixtures("slow_thaw")
    def test_is_asked_for_at_once_by_a_clone_and_copied_by_the_call_that_comes_later(
        self,
        place: Path,
        bucket: S3Store,
        moto_server: S3Access,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.configured(place, bucket, moto_server, monkeypatch)
        cold = sum(info.key.startswith((layout.BLOB_PREFIX, "messages/", "files/")) for info in bucket.list(""))

        def cloned(*words: str) -> tuple[int, Any]:
            code = main(["clone", "copy", *words, "--json"])
            return code, json.loads(capsys.readouterr().out)

        code, told = cloned("--dry-run")
        assert (code, told["cold"]["DEEP_ARCHIVE"]["objects"]) == (0, cold)
        assert not (place / "copy").exists()
        code, told = cloned("--no-wait", "--speed", "bulk")
        assert (code, told["asked"], told["cold"]["DEEP_ARCHIVE"]["objects"]) == (3, True, cold)
        for _ in range(6):
            code, told = cloned("--no-wait")
            if code != 3:
                break
        assert (code, told["sequence"]) == (0, Archive.open(bucket).head().sequence)
        copied = LocalStore(place / "copy")
        assert verify(copied, level="full", executor=InlineExecutor()).damages == ()

    def test_is_waited_for_with_looks_that_are_far_apart(self, bucket: S3Store, slow_thaw: None) -> None:
        stored = [Stored(info.key, info.size) for info in bucket.list(layout.BLOB_PREFIX)]
        cold = find_cold(bucket, stored, executor=InlineExecutor())
        assert cold.by_class == {"DEEP_ARCHIVE": (2, sum(item.bytes for item in stored))}
        assert cold.hours("bulk") == (48, 48)
        assert cold.hours("expedited") is None
        clock, heard = ManualClock(), []
        left = thaw(
            bucket,
            cold.objects,
            days=1,
            speed="standard",
            waits=True,
            executor=InlineExecutor(),
            clock=clock,
            progress=lambda what, done, total: heard.append((done, total)),
        )
        assert left == 0
        assert heard[-1] == (2, 2)
        assert set(clock.slept) == {LOOK_EVERY_SECONDS}
        assert not find_cold(bucket, stored, executor=InlineExecutor()).objects


@pytest.mark.parametrize(
    "declared",
    ["../../etc/passwd", "a\\b\\system.ini", "-rf", ".bashrc", "a\x00b\x1b[2J.txt", "\u202egnp.exe", "x" * 400 + ".txt",
     "", None, "議事録.pdf", "a\nb", "..", "con", 'q?<>|".txt'],
)  # fmt: skip
def test_a_name_is_no_path_and_no_option(declared: str | None, tmp_path: Path) -> None:
    name = safe_name("ab" * 32, declared)
    assert name.startswith("abababababababab-")
    assert name == Path(name).name
    assert name.isprintable()
    assert len(name.encode()) <= NAME_BYTES_MAX + 17
    (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_keeps_what_is_harmless() -> None:
    assert safe_name("0" * 64, "議事録 2026.pdf") == "0000000000000000-議事録 2026.pdf"


def test_files_that_were_not_stored_are_counted_over_all_objects() -> None:
    rows = pa.table({"status": ["failed", "stored"], "reason": ["http_status", None], "message_uid": ["1", "2"]})
    assert [(lack.what, lack.count) for lack in not_stored([rows, rows])] == [
        ("files that were not stored, failed: http_status", 2)
    ]
    assert not_stored([]) == []
