"""The Slack zip: what a viewer shows, what an importer reads, and what Slack has no place for."""

from __future__ import annotations

import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from archiver.discovery.export.formats import slack
from archiver.discovery.export.record import Message, Slice
from tests.discovery.export import slices
from tests.discovery.export.packages import package
from tests.discovery.export.slices import ANN, BOB, GENERAL, at_ms, message, version

VIEWER_PYTHON = Path(__file__).parents[3] / ".venv-peers/bin/python"


def members(folder: Path) -> dict[str, Any]:
    with zipfile.ZipFile(folder / "data/slack/slack-export.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        return {name: json.loads(archive.read(name)) for name in archive.namelist()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return members(package("slack", tmp_path_factory.mktemp("slack")).folder)


def general(made: dict[str, Any]) -> dict[str, Any]:
    return {
        one["metadata"]["event_payload"].get("message_uid", "gap"): one
        for name in ("general/2026-11-20.json", "general/2026-11-21.json")
        for one in made[name]
    }


def written(folder: Path, *messages: Message) -> tuple[list[Any], dict[str, int]]:
    made = package("slack", folder, slices=(Slice(GENERAL, "2026-11-20", 1, 1, messages),))
    assert made.findings() == []
    return members(folder)["general/2026-11-20.json"], dict(made.written.replaced)


class TestConversations:
    def test_channels_and_chats_of_two_have_their_lists_and_folders(self, made: dict[str, Any]) -> None:
        assert [(one["id"], one["name"], one["members"]) for one in made["channels.json"]] == [
            ("g:evil", slices.EVIL.path_name, ["u:ann", "u:mal"]),
            ("g:general", "general", ["u:ann", "u:bob", "u:kenji"]),
        ]
        assert [(one["id"], one["members"]) for one in made["dms.json"]] == [
            (slices.DIRECT.path_name, ["u:ann", "u:kenji"])
        ]
        assert made["groups.json"] == made["mpims.json"] == []
        assert [gap["kind"] for gap in made["gaps.json"]] == ["listener-down"]
        assert {user["id"] for user in made["users.json"]} == {
            "u:ann",
            "u:bob",
            "u:kenji",
            "u:mal",
            "u:Bot00000000000",
            "FLOCKARCHIVER",
        }

    def test_a_channel_that_is_called_like_a_list_gets_a_folder_of_its_own(self, tmp_path: Path) -> None:
        names = ("users.json", "Users.json_")
        parts = tuple(
            Slice(
                replace(GENERAL, chat_id=f"g:{at}", path_name=name),
                "2026-11-20",
                1,
                1,
                (message("m", 20, ANN, version("…"), chat_id=f"g:{at}"),),
            )
            for at, name in enumerate(names)
        )
        made = package("slack", tmp_path, slices=parts)
        assert made.findings() == []
        folders = [name.partition("/")[0] for name in members(tmp_path) if "/" in name]
        assert folders == ["users.json_", "Users.json__"]


class TestMessages:
    def test_every_ts_is_unique_also_within_one_millisecond(self, tmp_path: Path) -> None:
        records, replaced = written(tmp_path, *(message(f"m-{at:04d}", 20, ANN, version("…")) for at in range(1002)))
        stamps = [one["ts"] for one in records]
        assert len(set(stamps)) == 1002
        assert stamps[:2] == ["1795176000.000000", "1795176000.000001"]
        assert replaced == {"times moved by microseconds, so that a ts is unique in its conversation": 2}

    def test_markup_of_slack_is_text(self, tmp_path: Path) -> None:
        [one], _ = written(tmp_path, message("m", 20, ANN, version("<!channel> & <http://x|y>")))
        assert one["text"] == "&lt;!channel&gt; &amp; &lt;http://x|y&gt;"

    def test_an_edit_shows_the_newest_text_and_all_before_it(self, made: dict[str, Any]) -> None:
        edited = general(made)["m-2"]
        assert edited["edited"] == {"user": "u:bob", "ts": "1795226400.000000"}
        assert [note["text"] for note in edited["attachments"]] == ["the price is 10", "the price is 12"]
        assert [one["text"] for one in edited["metadata"]["event_payload"]["versions"]] == [
            one.text for one in slices.EDITED.versions
        ]

    def test_an_edit_whose_earlier_versions_were_left_out_is_still_one(self, tmp_path: Path) -> None:
        [one], _ = written(tmp_path, message("m", 20, ANN, version("12", 3)))
        assert "edited" in one
        assert "attachments" not in one

    def test_a_reader_sees_what_is_context_and_what_is_no_longer_in_flock(self, made: dict[str, Any]) -> None:
        assert [note["title"] for note in general(made)["m-3"]["attachments"]] == ["No longer in Flock"]
        assert [note["title"] for note in general(made)["m-7"]["attachments"]] == ["Context"]

    def test_a_gap_is_a_message_where_it_begins(self, made: dict[str, Any]) -> None:
        first = made["general/2026-11-20.json"][0]
        assert (first["user"], first["ts"]) == ("FLOCKARCHIVER", "1795168800.000000")
        assert "listener-down" in first["text"]

    def test_a_file_that_is_not_here_is_a_tombstone_with_its_reason(self, made: dict[str, Any]) -> None:
        [missing] = general(made)["m-5"]["files"]
        assert missing["mode"] == "tombstone"
        assert "404 Not Found" in missing["title"]
        assert "url_private" not in missing


class TestThreads:
    def test_a_reply_belongs_to_the_thread_of_what_it_replies_to(self, tmp_path: Path) -> None:
        first = message("m-1", 20, ANN, version("1"))
        second = message("m-2", 20, BOB, version("2"), sent_at_ms=at_ms(20, 12, 1), reply_to="m-1")
        third = message("m-3", 20, ANN, version("3"), sent_at_ms=at_ms(20, 12, 2), reply_to="m-2")
        records, replaced = written(tmp_path, first, second, third)
        assert [one.get("thread_ts") for one in records] == [None, records[0]["ts"], records[0]["ts"]]
        assert replaced == {}

    def test_a_reply_to_what_is_not_here_is_no_thread_and_is_counted(self, tmp_path: Path) -> None:
        [record], replaced = written(tmp_path, message("m-2", 20, BOB, version("2"), reply_to="m-1"))
        assert "thread_ts" not in record
        assert list(replaced.values()) == [1]

    def test_memory_of_what_can_be_replied_to_is_bounded(self) -> None:
        room = slack._Room("g:x", "x")
        one = message("m", 20, ANN, version("…"))
        for at in range(slack.REPLY_REACH_MESSAGES + 10):
            room.thread_of(structs.replace(one, message_uid=f"m-{at}"), str(at))
        assert len(room._thread_of) == slack.REPLY_REACH_MESSAGES
        replies = [structs.replace(one, message_uid=f"r-{at}", reply_to=f"m-{at}") for at in (8, at)]
        assert [room.thread_of(reply, "x") for reply in replies] == [None, (str(at), ANN.user_id)]


# The viewer's own command up to where it would serve, and then the pages that it would.
VIEW = """
import json, sys
import flask
from slackviewer.app import app
from slackviewer.main import main
main(["--archive", sys.argv[1], "--no-browser", "--test"], standalone_mode=False)
client, read = app.test_client(), flask._app_ctx_stack
addresses = [f"/channel/{name}/" for name in read.channels] + [f"/dm/{name}/" for name in read.dms]
print(json.dumps({address: client.get(address).get_data(as_text=True) for address in addresses}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not VIEWER_PYTHON.exists(), reason="make .venv-peers/peers.stamp installs the viewer")
def test_a_viewer_of_slack_exports_shows_it(tmp_path: Path) -> None:
    made = package("slack", tmp_path)
    run = subprocess.run(
        [str(VIEWER_PYTHON), "-c", VIEW, str(made.data / "slack-export.zip")],
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    pages = json.loads(run.stdout.splitlines()[-1])
    assert len(pages) == 3
    shown = pages["/channel/general/"]
    said = (
        "Good morning, everybody",
        "それは間違いでした",
        "Ann Áslaug",
        "the price is 10",
        "listener-down",
        "minutes.txt",
    )
    assert [text for text in said if text not in shown] == []
    assert "二人だけの話" in pages[f"/dm/{slices.DIRECT.path_name}/"]
    assert "<script>alert(1)" not in pages[f"/channel/{slices.EVIL.path_name}/"]
