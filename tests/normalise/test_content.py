"""Two captures are one version when they say the same, whatever clothes they come in."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, ClassVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.normalise.content import (
    CONTENT_FIELDS,
    EXPIRING_PARAMETERS,
    canonical,
    digest_of,
    digest_of_flat,
    digest_of_text,
    relation,
    without_signature,
)
from archiver.normalise.message import Observed, read_message

CLOUDFRONT = "Expires=1700000000&Signature=a-b~c_&Key-Pair-Id=APKA"
S3 = "X-Amz-Algorithm=AWS4&X-Amz-Credential=k%2F1&X-Amz-Date=2&X-Amz-Expires=9&X-Amz-SignedHeaders=host&X-Amz-Signature=f0"


def content_digest(raw: bytes, source: str = "webhook", at_ms: int = 1_700_000_000_000) -> str:
    return read_message(raw, Observed(at_ms, source, "feed")).content_digest  # type: ignore[arg-type]


def with_file(url: str) -> dict[str, Any]:
    return {"text": "t", "attachments": [{"downloads": [{"src": url, "filename": "a.txt"}]}]}


class TestOneMessageInAllItsClothes:
    PUSHED = (
        b'{"id":"d_1","to":"g:1","from":"u:1","text":"hello","timestamp":"2023-11-14T22:13:20.123Z",'
        b'"timestampInMillis":1700000000123,"uid":"1700000000123-aBc-m201","onBehalfOf":"","visibleTo":[]}'
    )

    @pytest.mark.parametrize(
        "fetched",
        [
            b'{"uid":"1700000000123-aBc-m201","text":"hello","timestamp":1700000000123,"from":"u:1","to":"g:1"}',
            b'{"uid":"1700000000123-aBc-m201","from":"u:1","to":"g:1","text":"hello"}',
            (
                b'{ "from" : "u:1" ,"to":"g:1", "text":"hell\\u006f","uid":"x","id":"other","onBehalfOf":null,'
                b'"mentions":[],"attachments":null,"sendAs":{},"flockml":"","notification":"hello","appId":""}'
            ),
            b'{"from":"1@go.to/phone","to":"1@groups.go.to","type":"message","text":"hello"}',
            b'{"from":"u:1","to":"g:1","text":"hello","unknown":[1,2,3],"editedOn":7}',
        ],
    )
    def test_a_plain_message_has_one_digest(self, fetched: bytes) -> None:
        assert content_digest(self.PUSHED) == content_digest(fetched, "fetch", 1_800_000_000_000)

    def test_a_rich_message_has_one_digest(self) -> None:
        pushed = {
            "from": "u:B1",
            "to": "g:1",
            "text": "",
            "flockml": "<flockml>hi</flockml>",
            "notification": "hi",
            "appId": "a",
            "sendAs": {"name": "Bot", "profileImage": "https://i.flock.co/1"},
            "mentions": ["u:2", "u:3"],
            "attachments": [
                {
                    "forward": True,
                    "views": {
                        "image": {"original": {"src": f"https://f.flock/1?{CLOUDFRONT}", "width": 10, "height": 0}}
                    },
                    "title": "x",
                }
            ],
        }
        fetched = {
            "attachments": [
                {
                    "title": "x",
                    "description": "",
                    "buttons": [],
                    "color": None,
                    "views": {
                        "flockml": None,
                        "image": {
                            "original": {
                                "height": 0.0,
                                "width": 1e1,
                                "src": "https://f.flock/1?" + CLOUDFRONT.replace("1", "2"),
                            }
                        },
                        "widget": {},
                    },
                    "forward": "true",
                }
            ],
            "mentions": ["u:2", "u:3"],
            "sendAs": {"profileImage": "https://i.flock.co/1", "name": "Bot", "extra": None},
            "appId": "a",
            "notification": "hi",
            "flockml": "<flockml>hi</flockml>",
            "visibleTo": [],
            "to": "g:1",
            "from": "u:B1",
        }
        assert content_digest(json.dumps(pushed).encode()) == content_digest(json.dumps(fetched).encode(), "fetch")

    def test_a_forward_flag_of_false_is_the_default(self) -> None:
        digests = {
            digest_of({"attachments": [{"title": "x", **flag}]})
            for flag in ({}, {"forward": False}, {"forward": "false"}, {"forward": None})
        }
        assert len(digests) == 1
        assert digest_of({"attachments": [{"title": "x", "forward": "later"}]}) not in digests


class TestWhatMakesAnotherVersion:
    BASE: ClassVar[dict[str, Any]] = {
        "text": "t",
        "flockml": "<flockml>t</flockml>",
        "notification": "n",
        "appId": "a",
        "onBehalfOf": "u:1",
        "mentions": ["u:1", "u:2"],
        "visibleTo": ["u:1"],
        "sendAs": {"name": "x", "profileImage": "p"},
        "attachments": [{"title": "x", "downloads": [{"src": "https://f/1", "size": 3}], "order": [1, 2]}],
    }

    @pytest.mark.parametrize(
        "changed",
        [
            {"text": "T"},
            {"text": "t "},
            {"text": ""},
            {"flockml": "<flockml>t </flockml>"},
            {"notification": "m"},
            {"appId": "b"},
            {"onBehalfOf": "u:2"},
            {"mentions": ["u:1"]},
            {"mentions": ["u:2", "u:1"]},
            {"visibleTo": []},
            {"sendAs": {"name": "y", "profileImage": "p"}},
            {"attachments": []},
            {"attachments": [{"title": "x", "downloads": [{"src": "https://f/1", "size": 4}], "order": [1, 2]}]},
            {"attachments": [{"title": "x", "downloads": [{"src": "https://f/1", "size": 3}], "order": [2, 1]}]},
            {"attachments": [{"title": "x", "downloads": [{"src": "https://f/2", "size": 3}], "order": [1, 2]}]},
        ],
    )
    def test_everything_that_is_said_counts(self, changed: dict[str, Any]) -> None:
        assert digest_of({**self.BASE, **changed}) != digest_of(self.BASE)
        assert relation(self.BASE, {**self.BASE, **changed}) == "different"

    def test_unicode_is_compared_as_sent_and_never_normalised(self) -> None:
        assert digest_of_text("é") != digest_of_text("e\u0301")


class TestExpiringAddresses:
    @pytest.mark.parametrize("signature", [CLOUDFRONT, f"Policy=eyJ&{CLOUDFRONT}", S3, CLOUDFRONT.upper()])
    @pytest.mark.parametrize("before", ["", "a=1&", "a=1&b=%2Fx%20y&"])
    def test_the_signature_of_an_address_says_nothing(self, signature: str, before: str) -> None:
        url = f"https://fs.flockusercontent.com/x?{before}{signature}"
        plain = f"https://fs.flockusercontent.com/x?{before}".rstrip("?&")
        assert without_signature(url) == plain
        assert digest_of(with_file(url)) == digest_of(with_file(plain))

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "https://f.flock/1",
            "https://f.flock/1?v=2",
            "https://app.example/terms?policy=strict",
            "https://app.example/x?expires=never#a",
            "ftp://f.flock/1?Signature=a",
            "not a url?Signature=a",
            "https://[::1/x?Signature",
            "https://f.flock/1?%%%&&&",
        ],
    )
    def test_what_is_no_signed_address_stays_as_it_is(self, url: str) -> None:
        assert without_signature(url) in (url, url.removesuffix("?Signature"))

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("https://app.example/terms?policy=strict", "https://app.example/terms?policy=loose"),
            ("Really?policy=yes", "Really?policy=no"),
            (f"https://f.flock/1?{CLOUDFRONT} holds the draft", f"https://f.flock/1?{CLOUDFRONT} holds the contract"),
            ("see https://f.flock/1?Signature=a we agreed on 10", "see https://f.flock/1?Signature=a we agreed on 90"),
        ],
    )
    def test_an_edit_of_words_never_passes_for_a_new_signature(self, before: str, after: str) -> None:
        for field in ("title", "description", "url"):
            assert digest_of({"attachments": [{field: before}]}) != digest_of({"attachments": [{field: after}]})

    @given(st.text(max_size=40))
    @example("https://x?Signature=%zz&Signature")
    def test_any_text_can_be_asked(self, text: str) -> None:
        once = without_signature(text)
        assert without_signature(once) == once
        assert len(once) <= len(text)

    def test_the_parameters_are_named_in_lower_case(self) -> None:
        assert {name.lower() for name in EXPIRING_PARAMETERS} == EXPIRING_PARAMETERS


class TestRelation:
    @pytest.mark.parametrize(
        ("known", "seen", "expected"),
        [
            ({"text": "a"}, {"text": "a"}, "same"),
            ({"text": "a"}, {"text": "b"}, "different"),
            ({"text": "a"}, {"text": ""}, "different"),
            ({"text": "a"}, {"text": None}, "different"),
            ({"text": "a"}, {}, "poorer"),
            ({}, {"text": "a"}, "richer"),
            ({}, {}, "same"),
            ({"text": ""}, {}, "same"),
            ({"text": "a"}, {"text": "a", "mentions": []}, "same"),
            ({"text": "a"}, {"text": "a", "mentions": ["u:1"]}, "richer"),
            ({"text": "a", "mentions": []}, {"text": "a", "mentions": ["u:1"]}, "different"),
            ({"text": "a", "mentions": ["u:1"]}, {"text": "a"}, "poorer"),
            ({"text": "a", "mentions": ["u:1"]}, {"text": "a", "mentions": []}, "different"),
            ({"text": "a", "mentions": ["u:1"]}, {"text": "a", "appId": "x"}, "mixed"),
            ({"text": "a", "mentions": ["u:1"]}, {"text": "b", "appId": "x"}, "different"),
            ({"text": "a"}, {"text": "a", "notification": "a"}, "same"),
            ({"text": "a", "notification": "a"}, {"text": "a"}, "same"),
            ({"text": "a", "notification": ""}, {"text": "a", "notification": "a"}, "same"),
            ({"notification": "a"}, {"text": "a", "notification": "a"}, "richer"),
            ({"text": "a", "notification": "a"}, {"notification": "a"}, "poorer"),
            ({"text": "a", "notification": "b"}, {"text": "a", "notification": "a"}, "different"),
            ({"attachments": [{"forward": True}]}, {"attachments": [{"forward": 1}]}, "different"),
            (with_file("https://f/1"), with_file(f"https://f/1?{CLOUDFRONT}"), "same"),
        ],
    )
    def test_only_what_both_carry_is_compared(self, known: dict[str, Any], seen: dict[str, Any], expected: str) -> None:
        assert relation(known, seen) == expected


texts = st.text(max_size=6) | st.sampled_from(
    ["", "a", "\x00", "\u2028", '"\\', "é", "😀", "\x7f", "https://f/1?Signature=a"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
messages = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("text", "flockml", "notification", "appId", "onBehalfOf"), st.none() | texts),
        **dict.fromkeys(("mentions", "visibleTo"), st.none() | st.lists(texts, max_size=3)),
        "sendAs": st.none() | st.dictionaries(texts, values, max_size=3),
        "attachments": st.none() | st.lists(values, max_size=3),
        "unknown": values,
    },
)


def reordered(value: Any) -> Any:
    """The same JSON with the members of every object the other way round."""
    if isinstance(value, dict):
        return {key: reordered(item) for key, item in reversed(value.items())}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(messages)
@example({"attachments": [1e16, 1e-7, 5e-324, -0.0, 2**70, 1e300]})
def test_anyone_can_repeat_a_digest_with_a_standard_library(fields: dict[str, Any]) -> None:
    text = json.dumps(canonical(fields), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert digest_of(fields) == sha256(text.encode()).hexdigest()


@given(
    st.fixed_dictionaries(
        {name: st.none() | st.text() for name in ("appId", "flockml", "notification", "onBehalfOf", "text")}
        | {name: st.none() | st.lists(st.text(), max_size=3) for name in ("mentions", "visibleTo")}
    )
)
@example({"text": "same", "notification": "same"})
@example({"text": '\x00\x7f\u2028/\\"', "mentions": ["", "\b\f"]})
def test_fields_that_hold_no_objects_have_a_shorter_way_to_the_same_digest(fields: dict[str, Any]) -> None:
    in_order = {name: fields[name] for name in CONTENT_FIELDS if name in fields}
    assert digest_of_flat(in_order) == digest_of(fields)


@given(st.text())
@example('\x00\x1f\x7f\x80\u2028\ufffe\U0001f600"\\/')
def test_a_bare_text_has_the_digest_of_a_message_with_nothing_else(text: str) -> None:
    assert digest_of_text(text) == digest_of({"text": text})


@given(messages)
def test_order_emptiness_and_unknown_fields_say_nothing(fields: dict[str, Any]) -> None:
    padded = {**dict.fromkeys(CONTENT_FIELDS), **fields, "another": 1}
    assert digest_of(reordered(padded)) == digest_of(fields)


@given(messages)
def test_reading_it_back_from_json_says_the_same(fields: dict[str, Any]) -> None:
    assert digest_of(json.loads(json.dumps(fields))) == digest_of(fields)


@given(messages, messages)
def test_relation_and_digest_agree(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert relation(one, one) == "same"
    everything = dict.fromkeys(CONTENT_FIELDS)
    full_one, full_other = {**everything, **one}, {**everything, **other}
    same = digest_of(full_one) == digest_of(full_other)
    assert relation(full_one, full_other) == ("same" if same else "different")


@given(messages, messages)
def test_relation_is_the_mirror_image_from_the_other_side(one: dict[str, Any], other: dict[str, Any]) -> None:
    mirror = {"richer": "poorer", "poorer": "richer"}
    forth = relation(one, other)
    assert relation(other, one) == mirror.get(forth, forth)
