"""What the writers of the readable and open formats do in a second, from slices in memory, against the plainest thing that writes as much.

    python benchmarks/export_writers.py [--messages 100000] [--rounds 3]

- html against a bare jinja2 loop with autoescape: sender, time, text and uid of each message on one page, and nothing else;
- jsonl against DuckDB's COPY … TO json of the same rows, in one thread, from Parquet in memory's reach;
- csv, parquet and slack stand beside them.

The slices are made first, of a thousand messages each; reading an archive is not part of it. CPU seconds of this process, so that what
else runs on the machine counts as little as it can. Figures are medians over the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import jinja2

from archiver.clock import to_text
from archiver.discovery.export.formats import writer_class
from archiver.discovery.export.record import Conversation, Message, Person, Slice, Terms, Version

FORMATS = ("html", "jsonl", "csv", "parquet", "slack")
HTML_TIMES_MIN = 1 / 3
JSONL_TIMES_MIN = 0.5
SLICE_MESSAGES = 1000
WORDS = (
    *("the", "price", "of", "merger", "is", "in", "list", "and", "we", "met", "about", "it", "on", "Monday"),
    *("契約書を", "送りました", "お願いします", "ok", "👍", "https://x.example"),
)
PAGE = """<!doctype html><title>x</title>{% for m in messages %}
<article><b>{{ m.sender }}</b> <time>{{ m.at }}</time><p>{{ m.text }}</p><code>{{ m.uid }}</code></article>{% endfor %}"""


class Nowhere:
    """A sink that keeps nothing, or one file of it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def has(self, path: str) -> bool:  # noqa: ARG002 - as every sink has it
        """Nothing is there from an earlier try."""
        return False

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """Open a file, or what drops all that is written to it."""
        if self.folder is None:
            yield _Drop()
            return
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            yield stream


class _Drop(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    parts = _slices(given.messages)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _written("parquet", parts, Nowhere(folder))
        sides: dict[str, Callable[[], object]] = {
            **{form: (lambda form=form: _written(form, parts, Nowhere())) for form in FORMATS},
            "bare jinja2": lambda: _bare(parts),
            "duckdb copy": lambda: _copied(folder),
        }
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(given.rounds):
            for side, work in sides.items():
                began = time.process_time()
                work()
                rates[side].append(given.messages / (time.process_time() - began))
    for side in sides:
        print(f"{side:<12} {statistics.median(rates[side]):>10,.0f} messages/s")
    html, jsonl = _ratio(rates, "html", "bare jinja2"), _ratio(rates, "jsonl", "duckdb copy")
    kept = html >= HTML_TIMES_MIN and jsonl >= JSONL_TIMES_MIN
    print(f"html {html:.2f} of the bare loop, jsonl {jsonl:.2f} of DuckDB's copy: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


def _slices(count: int) -> list[Slice]:
    draw = random.Random(7)
    people = [Person(f"u:{number:016d}", f"Person {number}", f"p{number}@acme.example") for number in range(200)]
    room = Conversation("g:general", "channel", "general", tuple(people), (), "general")
    began = 1_795_132_800_000
    messages = []
    for number in range(count):
        text = " ".join(draw.choices(WORDS, k=draw.randint(2, 24)))
        raw = f'{{"uid":"{began + number}-abc-m{number}","text":"{text}","from":"u:1","to":"g:general"}}'
        digest = f"{number:064x}"
        version = Version(
            1, began, text, "webhook", "general", digest, digest, raw=raw, object_key="messages/x", commit=1
        )
        sender = draw.choice(people)
        uid = f"{began + number}-abc-m{number:09d}"
        messages.append(
            Message(
                room.chat_id, uid, f"ACME-{number:08d}", began + number * 40, "timestampInMillis", sender, (version,)
            )
        )
    cut = [tuple(messages[at : at + SLICE_MESSAGES]) for at in range(0, count, SLICE_MESSAGES)]
    return [Slice(room, "2026-11-20", at, len(cut), part) for at, part in enumerate(cut, 1)]


def _terms() -> Terms:
    return Terms(
        "acme", "0f0f", "acme", 1, "ab" * 32, 0, ZoneInfo("Europe/Berlin"), "0", open_blob=lambda _: io.BytesIO()
    )


def _written(form: str, parts: list[Slice], sink: Nowhere) -> None:
    writer = writer_class(form)(_terms(), sink)
    for part in parts:
        writer.add(part)
    writer.finish()


def _bare(parts: list[Slice]) -> None:
    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    for part in parts:
        rows = [
            {"sender": one.sender.shown, "at": to_text(one.sent_at_ms), "text": one.newest.text, "uid": one.message_uid}
            for one in part.messages
        ]
        page.render(messages=rows).encode()


def _copied(folder: Path) -> None:
    with duckdb.connect(config={"threads": 1}) as connection:
        source = folder / "parquet/messages-*.parquet"
        connection.execute(f"COPY (FROM '{source}') TO '{folder / 'out.json'}' (FORMAT json)")


def _ratio(rates: dict[str, list[float]], ours: str, other: str) -> float:
    return statistics.median([one / two for one, two in zip(rates[ours], rates[other], strict=True)])


if __name__ == "__main__":
    sys.exit(main())
