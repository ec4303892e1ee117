"""`archiver simulate`: where everything listens, and a configuration that points an archiver at it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from archiver import settings
from archiver.errors import RefusedError, UsageError
from archiver.simulator.config_files import write_config
from archiver.simulator.server import Simulator

PORTS = [word for name in ("", "files-", "signed-", "control-") for word in (f"--{name}port", "0")]


def _document(process: subprocess.Popen[str]) -> dict:
    """Read the one JSON document; the process goes on."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    return json.loads("".join(lines))


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "archiver", "simulate", "--seed", "7", "--messages", "30", "--json", *PORTS),
            *("--write-config", str(tmp_path / "try")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_listens_until_it_is_told_to_stop(simulate, number):
    document = _document(simulate)
    with httpx.Client(trust_env=False) as http:
        overview = http.get(document["control"]).json()
        assert overview["base_url"] == document["api"]
        assert http.post(document["control"] + "/play").json()["actions"]["post"] == 30
        assert http.get(document["api"] + "/channels.list").json()["error"] == "MissingUserToken"
    simulate.send_signal(number)
    _, notes = simulate.communicate(timeout=10)
    assert simulate.returncode == 0
    assert "Traceback" not in notes


def test_the_addresses_are_on_loopback(simulate):
    document = _document(simulate)
    assert {document[name].split(":")[1] for name in ("api", "files", "signed_files", "control")} == {"//127.0.0.1"}


def test_the_configuration_names_its_secrets_by_file_and_nobody_else_reads_them(simulate, tmp_path):
    document = _document(simulate)
    config = yaml.safe_load(Path(document["config"]).read_text())
    assert config["flock"]["base_url"] == document["api"]
    assert config["files"]["trusted_origins"] == [document["files"], document["signed_files"]]
    folder = tmp_path / "try" / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    tokens = json.loads((folder / "flock_tokens.json").read_text())
    with httpx.Client(trust_env=False) as http:
        hooks = http.get(document["control"] + "/webhooks").json()
        assert http.get(document["control"] + "/tokens").json()["users"] == tokens
    secret = (folder / "path_secret").read_text().strip()
    assert {hook["url"] for hook in hooks} == {f"http://127.0.0.1:8080/hooks/{secret}/{hook['name']}" for hook in hooks}
    assert json.loads((folder / "webhook_tokens.json").read_text()) == {hook["name"]: hook["token"] for hook in hooks}


def test_the_configuration_is_one_that_the_archiver_reads(tmp_path):
    with Simulator(seed=7, messages=1) as flock:
        written = write_config(flock, tmp_path, listener_url="http://127.0.0.1:8080")
        loaded = settings.load(written.path)
        assert loaded.flock.base_url.rstrip("/") == flock.base_url
        assert loaded.listen.app_id == flock.app_id
        assert written.webhooks == len(flock.channels)


def test_a_second_start_keeps_what_the_archiver_relies_on(tmp_path):
    kept = []
    for _ in range(2):
        with Simulator(seed=7, messages=1) as flock:
            write_config(flock, tmp_path, listener_url="http://127.0.0.1:8080/")
        kept.append(
            [(tmp_path / "secrets" / name).read_text() for name in ("path_secret", "token_key", "flock_tokens.json")]
        )
    assert kept[0] == kept[1]


def test_a_configuration_of_somebody_elses_stays(tmp_path):
    (tmp_path / "archiver.yaml").write_text("workspace: acme\n")
    with Simulator(messages=1) as flock, pytest.raises(RefusedError, match="was not written by"):
        write_config(flock, tmp_path, listener_url="http://127.0.0.1:8080")
    assert [path.name for path in tmp_path.iterdir()] == ["archiver.yaml"]


@pytest.mark.parametrize("url", ["listener:8080", "http://127.0.0.1:8080/path", "ftp://127.0.0.1"])
def test_a_listener_that_is_no_origin_is_refused(tmp_path, url):
    with Simulator(messages=1) as flock, pytest.raises(UsageError, match="no origin"):
        write_config(flock, tmp_path, listener_url=url)


def test_a_port_in_use_is_named():
    with Simulator(messages=1) as flock:
        port = int(flock.base_url.split(":")[2].partition("/")[0])
        with pytest.raises(UsageError, match=f"port {port} "):
            Simulator(messages=1, port=port).start()


def test_a_simulator_that_does_not_run_says_so():
    flock = Simulator(messages=1)
    with pytest.raises(UsageError, match="does not run yet"):
        flock.play_all()
    with flock:
        pass
    with pytest.raises(UsageError, match="runs no more"):
        flock.play_all()
    flock.stop()
