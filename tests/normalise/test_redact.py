"""No token reaches the archive in a body that is kept, and no other byte of it changes (flock-api.md 10.2 and 10.3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.normalise.redact import SECRET_NAMES, without_secrets

SECRET = "a6b1f0c2-0000-4000-8000-5ec12e7d0a5e"


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b'{"name":"app.install","userId":"u:1","token":"T"}', b'{"name":"app.install","userId":"u:1","token":"[redacted]"}'),
        (b'{ "userToken" :\t"T" , "x" : 1.0e5 }', b'{ "userToken" :\t"[redacted]" , "x" : 1.0e5 }'),
        (b'{"token":"T","token":"[redacted]"}', b'{"token":"[redacted]","token":"[redacted]"}'),
        (b'{"tok\\u0065n":"T","lone":"\\ud800"}', b'{"tok\\u0065n":"[redacted]","lone":"\\ud800"}'),
        (b'{"token":"a\\"b\\\\","x":1e400}', b'{"token":"[redacted]","x":1e400}'),
        (b'{"token":17}', b'{"token":"[redacted]"}'),
        (b'{"token":["T",{"a":"]}"}],"x":1}', b'{"token":"[redacted]","x":1}'),
        (b'{"data":{"deep":[{"TOKEN":"T"}]}}', b'{"data":{"deep":[{"TOKEN":"[redacted]"}]}}'),
        (b'[{"token":"T"}]', b'[{"token":"[redacted]"}]'),
        (b'{"flockEventToken":"T","flockValidationToken":"T"}', b'{"flockEventToken":"[redacted]","flockValidationToken":"[redacted]"}'),
        (b'{"name":"app.install","token":"T', b'{"name":"app.install","token":"[redacted]"'),
        (b'{"token":["T"', b'{"token":"[redacted]"'),
        (b'{"token":"T\\', b'{"token":"[redacted]"'),
        (b'\xef\xbb\xbf{"token":"T"} trailing \xff', b'\xef\xbb\xbf{"token":"[redacted]"} trailing \xff'),
    ],
)  # fmt: skip
def test_only_the_value_of_a_secret_is_replaced(body: bytes, kept: bytes) -> None:
    assert without_secrets(body) == kept


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"token",
        b'{"token',
        b'{"token":',
        b'{"token":null}',
        b'{"token":""}',
        b'{"text":"my \\"token\\": \\"is words\\""}',
        b'{"kind":"token","tokens":["x"],"tokenised":true}',
        b'{"text":"\\u0074oken"}',
        b"<html>login</html>",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(body: bytes) -> None:
    assert without_secrets(body) == body


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["token", '"', "\\", '":"']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["userToken", "token", "message"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def planted(value: Any, secret: Any) -> Any:
    """The same JSON with the secret under every name that promises one, and an object more around it."""
    if isinstance(value, dict):
        return {k: secret if k.lower() in SECRET_NAMES else planted(v, secret) for k, v in value.items()}
    return [planted(item, secret) for item in value] if isinstance(value, list) else value


@given(values, st.sampled_from(sorted(SECRET_NAMES)), st.sampled_from([SECRET, [SECRET], {"value": SECRET}]), st.data())
def test_no_token_is_left_wherever_it_stands_and_wherever_the_body_is_cut(
    value: Any, name: str, secret: Any, data: st.DataObject
) -> None:
    body = json.dumps({"name": "x", "inner": planted(value, secret), name: secret}).encode()
    cut = body[: data.draw(st.integers(0, len(body)))]
    for whole in (body, cut):
        kept = without_secrets(whole)
        assert SECRET.encode() not in kept
        assert without_secrets(kept) == kept
    assert json.loads(without_secrets(body))[name] == "[redacted]"


@given(values)
def test_every_other_value_is_untouched(value: Any) -> None:
    body = json.dumps({"name": "x", "inner": value}).encode()
    assert json.loads(without_secrets(body)) == {"name": "x", "inner": redacted(value)}


def redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: "[redacted]" if k.lower() in SECRET_NAMES and v is not None and v != "" else redacted(v)
            for k, v in value.items()
        }
    return [redacted(item) for item in value] if isinstance(value, list) else value


@given(
    st.binary()
    | st.lists(st.sampled_from([b'"', b"\\", b"token", b":", b"{", b"}", b"[", b"]", b",", b" ", b"a"])).map(b"".join)
)
@example(b'"token":' * 50)
def test_any_bytes_can_be_kept_and_nothing_is_redacted_twice(body: bytes) -> None:
    once = without_secrets(body)
    assert without_secrets(once) == once
