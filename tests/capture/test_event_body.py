"""The top level of an event: secrets go, everything else keeps its bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.capture.event_body import read_fields, text_field, user_token, without_secrets
from archiver.errors import UnparseableError
from archiver.flock.tokens import Secret

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6) | st.sampled_from(["name", "userId"]), VALUES, max_size=6))
def test_a_body_without_secrets_is_kept_as_it_is(event):
    event = {name: value for name, value in event.items() if name not in ("token", "userToken")}

    assert without_secrets(read_fields(json.dumps(event).encode())) is None


@given(
    st.dictionaries(st.text(max_size=6), VALUES, max_size=6),
    st.sampled_from(["token", "userToken"]),
    st.text(alphabet='0123456789abcdef-é"\\', min_size=20, max_size=40),
    st.booleans(),
)
def test_a_secret_goes_and_all_else_stays(event, field, secret, ascii_only):
    body = json.dumps(event | {field: secret}, ensure_ascii=ascii_only).encode()

    kept = without_secrets(read_fields(body))

    whole = event | {field: secret}
    redacted = {name: "[redacted]" if name in ("token", "userToken") else value for name, value in whole.items()}
    assert kept is not None
    assert json.loads(kept) == redacted


def test_numbers_and_escapes_keep_their_bytes():
    kept = without_secrets(
        read_fields(b'{"a":1.0e2,"b":"\\u00e9", "c":123456789012345678901234567890,"token":"x","d":[ 1 ]}')
    )

    assert kept == b'{"a":1.0e2,"b":"\\u00e9","c":123456789012345678901234567890,"token":"[redacted]","d":[ 1 ]}'


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"text"', b"{", b'{"a":1', b"\xff", b'{"\xff":1}', b"[" * 100_000]
)
def test_what_is_no_object_is_refused_without_quoting_it(body):
    with pytest.raises(UnparseableError, match=r"^the body is no JSON object$"):
        read_fields(body)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b'{"a":"x"}', "x"), (b'{"a":1}', None), (b"{}", None), (b'{"a":"1","a":"2"}', "2"), (b'{"a":"\xff"}', None)],
)
def test_a_text_field_is_a_text_or_nothing(body, text):
    try:
        assert text_field(read_fields(body), "a") == text
    except UnparseableError:
        assert b"\xff" in body


@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"token":"a"}', Secret("a")),
        (b'{"userToken":"b"}', Secret("b")),
        (b'{"userToken":"b","token":"a"}', Secret("a")),
        (b'{"token":"","userToken":"b"}', Secret("b")),
        (b'{"token":1}', None),
        (b"{}", None),
    ],
)
def test_the_users_token_is_found_under_both_names(body, token):
    assert user_token(read_fields(body)) == token
