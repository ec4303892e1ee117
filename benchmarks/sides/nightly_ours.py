"""One side of `nightly.py`: a whole run in a process of its own, which tells its seconds by stage and its peak memory."""

from __future__ import annotations

import argparse
import cProfile
import json
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import structlog

from archiver import settings as configuration
from archiver import wiring
from archiver.run.lock import hold
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import RunResult, Silent

_QUIET = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--profile", type=Path, help="write what cProfile saw to this file")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_QUIET))
    settings = configuration.load(given.config)
    profile = cProfile.Profile() if given.profile else None
    cpu_started = time.process_time()
    started = time.perf_counter()
    if profile is not None:
        profile.enable()
    result = run(settings, only=tuple(given.only))
    if profile is not None:
        profile.disable()
        profile.dump_stats(given.profile)
    seconds = time.perf_counter() - started
    counts: dict[str, int] = {}
    for stage in result.stages:
        if stage.error is not None:
            raise SystemExit(f"{stage.stage}: {stage.error}")
        for name, count in stage.counts.items():
            counts[f"{stage.stage}.{name}"] = count
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": time.process_time() - cpu_started,
                "stages": {stage.stage: stage.seconds for stage in result.stages},
                "counts": counts,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


def run(settings: configuration.Settings, *, only: tuple[str, ...]) -> RunResult:
    """Do what `archiver run` does, from opening the archive to closing it."""
    with hold(settings.state), wiring.run_ports(settings, configuration.Secrets(settings)) as ports:
        return run_nightly(
            ports,
            author=wiring.author(settings, clock=ports.clock),
            limits=wiring.limits(settings, minutes_max=None),
            selection=Selection(only=only),
            progress=Silent(),
        )


if __name__ == "__main__":
    main()
