"""Messages as a reader of the transcript sees them: names, clocks, versions with what changed, cards of files; all made harmless here.

Everything that was captured is text. The templates escape it, and this module shows the characters that would make a line say something
else than it does: the marks that turn the direction of a text, and controls. In names those that take no room are shown too. A name never
stands without the id of who has it, so that two names that look the same are still two people.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape as _e
from typing import Any, Final
from urllib.parse import quote
from zlib import crc32
from zoneinfo import ZoneInfo

import jinja2

from archiver.discovery.export.formats.instants import zoned
from archiver.discovery.export.formats.word_diff import Change, word_diff
from archiver.discovery.export.record import File, Message, Person, Version

# Controls but tab and line feed, and what turns the direction of a text; the joiners of emoji and Persian stay as they are.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
_UNSAFE_IN_NAMES: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
# Pictures that every browser shows and that hold nothing that runs.
_PICTURES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/avif"})
_COLOURS: Final = 8
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_SNIPPET_CHARACTERS: Final = 90
_SAID_OF_AN_ATTACHMENT: Final = frozenset({"title", "description", "url", "downloads", "id", "color"})
# Messages of one sender that follow each other within this time share one heading.
_RUN_MS: Final = 5 * 60_000


@dataclass(frozen=True, slots=True)
class PersonView:
    """Who somebody is: name and id made harmless, and the mark that stands before their messages."""

    name: str
    user_id: str
    email: str | None
    initials: str
    colour: int
    is_bot: bool


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version with the time it was seen and what changed from the one before; None in ``changes`` for the first."""

    number: int
    at: str
    seen: str
    text: str
    changes: tuple[tuple[Change, str], ...] | None


@dataclass(frozen=True, slots=True)
class FileView:
    """A file: where it lies from the page, and whether the page shows it as a picture."""

    name: str
    control_number: str
    size: str | None
    mime: str | None
    sha256: str | None
    href: str | None
    is_picture: bool
    missing: str | None


@dataclass(frozen=True, slots=True)
class ReplyView:
    """What a message seems to reply to; without ``href`` it is not among what the page can point to."""

    href: str | None
    name: str
    snippet: str


@dataclass(frozen=True, slots=True)
class FurtherView:
    """What only some messages have, as its template takes it."""

    visible_to: tuple[PersonView, ...]
    notification: str | None
    gone_since: str | None
    redactions: int
    cards: tuple[dict[str, str], ...]
    files: tuple[FileView, ...]
    as_sent: str | None
    versions: tuple[VersionView, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Sender:
    """What stands before the messages of somebody, as markup that is made once."""

    mark: str
    named: str


def harmless(text: str) -> str:
    """Return text in which nothing turns its direction or is unseen: each such character is shown by its number."""
    return _UNSAFE.sub(_number_of, text) if _UNSAFE.search(text) else text


def harmless_name(text: str) -> str:
    """Return a name, on one line, in which every character that takes no room or acts is shown by its number."""
    return _UNSAFE_IN_NAMES.sub(_number_of, text) if _UNSAFE_IN_NAMES.search(text) else text


class Articles:
    """Makes the markup of messages, in their order, for the pages of one conversation after the other.

    What every message has is put together here, value by value through `_e`, because a template takes three times as long for it; what
    only some have is a template's.
    """

    def __init__(self, zone: ZoneInfo, to_data: str) -> None:
        self._zone = zone
        self._to_data = to_data
        self._further = environment().get_template("further.html")
        self._senders: dict[Person, _Sender] = {}
        self._previous: Message | None = None

    def break_run(self) -> None:
        """Let the next message begin with its sender: something else stands between."""
        self._previous = None

    def instant(self, at_ms: int) -> str:
        """Return an instant as people read it, with its offset."""
        at = zoned(at_ms, self._zone)
        return f"{at[:10]} {at[11:19]} {at[23:]}"

    def article(self, message: Message, reply: ReplyView | None) -> str:
        """Return the markup of the next message."""
        at = zoned(message.sent_at_ms, self._zone)
        newest = message.versions[-1]
        sender = self._sender(message.sender)
        classes = self._classes(message)
        chips = self._chips(message) if _has_chips(message) else ""
        text = (
            f'<p class="t" dir="auto">{_e(harmless(newest.text))}</p>'
            if newest.text
            else '<p class="note">(no text)</p>'
        )
        return (
            f'<article class="{classes}" id="{anchor_of(message)}" data-uid="{_e(message.message_uid)}">{sender.mark}\n'
            f'<header>{sender.named} <time datetime="{at}">{at[11:19]} <span class="z">{at[23:]}</span></time>{chips}</header>\n'
            f"{_reply(reply) if reply else ''}{text}\n"
            f"{self._further_of(message) if _has_further(message) else ''}"
            f'<details class="rec"><summary><span class="cn">{_e(harmless_name(message.control_number))}</span></summary>'
            f"<dl><dt>Uid</dt><dd><bdi>{_e(harmless_name(message.message_uid))}</bdi></dd>"
            f"<dt>Sent</dt><dd>{at} (by {_e(message.sent_at_basis)})</dd>"
            f"<dt>Captured</dt><dd>{_e(newest.source)}, <bdi>{_e(harmless_name(newest.captured_by))}</bdi></dd>"
            f"<dt>Content</dt><dd><code>{_e(newest.content_digest) or _BLACK}</code></dd>"
            f"<dt>Record</dt><dd><code>{_e(newest.raw_digest) or _BLACK}</code></dd>"
            f"<dt>Commit</dt><dd>{newest.commit}</dd></dl></details></article>\n"
        )

    def _classes(self, message: Message) -> str:
        previous, self._previous = self._previous, message
        classes = "m"
        if (
            previous is not None
            and previous.sender == message.sender
            and previous.send_as_name == message.send_as_name
            and previous.is_context == message.is_context
            and message.sent_at_ms - previous.sent_at_ms < _RUN_MS
        ):
            classes += " run"
        if message.is_context:
            classes += " context"
        if message.not_returned_since_ms is not None:
            classes += " gone"
        if is_edited(message):
            classes += " edited"
        if message.files:
            classes += " filed"
        return classes

    def _sender(self, person: Person) -> _Sender:
        found = self._senders.get(person)
        if found is None:
            if len(self._senders) >= _PEOPLE_KEPT_MAX:
                self._senders.clear()
            view = person_view(person)
            mark = f'<span class="av c{view.colour}" aria-hidden="true">{_e(view.initials)}</span>'
            found = self._senders[person] = _Sender(mark, f'<span class="sender">{_who(view)}</span>')
        return found

    def _chips(self, message: Message) -> str:
        said = []
        if message.send_as_name is not None:
            said.append(f"shown as <bdi>{_e(harmless_name(message.send_as_name))}</bdi>")
        if message.on_behalf_of is not None:
            said.append(f"on behalf of {_who(person_view(message.on_behalf_of))}")
        if message.sender.is_bot:
            said.append("bot")
        if message.is_context:
            said.append("context")
        return "".join(f' <span class="chip">{one}</span>' for one in said)

    def _further_of(self, message: Message) -> str:
        newest = message.versions[-1]
        cards, as_sent = _attachments(newest.attachments) if newest.attachments else ((), None)
        since = message.not_returned_since_ms
        has_own_notification = newest.notification is not None and newest.notification != newest.text
        view = FurtherView(
            visible_to=tuple(map(person_view, message.visible_to)),
            notification=harmless(newest.notification) if has_own_notification and newest.notification else None,
            gone_since=None if since is None else self.instant(since),
            redactions=message.redactions,
            cards=tuple(card for card in cards if not _only_names_a_file(card, message.files)),
            files=tuple(map(self._file, message.files)),
            as_sent=as_sent,
            versions=self._versions(message.versions) if len(message.versions) > 1 else (),
            left_out=newest.number if len(message.versions) == 1 and newest.number > 1 else 0,
        )
        return self._further.render(v=view)

    def _versions(self, versions: Sequence[Version]) -> tuple[VersionView, ...]:
        views = []
        before: str | None = None
        for version in versions:
            text = harmless(version.text)
            changes = None if before is None else tuple(word_diff(before, text))
            at = zoned(version.observed_at_ms, self._zone)
            views.append(VersionView(version.number, at, self.instant(version.observed_at_ms), text, changes))
            before = text
        return tuple(views)

    def _file(self, file: File) -> FileView:
        is_here = file.path is not None
        reason = file.reason or file.status.replace("_", " ")
        return FileView(
            name=harmless_name(file.name) or "(no name)",
            control_number=harmless_name(file.control_number),
            size=None if file.size is None else weight(file.size),
            mime=file.mime and harmless_name(file.mime),
            sha256=file.sha256,
            href=self._to_data + quote(file.path) if file.path is not None else None,
            is_picture=is_here and (file.mime or "").lower() in _PICTURES,
            missing=None if is_here else harmless_name(reason),
        )


_PEOPLE_KEPT_MAX: Final = 50_000
# What stands for a digest that would give away a text that was made black.
_BLACK: Final = "redacted"
_PLAIN_NUMBER: Final = re.compile(r"[A-Za-z0-9._-]+")


def is_edited(message: Message) -> bool:
    """Tell whether a message had another content before, whether or not the export has it."""
    return len(message.versions) > 1 or message.versions[-1].number > 1


def anchor_of(message: Message) -> str:
    """Return what a page calls the place of a message: its control number, with nothing in it that a link could not hold."""
    number = message.control_number
    return f"m-{number if _PLAIN_NUMBER.fullmatch(number) else quote(number, safe='')}"


def person_view(person: Person) -> PersonView:
    """Return the view of somebody."""
    name = harmless_name(person.shown)
    letters = [word[0] for word in name.split() if word[0].isalnum()]
    return PersonView(
        name=name,
        user_id=harmless_name(person.user_id),
        email=person.email and harmless_name(person.email),
        initials="".join(letters[:1] + letters[1:][-1:]).upper()[:2] or "?",
        colour=crc32(person.user_id.encode()) % _COLOURS,
        is_bot=person.is_bot,
    )


def snippet(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(harmless(text[: 4 * _SNIPPET_CHARACTERS]).split())
    return line if len(line) <= _SNIPPET_CHARACTERS else f"{line[: _SNIPPET_CHARACTERS - 1].rstrip()}…"


def weight(count: int) -> str:
    """Return bytes as people read them, in powers of ten, and exactly."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - powers of a thousand are what the units are
        size, unit = size / 1000, unit + 1
    return f"{count:,} bytes" if unit == 0 else f"{size:.1f} {_UNITS[unit]} ({count:,} bytes)"


@cache
def environment() -> jinja2.Environment:
    """Return the templates of this package, which escape whatever they are given."""
    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.PackageLoader("archiver.discovery.export.formats", "pages"),
    )


def _attachments(text: str) -> tuple[tuple[dict[str, str], ...], str | None]:
    """Return what the attachments of a message say, and all of them as they were sent where they say more than that."""
    try:
        entries: Any = json.loads(text)
    except (ValueError, RecursionError):
        return (), harmless(text)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return (), harmless(text)
    cards = []
    for entry in entries:
        said = {
            name: harmless(entry[name]) for name in ("title", "description", "url") if isinstance(entry.get(name), str)
        }
        if any(said.values()):
            cards.append({"title": "", "description": "", "url": "", **said})
    is_told = all(entry.keys() <= _SAID_OF_AN_ATTACHMENT for entry in entries)
    return tuple(cards), None if is_told else harmless(text)


def _only_names_a_file(card: dict[str, str], files: Sequence[File]) -> bool:
    """Tell whether a card says nothing that the list of files does not say."""
    is_bare = not card["description"] and not card["url"]
    return is_bare and any(card["title"] == harmless(file.name) for file in files)


def _has_chips(message: Message) -> bool:
    return (
        message.send_as_name is not None
        or message.on_behalf_of is not None
        or message.sender.is_bot
        or message.is_context
    )


def _has_further(message: Message) -> bool:
    newest = message.versions[-1]
    return bool(
        message.files
        or is_edited(message)
        or message.not_returned_since_ms is not None
        or message.visible_to
        or message.redactions
        or newest.attachments
        or newest.notification
    )


def _reply(reply: ReplyView) -> str:
    said = f"<bdi>{_e(reply.snippet)}</bdi>"
    if reply.href is not None:
        said = f'<a href="{_e(reply.href)}"><bdi>{_e(reply.name)}</bdi>: {said}</a>'
    return f'<p class="reply"><span class="fact">Seems to reply to</span> {said}</p>\n'


def _who(person: PersonView) -> str:
    named = f'<bdi class="who">{_e(person.name)}</bdi>'
    return named if person.user_id == person.name else f'{named} <bdi class="id">{_e(person.user_id)}</bdi>'


def _number_of(found: re.Match[str]) -> str:
    return f"[U+{ord(found.group()):04X}]"
