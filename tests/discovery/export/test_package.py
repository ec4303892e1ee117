"""A package: a bag that anybody can check, the same bytes wherever and however often it is made, and nothing of others written over."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import md5, sha256
from pathlib import Path
from threading import Lock
from typing import Any

import bagit
import pypdf
import pytest

from archiver.archive import layout
from archiver.archive.commit import Author
from archiver.archive.reader import Archive, Head, files_of
from archiver.discovery.checks.package import FINDINGS_MAX, check_package
from archiver.discovery.export.package import Made
from archiver.discovery.export.payload import ENDING_MAX
from archiver.discovery.export.targets import FolderTarget, StoreTarget
from archiver.discovery.export.verb import make, record
from archiver.errors import ArchiverError, RefusedError, StoreFullError, StoreRefusedError, UsageError
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests import small_archive
from tests.discovery.export import lived
from tests.discovery.export.lived import SOFTWARE, at_ms, wanted
from tests.faulty_store import Stopped
from tests.small_archive import FILE_BYTES, FILE_DIGEST

Lived = tuple[Archive, Head]

FORMATS = ("html", "csv", "jsonl")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return lived.fresh(tmp_path_factory.mktemp("lived"))


@pytest.fixture(scope="module")
def package(archive: Lived, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole of it, in three forms."""
    folder = tmp_path_factory.mktemp("package") / "smith"
    made, _ = exported(archive, folder)
    assert made is not None
    return folder


def exported(
    archive: Lived, folder: Path, target: Any = None, *, executor: Executor | None = None, **wish: Any
) -> tuple[Made | None, Head]:
    scratch = folder.parent / f".{folder.name}-scratch"
    scratch.mkdir(exist_ok=True)
    for leftover in scratch.iterdir():
        leftover.unlink()
    sequence = wish.pop("sequence", None)
    return make(
        archive[0],
        wanted(**{"formats": FORMATS, **wish}),
        target or FolderTarget(folder),
        folder=scratch,
        software=SOFTWARE,
        sequence=sequence,
        executor=executor,
    )


@pytest.fixture(params=["at once", "beside"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    """Files are ended one by one, or beside what makes the next ones."""
    with ThreadPoolExecutor(4) as pool:
        yield pool if request.param == "beside" else None


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return found


class TestBag:
    def test_it_validates_with_bagit_and_nothing_else_is_in_it(self, package: Path) -> None:
        bag = bagit.Bag(str(package))
        bag.validate()
        assert set(bag.algorithms) == {"sha256", "md5"}
        assert bag.info["External-Identifier"] == "smith-v-acme"
        assert bag.info["Bagging-Date"] == "2026-11-22"
        assert not list(package.rglob(".export*"))

    def test_its_digest_is_that_of_the_tag_manifest(self, archive: Lived, package: Path) -> None:
        made, _ = exported(archive, package)
        assert made is not None
        assert made.digest == sha256((package / "tagmanifest-sha256.txt").read_bytes()).hexdigest()
        assert not made.is_new

    def test_the_check_in_it_needs_nothing_but_python(self, package: Path, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-I", "-B", package / "check.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        # It counts as our own check does: two numbers of files for one package would be asked about.
        assert f"as it was made: {check_package(package).files} files of data" in done.stdout
        assert "add up" in done.stdout

    def test_our_own_check_finds_nothing(self, package: Path) -> None:
        found = check_package(package)
        assert found.findings == ()
        assert (found.matter, found.messages, found.formats) == ("smith-v-acme", 36, ("csv", "html", "jsonl"))

    def test_a_file_of_two_messages_is_in_it_once_and_whole(self, package: Path) -> None:
        natives = [path for path in contents(package) if path.startswith("data/natives/")]
        assert sorted(Path(path).suffix for path in natives) == [".pdf", ".txt"]
        assert all((package / path).read_bytes() == FILE_BYTES for path in natives)
        assert all(Path(path).stem == FILE_DIGEST for path in natives)


class TestReport:
    def test_it_says_who_asked_what_of_which_head(self, archive: Lived, package: Path) -> None:
        found = report(package)
        assert (found["matter"], found["head"]["sequence"], found["head"]["digest"]) == (
            "smith-v-acme",
            archive[1].sequence,
            archive[1].digest,
        )
        assert found["asked"]["formats"] == list(FORMATS)

    def test_its_numbers_add_up(self, package: Path) -> None:
        found = report(package)
        totals = found["totals"]
        assert (totals["messages"], totals["versions"], totals["files"]) == (36, 39, 3)
        assert sum(each["messages"] for each in found["conversations"]) == totals["messages"]
        assert {name: each["messages"] for name, each in found["formats"].items()} == dict.fromkeys(FORMATS, 36)
        assert found["missing"]["files_by_reason"] == {"the host of the file refused it (HTTP 403)": 1}
        assert {gap["gap_id"] for gap in found["missing"]["gaps"]} == {"outage", "feed", "elsewhere", "token"}

    def test_its_captures_are_the_rows_of_the_archive_and_what_is_left_out_of_them_is_counted(
        self, archive: Lived, package: Path
    ) -> None:
        found = report(package)
        assert found["totals"]["captures"] == sum(record.rows for record in files_of(archive[1], "messages"))
        assert found["left_out"] == {
            "captures_of_the_same_version": 1,
            "captures_without_uid_of_the_same_message": 1,
        }
        assert found["totals"]["captures"] == found["totals"]["versions"] + sum(found["left_out"].values())

    def test_what_was_asked_to_be_left_out_is_counted_too(self, archive: Lived, tmp_path: Path) -> None:
        exported(archive, tmp_path / "x", versions="last", with_files=False)
        found = report(tmp_path / "x")
        assert found["left_out"] == {
            "captures_of_the_same_version": 1,
            "captures_without_uid_of_the_same_message": 1,
            "earlier_versions": 3,
            "files_withheld": 2,
        }
        assert found["totals"]["captures"] == found["totals"]["versions"] + 5
        assert check_package(tmp_path / "x").findings == ()

    def test_what_redaction_leaves_out_is_counted(self, archive: Lived, tmp_path: Path) -> None:
        (tmp_path / "redact.yaml").write_text("words: [merger]\n")
        exported(archive, tmp_path / "x", redaction=tmp_path / "redact.yaml")
        found = report(tmp_path / "x")
        assert found["left_out"]["redacted_digests"] == 2
        assert found["left_out"]["redacted_raw"] == found["totals"]["captures"] - 1
        assert check_package(tmp_path / "x").findings == ()

    def test_captures_that_do_not_add_up_are_found(self, package: Path, tmp_path: Path) -> None:
        shutil.copytree(package, tmp_path / "x")
        found = report(tmp_path / "x")
        found["left_out"]["captures_of_the_same_version"] += 1
        (tmp_path / "x" / "report.json").write_text(json.dumps(found))
        assert "/captures" in {finding.place for finding in check_package(tmp_path / "x").findings}
        done = subprocess.run(
            [sys.executable, "-I", "-B", tmp_path / "x" / "check.py"], capture_output=True, text=True, check=False
        )
        assert "not all captures" in done.stdout

    def test_the_cover_page_can_be_read(self, archive: Lived, tmp_path: Path) -> None:
        exported(archive, tmp_path / "x", custodians=("u:kenji",), expression="merger OR 契約", zone="Asia/Tokyo")
        pages = pypdf.PdfReader(tmp_path / "x" / "cover.pdf").pages
        text = "".join("\n".join(page.extract_text() for page in pages).split())
        for words in (
            "smith-v-acme",
            "健二",
            "田中",
            "契約",
            "deal room",
            "no longer returned",
            "listener-down",
            archive[1].digest,
        ):
            assert "".join(words.split()) in text, words

    def test_a_name_that_is_markup_or_moves_a_cursor_is_shown_and_does_nothing(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path / "archive")
        archive, head = small_archive.build(store, tmp_path)
        evil = "<b>\x1b[31m../../x\u202e & co"
        head = small_archive.add(archive, head, {"channels": [lived.channel("g:general", evil)]}, attempt="cccccccc")
        exported((archive, head), tmp_path / "x")
        text = "".join(page.extract_text() for page in pypdf.PdfReader(tmp_path / "x" / "cover.pdf").pages)
        assert "\x1b" not in text
        assert all(".." not in path for path in contents(tmp_path / "x"))


class TestSameBytes:
    def test_the_same_head_and_options_give_the_same_bytes(
        self, archive: Lived, package: Path, tmp_path: Path, executor: Executor | None
    ) -> None:
        exported(archive, tmp_path / "again", executor=executor)
        assert contents(tmp_path / "again") == contents(package)

    def test_also_in_a_store(self, archive: Lived, package: Path, tmp_path: Path) -> None:
        store = MemoryStore()
        made, _ = exported(archive, tmp_path / "x", StoreTarget(store, tmp_path))
        assert made is not None
        assert {info.key: store.read(info.key) for info in store.list("")} == contents(package)

    @pytest.mark.parametrize("place", ["folder", "store"])
    def test_one_that_was_stopped_goes_on_and_ends_as_the_same(
        self, archive: Lived, package: Path, tmp_path: Path, place: str, executor: Executor | None
    ) -> None:
        """Stopped ever later, and gone on with each time: what is whole is not made again."""
        store = MemoryStore()
        steps = taken = 0
        for number in range(1, 100):
            inner = FolderTarget(tmp_path / "x") if place == "folder" else StoreTarget(store, tmp_path)
            target = Stopping(inner, after=8)
            try:
                exported(archive, tmp_path / "x", target, executor=executor)
            except Stopped:
                steps += 1
                taken += target.taken
                continue
            assert number > 2
            break
        found = (
            contents(tmp_path / "x")
            if place == "folder"
            else {info.key: store.read(info.key) for info in store.list("")}
        )
        assert found == contents(package)
        # What was in its place and not noted yet is made again.
        assert taken <= len(found) + steps * (1 if executor is None else 1 + ENDING_MAX)

    def test_no_package_is_whole_without_a_file_that_could_not_be_put_in_its_place(
        self, archive: Lived, tmp_path: Path, executor: Executor | None
    ) -> None:
        (tmp_path / "redact.yaml").write_text("words: [merger]\n")
        wish: dict[str, Any] = {"redaction": tmp_path / "redact.yaml", "executor": executor}
        exported(archive, tmp_path / "whole", **wish)
        whole = contents(tmp_path / "whole")
        assert "data/redactions.csv" in whole
        for number, path in enumerate(whole):
            folder = tmp_path / str(number)
            with pytest.raises(StoreRefusedError, match=re.escape(path)):
                exported(archive, folder, Refusing(FolderTarget(folder), path), **wish)
            assert not (folder / path).exists()
            assert not (folder / "tagmanifest-sha256.txt").exists()
            exported(archive, folder, **wish)
            assert contents(folder) == whole

    def test_what_is_whole_is_held_against_its_digest_before_it_is_relied_on(
        self, archive: Lived, package: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(Stopped):
            exported(archive, tmp_path / "x", Stopping(FolderTarget(tmp_path / "x"), after=8))
        with pytest.raises(UsageError, match="begun and is not whole"):
            check_package(tmp_path / "x")
        victim = next(path for path in sorted((tmp_path / "x" / "data").rglob("*")) if path.is_file())
        victim.write_bytes(victim.read_bytes()[:-1] + b"!")
        exported(archive, tmp_path / "x")
        assert contents(tmp_path / "x") == contents(package)

    def test_a_full_disk_is_said_and_the_same_command_goes_on(
        self, archive: Lived, package: Path, tmp_path: Path, executor: Executor | None
    ) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, limits[1]))
        try:
            with pytest.raises(StoreFullError, match="space") as caught:
                exported(archive, tmp_path / "x", executor=executor)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "same command again" in caught.value.next_step
        exported(archive, tmp_path / "x")
        assert contents(tmp_path / "x") == contents(package)

    def test_one_that_was_begun_stays_with_its_head_whatever_comes_meanwhile(self, tmp_path: Path) -> None:
        archive, head = lived.fresh(tmp_path)
        with pytest.raises(Stopped):
            exported((archive, head), tmp_path / "x", Stopping(FolderTarget(tmp_path / "x"), after=5))
        small_archive.add(archive, head, {"messages": [lived.said(22, 9, 0, "new", "news")]}, attempt="eeeeeeee")
        _, of = exported((archive, head), tmp_path / "x")
        assert of.sequence == head.sequence
        assert report(tmp_path / "x")["totals"]["messages"] == 36


class TestRefusals:
    def test_a_folder_that_is_not_empty(self, archive: Lived, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "mine.txt").write_text("mine")
        with pytest.raises(RefusedError, match=r"not empty: it has mine\.txt"):
            exported(archive, tmp_path / "x")
        assert contents(tmp_path / "x") == {"mine.txt": b"mine"}

    def test_a_place_where_no_folder_can_be(self, tmp_path: Path) -> None:
        (tmp_path / "a-file").write_text("mine")
        for place in (Path("/proc/x"), tmp_path / "a-file" / "x"):
            with pytest.raises(StoreRefusedError, match="cannot write to"):
                FolderTarget(place).replace("report.json", b"{}")

    def test_a_package_of_another_matter_head_or_question(self, archive: Lived, package: Path) -> None:
        before = contents(package)
        for wish, what in (
            ({"expression": "merger"}, "other options"),
            ({"formats": ("csv",)}, "other options"),
            ({"sequence": 2}, "another head"),
        ):
            with pytest.raises(RefusedError, match=what):
                exported(archive, package, **wish)
        assert contents(package) == before

    def test_a_file_that_somebody_puts_among_them_meanwhile(self, archive: Lived, tmp_path: Path) -> None:
        with pytest.raises(Stopped):
            exported(archive, tmp_path / "x", Stopping(FolderTarget(tmp_path / "x"), after=5))
        (tmp_path / "x" / "data" / "note.txt").write_text("by the way")
        with pytest.raises(RefusedError, match=r"data/note\.txt"):
            exported(archive, tmp_path / "x")
        (tmp_path / "x" / "data" / "note.txt").unlink()
        exported(archive, tmp_path / "x")
        assert check_package(tmp_path / "x").findings == ()

    def test_nothing_to_export_writes_nothing(self, archive: Lived, tmp_path: Path) -> None:
        made, _ = exported(archive, tmp_path / "x", expression="nobodysaidthis")
        assert made is None
        assert not (tmp_path / "x").exists()


class TestMissing:
    def test_a_blob_that_is_gone_is_a_placeholder_with_its_reason(self, tmp_path: Path) -> None:
        archive, head = lived.fresh(tmp_path)
        archive.store.delete(layout.blob_key(FILE_DIGEST))
        made, _ = exported((archive, head), tmp_path / "x")
        assert made is not None
        assert made.totals["files_missing"] == 3
        reasons = report(tmp_path / "x")["missing"]["files_by_reason"]
        assert reasons["its bytes are missing in the archive, though the ledger names them"] == 2
        assert check_package(tmp_path / "x").findings == ()

    def test_so_is_one_that_is_damaged(self, tmp_path: Path) -> None:
        archive, head = lived.fresh(tmp_path)
        archive.store.replace(layout.blob_key(FILE_DIGEST), b"something else")
        exported((archive, head), tmp_path / "x")
        assert any("damaged" in reason for reason in report(tmp_path / "x")["missing"]["files_by_reason"])

    def test_a_cold_object_stops_it_and_it_goes_on_when_that_is_thawed(
        self, archive: Lived, package: Path, tmp_path: Path
    ) -> None:
        cold = Archive(Cold(archive[0].store), archive[0].facts, archive[0].facts_digest)
        with pytest.raises(StoreRefusedError, match="InvalidObjectState"):
            exported((cold, archive[1]), tmp_path / "x")
        exported(archive, tmp_path / "x")
        assert contents(tmp_path / "x") == contents(package)


class TestVolumes:
    def test_each_is_a_package_of_its_own_and_a_list_names_them(self, archive: Lived, tmp_path: Path) -> None:
        made, _ = exported(archive, tmp_path / "x", volume_bytes=1_000)
        assert made is not None
        assert made.volumes > 2
        folders = sorted(path.name for path in (tmp_path / "x").iterdir() if path.is_dir())
        assert folders == [f"volume-{number:04d}" for number in range(1, made.volumes + 1)]
        for name in folders:
            bagit.Bag(str(tmp_path / "x" / name)).validate()
        assert made.totals["messages"] == 36
        assert made.totals["conversations"] == 5
        found = check_package(tmp_path / "x")
        assert (found.findings, found.messages, found.digest) == ((), 36, made.digest)

    def test_its_files_lie_in_the_volume_that_names_them(self, archive: Lived, tmp_path: Path) -> None:
        exported(archive, tmp_path / "x", volume_bytes=1_000, formats=("jsonl",))
        for folder in (tmp_path / "x").iterdir():
            if folder.is_dir():
                named = "".join(path.read_text() for path in (folder / "data" / "jsonl").rglob("*.jsonl"))
                for native in (folder / "data").rglob("natives/*/*"):
                    assert native.name in named

    def test_a_volume_that_was_lost_is_found(self, archive: Lived, tmp_path: Path) -> None:
        exported(archive, tmp_path / "x", volume_bytes=1_000, formats=("jsonl",))
        (tmp_path / "x" / "volume-0002").rename(tmp_path / "away")
        codes = {(finding.path, finding.code) for finding in check_package(tmp_path / "x").findings}
        assert codes == {("volumes.json", "missing"), ("volumes.json", "count")}


class TestLedger:
    def test_a_package_is_entered_once(self, tmp_path: Path) -> None:
        archive, head = lived.fresh(tmp_path)
        author = Author(run="x", actor="ann", software="test", writer="w")
        wish = wanted(formats=("jsonl",))
        for is_first in (True, False):
            made, of = exported((archive, head), tmp_path / "x", formats=("jsonl",))
            assert made is not None
            assert record(archive, wish, made, of, author=author, now_ms=lambda: at_ms(23)) is is_first
        (entry,) = [entry for entry, _ in archive.entries() if entry.kind == "export"]
        assert entry.matter is not None
        assert (entry.matter.matter, entry.matter.package_sha256) == ("smith-v-acme", made.digest)
        assert entry.matter.counts["messages"] == 36
        assert entry.actor == "ann"


class Stopping:
    """A place whose machine stops after so many files were put into it."""

    def __init__(self, inner: Any, *, after: int) -> None:
        self._inner = inner
        self._after = after
        self._one_by_one = Lock()
        self.taken = 0

    def take(self, written: Path, path: str) -> None:
        with self._one_by_one:
            if self.taken >= self._after:
                raise Stopped
            self._inner.take(written, path)
            self.taken += 1

    def close(self) -> None:
        """A machine that stopped clears nothing up."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Refusing:
    """A place that does not take one file."""

    def __init__(self, inner: Any, path: str) -> None:
        self._inner = inner
        self._path = path

    def take(self, written: Path, path: str) -> None:
        if path == self._path:
            raise StoreRefusedError(f"cannot write {path}", next_step="make space")
        self._inner.take(written, path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Cold:
    """A store whose blobs lie in cold storage, with the error that S3 gives then."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def open(self, key: str) -> Any:
        if layout.is_blob_key(key):
            raise StoreRefusedError(
                f"cannot read {key}: the store answers InvalidObjectState (403)", next_step="thaw it"
            )
        return self._inner.open(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def broken(package: Path, folder: Path) -> Path:
    target = folder / "broken"
    for path, data in contents(package).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
    return target


def codes(folder: Path) -> set[str]:
    return {finding.code for finding in check_package(folder).findings}


class TestBrokenPackages:
    def test_a_file_that_was_changed(self, package: Path, tmp_path: Path) -> None:
        folder = broken(package, tmp_path)
        victim = next((folder / "data" / "jsonl").rglob("*.jsonl"))
        victim.write_bytes(victim.read_bytes().replace(b"merger", b"murger"))
        assert "digest" in codes(folder)
        done = subprocess.run(
            [sys.executable, "-I", "-B", folder / "check.py"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "NOT as it was made" in done.stdout

    def test_a_file_that_was_removed_and_one_that_was_added(self, package: Path, tmp_path: Path) -> None:
        folder = broken(package, tmp_path)
        next((folder / "data" / "natives").rglob("*.pdf")).unlink()
        (folder / "data" / "extra.txt").write_text("x")
        (folder / "beside.txt").write_text("x")
        assert {"missing", "unnamed"} <= codes(folder)

    @pytest.mark.parametrize("algorithm", ["sha256", "md5"])
    def test_a_tag_manifest_that_was_cut_short_added_to_or_removed(
        self, package: Path, tmp_path: Path, algorithm: str
    ) -> None:
        folder = broken(package, tmp_path)
        tags = folder / f"tagmanifest-{algorithm}.txt"
        whole = tags.read_bytes()
        for data in (whole[:-1], whole + b"\n", whole + whole):
            tags.write_bytes(data)
            assert "path" in codes(folder)
        tags.unlink()
        assert "missing" in codes(folder)

    def test_a_message_that_was_taken_out_with_new_hashes_everywhere(self, package: Path, tmp_path: Path) -> None:
        """Whoever can make the manifests anew cannot make the numbers of the report fit without changing it too."""
        folder = broken(package, tmp_path)
        victim = next(path for path in (folder / "data" / "jsonl").rglob("*.jsonl") if b"merger" in path.read_bytes())
        lines = victim.read_bytes().splitlines(keepends=True)
        victim.write_bytes(b"".join(line for line in lines if b"forget the merger" not in line))
        rehash(folder)
        bagit.Bag(str(folder)).validate()
        assert codes(folder)

    @pytest.mark.parametrize("name", ["messages", "files_missing", "versions"])
    def test_a_report_whose_numbers_do_not_add_up(self, package: Path, tmp_path: Path, name: str) -> None:
        folder = broken(package, tmp_path)
        changed = report(folder)
        changed["totals"][name] += 1
        (folder / "report.json").write_text(json.dumps(changed))
        rehash(folder)
        assert "count" in codes(folder)

    @pytest.mark.parametrize("name", ["messages_by_type", "missing/files_by_reason", "formats/jsonl"])
    def test_a_report_whose_parts_are_more_than_its_totals(self, package: Path, tmp_path: Path, name: str) -> None:
        folder = broken(package, tmp_path)
        changed = report(folder)
        counts = changed
        for part in name.split("/"):
            counts = counts[part]
        one = "messages" if name.startswith("formats") else next(iter(counts), "not_found")
        counts[one] = counts.get(one, 0) + 1
        (folder / "report.json").write_text(json.dumps(changed))
        rehash(folder)
        found = check_package(folder).findings
        assert any(
            name.rsplit("/", maxsplit=1)[-1] in (finding.place or "") for finding in found if finding.code == "count"
        )

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"totals": 3}', b"\xff\xfe"])
    def test_a_report_that_is_none(self, package: Path, tmp_path: Path, data: bytes) -> None:
        folder = broken(package, tmp_path)
        (folder / "report.json").write_bytes(data)
        assert "unreadable" in codes(folder)

    def test_a_manifest_that_leads_out_of_the_package_and_a_link(self, package: Path, tmp_path: Path) -> None:
        folder = broken(package, tmp_path)
        with (folder / "manifest-sha256.txt").open("a") as stream:
            stream.write(f"{'0' * 64}  data/../../../etc/passwd\n")
        assert "path" in codes(folder)
        (folder / "data" / "link").symlink_to("/etc/passwd")
        assert "link" in codes(folder)

    def test_more_findings_than_anybody_reads_end_with_one_that_says_so(self, package: Path, tmp_path: Path) -> None:
        folder = broken(package, tmp_path)
        with (folder / "manifest-sha256.txt").open("a") as stream:
            stream.writelines(f"{number:064x}  data/{number}\n" for number in range(FINDINGS_MAX))
        found = check_package(folder).findings
        assert len(found) == FINDINGS_MAX + 1
        assert found[-1].code == "more"

    def test_what_is_no_package_at_all(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(ArchiverError, match=r"no package|no folder"):
                check_package(folder)


def rehash(folder: Path) -> None:
    """Make the manifests anew, as somebody would who hides a change."""
    payload = [data for path, data in contents(folder).items() if path.startswith("data/")]
    info = re.sub(
        r"(?m)^Payload-Oxum.*$",
        f"Payload-Oxum: {sum(map(len, payload))}.{len(payload)}",
        (folder / "bag-info.txt").read_text(),
    )
    (folder / "bag-info.txt").write_text(info)
    for kind, inside in (("manifest", True), ("tagmanifest", False)):
        for name, algorithm in (("sha256", sha256), ("md5", md5)):
            lines = [
                f"{algorithm(data).hexdigest()}  {path}\n"
                for path, data in contents(folder).items()
                if path.startswith("data/") == inside and not path.startswith("tagmanifest")
            ]
            (folder / f"{kind}-{name}.txt").write_text("".join(lines))
