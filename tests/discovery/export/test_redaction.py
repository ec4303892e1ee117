"""What is made black is nowhere in a package, however it was written and wherever it stood; what was left out is said."""

from __future__ import annotations

import csv
import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.archive.reader import Archive
from archiver.cli import main
from archiver.cli.export import FORMAT_NAMES
from archiver.discovery.export.redaction import BLACK, MARK, Redaction, Rule
from archiver.expression.spelling import Spellings
from archiver.store.local import LocalStore
from tests.discovery.export.lived import at_ms, channel, file_row, gap, member, said, user
from tests.expression.expressions import PHRASES, TEXTS
from tests.small_archive import add, found

SECRETS = ("merger", "price is 1", "u:kenji", "健二", "kenji@acme.com", "ＭＥＲＧＥＲ", "mérger", "me\u200brger")  # noqa: RUF001 - as written
REDACT = "words: [merger]\npatterns:\n  price: 'price is [0-9]+'\npeople: [kenji@acme.com]\n"

SPELT = "ＭＥＲＧＥＲ, mérger and me\u200brger: the price is 12"  # noqa: RUF001 - full width is tested
WRITTEN = said(20, 9, 0, "written", SPELT, chat_id="g:deal", sender_id="u:bob")
CAPTURED = said(20, 10, 0, "by", "hello", chat_id="g:deal", sender_id="u:bob", captured_by="u:kenji", source="fetch")
MARKUP = said(
    20,
    11,
    0,
    "markup",
    "see below",
    chat_id="g:deal",
    sender_id="u:bob",
    attachments=json.dumps([{"title": "the merger"}]),
)
DIRECT = said(20, 12, 0, "direct", "between us", chat_id="u:bob,u:kenji", chat_kind="direct", sender_id="u:bob")
PLAIN = said(20, 13, 0, "plain", "nothing to hide", chat_id="g:deal", sender_id="u:bob")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("redaction")
    archive = found(LocalStore(folder / "archive"))
    add(
        archive,
        archive.founding_head(),
        {
            "messages": [WRITTEN, CAPTURED, MARKUP, DIRECT, PLAIN],
            "files": [file_row(MARKUP, 0, "notes.merger"), file_row(MARKUP, 1, "merger.pdf")],
            "users": [user("u:bob", "Bob"), user("u:kenji", "健二", "田中", "kenji@acme.com")],
            "channels": [channel("g:deal", "merger room")],
            "groups": [member("g:deal", "u:kenji")],
            "gaps": [
                gap("talk", "silent", chat_id="u:bob,u:kenji", user_id="u:kenji", from_at=at_ms(20, 8), to_at=at_ms(21))
            ],
        },
        attempt="aaaaaaaa",
    )
    (folder / "archiver.yaml").write_text("workspace: acme\n")
    (folder / "redact.yaml").write_text(REDACT)
    return folder


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    forms = [word for name in FORMAT_NAMES if name != "parquet" for word in ("--format", name)]
    asked = ["--search", "merger OR hello OR below OR us OR hide", "--custodian", "kenji@acme.com"]
    chats = ["--channel", "*", "--conversation", "u:bob,u:kenji"]
    words = ["export", "--matter", "black", *asked, *chats, *forms, "--redact", str(folder / "redact.yaml")]
    assert main([*words, "--config", str(folder / "archiver.yaml"), "--to", str(folder / "x"), "--quiet"]) == 3
    assert main(["export", "check", str(folder / "x"), "--quiet"]) == 0
    return folder / "x"


def messages(package: Path) -> dict[str, dict[str, Any]]:
    lines = (package / "data" / "jsonl" / "messages-00001.jsonl").read_text("utf-8").splitlines()
    return {message["message_uid"]: message for message in map(json.loads, lines)}


def test_it_is_nowhere_in_the_package(package: Path) -> None:
    for path in package.rglob("*"):
        assert not any(secret in str(path.relative_to(package)) for secret in SECRETS), path
        if path.is_file():
            data = path.read_bytes()
            assert not [secret for secret in SECRETS if secret.encode() in data], path


def test_every_way_to_write_a_word_is_black_and_in_the_log(package: Path) -> None:
    message = messages(package)[WRITTEN["message_uid"]]
    assert message["versions"][0]["text"] == "█████, █████ and █████: the █████"
    with (package / "data" / "redactions.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["message_uid"], row["rule"], row["count"]) for row in csv.DictReader(file)] == [
            (WRITTEN["message_uid"], "pattern price", "1"),
            (WRITTEN["message_uid"], "word 1", "3"),
        ]
    totals = json.loads((package / "report.json").read_text("utf-8"))["totals"]
    assert (totals["redactions"], totals["files_withheld"]) == (4, 2)


def test_whose_token_saw_a_message_is_hidden_with_them(package: Path) -> None:
    assert messages(package)[CAPTURED["message_uid"]]["versions"][0]["captured_by"] == "person-1"


def test_digests_stand_only_where_nothing_was_left_out_that_could_be_guessed(package: Path) -> None:
    digests = {uid: message["versions"][0]["content_digest"] for uid, message in messages(package).items()}
    assert digests[PLAIN["message_uid"]] == PLAIN["content_digest"]
    assert digests[WRITTEN["message_uid"]] == digests[MARKUP["message_uid"]] == ""
    report = json.loads((package / "report.json").read_text("utf-8"))
    assert report["left_out"]["redacted_digests"] == 2


def test_no_path_and_no_digest_in_one_gives_the_name_of_a_file_away(package: Path) -> None:
    files = messages(package)[MARKUP["message_uid"]]["files"]
    assert [file["name"] for file in files] == ["notes.█████", "█████.pdf"]
    for file, name in zip(files, ("notes.merger", "merger.pdf"), strict=True):
        assert sha256(name.encode()).hexdigest()[:10] not in file["path_name"]


def test_a_gap_of_a_conversation_with_them_is_told_where_the_conversation_is(package: Path) -> None:
    told = (package / "data" / "jsonl" / "gaps-00001.jsonl").read_text("utf-8").splitlines()
    assert {(note["told_in"], note["chat_id"]) for note in map(json.loads, told) if note["told_in"]} == {
        ("u:bob,person-1", "u:bob,person-1")
    }


def test_what_was_asked_for_is_shown_black(package: Path) -> None:
    asked = json.loads((package / "report.json").read_text("utf-8"))["asked"]
    assert asked["search"] == "█████ OR hello OR below OR us OR hide"
    assert asked["custodians"] == ["█████"]
    assert asked["chats"] == ["*", "u:bob,█████"]


def test_which_file_made_it_black_stands_in_the_ledger_alone(folder: Path, package: Path) -> None:
    digest = sha256(REDACT.encode()).hexdigest()
    entries = [entry for entry, _ in Archive.open(LocalStore(folder / "archive")).entries() if entry.kind == "export"]
    assert entries[0].matter is not None
    assert entries[0].matter.detail["redaction_sha256"] == digest
    assert digest not in (package / "report.json").read_text("utf-8")


@settings(max_examples=12, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(PHRASES, min_size=1, max_size=3))
def test_looking_only_where_something_could_be_found_misses_nothing(texts: list[str], asked: list[str]) -> None:
    """Against each rule applied to each text in turn."""
    rules = [*(Rule(f"word {number}", Spellings([text])) for number, text in enumerate(asked)), Rule("digit", "[0-9]")]
    names = (
        "plain_text",
        "notification",
        "send_as_name",
        "sender_name",
        "flockml",
        "attachments",
        "raw",
        "captured_by",
        "sender_id",
    )
    rows = pa.table(
        {name: pa.array(texts if name == "plain_text" else [None] * len(texts), pa.string()) for name in names}
    )
    black = Redaction(rules=rules, is_active=True).apply(rows)
    for place, written in enumerate(texts):
        text = written
        for number, rule in enumerate(rules):
            if isinstance(rule.looked_for, str):
                text, count = re.subn(rule.looked_for, BLACK, text)
            else:
                text, count = rule.looked_for.replaced(text, BLACK)
            assert black.column(f"{MARK}{number}")[place].as_py() == count
        assert black.column("plain_text")[place].as_py() == text
