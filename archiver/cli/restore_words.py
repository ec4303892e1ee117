"""How `archiver restore` says what it found, what came and what did not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archiver.clock import to_text

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.discovery.restore import Restored, Survey
    from archiver.discovery.restore_selection import Wanted
    from archiver.discovery.restore_thaw import Cold
    from archiver.store import ThawSpeed

LINES_SHOWN_MAX = 40


def wanted_document(wanted: Wanted) -> dict[str, Any]:
    """Return what was asked for, for programs and for the report."""
    return {
        "chats": None if wanted.chats is None else sorted(wanted.chats),
        "from": None if wanted.from_at_ms is None else to_text(wanted.from_at_ms),
        "until": None if wanted.until_ms is None else to_text(wanted.until_ms),
        "names": sorted(wanted.names),
    }


def cold_words(cold: Cold, speed: ThawSpeed) -> str:
    """Say what lies cold and how long it takes to thaw."""
    parts = [f"{objects:,} objects in {name} ({size:,} bytes)" for name, (objects, size) in cold.by_class.items()]
    hours = cold.hours(speed)
    if hours is None:
        return (
            f"{', '.join(parts)} must be thawed first; the store does not say how long that takes at the {speed} speed"
        )
    least, most = (f"{value:g}" for value in hours)
    span = most if least == most else f"{least} to {most}"
    return f"{', '.join(parts)} must be thawed first, which takes {span} hours at the {speed} speed"


def show_survey(output: Output, survey: Survey, speed: ThawSpeed) -> None:
    """Show what a restore would bring."""
    tables: dict[str, list[int]] = {}
    for part in survey.parts:
        counts = tables.setdefault(part.record.table, [0, 0, 0])
        counts[0] += 1
        counts[1] += part.record.rows
        counts[2] += part.record.bytes
    if not survey.parts:
        output.line("Nothing of this is in the archive.")
        return
    output.table(
        ["table", "objects", "rows, at most", "bytes"],
        [(table, *(f"{count:,}" for count in counts)) for table, counts in sorted(tables.items())],
    )
    if survey.files is None:
        output.line("Which files belong to it is known once the rows that lie cold were read.")
    else:
        output.line(f"{len(survey.files):,} files, {sum(item.bytes for item in survey.files):,} bytes")
    if survey.cold.objects:
        output.line(cold_words(survey.cold, speed))
    output.line("Nothing was restored; say where to with --to or --into.")


def show(output: Output, done: Restored, where: str) -> None:
    """Show what came into a folder and what did not."""
    if not done.rows and not done.files:
        output.line("Nothing of this is in the archive.")
    else:
        rows = ", ".join(f"{count:,} of {table}" for table, count in sorted(done.rows.items()) if count)
        output.line(f"{where} holds rows: {rows or 'none'}; and {done.files:,} files of {done.file_bytes:,} bytes")
        output.line(
            f"{done.kept:,} of the files in it were there already and are what they must be"
            if done.kept
            else "`sha256sum -c manifest-sha256.txt` in it checks them all"
        )
    _show_missing(output, done)


def show_added(output: Output, done: Restored, where: str) -> None:
    """Show what was added to another archive and what did not come."""
    rows = ", ".join(f"{count:,} of {table}" for table, count in sorted(done.rows.items()) if count)
    output.line(f"{where} has more rows now: {rows or 'none'}; and {done.files:,} files of {done.file_bytes:,} bytes")
    if done.kept:
        output.line(f"{done.kept:,} rows were there already")
    if any(done.rows.values()):
        output.line(
            "Catalogs of that archive and its index of searches show them after `archiver run --only index --only catalogs` with its own"
            " configuration."
        )
    _show_missing(output, done)


def _show_missing(output: Output, done: Restored) -> None:
    if not done.missing:
        return
    shown = done.missing[:LINES_SHOWN_MAX]
    output.table(
        ["what is not there", "how many", "why", "certificate"],
        [(item.what, item.count, item.why, item.certificate) for item in shown],
    )
    if len(shown) < len(done.missing):
        output.line(f"… and {len(done.missing) - len(shown)} more; --json lists them all.")
