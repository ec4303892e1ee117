"""`archiver listen` as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from archiver.errors import EXIT_STORAGE, EXIT_USAGE
from archiver.flock.token_store import TokenStore
from archiver.flock.tokens import Secret, UserToken
from tests.capture.running_listener import (
    APP_ID,
    APP_SECRET,
    DEADLINE_SECONDS,
    MESSAGE,
    PATH_SECRET,
    USER,
    WEBHOOK_TOKEN,
    captures_in,
    event_token,
)

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = Fernet.generate_key().decode()
CONFIG = f"""\
workspace: acme
listen: {{port: 0, app_id: {APP_ID}}}
flock: {{base_url: "http://127.0.0.1:1/v1"}}
"""
SECRETS = {
    "ARCHIVER_LISTEN__PATH_SECRET": PATH_SECRET,
    "ARCHIVER_LISTEN__WEBHOOK_TOKENS": json.dumps({"general": WEBHOOK_TOKEN}),
    "ARCHIVER_LISTEN__APP_SECRET": APP_SECRET,
    "ARCHIVER_LISTEN__TOKEN_KEY": KEY,
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "archiver.yaml"
    path.write_text(CONFIG)
    return path


def command(config: Path, *arguments: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "archiver", "listen", "--config", str(config), *arguments],
        cwd=REPOSITORY,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_announces_itself_in_one_line_takes_pushes_and_ends_with_0(config):
    process = command(config, "--json", environment=SECRETS)
    url = json.loads(process.stdout.readline())["listening"]
    body = json.dumps({"name": "app.install", "userId": USER, "token": "a-users-token-0123456789"}).encode()

    pushed = httpx.post(f"{url}/hooks/{PATH_SECRET}/general", params={"token": WEBHOOK_TOKEN}, content=MESSAGE)
    installed = httpx.post(f"{url}/events", headers={"X-Flock-Event-Token": event_token()}, content=body)
    refused = httpx.post(f"{url}/hooks/{PATH_SECRET}/general", params={"token": "wrong"}, content=MESSAGE)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)

    assert [answer.status_code for answer in (pushed, installed, refused)] == [200, 200, 403]
    assert (process.returncode, out) == (0, "")
    state = config.parent / "state"
    first, second = captures_in(state / "spool.sqlite")
    assert first.body == MESSAGE
    assert json.loads(second.body)["token"] == "[redacted]"
    with TokenStore(state / "tokens.sqlite", key=Secret(KEY)) as tokens:
        assert tokens.load() == [UserToken(USER, Secret("a-users-token-0123456789"))]
    assert "app installed" in err
    for secret in (*SECRETS.values(), WEBHOOK_TOKEN, "a-users-token-0123456789", "/hooks"):
        assert secret not in err


def test_a_person_is_told_where_to_point_flock_without_the_secrets(config):
    process = command(config, environment=SECRETS)
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_SECONDS)

    assert [line.split()[0] for line in lines] == ["listening", "webhooks", "events", "spool"]
    assert "/hooks/<path secret>/<webhook name>" in lines[1]
    assert process.returncode == 0
    assert "every push that was answered 200 is in the spool" in err


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ("ARCHIVER_LISTEN__PATH_SECRET", "no secret part"),
        ("ARCHIVER_LISTEN__APP_SECRET", "cannot be verified without both"),
    ],
)
def test_half_a_configuration_is_refused_with_exit_code_2(config, without, sentence):
    environment = {name: value for name, value in SECRETS.items() if name != without}
    process = command(config, environment=environment)
    _, err = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == EXIT_USAGE
    assert sentence in err
    assert "Next: " in err


def test_a_spool_that_cannot_be_opened_is_exit_code_7(config):
    (config.parent / "state").mkdir()
    (config.parent / "state" / "spool.sqlite").write_bytes(b"no database" * 1_000)
    process = command(config, environment=SECRETS)
    _, err = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == EXIT_STORAGE
    assert "is damaged" in err
