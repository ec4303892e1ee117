"""JSON lines or CSV of any shape, read by rules that say which field is what (`archiver.settings.mapping` has them in YAML)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal

from archiver.capture.imports.instants import TimeRule, instant_of
from archiver.capture.imports.opened import OpenedFile, lines_of
from archiver.capture.imports.records import Item, Said, Source, Tally, Unreadable, unreadable
from archiver.capture.imports.tabular import CsvForm, csv_rows
from archiver.errors import UnparseableError
from archiver.ids import (
    ChatKind,
    chat_of,
    direct_chat_id,
    foreign_id,
    is_channel,
    is_foreign,
    parties_of,
)
from archiver.normalise.content import canonical_json
from archiver.normalise.imported import ImportedMessage
from archiver.normalise.message import (
    IDENTIFIER_LENGTH_MAX_CHARACTERS,
    PROVISIONAL_DIGITS,
    PROVISIONAL_PREFIX,
    read_object,
)

Path = tuple[str, ...]

_INTEGER_MAX: Final = 10**30


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where a value is: at a path, or always the same. ``split`` parts a text into a list."""

    path: Path = ()
    constant: str | None = None
    split: str = ""


@dataclass(frozen=True, slots=True)
class AttachmentRule:
    """Where attachments are: a list at a path whose entries have these fields, or without a path one, in the record itself."""

    path: Path = ()
    url: Path = ()
    name: Path = ()
    mime: Path = ()
    size: Path = ()


@dataclass(frozen=True, slots=True)
class MappingRules:
    """What of a record is what. ``origin`` names the system that its ids are of; without one they are Flock's own.

    ``fields`` are the rules of `FIELDS`, of which ``sender`` and one of ``chat`` and ``recipient`` are there.
    """

    form: Literal["jsonl", "csv"]
    time: TimeRule
    fields: Mapping[str, FieldRule]
    attachments: AttachmentRule | None = None
    origin: str = ""
    csv: CsvForm = field(default_factory=CsvForm)


FIELDS: Final = (
    "uid",
    "chat",
    "chat_kind",
    "recipient",
    "sender",
    "sender_name",
    "text",
    "plain_text",
    "flockml",
    "notification",
    "send_as_name",
    "on_behalf_of",
    "app_id",
    "client_id",
    "mentions",
    "visible_to",
)
_TEXTS: Final = ("plain_text", "flockml", "notification", "send_as_name", "app_id", "client_id", "sender_name")


def mapped_file(source: OpenedFile, rules: MappingRules, *, now_ms: int) -> Source:
    """Return a file of messages as a source; ``now_ms`` tells which times cannot be.

    The caller adds the mapping's own text and name.
    """

    def items(tally: Tally) -> Iterator[Item]:
        reader = _Reader(rules, now_ms)
        yield from reader.csv(source) if rules.form == "csv" else reader.json_lines(source)
        tally.unseen_fields = reader.unseen()

    reading = {"form": rules.form}
    return Source("messages", source.file, reading, items, source.check_unchanged)


class _Reader:
    """One reading of a file from its beginning: it counts equal records without a uid, so that each gets its own."""

    def __init__(self, rules: MappingRules, now_ms: int) -> None:
        self._rules = rules
        self._now_ms = now_ms
        self._equal: Counter[bytes] = Counter()
        paths = [rule.path for rule in rules.fields.values()] + [rules.time.path]
        if rules.attachments is not None:
            paths.append(rules.attachments.path or rules.attachments.url)
        self._unseen = {path for path in paths if path}

    def unseen(self) -> list[str]:
        """Return the paths at which no record had anything."""
        return sorted(".".join(path) for path in self._unseen)

    def json_lines(self, source: OpenedFile) -> Iterator[Item]:
        """Yield what each line is; empty lines are none."""
        for line in lines_of(source):
            if isinstance(line, Unreadable):
                yield line
                continue
            number, data = line
            if not data.strip():
                continue
            place = f"line {number}"
            try:
                yield Said(place, self._message(read_object(data), data.decode()))
            except UnparseableError as error:
                yield unreadable(place, error.what, data)
            except UnicodeDecodeError as error:
                yield unreadable(place, f"not UTF-8: {error.reason} at byte {error.start}", data)

    def csv(self, source: OpenedFile) -> Iterator[Item]:
        """Yield what each row is."""
        for row in csv_rows(source, self._rules.csv):
            if isinstance(row, Unreadable):
                yield row
                continue
            try:
                yield Said(row.place, self._message(row.values, row.raw))
            except UnparseableError as error:
                yield unreadable(row.place, error.what, row.raw.encode())

    def _message(self, record: Mapping[str, Any], raw: str) -> ImportedMessage:
        sender = self._identifier(record, "sender")
        if not sender:
            raise UnparseableError("it has no sender")
        sender_id = self._id(sender)
        chat_id, chat_kind = self._chat(record, sender_id)
        sent_at_ms = instant_of(self._value(record, self._rules.time.path), self._rules.time, now_ms=self._now_ms)
        text = self._text(record, "text") or ""
        uid = self._identifier(record, "uid")
        if "uid" in self._rules.fields and not uid:
            raise UnparseableError("it has no uid")
        further = {name: self._text(record, name) for name in _TEXTS}
        on_behalf_of = self._identifier(record, "on_behalf_of")
        return ImportedMessage(
            chat_id=chat_id,
            chat_kind=chat_kind,
            uid=uid or self._own_uid(raw),
            uid_provisional=not uid,
            sent_at_ms=sent_at_ms,
            sender_id=sender_id,
            raw=raw,
            text=text,
            on_behalf_of=self._id(on_behalf_of) if on_behalf_of else None,
            mentions=self._ids(record, "mentions"),
            visible_to=self._ids(record, "visible_to"),
            attachments=self._attachments(record),
            **further,
        )

    def _chat(self, record: Mapping[str, Any], sender_id: str) -> tuple[str, ChatKind]:
        recipient = self._identifier(record, "recipient")
        if recipient and self._rules.origin:
            return direct_chat_id(sender_id, self._id(recipient)), "direct"
        if recipient:
            return chat_of(sender_id, recipient)
        chat = self._identifier(record, "chat")
        if not chat:
            raise UnparseableError("it has no chat")
        if self._rules.origin:
            kind = self._text(record, "chat_kind") or "channel"
            if kind not in ("channel", "direct"):
                raise UnparseableError(f"its kind of chat is neither channel nor direct but {kind[:40]!r}")
            return foreign_id(self._rules.origin, chat), "direct" if kind == "direct" else "channel"
        if is_channel(chat):
            return chat, "channel"
        parties = parties_of(chat)
        if parties is None or not all(parties) or "," in parties[1] or is_foreign(chat):
            raise UnparseableError(
                f"{chat[:60]!r} is no chat of Flock's: neither a channel (g:…) nor two users with a comma; "
                "an `origin` keeps ids of another system apart"
            )
        return direct_chat_id(*parties), "direct"

    def _id(self, identifier: str) -> str:
        if self._rules.origin:
            return foreign_id(self._rules.origin, identifier)
        if is_foreign(identifier):
            raise UnparseableError(
                f"{identifier[:60]!r} is no id of Flock's; an `origin` keeps ids of another system apart"
            )
        return identifier

    def _ids(self, record: Mapping[str, Any], name: str) -> list[str] | None:
        rule = self._rules.fields.get(name)
        value = None if rule is None else self._value_of(record, rule)
        if rule is None or value in (None, "", []):
            return None
        if isinstance(value, str):
            parts = [part.strip() for part in value.split(rule.split)] if rule.split else [value]
        elif isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            parts = value
        else:
            raise UnparseableError(f"its {name} are no list of ids")
        return [self._id(part) for part in parts if part] or None

    def _own_uid(self, raw: str) -> str:
        """Return a uid for a record that has none: equal records are told apart by which of them it is."""
        digest = sha256(raw.encode()).digest()
        self._equal[digest] += 1
        parts = [self._rules.origin, raw, self._equal[digest]]
        return PROVISIONAL_PREFIX + sha256(canonical_json(parts)).hexdigest()[:PROVISIONAL_DIGITS]

    def _attachments(self, record: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        rule = self._rules.attachments
        if rule is None:
            return None
        entries: Any = [record]
        if rule.path:
            entries = self._value(record, rule.path)
            if entries in (None, ""):
                return None
            if not isinstance(entries, list):
                entries = [entries]
        elif not _as_text(self._value(record, rule.url)):
            return None
        found = [self._attachment(entry, rule) for entry in entries]
        return [{"downloads": [entry]} for entry in found if entry] or None

    def _attachment(self, entry: Any, rule: AttachmentRule) -> dict[str, Any]:
        if isinstance(entry, str):
            return {"src": entry}
        if not isinstance(entry, Mapping):
            raise UnparseableError("an attachment is neither an object nor a URL")
        facts = {
            "src": _as_text(self._value(entry, rule.url)),
            "filename": _as_text(self._value(entry, rule.name)),
            "mime": _as_text(self._value(entry, rule.mime)),
            "size": _size(self._value(entry, rule.size)),
        }
        return {name: value for name, value in facts.items() if value is not None}

    def _text(self, record: Mapping[str, Any], name: str) -> str | None:
        rule = self._rules.fields.get(name)
        return None if rule is None else _as_text(self._value_of(record, rule))

    def _identifier(self, record: Mapping[str, Any], name: str) -> str | None:
        rule = self._rules.fields.get(name)
        value = None if rule is None else self._value_of(record, rule)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise UnparseableError(f"its {name} is neither text nor a whole number")
        text = value if isinstance(value, str) else str(value) if abs(value) < _INTEGER_MAX else ""
        if not text or len(text) > IDENTIFIER_LENGTH_MAX_CHARACTERS:
            raise UnparseableError(f"its {name} is too long for an identifier")
        return text

    def _value_of(self, record: Mapping[str, Any], rule: FieldRule) -> Any:
        return rule.constant if rule.constant is not None else self._value(record, rule.path)

    def _value(self, record: Mapping[str, Any], path: Path) -> Any:
        """Return what stands at a path, None if nothing does. A field whose own name has dots in it is met first."""
        if not path:
            return None
        value: Any = record.get(".".join(path))
        if value is None and len(path) > 1:
            value = record
            for name in path:
                value = _member(value, name)
        if value is not None and self._unseen:
            self._unseen.discard(path)
        return value


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str) and name.isascii() and name.isdigit():
        return value[int(name)] if len(name) < 10 and int(name) < len(value) else None  # noqa: PLR2004 - digits of an index
    return None


def _as_text(value: Any) -> str | None:
    """Return a text as it is and anything else as JSON; None for nothing."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else canonical_json(value).decode()


def _size(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:  # noqa: PLR2004 - digits that fit
        return int(value)
    return value if type(value) is int and 0 <= value < 2**63 else None
