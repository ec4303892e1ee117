"""The cover page of a package, a PDF that a partner can read: who, what, when, how much, what is missing or left out, and how to check it.

What somebody reads first stands first, and the list of conversations last, because it is as long as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from archiver.clock import from_ms, to_text
from archiver.discovery.export.pdf_text import Page, can_show, is_embedded
from archiver.discovery.export.record import Conversation, GapNote, Person, Terms
from archiver.discovery.export.sink import Written
from archiver.discovery.export.tally import Counted, Tally

# A cover page is read by eye; what is beyond stands in report.json, and the page says so.
CONVERSATIONS_MAX: Final = 200
GAPS_MAX: Final = 100
NAMES_MAX: Final = 60
REASONS_MAX: Final = 40
_WIDTHS: Final = (247.0, 60.0, 60.0, 60.0, 60.0)
# By its name in the report what an export leaves out: of what, and why.
_LEFT_OUT: Final = {
    "captures_of_the_same_version": (
        "capture",
        "that another feed brought too, or the same feed again: each version is here once",
    ),
    "captures_without_uid_of_the_same_message": ("capture", "without an id, of messages that are here under their id"),
    "earlier_versions": ("earlier version", "of edited messages, because only the last version was asked for"),
    "files_of_earlier_versions": ("file", "that only those earlier versions had"),
    "files_withheld": (
        "file",
        "named here and not enclosed, because the export was asked for without files or is redacted",
    ),
    "redacted_raw": ("capture", "without the message exactly as it was received, because the export is redacted"),
    "redacted_flockml": ("capture", "without its markup, for the same reason"),
    "redacted_attachments": ("capture", "without link previews and attachments as they were sent, for the same reason"),
    "redacted_digests": ("version", "without digests, which would tell what was made black"),
}
_CAPTURES_LEFT_OUT: Final = tuple(_LEFT_OUT)[:3]


def cover_page(
    terms: Terms, tally: Tally, written: Mapping[str, Written], *, asked: Mapping[str, Any], formats: Mapping[str, str]
) -> bytes:
    """Return the PDF; ``asked`` is what the report says of the question, ``formats`` what each format is in a few words."""
    page = Page(
        footer=f"{terms.matter} · entry {terms.head_sequence}, {terms.head_digest}",
        title=f"Export for {terms.matter}",
    )
    page.heading(f"Export for the matter {terms.matter}", points=18.0)
    page.line(
        f"Messages of the Flock workspace {terms.workspace}, out of its archive as it stood with entry {terms.head_sequence} of its "
        f"ledger, of {_when(terms.made_at_ms, terms)}."
    )
    if terms.is_redacted:
        page.line(
            "This export is redacted: places were made black, and redactions.csv says where and how often.", bold=True
        )
    _signs(page, _texts(terms, tally, asked))
    page.rule()
    _question(page, terms, asked)
    _amounts(page, terms, tally)
    _missing(page, terms, tally)
    _left_out(page, tally)
    page.heading("In these forms")
    for name, found in sorted(written.items()):
        page.fact(name, f"{formats.get(name, '')}: {_many(found.messages, 'message')}, {_many(found.files, 'file')}")
        for remark in found.all_remarks:
            page.line(remark, indent=130.0, points=8.5)
    _proof(page, terms)
    _conversations(page, terms, tally)
    return page.pdf()


def _proof(page: Page, terms: Terms) -> None:
    page.heading("How to check it")
    page.line(
        "Every file stands in manifest-sha256.txt and manifest-md5.txt with its hash, this page in tagmanifest-sha256.txt. With Python, "
        "`python3 check.py` in this folder checks all of them and that the numbers add up; so does any tool for BagIt (RFC 8493), or "
        "`sha256sum -c manifest-sha256.txt`."
    )
    page.line(
        "Each message names the object of the archive that holds it and the entry of the ledger that added it. All of them follow from "
        "the ledger entry below, whose hash says which archive this was taken from, and when:"
    )
    page.fact("Entry", f"{terms.head_sequence}, of {_when(terms.made_at_ms, terms)}")
    page.fact("Its SHA-256", terms.head_digest)
    page.fact("Archive", terms.archive_id)
    page.fact("Made by", terms.software)


def _question(page: Page, terms: Terms, asked: Mapping[str, Any]) -> None:
    page.heading("What was asked for")
    if terms.custodians:
        people = [
            f"{person.shown} ({', '.join(filter(None, (person.email, person.user_id)))})" for person in terms.custodians
        ]
        page.fact("Custodians", _some(people, between="; "))
    if asked.get("chats"):
        page.fact("Conversations", _some(asked["chats"], between="; "))
    days = " to ".join(filter(None, (asked.get("from"), asked.get("until"))))
    if asked.get("from") and not asked.get("until"):
        days = f"from {days}"
    elif asked.get("until") and not asked.get("from"):
        days = f"until {days}"
    page.fact("Days", f"{days or 'all'} (days and times are those of {terms.zone.key})")
    if asked.get("search"):
        page.fact("Search", asked["search"])
    if not (terms.custodians or asked.get("chats") or asked.get("search") or asked.get("from") or asked.get("until")):
        page.fact("Scope", "everything that the archive holds")
    if asked.get("context"):
        page.fact("Context", f"{asked['context']} before and after each hit, in the same conversation")
    page.fact("Versions", "every version that was captured" if asked["versions"] == "all" else "only the last version")
    page.fact(
        "Files", "with the files of messages" if asked["files"] else "without the files of messages, as was asked"
    )


def _amounts(page: Page, terms: Terms, tally: Tally) -> None:
    total = tally.total
    page.heading("What is in it")
    around = f", of which {total.context:,} only stand around what was asked for" if total.context else ""
    page.fact("Messages", f"{total.messages:,}{around}")
    page.fact("Conversations", f"{len(tally.conversations):,}")
    page.fact("Versions", f"{total.versions:,}; {_many(total.edited, 'message')} known to have been edited")
    page.fact(
        "Files",
        f"{total.files:,}: {total.files_stored:,} enclosed, {total.files_missing:,} missing, "
        f"{total.files_withheld:,} left out on purpose",
    )
    if total.first_sent_at_ms is not None and total.last_sent_at_ms is not None:
        page.fact("Sent", f"{_when(total.first_sent_at_ms, terms)} to {_when(total.last_sent_at_ms, terms)}")
    if total.redactions:
        page.fact("Made black", _many(total.redactions, "place"))
    for kind, count in sorted(tally.by_kind.items()):
        page.fact(kind, f"{count:,}")


def _missing(page: Page, terms: Terms, tally: Tally) -> None:
    page.heading("What is missing, or may be")
    total = tally.total
    if not (total.files_missing or total.not_returned or terms.gaps):
        page.line("Nothing that the archive knows of.")
        return
    reasons = sorted(tally.missing_by_reason.items(), key=lambda item: (-item[1], item[0]))
    for reason, count in reasons[:REASONS_MAX]:
        page.line(f"• {_many(count, 'file')} not enclosed: {reason}")
    if len(reasons) > REASONS_MAX:
        others = sum(count for _, count in reasons[REASONS_MAX:])
        page.line(
            f"• {_many(others, 'file')} not enclosed for {len(reasons) - REASONS_MAX:,} more reasons, which report.json lists"
        )
    if total.not_returned:
        page.line(
            f"• {_many(total.not_returned, 'message')} that Flock no longer returned when asked: deleted, expired or hidden there. "
            "They are in this export as they were captured, and marked."
        )
    names = {chat_id: _called(conversation) for chat_id, (conversation, _) in tally.conversations.items()}
    for note in terms.gaps[:GAPS_MAX]:
        page.line(f"• {_gap(note, terms, names)}")
    if len(terms.gaps) > GAPS_MAX:
        page.line(f"and {len(terms.gaps) - GAPS_MAX:,} more, which report.json lists.")


def _left_out(page: Page, tally: Tally) -> None:
    page.heading("What was left out, and why")
    total, left_out = tally.total, tally.left_out
    captures = sum(left_out[name] for name in _CAPTURES_LEFT_OUT)
    page.line(
        f"The archive has {_many(total.captures, 'capture')} of these messages. {_many(total.versions, 'version')} of them "
        f"{'is' if total.versions == 1 else 'are'} here and {captures:,} left out."
    )
    known = [name for name in _LEFT_OUT if left_out[name]]
    for name in (*known, *sorted(+left_out - Counter(dict.fromkeys(known, left_out.total())))):
        what, why = _LEFT_OUT.get(name, ("", name.replace("_", " ")))
        page.line(f"• {_many(left_out[name], what) if what else f'{left_out[name]:,}'} {why}")
    page.line("Messages that were not asked for are not here, and not counted here.")


def _signs(page: Page, texts: Sequence[str]) -> None:
    """Say what a reader of the page may not see of these texts, before any of them is missed."""
    if not all(map(is_embedded, filter(can_show, texts))):
        page.line(
            "Chinese, Japanese and Korean signs are not embedded in this page. A reader of PDF without fonts for them leaves a gap where "
            "they stand; the address or the id beside a name then tells whom it names.",
            points=8.0,
        )
    if not all(map(can_show, texts)):
        page.line(
            "This page has no letters for some names: of a conversation or a person the address or the id stands instead, elsewhere [U+…] "
            "is the number of a sign.",
            points=8.0,
        )
    if not all(can_show(text) and is_embedded(text) for text in texts):
        page.line("Transcripts and report.json have all of it as it is.", points=8.0)


def _texts(terms: Terms, tally: Tally, asked: Mapping[str, Any]) -> list[str]:
    """Return what stands on the page and may be in any script."""
    chats = [conversation for conversation, _ in tally.conversations.values()][:CONVERSATIONS_MAX]
    people = {*terms.custodians, *(person for chat in chats for person in chat.participants[:NAMES_MAX])}
    told = [text for note in terms.gaps[:GAPS_MAX] for text in (note.kind, note.evidence, note.subject or "")]
    return [
        *(terms.matter, terms.workspace, asked.get("search") or ""),
        *(asked.get("chats") or ()),
        *(chat.shown for chat in chats),
        *(person.shown for person in people),
        *(told + list(tally.missing_by_reason)),
    ]


def _conversations(page: Page, terms: Terms, tally: Tally) -> None:
    page.heading("Conversations")
    page.row(("", "messages", "context", "files", "missing"), _WIDTHS, bold=True)
    found = sorted(tally.conversations.items())
    for _, (conversation, counted) in found[:CONVERSATIONS_MAX]:
        page.row((_called(conversation), *_cells(counted)), _WIDTHS)
        if counted.first_sent_at_ms is not None and counted.last_sent_at_ms is not None:
            page.line(
                f"{_when(counted.first_sent_at_ms, terms)} to {_when(counted.last_sent_at_ms, terms)}; took part: "
                f"{_names([_person(person) for person in conversation.participants])}",
                points=7.5,
                indent=10.0,
            )
    if len(found) > CONVERSATIONS_MAX:
        page.line(f"and {len(found) - CONVERSATIONS_MAX:,} more, which report.json lists.")
    page.row(("Together", *_cells(tally.total)), _WIDTHS, bold=True)


def _cells(counted: Counted) -> tuple[str, ...]:
    numbers = (counted.messages, counted.context, counted.files, counted.files_missing)
    return tuple(f"{number:,}" for number in numbers)


def _names(names: list[str]) -> str:
    return _some(names, between=", ") if names else "nobody that the directory tells of"


def _some(names: Sequence[str], *, between: str) -> str:
    more = f" and {len(names) - NAMES_MAX:,} more, which report.json lists" if len(names) > NAMES_MAX else ""
    return between.join(names[:NAMES_MAX]) + more


def _gap(note: GapNote, terms: Terms, names: Mapping[str, str]) -> str:
    between = " to ".join(_when(at_ms, terms) for at_ms in (note.from_at_ms, note.to_at_ms) if at_ms is not None)
    about = f" in {names.get(note.chat_id, note.chat_id)}" if note.chat_id is not None else ""
    subject = f" ({note.subject})" if note.subject else ""
    return f"{note.kind}{about}{subject}: {note.evidence}{f'; {between}' if between else ''}"


def _person(person: Person) -> str:
    """Return what to call somebody whose name the page may have no letters for, or a reader's machine none."""
    found = next((known for known in (person.name, person.email) if known and can_show(known)), person.user_id)
    return found if is_embedded(found) else f"{found} ({person.email or person.user_id})"


def _called(conversation: Conversation) -> str:
    name = conversation.name
    if name is not None and name.strip() and can_show(name):
        return name if is_embedded(name) else f"{name} ({conversation.chat_id})"
    if conversation.kind == "direct" and conversation.participants:
        return ", ".join(map(_person, conversation.participants))
    return conversation.chat_id


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _when(at_ms: int, terms: Terms) -> str:
    try:
        return from_ms(at_ms).astimezone(terms.zone).strftime("%Y-%m-%d %H:%M %z")
    except OverflowError:  # a sender's clock may say anything, the last year that there is too
        return to_text(at_ms)
