"""One side of `export.py`: exports an archive once, and prints how long that took and its peak of memory.

python benchmarks/sides/export_sides.py FORMAT|duckdb|duckdb_ordered|jinja2|zip ARCHIVE OUT
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.archive.memory import use_system_allocator

if __name__ == "__main__":
    use_system_allocator()

import pyarrow as pa
import pyarrow.compute as pc

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import Archive, files_of, read_columns
from archiver.clock import SystemClock
from archiver.discovery.export.asked import Asked
from archiver.discovery.export.formats import FORMATS, writer_class
from archiver.discovery.export.opened import Wanted
from archiver.discovery.export.targets import FolderTarget
from archiver.discovery.export.verb import make
from archiver.settings.models import Settings
from archiver.store.local import LocalStore
from archiver.wiring_export import exporting

COLUMNS = (
    "chat_id, chat_kind, message_uid, version, sent_at, sent_at_basis, observed_at, source, captured_by, sender_id, sender_name, "
    "send_as_name, on_behalf_of, app_id, flockml, notification, plain_text, mentions, visible_to, attachments, raw, raw_digest, "
    "content_digest"
)
PAGE = """<!doctype html><title>{{ chat }}</title>
{% for each in messages %}<article id="{{ each.message_uid }}"><b>{{ each.sender_id }}</b> <time>{{ each.sent_at }}</time>
<p>{{ each.plain_text }}</p></article>
{% endfor %}"""


def main(side: str, archive: Path, out: Path) -> None:
    out.mkdir()
    if side in FORMATS:
        writer_class(side)
    elif side != "zip":
        import_module(side.removesuffix("_ordered"))
    looking = _Looking()
    looking.start()
    started = time.perf_counter()
    sides = {"duckdb": _duckdb, "duckdb_ordered": _duckdb_ordered, "jinja2": _jinja2, "zip": _zip}
    sides.get(side, lambda *_: _ours(side, archive, out))(archive, out)
    seconds = time.perf_counter() - started
    # What the system counts of a process that ended begins with how large the one was that began it, so both are looked at.
    peak = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, looking.peak)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak}))


class _Looking(threading.Thread):
    """Looks every now and then how much memory this process and those that it began take together."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while True:
            pages = 0
            for process in ("self", *Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
                # One that ends meanwhile takes none.
                with contextlib.suppress(OSError):
                    pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
            self.peak = max(self.peak, pages * page)
            time.sleep(0.05)


def _ours(form: str, place: Path, out: Path) -> None:
    workspace = Archive.open(LocalStore(place)).facts.workspace
    settings = Settings(workspace=workspace, archive=str(place), state=out / "state")
    wanted = Wanted(Asked("benchmark", HoldScope(), ZoneInfo("UTC")), formats=(form,))
    with exporting(settings, clock=SystemClock()) as parts:
        made, _ = make(
            parts.archive,
            wanted,
            FolderTarget(out / "package"),
            folder=parts.folder,
            software="benchmark",
            executor=parts.executor,
            replies=parts.replies,
            in_two=True,
        )
    assert made is not None


def _duckdb(place: Path, out: Path) -> None:
    import duckdb  # noqa: PLC0415 - the other sides are to be measured without it

    duckdb.execute(f"COPY ({_rows_in_sql(place)}) TO '{out / 'messages.json'}' (FORMAT json)")


def _duckdb_ordered(place: Path, out: Path) -> None:
    """In the order of an export, and with the memory that one may have."""
    import duckdb  # noqa: PLC0415 - as above

    duckdb.execute("SET memory_limit = '500MB'")
    duckdb.execute(f"SET temp_directory = '{out / 'temporary'}'")
    ordered = f"{_rows_in_sql(place)} ORDER BY chat_id, sent_at, message_uid"
    duckdb.execute(f"COPY ({ordered}) TO '{out / 'messages.json'}' (FORMAT json)")


def _rows_in_sql(place: Path) -> str:
    return f"SELECT {COLUMNS} FROM read_parquet('{place}/messages/*/*.parquet', hive_partitioning = false)"


def _jinja2(place: Path, out: Path) -> None:
    import jinja2  # noqa: PLC0415 - as above

    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    for number, (chat, messages) in enumerate(groupby(_rows(place), key=lambda row: row["chat_id"])):
        with (out / f"{number}.html").open("w", encoding="utf-8") as stream:
            template.stream(chat=chat, messages=messages).dump(stream)


def _zip(place: Path, out: Path) -> None:
    for number, (_, messages) in enumerate(
        groupby(_rows(place), key=lambda row: (row["chat_id"], row["sent_at"].date()))
    ):
        events = [
            {
                "type": "message",
                "id": row["message_uid"],
                "body": row["plain_text"],
                "participant": row["sender_id"],
                "conversation": row["chat_id"],
                "timestamp": row["sent_at"].isoformat(),
            }
            for row in messages
        ]
        with zipfile.ZipFile(out / f"{number}.zip", "w", zipfile.ZIP_DEFLATED) as target:
            target.writestr("rsmf_manifest.json", json.dumps({"version": "2.0.0", "events": events}))


def _rows(place: Path) -> Iterator[dict[str, Any]]:
    """All messages in order of conversation and time, as a bare script would read them: at once."""
    archive = Archive.open(LocalStore(place))
    names = ("chat_id", "message_uid", "sender_id", "sent_at", "plain_text")
    parts = [read_columns(archive.store, record, names) for record in files_of(archive.head(), "messages")]
    rows = pa.concat_tables(parts)
    order = pc.sort_indices(rows, sort_keys=[("chat_id", "ascending"), ("sent_at", "ascending")])
    for batch in rows.take(order).to_batches(max_chunksize=16_384):
        yield from batch.to_pylist()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
