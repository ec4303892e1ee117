"""What the benchmarks push: webhook bodies from a seed, in the shape that was observed (flock-api.md 11.1).

Nine of ten say nothing but a text; the rest mention somebody, hold FlockML or come from an app. None has a file, because fetching
files is another benchmark's business. Texts are a few to some forty words long, in four scripts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from archiver.model.capture import Capture
from archiver.spool.sqlite import SqliteSpool

FIRST_AT_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1000)
DAYS = 5
CHANNELS = 30
PEOPLE = 300
APPEND_CAPTURES = 500
_WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "we",
    "merge",
    "budget",
    "report",
    "meeting",
    "tomorrow",
    "please",
    "review",
    "this",
    "before",
    "noon",
    "会議",
    "予算",
    "明日",
    "確認",
    "お願いします",
    "wir",
    "prüfen",
    "das",
    "morgen",
    "früh",
    "ещё",
    "раз",
    "проверить",
    "отчёт",
    "👍",
    "🎉",
]


def text(chance: random.Random) -> str:
    """Return what somebody might say."""
    return " ".join(chance.choices(_WORDS, k=min(40, 2 + int(chance.expovariate(0.12)))))


def bodies(count: int, *, seed: int = 1) -> Iterator[bytes]:
    """Yield this many bodies, in the order of their sending times."""
    chance = random.Random(seed)
    channels = [f"g:{chance.getrandbits(128):032x}" for _ in range(CHANNELS)]
    people = [f"u:{chance.getrandbits(64):016x}" for _ in range(PEOPLE)]
    step_ms = DAYS * 86_400_000 / count
    for number in range(count):
        at_ms = FIRST_AT_MS + int(number * step_ms)
        said = text(chance)
        message: dict[str, object] = {
            "id": f"d_{at_ms}_{chance.getrandbits(32):08x}",
            "to": chance.choice(channels),
            "from": chance.choice(people),
            "text": said,
            "timestamp": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            "timestampInMillis": at_ms,
            "uid": f"{at_ms}-{number % 46_656:03x}{number // 46_656:x}-m20{number % 3 + 1}",
            "onBehalfOf": "",
            "visibleTo": [],
        }
        kind = chance.random()
        if kind < 0.04:
            message["mentions"] = [chance.choice(people)]
        elif kind < 0.08:
            message |= {
                "text": "",
                "flockml": f"<flockml>{said} <b>now</b></flockml>",
                "appId": "a1b2",
                "notification": said,
            }
        elif kind < 0.10:
            message |= {"appId": "c3d4", "sendAs": {"name": "Build", "profileImage": "https://example.com/b.png"}}
        yield json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def fill_spool(path: Path, count: int, *, seed: int = 1) -> None:
    """Make a spool in which this many captures wait, as a listener would have left it."""
    spool = SqliteSpool(path)
    batch: list[Capture] = []
    for number, body in enumerate(bodies(count, seed=seed)):
        received_at_ms = FIRST_AT_MS + int(number * DAYS * 86_400_000 / count) + 250
        batch.append(Capture("general", "webhook", received_at_ms, "webhook-token", body))
        if len(batch) == APPEND_CAPTURES:
            spool.append(batch)
            batch = []
    spool.append(batch)
    spool.close()


def write_lines(path: Path, count: int, *, seed: int = 1) -> None:
    """Write the same bodies as JSON lines, for those who read files."""
    with path.open("wb") as file:
        for body in bodies(count, seed=seed):
            file.write(body + b"\n")


def write_config(folder: Path, **run: object) -> Path:
    """Write a configuration whose archive and state lie in the folder; ``run`` goes under its key of that name."""
    path = folder / "archiver.yaml"
    path.write_text(json.dumps({"workspace": "benchmark", "archive": "./archive", "state": "./state", "run": run}))
    return path
