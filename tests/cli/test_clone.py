"""`archiver clone` as a person and as a program use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.copies import is_copy
from archiver.archive.ledger import Promotion, read_entry
from archiver.archive.reader import Archive
from archiver.cli import main
from archiver.run import last_head
from archiver.store.local import LocalStore
from archiver.wiring import user_name
from tests import small_archive

DEFAULT_POLICY = Path(__file__).resolve().parents[2] / "policies" / "default.yaml"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    monkeypatch.setenv("ARCHIVER_CONFIG", str(tmp_path / "archiver.yaml"))
    monkeypatch.chdir(tmp_path)
    return small_archive.build(LocalStore(tmp_path / "archive"), tmp_path)[0]


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["clone", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_copy_is_told_verified_and_brought_up_to_date(
    archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = document(capsys, "copy")
    assert (first["from_sequence"], first["sequence"], first["digest"]) == (0, 2, archive.head().digest)
    assert document(capsys, "copy")["objects"] == 0
    assert main(["clone", "copy"]) == 0
    assert "is up to date" in capsys.readouterr().out
    monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
    assert main(["verify"]) == 0


@pytest.mark.parametrize("place", ["archive", "archive/copy", ".", "state/copy", "ftp://x/y", "s3://"])
def test_a_place_that_cannot_be_is_refused(archive: Archive, capsys: pytest.CaptureFixture[str], place: str) -> None:
    before = [info.key for info in archive.store.list("")]
    assert document(capsys, place, code=2)["error"]["next_step"]
    assert [info.key for info in archive.store.list("")] == before


def test_a_place_with_something_else_is_refused(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    Path("letters").mkdir()
    Path("letters/a.txt").write_text("x")
    assert "is not empty" in document(capsys, "letters", code=5)["error"]["what"]


def test_damage_is_named(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    key = next(iter(archive.head().files))
    archive.store.replace(key, b"spoilt")
    assert key in document(capsys, "copy", code=4)["error"]["what"]


class TestACopyIsWrittenByNothingElse:
    @pytest.fixture
    def copied(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> dict[str, bytes]:
        """The configuration names a copy now; what lies in it."""
        document(capsys, "copy")
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
        return objects_in("copy")

    @pytest.mark.parametrize(
        "words",
        [
            ("run",),
            ("import", "uids", "uids.txt", "--chat", "g:0123456789abcdef", "--apply"),
            ("hold", "place", "smith", "--reason", "a suit", "--everything"),
            ("search", "hello", "--matter", "m"),
            ("export", "--matter", "m", "--to", "package"),
            ("restore", "--all", "--to", "out", "--matter", "m"),
            ("retention", "plan", "--policy", str(DEFAULT_POLICY)),
        ],
        ids=lambda words: words[0],
    )
    def test_it_is_refused_before_anything_is_done(
        self, copied: dict[str, bytes], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
    ) -> None:
        Path("uids.txt").write_text("1772449200123-aBc-m201\n")
        assert main([*words, "--json"]) == 5
        error = json.loads(capsys.readouterr().out)["error"]
        assert "is a copy that `archiver clone` keeps" in error["what"]
        assert "archiver promote" in error["next_step"]
        assert objects_in("copy") == copied
        assert not Path("package").exists()
        assert not Path("out").exists()

    def test_it_is_read_as_any_archive(self, copied: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
        for words in (["verify"], ["status"], ["search", "hello"], ["export", "--matter", "m", "--preview"]):
            assert main(words) in (0, 3), capsys.readouterr().err
        assert main(["restore", "--all", "--to", "out"]) in (0, 3)
        assert objects_in("copy") == copied


class TestPromoting:
    def test_a_copy_makes_an_archive_that_is_written_to_and_copied(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document(capsys, "copy")
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
        told = promoted(capsys)
        assert (told["was_copy"], told["sequence"], told["behind"], told["damages"]) == (True, 2, None, [])
        assert main(["hold", "place", "smith", "--reason", "a suit", "--everything"]) == 0
        assert main(["verify"]) == 0
        capsys.readouterr()
        assert promoted(capsys)["was_copy"] is False
        assert document(capsys, "another")["sequence"] == 4
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "archive")
        # Should the old one come back, this machine knows that the archive has gone on elsewhere.
        assert "does not hold entry 3" in document(capsys, "copy", code=4)["error"]["what"]
        Path("state/last-head.json").unlink()
        assert "is not empty" in document(capsys, "copy", code=5)["error"]["what"]

    def test_the_ledger_says_who_did_it_why_where_and_at_which_commit(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document(capsys, "copy")
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
        told = promoted(capsys)
        store = LocalStore(Path("copy"))
        entry, _ = read_entry(store, told["entry"])
        assert (entry.sequence, entry.kind, entry.actor) == (3, "promote", user_name())
        assert entry.promotion == Promotion(
            place=store.url, reason="the disk broke", head_sequence=told["sequence"], head_digest=told["digest"]
        )
        assert (entry.promotion.head_sequence, entry.promotion.head_digest) == (2, entry.previous)
        assert promoted(capsys)["entry"] is None
        assert main(["promote", "--reason", " "]) == 2

    def test_what_a_crash_left_half_done_is_entered_once(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document(capsys, "copy")
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
        mark = LocalStore(Path("copy")).read("clone.json")
        assert promoted(capsys)["entry"] == 3
        LocalStore(Path("copy")).create("clone.json", mark)  # as if it had stopped between the entry and this
        assert promoted(capsys)["entry"] == 3
        assert not is_copy(LocalStore(Path("copy")))

    def test_a_copy_without_what_this_machine_saw_is_refused_unless_told(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document(capsys, "copy")
        head = small_archive.add(
            archive, archive.head(), {"messages": [small_archive.message("new", 19, "new")]}, attempt="0badcafe"
        )
        last_head.remember(Path("state"), archive, head)
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
        error = promoted(capsys, code=5)["error"]
        assert "stands at entry 2" in error["what"]
        assert "--behind" in error["next_step"]
        assert LocalStore(Path("copy")).stat("clone.json")
        assert "entry 3" in promoted(capsys, "--behind")["behind"]
        assert main(["restore", "--all", "--to", "out"]) in (0, 3), "it is what this machine saw last now"

    def test_a_damaged_copy_is_refused_unless_told(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document(capsys, "copy")
        key = next(iter(archive.head().files))
        LocalStore(Path("copy")).delete(key)
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "copy")
        assert key in promoted(capsys, code=4)["error"]["what"]
        told = promoted(capsys, "--damaged")
        assert [damage["key"] for damage in told["damages"]] == [key]
        entry, _ = read_entry(LocalStore(Path("copy")), told["entry"])
        assert entry.promotion is not None
        assert entry.promotion.damages == 1

    def test_where_there_is_no_archive_is_wrong_usage(
        self, archive: Archive, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ARCHIVER_ARCHIVE", "nothing")
        assert promoted(capsys, code=2)["error"]["next_step"]


def objects_in(folder: str) -> dict[str, bytes]:
    store = LocalStore(Path(folder))
    return {info.key: store.read(info.key) for info in store.list("")}


def promoted(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["promote", "--reason", "the disk broke", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)
