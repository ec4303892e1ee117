"""The HTML transcript: a page for each conversation, cut between days where it is long, and an index; readable offline in any browser.

Nothing on a page comes from elsewhere but the pictures of the package itself, which stand beside it and are named relatively. Its
Content-Security-Policy allows one style and one script, named by digest, so that no text of a message can ever run. All wording of the
pages is in ``pages/``; what they show of messages is made in `html_message`.
"""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from importlib.resources import files
from typing import Any, ClassVar, Final
from urllib.parse import quote

from archiver.discovery.export.formats.html_message import (
    Articles,
    ReplyView,
    anchor_of,
    environment,
    harmless_name,
    is_edited,
    person_view,
    snippet,
)
from archiver.discovery.export.formats.instants import zoned
from archiver.discovery.export.formats.parts import GapPlaces
from archiver.discovery.export.record import Conversation, GapNote, Message, Slice, Terms
from archiver.discovery.export.sink import Sink, Written

# A page ends with the day after so many messages, and within a day at the second number or so many characters of markup.
PAGE_MESSAGES: Final = 500
PAGE_MESSAGES_MAX: Final = 2_000
PAGE_CHARACTERS_MAX: Final = 4_000_000
# How many messages back a reply can still be tied to what it replies to; more are not kept in memory.
REPLY_REACH_MESSAGES: Final = 50_000

_BLOCK_MESSAGES: Final = 100
_TO_DATA: Final = "../../../"
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(slots=True)
class _Entry:
    """A conversation's line in the index."""

    chat_id: str
    shown_id: str
    names: list[str]
    kind: str
    href: str
    people: int
    first: str
    last: str
    pages: int = 1
    messages: int = 0
    versions: int = 0
    edited: int = 0
    gone: int = 0
    context: int = 0
    files: int = 0
    missing: int = 0
    gaps: int = 0


class HtmlWriter:
    """Writes ``index.html`` and ``chats/<conversation>/1.html`` and so on."""

    format: ClassVar[str] = "html"
    by_half: ClassVar[bool] = True

    def __init__(self, terms: Terms, sink: Sink) -> None:
        self._terms = terms
        self._sink = sink
        pages = environment()
        self._gap_template = pages.get_template("gap.html")
        self._page_template = pages.get_template("page.html")
        self._index_template = pages.get_template("index.html")
        self._frame = _frame(terms)
        self._articles = Articles(terms.zone, _TO_DATA)
        self._places = GapPlaces()
        self._entries: list[_Entry] = []
        self._page: _Page | None = None
        # Of a plain dictionary the oldest entry is found by passing all that were removed before it.
        self._recent: OrderedDict[str, tuple[int, str, str, str]] = OrderedDict()
        self._path_count = 0

    def add(self, part: Slice) -> None:
        """Take the next slice."""
        if self._page is None or self._page.conversation.chat_id != part.conversation.chat_id:
            self._end_page(following=False)
            self._begin_conversation(part)
        elif self._page.messages >= PAGE_MESSAGES and self._page.day != part.day:
            self._turn_page()
        entry = self._entries[-1]
        entry.last = part.day
        items = list(self._places.in_place(part))
        for start in range(0, max(len(items), 1), _BLOCK_MESSAGES):
            self._put(part.day, items[start : start + _BLOCK_MESSAGES])

    def finish(self, second: Written | None = None, /) -> Written:
        """Write the last page and, but in a second half, the index."""
        self._end_page(following=False)
        own = self._entries
        if self._terms.half == 1:
            self._write_index([*own, *(second.listed if second is not None else ())])
        return Written(
            self._path_count,
            sum(entry.messages for entry in own),
            sum(entry.files for entry in own),
            listed=tuple(own) if self._terms.half > 1 else (),
        )

    def close(self) -> None:
        """Forget the page that is not written yet; no file is open between two calls."""
        self._page = None

    def _write_index(self, entries: Sequence[_Entry]) -> None:
        days = sorted({day for entry in entries for day in (entry.first, entry.last)})
        totals = [
            ("Conversations", len(entries)),
            ("Messages", sum(entry.messages for entry in entries)),
            ("Versions", sum(entry.versions for entry in entries)),
            ("Context messages", sum(entry.context for entry in entries)),
            ("No longer in Flock", sum(entry.gone for entry in entries)),
            ("Files", sum(entry.files for entry in entries)),
            ("Files missing", sum(entry.missing for entry in entries)),
            ("Gaps", len(self._terms.gaps)),
        ]
        text = self._index_template.render(
            **self._frame,
            is_redacted=self._terms.is_redacted,
            tiles=[(label, count) for label, count in totals if count or label in ("Messages", "Files", "Gaps")],
            span=_span(days[0], days[-1]) if days else "no day",
            custodians=[person_view(person) for person in self._terms.custodians],
            conversations=entries,
            gaps=[self._gap_row(gap) for gap in self._terms.gaps],
            gap_notes=sum(entry.gaps for entry in entries),
            options=sorted(self._terms.options.items()),
        )
        self._write("html/index.html", text)

    def _begin_conversation(self, part: Slice) -> None:
        conversation = part.conversation
        self._recent.clear()
        self._articles.break_run()
        self._page = _Page(conversation, 1)
        self._entries.append(
            _Entry(
                chat_id=conversation.chat_id,
                shown_id=harmless_name(conversation.chat_id),
                names=_names(conversation),
                kind=conversation.kind,
                href=f"chats/{quote(conversation.path_name)}/1.html",
                people=len(conversation.participants),
                first=part.day,
                last=part.day,
            )
        )

    def _turn_page(self) -> _Page:
        page = self._page
        assert page is not None
        self._end_page(following=True)
        self._articles.break_run()
        self._page = _Page(page.conversation, page.number + 1)
        self._page.last_day = page.day
        self._entries[-1].pages += 1
        return self._page

    def _put(self, day: str, items: list[Message | GapNote]) -> None:
        page = self._page
        assert page is not None
        if page.messages >= PAGE_MESSAGES_MAX or page.characters >= PAGE_CHARACTERS_MAX:
            page = self._turn_page()
        if page.day != day:
            page.begin_day(day, _day_heading(day, is_continued=page.last_day == day), self._offsets(items))
            self._articles.break_run()
        page.put("".join(map(self._item, items)))

    def _item(self, item: Message | GapNote) -> str:
        """Return the markup of a message or a gap, and count it."""
        entry, page = self._entries[-1], self._page
        assert page is not None
        if isinstance(item, GapNote):
            self._articles.break_run()
            entry.gaps += 1
            return self._gap_template.render(self._gap_row(item))
        page.messages += 1
        page.context += item.is_context
        entry.messages += 1
        entry.versions += len(item.versions)
        entry.edited += is_edited(item)
        entry.gone += item.not_returned_since_ms is not None
        entry.context += item.is_context
        entry.files += len(item.files)
        entry.missing += sum(file.path is None for file in item.files)
        return self._articles.article(item, self._reply(item, page.number))

    def _reply(self, message: Message, number: int) -> ReplyView | None:
        """Return what a message replies to, and remember the message for those that reply to it."""
        if self._terms.replying is not None and message.chat_id not in self._terms.replying:
            # Fifty thousand messages are kept for nothing else.
            return None
        found: ReplyView | None = None
        if message.reply_to is not None:
            known = self._recent.get(message.reply_to)
            if known is None:
                found = ReplyView(None, "", "a message that is not in this transcript, or stands far above")
            else:
                page, anchor, name, text = known
                place = f"#{quote(anchor)}"
                found = ReplyView(
                    place if page == number else f"{page}.html{place}", harmless_name(name), snippet(text)
                )
        if len(self._recent) >= REPLY_REACH_MESSAGES:
            self._recent.popitem(last=False)
        kept = message.newest.text[:_KEPT_CHARACTERS]
        self._recent[message.message_uid] = (number, anchor_of(message), message.sender.shown, kept)
        return found

    def _end_page(self, *, following: bool) -> None:
        page, self._page = self._page, None
        if page is None:
            return
        conversation = page.conversation
        text = self._page_template.render(
            **self._frame,
            names=_names(conversation),
            kind=conversation.kind,
            chat_id=harmless_name(conversation.chat_id),
            span=_span(page.first_day, page.day),
            number=page.number,
            following=following,
            messages=page.messages,
            context=page.context,
            people=[person_view(person) for person in conversation.participants],
            custodians={harmless_name(person.user_id) for person in conversation.custodians},
            content=_Markup(page.content()),
        )
        self._write(f"html/chats/{conversation.path_name}/{page.number}.html", text)

    def _write(self, path: str, text: str) -> None:
        with self._sink.open(path) as stream:
            stream.write(text.encode())
        self._path_count += 1

    def _offsets(self, items: list[Message | GapNote]) -> str:
        """Return the zone as a day's heading names it, with the offset of its first message."""
        name = str(self._terms.zone)
        for item in items:
            if isinstance(item, Message):
                return f"{name}, UTC{zoned(item.sent_at_ms, self._terms.zone)[23:]}"
        return name

    def _gap_row(self, gap: GapNote) -> dict[str, Any]:
        articles = self._articles
        return {
            "kind": harmless_name(gap.kind),
            "evidence": harmless_name(gap.evidence),
            "chat_id": gap.chat_id and harmless_name(gap.chat_id),
            "subject": gap.subject and harmless_name(gap.subject),
            "count": gap.count,
            "from_at": None if gap.from_at_ms is None else articles.instant(gap.from_at_ms),
            "to_at": None if gap.to_at_ms is None else articles.instant(gap.to_at_ms),
        }


_KEPT_CHARACTERS: Final = 200


class _Page:
    """A page that is being filled: the days that are on it, as markup."""

    def __init__(self, conversation: Conversation, number: int) -> None:
        self.conversation = conversation
        self.number = number
        self.first_day = ""
        self.day = ""
        self.last_day = ""
        self.messages = 0
        self.context = 0
        self.characters = 0
        self._pieces: list[str] = []

    def begin_day(self, day: str, heading: str, zone: str) -> None:
        """End the day before and begin one; both texts are our own."""
        if self.day:
            self._pieces.append("</section>\n")
        self.first_day = self.first_day or day
        self.day = day
        self._pieces.append(
            f'<section class="day" aria-labelledby="d-{day}"><h2 id="d-{day}">{heading} <span>{zone}</span></h2>\n'
        )

    def put(self, markup: str) -> None:
        """Add what a template made."""
        self._pieces.append(markup)
        self.characters += len(markup)

    def content(self) -> str:
        """Return all of it."""
        return "".join((*self._pieces, "</section>\n" if self.day else ""))


class _Markup(str):
    """Our own text that stands in the page as it is: the style, the script, and what a template made."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _frame(terms: Terms) -> dict[str, Any]:
    """Return what every page has: whose export it is, and the style and script with their digests."""
    folder = files(__package__).joinpath("pages")
    style = folder.joinpath("transcript.css").read_text("utf-8")
    script = folder.joinpath("transcript.js").read_text("utf-8")
    return {
        "matter": harmless_name(terms.matter),
        "workspace": harmless_name(terms.workspace),
        "archive_id": terms.archive_id,
        "head_sequence": terms.head_sequence,
        "head_digest": terms.head_digest,
        "made_at": zoned(terms.made_at_ms, terms.zone),
        "zone": str(terms.zone),
        "software": terms.software,
        "style": _Markup(style),
        "style_digest": _Markup(b64encode(sha256(style.encode()).digest()).decode()),
        "script": _Markup(script),
        "script_digest": _Markup(b64encode(sha256(script.encode()).digest()).decode()),
    }


def _names(conversation: Conversation) -> list[str]:
    """Return what to call a conversation: its name, else the names of those in it, each of which is read by itself."""
    if conversation.name or not conversation.participants:
        return [harmless_name(conversation.shown)]
    return [harmless_name(person.shown) for person in conversation.participants]


def _day_heading(day: str, *, is_continued: bool) -> str:
    on = date.fromisoformat(day)
    return f"{_WEEKDAYS[on.weekday()]}, {_day_in_words(on)}{', continued' if is_continued else ''}"


def _day_in_words(on: date) -> str:
    return f"{on.day} {_MONTHS[on.month - 1]} {on.year}"


def _span(first: str, last: str) -> str:
    """Return two days in words, or one if they are the same."""
    days = [_day_in_words(date.fromisoformat(day)) for day in dict.fromkeys((first, last)) if day]
    return " to ".join(days) or "no day"
