"""What is made black in an export: words, patterns and people, as a YAML file says, with a log that tells where and how often.

words: [merger, "Projekt Falke"]
patterns:
  iban: '[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){3,7}'
people: [bob@acme.com, u:kenji]
files: withhold            # or keep: patterns cannot look into files

A place that is black has always the same length. Words and names are found however they are written (`archiver.expression.spelling`). What
a message was before is left out of the package: its JSON as received, its markup, its attachments, and the digests of a version that has a
black place or had markup or attachments, for short texts can be guessed from theirs. What was asked for may name who and what is black, and
is shown as everything else is.
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
from archiver.expression.fold import fold
from archiver.expression.spelling import Spellings, places_to_look
from archiver.ids import parties_of
from archiver.scope.membership import Membership
from archiver.scope.regex import check_regex

BLACK: Final = "█████"
NAME_CHARACTERS_MIN: Final = 2
_KEYS: Final = ("words", "patterns", "people", "files")
_TEXTS: Final = ("plain_text", "notification", "send_as_name", "sender_name")
_LEFT_OUT: Final = ("flockml", "attachments", "raw")
# What a version says beside its texts, and its digests are of.
_ALSO_SAID: Final = ("flockml", "attachments")
# The columns that count black places, one for each rule, begin so.
MARK: Final = "black:"
# The column that tells of which versions digests are left out.
HAS_NO_DIGESTS: Final = "has_no_digests"
# The counts of what is left out because of redaction begin so.
REDACTED: Final = "redacted_"
# A text that is done and how often something was found in it.
_DONE: Final = (pa.string(), pa.int32())
_SOME_TEXT: Final = pa.array([""], type=pa.string())


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that is made black: what its log is to call it, and texts however they are written, or a regular expression of RE2."""

    name: str
    looked_for: Spellings | str

    def apply(self, texts: pa.Array, suspects: Sequence[tuple[int, str]]) -> tuple[pa.Array, pa.Array | None]:
        """Return texts with what is found made black, and how often it was found in each, None if nowhere.

        ``suspects`` are the places where something written in whatever way could be found, each with its text folded.
        """
        if isinstance(self.looked_for, str):
            return _by_regex(self.looked_for, texts)
        looked_for = self.looked_for
        places = [place for place, folded in suspects if looked_for.may_be_in(folded)]
        done = [looked_for.replaced(text, BLACK) for text in texts.take(pa.array(places, pa.int64())).to_pylist()]
        if not any(count for _, count in done):
            return texts, None
        is_here = pc.is_in(pa.arange(0, len(texts)), value_set=pa.array(places, pa.int64()))
        black, counts = (pa.array(column, kind) for column, kind in zip(zip(*done, strict=True), _DONE, strict=True))
        return pc.replace_with_mask(texts, is_here, black), pc.replace_with_mask(_nowhere(len(texts)), is_here, counts)


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

    ``hidden`` are people by id and what they are called instead. ``log`` takes what was made black, message by message.
    """

    rules: Sequence[Rule] = ()
    hidden: Mapping[str, str] = field(default_factory=dict)
    withholds_files: bool = False
    is_active: bool = False
    log: Callable[[Blackened], None] = lambda _: None
    _shown_chats: dict[str, str] = field(default_factory=dict)

    def apply(self, rows: pa.Table) -> pa.Table:
        """Return rows with what is to be black, and beside them how often each rule found something in each."""
        if not self.is_active:
            return rows
        is_guessable = pa.repeat(pa.scalar(False), rows.num_rows)  # noqa: FBT003 - a value and no option
        for name in _ALSO_SAID:
            is_guessable = pc.or_(is_guessable, pc.is_valid(rows.column(name)))
        for name in _LEFT_OUT:
            rows = _with(rows, name, pa.nulls(rows.num_rows, pa.string()))
        rows = _with(rows, "captured_by", self._shown_feeds(rows.column("captured_by")))
        hidden = pa.array(list(self.hidden), pa.string()), pa.array(list(self.hidden.values()), pa.string())
        is_theirs = pc.is_in(rows.column("sender_id"), value_set=hidden[0])
        rows = _with(
            rows, "sender_name", pc.if_else(is_theirs, pa.scalar(None, pa.string()), rows.column("sender_name"))
        )
        nowhere = _nowhere(rows.num_rows)
        counts = [nowhere for _ in self.rules]
        for name in _TEXTS:
            texts, found = self._blacken_often(_whole(rows.column(name)))
            if any(of_rule is not None for of_rule in found):
                rows = _with(rows, name, texts)
                # A sender's name is that of the directory in every row, and counts once, where it is shown.
                if name != "sender_name":
                    counts = [
                        of_rule if more is None else pc.add(of_rule, more)
                        for of_rule, more in zip(counts, found, strict=True)
                    ]
        for place, of_rule in enumerate(counts):
            rows = rows.append_column(f"{MARK}{place}", of_rule)
            if of_rule is not nowhere:
                is_guessable = pc.or_(is_guessable, pc.greater(of_rule, 0))
        return rows.append_column(HAS_NO_DIGESTS, is_guessable)

    def _blacken(self, texts: pa.Array) -> tuple[pa.Array, list[pa.Array | None]]:
        """Return texts made black, and for each rule how often it found something in each, None if nowhere."""
        if texts.null_count == len(texts):
            return texts, [None for _ in self.rules]
        folded = _folded(texts)
        spellings = [rule.looked_for for rule in self.rules if isinstance(rule.looked_for, Spellings)]
        places = places_to_look(spellings, folded)
        suspects = list(zip(places, folded.take(pa.array(places, pa.int64())).to_pylist(), strict=True))
        found: list[pa.Array | None] = []
        for rule in self.rules:
            texts, counts = rule.apply(texts, suspects)
            found.append(counts)
        return texts, found

    def _blacken_often(self, texts: pa.Array) -> tuple[pa.Array, list[pa.Array | None]]:
        """Do the same for texts of which many may be the same, such as names: each different one once."""
        encoded = texts.dictionary_encode()
        if 2 * len(encoded.dictionary) > len(texts):
            return self._blacken(texts)
        black, found = self._blacken(encoded.dictionary)
        counts = [None if of_rule is None else pc.fill_null(of_rule.take(encoded.indices), 0) for of_rule in found]
        return black.take(encoded.indices), counts

    def leaves_out(self, rows: pa.Table) -> dict[str, int]:
        """Return by its name in the report how many rows have something that a redacted export leaves out."""
        return {f"{REDACTED}{name}": rows.num_rows - rows.column(name).null_count for name in _LEFT_OUT}

    def chats(self, rows: pa.Table) -> pa.Table:
        """Return rows in which no chat's id names who is hidden."""
        if not self.hidden:
            return rows
        chats = rows.column("chat_id").to_pylist()
        return _with(rows, "chat_id", pa.array([self.shown_chat(chat) for chat in chats], pa.string()))

    def true_chat(self, chat_id: str) -> str:
        """Return the id that a chat has in the archive."""
        return self._shown_chats.get(chat_id, chat_id)

    def shown(self, text: str) -> str:
        """Return a name or another text of its own with what is to be black."""
        if not self.is_active:
            return text
        black, _ = self._blacken(pa.array([text], pa.string()))
        return black[0].as_py() or ""

    def shown_chat(self, chat_id: str) -> str:
        """Return the id of a chat, in which nobody is named who is hidden."""
        parties = parties_of(chat_id)
        if parties is None or self.hidden.keys().isdisjoint(parties):
            return chat_id
        shown = ",".join(self.shown_id(party) for party in parties)
        self._shown_chats[shown] = chat_id
        return shown

    def asked(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was asked for as it may be shown: it may name whoever and whatever is black."""
        if not self.is_active:
            return dict(document)
        search = document["search"]
        return {
            **document,
            **{name: [self.shown(said) for said in document[name]] for name in ("custodians", "chats")},
            "search": None if search is None else self.shown(search),
        }

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

    def _shown_feeds(self, feeds: pa.ChunkedArray) -> pa.Array:
        """Return by whom or what rows were captured, which may be a user."""
        encoded = _whole(feeds).dictionary_encode()
        shown = [
            None if feed is None else self.hidden.get(feed) or self.shown(feed)
            for feed in encoded.dictionary.to_pylist()
        ]
        return pc.take(pa.array(shown, pa.string()), encoded.indices)


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
    )


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a redaction file, None if it cannot be read: reading it for what it says tells what is the matter."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _word_rules(document: Document) -> list[Rule]:
    rules = []
    for number, word in enumerate(_texts(document, "words")):
        spellings = Spellings([word])
        if not spellings:
            raise _mistake(document, ("words", number), "has nothing that can be seen")
        rules.append(Rule(f"word {number + 1}", spellings))
    return rules


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
        rules.append(Rule(called, Spellings(words)))
    return rules


def _known(directory: Directory, user_id: str) -> list[str]:
    about = directory.about(user_id)
    return [word for word in (*about.names, *about.emails) if len(fold(word).strip()) >= NAME_CHARACTERS_MIN]


def _nowhere(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(0, pa.int32()), rows)


def _by_regex(regex: str, texts: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Return texts with what a regular expression of RE2 finds made black, and how often it found it, None if nowhere."""
    counts = pc.fill_null(pc.count_substring_regex(texts, regex), 0)
    if not pc.any(pc.greater(counts, 0)).as_py():
        return texts, None
    return pc.replace_substring_regex(texts, regex, BLACK), counts


def _folded(texts: pa.Array) -> pa.Array:
    """Return texts folded as `fold` does it; those of ASCII alone, which are most in many languages, all at once."""
    folded = pc.ascii_lower(texts)
    others = pc.fill_null(pc.invert(pc.string_is_ascii(texts)), fill_value=False)
    if not others.true_count:
        return folded
    written = [fold(text) for text in texts.filter(others).to_pylist()]
    return pc.replace_with_mask(folded, others, pa.array(written, pa.string()))


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


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _mistake(document: Document, at: Location, reason: str) -> DocumentError:
    dotted = ".".join(map(str, at)) or "the file"
    return DocumentError(f"{document.place(at)}: {dotted}: {reason}", code="redaction", line=document.line(at))
