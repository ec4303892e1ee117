"""A message object becomes a row, or says why it cannot (flock-api.md 6.1, 6.2, 7 and 11.1)."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.clock import DAY_MS
from archiver.errors import UnparseableError
from archiver.model.message import Message
from archiver.normalise.message import (
    IDENTIFIER_LENGTH_MAX_CHARACTERS,
    NESTING_MAX,
    PLAUSIBLE_AHEAD_MS,
    PLAUSIBLE_FROM_MS,
    PROVISIONAL_PREFIX,
    Observed,
    carries_unknown_fields,
    read_content,
    read_message,
)

SENT_AT_MS = 1_700_000_000_123
OBSERVED = Observed(SENT_AT_MS + 5_000, "webhook", "general")

PUSHED: dict[str, Any] = {
    "id": "d_1700000000000_ab12cd34",
    "to": "g:0123456789abcdef0123456789abcdef",
    "from": "u:aaaabbbbccccdddd",
    "text": "hello",
    "timestamp": "2023-11-14T22:13:20.123Z",
    "timestampInMillis": SENT_AT_MS,
    "uid": "1700000000123-aBc-m201",
    "onBehalfOf": "",
    "visibleTo": [],
}


def bytes_of(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()


def read(fields: dict[str, Any] | None = None, *, drop: tuple[str, ...] = (), **changed: Any) -> Message:
    merged = {**(PUSHED if fields is None else fields), **changed}
    return read_message(bytes_of({name: value for name, value in merged.items() if name not in drop}), OBSERVED)


def reason(raw: bytes) -> str:
    with pytest.raises(UnparseableError) as caught:
        read_message(raw, OBSERVED)
    return caught.value.what


def reason_for(**changed: Any) -> str:
    return reason(bytes_of({**PUSHED, **changed}))


class TestTheObservedShape:
    def test_every_column_has_its_field(self) -> None:
        raw = bytes_of(PUSHED)
        message = read_message(raw, OBSERVED)
        assert message == Message(
            chat_id="g:0123456789abcdef0123456789abcdef",
            chat_kind="channel",
            message_uid="1700000000123-aBc-m201",
            uid_provisional=False,
            sent_at_ms=SENT_AT_MS,
            sent_at_basis="timestampInMillis",
            observed_at_ms=OBSERVED.at_ms,
            source="webhook",
            captured_by="general",
            sender_id="u:aaaabbbbccccdddd",
            send_as_name=None,
            on_behalf_of=None,
            app_id=None,
            text="hello",
            flockml=None,
            notification=None,
            plain_text="hello",
            mentions=None,
            visible_to=None,
            attachments=None,
            files=(),
            client_id="d_1700000000000_ab12cd34",
            raw=raw.decode(),
            raw_digest=sha256(raw).hexdigest(),
            content_digest=sha256(b'{"text":"hello"}').hexdigest(),
        )

    def test_a_bot_post_keeps_the_shown_name_beside_the_true_sender(self) -> None:
        message = read(
            **{"from": "u:Bbbbbbbbbbbbbbbb"},
            sendAs={"name": "Build", "profileImage": "https://i.flock.co/x"},
            onBehalfOf="u:cccc",
            appId="0123",
            flockml="<flockml>Done <b>well</b></flockml>",
            notification="Done",
            mentions=["u:one", "u:two"],
            visibleTo=["u:one"],
        )
        assert (message.sender_id, message.send_as_name, message.on_behalf_of) == (
            "u:Bbbbbbbbbbbbbbbb",
            "Build",
            "u:cccc",
        )
        assert (message.app_id, message.notification, message.plain_text) == ("0123", "Done", "Done well")
        assert (message.mentions, message.visible_to) == (["u:one", "u:two"], ["u:one"])

    def test_a_one_to_one_chat_is_the_same_chat_from_both_sides(self) -> None:
        there = read(to="u:zed", **{"from": "u:ann"})
        back = read(to="u:ann", **{"from": "u:zed"})
        assert there.chat_id == back.chat_id == "u:ann,u:zed"
        assert there.chat_kind == "direct"

    def test_fields_that_are_empty_say_nothing(self) -> None:
        texts, lists = ("flockml", "notification", "appId", "onBehalfOf"), ("mentions", "attachments", "visibleTo")
        empty = read(**dict.fromkeys(texts, ""), **{name: [] for name in lists}, sendAs={})
        null = read(**dict.fromkeys((*texts, *lists, "sendAs")))
        assert empty.content_digest == null.content_digest == read().content_digest
        for message in (empty, null):
            assert (message.flockml, message.mentions, message.attachments, message.files) == (None, None, None, ())

    def test_text_may_be_absent_null_or_empty(self) -> None:
        texts = [read(drop=("text",)), read(text=None), read(text="")]
        assert [message.text for message in texts] == ["", "", ""]
        assert len({message.content_digest for message in texts}) == 1


class TestTheDocumentedWebhookShape:
    """XMPP identifiers, no uid and no time (flock-api.md 11.1)."""

    BODY: ClassVar[dict[str, Any]] = {
        "id": "d_1",
        "from": "abc@go.to/desktop",
        "to": "team_lobby@groups.go.to",
        "type": "message",
        "text": "hello",
    }

    def test_its_identifiers_are_mapped_and_the_original_stays_in_raw(self) -> None:
        message = read(self.BODY)
        assert (message.sender_id, message.chat_id, message.chat_kind) == ("u:abc", "g:team_lobby", "channel")
        assert json.loads(message.raw) == self.BODY

    def test_its_uid_is_provisional_and_its_time_that_of_the_arrival(self) -> None:
        message = read(self.BODY)
        assert message.uid_provisional
        assert message.message_uid.startswith(PROVISIONAL_PREFIX)
        assert (message.sent_at_ms, message.sent_at_basis) == (OBSERVED.at_ms, "observed")

    def test_a_provisional_uid_is_the_same_whenever_the_same_capture_is_read(self) -> None:
        assert read(self.BODY).message_uid == read(self.BODY).message_uid

    @pytest.mark.parametrize(
        "changed", [{"text": "hullo"}, {"id": "d_2"}, {"from": "xyz@go.to"}, {"to": "other@groups.go.to"}]
    )
    def test_a_provisional_uid_tells_different_messages_apart(self, changed: dict[str, str]) -> None:
        assert read(self.BODY, **changed).message_uid != read(self.BODY).message_uid

    def test_a_provisional_uid_tells_arrivals_apart(self) -> None:
        later = read_message(bytes_of(self.BODY), Observed(OBSERVED.at_ms + 1, "webhook", "general"))
        assert later.message_uid != read(self.BODY).message_uid

    @pytest.mark.parametrize("uid", [None, ""])
    def test_a_null_or_empty_uid_is_no_uid(self, uid: object) -> None:
        assert read(uid=uid).uid_provisional

    @pytest.mark.parametrize("client_id", [2**70, [1], {"deep": [2**80]}, True, 1.5])
    def test_an_odd_client_id_stops_nothing(self, client_id: object) -> None:
        message = read(self.BODY, id=client_id)
        assert message.uid_provisional
        assert message.client_id == json.dumps(client_id, separators=(",", ":"))


class TestIdentifiers:
    @pytest.mark.parametrize("field", ["from", "to"])
    def test_a_missing_party_is_named(self, field: str) -> None:
        missing = f"field '{field}' is missing or empty, expected an identifier"
        assert reason(bytes_of({k: v for k, v in PUSHED.items() if k != field})) == missing
        assert reason_for(**{field: ""}) == missing
        assert reason_for(**{field: None}) == missing

    @pytest.mark.parametrize("field", ["from", "to"])
    @pytest.mark.parametrize(("value", "kind"), [(7, "int"), ([], "array"), (True, "bool"), ({}, "object")])
    def test_a_party_of_a_wrong_type_is_named_with_its_type(self, field: str, value: object, kind: str) -> None:
        assert reason_for(**{field: value}) == f"not a message: Expected `str | null`, got `{kind}` - at `$.{field}`"

    def test_a_numeric_uid_is_taken_as_text(self) -> None:
        assert read(uid=42).message_uid == "42"

    def test_a_uid_of_zero_is_a_uid(self) -> None:
        assert read(uid=0).message_uid == "0"
        assert not read(uid=0).uid_provisional

    @pytest.mark.parametrize("uid", [True, 1.5, ["a"], {"a": 1}])
    def test_a_uid_that_is_no_name_is_refused(self, uid: object) -> None:
        assert reason_for(uid=uid).endswith("at `$.uid`")

    @pytest.mark.parametrize("field", ["uid", "from", "to"])
    def test_an_endless_identifier_is_refused_without_being_repeated(self, field: str) -> None:
        what = reason_for(**{field: "u:" + "x" * IDENTIFIER_LENGTH_MAX_CHARACTERS})
        assert f"'{field}'" in what
        assert "xxx" not in what

    def test_a_number_of_too_many_digits_is_no_uid_either(self) -> None:
        raw = bytes_of(PUSHED).replace(b'"1700000000123-aBc-m201"', b"7" * (IDENTIFIER_LENGTH_MAX_CHARACTERS + 1))
        assert "'uid'" in reason(raw)

    def test_identifiers_are_opaque(self) -> None:
        message = read(uid="../../etc/passwd", **{"from": "b:old bot", "to": "g:Ünïcode/'\"\u0000"})
        assert (message.message_uid, message.sender_id) == ("../../etc/passwd", "b:old bot")
        assert message.chat_id == "g:Ünïcode/'\"\u0000"


class TestWrongTypes:
    @pytest.mark.parametrize("field", ["text", "flockml", "notification", "appId", "onBehalfOf"])
    @pytest.mark.parametrize("value", [7, True, False, 0, 0.0, ["x"], {"x": 1}, [], {}])
    def test_a_text_field_of_another_type_is_named(self, field: str, value: object) -> None:
        assert reason_for(**{field: value}).endswith(f"at `$.{field}`")

    @pytest.mark.parametrize("field", ["mentions", "visibleTo", "attachments"])
    @pytest.mark.parametrize("value", [7, "x", True, False, 0, {"x": 1}, "", {}])
    def test_a_list_field_of_another_type_is_named(self, field: str, value: object) -> None:
        assert reason_for(**{field: value}).endswith(f"at `$.{field}`")

    @pytest.mark.parametrize("value", [7, "x", False, 0, ["x"], [], ""])
    def test_send_as_of_another_type_is_named(self, value: object) -> None:
        assert reason_for(sendAs=value).endswith("at `$.sendAs`")

    @pytest.mark.parametrize("field", ["mentions", "visibleTo"])
    def test_a_list_of_anything_but_identifiers_is_named(self, field: str) -> None:
        assert reason_for(**{field: ["u:a", 7]}).endswith(f"at `$.{field}[1]`")

    @pytest.mark.parametrize(
        "field", ["mentions", "visibleTo", "attachments", "sendAs", "from", "to", "uid", "text", "zzz"]
    )
    def test_a_reason_never_repeats_what_stood_there(self, field: str) -> None:
        value = {"s3cret": "s3cret"} if field not in ("sendAs", "zzz") else "s3cret"
        raw = bytes_of({**PUSHED, field: value}) + (b"s3cret" if field == "zzz" else b"")
        assert "s3cret" not in reason(raw)

    def test_one_is_found_in_what_only_a_lenient_reader_takes(self) -> None:
        raw = bytes_of({**PUSHED, "flockml": 7}).replace(b'"hello"', rb'"\ud800"')
        assert reason(raw).endswith("at `$.flockml`")

    @pytest.mark.parametrize(
        ("raw", "what"),
        [
            (b"", "not JSON"),
            (b"[]", "a JSON list where a message object was expected"),
            (b"null", "a JSON NoneType where a message object was expected"),
            (b'"hi"', "a JSON str where a message object was expected"),
            (b'{"from":"u:a","to":"g:b"', "not JSON"),
            (b'{"from":"u:a","to":"g:b"} {}', "not JSON"),
            (b'{"from":"u:a","to":"g:b","x":NaN}', "not JSON"),
            (b'{"from":"u:a","to":"g:b","x":-Infinity}', "not JSON"),
            (b'{"from":"u:a","to":"g:b","text":"a\nb"}', "not JSON"),
            (b'{"from":"u:a","to":"g:b","text":"\xff"}', "not UTF-8"),
            (b"<html>login</html>", "not JSON"),
            ('{"from":"u:a","to":"g:b"}'.encode("utf-16"), "not UTF-8"),
            ('{"from":"u:a","to":"g:b"}'.encode("utf-16-le"), "not JSON"),
        ],
    )
    def test_what_is_no_json_object_in_utf_8_says_so(self, raw: bytes, what: str) -> None:
        assert reason(raw).startswith(what)


class TestSendingTime:
    """``timestampInMillis``, else ``timestamp`` as number, numeric string or ISO 8601, else the uid, else the arrival."""

    def test_the_number_beside_the_text_wins(self) -> None:
        message = read(timestampInMillis=SENT_AT_MS + 1)
        assert (message.sent_at_ms, message.sent_at_basis) == (SENT_AT_MS + 1, "timestampInMillis")

    @pytest.mark.parametrize(
        "timestamp",
        [
            SENT_AT_MS,
            float(SENT_AT_MS),
            str(SENT_AT_MS),
            "2023-11-14T22:13:20.123Z",
            "2023-11-14T22:13:20.123",
            "2023-11-15T03:43:20.123+05:30",
            "2023-11-14 22:13:20.123+00:00",
            "2023-11-14T22:13:20.123999Z",
        ],
    )
    def test_every_form_of_timestamp_is_one_instant(self, timestamp: object) -> None:
        message = read(drop=("timestampInMillis", "uid"), timestamp=timestamp)
        assert (message.sent_at_ms, message.sent_at_basis) == (SENT_AT_MS, "timestamp")

    @pytest.mark.parametrize(
        "nonsense", [None, "", "soon", True, [], {}, "2023-13-45T99:00:00Z", -1, 1_700_000_000, "9" * 400]
    )
    def test_a_timestamp_that_is_none_leaves_the_uid(self, nonsense: object) -> None:
        message = read(timestamp=nonsense, timestampInMillis=nonsense)
        assert (message.sent_at_ms, message.sent_at_basis) == (SENT_AT_MS, "uid")

    @pytest.mark.parametrize("uid", ["7b4f2a90-0000-4000-8000-000000000000", "0123456789ab", "-m201", "12-x", "x"])
    def test_an_opaque_uid_leaves_the_arrival(self, uid: str) -> None:
        message = read(drop=("timestamp", "timestampInMillis"), uid=uid)
        assert (message.sent_at_ms, message.sent_at_basis) == (OBSERVED.at_ms, "observed")

    @pytest.mark.parametrize(
        ("at_ms", "plausible"),
        [
            (PLAUSIBLE_FROM_MS - 1, False),
            (PLAUSIBLE_FROM_MS, True),
            (OBSERVED.at_ms + PLAUSIBLE_AHEAD_MS, True),
            (OBSERVED.at_ms + PLAUSIBLE_AHEAD_MS + 1, False),
            (0, False),
            (-(2**63), False),
            (2**63, False),
            (2**70, False),
        ],
    )
    @pytest.mark.parametrize("field", ["timestampInMillis", "timestamp"])
    def test_a_time_outside_the_plausible_window_is_no_time(self, field: str, at_ms: int, plausible: bool) -> None:
        others = {"timestampInMillis", "timestamp", "uid"} - {field}
        message = read(drop=tuple(others), **{field: at_ms})
        assert (message.sent_at_ms, message.sent_at_basis) == (
            (at_ms, field) if plausible else (OBSERVED.at_ms, "observed")
        )

    @pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1e308", b"9" * 5000, b"-" + b"9" * 5000, b"0.1e1"])
    def test_a_number_beyond_all_bounds_is_no_time(self, number: bytes) -> None:
        raw = b'{"from":"u:a","to":"g:b","text":"hi","uid":"x","timestampInMillis":%b}' % number
        message = read_message(raw, OBSERVED)
        assert (message.text, message.sent_at_basis) == ("hi", "observed")
        assert message.raw.encode() == raw

    def test_the_plausible_future_is_two_days(self) -> None:
        assert PLAUSIBLE_AHEAD_MS == 2 * DAY_MS


class TestRaw:
    def test_raw_is_the_bytes_as_received(self) -> None:
        raw = b' {"to" :"g:b",\t"from":"u:a" , "text":"\\u00e9\\/ \xc3\xa9", "zzz":[1.0e1, {"k":null}], "text2":"\\ud83d\\ude00"}\r\n'
        message = read_message(raw, OBSERVED)
        assert message.raw.encode() == raw
        assert message.raw_digest == sha256(raw).hexdigest()
        assert message.text == "é/ é"

    def test_unknown_fields_fail_nothing_and_survive_in_raw(self) -> None:
        raw = bytes_of({**PUSHED, "editedOn": 17, "reactions": [{"emoji": "👍", "by": ["u:x"]}]})
        assert read_message(raw, OBSERVED).raw.encode() == raw
        assert carries_unknown_fields(raw)
        assert not carries_unknown_fields(bytes_of(PUSHED))

    @pytest.mark.parametrize(
        "unknown",
        [b"1e400", b"9" * 5000, b'"\\ud800"', b"[" * 60 + b"]" * 60],
        ids=["overflow", "digits", "surrogate", "deep"],
    )
    def test_whatever_can_be_read_can_be_asked_for_unknown_fields(self, unknown: bytes) -> None:
        raw = b'{"from":"u:a","to":"g:b","extra":%b}' % unknown
        read_message(raw, OBSERVED)
        assert carries_unknown_fields(raw)

    def test_of_a_field_given_twice_the_last_counts_and_raw_keeps_both(self) -> None:
        raw = b'{"from":"u:a","to":"g:b","text":"first","text":"second","uid":"x"}'
        assert read_message(raw, OBSERVED).text == "second"
        hard = raw.replace(b'"uid"', b'"\\ud800":0,"uid"')
        assert read_message(hard, OBSERVED).text == "second"

    def test_a_byte_order_mark_is_no_part_of_the_message_but_of_raw(self) -> None:
        raw = b"\xef\xbb\xbf" + bytes_of(PUSHED)
        message = read_message(raw, OBSERVED)
        assert message.text == "hello"
        assert message.raw.encode() == raw
        assert read_content(message.raw)["text"] == "hello"

    @pytest.mark.parametrize(
        ("escaped", "shown"),
        [
            (rb"\ud83d", "\ufffd"),
            (rb"\ude00x", "\ufffdx"),
            (rb"a\ud83db", "a\ufffdb"),
            (rb"\ud83d\ude00", "😀"),
            (rb"\ud83d\ud83d\ude00", "\ufffd😀"),
            (rb"\ufeffx", "\ufeffx"),
        ],
    )
    def test_half_an_emoji_shows_as_a_replacement_and_stays_as_received_in_raw(
        self, escaped: bytes, shown: str
    ) -> None:
        raw = b'{"from":"u:a","to":"g:b","text":"%b"}' % escaped
        message = read_message(raw, OBSERVED)
        assert message.text == shown
        assert message.raw.encode() == raw
        assert read_content(message.raw) == {"text": shown}

    def test_half_an_emoji_anywhere_leaves_the_rest_whole(self) -> None:
        raw = (
            rb'{"from":"u:a","to":"g:b","text":"t","flockml":"\ud83d","mentions":["u:\ud83d"],'
            rb'"sendAs":{"name":"\ude00"},"attachments":[{"\ud83d":"\ude00","downloads":[{"src":"https:\/\/x\/\ud83d"}]}]}'
        )
        message = read_message(raw, OBSERVED)
        assert (message.flockml, message.mentions, message.send_as_name) == ("\ufffd", ["u:\ufffd"], "\ufffd")
        assert message.files[0].url == "https://x/\ufffd"

    def test_control_characters_and_nul_are_kept(self) -> None:
        text = "".join(map(chr, range(32))) + "\x7f\u2028\u202e\ufffe"
        message = read(text=text)
        assert message.text == text
        assert (
            message.content_digest
            == sha256(json.dumps({"text": text}, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
        )


class TestNesting:
    @staticmethod
    def _nested(levels: int, field: str) -> bytes:
        return b'{"from":"u:a","to":"g:b","text":"x","%b":%b%b}' % (field.encode(), b"[" * levels, b"]" * levels)

    @pytest.mark.parametrize("field", ["attachments", "extra", "id", "sendAs"])
    @pytest.mark.parametrize("levels", [NESTING_MAX, NESTING_MAX + 1, 600, 990, 5_000, 200_000])
    def test_too_deep_is_refused_in_every_field(self, field: str, levels: int) -> None:
        assert reason(self._nested(levels, field)) == f"nested deeper than {NESTING_MAX} levels"

    @pytest.mark.parametrize("field", ["attachments", "extra", "id"])
    def test_the_deepest_allowed_is_read_digested_and_compared(self, field: str) -> None:
        raw = self._nested(NESTING_MAX - 1, field)
        message = read_message(raw, OBSERVED)
        assert read_content(message.raw)["text"] == "x"
        carries_unknown_fields(raw)

    def test_brackets_inside_texts_are_no_nesting(self) -> None:
        text = '[{"\\' * 10_000
        assert read(text=text).text == text

    def test_many_brackets_side_by_side_are_no_nesting(self) -> None:
        assert read(attachments=[{"title": str(n)} for n in range(1_000)]).files == ()


class TestFiles:
    """The files a message points to (flock-api.md 6.2 and 13)."""

    def test_downloads_and_image_views_in_order(self) -> None:
        message = read(
            attachments=[
                {
                    "title": "two",
                    "downloads": [
                        {"src": "https://f.flock/1", "mime": "text/plain", "filename": "a.txt", "size": 3},
                        {"src": "https://f.flock/2"},
                    ],
                    "views": {
                        "image": {
                            "original": {"src": "https://f.flock/3", "width": 1, "height": 2},
                            "thumbnail": {"src": "https://f.flock/3_t"},
                            "filename": "p.png",
                        }
                    },
                },
                {"downloads": [{"src": "https://f.flock/4"}]},
            ]
        )
        assert [(file.ordinal, file.kind, file.url, file.name) for file in message.files] == [
            (0, "download", "https://f.flock/1", "a.txt"),
            (1, "download", "https://f.flock/2", None),
            (2, "image", "https://f.flock/3", "p.png"),
            (3, "thumbnail", "https://f.flock/3_t", None),
            (4, "download", "https://f.flock/4", None),
        ]
        assert (message.files[0].mime, message.files[0].size) == ("text/plain", 3)

    def test_the_column_holds_the_attachments_as_received(self) -> None:
        attachments = [{"views": {}, "title": "ü", "width": 1e16, "big": 2**80, "forward": "true"}]
        message = read(attachments=attachments)
        assert message.attachments is not None
        assert json.loads(message.attachments) == attachments

    @pytest.mark.parametrize(
        "attachment",
        [
            None,
            7,
            "x",
            [],
            {"downloads": None},
            {"downloads": {}},
            {"downloads": "https://x"},
            {"downloads": [None, 7, "x", [], {}, {"src": None}, {"src": 7}, {"src": ""}, {"src": ["https://x"]}]},
            {"views": None},
            {"views": []},
            {"views": {"image": None}},
            {"views": {"image": []}},
            {"views": {"image": {"original": None, "thumbnail": 7}}},
            {"views": {"image": {"original": "https://x", "thumbnail": ["x"]}}},
            {"views": {"image": {"original": {"src": {}}, "filename": "x"}}},
            {"views": {"widget": {"src": "https://x", "width": 0}}},
        ],
    )
    def test_an_attachment_of_any_other_shape_has_no_file_and_hides_no_other(self, attachment: object) -> None:
        message = read(attachments=[attachment, {"downloads": [{"src": "https://f.flock/1"}]}])
        assert [file.url for file in message.files] == ["https://f.flock/1"]
        assert [file.ordinal for file in message.files] == [0]

    @pytest.mark.parametrize("size", [-1, 2**63, 2**80, 1.5, "3", True, None, [3]])
    def test_a_size_that_is_none_is_not_recorded(self, size: object) -> None:
        message = read(attachments=[{"downloads": [{"src": "https://f.flock/1", "size": size}]}])
        assert message.files[0].size is None

    def test_names_and_addresses_are_recorded_as_declared_and_never_judged_here(self) -> None:
        message = read(
            attachments=[{"downloads": [{"src": "file:///etc/passwd", "filename": "../../x\u0000.exe", "mime": 7}]}]
        )
        (file,) = message.files
        assert (file.url, file.name, file.mime) == ("file:///etc/passwd", "../../x\u0000.exe", None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (*PUSHED, "flockml", "notification", "appId", "mentions", "sendAs", "attachments", "unknown")


def read_or_refuse(raw: bytes) -> Message | None:
    try:
        return read_message(raw, OBSERVED)
    except UnparseableError:
        return None


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"{")
@example(b'{"from":"u:a","to":"g:b","id":' + b"[" * 3_000 + b"]" * 3_000 + b"}")
def test_any_bytes_are_a_message_or_refused_with_a_reason(raw: bytes) -> None:
    read_or_refuse(raw)


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_object_is_a_message_or_refused_with_a_reason(fields: dict[str, Any]) -> None:
    raw = json.dumps({**PUSHED, **fields}).encode()
    message = read_or_refuse(raw)
    if message is not None:
        assert message.raw.encode() == raw
        assert message.raw_digest == sha256(raw).hexdigest()
        assert PLAUSIBLE_FROM_MS <= message.sent_at_ms <= OBSERVED.at_ms + PLAUSIBLE_AHEAD_MS
        assert read_content(message.raw) is not None
        carries_unknown_fields(raw)


@given(st.data())
def test_a_message_cut_or_altered_anywhere_is_a_message_or_refused(data: st.DataObject) -> None:
    raw = bytearray(
        bytes_of({**PUSHED, "attachments": [{"downloads": [{"src": "https://x", "size": 3}]}], "text": "é😀"})
    )
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read_or_refuse(bytes(raw))
