"""A Slack export: people, chats and messages of every kind, and zips that somebody made to do harm."""

from __future__ import annotations

import json
import random
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.capture.imports import slack_zip as limits
from archiver.capture.imports.json_lists import elements_of
from archiver.capture.imports.opened import opened
from archiver.capture.imports.records import Directory, Item, Tally, Unreadable
from archiver.capture.imports.slack import slack_export
from archiver.capture.imports.slack_people import UNREAD_MAX
from archiver.capture.imports.survey import Survey, survey
from archiver.errors import UsageError
from tests.brought import ANN, BOB, GENERAL, NOW_MS, TEAM, bad, message, noted, said, slack_zip

DAY = "general/2023-11-14.json"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def read(path: Path, *, team: str | None = None) -> list[Item]:
    with opened(path) as file:
        return list(slack_export(file, team=team, now_ms=NOW_MS).items(Tally()))


def looked_through(path: Path) -> Survey:
    with opened(path) as file:
        return survey(slack_export(file, team=None, now_ms=NOW_MS), progress=lambda _: None)


def directory(path: Path) -> Directory:
    return looked_through(path).directory


def one(folder: Path, record: dict[str, Any]) -> Any:
    [found] = said(read(slack_zip(folder / "x.zip", {DAY: [record]})))
    return found


def archived_id(identifier: str) -> str:
    return f"import:slack-{TEAM}:{identifier}"


class TestDirectory:
    def test_people_have_their_profiles_since_they_last_changed(self, tmp_path: Path) -> None:
        ann, bob = directory(slack_zip(tmp_path / "x.zip")).people
        assert ann.user_id == archived_id("U0ANN")
        assert ann.state == {
            "first_name": "Ann Example",
            "email": "ann@acme.example",
            "team_id": archived_id(TEAM),
            "role": "admin",
            "timezone": "+09:00",
            "profile_image": "https://a.example/a",
        }
        assert (ann.changed_at_ms, json.loads(ann.raw)) == (1_700_000_000_000, {"users.json": ANN})
        assert (bob.state["first_name"], bob.state["last_name"], bob.changed_at_ms) == ("Bob", "B.", None)

    def test_a_chat_of_every_kind(self, tmp_path: Path) -> None:
        lists = {
            "groups.json": [{"id": "G0SEC", "name": "secret", "members": ["U0ANN"]}],
            "mpims.json": [{"id": "G0MPI", "name": "mpdm-ann--bob--eve-1", "members": ["U0ANN", "U0BOB", "U0EVE"]}],
            "dms.json": [
                {"id": "D0AB", "members": ["U0BOB", "U0ANN"]},
                {"id": "D0A", "members": ["U0ANN"]},
                {"id": "D0X"},
            ],
        }
        days = {
            f"{folder}/2023-11-14.json": [message()]
            for folder in ("general", "secret", "mpdm-ann--bob--eve-1", "D0AB", "D0A", "D0X")
        }
        path = slack_zip(tmp_path / "x.zip", days, lists=lists)
        ann, bob = archived_id("U0ANN"), archived_id("U0BOB")
        chats = {(item.chat_id, item.chat_kind) for item in said(read(path))}
        assert chats == {
            (archived_id("C0GEN"), "channel"),
            (archived_id("G0SEC"), "channel"),
            (archived_id("G0MPI"), "channel"),
            (f"{ann},{bob}", "direct"),
            (f"{ann},{ann}", "direct"),
            (archived_id("D0X"), "direct"),
        }
        rooms = {room.chat_id: room for room in directory(path).rooms}
        assert rooms[archived_id("G0SEC")].members == (ann,)
        assert rooms[f"{ann},{bob}"].participants == (ann, bob)
        assert rooms[archived_id("C0GEN")].purpose == "everything"

    def test_a_channel_has_its_former_names_since_they_were_given(self, tmp_path: Path) -> None:
        renames = [
            message("1700000200.000000", subtype="channel_name", old_name="second", name="general"),
            message("1700000100.000000", subtype="channel_name", old_name="first", name="second"),
        ]
        [room] = directory(slack_zip(tmp_path / "x.zip", {DAY: renames})).rooms
        assert room.names == (
            (1_690_000_000_000, "first"),
            (1_700_000_100_000, "second"),
            (1_700_000_200_000, "general"),
        )

    def test_the_workspace_is_that_of_most_people_or_the_given_one(self, tmp_path: Path) -> None:
        guest = {"id": "U9", "team_id": "T9OTHER"}
        path = slack_zip(tmp_path / "x.zip", {DAY: [message()]}, lists={"users.json": [guest, ANN, BOB]})
        assert said(read(path))[0].chat_id == archived_id("C0GEN")
        assert said(read(path, team="acme"))[0].chat_id == "import:slack-acme:C0GEN"
        path = slack_zip(tmp_path / "y.zip", {DAY: [message()]}, lists={"users.json": None})
        assert said(read(path, team="acme"))[0].sender_id == "import:slack-acme:U0ANN"
        for team in (None, "a/b", "a:b", "", "a,b"):
            with pytest.raises(UsageError, match="team"):
                read(path, team=team)

    def test_a_folder_that_no_list_has_is_a_chat_by_that_name(self, tmp_path: Path) -> None:
        path = slack_zip(tmp_path / "x.zip", {"gone,away/2023-11-14.json": [message()]})
        assert said(read(path))[0].chat_id == archived_id("folder/gone%2Caway")
        assert ((None, "gone,away"),) in {room.names for room in directory(path).rooms}

    @pytest.mark.parametrize("name", ["開発_広聴ai", "café", "%2C", "a b"])
    def test_names_of_any_script_find_their_folder_however_it_was_packed(self, name: str, tmp_path: Path) -> None:
        lists = {"channels.json": [{"id": "C1", "name": name}]}
        path = slack_zip(tmp_path / "x.zip", {f"{name}/2023-11-14.json": [message()]}, lists=lists, top="Acme export/")
        data = path.read_bytes()
        assert said(read(path))[0].chat_id == archived_id("C1")
        # Without the mark that says so, the bytes of a name are UTF-8 all the same.
        unmarked = bytearray(data)
        for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = unmarked.find(signature)
            while start >= 0:
                flags = struct.unpack_from("<H", unmarked, start + at)[0]
                struct.pack_into("<H", unmarked, start + at, flags & ~0x800)
                start = unmarked.find(signature, start + 4)
        path.write_bytes(unmarked)
        assert said(read(path))[0].chat_id == archived_id("C1")


class TestMessages:
    def test_a_message_is_itself_byte_for_byte(self, tmp_path: Path) -> None:
        raw = b'{ "type":"message","user":"U0ANN", "ts":"1700000100.000100","text":"h\\u00e9 \xf0\x9f\x91\x8d" ,"thread_ts":"1.2","reactions":[] }'
        [found] = said(read(slack_zip(tmp_path / "x.zip", {DAY: b"[" + raw + b"\n]"})))
        assert found.raw.encode() == raw
        assert (found.uid, found.sent_at_ms, found.text) == ("1700000100.000100", 1_700_000_100_000, "hé 👍")
        assert found.sender_id == archived_id("U0ANN")

    @pytest.mark.parametrize(
        ("fields", "sender", "send_as", "app"),
        [
            ({"user": "U0BOB"}, "U0BOB", None, None),
            ({"user": None, "bot_id": "B1", "username": "Deploy", "subtype": "bot_message"}, "B1", "Deploy", "B1"),
            ({"bot_id": "B1", "app_id": "A1"}, "U0ANN", None, "A1"),
            ({"user": None, "comment": {"user": "U0BOB"}, "subtype": "file_comment"}, "U0BOB", None, None),
            ({"user": None, "username": "hook"}, "hook", "hook", None),
            ({"user": None}, "nobody", None, None),
            ({"user": "USLACKBOT", "subtype": "tombstone"}, "USLACKBOT", None, None),
        ],
    )
    def test_senders_of_every_kind(
        self, fields: dict[str, Any], sender: str, send_as: str | None, app: str | None, tmp_path: Path
    ) -> None:
        found = one(tmp_path, message(**fields))
        assert (found.sender_id, found.send_as_name) == (archived_id(sender), send_as)
        assert found.app_id == (archived_id(app) if app else None)

    def test_the_text_stays_and_beside_it_stands_what_a_reader_sees(self, tmp_path: Path) -> None:
        text = "<@U0ANN> &amp; <@U9|eve> in <#C0GEN> <!here> <!subteam^S1|@devs>: <https://a.example/x|this> <https://b.example>"
        found = one(tmp_path, message(text=text))
        assert found.text == text
        assert found.plain_text == "@ann & @eve in #general @here @devs: this (https://a.example/x) https://b.example"
        assert found.mentions == [archived_id("U0ANN"), archived_id("U9")]

    def test_a_post_without_text_shows_what_its_blocks_or_attachments_say(self, tmp_path: Path) -> None:
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*build*"}, "fields": [{"text": "green"}]}]
        assert one(tmp_path, message(text="", blocks=blocks)).plain_text == "*build*\ngreen"
        found = one(
            tmp_path,
            message(text="", attachments=[{"title": "PR", "fallback": "opened", "from_url": "https://a.example"}]),
        )
        assert found.plain_text == "PR\nopened"
        assert found.attachments == [{"title": "PR", "description": "opened", "url": "https://a.example"}]

    def test_files_are_attachments_and_those_that_are_gone_have_no_link(self, tmp_path: Path) -> None:
        files = [
            {"id": "F1", "name": "a.png", "mimetype": "image/png", "size": 5, "url_private": "https://files.slack.com/1",
             "url_private_download": "https://files.slack.com/1/download", "mode": "hosted"},
            {"id": "F2", "mode": "tombstone", "url_private": "https://files.slack.com/2"},
            "nonsense",
        ]  # fmt: skip
        assert one(tmp_path, message(files=files)).attachments == [
            {
                "downloads": [
                    {
                        "src": "https://files.slack.com/1/download",
                        "filename": "a.png",
                        "mime": "image/png",
                        "size": 5,
                        "id": "F1",
                    }
                ]
            },
            {"downloads": [{"mode": "tombstone", "id": "F2"}]},
        ]
        assert looked_through(slack_zip(tmp_path / "y.zip", {DAY: [message(files=files)]})).files == 1

    def test_an_edit_shows_the_message_before_and_after_and_a_deletion_what_was_deleted(self, tmp_path: Path) -> None:
        old, new = message(text="old"), message(text="new", edited={"user": "U0ANN", "ts": "1700000101.000000"})
        records = [
            {"type": "message", "subtype": "message_changed", "hidden": True, "ts": "1700000101.0", "message": new, "previous_message": old},
            {"type": "message", "subtype": "message_deleted", "ts": "1700000102.0", "deleted_ts": old["ts"], "previous_message": new},
            {"type": "message", "subtype": "message_deleted", "ts": "1700000102.0", "deleted_ts": old["ts"]},
            {"type": "message", "subtype": "message_replied", "ts": "1700000102.0"},
            {"type": "huddle"},
        ]  # fmt: skip
        items = read(slack_zip(tmp_path / "x.zip", {DAY: records}))
        assert [(found.uid, found.text) for found in said(items)] == [
            (old["ts"], "old"), (old["ts"], "new"), (old["ts"], "new"),
        ]  # fmt: skip
        assert noted(items) == ["slack:message_deleted", "slack:message_replied", "slack:huddle"]

    @pytest.mark.parametrize(
        "record",
        [b"5", b'"x"', b'{"text":"no ts"}', b'{"ts":5}', b'{"ts":"yesterday"}', b'{"ts":"9999999999.0"}', b'{"ts":"1.0"}',
         b"{" * 150 + b"}" * 150, b'{"ts":"1700000100.0","user":"' + b"U" * 600 + b'"}'],
    )  # fmt: skip
    def test_a_record_that_is_no_message_says_why_and_harms_no_other(self, record: bytes, tmp_path: Path) -> None:
        good = json.dumps(message()).encode()
        items = read(
            slack_zip(
                tmp_path / "x.zip", {DAY: b"[" + record.replace(b"{" * 150, b'{"a":' * 149 + b"{") + b"," + good + b"]"}
            )
        )
        assert len(said(items)) == 1
        assert [place for place, _ in bad(items)] == [f"{DAY}[0]"]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "ts",
                            "user",
                            "text",
                            "files",
                            "blocks",
                            "attachments",
                            "type",
                            "subtype",
                            "message",
                            "comment",
                            "previous",
                            "url_private",
                            "title",
                        ]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json_is_items_or_reasons(self, tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
        record = {"ts": "1700000100.0", **value} if isinstance(value, dict) else value
        assert read(slack_zip(tmp_path_factory.mktemp("slack") / "x.zip", {DAY: [record]}))


class TestHostileZips:
    @pytest.mark.parametrize(
        "name",
        ["../../etc/2023-11-14.json", "/etc/2023-11-14.json", "../2023-11-14.json", "./2023-11-14.json", "a/b/2023-11-14.json",
         "general\\..\\2023-11-14.json", "2023-11-14.json", "general/../../2023-11-14.json"],
    )  # fmt: skip
    def test_a_name_that_leads_elsewhere_is_data_and_is_not_believed(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "deep" / "er").mkdir(parents=True)
        path = slack_zip(tmp_path / "deep" / "er" / "x.zip", {DAY: [message()]}, further=[(name, b"[]")])
        before = sorted(tmp_path.rglob("*"))
        items = read(path)
        assert len(said(items)) == 1
        assert [place for place, _ in bad(items)] == [name]
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_link_is_a_member_like_any_other(self, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("general/2023-11-15.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        items = read(slack_zip(tmp_path / "x.zip", {DAY: [message()]}, further=[(link, b"/etc/passwd")]))
        assert len(said(items)) == 1
        assert len(bad(items)) == 1

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_of_two_members_by_one_name_the_second_is_kept_and_not_read(self, tmp_path: Path) -> None:
        further = [(DAY, json.dumps([message(text="forged")]).encode()), ("users.json", b"[]")]
        items = read(slack_zip(tmp_path / "x.zip", {DAY: [message()]}, further=further))
        assert [found.text for found in said(items)] == ["hello"]
        assert sorted(bad(items)) == [(name, "a member of this name stood before it") for name in (DAY, "users.json")]

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        bomb = b"[" + b" " * (3 * limits.RATIO_BYTES_MIN) + b"]"
        items = read(slack_zip(tmp_path / "x.zip", {DAY: bomb, "general/2023-11-15.json": [message()]}))
        assert len(said(items)) == 1
        assert [error for _, error in bad(items)] == ["it unpacks to more than 400 times its size, as a zip bomb does"]

    def test_a_member_that_lies_about_its_size_is_caught(self, tmp_path: Path) -> None:
        path = slack_zip(tmp_path / "x.zip", {DAY: [message(text="x" * 5_000)]})
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(DAY).file_size
        for lie in (10, 2**31):
            changed = data.replace(struct.pack("<I", size), struct.pack("<I", lie))
            path.write_bytes(changed)
            items = read(path)
            assert (said(items), len(bad(items))) == ([], 1)

    def test_what_is_encrypted_says_so(self, tmp_path: Path) -> None:
        path = slack_zip(tmp_path / "x.zip", {DAY: [message()]})
        data = bytearray(path.read_bytes())
        at = data.rfind(b"PK\x01\x02", 0, data.rfind(DAY.encode()))
        struct.pack_into("<H", data, at + 8, 1)
        path.write_bytes(data)
        assert bad(read(path)) == [(DAY, "it is encrypted")]

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"nonsense"])
    def test_a_day_that_is_no_list_is_kept_whole(self, data: bytes, tmp_path: Path) -> None:
        items = read(slack_zip(tmp_path / "x.zip", {DAY: data}))
        [(place, _)] = bad(items)
        assert place == DAY
        assert [item.raw for item in items] == [data]

    @pytest.mark.parametrize(
        ("tail", "rest"),
        [
            (b"", b""), (b",", b""), (b", {", b"{"), (b" x]", b"x]"), (b"] x", b"x"), (b",]", b"]"),
            (b',{"text":"cut', b'{"text":"cut'), (b"," + b"[" * 100_000, b"[" * 100_000),
        ],
    )  # fmt: skip
    def test_of_a_day_that_is_cut_or_damaged_everything_before_is_read(
        self, tail: bytes, rest: bytes, tmp_path: Path
    ) -> None:
        data = b"[" + json.dumps(message()).encode() + tail
        items = read(slack_zip(tmp_path / "x.zip", {DAY: data}))
        assert len(said(items)) == 1
        [broken] = [item for item in items if isinstance(item, Unreadable)]
        assert (broken.place, broken.raw) == (f"{DAY}[1]", rest)

    @given(st.lists(json_values, max_size=5), st.sampled_from([None, 1]))
    def test_the_elements_of_a_list_are_its_own_text(self, values: list[Any], indent: int | None) -> None:
        found = list(elements_of(json.dumps(values, indent=indent).encode()))
        assert [json.loads(raw) for raw in found] == values

    def test_broken_lists_cost_their_own_entries_alone(self, tmp_path: Path) -> None:
        lists = {
            "users.json": [5, {"id": ""}, ANN, ANN],
            "channels.json": [GENERAL, {**GENERAL, "id": "C2"}],
            "dms.json": b"{",
        }
        items = read(slack_zip(tmp_path / "x.zip", {DAY: [message()]}, lists=lists))
        assert said(items)[0].chat_id == archived_id("C0GEN")
        assert [place for place, _ in bad(items)] == [
            "users.json[0]",
            "users.json[1]",
            "dms.json",
            "users.json[3]",
            "channels.json[1]",
        ]

    def test_a_list_of_nonsense_comes_to_an_end(self, tmp_path: Path) -> None:
        items = read(
            slack_zip(tmp_path / "x.zip", {DAY: [message()]}, lists={"dms.json": b"[" + b"1," * 100_000 + b"1]"})
        )
        assert len(said(items)) == 1
        assert len(bad(items)) == UNREAD_MAX + 1

    def test_what_is_not_read_is_named(self, tmp_path: Path) -> None:
        further = [
            (name, b"{}")
            for name in ("integration_logs.json", "__MACOSX/x", "general/.DS_Store", "canvas/F1.html", "a/")
        ]
        path = slack_zip(tmp_path / "x.zip", {DAY: [message()]}, further=further)
        assert looked_through(path).tally.not_read == ["integration_logs.json", "canvas/F1.html"]

    @pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, b"nonsense" * 100])
    def test_what_is_no_export_is_refused(self, data: bytes, tmp_path: Path) -> None:
        (tmp_path / "x.zip").write_bytes(data)
        with pytest.raises(UsageError):
            read(tmp_path / "x.zip")

    def test_no_damage_is_more_than_a_reason(self, tmp_path: Path) -> None:
        """Bytes of a real export are changed at random: it is refused, or everything in it is an item or a reason."""
        records = [message(f"17000001{n:02}.000100", f"text {n}") for n in range(60)]
        data = slack_zip(tmp_path / "x.zip", {DAY: records}).read_bytes()
        changes = random.Random(7)
        refused = 0
        for _ in range(400):
            damaged = bytearray(data)
            for _ in range(changes.randint(1, 6)):
                damaged[changes.randrange(len(damaged))] = changes.randrange(256)
            (tmp_path / "y.zip").write_bytes(damaged[: changes.choice([len(data), changes.randrange(len(data))])])
            try:
                read(tmp_path / "y.zip", team=TEAM)
            except UsageError:
                refused += 1
        assert 0 < refused < 400
