"""The first page of a search with the index and without, against DuckDB's ILIKE over the same files; and what the index costs.

    python benchmarks/search.py [--messages 20000000] [--days 1000] [--rounds 3] [--archive DIR] [--state DIR] [--directory DIR]

The archive is made first (`sides/aged.py`): so many days of messages in 60 channels by 120 people, one commit a day. They say what people
really said if there is real chat (CHAT_DATA, three quarters of it Japanese), over and over again, and English words at random otherwise.
In every round each side runs in a new process that times itself, after its imports, on files that the system has cached:

- index: open the archive and the index, find and read the newest 20 messages, as `archiver search --json` does;
- scan: the same with `--no-index`;
- duckdb: the newest 20 rows of `read_parquet` whose `plain_text` is ILIKE the word, with as many threads.

What is found is the same, but for words inside others, which ILIKE finds too. Before, the index is made, with all processors; afterwards a
commit of 1,000 messages is added and the index brought up to date. Figures are medians over the rounds. Targets: with the index at most a
twentieth of ILIKE's time over all words together, and no word more than a second.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
TIMES_MIN = 20.0
SECONDS_MAX = 1.0
UNTIL = "2026-11-01"
TEXTS = 20_000
JAPANESE_SHARE = 0.75
# Many, some, few and none at all; the last two are not said by every text.
WORDS_OF_CHAT = ("です", "会議", "ubuntu", "kernel panic", "選挙制度", "nobodysaidthis")
WORDS_AT_RANDOM = ("the", "report", "meeting", "nobodysaidthis")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000_000)
    parser.add_argument("--days", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archive", type=Path, help="keep the archive here, and use the one that is here")
    parser.add_argument("--state", type=Path, help="keep the index here, and use the one that is here")
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    data = Path(os.environ.get("CHAT_DATA", REPOSITORY.parent / "shared" / "data" / "chat"))
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        texts = Path(name) / "texts.json"
        archive = given.archive or Path(name) / "archive"
        further = []
        if data.is_dir():
            texts.write_text(json.dumps(_said(data)), "utf-8")
            further = [str(texts)]
        if not archive.exists():
            _run("aged.py", archive, given.messages, given.days, UNTIL, *further)
        state = given.state or Path(name) / "state"
        state.mkdir(exist_ok=True)
        return _compare(archive, state, WORDS_OF_CHAT if further else WORDS_AT_RANDOM, given.rounds)


def _said(data: Path) -> list[str]:
    """Return what people said, so much of it Japanese."""
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for path in sorted(data.glob("*/messages.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line).get("text") or ""
                kinds[any("\u3040" <= character <= "\u9fff" for character in text)].append(text)
    chance = random.Random(7)
    japanese = chance.choices(kinds[True], k=int(TEXTS * JAPANESE_SHARE))
    return japanese + chance.choices(kinds[False], k=TEXTS - len(japanese))


def _compare(archive: Path, state: Path, words: tuple[str, ...], rounds: int) -> int:
    made = json.loads(_run("search_ours.py", archive, state, "build").splitlines()[-1])
    rate = made["rows"] / made["seconds"]
    share = made["bytes"] / made["archive_bytes"]
    print(
        f"index made: {made['rows']:,} messages in {made['seconds']:.1f} s, {rate:,.0f} messages/s, {made['bytes'] / 1e6:,.0f} MB "
        f"({share:.2f} of the messages' own), peak of a process {made['peak_bytes'] / 1e6:.0f} MB"
    )
    found: dict[str, dict[str, list[float]]] = {}
    told: dict[str, dict[str, object]] = {}
    for number in range(rounds + 1):
        for side in ("index", "scan", "duckdb"):
            script = "search_duckdb.py" if side == "duckdb" else "search_ours.py"
            figures = json.loads(_run(script, archive, state, side, *words).splitlines()[-1])
            for word in words:
                if number:  # the first only warms the system's cache
                    found.setdefault(word, {}).setdefault(side, []).append(figures[word]["seconds"])
                if side != "duckdb":
                    told.setdefault(word, {})[side] = figures[word]["hits"]
    print(f"{'word':<16} {'total':>12} {'index':>9} {'scan':>9} {'ILIKE':>9}   ILIKE / index")
    medians = {word: {side: statistics.median(times) for side, times in sides.items()} for word, sides in found.items()}
    for word, times in medians.items():
        total = _run("search_ours.py", archive, state, "count", word).splitlines()[-1]
        print(
            f"{word:<16} {total:>12} {times['index']:>8.3f}s {times['scan']:>8.3f}s {times['duckdb']:>8.3f}s   "
            f"{times['duckdb'] / times['index']:6.1f}"
        )
        if told[word]["index"] != told[word]["scan"]:
            print(f"{word}: index and scan differ")
            return 1
    added = json.loads(_run("search_ours.py", archive, state, "refresh").splitlines()[-1])
    print(f"index brought up to date after a commit of {added['rows']:,} messages: {added['seconds']:.2f} s")
    times_quicker = sum(times["duckdb"] for times in medians.values()) / sum(
        times["index"] for times in medians.values()
    )
    slowest = max(times["index"] for times in medians.values())
    is_met = times_quicker >= TIMES_MIN and slowest <= SECONDS_MAX
    print(
        f"targets: {TIMES_MIN:g} times quicker than ILIKE ({times_quicker:.1f}), "
        f"under {SECONDS_MAX:g} s ({slowest:.2f}): {'met' if is_met else 'MISSED'}"
    )
    return 0 if is_met else 1


def _run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(SIDES / script), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
