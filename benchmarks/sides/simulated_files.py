"""The simulator's file hosts in a process of their own, with so many files.

    python benchmarks/sides/simulated_files.py --files 1000 --file-bytes 65536

It prints one JSON document, with the address of every file and the origins that they lead to, and runs until standard input ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.simulator.records import HostedFile
from archiver.simulator.server import Simulator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--file-bytes", type=int, default=65_536)
    given = parser.parse_args()
    files = [
        HostedFile(
            path=f"/{number}/plan-{number}.bin",
            name=f"plan-{number}.bin",
            mime="application/octet-stream",
            size=given.file_bytes,
            key=f"file {number}",
            mode="redirect",
        )
        for number in range(given.files)
    ]
    with Simulator(seed=3, messages=0) as flock:
        flock.host(files)
        facts = {
            "base_url": flock.base_url,
            "urls": [f"{flock.files_url}{file.path}" for file in files],
            "origins": [flock.files_url, flock.signed_url],
        }
        print(json.dumps(facts), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
