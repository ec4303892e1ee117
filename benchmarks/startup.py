"""How long `archiver --help` takes, against `python -c "import click"`: it must not import what it does not need."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 21
WARM_UP_ROUNDS = 2
RATIO_MAX = 3.0

COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "archiver --help": [sys.executable, "-m", "archiver", "--help"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> int:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_ in range(WARM_UP_ROUNDS + ROUNDS):
        for name, command in COMMANDS.items():
            taken = seconds(command)
            if round_ >= WARM_UP_ROUNDS:
                times[name].append(taken)
    for name, taken in times.items():
        print(f"{name:<16} median {statistics.median(taken) * 1000:6.1f} ms, fastest {min(taken) * 1000:6.1f} ms")
    bare, ours = (statistics.median(taken) for taken in times.values())
    print(f"ratio of medians {ours / bare:.2f}, at most {RATIO_MAX}")
    return 0 if ours <= RATIO_MAX * bare else 1


if __name__ == "__main__":
    sys.exit(main())
