"""What asking the archive through our views costs, against DuckDB's `read_parquet` over the same files.

    python benchmarks/query.py [--messages 20000000] [--days 2000] [--rounds 5] [--archive DIR] [--directory DIR]

The archive is made first (`sides/aged.py`), one commit a day. Each side runs in a new process, in turns, on files that the system has
cached, and is timed from after its imports until the last row: ours opens the archive, reads its head and makes the views that the
query names; DuckDB lists the files by a glob. Then each asks the same again on its open connection. Of the derived views a day is asked
for: of `conversation_day`, of `deleted_or_missing`, and what was shown at its end (`as_of`).

Targets: the lookup of a uid, in `messages` and in `current_messages`, at most 2 times as long as DuckDB's own; every other question at
most 1.1 times, asked on an open connection, where ours has the ends of the objects in memory. Figures are medians; the ratio is the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

REPOSITORY = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
LOOKUP_RATIO_MAX = 2.0
VIEW_RATIO_MAX = 1.1
UNTIL = "2026-11-01"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000_000)
    parser.add_argument("--days", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--archive", type=Path, help="keep the archive here, and use the one that is here")
    parser.add_argument("--directory", type=Path, default=REPOSITORY)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory, prefix=".bench-") as name:
        archive = given.archive or Path(name) / "archive"
        if not archive.exists():
            _run("aged.py", archive, given.messages, given.days, UNTIL)
        return _compare(archive, given.rounds)


def _compare(archive: Path, rounds: int) -> int:
    uid, day, chat = _one_message(archive)
    values = {"lookup": uid, "lookup-current": uid, "day": day, "channel": chat, "group": "", "text": ""}
    values |= dict.fromkeys(("conversation-day", "missing-day", "as-of-day"), day)
    kept = True
    for question, value in values.items():
        found: dict[str, list[dict[str, float]]] = {"ours": [], "duckdb": []}
        for number in range(rounds + 1):
            for side, figures in found.items():
                figure = json.loads(_run("query_run.py", side, archive, question, value).splitlines()[-1])
                if number:  # the first only warms the system's cache
                    figures.append(figure)
        assert found["ours"][0]["rows"] == found["duckdb"][0]["rows"]
        kept &= _show(question, found)
    return 0 if kept else 1


def _show(question: str, found: dict[str, list[dict[str, float]]]) -> bool:
    is_lookup = question.startswith("lookup")
    limit, counted = (LOOKUP_RATIO_MAX, "first") if is_lookup else (VIEW_RATIO_MAX, "again")
    parts = []
    for time_of in ("first", "again"):
        ours, theirs = (
            statistics.median(figure[time_of] for figure in found[side]) * 1000 for side in ("ours", "duckdb")
        )
        parts.append(f"{time_of} {ours:7.0f} / {theirs:7.0f} ms, ratio {_ratio(found, time_of):4.2f}")
    met = _ratio(found, counted) <= limit
    print(f"{question:<16} {'   '.join(parts)}   ({counted} at most {limit:g}: {'met' if met else 'MISSED'})")
    return met


def _ratio(found: dict[str, list[dict[str, float]]], time_of: str) -> float:
    return statistics.median(
        ours[time_of] / theirs[time_of] for ours, theirs in zip(found["ours"], found["duckdb"], strict=True)
    )


def _one_message(archive: Path) -> tuple[str, str, str]:
    files = sorted((archive / "messages").rglob("*.parquet"))
    middle = files[len(files) // 2]
    sql = f"SELECT message_uid, CAST(sent_at AT TIME ZONE 'UTC' AS DATE)::VARCHAR, chat_id FROM read_parquet('{middle}') LIMIT 1"
    row = duckdb.sql(sql).fetchone()
    assert row is not None
    return row


def _run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(SIDES / script), *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
