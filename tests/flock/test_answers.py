"""Reading answers without losing a byte of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.flock.answers import read_object, split_array, split_object

HALF_EMOJI = b'{"uid":"a", "text":"\\ud83d"}'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_elements_come_back_byte_for_byte():
    assert split_array(b' [ {"b" : 1, "a":"\\u00e4\xc3\xa4" } ,\n7,null,[ 1 , 2] ]\r\n') == [
        b'{"b" : 1, "a":"\\u00e4\xc3\xa4" }',
        b"7",
        b"null",
        b"[ 1 , 2]",
    ]


@given(st.lists(json_values, max_size=6), st.sampled_from([None, 1]))
def test_any_array_is_cut_into_what_it_was_made_of(values, indent):
    assert [json.loads(raw) for raw in split_array(json.dumps(values, indent=indent).encode())] == values


@given(st.lists(json_values, max_size=6), st.booleans())
def test_half_an_emoji_costs_nobody_anything(values, ascii_only):
    others = [json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace") for value in values]
    assert split_array(b"[" + b" , ".join([*others, HALF_EMOJI]) + b"]") == [*others, HALF_EMOJI]


def test_an_element_that_is_malformed_in_itself_costs_nobody_else():
    assert split_array(b'[{"a":1},{"a":nope},{"b":"\\q\\""}]') == [b'{"a":1}', b'{"a":nope}', b'{"b":"\\q\\""}']


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"<html></html>",
        b'{"error":"x"}',
        b"null",
        b"[",
        b'[{"a":1}',
        b'[{"a":1},',
        b'[{"a":1},]',
        b"[,]",
        b'[{"a":1}}',
        b'[{"a":1]',
        b'["abc]',
        b'["abc\\"]',
        b"[1] [2]",
        b"[1]]",
        b"\xef\xbb\xbf[1]",
        b"[" * 100_000,
    ],
)
def test_what_is_no_whole_array_is_refused(body):
    with pytest.raises(ValueError):
        split_array(body)


def test_an_element_that_nests_without_end_is_cut_out_all_the_same():
    deep = b"[" * 50_000 + b"]" * 50_000
    assert split_array(b'[{"a":1},' + deep + b"]") == [b'{"a":1}', deep]


def test_a_long_answer_is_cut_in_time_that_grows_with_it():
    element = b'{"text":"' + b"x\\n" * 200_000 + b'\\ud83d"}'
    assert split_array(b"[" + b",".join([element] * 5) + b"]") == [element] * 5


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"1",
        b"",
        b"{",
        b'{"a":"\xff"}',
        b'{"z":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":' + b"9" * 9999 + b"}x",
        b'{"a":NaN}',
        b'{"a":"\\ud83d","b":-Infinity}',
    ],
)
def test_what_is_no_readable_object_is_refused(raw):
    with pytest.raises(ValueError):
        read_object(raw)


def test_half_an_emoji_becomes_the_replacement_character():
    assert read_object(HALF_EMOJI) == {"uid": "a", "text": "\N{REPLACEMENT CHARACTER}"}


def test_a_number_that_no_float_holds_does_not_hide_the_other_fields():
    assert read_object(b'{"a":1e999,"id":"u:1"}')["id"] == "u:1"


class TestAnObject:
    def test_its_members_come_back_byte_for_byte(self):
        body = b' { "a" : [ 1 , 2] ,"b\\u00e4":{"c" : "}"}, "d":null } '
        assert split_object(body) == {"a": b"[ 1 , 2]", "b\u00e4": b'{"c" : "}"}', "d": b"null"}

    @given(st.dictionaries(st.text(), json_values, max_size=5), st.sampled_from([None, 1]), st.booleans())
    def test_any_object_is_cut_into_what_it_was_made_of_also_the_slow_way(self, fields, indent, halved):
        expected = {name: json.dumps(value) for name, value in fields.items()}
        body = json.dumps(fields, indent=indent).encode()
        if halved:
            body = body.rstrip()[:-1] + (b"," if fields else b"") + b'"half an emoji":"\\ud83d"}'
            expected["half an emoji"] = '"\\ud83d"'
        found = split_object(body)
        assert {name: json.loads(raw) for name, raw in found.items()} == {
            name: json.loads(text) for name, text in expected.items()
        }

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"{", b'{"a":1', b'{"a":nope}x', b'{"a"}', b"{1:nope}", b'{"a":nope,}']
    )
    def test_what_is_no_whole_object_is_refused(self, body):
        with pytest.raises(ValueError):
            split_object(body)
