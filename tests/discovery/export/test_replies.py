"""What seems to reply to what, from the view of the query to every form: one original that is certain, or none."""

from __future__ import annotations

import email
import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from archiver.archive.reader import Archive, Head
from archiver.cli import main
from archiver.clock import SystemClock
from archiver.discovery.export.replies import NAMES_AT_ONCE, Question, Replies, Said
from archiver.normalise.content import canonical_json
from archiver.query.mistakes import TooLargeError
from archiver.settings import loading
from archiver.store.local import LocalStore
from archiver.wiring_export import exporting
from tests.discovery.export import lived
from tests.discovery.export.lived import channel, said, user
from tests.small_archive import add, build

HEAD = 3
# With so much DuckDB answers nothing.
LITTLE_BYTES = 1_000_000
# The most that Arrow ever had from an allocator that is not the system's.
COMMAND = """
import sys
from archiver.cli import main
main(sys.argv[1:])
import pyarrow as pa
print(pa.mimalloc_memory_pool().max_memory())
"""
QUOTED = "the price is ten, and no less than that"


def reply(day: int, minute: int, name: str, quote: str, **further: Any) -> dict[str, Any]:
    attachments = canonical_json([{"title": "In reply to Bob", "description": quote}]).decode()
    return said(day, 12, minute, name, f"agreed {name}", app_id="app-r", attachments=attachments, **further)


DEAL: dict[str, Any] = {"chat_id": "g:deal"}
PRIVATE: dict[str, Any] = {"chat_id": "u:ann,u:bob", "chat_kind": "direct"}
ORIGINAL = said(20, 9, 5, "original", QUOTED, sender_id="u:bob", **DEAL)
MESSAGES = [
    ORIGINAL,
    reply(20, 1, "same-day", QUOTED, **DEAL),
    reply(21, 2, "next-day", QUOTED[:25] + "…", **DEAL),
    said(20, 10, 0, "twin", "we said so twice", sender_id="u:bob", **DEAL),
    said(20, 10, 1, "twin-too", "we said so twice", sender_id="u:bob", **DEAL),
    reply(20, 3, "to-a-twin", "we said so twice", **DEAL),
    reply(20, 4, "to-nothing", "which nobody ever said", **DEAL),
    said(20, 9, 0, "in-private", "only between the two of us", sender_id="u:bob", **PRIVATE),
    reply(20, 5, "in-private-too", "only between the two of us", sender_id="u:ann", **PRIVATE),
]
FORMS = ("--format", "html", "--format", "rsmf", "--format", "eml", "--format", "slack")
TOLD = {"same-day": "original", "next-day": "original", "in-private-too": "in-private"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replies")
    archive, head = build(LocalStore(folder / "archive"), folder)
    people = [user("u:ann", "Ann", "", "ann@acme.com"), user("u:bob", "Bob", "", "bob@acme.com")]
    tables = {"messages": MESSAGES, "users": people, "channels": [channel("g:deal", "deal")]}
    assert add(archive, head, tables, attempt="cccccccc").sequence == HEAD
    (folder / "archiver.yaml").write_text("workspace: acme\n")
    return folder


@pytest.fixture(autouse=True)
def _configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVER_CONFIG", str(folder / "archiver.yaml"))


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    """Of every form that tells of replies, made by the command itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIVER_CONFIG", str(folder / "archiver.yaml"))
        made(folder / "x", *FORMS, "--head", str(HEAD))
    return folder / "x"


def made(to: Path, *words: str) -> None:
    eml = ("--option", "eml=message") if "eml" in words else ()
    assert main(["export", "--matter", "m", *words, *eml, "--format", "jsonl", "--to", str(to)]) in (0, 3)


def lines(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "data" / "jsonl").glob("messages-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


def told(folder: Path) -> dict[str, str]:
    return {name(line["message_uid"]): name(line["reply_to"]) for line in lines(folder) if line["reply_to"]}


def name(uid: str) -> str:
    return uid.partition("-")[2]


def files(folder: Path, form: str, extension: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((folder / "data" / form).rglob(f"*.{extension}"))]


class TestTold:
    def test_a_reply_names_the_message_that_it_quotes_where_that_is_certain(self, package: Path) -> None:
        assert told(package) == TOLD

    def test_its_checks_find_nothing(self, package: Path) -> None:
        assert main(["export", "check", str(package)]) == 0

    def test_in_mails(self, package: Path) -> None:
        mails = [email.message_from_bytes(data) for data in files(package, "eml", "eml")]
        by_id = {mail["Message-ID"]: mail["X-Archive-Message-UID"] for mail in mails}
        assert {
            name(mail["X-Archive-Message-UID"]): name(by_id[mail["In-Reply-To"]])
            for mail in mails
            if mail["In-Reply-To"]
        } == TOLD

    def test_in_the_pages_as_links(self, package: Path) -> None:
        pages = b"".join(files(package, "html", "html")).decode()
        links = re.findall(r'<p class="reply">.*?<a href="[^"]*#[^"]+"><bdi>Bob</bdi>: <bdi>([^<]*)</bdi>', pages)
        assert sorted(links) == ["only between the two of us", QUOTED, QUOTED]

    def test_in_the_slack_zip_as_threads(self, package: Path) -> None:
        (path,) = (package / "data" / "slack").rglob("*.zip")
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            days = [json.loads(archive.read(each)) for each in archive.namelist() if each.count("/") == 1]
        posts = [post for day in days for post in day if isinstance(post, dict) and post.get("text")]
        by_ts = {post["ts"]: post["text"] for post in posts}
        threads = {
            post["text"]: by_ts[post["thread_ts"]] for post in posts if post.get("thread_ts", post["ts"]) != post["ts"]
        }
        assert threads == {
            "agreed same-day": QUOTED,
            "agreed next-day": QUOTED,
            "agreed in-private-too": "only between the two of us",
        }

    def test_in_rsmf_as_the_parent(self, package: Path) -> None:
        parents: dict[str, str] = {}
        for data in files(package, "rsmf", "rsmf"):
            (zipped,) = (part for part in email.message_from_bytes(data).walk() if part.get_filename() == "rsmf.zip")
            content = zipped.get_payload(decode=True)
            assert isinstance(content, bytes)
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                events = json.loads(archive.read("rsmf_manifest.json"))["events"]
            parents.update({name(event["id"]): name(event["parent"]) for event in events if "parent" in event})
        # A parent stands in the same file: that of the other day is told as a property.
        assert parents == {key: value for key, value in TOLD.items() if key != "next-day"}

    def test_by_a_command_that_leaves_all_of_arrow_to_the_systems_allocator(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
        words = ["export", "--matter", "m", "--format", "jsonl", "--to", str(tmp_path / "x")]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *words], check=True, capture_output=True, text=True, timeout=60
        )
        assert done.stdout.splitlines()[-1] == "0"
        assert told(tmp_path / "x") == TOLD

    def test_the_same_bytes_again(self, package: Path, tmp_path: Path) -> None:
        made(tmp_path / "y", *FORMS, "--head", str(HEAD))
        assert (tmp_path / "y" / "tagmanifest-sha256.txt").read_bytes() == (
            package / "tagmanifest-sha256.txt"
        ).read_bytes()

    def test_also_of_a_day_whose_originals_lie_before_it(self, tmp_path: Path) -> None:
        made(tmp_path / "x", "--channel", "deal", "--from", "2026-11-21")
        assert told(tmp_path / "x") == {"next-day": "original"}

    def test_also_of_chats_whose_ids_are_black(self, tmp_path: Path) -> None:
        (tmp_path / "redact.yaml").write_text("people: [bob@acme.com]\n")
        made(tmp_path / "x", "--redact", str(tmp_path / "redact.yaml"))
        assert told(tmp_path / "x") == TOLD
        assert "u:bob" not in "".join(map(str, lines(tmp_path / "x")))


class TestAsked:
    """What is asked, and how often: a fake of who answers, which is the seam."""

    def test_once_about_the_chats_and_days_that_have_replies(self, folder: Path, tmp_path: Path) -> None:
        asked: list[tuple[Sequence[str], int, int]] = []

        def answer(_: Head, chats: Sequence[str], first_ms: int, last_ms: int) -> Iterable[tuple[str, str, str]]:
            asked.append((chats, first_ms, last_ms))
            return ()

        replies = Replies(tmp_path)
        said = Said()
        for row in MESSAGES:
            said = said.joined(Said.by(seen(row)))
        replies.ask(Question(answer, Archive.open(LocalStore(folder / "archive")).head(), said))
        replies.close()
        assert asked == [(["g:deal", "u:ann,u:bob"], lived.at_ms(20, 12, 1), lived.at_ms(21, 12, 2))]

    def test_never_where_nothing_says_that_it_is_a_reply(self, folder: Path, tmp_path: Path) -> None:
        replies = Replies(tmp_path)
        head = Archive.open(LocalStore(folder / "archive")).head()
        replies.ask(Question(lambda *_: pytest.fail("asked"), head, Said.by(seen(ORIGINAL))))
        assert replies.of("g:deal", ["x"]) == {}

    def test_again_with_more_memory_where_it_was_too_little(self, folder: Path) -> None:
        with exporting(loading.load(folder / "archiver.yaml"), clock=SystemClock()) as parts:
            head = parts.archive.head()
            asked = partial(parts.replies, head, ["g:deal"], lived.at_ms(1), lived.at_ms(28))
            told = {name(reply): name(original) for _, reply, original in asked()}
            assert told == {"same-day": "original", "next-day": "original"}
            assert set(asked(bytes_max=(LITTLE_BYTES, None))) == set(asked())  # type: ignore[call-arg] - of this one
            with pytest.raises(TooLargeError):
                list(asked(bytes_max=(LITTLE_BYTES,)))  # type: ignore[call-arg] - of this one

    def test_by_another_process_as_by_this_one(self, folder: Path) -> None:
        with exporting(loading.load(folder / "archiver.yaml"), clock=SystemClock()) as parts:
            asked = parts.archive.head(), ["g:deal"], lived.at_ms(1), lived.at_ms(28)
            sent = pickle.loads(pickle.dumps(parts.replies))
            assert sorted(sent(*asked)) == sorted(parts.replies(*asked)) != []

    def test_more_answers_than_are_looked_up_at_once(self, folder: Path, tmp_path: Path) -> None:
        count = 3 * NAMES_AT_ONCE + 1
        replies = Replies(tmp_path)
        answers = [("g:deal", f"m-{number}", f"o-{number}") for number in range(count)]
        head = Archive.open(LocalStore(folder / "archive")).head()
        replies.ask(Question(lambda *_: answers, head, Said.by(seen(MESSAGES[1]))))
        found = replies.of("g:deal", [f"m-{number}" for number in range(count + 5)])
        replies.close()
        assert found == {f"m-{number}": f"o-{number}" for number in range(count)}


def seen(row: dict[str, Any]) -> pa.Table:
    return pa.table(
        {
            "chat_id": [row["chat_id"]],
            "sent_at": pa.array([row["sent_at"]], pa.timestamp("ms", tz="UTC")),
            "app_id": pa.array([row.get("app_id")], pa.string()),
            "attachments": pa.array([row.get("attachments")], pa.string()),
        }
    )
