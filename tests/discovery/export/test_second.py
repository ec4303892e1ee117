"""An export that two processes make: the same bytes, whatever stops either, and nobody left behind."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from archiver.archive import layout
from archiver.archive.reader import Archive, Head, files_of
from archiver.discovery.checks.package import check_package
from archiver.discovery.export.package import Made
from archiver.discovery.export.targets import FolderTarget, StoreTarget
from archiver.discovery.export.verb import make
from archiver.errors import DamageFoundError, RefusedError, StoreRefusedError
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests import small_archive
from tests.discovery.export import lived
from tests.discovery.export.lived import SOFTWARE, wanted
from tests.servers.plugin import s3_client
from tests.small_archive import FILE_DIGEST

Lived = tuple[Archive, Head]

# The chats that come first and last, and what makes a message say that it is a reply.
ENDS = ("g:0", "u:z,u:zz")
REPLY = {"app_id": "app-r", "attachments": '[{"title": "In reply to Bob"}]'}
FORMATS = ("html", "rsmf", "eml", "csv", "jsonl", "parquet")
WAIT_SECONDS = 30


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return lived.fresh(tmp_path_factory.mktemp("lived"))


@pytest.fixture(scope="module")
def package(archive: Lived, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    folder = tmp_path_factory.mktemp("alone")
    exported(archive, folder, in_two=False)
    return contents(folder)


def exported(archive: Lived, folder: Path, target: Any = None, *, in_two: bool = True, **wish: Any) -> Made | None:
    """Make it, in halves however small they are; a folder for temporary files is new each time, as it is for a user."""
    scratch = folder / f"scratch-{uuid.uuid4().hex}"
    scratch.mkdir(parents=True)
    further = {name: wish.pop(name) for name in ("replies", "progress") if name in wish}
    made, _ = make(
        archive[0],
        wanted(**{"formats": FORMATS, **wish}),
        target or FolderTarget(folder / "package"),
        folder=scratch,
        software=SOFTWARE,
        in_two=in_two,
        halved_from_rows=1,
        **further,
    )
    return made


def contents(folder: Path) -> dict[str, bytes]:
    package = folder / "package"
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if path.is_file()}


class TestSameBytes:
    def test_they_are_those_that_one_process_makes(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path
    ) -> None:
        exported(archive, tmp_path)
        assert contents(tmp_path) == package
        assert check_package(tmp_path / "package").findings == ()
        # Both of them wrote.
        assert {"data/jsonl/messages-00001.jsonl", "data/jsonl/messages-2-00001.jsonl"} <= package.keys()

    @pytest.mark.parametrize("wish", [{"expression": "lunch OR merger"}, {"expression": "merger", "context": "2msgs"}])
    def test_also_of_what_one_of_them_looked_for(self, archive: Lived, tmp_path: Path, wish: dict[str, Any]) -> None:
        exported(archive, tmp_path / "one", in_two=False, **wish)
        exported(archive, tmp_path / "two", **wish)
        found = contents(tmp_path / "two")
        assert found == contents(tmp_path / "one")
        assert "data/jsonl/messages-2-00001.jsonl" in found

    @pytest.mark.parametrize("who", ["asks beside", "asks itself"])
    def test_also_with_what_each_half_replies_to(
        self, tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = replying(tmp_path)
        exported(archive, tmp_path / "one", in_two=False, replies=replies)
        if who == "asks itself":
            monkeypatch.setattr(sys, "executable", str(tmp_path / "no-interpreter"))
        exported(archive, tmp_path / "two", replies=replies)
        assert no_children()
        found = contents(tmp_path / "two")
        assert found == contents(tmp_path / "one")
        for half in ("", "2-"):
            assert b'"reply_to":"' in found[f"data/jsonl/messages-{half}00001.jsonl"]

    def test_who_asks_gives_back_what_arrow_needed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
        with pytest.raises(StoreRefusedError, match="begun with the allocator system"):
            exported(replying(tmp_path), tmp_path, replies=tells_its_allocator)

    @pytest.mark.parametrize("chat_id", ENDS)
    @pytest.mark.parametrize("day", [19, 23])
    def test_also_where_either_found_out_which_message_came_without_a_uid(
        self, tmp_path: Path, chat_id: str, day: int
    ) -> None:
        archive, head = lived.fresh(tmp_path)
        further = {"chat_id": chat_id, "sender_id": "u:bob", "client_id": "c-2"}
        nameless = {**lived.said(day, 10, 0, "", "who am I", **further), "message_uid": "provisional:2"}
        named = lived.said(day, 10, 0, "named", "who am I", source="fetch", **further)
        found = small_archive.add(archive, head, {"messages": [nameless, named]}, attempt="eeeeeeee")
        for name, in_two in (("one", False), ("two", True)):
            exported((archive, found), tmp_path / name, in_two=in_two)
        assert contents(tmp_path / "two") == contents(tmp_path / "one")
        left_out = json.loads(contents(tmp_path / "two")["report.json"])["left_out"]
        assert left_out["captures_without_uid_of_the_same_message"] == 2

    def test_also_out_of_a_bucket_and_into_one(
        self, package: dict[str, bytes], tmp_path: Path, seaweedfs: S3Access, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_access_key)
        place = f"two/{uuid.uuid4().hex}"
        stores = [
            S3Store(seaweedfs.bucket, f"{place}/{name}", endpoint_url=seaweedfs.endpoint_url, region=seaweedfs.region)
            for name in ("archive", "package")
        ]
        scratch = tmp_path / "handed-over"
        scratch.mkdir()
        exported(lived.live(stores[0], tmp_path), tmp_path, StoreTarget(stores[1], scratch))
        found = {info.key: stores[1].read(info.key) for info in stores[1].list("")}
        assert found == package

    def test_a_store_with_a_client_of_its_own_cannot_be_sent(self, seaweedfs: S3Access) -> None:
        with pytest.raises(TypeError, match="client of its own"):
            pickle.dumps(S3Store(seaweedfs.bucket, client=s3_client(seaweedfs)))

    def test_one_conversation_alone_is_whole(self, archive: Lived, tmp_path: Path) -> None:
        for name, in_two in (("one", False), ("two", True)):
            exported(archive, tmp_path / name, in_two=in_two, chats=("g:lunch",))
        found = contents(tmp_path / "two")
        assert found == contents(tmp_path / "one")
        assert "data/jsonl/messages-2-00001.jsonl" not in found

    def test_where_none_can_be_begun_one_process_makes_the_same(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no-interpreter"))
        exported(archive, tmp_path)
        assert contents(tmp_path) == package

    def test_one_that_can_be_begun_later_gathers_nothing_again(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interpreter = sys.executable
        monkeypatch.setattr(sys, "executable", str(tmp_path / "no-interpreter"))
        exported(archive, tmp_path, progress=lambda *_: monkeypatch.setattr(sys, "executable", interpreter))
        assert contents(tmp_path) == package

    def test_nothing_to_export_writes_nothing(self, archive: Lived, tmp_path: Path) -> None:
        assert exported(archive, tmp_path, until_ms=lived.at_ms(1)) is None
        assert not (tmp_path / "package").exists()

    def test_a_blob_that_is_gone_is_told_by_whoever_misses_it(self, tmp_path: Path) -> None:
        archive = lived.fresh(tmp_path)
        archive[0].store.delete(layout.blob_key(FILE_DIGEST))
        made = exported(archive, tmp_path)
        assert made is not None
        assert made.totals["files_missing"] == 3
        assert check_package(tmp_path / "package").findings == ()

    def test_what_both_have_written_is_told(self, archive: Lived, tmp_path: Path) -> None:
        told: list[tuple[str, int, int]] = []
        made = exported(archive, tmp_path, progress=lambda *each: told.append(each))
        assert made is not None
        assert told[-1][0] == "writing messages"
        assert told[-1][1] <= told[-1][2] == made.totals["messages"]


class TestStopped:
    @pytest.mark.parametrize("how", ["refuses", "kills", "fails", "resets"])
    @pytest.mark.parametrize("path", ["data/jsonl/messages-2-00001.jsonl", "data/csv/gaps-2-00001.csv"])
    def test_what_goes_wrong_in_the_second_is_said_and_the_same_command_goes_on(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path, how: str, path: str
    ) -> None:
        error, said = {
            "refuses": (StoreRefusedError, "cannot write"),
            "kills": (RefusedError, "second process of the export was ended by signal 9"),
            "fails": (ZeroDivisionError, "a bug"),
            "resets": (ConnectionResetError, "by the store"),
        }[how]
        with pytest.raises(error, match=said) as caught:
            exported(archive, tmp_path, Stopping(tmp_path / "package", path, how))
        assert no_children()
        if how == "fails":
            assert "Stopping" not in str(caught.value)
            assert "in take" in "".join(caught.value.__notes__)
        assert not (tmp_path / "package" / path).exists()
        assert not (tmp_path / "package/tagmanifest-sha256.txt").exists()
        exported(archive, tmp_path)
        assert contents(tmp_path) == package

    @pytest.mark.parametrize(
        ("how", "error", "said"),
        [
            ("kills", RefusedError, "asking process of the export was ended by signal 9"),
            ("refuses", StoreRefusedError, "cannot read"),
        ],
    )
    def test_what_goes_wrong_while_another_process_asks_about_replies_is_said_and_the_same_command_goes_on(
        self, tmp_path: Path, how: str, error: type[Exception], said: str
    ) -> None:
        archive = replying(tmp_path)
        with pytest.raises(error, match=said):
            exported(archive, tmp_path, replies=partial(stopped, how))
        assert no_children()
        exported(archive, tmp_path, replies=replies)
        assert check_package(tmp_path / "package").findings == ()
        assert b'"reply_to":"' in contents(tmp_path)["data/jsonl/messages-2-00001.jsonl"]

    def test_what_goes_wrong_in_the_first_ends_the_second(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path
    ) -> None:
        path = "data/jsonl/messages-00001.jsonl"
        with pytest.raises(StoreRefusedError, match="cannot write"):
            exported(archive, tmp_path, Stopping(tmp_path / "package", path, "refuses"))
        assert no_children()
        exported(archive, tmp_path)
        assert contents(tmp_path) == package

    def test_what_the_second_has_put_in_its_place_is_not_made_again(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path
    ) -> None:
        with pytest.raises(StoreRefusedError):
            exported(archive, tmp_path, Stopping(tmp_path / "package", "data/parquet/gaps-2-00001.parquet", "refuses"))
        journal = (tmp_path / "package/.export/journal").read_text()
        assert "data/jsonl/messages-2-00001.jsonl" in journal
        before = (tmp_path / "package/data/jsonl/messages-2-00001.jsonl").stat().st_ino
        exported(archive, tmp_path)
        assert (tmp_path / "package/data/jsonl/messages-2-00001.jsonl").stat().st_ino == before
        assert contents(tmp_path) == package

    def test_a_second_whose_first_is_killed_ends_too(
        self, archive: Lived, package: dict[str, bytes], tmp_path: Path
    ) -> None:
        place = str(archive[0].store.url)
        code = (
            f"from tests.discovery.export.test_second import killed_first; killed_first({place!r}, {str(tmp_path)!r})"
        )
        ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=WAIT_SECONDS)
        assert ended.returncode == -signal.SIGKILL
        second = int((tmp_path / "second").read_text())
        until = time.monotonic() + WAIT_SECONDS
        while Path(f"/proc/{second}/cmdline").exists() and Path(f"/proc/{second}/cmdline").read_bytes():
            assert time.monotonic() < until, "it goes on without anybody who would know"
            time.sleep(0.05)
        exported(archive, tmp_path)
        assert contents(tmp_path) == package

    def test_damage_among_the_days_of_the_second_names_the_object(self, tmp_path: Path) -> None:
        archive = lived.fresh(tmp_path)
        last = max(files_of(archive[1], "messages"), key=lambda record: layout.partition_of(record.key)[1])
        archive[0].store.replace(last.key, b"no parquet")
        with pytest.raises(DamageFoundError, match=last.key):
            exported(archive, tmp_path)
        assert no_children()


class Stopping(FolderTarget):
    """A folder that does not take one file: it refuses it, or kills who wants to put it there, or fails in a way that nobody foresaw."""

    def __init__(self, folder: Path, path: str, how: str) -> None:
        super().__init__(folder)
        self._path = path
        self._how = how

    def take(self, written: Path, path: str) -> None:
        if path == self._path:
            if self._how == "refuses":
                raise StoreRefusedError(f"cannot write {path}", next_step="make space")
            if self._how == "fails":
                raise ZeroDivisionError("a bug")
            if self._how == "resets":
                raise ConnectionResetError("by the store")
            os.kill(os.getpid(), signal.SIGKILL)
        super().take(written, path)


class KillingFirst(FolderTarget):
    """A folder whose first process is killed as soon as the second one has put anything there."""

    def __init__(self, folder: Path, beside: Path) -> None:
        super().__init__(folder)
        self._first = os.getpid()
        self._beside = beside

    def take(self, written: Path, path: str) -> None:
        super().take(written, path)
        if os.getpid() != self._first and not (self._beside / "second").exists():
            (self._beside / "second").write_text(str(os.getpid()))
            os.kill(self._first, signal.SIGKILL)


def killed_first(place: str, folder: str) -> None:
    archive = Archive.open(LocalStore(Path(place)))
    exported((archive, archive.head()), Path(folder), KillingFirst(Path(folder) / "package", Path(folder)))


def replying(folder: Path) -> Lived:
    """An archive whose first and last chats have replies."""
    archive, head = lived.fresh(folder)
    said = [
        lived.said(20, 9, minute, f"m{minute}", "yes", chat_id=chat_id, **REPLY)
        for chat_id in ENDS
        for minute in (1, 2)
    ]
    return archive, small_archive.add(archive, head, {"messages": said}, attempt="eeeeeeee")


def tells_its_allocator(*_: Any) -> Iterable[tuple[str, str, str]]:
    """A fake of who answers, and tells what it was begun with."""
    allocator = os.environ.get("ARROW_DEFAULT_MEMORY_POOL")
    raise StoreRefusedError(f"begun with the allocator {allocator}", next_step="ask somebody")


def stopped(how: str, *_: Any) -> Iterable[tuple[str, str, str]]:
    """A fake of who answers, and does not."""
    if how == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    raise StoreRefusedError("cannot read", next_step="ask somebody")


def replies(_: Head, chats: Sequence[str], first_ms: int, last_ms: int) -> Iterable[tuple[str, str, str]]:
    """A fake of who answers, which is the seam."""
    assert first_ms < last_ms
    return [(chat_id, lived.uid(20, 9, 2, "m2"), lived.uid(20, 9, 1, "m1")) for chat_id in chats]


def no_children() -> bool:
    """Tell whether this process has none that still runs."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG) == (0, 0) and not _seconds()
    return True


def _seconds() -> list[str]:
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [each for each in listed if b"export.beside" in Path(f"/proc/{each}/cmdline").read_bytes()]
