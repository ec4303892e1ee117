"""Hits as `archiver search` shows them: to people with what was found highlighted, to programs as one document (docs/search.md)."""

from __future__ import annotations

import base64
import binascii
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import msgspec

from archiver.cli.output import Output, has_colour
from archiver.clock import to_text
from archiver.discovery.search import Found, Position, Said
from archiver.errors import UsageError
from archiver.ids import parties_of

if TYPE_CHECKING:
    from archiver.archive.reader import Head
    from archiver.discovery.index import IndexState
    from archiver.discovery.search_answer import Answer, Question
    from archiver.discovery.search_around import Neighbour, Reply
    from archiver.expression import Directory, Hit

# Of a long text so much is shown before and behind a hit, and so many hits; --json has all of it.
BEFORE_CHARACTERS: Final = 60
BEHIND_CHARACTERS: Final = 120
EXCERPTS_MAX: Final = 3
WITHOUT_HIT_CHARACTERS_MAX: Final = 200
# A message around a hit is shown in one line.
LINE_CHARACTERS_MAX: Final = 160

_TOKEN_CHARACTERS_MAX: Final = 8_192
_HIT_STYLE: Final = "bold reverse"
_SPACE: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a search found, and what it takes to show it; ``replies`` is None if nobody asked for them, ``index`` if there is none."""

    question: Question
    answer: Answer
    directory: Directory
    head: Head
    replies: Sequence[Reply] | None
    index: IndexState | None


def token_of(position: Position) -> str:
    """Return a position as one word, for ``--after``."""
    written = msgspec.json.encode([position.at_ms, position.chat_id, position.message_uid])
    return base64.urlsafe_b64encode(written).decode("ascii").rstrip("=")


def position_of(token: str) -> Position:
    """Return the position that a token names; raises `UsageError` for anything else."""
    try:
        padded = token[:_TOKEN_CHARACTERS_MAX] + "=" * (-len(token) % 4)
        written = base64.b64decode(padded, altchars=b"-_", validate=True)
        return Position(*msgspec.json.decode(written, type=tuple[int, str, str]))
    except (ValueError, binascii.Error, msgspec.MsgspecError, UnicodeError):
        raise UsageError(
            "--after takes a token as it stands at the end of a page",
            next_step="leave it away to begin with the first page",
        ) from None


def document(shown: Shown, *, matter: str | None, entry: int | None) -> dict[str, Any]:
    """Return the whole answer for programs; instants are ISO 8601 in UTC."""
    question, answer, index = shown.question, shown.answer, shown.index
    expression = question.expression
    return {
        "expression": expression.written,
        "canonical": expression.canonical,
        "zone": expression.zone.key,
        "head": {"sequence": shown.head.sequence, "digest": shown.head.digest},
        "order": question.order,
        "total": answer.total,
        "hits": [_hit_document(hit, shown) for hit in answer.page.hits],
        "after": None if answer.page.after is None else token_of(answer.page.after),
        "unknown": [
            {"filter": name.filter, "name": name.name, "nearest": list(name.nearest)} for name in answer.unknown
        ],
        "matter": None if matter is None else {"name": matter, "entry": entry},
        "index": None
        if index is None
        else {
            "bytes": index.bytes,
            "shards": index.shards,
            "rows": index.rows,
            "objects_behind": index.objects_behind,
            "rows_behind": index.rows_behind,
        },
    }


def show(output: Output, shown: Shown, *, matter: str | None, entry: int | None) -> None:
    """Print the answer for people."""
    answer, zone = shown.answer, shown.question.expression.zone
    marks = ("", "") if has_colour(sys.stdout) else ("»", "«")
    for hit in answer.page.hits:
        _show_hit(output, hit, shown, zone, marks)
    output.line(_summary(shown))
    if answer.page.after is not None:
        output.line(f"The next page: the same with --after {token_of(answer.page.after)}")
    if matter is not None:
        output.line(f"Entered for the matter {matter} in entry {entry} of the ledger.")


def warn_of_unknown(output: Output, shown: Shown) -> None:
    """Tell which names the archive does not know, and which they may have been meant to be."""
    for unknown in shown.answer.unknown:
        nearest = f"\n  Next: did you mean {_one_line(' or '.join(unknown.nearest))}?" if unknown.nearest else ""
        whom = {"from": "nobody", "to": "nobody", "in": "no conversation", "label": "no label"}[unknown.filter]
        output.warn(
            f"archiver: warning: {unknown.filter}:{unknown.name}: the archive knows {whom} of this name{nearest}"
        )


def _summary(shown: Shown) -> str:
    count, total = len(shown.answer.page.hits), shown.answer.total
    written = shown.question.expression.written
    rows = shown.head.rows.get("messages", 0)
    if not count and shown.question.after is None:
        return f"Nothing found: none of the {rows} archived versions of messages is meant by {written}"
    if not count:
        return "Nothing more is found."
    messages = "message" if count == 1 else "messages"
    if total is None:
        return f"{count} {messages} shown of more; --count says how many there are"
    if shown.answer.page.after is None and shown.question.after is None:
        return f"{count} {messages} found"
    return f"{count} {messages} shown of {total}"


def _show_hit(output: Output, hit: Found, shown: Shown, zone: ZoneInfo, marks: tuple[str, str]) -> None:
    key = (hit.position.chat_id, hit.position.message_uid)
    sender = _sender(hit.sender_id, hit.sender_name, hit.send_as_name, shown.directory)
    output.styled(
        (_when(hit.sent_at_ms, zone), "bold"),
        ("  ", ""),
        (_chat(key[0], shown.directory), "cyan"),
        ("  ", ""),
        (sender, "green"),
    )
    before, behind = shown.answer.context.get(key, ((), ()))
    for neighbour in before:
        _show_neighbour(output, neighbour, shown, zone)
    for said in hit.texts:
        for parts in _excerpts(said, marks):
            where = () if said.in_column == "plain_text" else ((f"{said.in_column}: ", "dim"),)
            output.styled(("  ", ""), *where, *parts)
    for neighbour in behind:
        _show_neighbour(output, neighbour, shown, zone)
    for reply in shown.replies or ():
        if (reply.chat_id, reply.message_uid) == key:
            said_by = _sender(reply.original_sender_id, reply.original_sender_name, None, shown.directory)
            at = _when(reply.original_sent_at_ms, zone)
            _show_line(output, reply.original_text, before="in reply to ", at=at, said_by=said_by)
        if (reply.chat_id, reply.original_uid) == key:
            said_by = _sender(reply.sender_id, reply.sender_name, None, shown.directory)
            _show_line(output, reply.text, before="reply ", at=_when(reply.sent_at_ms, zone), said_by=said_by)
    for remark in _remarks(hit, zone):
        output.styled((f"  {remark}", "yellow"))
    output.styled((f"  {_one_line(key[1])}", "dim"))
    output.line()


def _remarks(hit: Found, zone: ZoneInfo) -> Iterator[str]:
    if len(hit.versions) > 1:
        found_in = sorted({one.version for one in hit.versions if one.is_hit})
        newest = max(one.version for one in hit.versions)
        if newest > 1:
            yield f"found in version {', '.join(map(str, found_in))} of {newest}"
    if hit.edited_away_at_ms is not None:
        yield f"edited away since: the version seen at {_when(hit.edited_away_at_ms, zone)} is not meant any more"
    if hit.missing_since_ms is not None:
        yield f"not returned by Flock since {_when(hit.missing_since_ms, zone)}"


def _show_neighbour(output: Output, neighbour: Neighbour, shown: Shown, zone: ZoneInfo) -> None:
    said_by = _sender(neighbour.sender_id, neighbour.sender_name, neighbour.send_as_name, shown.directory)
    _show_line(output, neighbour.text, before="", at=_when(neighbour.sent_at_ms, zone), said_by=said_by)


def _show_line(output: Output, text: str, *, before: str, at: str, said_by: str) -> None:
    line = _SPACE.sub(" ", text[:LINE_CHARACTERS_MAX]).strip() + ("…" if len(text) > LINE_CHARACTERS_MAX else "")
    output.styled((f"  {before}{at} {said_by}: {line}", "dim"))


def _excerpts(said: Said, marks: tuple[str, str]) -> Iterator[list[tuple[str, str]]]:
    """Yield parts of a text with the hits in them, each part with its style; of a long text those around the first hits."""
    text, size = said.text, len(said.text)
    if not said.hits:
        yield [
            (
                _SPACE.sub(" ", text[:WITHOUT_HIT_CHARACTERS_MAX]) + ("…" if size > WITHOUT_HIT_CHARACTERS_MAX else ""),
                "",
            )
        ]
        return
    windows: list[tuple[int, int, list[Hit]]] = []
    for hit in said.hits:
        start, end = max(0, hit.start - BEFORE_CHARACTERS), min(size, hit.end + BEHIND_CHARACTERS)
        if windows and start <= windows[-1][1]:
            windows[-1] = (windows[-1][0], end, [*windows[-1][2], hit])
        elif len(windows) < EXCERPTS_MAX:
            windows.append((start, end, [hit]))
        else:
            break
    for start, end, hits in windows:
        parts = [("…" if start else "", "")]
        place = start
        for hit in hits:
            parts.append((_SPACE.sub(" ", text[place : hit.start]), ""))
            parts.append((marks[0] + _SPACE.sub(" ", text[hit.start : hit.end]) + marks[1], _HIT_STYLE))
            place = hit.end
        yield [*parts, (_SPACE.sub(" ", text[place:end]), ""), ("…" if end < size else "", "")]


def _hit_document(hit: Found, shown: Shown) -> dict[str, Any]:
    key = (hit.position.chat_id, hit.position.message_uid)
    found: dict[str, Any] = {
        "chat_id": key[0],
        "chat_kind": hit.chat_kind,
        "chat_names": list(_names_of_chat(key[0], shown.directory)),
        "message_uid": key[1],
        "sent_at": to_text(hit.sent_at_ms),
        "sent_at_local": _local(hit.sent_at_ms, shown.question.expression.zone).isoformat(timespec="milliseconds"),
        "sender_id": hit.sender_id,
        "sender_name": hit.sender_name or _name_of(hit.sender_id, shown.directory),
        "send_as_name": hit.send_as_name,
        "app_id": hit.app_id,
        "version": hit.version,
        "is_current": hit.edited_away_at_ms is None,
        "edited_away_at": _instant(hit.edited_away_at_ms),
        "not_returned_since": _instant(hit.missing_since_ms),
        "versions": [
            {
                "version": one.version,
                "observed_at": to_text(one.observed_at_ms),
                "is_hit": one.is_hit,
                "content_digest": one.content_digest,
                "object": one.key,
                "row": one.row,
            }
            for one in hit.versions
        ],
        "texts": [
            {"in": said.in_column, "text": said.text, "hits": [[place.start, place.end] for place in said.hits]}
            for said in hit.texts
        ],
    }
    if key in shown.answer.context:
        before, behind = shown.answer.context[key]
        found["before"] = [_neighbour_document(one, shown.directory) for one in before]
        found["behind"] = [_neighbour_document(one, shown.directory) for one in behind]
    if shown.replies is not None:
        found["replies_to"] = [
            _reply_document(reply, of_original=True)
            for reply in shown.replies
            if (reply.chat_id, reply.message_uid) == key
        ]
        found["replies"] = [
            _reply_document(reply, of_original=False)
            for reply in shown.replies
            if (reply.chat_id, reply.original_uid) == key
        ]
    return found


def _neighbour_document(neighbour: Neighbour, directory: Directory) -> dict[str, Any]:
    return {
        "message_uid": neighbour.message_uid,
        "sent_at": to_text(neighbour.sent_at_ms),
        "sender_id": neighbour.sender_id,
        "sender_name": neighbour.sender_name or _name_of(neighbour.sender_id, directory),
        "version": neighbour.version,
        "text": neighbour.text,
    }


def _reply_document(reply: Reply, *, of_original: bool) -> dict[str, Any]:
    return {
        "message_uid": reply.original_uid if of_original else reply.message_uid,
        "sent_at": to_text(reply.original_sent_at_ms if of_original else reply.sent_at_ms),
        "sender_id": reply.original_sender_id if of_original else reply.sender_id,
        "sender_name": reply.original_sender_name if of_original else reply.sender_name,
        "text": reply.original_text if of_original else reply.text,
        "matched_by": reply.matched_by,
    }


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else to_text(at_ms)


def _local(at_ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).astimezone(zone)


def _when(at_ms: int, zone: ZoneInfo) -> str:
    return _local(at_ms, zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def _chat(chat_id: str, directory: Directory) -> str:
    """Return what a conversation is called: by all names that it ever had, or by those who talk."""
    parties = parties_of(chat_id)
    if parties is not None:
        return _one_line(" and ".join(_name_of(party, directory) or party for party in parties))
    names = _names_of_chat(chat_id, directory)
    return _one_line(" / ".join(f"#{name}" for name in names) or chat_id)


def _names_of_chat(chat_id: str, directory: Directory) -> tuple[str, ...]:
    known = directory.chats.get(chat_id)
    return known.names if known else ()


def _name_of(user_id: str, directory: Directory) -> str | None:
    known = directory.people.get(user_id)
    return known.names[-1] if known and known.names else None


def _sender(user_id: str, name: str | None, send_as: str | None, directory: Directory) -> str:
    called = name or _name_of(user_id, directory)
    sender = f"{called} ({user_id})" if called else user_id
    return _one_line(f"{sender} as {send_as}" if send_as else sender)


def _one_line(text: str) -> str:
    """Return a text in which nothing begins a new line: a name must not look like a hit."""
    return _SPACE.sub(" ", text)
