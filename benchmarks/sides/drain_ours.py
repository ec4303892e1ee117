"""One side of `drain.py`: the drain stage of a run, from a full spool to a committed archive."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver import settings as configuration
from archiver import wiring
from archiver.run.lock import hold
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import Silent


def main(config: Path, messages: int) -> None:
    settings = configuration.load(config)
    started = time.perf_counter()
    with hold(settings.state), wiring.run_ports(settings, configuration.Secrets(settings)) as ports:
        result = run_nightly(
            ports,
            author=wiring.author(settings, clock=ports.clock),
            limits=wiring.limits(settings, minutes_max=None),
            selection=Selection(only=("drain",)),
            progress=Silent(),
        )
    seconds = time.perf_counter() - started
    archived = sum(stage.counts.get("messages", 0) for stage in result.stages)
    if archived != messages:
        raise SystemExit(f"{archived} of {messages} messages archived")
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
