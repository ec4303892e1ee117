"""A workspace from a data set: a small one made here, and the real ones where they are at hand."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest

from archiver.errors import UsageError
from archiver.simulator.server import Simulator

CHAT_DATA = Path(os.environ.get("CHAT_DATA") or Path(__file__).parents[3] / "shared" / "data" / "chat")
DAY_MS = 86_400_000

USERS = [{"id": "ann", "name": "Ann"}, {"id": "bob", "name": "Bob"}, {"id": "B1", "name": "Robot", "bot": True}]
CHANNELS = [
    {"id": "C1", "name": "new name", "type": "public", "purpose": "to talk", "former_names": ["first name"]},
    {"id": "C2", "name": "quiet", "type": "private"},
]
HOSTILE = "\x00\x1b[31m ../../x \r\n trailing  "
MESSAGES = [
    {
        "channel": "C1",
        "id": "1",
        "ts_ms": DAY_MS,
        "from": "ann",
        "text": HOSTILE,
        "reactions": [{"name": "+1", "users": ["x"]}],
    },
    {"channel": "C1", "id": "2", "ts_ms": DAY_MS, "from": "bob", "text": "same moment", "mentions": ["ann", "ghost"]},
    {
        "channel": "C1",
        "id": "3",
        "ts_ms": DAY_MS + 1000,
        "from": "bob",
        "text": "from \u2018first name\u2019 to \u2018new name\u2019",
        "subtype": "channel_name",
    },
    {
        "channel": "C1",
        "id": "4",
        "ts_ms": DAY_MS + 2000,
        "from": "ann",
        "text": "was edited",
        "edited_ts_ms": DAY_MS + 9000,
    },
    {"channel": "C1", "id": "5", "ts_ms": DAY_MS + 3000, "from": "ann", "text": "third", "edited_ts_ms": 3 * DAY_MS},
    {"channel": "C1", "id": "6", "ts_ms": DAY_MS + 4000, "from": "ann", "text": "gone", "deleted": True},
    {"channel": "C1", "id": "7", "ts_ms": DAY_MS + 5000, "from": "B1", "text": "beep"},
    {
        "channel": "C2",
        "id": "1",
        "ts_ms": DAY_MS + 500,
        "from": "ann",
        "text": "",
        "attachments": [
            {
                "id": "F1",
                "name": "画像.png",
                "mime": "image/png",
                "size": 10**9,
                "url": "https://x.invalid/1",
                "mode": "hosted",
            },
            {"id": "F2", "name": "empty", "mime": "text/plain", "size": 0, "url": "https://x.invalid/2"},
            {"id": "F3", "name": "doc", "mime": "x/y", "size": 5, "url": "https://x.invalid/3", "mode": "external"},
            {"id": "F4", "deleted": True, "mode": "tombstone"},
        ],
    },
]
REVISIONS = [
    {"channel": "C1", "id": "5", "seen": "1970-01-02", "text": "first"},
    {"channel": "C1", "id": "5", "seen": "1970-01-03", "text": "first", "reactions": []},
    {"channel": "C1", "id": "5", "seen": "1970-01-03", "text": "second"},
    {"channel": "C1", "id": "5", "seen": "1970-01-05", "text": "third", "edited_ts_ms": 3 * DAY_MS},
]


def _write(folder: Path, *, packed: bool = True, **replaced: list[dict]) -> Path:
    tables = {"users": USERS, "channels": CHANNELS, "messages": MESSAGES, "revisions": REVISIONS} | replaced
    for name, rows in tables.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        if packed:
            (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text))
        else:
            (folder / f"{name}.jsonl").write_bytes(text)
    return folder


@pytest.fixture(params=[True, False], ids=["gz", "plain"])
def played(request, tmp_path):
    with Simulator(dataset=_write(tmp_path, packed=request.param), file_bytes_max=1000) as flock:
        flock.play_all()
        yield flock


def _messages(flock: Simulator) -> dict[tuple[str, str], dict]:
    names = {row["channel_id"]: row["source_id"] for row in flock.truth("channel")}
    return {(names[row["to"]], row["source_id"]): row for row in flock.truth("message")}


def test_every_message_is_there_with_its_text_unchanged(played):
    found = _messages(played)
    assert found.keys() == {(row["channel"], row["id"]) for row in MESSAGES}
    for row in MESSAGES:
        message = found[row["channel"], row["id"]]
        assert message["versions"][-1]["text"] == row["text"]
        assert message["sent_at_ms"] == row["ts_ms"]
    people = {row["user_id"]: row["source_id"] for row in played.truth("user")}
    assert [people[message["from"]] for message in found.values() if message["source_id"] == "7"] == ["B1"]
    assert [people[user] for user in found["C1", "2"]["versions"][0]["mentions"]] == ["ann", "ghost"]


def test_they_appear_in_order_of_time_and_those_of_one_moment_in_the_order_of_the_file(played):
    rows = sorted(_messages(played).items(), key=lambda item: item[1]["position"])
    assert [key for key, _ in rows] == [
        ("C1", "1"), ("C1", "2"), ("C2", "1"), ("C1", "3"), ("C1", "4"), ("C1", "5"), ("C1", "6"), ("C1", "7"),
    ]  # fmt: skip


def test_ids_have_flocks_form(played):
    for row in played.truth("message"):
        assert row["uid"].startswith(f"{row['sent_at_ms']}-")
        assert row["from"].startswith("u:")
        assert row["to"].startswith("g:")


def test_revisions_become_versions_and_what_did_not_change_does_not(played):
    versions = _messages(played)["C1", "5"]["versions"]
    assert [version["text"] for version in versions] == ["first", "second", "third"]
    times = [version["at_ms"] for version in versions]
    assert times == [DAY_MS + 3000, 2 * DAY_MS, 3 * DAY_MS]


def test_an_edit_without_a_known_former_text_starts_from_a_draft(played):
    versions = _messages(played)["C1", "4"]["versions"]
    assert [version["text"] for version in versions] == ["was", "was edited"]
    assert versions[1]["at_ms"] == DAY_MS + 9000


def test_a_deleted_message_was_there_first(played):
    message = _messages(played)["C1", "6"]
    assert message["deleted_at_ms"] > message["sent_at_ms"]


def test_a_rename_happens_when_it_was_announced(played):
    rows = {row["source_id"]: row for row in played.truth("channel")}
    assert [name["name"] for name in rows["C1"]["names"]] == ["first name", "new name"]
    assert rows["C1"]["names"][1]["at_ms"] == DAY_MS + 1000
    assert (rows["C2"]["name"], rows["C2"]["private"]) == ("quiet", True)


def test_files_are_cut_and_what_lives_elsewhere_is_a_link(played):
    attachments = _messages(played)["C2", "1"]["versions"][0]["attachments"]
    sizes = {attachment["id"]: [d["size"] for d in attachment.get("downloads", [])] for attachment in attachments}
    assert sizes == {"F1": [1000], "F2": [0], "F3": [], "F4": [0]}
    assert attachments[2]["url"] == "https://x.invalid/3"
    assert attachments[0]["downloads"][0]["filename"] == "画像.png"
    modes = {row["name"]: row["mode"] for row in played.truth("file")}
    assert modes[""] == "missing"


def test_bots_are_in_no_channel_and_post_on_behalf_of_a_member(played):
    message = _messages(played)["C1", "7"]
    people = {row["source_id"]: row["user_id"] for row in played.truth("user")}
    assert message["from"].startswith("u:B")
    assert message["versions"][0]["onBehalfOf"] == people["ann"]
    members = {row["user_id"] for row in played.truth("membership")}
    assert members == {people["ann"], people["bob"]}


def test_as_few_as_see_every_channel_have_installed_the_app(played):
    people = {row["user_id"]: row["source_id"] for row in played.truth("user")}
    assert [people[user] for user in played.user_tokens] == ["ann"]


@pytest.mark.parametrize(
    ("table", "rows", "why"),
    [
        ("messages", [{"channel": "C9", "id": "1", "ts_ms": 0, "from": "ann", "text": ""}], "C9"),
        ("messages", [{"channel": "C1", "id": "1", "ts_ms": "0", "from": "ann", "text": ""}], "line 1"),
        ("messages", [{"channel": "C1", "id": "1", "ts_ms": 10**20, "from": "ann", "text": ""}], "line 1"),
        ("users", [{"id": "ann"}], "line 1"),
        ("channels", [{"id": 1, "name": "x"}], "line 1"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, table, rows, why):
    with pytest.raises(UsageError, match=why):
        Simulator(dataset=_write(tmp_path, **{table: rows})).start()


def test_a_broken_archive_and_a_missing_file_are_named(tmp_path):
    _write(tmp_path)
    (tmp_path / "messages.jsonl.gz").write_bytes(gzip.compress(b"x" * 1000)[:-20])
    with pytest.raises(UsageError, match=r"messages\.jsonl\.gz"):
        Simulator(dataset=tmp_path).start()
    (tmp_path / "messages.jsonl.gz").unlink()
    with pytest.raises(UsageError, match="has no messages"):
        Simulator(dataset=tmp_path).start()


def _real(name: str) -> Path:
    folder = CHAT_DATA / name
    if not (folder / "messages.jsonl.gz").is_file():
        pytest.skip(f"no data set at {folder}: set CHAT_DATA to the folder that holds {name}")
    return folder


def _check_against_source(folder: Path, flock: Simulator) -> Counter[str]:
    """Compare the truth with the data set's own file; return what was counted."""
    found = _messages(flock)
    counts: Counter[str] = Counter()
    last: dict[str, int] = {}
    people = {row["user_id"]: row["source_id"] for row in flock.truth("user")}
    with gzip.open(folder / "messages.jsonl.gz", "rb") as lines:
        for line in lines:
            row = json.loads(line)
            message = found.pop((row["channel"], row["id"]))
            counts["messages"] += 1
            counts["edited"] += len(message["versions"]) > 1
            assert people[message["from"]] == row["from"]
            assert message["sent_at_ms"] == row["ts_ms"]
            if not row.get("deleted"):
                assert message["versions"][-1]["text"] == row["text"]
            assert message["position"] > last.get(row["channel"], 0)
            last[row["channel"]] = message["position"]
    assert not found
    return counts


def test_the_real_slack_is_played_whole(listener):
    folder = _real("slack-dd2030")
    with Simulator(dataset=folder) as flock:
        flock.play_all(push=False)
        counts = _check_against_source(folder, flock)
        assert counts["messages"] == 11_223
        assert counts["edited"] > 1_400
        renamed = [row for row in flock.truth("channel") if len(row["names"]) > 1]
        assert len(renamed) >= 26
        assert len({row["uid"] for row in flock.truth("message")}) == 11_223


@pytest.mark.slow
def test_the_real_irc_is_played_whole_in_little_memory():
    folder = _real("irc")
    tracemalloc.start()
    with Simulator(dataset=folder) as flock:
        flock.play_all(push=False)
        held_bytes, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held_bytes < 500 * 1024 * 1024
        assert _check_against_source(folder, flock)["messages"] == 242_163
        assert len({row["uid"] for row in flock.truth("message")}) == 242_163
