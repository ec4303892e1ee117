"""`archiver export` as a lawyer and as a program use it: what is written, said and entered, with which exit code."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from archiver.archive.reader import Archive
from archiver.cli import main
from archiver.cli.export import FORMAT_NAMES
from archiver.discovery.export.formats import FORMATS
from archiver.simulator.s3server import S3Access
from archiver.store.local import LocalStore
from archiver.store.s3 import S3Store
from tests.discovery.export import lived
from tests.servers.plugin import s3_client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    lived.live(LocalStore(folder / "archive"), folder)
    (folder / "archiver.yaml").write_text("workspace: acme\n")
    return folder


@pytest.fixture(autouse=True)
def _configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVER_CONFIG", str(folder / "archiver.yaml"))


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 3) -> Any:
    assert main(["export", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def exports(folder: Path) -> list[str]:
    archive = Archive.open(LocalStore(folder / "archive"))
    return [
        entry.matter.matter for entry, _ in archive.entries() if entry.kind == "export" and entry.matter is not None
    ]


class TestMake:
    def test_every_form_at_once_is_whole_checked_and_entered_once(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        forms = [word for name in FORMAT_NAMES for word in ("--format", name)]
        words = ("--matter", "all-forms", *forms, "--zone", "Asia/Tokyo", "--to", str(tmp_path / "x"))
        made = document(capsys, *words)
        assert (made["totals"]["messages"], made["is_entered"], made["formats"]) == (36, True, list(FORMAT_NAMES))
        again = document(capsys, *words)
        assert (again["package_sha256"], again["is_new"], again["is_entered"]) == (made["package_sha256"], False, False)
        assert exports(folder).count("all-forms") == 1
        checked = document(capsys, "check", str(tmp_path / "x"), code=0)
        assert checked["findings"] == []
        assert checked["package_sha256"] == made["package_sha256"]
        assert sorted(checked["formats"]) == sorted(FORMAT_NAMES)

    def test_the_command_line_names_the_formats_that_there_are(self) -> None:
        assert list(FORMAT_NAMES) == list(FORMATS)

    def test_options_of_formats_are_taken_and_are_part_of_which_export_it_is(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("--matter", "options", "--format", "eml", "--format", "dat", "--to", str(tmp_path / "x"))
        options = ("--option", "eml=message", "--option", "dat-bom=no")
        made = document(capsys, *words, *options)
        data = tmp_path / "x" / "data"
        assert len(list((data / "eml").rglob("*.eml"))) >= made["totals"]["messages"]
        assert not next((data / "dat").rglob("*.dat")).read_bytes().startswith(b"\xef\xbb\xbf")
        assert json.loads((tmp_path / "x" / "report.json").read_bytes())["asked"]["options"] == {
            "dat-bom": "no",
            "eml": "message",
        }
        assert document(capsys, "check", str(tmp_path / "x"), code=0)["findings"] == []
        assert not document(capsys, *words, *options)["is_new"]
        assert "other options" in document(capsys, *words, code=5)["error"]["what"]

    def test_an_option_that_says_what_counts_anyway_changes_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("--matter", "options", "--format", "eml", "--to", str(tmp_path / "x"))
        document(capsys, *words)
        assert not document(capsys, *words, "--option", "eml=day")["is_new"]

    def test_a_search_with_context_for_a_person(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = (
            "--matter",
            "smith",
            "--search",
            "merger",
            "--context",
            "1msgs",
            "--format",
            "jsonl",
            "--to",
            str(tmp_path / "x"),
        )
        assert main(["export", *words]) == 3
        out = capsys.readouterr().out
        assert "messages       4, 2 of them only for context" in out
        assert "entered now" in out

    def test_an_index_makes_no_difference_to_the_package_and_a_damaged_one_neither(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        head = str(Archive.open(LocalStore(folder / "archive")).head().sequence)  # each export adds an entry
        asked = ("--matter", "narrowed", "--search", "merger OR 稀有語", "--context", "1msgs", "--head", head)
        made = {"without": document(capsys, *asked, "--no-index", "--to", str(tmp_path / "without"))}
        assert main(["search", "merger"]) == 0
        capsys.readouterr()
        shards = list((folder / "state" / "search").rglob("*.idx"))
        assert shards
        made["with"] = document(capsys, *asked, "--to", str(tmp_path / "with"))
        for path in shards:
            stat, data = path.stat(), bytearray(path.read_bytes())
            data[len(data) // 2] ^= 255
            path.write_bytes(data)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        made["damaged"] = document(capsys, *asked, "--to", str(tmp_path / "damaged"))
        assert len({each["package_sha256"] for each in made.values()}) == 1
        foreseen = document(capsys, *asked, "--preview")
        assert foreseen["totals"]["messages"] == made["with"]["totals"]["messages"] == 4

    def test_nothing_found_is_said_and_nothing_written(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("--matter", "nothing", "--search", "nobodysaidthis", "--to", str(tmp_path / "x"))
        assert main(["export", *words]) == 0
        assert "No message of the archive meets this" in capsys.readouterr().out
        assert document(capsys, *words, code=0)["package"] is None
        assert not (tmp_path / "x").exists()
        assert "nothing" not in exports(folder)

    @pytest.mark.parametrize(
        ("words", "what"),
        [
            (("--to", "x"), "for a matter"),
            (("--matter", "../x", "--to", "x"), "no name for a matter"),
            (("--matter", "m"), "where the export goes"),
            (("--matter", "m", "--to", "x", "--custodian", "anne@acme.com"), "nobody by the id"),
            (("--matter", "m", "--to", "x", "--channel", "deel room"), "no channel"),
            (("--matter", "m", "--to", "x", "--search", "(a"), "parenthesis"),
            (("--matter", "m", "--to", "x", "--from", "soon"), "no day"),
            (("--matter", "m", "--to", "x", "--from", "2026-02-02", "--until", "2026-01-01"), "before it begins"),
            (("--matter", "m", "--to", "x", "--zone", "Mars/Base"), "no time zone"),
            (("--matter", "m", "--to", "x", "--context", "much"), "no context"),
            (("--matter", "m", "--to", "x", "--volume-size", "1"), "no size"),
            (("--matter", "m", "--to", "s3://UPPER/x"), "bucket"),
            (("--matter", "m", "--to", "x", "--redact", "nowhere.yaml"), "no redaction file"),
            (("--matter", "m", "--to", "x", "--head", "999"), "no entry 999"),
            (("--matter", "m", "--to", "x", "--option", "emal=message"), "no option of a format"),
            (("--matter", "m", "--to", "x", "--format", "eml", "--option", "eml"), "no option of a format"),
            (("--matter", "m", "--to", "x", "--format", "eml", "--option", "eml=week"), "cannot be 'week'"),
            (("--matter", "m", "--to", "x", "--option", "eml=message"), "about eml, which was not asked for"),
            (
                ("--matter", "m", "--to", "x", "--format", "eml", "--option", "eml=day", "--option", "eml=message"),
                "given twice",
            ),
        ],
    )
    def test_what_cannot_be_asked_says_why(
        self, words: tuple[str, ...], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        placed = [str(tmp_path / "x") if word == "x" else word for word in words]
        error = document(capsys, *placed, code=2)["error"]
        assert what in error["what"]
        assert not list(tmp_path.iterdir())

    def test_a_folder_of_others_and_the_archive_itself_are_refused(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        assert "not empty" in document(capsys, "--matter", "m", "--to", str(tmp_path), code=5)["error"]["what"]
        for inside in ("archive", "archive/exports/m"):
            error = document(capsys, "--matter", "m", "--to", str(folder / inside), code=2)["error"]
            assert "in the archive itself" in error["what"]

    def test_to_a_bucket_the_same_bytes(
        self,
        folder: Path,
        tmp_path: Path,
        seaweedfs: S3Access,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        client, bucket = s3_client(seaweedfs), f"legal-{uuid.uuid4().hex[:12]}"
        client.create_bucket(Bucket=bucket)
        for name, value in seaweedfs.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ARCHIVER_S3__ENDPOINT_URL", seaweedfs.endpoint_url)
        sequence = str(Archive.open(LocalStore(folder / "archive")).head().sequence)
        words = ("--matter", "bucket", "--format", "csv", "--head", sequence)
        here = document(capsys, *words, "--to", str(tmp_path / "x"))
        there = document(capsys, *words, "--to", f"s3://{bucket}/smith")
        assert there["package_sha256"] == here["package_sha256"]
        main(["export", *words, "--to", f"s3://{bucket}/smith"])
        assert "in a copy of it, `archiver export check FOLDER`" in capsys.readouterr().out
        store = S3Store(bucket, "smith", client=client)
        local = {
            path.relative_to(tmp_path / "x").as_posix(): path.read_bytes()
            for path in (tmp_path / "x").rglob("*")
            if path.is_file()
        }
        assert {info.key: store.read(info.key) for info in store.list("")} == local


class TestPreview:
    def test_it_counts_and_neither_writes_nor_enters_anything(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        sequence = Archive.open(LocalStore(folder / "archive")).head().sequence
        found = document(capsys, "--matter", "smith", "--channel", "#deal room", "--preview")
        assert found["totals"]["messages"] == 5
        assert found["missing"]["files_by_reason"] == {"the host of the file refused it (HTTP 403)": 1}
        assert main(["export", "--matter", "smith", "--preview"]) == 3
        assert "deal room" in capsys.readouterr().out
        assert not list(tmp_path.iterdir())
        assert Archive.open(LocalStore(folder / "archive")).head().sequence == sequence


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("wrods: [x]", "words"),
            ("words: x", "must be a list"),
            ("{}", "nothing"),
            ("patterns: {a: '('}", "RE2"),
            ("patterns: {a: '(?=x)'}", "looking ahead"),
            ("patterns: {a: 'x*'}", "matches nothing at all"),
            ("people: [nobody@acme.com]", "knows nobody"),
            ("words: ['\u200b']", "nothing that can be seen"),
            ("words: [x]\nfiles: some", "withhold or keep"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_named_with_its_line(
        self, text: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "redact.yaml").write_text(text)
        words = ("--matter", "m", "--redact", str(tmp_path / "redact.yaml"), "--to", str(tmp_path / "x"))
        error = document(capsys, *words, code=2)["error"]
        assert what in error["what"]
        assert "redact.yaml:" in error["what"]


class TestCheck:
    def test_what_is_broken_is_told_with_exit_code_4(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        document(capsys, "--matter", "m", "--format", "csv", "--to", str(tmp_path / "x"))
        victim = next((tmp_path / "x" / "data" / "csv").rglob("*.csv"))
        victim.write_bytes(victim.read_bytes() + b"x\r\n")
        found = document(capsys, "check", str(tmp_path / "x"), code=4)
        assert {finding["code"] for finding in found["findings"]} >= {"digest"}
        assert main(["export", "check", str(tmp_path / "x")]) == 4
        assert "NOT as it should be" in capsys.readouterr().out

    def test_one_in_a_bucket_is_to_be_copied_first(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = document(capsys, "check", "s3://legal/smith", code=2)["error"]
        assert error["what"].startswith("s3://legal/smith is in a bucket")
        assert "copy it here" in error["next_step"]

    def test_what_is_no_package_is_wrong_usage(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no package" in document(capsys, "check", str(tmp_path), code=2)["error"]["what"]
