"""What all tests share: the servers, an environment without our own variables, and where the real chat lies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

pytest_plugins = ["tests.servers.plugin", "tests.workers"]

ROOT = Path(__file__).resolve().parent.parent

# A busy machine is no reason to fail: the time of one example says nothing about the rule it tests.
_EASY = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# So many that the gate is quick; `--hypothesis-profile=long` tries more of every property that does not say how many itself.
hypothesis.settings.register_profile("archiver", _EASY, max_examples=50)
hypothesis.settings.register_profile("long", _EASY, max_examples=1_000)
hypothesis.settings.load_profile("archiver")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take our own settings and the person's own credentials and taste away, so that a test means the same everywhere."""
    for name in list(os.environ):
        if name.startswith(("ARCHIVER_", "AWS_")) or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    # boto3 then asks neither a file of the person's nor a metadata service.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Put the logs back as they were, because a command that a test calls sends those of the whole process to its own stream."""
    root, own = logging.getLogger(), logging.getLogger("archiver")
    handlers, levels = root.handlers[:], (root.level, own.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    own.setLevel(levels[1])
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def chat_data() -> Path:
    """The folder with real chat, from CHAT_DATA or beside the repository; a test that needs it skips without it."""
    folder = Path(os.environ.get("CHAT_DATA", ROOT.parent / "shared" / "data" / "chat"))
    if not folder.is_dir():
        pytest.skip(f"there is no real chat in {folder}; name its folder with CHAT_DATA")
    return folder
