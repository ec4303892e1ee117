"""`archiver demo`: what a newcomer sees first works, says what it did, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest


def _demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archiver", "demo", "--folder", str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def _processes_of(folder: Path) -> list[str]:
    """Return the command lines or environments of live processes that know the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                known = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in known:
                found.append(process.name)
    return found


@pytest.mark.slow
def test_the_demo_shows_both_versions_and_what_flock_no_longer_returns(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    shown = _demo(folder)
    assert shown.returncode == 0, shown.stderr
    assert "on second thought" in shown.stdout
    assert "not_returned" in shown.stdout
    assert "Everything is as the ledger says." in shown.stdout
    assert str(folder / "archiver.yaml") in shown.stdout
    assert not _processes_of(folder)
    # What it told people to type in DuckDB works with nothing of ours.
    glob = folder / "archive" / "messages" / "**" / "*.parquet"
    versions = duckdb.sql(
        f"SELECT count(*) FROM read_parquet('{glob}', hive_partitioning=true) WHERE version = 2"
    ).fetchone()
    assert versions is not None
    assert versions[0] >= 1


def test_the_demo_replaces_an_earlier_demo_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("do not touch")
    refused = _demo(folder)
    assert refused.returncode == 5
    assert "holds no earlier demo" in refused.stderr
    assert (folder / "thesis.txt").read_text() == "do not touch"


@pytest.mark.slow
def test_the_demo_on_s3_keeps_the_archive_in_a_bucket(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = _demo(folder, "--s3", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["archive"].startswith("s3://")
    assert not (folder / "archive").exists()
    assert not _processes_of(folder)


def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    running = subprocess.Popen(
        [sys.executable, "-m", "archiver", "demo", "--folder", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "archiver run" in line:
            break
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert not _processes_of(folder)
