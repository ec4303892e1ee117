"""Flock's ids are opaque; a one-to-one chat has one id, whoever looks at it (flock-api.md 7)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver import ids

USERS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).map("u:".__add__)


@given(USERS, USERS)
def test_both_sides_of_a_conversation_see_one_chat(one: str, other: str) -> None:
    assert ids.direct_chat_id(one, other) == ids.direct_chat_id(other, one)
    assert ids.chat_of(one, other) == ids.chat_of(other, one) == (ids.direct_chat_id(one, other), "direct")


@given(USERS, USERS)
def test_the_parties_of_a_chat_are_read_back_in_order(one: str, other: str) -> None:
    assert ids.parties_of(ids.direct_chat_id(one, other)) == tuple(sorted((one, other)))


def test_a_channel_is_a_chat_under_its_own_id() -> None:
    assert ids.chat_of("u:ann", "g:0123") == ("g:0123", "channel")
    assert ids.is_channel("g:0123")
    assert not ids.is_channel("u:ann")
    assert ids.parties_of("g:0123") is None
    assert ids.parties_of("no chat id") is None


def test_ids_are_case_sensitive() -> None:
    assert not ids.is_channel("G:0123")
    assert ids.direct_chat_id("u:A", "u:a") == "u:A,u:a"


@pytest.mark.parametrize(
    ("xmpp", "usual"),
    [
        ("abc@go.to/desktop", "u:abc"),
        ("abc@go.to", "u:abc"),
        ("0123@groups.go.to", "g:0123"),
        ("0123@groups.go.to/x/y", "g:0123"),
        ("u:abc", "u:abc"),
        ("someone@example.com", "someone@example.com"),
        ("", ""),
    ],
)
def test_the_xmpp_form_of_an_id_becomes_the_usual_one_and_anything_else_stays(xmpp: str, usual: str) -> None:
    assert ids.from_xmpp(xmpp) == usual
