"""Contract: Flock's official Node SDK, as published, drives the simulator and verifies its events (flock-api.md 16; checklist line 12)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from archiver.simulator.events import EVENT_FIELDS

HERE = Path(__file__).parent / "node"
LOCK = HERE / "package-lock.json"
INSTALL_SECONDS = 240

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")),
    reason="the official SDK needs node and npm, which are not installed",
)


@pytest.fixture(scope="session")
def modules(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK as its lock file pins it, installed once and kept for the next session."""
    kept = pytestconfig.cache.mkdir("flockos") / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    if not kept.is_dir():
        # A place beside, so that two sessions at once do not see each other's half.
        fresh = Path(tmp_path_factory.mktemp("flockos"))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, fresh)
        subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=fresh, check=True, timeout=INSTALL_SECONDS
        )
        try:
            shutil.copytree(fresh, staged := kept.with_suffix(f".{os.getpid()}"))
            staged.rename(kept)
        except OSError:
            assert kept.is_dir()
    return kept / "node_modules"


@pytest.fixture
def drive(flock, modules):
    def drive(*calls: dict[str, Any]) -> list[dict[str, Any]]:
        given = json.dumps({"baseUrl": flock.base_url, "calls": calls})
        done = subprocess.run(
            ["node", HERE / "drive.js"],
            input=given,
            env={"PATH": os.environ["PATH"], "NODE_PATH": str(modules)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return drive


def test_the_sdk_calls_every_method_it_has(flock, drive):
    channel = next(iter(flock.channels.values()))
    one, other = [user for user in channel.members if user in flock.user_tokens][:2]
    token = flock.user_tokens[one]
    text = "é 日本 & = + % 👍 \x01"
    uid = flock.send(other, channel.channel_id, text=text)
    outcomes = drive(
        {"method": "users.getInfo", "token": token},
        {"method": "roster.listContacts", "token": token, "parameters": {}},
        {"method": "groups.list", "token": token},
        {"method": "groups.getInfo", "token": token, "parameters": {"groupId": channel.channel_id}},
        {"method": "groups.getMembers", "token": token, "parameters": {"groupId": channel.channel_id}},
        {
            "method": "chat.fetchMessages",
            "token": token,
            "parameters": {"chat": channel.channel_id, "uids": [uid, "x"]},
        },
        {
            "method": "chat.sendMessage",
            "token": token,
            "parameters": {
                "to": other,
                "text": text,
                "mentions": [other],
                "sendAs": None,
                "attachments": [{"title": "a"}],
            },
        },
        {"via": "callMethod", "method": "channels.list", "token": token},
        {
            "via": "callMethod",
            "method": "channels.getInfo",
            "token": token,
            "parameters": {"channelId": channel.channel_id},
        },
        {
            "via": "callMethod",
            "method": "channels.listMembers",
            "token": token,
            "parameters": {"channelId": channel.channel_id, "showPublicProfile": True},
        },
        {"via": "callMethod", "method": "users.getPublicProfile", "token": token, "parameters": {"userId": other}},
        {
            "via": "callMethod",
            "method": "channels.create",
            "token": token,
            "parameters": {"name": "new", "members": [other]},
        },
    )
    assert [outcome for outcome in outcomes if "value" not in outcome] == []
    own, roster, groups, group, members, fetched, sent, channels, info, stays, profile, made = (
        outcome["value"] for outcome in outcomes
    )
    assert own["id"] == one
    assert {contact["id"] for contact in roster} == set(flock.people) - {one}
    assert {found["id"] for found in groups} == {found["id"] for found in channels}
    assert group["name"] == info["name"] == channel.name
    assert [member["id"] for member in members] == list(channel.members)
    assert [message["text"] for message in fetched] == [text]
    assert [stay["publicProfile"]["id"] for stay in stays] == list(channel.members)
    assert profile["id"] == other
    assert set(flock.channels[made["id"]].members) == {one, other}
    (row,) = (row for row in flock.truth("message") if row["uid"] == sent["uid"])
    assert row["versions"][0]["text"] == text
    assert row["versions"][0]["mentions"] == [other]
    assert flock.counters()["tokens_in"] == {"body": len(outcomes)}


def test_the_sdk_understands_every_error(flock, drive):
    user, token = next(iter(flock.user_tokens.items()))
    for kind in ("internal_error", "unavailable", "request_timeout", "too_many_requests"):
        flock.inject(kind, "api:roster.listContacts", count=1)
    errors = drive(
        {"via": "callMethod", "method": "users.list", "token": token},
        {"method": "users.getInfo", "token": ""},
        {"method": "users.getInfo", "token": "wrong"},
        {"method": "groups.getInfo", "token": token},
        {"method": "chat.fetchMessages", "token": token, "parameters": {"chat": "g:none", "uids": ["x"]}},
        {"method": "chat.fetchMessages", "token": token, "parameters": {"chat": "g:none", "uids": ["x"] * 26}},
        {"method": "chat.sendMessage", "token": token, "parameters": {"to": user, "text": ""}},
        {"method": "chat.sendMessage", "token": token, "parameters": {"to": "u:none", "text": "x"}},
        *[{"method": "roster.listContacts", "token": token}] * 4,
    )
    assert {error["error"] for error in errors} == {"MethodError"}
    assert [(error["status"], error["code"]) for error in errors] == [
        (404, "NoSuchMethod"),
        (400, "MissingUserToken"),
        (403, "InvalidToken"),
        (400, "InvalidParameter"),
        (400, "UnknownChat"),
        (400, "InvalidParameter"),
        (400, "MissingTextOrAttachment"),
        (400, "UnknownRecipient"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (408, "RequestTimeout"),
        (429, "TooManyRequests"),
    ]
    assert all(error["message"] for error in errors)
    assert errors[3]["attributes"] == {"parameter": "groupId"}
    assert errors[5]["attributes"] == {"parameter": "uids"}


def test_a_proxys_page_is_an_unexpected_response_to_the_sdk(flock, drive):
    token = next(iter(flock.user_tokens.values()))
    flock.inject("bad_gateway", "api", count=1)
    flock.inject("not_json", "api", count=1)
    errors = drive({"method": "users.getInfo", "token": token}, {"method": "users.getInfo", "token": token})
    assert [error["error"] for error in errors] == ["UnexpectedResponseError"] * 2


@pytest.fixture
def sdk_listener(flock, modules):
    """The SDK's listener as a process; yields a function that reads its next line."""
    settings = {"appId": flock.app_id, "appSecret": flock.app_secret, "names": list(EVENT_FIELDS)}
    process = subprocess.Popen(
        ["node", HERE / "listen.js", json.dumps(settings)],
        env={"PATH": os.environ["PATH"], "NODE_PATH": str(modules)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    port = json.loads(process.stdout.readline())["port"]
    flock.set_listener(f"http://127.0.0.1:{port}/events")
    yield lambda: json.loads(process.stdout.readline())["event"]
    process.stdin.close()
    process.wait(timeout=10)
    process.stdout.close()


def test_the_sdks_listener_accepts_every_event(flock, sdk_listener):
    user, channel = next(iter(flock.user_tokens)), next(iter(flock.channels))
    for name, fields in EVENT_FIELDS.items():
        attributes = {field: channel if field == "chat" else f"a {field}" for field in fields}
        assert flock.send_event(name, user, attributes) == "200"
        event = sdk_listener()
        assert (event["name"], event["userId"]) == (name, user)
    uid = flock.send(user, flock.bot_id, text="日本 👍")
    assert sdk_listener()["message"]["uid"] == uid
    assert flock.message_action(user, flock.bot_id, [uid]) == "200"
    assert sdk_listener()["messages"][0]["text"] == "日本 👍"
    token = flock.install(user)
    assert sdk_listener()["token"] == token


@pytest.mark.parametrize("kind", ["expired", "wrong_app", "wrong_user", "wrong_secret", "no_algorithm"])
def test_the_sdks_listener_refuses_a_bad_token(flock, sdk_listener, kind):
    user = next(iter(flock.user_tokens))
    flock.inject(kind, "events", count=1)
    flock.send(user, flock.bot_id, text="x")
    assert [push["status"] for push in flock.truth("push")] == ["403"]


def test_the_lock_file_names_no_registry():
    assert "resolved" not in LOCK.read_text("utf-8")
