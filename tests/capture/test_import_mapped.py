"""JSON lines and CSV through a mapping: which field is what, and what a record must have to be a message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from archiver import wiring_imports
from archiver.capture.imports.instants import TimeRule, instant_of
from archiver.capture.imports.records import Item, Tally
from archiver.clock import from_text, to_text
from archiver.errors import UnparseableError
from tests.brought import NOW_MS, bad, items_of, said

MAPPING: dict[str, Any] = {
    "origin": "old",
    "fields": {
        "uid": "id", "chat": "room", "sender": "from", "text": "text",
        "time": {"field": "at", "unit": "seconds"},
    },
}  # fmt: skip
RECORD: dict[str, Any] = {"id": "1", "room": "lobby", "from": "ann", "text": "hello", "at": 1_700_000_000.5}


def read(
    folder: Path, data: bytes, *, origin: str | None = "old", form: str = "jsonl", csv: Any = None, **fields: Any
) -> list[Item]:
    """Read bytes with the usual mapping, changed in these fields; None takes one out."""
    mapping: dict[str, Any] = {"format": form, "fields": {**MAPPING["fields"], **fields}}
    mapping["fields"] = {name: value for name, value in mapping["fields"].items() if value is not None}
    mapping |= {"origin": origin} if origin else {}
    mapping |= {"csv": csv} if csv else {}
    (folder / "m.yaml").write_text(yaml.safe_dump(mapping))
    (folder / "data").write_bytes(data)
    with wiring_imports.mapped_file(folder / "data", folder / "m.yaml") as source:
        return items_of(source)


def one(folder: Path, record: Any, **how: Any) -> Any:
    """Return the message that one record is."""
    items = read(folder, json.dumps(record).encode(), **how)
    assert not bad(items), bad(items)
    [message] = said(items)
    return message


def reason(folder: Path, record: Any, **how: Any) -> str:
    [(_, error)] = bad(read(folder, json.dumps(record).encode(), **how))
    return error


class TestFields:
    def test_a_record_is_a_message_of_its_origin_and_stays_as_it_stood(self, tmp_path: Path) -> None:
        line = '{ "id":"1", "room":"lobby","from":"ann",  "text":"h\\u00e9","at":1700000000.5,"x":[1]}'
        [message] = said(read(tmp_path, line.encode()))
        assert message.raw == line
        assert (message.chat_id, message.chat_kind) == ("import:old:lobby", "channel")
        assert (message.uid, message.sender_id, message.text) == ("1", "import:old:ann", "hé")
        assert message.sent_at_ms == 1_700_000_000_500

    def test_every_field_finds_its_column(self, tmp_path: Path) -> None:
        names = ("plain_text", "flockml", "notification", "send_as_name", "app_id", "client_id", "sender_name")
        record = (
            RECORD
            | {name: f"a {name}" for name in names}
            | {"on_behalf_of": "bob", "to": ["bob", "eve"], "seen": "bob; eve"}
        )
        fields: dict[str, Any] = {name: name for name in (*names, "on_behalf_of")}
        message = one(tmp_path, record, **fields, mentions="to", visible_to={"field": "seen", "split": ";"})
        assert [getattr(message, name) for name in names] == [f"a {name}" for name in names]
        assert message.on_behalf_of == "import:old:bob"
        assert message.mentions == message.visible_to == ["import:old:bob", "import:old:eve"]

    def test_names_lead_into_objects_and_lists_and_a_name_with_dots_comes_first(self, tmp_path: Path) -> None:
        record = RECORD | {"user": {"ids": ["x", "carol"]}, "a.b": "dots", "a": {"b": "nested"}}
        message = one(tmp_path, record, sender="user.ids.1", text="a.b")
        assert (message.sender_id, message.text) == ("import:old:carol", "dots")

    def test_a_value_may_be_the_same_for_all(self, tmp_path: Path) -> None:
        assert one(tmp_path, RECORD, chat={"constant": "the only room"}).chat_id == "import:old:the only room"

    def test_ids_of_another_system_stay_one_to_one(self, tmp_path: Path) -> None:
        ids = {one(tmp_path, RECORD | {"room": room}).chat_id for room in ("a,b", "a%2Cb", "a%252Cb", "a")}
        assert len(ids) == 4
        assert not any("," in chat_id for chat_id in ids)

    def test_a_recipient_makes_a_one_to_one_chat(self, tmp_path: Path) -> None:
        message = one(tmp_path, RECORD | {"to": "Ann's friend"}, recipient="to")
        assert (message.chat_id, message.chat_kind) == ("import:old:Ann's friend,import:old:ann", "direct")
        assert one(tmp_path, RECORD | {"k": "direct"}, chat_kind="k").chat_kind == "direct"

    @pytest.mark.parametrize(
        ("room", "chat"),
        [("g:1", ("g:1", "channel")), ("u:b,u:a", ("u:a,u:b", "direct")), ("u:a,u:b", ("u:a,u:b", "direct"))],
    )
    def test_without_an_origin_ids_are_flocks_own(self, room: str, chat: tuple[str, str], tmp_path: Path) -> None:
        message = one(tmp_path, RECORD | {"room": room, "from": "u:a"}, origin=None)
        assert ((message.chat_id, message.chat_kind), message.sender_id) == (chat, "u:a")

    def test_a_recipient_of_flocks_is_a_channel_or_the_other_side(self, tmp_path: Path) -> None:
        record = RECORD | {"from": "u:b"}
        assert one(tmp_path, record | {"to": "u:a"}, origin=None, recipient="to").chat_id == "u:a,u:b"
        assert one(tmp_path, record | {"to": "g:1"}, origin=None, recipient="to").chat_id == "g:1"

    def test_records_without_uids_each_get_their_own_and_always_the_same(self, tmp_path: Path) -> None:
        line = json.dumps(RECORD).encode() + b"\n"
        first = [message.uid for message in said(read(tmp_path, line * 3, uid=None))]
        assert len(set(first)) == 3
        assert all(uid.startswith("provisional:") for uid in first)
        assert first == [message.uid for message in said(read(tmp_path, line * 3, uid=None))]

    def test_attachments_are_lists_of_objects_or_urls_or_stand_in_the_record(self, tmp_path: Path) -> None:
        files = [{"u": "https://a.example/1", "n": "../../etc/passwd", "m": "image/png", "s": "12"}, {"n": "gone"}]
        inner = {"field": "files", "url": "u", "name": "n", "mime": "m", "size": "s"}
        assert one(tmp_path, RECORD | {"files": files}, attachments=inner).attachments == [
            {
                "downloads": [
                    {"src": "https://a.example/1", "filename": "../../etc/passwd", "mime": "image/png", "size": 12}
                ]
            },
            {"downloads": [{"filename": "gone"}]},
        ]
        for value in ("https://a.example/1", ["https://a.example/1"]):
            assert one(tmp_path, RECORD | {"files": value}, attachments="files").attachments == [
                {"downloads": [{"src": "https://a.example/1"}]}
            ]
        assert one(tmp_path, RECORD | {"u": "https://a.example/2"}, attachments={"url": "u"}).attachments
        assert one(tmp_path, RECORD, attachments={"url": "u"}).attachments is None

    def test_csv_goes_the_same_way(self, tmp_path: Path) -> None:
        data = "Id;Wann;Wer;Was\n7;27.11.2023 10:15;ann;Grüße\n".encode("windows-1252")
        csv = {"delimiter": ";", "encoding": "windows-1252"}
        time = {"field": "Wann", "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}
        fields = {"uid": "Id", "sender": "Wer", "text": "Was", "time": time, "chat": {"constant": "c"}}
        [message] = said(read(tmp_path, data, form="csv", csv=csv, **fields))
        assert (message.text, to_text(message.sent_at_ms)) == ("Grüße", "2023-11-27T09:15:00.000Z")
        assert message.raw == "7;27.11.2023 10:15;ann;Grüße"

    def test_fields_that_no_record_has_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "m.yaml").write_text(
            yaml.safe_dump({**MAPPING, "fields": {**MAPPING["fields"], "text": "txt.body"}})
        )
        (tmp_path / "data").write_text(json.dumps(RECORD))
        with wiring_imports.mapped_file(tmp_path / "data", tmp_path / "m.yaml") as source:
            tally = Tally()
            assert len(list(source.items(tally))) == 1
            assert tally.unseen_fields == ["txt.body"]


class TestUnreadable:
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"id": None}, "no uid"),
            ({"id": ""}, "no uid"),
            ({"id": [1]}, "neither text nor a whole number"),
            ({"id": "1" * 600}, "too long"),
            ({"id": 10**40}, "too long"),
            ({"room": ""}, "no chat"),
            ({"from": None}, "no sender"),
            ({"from": False}, "neither text"),
            ({"at": None}, "no time"),
            ({"at": "soon"}, "no number"),
            ({"at": 1_700_000_000_500}, "is the unit"),
            ({"at": 1_700_000}, "is the unit"),
            ({"at": 10**30}, "beyond any calendar"),
            ({"at": True}, "no number"),
        ],
    )
    def test_a_record_without_what_a_message_needs_says_so(
        self, changed: dict[str, Any], told: str, tmp_path: Path
    ) -> None:
        assert told in reason(tmp_path, RECORD | changed)

    @pytest.mark.parametrize("room", ["lobby", "u:a", "u:a,", "u:a,u:b,u:c", "import:x:c", "import:x:a,import:x:b"])
    def test_an_id_of_another_system_is_not_taken_for_flocks(self, room: str, tmp_path: Path) -> None:
        assert "`origin`" in reason(tmp_path, RECORD | {"room": room, "from": "u:a"}, origin=None)
        assert "`origin`" in reason(tmp_path, RECORD | {"room": "g:1", "from": "import:x:a"}, origin=None)

    def test_one_bad_line_harms_no_other(self, tmp_path: Path) -> None:
        good = json.dumps(RECORD).encode()
        items = read(tmp_path, b"\n".join([good, b"{", b"[]", b'{"a":NaN}', b"\xff\xfe", b"", good, b"{" * 500]))
        assert len(said(items)) == 2
        assert [place for place, _ in bad(items)] == ["line 2", "line 3", "line 4", "line 5", "line 8"]

    @given(st.binary(max_size=200))
    def test_any_bytes_are_messages_or_reasons(self, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
        lines = [line for line in data.split(b"\n") if line.strip()]
        assert len(read(tmp_path_factory.mktemp("m"), data)) == len(lines)

    @given(
        st.dictionaries(
            st.sampled_from(["id", "room", "from", "text", "at", "to", "f"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: (
                    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["u", "n"]), inner, max_size=2)
                ),
                max_leaves=5,
            ),
        )
    )
    def test_any_values_are_messages_or_reasons(
        self, tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
    ) -> None:
        data = json.dumps(record).encode()
        found = read(
            tmp_path_factory.mktemp("m"), data, mentions="to", attachments={"field": "f", "url": "u", "name": "n"}
        )
        assert len(found) == 1


class TestTimes:
    @pytest.mark.parametrize(
        ("value", "rule", "instant"),
        [
            ("1741842998.625429", {"unit": "seconds"}, "2025-03-13T05:16:38.625Z"),
            (1741842998625, {"unit": "milliseconds"}, "2025-03-13T05:16:38.625Z"),
            ("1741842998625429", {"unit": "microseconds"}, "2025-03-13T05:16:38.625Z"),
            (1741842998625429999, {"unit": "nanoseconds"}, "2025-03-13T05:16:38.625Z"),
            ("2025-03-13T05:16:38+09:00", {}, "2025-03-12T20:16:38.000Z"),
            ("2025-03-13T05:16:38Z", {"zone": "Asia/Tokyo"}, "2025-03-13T05:16:38.000Z"),
            ("2025-03-13 05:16", {"zone": "Asia/Tokyo"}, "2025-03-12T20:16:00.000Z"),
            ("13/03/25 05:16 +0100", {"format": "%d/%m/%y %H:%M %z"}, "2025-03-13T04:16:00.000Z"),
            # The hour that a summer's end repeats is taken as its first; the one that its beginning leaves out is read on.
            ("2025-10-26 02:30", {"zone": "Europe/Berlin"}, "2025-10-26T00:30:00.000Z"),
            ("2025-03-30 02:30", {"zone": "Europe/Berlin"}, "2025-03-30T01:30:00.000Z"),
        ],
    )
    def test_a_time_is_read_in_its_unit_format_and_zone(self, value: Any, rule: dict[str, Any], instant: str) -> None:
        zone = ZoneInfo(rule["zone"]) if "zone" in rule else None
        found = instant_of(value, TimeRule(("t",), rule.get("unit"), rule.get("format"), zone), now_ms=NOW_MS)
        assert found == from_text(instant)

    @pytest.mark.parametrize(
        "value",
        [
            "2025-03-13 05:16",
            "2025-03-13",
            "yesterday",
            5,
            "2999-01-01T00:00:00Z",
            "x" * 200,
            [],
            "0001-01-01T00:00:00+14:00",
        ],
    )
    def test_no_zone_is_guessed_and_no_nonsense_believed(self, value: Any) -> None:
        with pytest.raises(UnparseableError):
            instant_of(value, TimeRule(("t",)), now_ms=NOW_MS)
