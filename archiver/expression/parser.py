"""Read a search expression: ``docs/search-expression.md`` is its grammar, and a mistake is told with its place.

    expression = all { OR all }
    all        = one { [AND] one }
    one        = NOT one | "(" expression ")" | term
    term       = word | word* | "phrase" | "phrase"* | "phrase"~N | filter:value

Whoever narrows a hold by mistake loses evidence, and whoever widens a rule by mistake loses messages. So what other search languages
read in another way than this one is refused with the way to write it here, and never silently taken for words.
"""

from __future__ import annotations

import difflib
import re
from typing import Final, NoReturn
from zoneinfo import ZoneInfo

from archiver.expression import fold
from archiver.expression.canonical import canonical_text
from archiver.expression.columns import columns_of
from archiver.expression.dialects import OPERATORS, QUOTE_IT, misread
from archiver.expression.errors import Code, ExpressionError
from archiver.expression.filters import FILTERS, ValueProblem, read_filter
from archiver.expression.lexer import Piece, pieces_of
from archiver.expression.nodes import (
    And,
    Expression,
    HasFile,
    Label,
    Mime,
    Near,
    Node,
    Not,
    Or,
    State,
    Words,
    terms_of,
)

EXPRESSION_CHARACTERS_MAX: Final = 4_096
# Of the tree, and of parentheses and NOT within each other.
DEPTH_MAX: Final = 32
# Words of all phrases, and filters.
TERMS_MAX: Final = 512
NEAR_PARTS_MAX: Final = 16
NEAR_OTHERS_MAX: Final = 1_000

_FILTER: Final = re.compile(r"([A-Za-z]+):(?!//)")
_DISTANCE: Final = re.compile(r"~([0-9]{0,9})\Z")


def parse_expression(text: str, *, zone: ZoneInfo) -> Expression:
    """Return what a search expression says; its days are days in ``zone``. Raises `ExpressionError`."""
    _refuse_length(text, text)
    reader = _Reader(text, zone=zone)
    root = reader.whole()
    terms = terms_of(root)
    canonical = canonical_text(root)
    if _depth(root) > DEPTH_MAX:
        reader.fail(f"this is nested deeper than {DEPTH_MAX} levels", code="E-LENGTH", position=0)
    if sum(_weight(term) for term in terms) > TERMS_MAX:
        reader.fail(f"these are more than {TERMS_MAX} words and filters", code="E-LENGTH", position=0)
    _refuse_length(text, canonical)
    return Expression(
        root=root,
        zone=zone,
        written=text,
        canonical=canonical,
        columns=columns_of(terms),
        needs_files=any(isinstance(term, (HasFile, Mime)) for term in terms),
        needs_missing=State("missing") in terms,
        needs_labels=any(isinstance(term, Label) for term in terms),
    )


def _refuse_length(text: str, written: str) -> None:
    if len(written) > EXPRESSION_CHARACTERS_MAX:
        raise ExpressionError(
            f"it is longer than {EXPRESSION_CHARACTERS_MAX} characters" + ("" if written is text else " written out"),
            code="E-LENGTH",
            text=text,
            position=min(len(text), EXPRESSION_CHARACTERS_MAX),
            next_step="make several searches, holds or rules of it",
        )


def _weight(term: Node) -> int:
    match term:
        case Words(words):
            return len(words)
        case Near(parts):
            return sum(map(len, parts))
        case _:
            return 1


def _depth(node: Node) -> int:
    match node:
        case Not(inner):
            return 1 + _depth(inner)
        case And(nodes) | Or(nodes):
            return 1 + max(map(_depth, nodes))
        case _:
            return 0


class _Reader:
    """Goes through the pieces of one expression from left to right."""

    def __init__(self, text: str, *, zone: ZoneInfo) -> None:
        self._text = text
        self._zone = zone
        self._pieces = pieces_of(text)
        self._next = 0
        self._open = 0

    def whole(self) -> Node:
        if not self._pieces:
            self.fail(
                "nothing is asked for", code="E-EMPTY", position=0, next_step="write a word, a phrase or a filter"
            )
        node = self._any()
        if piece := self._piece():
            self.fail("this parenthesis closes nothing", position=piece.start)
        return node

    def fail(self, problem: str, *, position: int, code: Code = "E-SYNTAX", next_step: str = "") -> NoReturn:
        raise ExpressionError(problem, code=code, text=self._text, position=position, next_step=next_step)

    def _piece(self) -> Piece | None:
        return self._pieces[self._next] if self._next < len(self._pieces) else None

    def _operator(self) -> str:
        piece = self._piece()
        return piece.value if piece and piece.kind == "bare" and piece.value in OPERATORS else ""

    def _any(self) -> Node:
        nodes = [self._all()]
        while self._operator() == "OR":
            self._next += 1
            nodes.append(self._all())
        return _joined(Or, nodes)

    def _all(self) -> Node:
        nodes = [self._one()]
        while (piece := self._piece()) and piece.kind != ")" and self._operator() != "OR":
            if self._operator() == "AND":
                self._next += 1
            nodes.append(self._one())
        return _joined(And, nodes)

    def _one(self) -> Node:
        piece = self._piece()
        if piece is None:
            before = self._pieces[-1]
            self.fail(f"something must follow {before.value}", position=before.start)
        operator = self._operator()
        if operator and operator != "NOT":
            self.fail(f"{operator} must stand between two terms", position=piece.start, next_step=QUOTE_IT)
        if piece.kind == ")":
            self.fail("something must stand before this parenthesis", position=piece.start)
        self._next += 1
        if not operator and piece.kind != "(":
            return self._term(piece)
        self._open += 1
        if self._open > DEPTH_MAX:
            self.fail(f"this is nested deeper than {DEPTH_MAX} levels", code="E-LENGTH", position=piece.start)
        node = Not(self._one()) if operator else self._group(piece)
        self._open -= 1
        return node

    def _group(self, opening: Piece) -> Node:
        if self._piece() is None:
            self.fail("nothing closes this parenthesis", position=opening.start)
        node = self._any()
        if self._piece() is None:
            self.fail("nothing closes this parenthesis", position=opening.start)
        self._next += 1
        return node

    def _term(self, piece: Piece) -> Node:
        if piece.kind == "quoted":
            return self._phrase(piece)
        if found := _FILTER.match(piece.value):
            return self._filter(piece, name=found[1].lower(), value=piece.value[found.end() :])
        if (after := self._piece()) and piece.touches and after.kind == "quoted":
            self.fail("a space is missing before this quote", position=after.start)
        self._refuse_other_dialects(piece)
        text = piece.value.removesuffix("*")
        found_words = fold.words(text)
        if not found_words:
            self.fail(
                f"there is no word in {piece.value}",
                code="E-WORD",
                position=piece.start,
                next_step="only letters, digits, symbols and emoji are found; NOT, AND and OR are written in capitals",
            )
        return _words(found_words, is_prefix=text != piece.value)

    def _refuse_other_dialects(self, piece: Piece) -> None:
        if found := misread(piece.value):
            self.fail(found.problem, code="E-WORD", position=piece.start + found.at, next_step=found.next_step)

    def _phrase(self, piece: Piece) -> Node:
        suffix = self._suffix(piece)
        if suffix.startswith("~"):
            return self._near(piece, suffix=suffix)
        if found := re.search(r"\w\*", piece.value):
            self.fail(
                "a star inside a phrase leaves no word open",
                code="E-WORD",
                position=piece.start + 1 + found.start() + 1,
                next_step='leave the last word open behind the quote: "merger pri"*',
            )
        found_words = fold.words(piece.value)
        if not found_words:
            self.fail("there is no word in this phrase", code="E-WORD", position=piece.start)
        return _words(found_words, is_prefix=suffix == "*")

    def _suffix(self, piece: Piece) -> str:
        """Take and return what stands right behind a phrase: a star, a distance, or nothing."""
        after = self._piece()
        if after is None or not piece.touches or after.kind in ("(", ")"):
            return ""
        if after.kind != "bare" or not (after.value == "*" or _DISTANCE.match(after.value)):
            self.fail("a space is missing behind this phrase", position=after.start)
        self._next += 1
        return after.value

    def _near(self, piece: Piece, *, suffix: str) -> Node:
        position = piece.end
        if suffix == "~":
            self.fail('say how many words may stand between, as in "merger price"~5', code="E-WORD", position=position)
        others_max = int(suffix[1:])
        if others_max > NEAR_OTHERS_MAX:
            self.fail(f"a distance is at most {NEAR_OTHERS_MAX} words", code="E-WORD", position=position)
        # Each once and in order, so that what means the same is written the same.
        parts = sorted({tuple(found) for part in piece.value.split() if (found := fold.words(part))})
        if not 1 < len(parts) <= NEAR_PARTS_MAX:
            self.fail(
                f"a distance is between two to {NEAR_PARTS_MAX} different words",
                code="E-WORD",
                position=piece.start,
                next_step='write them with spaces between, as in "merger price"~5',
            )
        return Near(tuple(parts), others_max)

    def _filter(self, piece: Piece, *, name: str, value: str) -> Node:
        position = piece.start + len(name) + 1
        if name not in FILTERS:
            near = difflib.get_close_matches(name, FILTERS, n=1)
            self.fail(
                f"there is no filter {name}:",
                code="E-FILTER",
                position=piece.start,
                next_step=(f"did you mean {near[0]}: ? " if near else "")
                + f"the filters are {', '.join(f'{known}:' for known in FILTERS)}; {QUOTE_IT}",
            )
        after = self._piece()
        if not value and piece.touches and after and after.kind == "quoted":
            self._next += 1
            value = after.value
            if after.touches and (behind := self._piece()) and behind.kind in ("bare", "quoted"):
                self.fail("a space is missing before this", position=behind.start)
        elif not value and piece.touches and after and after.kind == "(":
            self.fail(f"{name}: takes one value", position=after.start, next_step=f"write ({name}:one OR {name}:other)")
        elif value and piece.touches and after and after.kind == "quoted":
            self.fail("a space is missing before this quote", position=after.start)
        try:
            return read_filter(name, value)
        except ValueProblem as problem:
            self.fail(str(problem), code="E-VALUE", position=position, next_step=problem.next_step)


def _words(found: list[str], *, is_prefix: bool) -> Words:
    """Return the term for words; one that stands alone is found inside a row of its kind as it is, so it cannot be open."""
    return Words(tuple(found), is_prefix and not fold.stands_alone(found[-1]))


def _joined(kind: type[And | Or], nodes: list[Node]) -> Node:
    """Return the nodes as one; what is of the same kind already is taken in, for parentheses change nothing there."""
    if len(nodes) == 1:
        return nodes[0]
    flat: list[Node] = []
    for node in nodes:
        flat += node.nodes if isinstance(node, kind) else (node,)
    return kind(tuple(flat))
