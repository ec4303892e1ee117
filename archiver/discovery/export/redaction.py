"""What is made black in an export: words, patterns and people, as a YAML file says, with a log that tells where and how often.

words: [merger, "Projekt Falke"]
patterns:
  iban: '[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){3,7}'
people: [bob@acme.com, u:kenji]
files: withhold            # or keep: patterns cannot look into files

A place that is black has always the same length. What a message was before is left out of the package: its JSON as received, its markup,
its attachments, and the digests of a version that has a black place, for short texts can be guessed from theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from archiver.document import Document, Location, data_of, parse, unknown_key
from archiver.errors import DocumentError
from archiver.expression import Directory
from archiver.ids import parties_of
from archiver.scope.membership import Membership
from archiver.scope.regex import check_regex

BLACK: Final = "█████"
NAME_CHARACTERS_MIN: Final = 2
_KEYS: Final = ("words", "patterns", "people", "files")
_TEXTS: Final = ("plain_text", "notification", "send_as_name", "sender_name")
_LEFT_OUT: Final = ("flockml", "attachments", "raw")
# The columns that count black places, one for each rule, begin so.
MARK: Final = "black:"
# The counts of what is left out because of redaction begin so.
REDACTED: Final = "redacted_"
_SOME_TEXT: Final = pa.array([""], type=pa.string())


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that is made black: what its log is to call it, and a regular expression of RE2."""

    name: str
    regex: str


@dataclass(frozen=True, slots=True)
class Blackened:
    """A line of the log: where something is black, by which rule and how often."""

    control_number: str
    chat_id: str
    message_uid: str
    version: int
    rule: str
    count: int


@dataclass(slots=True)
class Redaction:
    """Makes rows of messages black. Without rules it leaves everything as it is.

    ``hidden`` are people by id and what they are called instead; ``digest`` is that of the file that asked for all this. ``log`` takes
    what was made black, message by message.
    """

    rules: Sequence[Rule] = ()
    hidden: Mapping[str, str] = field(default_factory=dict)
    withholds_files: bool = False
    is_active: bool = False
    digest: str | None = None
    log: Callable[[Blackened], None] = lambda _: None
    _shown_chats: dict[str, str] = field(default_factory=dict)

    def apply(self, rows: pa.Table) -> pa.Table:
        """Return rows with what is to be black, and beside them how often each rule found something in each."""
        if not self.is_active:
            return rows
        for name in _LEFT_OUT:
            rows = _with(rows, name, pa.nulls(rows.num_rows, pa.string()))
        hidden = pa.array(list(self.hidden), pa.string()), pa.array(list(self.hidden.values()), pa.string())
        is_theirs = pc.is_in(rows.column("sender_id"), value_set=hidden[0])
        rows = _with(
            rows, "sender_name", pc.if_else(is_theirs, pa.scalar(None, pa.string()), rows.column("sender_name"))
        )
        for place, rule in enumerate(self.rules):
            counts = pa.repeat(pa.scalar(0, pa.int32()), rows.num_rows)
            for name in _TEXTS:
                text = rows.column(name)
                found = pc.fill_null(pc.count_substring_regex(text, rule.regex), 0)
                if pc.any(pc.greater(found, 0), min_count=0).as_py():
                    # A sender's name is that of the directory in every row, and counts once, where it is shown.
                    counts = counts if name == "sender_name" else pc.add(counts, found)
                    rows = _with(rows, name, pc.replace_substring_regex(text, rule.regex, BLACK))
            rows = rows.append_column(f"{MARK}{place}", counts)
        return rows

    def leaves_out(self, rows: pa.Table) -> dict[str, int]:
        """Return by its name in the report how many rows have something that a redacted export leaves out."""
        if not self.is_active:
            return {}
        return {f"{REDACTED}{name}": rows.num_rows - rows.column(name).null_count for name in _LEFT_OUT}

    def chats(self, rows: pa.Table) -> pa.Table:
        """Return rows in which no chat's id names who is hidden."""
        if not self.hidden:
            return rows
        chats = rows.column("chat_id").to_pylist()
        return _with(rows, "chat_id", pa.array([self._shown_chat(chat) for chat in chats], pa.string()))

    def true_chat(self, chat_id: str) -> str:
        """Return the id that a chat has in the archive."""
        return self._shown_chats.get(chat_id, chat_id)

    def shown(self, text: str) -> str:
        """Return a name or another text of its own with what is to be black."""
        if not self.is_active:
            return text
        found = pa.array([text], pa.string())
        for rule in self.rules:
            found = pc.replace_substring_regex(found, rule.regex, BLACK)
        shown: str = found[0].as_py()
        return shown

    def shown_id(self, user_id: str) -> str:
        """Return what somebody is to be called by."""
        return self.hidden.get(user_id, user_id)

    def count(self, row: Mapping[str, Any]) -> int:
        """Return how many places of a row are black."""
        return sum(row[f"{MARK}{place}"] for place in range(len(self.rules))) if self.is_active else 0

    def note(self, control_number: str, chat_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log what was made black in the rows of a message."""
        if not self.is_active:
            return
        for row in rows:
            for place, rule in enumerate(self.rules):
                if row[f"{MARK}{place}"]:
                    self.log(
                        Blackened(
                            control_number,
                            chat_id,
                            row["message_uid"],
                            row["version"],
                            rule.name,
                            row[f"{MARK}{place}"],
                        )
                    )

    def _shown_chat(self, chat_id: str) -> str:
        parties = parties_of(chat_id)
        if parties is None or self.hidden.keys().isdisjoint(parties):
            return chat_id
        shown = ",".join(self.shown_id(party) for party in parties)
        self._shown_chats[shown] = chat_id
        return shown


def read_redaction(path: Path, membership: Membership) -> Redaction:
    """Return what a file asks to make black; raises `DocumentError` with file and line for whatever in it cannot be used."""
    data = data_of(path, missing=DocumentError(f"there is no redaction file at {path}", code="missing"))
    document = parse(path, data, error=DocumentError, example="words: [merger]")
    for key in document.values:
        if key not in _KEYS:
            raise _mistake(document, (key,), unknown_key(key, _KEYS))
    files = document.values.get("files", "withhold")
    if files not in ("withhold", "keep"):
        raise _mistake(document, ("files",), "must be withhold or keep")
    rules = [*_people_rules(document, membership), *_pattern_rules(document), *_word_rules(document)]
    if not rules:
        raise _mistake(document, (), "names nothing to make black: give words, patterns or people")
    return Redaction(
        rules=tuple(rules),
        hidden=_hidden(document, membership),
        withholds_files=files == "withhold",
        is_active=True,
        digest=sha256(data).hexdigest(),
    )


def _word_rules(document: Document) -> list[Rule]:
    return [Rule(f"word {number}", f"(?i){literal(word)}") for number, word in enumerate(_texts(document, "words"), 1)]


def _pattern_rules(document: Document) -> list[Rule]:
    patterns = document.values.get("patterns", {})
    if not isinstance(patterns, Mapping):
        raise _mistake(document, ("patterns",), "must be a group of regular expressions by their names")
    rules = []
    for name, pattern in patterns.items():
        if not isinstance(pattern, str):
            raise _mistake(document, ("patterns", name), "must be text; put it in quotes")
        try:
            check_regex(pattern)
        except ValueError as error:
            raise _mistake(document, ("patterns", name), str(error)) from None
        if pc.match_substring_regex(_SOME_TEXT, pattern)[0].as_py():
            raise _mistake(
                document, ("patterns", name), "matches nothing at all, and so everywhere: let it ask for a character"
            )
        rules.append(Rule(f"pattern {name}", pattern))
    return rules


def _hidden(document: Document, membership: Membership) -> dict[str, str]:
    ids: set[str] = set()
    for number, text in enumerate(_texts(document, "people")):
        found = membership.people(text)
        if not found:
            raise _mistake(
                document,
                ("people", number),
                f"the directory knows nobody by the id or address {text!r}",
            )
        ids |= found
    return {user_id: f"person-{number}" for number, user_id in enumerate(sorted(ids), 1)}


def _people_rules(document: Document, membership: Membership) -> list[Rule]:
    """Return a rule for each person: every name and address that they ever had, and the id; the longest first."""
    rules = []
    for user_id, called in _hidden(document, membership).items():
        known = _known(membership.directory, user_id)
        words = sorted({user_id, *known}, key=lambda word: (-len(word), word))
        rules.append(Rule(called, f"(?i)(?:{'|'.join(map(literal, words))})"))
    return rules


def _known(directory: Directory, user_id: str) -> list[str]:
    about = directory.about(user_id)
    return [word for word in (*about.names, *about.emails) if len(word) >= NAME_CHARACTERS_MIN]


def literal(text: str) -> str:
    """Return the regular expression of RE2 that is a text itself, with any white space where it has some."""
    return r"\s+".join("".join(_sign(sign) for sign in word) for word in text.split())


def _sign(sign: str) -> str:
    return f"\\{sign}" if sign.isascii() and not sign.isalnum() and sign != "_" else sign


def _texts(document: Document, key: str) -> list[str]:
    values = document.values.get(key, [])
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise _mistake(document, (key,), "must be a list")
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise _mistake(document, (key, number), "must be text; put it in quotes")
    return list(values)


def _with(rows: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, column)


def _mistake(document: Document, at: Location, reason: str) -> DocumentError:
    dotted = ".".join(map(str, at)) or "the file"
    return DocumentError(f"{document.place(at)}: {dotted}: {reason}", code="redaction", line=document.line(at))
