"""Slack zips that somebody broke or made to do harm, each in one way, and what the checker says."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.discovery.export.packages import Package, package

Members = dict[str, Any]
GENERAL = "general/2026-11-20.json"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return package("slack", tmp_path_factory.mktemp("slack"))


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: json.loads(archive.read(name)) for name in archive.namelist()}


def rewritten(made: Package, into: Path, change: Callable[[Members], object]) -> Package:
    """The same package with other members in its zip; bytes are written as they are, everything else as JSON."""
    folder = into / "package"
    shutil.copytree(made.folder, folder)
    path = folder / "data/slack/slack-export.zip"
    members = members_of(path)
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in members.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
    return Package("slack", folder, made.written, made.facts)


def day(change: Callable[[list[Any]], object], name: str = GENERAL) -> Callable[[Members], object]:
    return lambda members: change(members[name])


def record(**values: Any) -> Callable[[Members], object]:
    return lambda members: members[GENERAL][1].update(values)


def payload(**values: Any) -> Callable[[Members], object]:
    return lambda members: members[GENERAL][1]["metadata"]["event_payload"].update(values)


def file(**values: Any) -> Callable[[Members], object]:
    return lambda members: next(one for one in members[GENERAL] if "files" in one)["files"][0].update(values)


BREAKS: dict[str, tuple[str, Callable[[Members], object]]] = {
    "a list is gone": ("missing", lambda members: members.pop("mpims.json")),
    "a file nobody knows": ("stray", lambda members: members.update({"run.exe": b"MZ"})),
    "a folder nobody lists": ("reference", lambda members: members.update({"secret/2026-11-20.json": []})),
    "no JSON": ("parse", lambda members: members.update({GENERAL: b"[{"})),
    "no list": ("parse", lambda members: members.update({GENERAL: {}})),
    "lists without end": ("parse", lambda members: members.update({GENERAL: b"[" * 100_000})),
    "a user without id": ("field", lambda members: members["users.json"][0].pop("id")),
    "a user twice": ("duplicate", lambda members: members["users.json"].append(members["users.json"][0])),
    "a channel twice": ("duplicate", lambda members: members["channels.json"].append(members["channels.json"][0])),
    "a channel without name": ("field", lambda members: members["channels.json"][0].pop("name")),
    "a member that is no user": ("reference", lambda members: members["channels.json"][0]["members"].append("u:ghost")),
    "a sender that is no user": ("reference", record(user="u:ghost")),
    "no ts": ("field", record(ts="noon")),
    "the ts of another": ("duplicate", day(lambda found: found[2].update(ts=found[1]["ts"]))),
    "messages in another order": ("order", day(lambda found: found.reverse())),
    "another day": ("time", lambda members: members.update({"general/2026-11-22.json": members.pop(GENERAL)})),
    "no text": ("field", record(text=None)),
    "markup that is not escaped": ("escape", record(text="<!channel>")),
    "another text": ("escape", record(text="Good evening")),
    "an edit that nobody made": ("field", record(edited={"user": "u:ann", "ts": "1.000000"})),
    "a thread that begins nowhere": ("reference", record(thread_ts="1.000001")),
    "no word of the archive": ("field", lambda members: members[GENERAL][1].pop("metadata")),
    "no version": ("field", payload(versions=[])),
    "a message of another conversation": ("reference", payload(chat_id="g:evil")),
    "a time without offset": ("time", payload(sent_at="2026-11-20T21:00:00")),
    "a message is gone": ("count", day(lambda found: found.pop())),
    "a file out of the package": ("external", file(url_private="https://evil.example/x")),
    "a file that is not here": ("native", file(url_private="../natives/no")),
    "another digest of a file": ("digest", file(sha256="00")),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_broken_is_found(what: str, good: Package, tmp_path: Path) -> None:
    code, change = BREAKS[what]
    findings = rewritten(good, tmp_path, change).findings()
    assert code in {finding.code for finding in findings}, findings


class TestHarm:
    """A zip is judged by its table of contents before a member is read."""

    def of(self, good: Package, folder: Path, fill: Callable[[zipfile.ZipFile], object]) -> set[str]:
        copy = folder / "package"
        shutil.copytree(good.folder, copy)
        with zipfile.ZipFile(copy / "data/slack/slack-export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            fill(archive)
        return Package("slack", copy, good.written, good.facts).codes() - {"count"}

    @pytest.mark.parametrize(
        "name", ["../users.json", "/etc/passwd", "general/../../x.json", "a\\b.json", "C:/x.json", "a//b.json"]
    )
    def test_a_path_that_leaves_the_folder(self, name: str, good: Package, tmp_path: Path) -> None:
        assert self.of(good, tmp_path, lambda archive: archive.writestr(name, "[]")) == {"path"}

    def test_a_link(self, good: Package, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("users.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        assert self.of(good, tmp_path, lambda archive: archive.writestr(link, "/etc/passwd")) == {"path"}

    def test_a_bomb(self, good: Package, tmp_path: Path) -> None:
        assert self.of(good, tmp_path, lambda archive: archive.writestr("users.json", b" " * 10_000_000)) == {"bomb"}

    def test_one_name_twice(self, good: Package, tmp_path: Path) -> None:
        def fill(archive: zipfile.ZipFile) -> None:
            archive.writestr("users.json", "[]")
            archive.writestr("Users.json", "[]")

        assert self.of(good, tmp_path, fill) == {"duplicate"}

    def test_no_zip(self, good: Package, tmp_path: Path) -> None:
        copy = tmp_path / "package"
        shutil.copytree(good.folder, copy)
        (copy / "data/slack/slack-export.zip").write_bytes(b"PK\x05\x06")
        assert Package("slack", copy, good.written, good.facts).codes() == {"zip", "count"}

    def test_a_member_whose_bytes_are_others(self, good: Package, tmp_path: Path) -> None:
        copy = tmp_path / "package"
        shutil.copytree(good.folder, copy)
        path = copy / "data/slack/slack-export.zip"
        path.write_bytes(path.read_bytes().replace(b"Good morning", b"Good evening"))
        assert "parse" in Package("slack", copy, good.written, good.facts).codes()

    def test_a_zip_that_is_gone(self, good: Package, tmp_path: Path) -> None:
        copy = tmp_path / "package"
        shutil.copytree(good.folder, copy)
        (copy / "data/slack/slack-export.zip").unlink()
        assert Package("slack", copy, good.written, good.facts).codes() == {"missing"}


def test_every_count_of_the_report_is_held_against_what_is_there(good: Package) -> None:
    for field in ("messages", "message_versions", "files", "missing_files"):
        assert good.codes(**{field: 99}) == {"count"}
