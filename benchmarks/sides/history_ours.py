"""One side of `history.py`: the history stage of a run, from an archive that knows the directory to all messages committed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver import settings as configuration
from archiver import wiring
from archiver.run.lock import hold
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import RunResult, Silent, StageName


def main(server: dict[str, Any], folder: Path, messages: int, threads: int) -> None:
    (folder / "tokens.json").write_text(
        json.dumps({user: server["tokens"][user] for user in set(server["channels"].values())})
    )
    (folder / "tokens.json").chmod(0o600)
    source = {
        "name": "gateway",
        "method": "chat.history",
        "parameters": {"chat": "{chat}", "limit": "{page_size}", "cursor": "{cursor}"},
        "items": "messages",
        "next_cursor": "next",
        "page_size": 100,
        "requests_per_night": 1_000_000,
    }
    flock = {
        "base_url": server["base_url"],
        "tokens_file": str(folder / "tokens.json"),
        "requests_per_second": 1_000,
        "connections": threads,
    }
    facts = {"workspace": "benchmark", "archive": "./archive", "state": "./state", "flock": flock}
    (folder / "archiver.yaml").write_text(json.dumps({**facts, "history": {"sources": [source]}}))
    settings = configuration.load(folder / "archiver.yaml")
    _run(settings, "directory")
    started = time.perf_counter()
    result = _run(settings, "history")
    seconds = time.perf_counter() - started
    archived = sum(stage.counts.get("messages", 0) for stage in result.stages)
    if archived != messages:
        raise SystemExit(f"{archived} of {messages} messages archived: {result}")
    print(json.dumps({"seconds": seconds}))


def _run(settings: configuration.Settings, stage: StageName) -> RunResult:
    with hold(settings.state), wiring.run_ports(settings, configuration.Secrets(settings)) as ports:
        return run_nightly(
            ports,
            author=wiring.author(settings, clock=ports.clock),
            limits=wiring.limits(settings, minutes_max=None),
            selection=Selection(only=(stage,)),
            progress=Silent(),
        )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
