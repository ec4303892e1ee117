"""The control interface: everything the Python methods do, over HTTP."""

from __future__ import annotations

import msgspec
import pytest

from archiver.simulator.records import FILE_MODES


@pytest.fixture
def control(flock, http):
    def ask(verb: str, path: str, body: object = None):
        content = msgspec.json.encode(body) if body is not None else None
        answer = http.request(verb, flock.control_url + path, content=content)
        return answer.status_code, answer.json()

    return ask


def _lines(http, url: str) -> list[dict]:
    return [msgspec.json.decode(line) for line in http.get(url).content.splitlines()]


def test_it_tells_where_everything_is(flock, control):
    status, body = control("GET", "/")
    assert status == 200
    assert (body["base_url"], body["files_url"]) == (flock.base_url, flock.files_url)
    assert body["app_id"] == flock.app_id
    assert body["remaining"] == flock.remaining


def test_switches(control):
    assert control("GET", "/switches")[1]["header_auth"] is False
    assert control("PATCH", "/switches", {"header_auth": True})[1]["header_auth"] is True
    for wrong in ({"no_such": 1}, {"header_auth": "yes"}, {"fetch_timestamp": "roman"}, []):
        status, body = control("PATCH", "/switches", wrong)
        assert status == 400
        assert body["error"]


def test_a_day_played_over_http(flock, http, listener, control):
    _, tokens = control("POST", "/webhooks/all", {"url": f"{listener.url}/hooks/{{name}}"})
    assert len(tokens) == len(flock.channels)
    control("PUT", "/listener", {"url": f"{listener.url}/events"})
    _, first = control("POST", "/play", {"count": 5})
    assert sum(first["actions"].values()) == 5
    _, rest = control("POST", "/play")
    assert rest["remaining"] == 0
    pushed = sum(first["pushes"].values()) + sum(rest["pushes"].values())
    assert pushed == len(listener.received) == control("GET", "/counters")[1]["pushes"]["200"]
    rows = _lines(http, flock.control_url + "/truth")
    assert rows == list(flock.truth())
    messages = _lines(http, flock.control_url + "/truth?kind=message&kind=channel")
    assert {row["kind"] for row in messages} == {"message", "channel"}


def test_play_up_to_a_moment(flock, control):
    flock.play_next(1)
    until_ms = flock.now_ms + 3_600_000
    control("POST", "/play", {"until_ms": until_ms})
    assert flock.now_ms == until_ms
    assert all(row["sent_at_ms"] <= until_ms for row in flock.truth("message"))
    assert flock.remaining > 0


def test_play_without_waiting(flock, control):
    assert control("POST", "/play", {"wait": False, "rate": 50})[0] == 200
    assert control("GET", "/")[1]["playing"]
    assert control("POST", "/play", {})[0] == 409


def test_a_rate_is_kept(flock, control):
    _, report = control("POST", "/play", {"count": 11, "rate": 200})
    assert 0.05 <= report["seconds"] < 2
    assert control("POST", "/play", {"rate": 0})[0] == 400


def test_messages_are_sent_edited_and_deleted(flock, control):
    sender, other = list(flock.user_tokens)[:2]
    _, sent = control("POST", "/messages", {"from": sender, "to": other, "text": "one"})
    control("PATCH", f"/messages/{sent['uid']}", {"text": "two"})
    control("DELETE", f"/messages/{sent['uid']}")
    (row,) = flock.truth("message")
    assert [version["text"] for version in row["versions"]] == ["one", "two"]
    assert row["sent_at_ms"] < row["versions"][1]["at_ms"] < row["deleted_at_ms"]
    assert control("PATCH", f"/messages/{sent['uid']}", {"text": "three"})[0] == 400
    assert control("DELETE", "/messages/none")[0] == 400
    assert control("POST", "/messages", {"from": sender, "text": "x"})[0] == 400
    assert control("POST", "/messages", {"from": sender, "to": other, "text": 7})[0] == 400


def test_channels_and_people_change(flock, control):
    channel = next(iter(flock.channels))
    member = list(flock.channels[channel].members)[-1]
    control("PATCH", f"/channels/{channel}", {"name": "renamed"})
    control("DELETE", f"/channels/{channel}/members/{member}")
    control("POST", f"/channels/{channel}/members", {"user": member, "affiliation": "moderator"})
    control("PATCH", f"/users/{member}", {"first_name": "Renamed"})
    row = next(row for row in flock.truth("channel") if row["channel_id"] == channel)
    assert [name["name"] for name in row["names"]] == ["general", "renamed"]
    stays = [row for row in flock.truth("membership") if (row["channel_id"], row["user_id"]) == (channel, member)]
    assert [(stay["affiliation"], stay["until_ms"] is None) for stay in stays] == [
        ("member", False),
        ("moderator", True),
    ]
    assert flock.people[member].first_name == "Renamed"
    assert any(user["id"] == member for user in control("GET", "/users")[1])
    assert any(found["id"] == channel for found in control("GET", "/channels")[1])


def test_webhooks_and_installs(flock, listener, control):
    channel, found = next(iter(flock.channels.items()))
    owner = next(iter(found.members))
    _, made = control("POST", "/webhooks", {"owner": owner, "channel": channel, "url": listener.url, "name": "a"})
    assert control("GET", "/webhooks")[1] == [
        {**made, "owner": owner, "channel": channel, "url": listener.url, "name": "a", "shape": "observed"}
    ]
    for _ in range(9):
        control("POST", "/webhooks", {"owner": owner, "channel": channel, "url": listener.url})
    assert control("POST", "/webhooks", {"owner": owner, "channel": channel, "url": listener.url})[0] == 409
    assert control("DELETE", f"/webhooks/{made['token']}")[0] == 200
    assert control("POST", "/incoming-webhooks", {"owner": owner, "channel": channel})[1]["url"].startswith("http")
    token = control("POST", "/installs", {"user": owner})[1]["token"]
    assert control("GET", "/tokens")[1]["users"][owner] == token
    assert control("PATCH", f"/installs/{owner}", {"disabled_by": "team"})[0] == 200
    assert control("DELETE", f"/installs/{owner}")[0] == 200
    assert owner not in control("GET", "/tokens")[1]["users"]
    control("PUT", "/listener", {"url": f"{listener.url}/events"})
    listener.status = 503
    assert control("POST", "/installs", {"user": owner})[0] == 409


def test_events_and_actions(flock, listener, control):
    control("PUT", "/listener", {"url": listener.url})
    sender, other = list(flock.user_tokens)[:2]
    uid = flock.send(sender, other, text="x")
    assert control("POST", "/actions", {"user": sender, "chat": other, "uids": [uid]})[1] == {"status": "200"}
    event = {"name": "client.pressButton", "user": sender, "attributes": {"chat": other, "button": "chatTabButton"}}
    assert control("POST", "/events", event)[1] == {"status": "200"}
    assert [body["name"] for body in listener.bodies()] == ["client.messageAction", "client.pressButton"]


def test_faults_files_violations_and_counters(flock, http, listener, control):
    flock.play_all()
    fault = {"kind": "internal_error", "where": "api", "count": 1}
    assert control("POST", "/faults", fault)[0] == 200
    assert control("GET", "/faults")[1][0]["happened"] == 0
    assert control("DELETE", "/faults")[0] == 200
    assert control("GET", "/faults")[1] == []
    assert control("POST", "/faults", {**fault, "colour": "red"})[0] == 400
    file = next(iter(flock.truth("file")))
    for mode in FILE_MODES:
        assert control("PATCH", "/files", {"path": file["url"], "mode": mode})[0] == 200
    http.get(file["url"], headers={"authorization": next(iter(flock.user_tokens.values()))})
    assert len(control("GET", "/violations")[1]) == 1
    assert control("DELETE", "/violations")[0] == 200
    assert control("GET", "/violations")[1] == []
    assert control("GET", "/counters")[1]["file_requests"] == 1
    assert control("DELETE", "/counters")[0] == 200
    assert control("GET", "/counters")[1]["file_requests"] == 0
    assert control("POST", "/settle")[0] == 200


@pytest.mark.parametrize("body", [b"[", b"[]", b'{"owner": 1}', b"\xff", b'{"owner":"a"}'])
def test_a_request_that_cannot_be_read_says_why(flock, http, body):
    answer = http.post(flock.control_url + "/webhooks", content=body)
    assert answer.status_code == 400
    assert "cannot be read" in answer.json()["error"]
