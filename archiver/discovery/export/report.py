"""The report of a package: what was asked, of which head, what it comes to, and what is missing; as JSON, for machines and people alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from archiver.clock import to_text
from archiver.discovery.export.record import GapNote, Person, Terms
from archiver.discovery.export.sink import Written
from archiver.discovery.export.tally import Counted, Tally

REPORT_FORMAT: Final = "flock-archiver export 1"


@dataclass(frozen=True, slots=True)
class Told:
    """What a report tells that is the same for all volumes: the export's id, and what was asked."""

    export_id: str
    asked: Mapping[str, Any]


def report_document(terms: Terms, told: Told, tally: Tally, written: Mapping[str, Written]) -> dict[str, Any]:
    """Return the report of a bag as JSON has it; instants are ISO 8601 in UTC."""
    return {
        "format": REPORT_FORMAT,
        "export_id": told.export_id,
        "matter": terms.matter,
        "archive": {"id": terms.archive_id, "workspace": terms.workspace},
        "head": {
            "sequence": terms.head_sequence,
            "digest": terms.head_digest,
            "committed_at": to_text(terms.made_at_ms),
        },
        "software": terms.software,
        "zone": terms.zone.key,
        "asked": dict(told.asked),
        "custodians": [_person(person) for person in terms.custodians],
        "is_redacted": terms.is_redacted,
        "totals": {"conversations": len(tally.conversations), **_counted(tally.total)},
        "messages_by_type": dict(sorted(tally.by_kind.items())),
        "conversations": [
            {
                "chat_id": chat_id,
                "kind": conversation.kind,
                "name": conversation.shown,
                "folder": conversation.path_name,
                **_counted(counted),
            }
            for chat_id, (conversation, counted) in sorted(tally.conversations.items())
        ],
        "formats": {
            name: {
                "messages": found.messages,
                "files": found.files,
                "paths": found.path_count,
                "replaced": dict(found.replaced),
                "remarks": list(found.all_remarks),
            }
            for name, found in sorted(written.items())
        },
        "missing": {
            "files_by_reason": dict(sorted(tally.missing_by_reason.items())),
            "gaps": gaps_document(terms.gaps),
        },
        "left_out": dict(sorted(tally.left_out.items())),
    }


def gaps_document(gaps: Sequence[GapNote]) -> list[dict[str, Any]]:
    """Return gaps as JSON has them."""
    return [
        {
            "gap_id": note.gap_id,
            "kind": note.kind,
            "evidence": note.evidence,
            "count": note.count,
            "subject": note.subject,
            "chat_id": note.chat_id,
            "from_at": _instant(note.from_at_ms),
            "to_at": _instant(note.to_at_ms),
        }
        for note in gaps
    ]


def encoded(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON, indented."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _counted(counted: Counted) -> dict[str, Any]:
    facts = asdict(counted)
    return {
        **{name: value for name, value in facts.items() if not name.endswith("_ms")},
        "first_sent_at": _instant(counted.first_sent_at_ms),
        "last_sent_at": _instant(counted.last_sent_at_ms),
    }


def _person(person: Person) -> dict[str, Any]:
    return {"user_id": person.user_id, "name": person.name, "email": person.email}


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else to_text(at_ms)
