"""What exports come to, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archiver.clock import to_text

if TYPE_CHECKING:
    from archiver.cli.output import Output
    from archiver.discovery.checks.package import Checked
    from archiver.discovery.export.opened import Wanted
    from archiver.discovery.export.package import Made
    from archiver.discovery.export.preview import Foreseen, Preview
    from archiver.discovery.export.record import GapNote

CONVERSATIONS_SHOWN_MAX: Final = 50
GAP_KINDS_SHOWN_MAX: Final = 20
FINDINGS_SHOWN_MAX: Final = 100
_TOTALS: Final = (
    "messages",
    "context",
    "versions",
    "not_returned",
    "files",
    "files_stored",
    "files_missing",
    "text_bytes",
    "file_bytes",
)
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1_000


def preview_document(wanted: Wanted, foreseen: Preview, sequence: int, *, exit_code: int) -> dict[str, Any]:
    """Return a preview as JSON has it."""
    return {
        "matter": wanted.asked.matter,
        "sequence": sequence,
        "totals": {
            "conversations": len(foreseen.conversations),
            **{name: foreseen.total(name) for name in _TOTALS},
        },
        "conversations": [
            {
                "chat_id": conversation.chat_id,
                "name": conversation.shown,
                **{name: value for name, value in asdict(found).items() if not name.endswith("_ms")},
                "first_sent_at": _instant(found.first_sent_at_ms),
                "last_sent_at": _instant(found.last_sent_at_ms),
            }
            for conversation, found in foreseen.conversations
        ],
        "missing": {
            "files_by_reason": foreseen.missing_by_reason,
            "gaps": [asdict(note) for note in foreseen.gaps],
        },
        "exit_code": exit_code,
    }


def show_preview(output: Output, wanted: Wanted, foreseen: Preview) -> None:
    """Print a preview for people."""
    if not foreseen.conversations:
        output.line("No message of the archive meets this.")
        return
    shown = foreseen.conversations[:CONVERSATIONS_SHOWN_MAX]
    output.table(
        ("conversation", "messages", "context", "versions", "files", "missing", "bytes", "first", "last"),
        [(conversation.shown, *_cells(found)) for conversation, found in shown],
    )
    if len(foreseen.conversations) > CONVERSATIONS_SHOWN_MAX:
        output.line(f"… and {len(foreseen.conversations) - CONVERSATIONS_SHOWN_MAX} more; --json has all of them.")
    messages, context = foreseen.total("messages"), foreseen.total("context")
    output.line()
    output.facts(
        {
            "messages": f"{messages}" + (f", {context} of them only for context" if context else ""),
            "conversations": len(foreseen.conversations),
            "versions": foreseen.total("versions"),
            "files": _files(wanted, foreseen),
            "texts": _bytes(foreseen.total("text_bytes")),
        }
    )
    _show_missing(output, foreseen.missing_by_reason, foreseen.total("not_returned"), foreseen.gaps)


def made_document(
    wanted: Wanted, made: Made, sequence: int, *, place: str, is_entered: bool, exit_code: int
) -> dict[str, Any]:
    """Return a package that is whole as JSON has it."""
    return {
        "matter": wanted.asked.matter,
        "sequence": sequence,
        "package": place,
        "package_sha256": made.digest,
        "volumes": made.volumes,
        "formats": list(wanted.formats),
        "totals": dict(made.totals),
        "is_new": made.is_new,
        "is_entered": is_entered,
        "exit_code": exit_code,
    }


def show_made(output: Output, wanted: Wanted, made: Made, *, place: str, is_entered: bool) -> None:
    """Print what became of an export for people."""
    totals = made.totals
    output.line(f"The package {place} is whole." if made.is_new else f"The package {place} was whole already.")
    output.line()
    output.facts(
        {
            "matter": wanted.asked.matter,
            "messages": f"{totals['messages']}"
            + (f", {totals['context']} of them only for context" if totals["context"] else ""),
            "conversations": totals["conversations"],
            "versions": totals["versions"],
            "files": f"{totals['files']}: {totals['files_stored']} enclosed, {totals['files_missing']} missing, "
            f"{totals['files_withheld']} left out on purpose",
            **({"made black": totals["redactions"]} if wanted.redaction is not None else {}),
            "formats": ", ".join(wanted.formats),
            **({"volumes": made.volumes} if wanted.volume_bytes is not None else {}),
            "SHA-256": made.digest,
            "ledger": "entered now" if is_entered else "was entered before",
        }
    )
    gaps = sum(len(report["missing"]["gaps"]) for report in made.reports[:1])
    if gaps or totals["files_missing"] or totals["not_returned"]:
        output.line()
        output.line(
            f"Missing, or may be: {_many(totals['files_missing'], 'file')}, "
            f"{_many(totals['not_returned'], 'message')} that Flock no longer returned, "
            f"{_many(gaps, 'gap')} of the archive. cover.pdf and report.json say which."
        )
    output.line()
    copied, folder = ("in a copy of it, ", "FOLDER") if "://" in place else ("", place)
    output.line(
        f"Tell the receiver that SHA-256; {copied}`archiver export check {folder}` or `python3 check.py` in it checks the rest."
    )


def checked_document(package: Path, found: Checked, *, exit_code: int) -> dict[str, Any]:
    """Return what a check found as JSON has it."""
    return {
        "package": package,
        "matter": found.matter,
        "package_sha256": found.digest,
        "messages": found.messages,
        "files": found.files,
        "formats": list(found.formats),
        "volumes": found.volumes,
        "findings": [asdict(finding) for finding in found.findings],
        "exit_code": exit_code,
    }


def show_checked(output: Output, package: Path, found: Checked) -> None:
    """Print what a check found for people."""
    for finding in found.findings[:FINDINGS_SHOWN_MAX]:
        place = f" {finding.place}" if finding.place else ""
        output.line(f"{finding.path}{place}: {finding.code}: {finding.what}")
    if len(found.findings) > FINDINGS_SHOWN_MAX:
        output.line(f"… and {len(found.findings) - FINDINGS_SHOWN_MAX} more; --json has all of them.")
    if found.findings:
        output.line()
        output.line(f"{package} is NOT as it should be: {_many(len(found.findings), 'finding')}.")
    else:
        output.line(
            f"{package} is as it was made: {_many(found.files, 'file')} of data, {_many(found.messages, 'message')}, "
            f"in {', '.join(found.formats)}."
        )
    output.facts({"matter": found.matter, "SHA-256": found.digest})


def _show_missing(output: Output, reasons: dict[str, int], not_returned: int, gaps: tuple[GapNote, ...]) -> None:
    if not (reasons or not_returned or gaps):
        output.line()
        output.line("Nothing is missing that the archive knows of.")
        return
    output.line()
    output.line("Missing, or may be:")
    for reason, count in reasons.items():
        output.line(f"  {_many(count, 'file')}: {reason}")
    if not_returned:
        output.line(f"  {_many(not_returned, 'message')} archived that Flock no longer returned")
    kinds: dict[str, int] = {}
    for note in gaps:
        kinds[note.kind] = kinds.get(note.kind, 0) + 1
    for kind, count in sorted(kinds.items())[:GAP_KINDS_SHOWN_MAX]:
        output.line(f"  {_many(count, 'gap')} of the kind {kind}")
    if gaps:
        output.line("  `archiver gaps` tells what each kind means, and what closes it.")


def _cells(found: Foreseen) -> tuple[object, ...]:
    return (
        found.messages,
        found.context,
        found.versions,
        found.files,
        found.files_missing,
        _bytes(found.text_bytes + found.file_bytes),
        (_instant(found.first_sent_at_ms) or "")[:10],
        (_instant(found.last_sent_at_ms) or "")[:10],
    )


def _files(wanted: Wanted, foreseen: Preview) -> str:
    stored = f"{foreseen.total('files_stored')} stored ({_bytes(foreseen.total('file_bytes'))})"
    left_out = "" if wanted.asked.with_files else ", all left out as was asked"
    return f"{foreseen.total('files')}: {stored}, {foreseen.total('files_missing')} missing{left_out}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _bytes(size: int) -> str:
    shown = float(size)
    for unit in _UNITS:
        if shown < _THOUSAND or unit == _UNITS[-1]:
            return f"{shown:.0f} {unit}" if unit == _UNITS[0] else f"{shown:.1f} {unit}"
        shown /= _THOUSAND
    raise AssertionError("the last unit takes everything")


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else to_text(at_ms)
