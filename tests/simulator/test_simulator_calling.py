"""How the API is called (flock-api.md 1 to 4; checklist lines 1, 2, 3, 10 and 11)."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest


def _error(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["description"]
    return answer.status_code, answer.json()["error"]


def test_a_call_is_a_form_a_query_or_json(flock, http, token):
    url = f"{flock.base_url}/users.getInfo"
    answers = [
        http.post(url, data={"token": token}),
        http.get(url, params={"token": token}),
        http.post(url, params={"token": token}),
        http.post(url, json={"token": token}),
        # As the official Python SDK does it: JSON without a content type.
        http.post(url, content=b'{"token": "%s"}' % token.encode()),
    ]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].headers["content-type"] == "application/json"


def test_success_is_the_value_itself_without_an_envelope(call, token):
    assert isinstance(call("channels.list", token).json(), list)
    assert "id" in call("users.getInfo", token).json()


@pytest.mark.parametrize("method", ["users.list", "channels.getMembers", "rooster.listContacts", "chat.getMessage", ""])
def test_an_unknown_method_is_404_even_without_a_token(call, method):
    assert _error(call(method, None)) == (404, "NoSuchMethod")


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_verbs_are_405(flock, http, token, verb):
    answer = http.request(verb, f"{flock.base_url}/channels.list", params={"token": token})
    assert _error(answer) == (405, "HTTPMethodNotAllowed")


def test_get_is_405_where_only_post_is_allowed(flock, http, token):
    flock.configure(post_only=True)
    url = f"{flock.base_url}/channels.list"
    assert _error(http.get(url, params={"token": token})) == (405, "HTTPMethodNotAllowed")
    assert http.post(url, data={"token": token}).status_code == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{not json", "application/json"),
        (b"[]", "application/json"),
        (b"token=%ff%fe", "application/x-www-form-urlencoded"),
        (b"x", "multipart/form-data; boundary=x"),
        (b'{"token": "\xff"}', "application/json"),
    ],
)
def test_what_cannot_be_read_is_400_before_the_token_is_looked_at(flock, http, body, kind):
    answer = http.post(f"{flock.base_url}/channels.list", content=body, headers={"content-type": kind})
    assert _error(answer) == (400, "InvalidRequestData")


def test_no_token_is_400_and_a_wrong_one_403(call):
    assert _error(call("channels.list", None)) == (400, "MissingUserToken")
    assert _error(call("channels.list", "")) == (400, "MissingUserToken")
    assert _error(call("channels.list", "00000000-0000-0000-0000-000000000000")) == (403, "InvalidToken")


def test_the_token_is_looked_at_before_the_parameters(call, token):
    assert _error(call("channels.getInfo", None)) == (400, "MissingUserToken")
    assert _error(call("channels.getInfo", "wrong")) == (403, "InvalidToken")
    answer = call("channels.getInfo", token)
    assert _error(answer) == (400, "InvalidParameter")
    assert answer.json()["parameter"] == "channelId"


@pytest.mark.parametrize("by", ["user", "team"])
def test_a_disabled_app_is_403_and_says_by_whom(flock, call, by):
    user, token = next(iter(flock.user_tokens.items()))
    flock.disable(user, by=by)
    answer = call("channels.list", token)
    assert _error(answer) == (403, "AppDisabled")
    assert answer.json()["disabledBy"] == by
    flock.disable(user, by=None)
    assert call("channels.list", token).status_code == 200


def test_uninstalling_ends_the_token_unless_the_switch_says_otherwise(flock, call):
    (first, token), (second, other) = list(flock.user_tokens.items())[:2]
    flock.uninstall(first)
    assert _error(call("channels.list", token)) == (403, "InvalidToken")
    flock.configure(uninstall_revokes=False)
    flock.uninstall(second)
    assert call("channels.list", other).status_code == 200
    fresh = flock.install(first)
    assert fresh != token
    assert call("channels.list", fresh).status_code == 200


def test_a_bots_token_sends_and_fetches_but_reads_no_directory(flock, call):
    (bot_token,) = flock.bot_tokens.values()
    user = next(iter(flock.user_tokens))
    assert call("chat.sendMessage", bot_token, to=user, text="hello").status_code == 200
    for method in ("channels.list", "roster.listContacts", "users.getInfo"):
        assert _error(call(method, bot_token)) == (403, "InvalidToken")


def test_the_authorization_header_is_not_looked_at_by_default(flock, http, token):
    answer = http.post(f"{flock.base_url}/channels.list", headers={"Authorization": f"Bearer {token}"})
    assert _error(answer) == (400, "MissingUserToken")


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "{}"])
def test_the_authorization_header_counts_where_it_is_switched_on(flock, http, token, form):
    flock.configure(header_auth=True)
    headers = {"Authorization": form.format(token)}
    assert http.post(f"{flock.base_url}/channels.list", headers=headers).status_code == 200
    # The parameter goes first: a wrong one is not rescued by a right header.
    answer = http.post(f"{flock.base_url}/channels.list", headers=headers, data={"token": "wrong"})
    assert _error(answer) == (403, "InvalidToken")


def test_the_ways_in_which_tokens_came_are_counted(flock, http, token):
    url = f"{flock.base_url}/users.getInfo"
    http.post(url, data={"token": token}, headers={"Authorization": token})
    http.get(url, params={"token": token})
    assert flock.counters()["tokens_in"] == {"body": 1, "header": 1, "query": 1}


def test_arrays_are_json_text_or_comma_lists(flock, call, http):
    flock.play_all()
    message = next(row for row in flock.truth("message") if row["deleted_at_ms"] is None and row["to"].startswith("g:"))
    sender, uid = message["from"], message["uid"]
    channel = message["to"]
    token = flock.user_tokens.get(sender) or flock.user_tokens[next(iter(flock.channels[channel].members))]
    for uids in (f'["{uid}","x"]', f"{uid},x", f" {uid} , x "):
        assert [found["uid"] for found in call("chat.fetchMessages", token, chat=channel, uids=uids).json()] == [uid]
    answer = http.post(
        f"{flock.base_url}/chat.fetchMessages", json={"token": token, "chat": channel, "uids": [uid, "x"]}
    )
    assert [found["uid"] for found in answer.json()] == [uid]
    flock.configure(comma_lists=False)
    assert _error(call("chat.fetchMessages", token, chat=channel, uids=uid)) == (400, "InvalidParameter")


@pytest.mark.parametrize("uids", ["[1]", "[", '{"a":1}', "", "null"])
def test_a_list_that_is_none_names_its_parameter(call, flock, token, uids):
    answer = call("chat.fetchMessages", token, chat=next(iter(flock.channels)), uids=uids)
    assert _error(answer) == (400, "InvalidParameter")
    assert answer.json()["parameter"] == "uids"


def test_any_text_survives_the_form(flock, call, http, token):
    text = "a+b &=% \x00\x1f \r\n\t é 日本 👩‍👩‍👧 \u202e\uffff"
    user = list(flock.user_tokens)[1]
    sender = next(iter(flock.user_tokens))
    uid = call("chat.sendMessage", token, to=user, text=text).json()["uid"]
    assert call("chat.fetchMessages", token, chat=user, uids=[uid]).json()[0]["text"] == text
    # The other side names the chat by the sender.
    other = flock.user_tokens[user]
    query = f"token={other}&chat={quote(sender)}&uids={quote(uid)}"
    assert http.get(f"{flock.base_url}/chat.fetchMessages?{query}").json()[0]["text"] == text


class TestTheRateLimit:
    """Flock gives no number and no header (flock-api.md 4), so both are switches."""

    def test_there_is_none_by_default(self, call, token):
        assert {call("users.getInfo", token).status_code for _ in range(50)} == {200}

    def test_it_is_counted_by_token(self, flock, call):
        one, other = list(flock.user_tokens.values())[:2]
        flock.configure(calls_per_second=0.001, calls_burst=2)
        assert [call("users.getInfo", one).status_code for _ in range(3)] == [200, 200, 429]
        assert _error(call("channels.list", one)) == (429, "TooManyRequests")
        assert call("channels.list", other).status_code == 200

    def test_a_method_can_have_its_own(self, flock, call, token):
        flock.configure(method_calls_per_second={"channels.list": 0.001})
        assert call("channels.list", token).status_code == 200
        assert call("channels.list", token).status_code == 429
        assert call("users.getInfo", token).status_code == 200

    def test_it_comes_before_the_parameters_and_after_the_token(self, flock, call, token):
        flock.configure(calls_per_second=0.001)
        call("users.getInfo", token)
        assert call("channels.getInfo", token).status_code == 429
        assert call("channels.getInfo", "wrong").status_code == 403

    def test_retry_after_is_a_switch(self, flock, call, token):
        flock.configure(calls_per_second=0.1)
        call("users.getInfo", token)
        assert "retry-after" not in call("users.getInfo", token).headers
        flock.configure(retry_after=True)
        assert 1 <= int(call("users.getInfo", token).headers["retry-after"]) <= 10
        flock.configure(retry_after_form="date")
        assert call("users.getInfo", token).headers["retry-after"].endswith("GMT")

    def test_it_recovers(self, flock, call, token):
        flock.configure(calls_per_second=1_000.0)
        for _ in range(20):
            call("users.getInfo", token)
        assert flock.counters()["methods"]["users.getInfo"]["200"] >= 2
