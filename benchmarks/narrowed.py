"""How long an export of what a search finds takes with an index on this machine and without, and that the package is the same.

    python benchmarks/narrowed.py [--messages 2000000] [--days 400] [--rounds 1] [--archive DIR] [--state DIR] [--directory DIR]

The archive is made first (`sides/aged.py`, English words at random) and its index. Then both sides make a package in JSON lines of what is
said in few, some and many messages, alone and with the 20 messages around each hit, each in a new process that times itself after its
imports. What the index costs is part of it: it is read whole and held against its digests first. Figures are medians over the rounds, and
ratios those of processor time, a second of which goes into cover page and patterns whatever is exported. Targets: the same package; what
few messages say takes at most a third, and nothing 1.1 times as long.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
sys.path.insert(0, str(SIDES))
UNTIL = "2026-11-01"
TEXTS = 100_000
# By word in how many of a hundred thousand messages it is said, about.
SAID_IN = {"zanzibar": 3, "quarterdeck": 30, "mizzenmast": 1_000}
FEW_TIMES_MIN = 3.0
TIMES_MIN = 1 / 1.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--archive", type=Path, help="keep the archive here, and use the one that is here")
    parser.add_argument("--state", type=Path, help="keep the index here, and use the one that is here")
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        folder = Path(name)
        archive, state = given.archive or folder / "archive", given.state or folder / "state"
        if not archive.exists():
            texts = folder / "texts.json"
            texts.write_text(json.dumps(_said()), "utf-8")
            _run("aged.py", archive, given.messages, given.days, UNTIL, texts)
        state.mkdir(exist_ok=True)
        _run("search_ours.py", archive, state, "build")
        return _compare(archive, state, folder / "out", given.rounds)


def _said() -> list[str]:
    from team import _WORDS as WORDS  # noqa: PLC0415 - a part of the same benchmark

    chance = random.Random(7)
    texts = [" ".join(chance.choices(WORDS, k=2 + int(chance.expovariate(0.12)))) for _ in range(TEXTS)]
    for word, count in SAID_IN.items():
        for place in chance.sample(range(TEXTS), count):
            texts[place] += f" {word}"
    return texts


def _compare(archive: Path, state: Path, out: Path, rounds: int) -> int:
    is_kept = True
    for number, word in enumerate(SAID_IN):
        for context in ("none", "20msgs"):
            found: dict[str, list[dict[str, float]]] = {"index": [], "scan": []}
            for _ in range(rounds):
                for side, figures in found.items():
                    told = _run("narrowed_ours.py", archive, state, side, word, context, out)
                    figures.append(json.loads(told.splitlines()[-1]))
                    shutil.rmtree(out)
            ours, plain = (statistics.median(each["cpu_seconds"] for each in figures) for figures in found.values())
            seconds = [statistics.median(each["seconds"] for each in figures) for figures in found.values()]
            is_same = len({each["digest"] for figures in found.values() for each in figures}) == 1
            peaks = [max(each["peak_bytes"] for each in figures) / 1e6 for figures in found.values()]
            print(
                f"{word:12} context {context:7} {found['index'][0]['messages']:>9,} messages   index {seconds[0]:7.2f} s "
                f"(cpu {ours:.2f}, {peaks[0]:,.0f} MB)   scan {seconds[1]:7.2f} s (cpu {plain:.2f}, {peaks[1]:,.0f} MB)   "
                f"cpu scan / index {plain / ours:5.2f}   "
                f"packages {'the same' if is_same else 'DIFFER'}",
                flush=True,
            )
            is_few = number == 0 and context == "none"
            is_kept = is_kept and is_same and plain / ours >= (FEW_TIMES_MIN if is_few else TIMES_MIN)
    print(f"targets: {'kept' if is_kept else 'MISSED'}")
    return 0 if is_kept else 1


def _run(script: str, *words: object) -> str:
    command = [sys.executable, SIDES / script, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
