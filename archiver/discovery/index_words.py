"""What the index holds of a row: the words of its texts, folded by our own code, and a few facts by which rows are told apart.

A document of the index is one row of ``messages``, or one of ``observations`` that tells whether Flock returned a message. It has no
text of its own beside its words; where the row lies (data object and row number) and when it was sent are numbers. The words of one row
stand in one sequence with `TEXTS_APART` between two texts, which no text contains, so that no phrase goes from one into the other.

Facts are terms of one letter and a value: ``c`` chat, ``s`` sender, ``n`` name of the sender, ``u`` uid, ``o`` uid that an observation
is about, ``f`` a flag below.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import tantivy

from archiver.expression import attached, fold
from archiver.expression.columns import TEXT_COLUMNS
from archiver.ids import is_bot

# Raised whenever what is indexed, or how, changes; an index of another number is thrown away.
INDEX_VERSION: Final = 2

# Tantivy leaves out what is longer than 65,530 bytes, and nobody looks for a word by more than its beginning.
WORD_CHARACTERS_MAX: Final = 256
VALUE_CHARACTERS_MAX: Final = 1_024

WORDS: Final = "words"
FACTS: Final = "facts"
OBJECT: Final = "object"
ROW: Final = "row"
AT_MS: Final = "at_ms"

CHAT, SENDER, NAME, UID, OBSERVED_UID, FLAG = "csnuof"

# Flags: every row of messages; not the first row of its message; of an app or bot; in a channel; one to one; shown to few; a row of which
# a value is too long to be a term, so that it is looked at in every search.
MESSAGE, LATER, APP, CHANNEL, DIRECT, LIMITED, ODD = "mlacdvx"

MESSAGE_COLUMNS: Final = (
    *("chat_id", "chat_kind", "message_uid", "version", "supersedes", "sent_at", "sender_id", "sender_name", "app_id"),
    *("visible_to", *TEXT_COLUMNS),
)
OBSERVATION_COLUMNS: Final = ("message_uid", "observed_at", "outcome")
# What tells whether Flock returned a message when it was asked for it.
RETURNED, NOT_RETURNED = "returned", "not_returned"

TEXTS_APART: Final = " \x03 "
_TOKENIZER: Final = "by_white_space"
# Tantivy cuts at these; in a value each stands as two characters.
_ESCAPES: Final = str.maketrans(
    {" ": "\x1fs", "\t": "\x1ft", "\n": "\x1fn", "\r": "\x1fr", "\f": "\x1ff", "\x1f": "\x1fu"}
)
_ESCAPED: Final = {escaped: chr(code) for code, escaped in _ESCAPES.items()}


def schema() -> tantivy.Schema:
    """Return the fields of the index."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(WORDS, tokenizer_name=_TOKENIZER, index_option="position")
    builder.add_text_field(FACTS, tokenizer_name=_TOKENIZER, index_option="basic")
    builder.add_integer_field(OBJECT, fast=True)
    builder.add_integer_field(ROW, fast=True)
    builder.add_integer_field(AT_MS, fast=True)
    return builder.build()


def register_tokenizer(index: tantivy.Index) -> None:
    """Give an index the tokenizer that its schema names: it cuts at white space and changes nothing."""
    index.register_tokenizer(_TOKENIZER, tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())


def term(kind: str, value: str) -> str:
    """Return the term of a fact."""
    return kind + value.translate(_ESCAPES)


def value_of(written: str) -> str:
    """Return the value of a term of a fact."""
    value = written[1:]
    if "\x1f" not in value:
        return value
    first, *others = value.split("\x1f")
    return first + "".join(_ESCAPED["\x1f" + part[:1]] + part[1:] for part in others)


def kept_word(word: str) -> str:
    """Return as much of a folded word as the index has of it."""
    return word[:WORD_CHARACTERS_MAX]


class Documents:
    """Makes documents of rows; it remembers the terms of what few rows differ in, so keep one for a whole index."""

    def __init__(self) -> None:
        self._terms: dict[tuple[str, str], str] = {}

    def of_messages(
        self, rows: pa.RecordBatch, *, ordinal: int, first_row: int
    ) -> Iterator[tuple[tantivy.Document, bool]]:
        """Yield a document for each row of ``messages``, and whether it is an odd one.

        ``ordinal`` is the number of the data object within the index, ``first_row`` that of the first of these rows in it.
        """
        columns = {name: rows.column(name) for name in MESSAGE_COLUMNS}
        at_ms = pc.cast(columns.pop("sent_at"), pa.int64()).to_pylist()
        visible = pc.is_valid(columns.pop("visible_to")).to_pylist()
        values = {name: column.to_pylist() for name, column in columns.items()}
        texts = zip(*(values[name] for name in TEXT_COLUMNS), strict=True)
        told = zip(
            *(values[name] for name in MESSAGE_COLUMNS if name in values and name not in TEXT_COLUMNS), strict=True
        )
        for number, (said, facts, is_limited, sent_ms) in enumerate(
            zip(texts, told, visible, at_ms, strict=True), first_row
        ):
            terms, is_odd = self._facts(*facts, is_limited=is_limited)
            yield _document(_words(*said), terms, ordinal=ordinal, row=number, at_ms=sent_ms), is_odd

    def of_observations(self, rows: pa.RecordBatch, *, ordinal: int, first_row: int) -> Iterator[tantivy.Document]:
        """Yield a document for each row of ``observations`` that tells whether a message came back."""
        at_ms = pc.cast(rows.column("observed_at"), pa.int64()).to_pylist()
        uids, outcomes = rows.column("message_uid").to_pylist(), rows.column("outcome").to_pylist()
        for number, (uid, outcome, seen_ms) in enumerate(zip(uids, outcomes, at_ms, strict=True), first_row):
            if uid is not None and outcome in (RETURNED, NOT_RETURNED):
                terms = term(OBSERVED_UID, uid[:VALUE_CHARACTERS_MAX])
                yield _document("", terms, ordinal=ordinal, row=number, at_ms=seen_ms)

    def _facts(  # noqa: PLR0917 - the columns in their order
        self,
        chat_id: str,
        chat_kind: str,
        uid: str,
        version: int,
        supersedes: str | None,
        sender_id: str,
        sender_name: str | None,
        app_id: str | None,
        *,
        is_limited: bool,
    ) -> tuple[str, bool]:
        """Return the terms of a row's facts, and whether one is too long to be one."""
        flags = MESSAGE
        if version > 1 or supersedes is not None:
            flags += LATER
        if app_id is not None or is_bot(sender_id):
            flags += APP
        flags += {"channel": CHANNEL, "direct": DIRECT}.get(chat_kind, "")
        if is_limited:
            flags += LIMITED
        named = [(CHAT, chat_id), (SENDER, sender_id)]
        if sender_name is not None:
            named.append((NAME, sender_name))
        is_odd = any(len(value) > VALUE_CHARACTERS_MAX for _, value in named)
        if is_odd:
            flags += ODD
        terms = [self._remembered(kind, value) for kind, value in named if len(value) <= VALUE_CHARACTERS_MAX]
        return " ".join((*terms, term(UID, uid[:VALUE_CHARACTERS_MAX]), *(FLAG + flag for flag in flags))), is_odd

    def _remembered(self, kind: str, value: str) -> str:
        key = (kind, value)
        if key not in self._terms:
            self._terms[key] = term(kind, value)
        return self._terms[key]


def _document(words: str, facts: str, *, ordinal: int, row: int, at_ms: int) -> tantivy.Document:
    document = tantivy.Document()
    if words:
        document.add_text(WORDS, words)
    document.add_text(FACTS, facts)
    document.add_integer(OBJECT, ordinal)
    document.add_integer(ROW, row)
    document.add_integer(AT_MS, at_ms)
    return document


def _words(plain_text: str | None, text: str | None, notification: str | None, attachments: str | None) -> str:
    """Return the words of a row's texts; most messages show what they say, and that is taken once."""
    texts = [] if plain_text is None else [plain_text]
    if text is not None and text != plain_text:
        texts.append(text)
    if notification is not None:
        texts.append(notification)
    if attachments is not None:
        texts += attached.texts_of(attachments)
    return TEXTS_APART.join(map(_spaced, texts))


def _spaced(text: str) -> str:
    spaced = fold.spaced(text)
    if len(spaced) > WORD_CHARACTERS_MAX and max(map(len, found := spaced.split()), default=0) > WORD_CHARACTERS_MAX:
        return " ".join(map(kept_word, found))
    return spaced


def number(value: Any) -> int:
    """Return a number of a document, none of which is ever absent."""
    assert isinstance(value, int)
    return value
