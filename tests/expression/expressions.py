"""Expressions and texts that the tests of search expressions draw, and a plain reading of what an expression means."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from archiver.expression import Expression, fold, parse_expression
from archiver.expression.nodes import (
    And,
    Chat,
    Days,
    HasFile,
    Kind,
    Label,
    Mime,
    Near,
    Node,
    Not,
    Or,
    Person,
    State,
    Words,
)

BERLIN = ZoneInfo("Europe/Berlin")

# Words that meet each other folded, and such as are one character, or part of one, of several words or letters.
WORDS = ["merger", "MÉRGER", "price", "ｐｒｉｃｅ", "mergers", "a", "strasse", "Straße", "fi", "ﬁ", "m2", "㎡", "会議", "議会", "会", "ガ", "ｶﾞ", "カ",
         "か", "が", "한국", "한", "하", "キロ", "㌔", "株", "㈱", "1", "½", "①", "👍", "👍🏽", "❤️", "สำ", "สํ", "हिन्दी", "and", "w5"]  # fmt: skip
GLUE = [" ", ", ", "\n", "-", "", "\u200b", "、"]
TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GLUE)), max_size=7).map(
    lambda pairs: "".join(word + glue for word, glue in pairs)
)
PHRASES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
DAYS = ["2026-02-28", "2026-03", "2026-03-01", "2026", "2026-10-25", "2025-12-31"]
FILTERS = st.one_of(
    st.sampled_from(
        [
            "from:u:ann",
            "from:ann",
            'from:"ann lee"',
            "from:*@acme.example",
            "from:Éva",
            "to:u:bob",
            "to:bob@acme.example",
            "to:ann",
            "in:general",
            "in:g:1",
            "in:*eral",
            "in:#Allgemein",
            "has:file",
            "mime:image/*",
            "mime:application/PDF",
            "is:edited",
            "is:missing",
            "type:channel",
            "type:direct",
            "type:app",
            "type:person",
            "label:contract",
            "label:c*",
        ]
    ),
    st.builds("{}:{}".format, st.sampled_from(["before", "after", "on"]), st.sampled_from(DAYS)),
)
TERMS = st.one_of(
    st.sampled_from([word if word != "and" else '"and"' for word in WORDS]),
    st.sampled_from(["merg*", "m*", "会*", "pric*", "ss*", "f*"]),
    PHRASES.map('"{}"'.format),
    PHRASES.map('"{}"*'.format),
    st.builds('"{} {}"~{}'.format, st.sampled_from(WORDS[:4]), st.sampled_from(WORDS[12:20]), st.integers(0, 6)),
    st.integers(0, 6).map('"会議 price 한국"~{}'.format),
    FILTERS,
)
EXPRESSIONS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds("{} {}".format, inner, inner),
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        inner.map("NOT {}".format),
        inner.map("NOT ({})".format),
    ),
    max_leaves=6,
)


def parsed(text: str) -> Expression:
    return parse_expression(text, zone=BERLIN)


def is_true(node: Node, message: dict[str, Any]) -> bool:
    """Say whether a node is true of one row, whose facts stand beside its columns, as docs/search-expression.md reads."""
    match node:
        case Not(inner):
            return not is_true(inner, message)
        case And(nodes):
            return all(is_true(inner, message) for inner in nodes)
        case Or(nodes):
            return any(is_true(inner, message) for inner in nodes)
        case Words() | Near():
            return any(is_said(node, fold.words(text)) for text in message["texts"])
        case _:
            return _is(node, message)


def is_said(term: Words | Near, words: list[str]) -> bool:
    match term:
        case Words(wanted, is_prefix):
            for first in range(len(words) - len(wanted) + 1):
                *whole, last = words[first : first + len(wanted)]
                if whole == list(wanted[:-1]) and (last.startswith(wanted[-1]) if is_prefix else last == wanted[-1]):
                    return True
            return False
        case Near(parts, others_max):
            length_max = others_max + sum(map(len, parts))
            places = [list(_places(part, words)) for part in parts]
            return any(
                max(end for _, end in chosen) - min(start for start, _ in chosen) <= length_max
                for chosen in product(*places)
            )


def _places(part: tuple[str, ...], words: list[str]) -> Iterator[tuple[int, int]]:
    for first in range(len(words) - len(part) + 1):
        if tuple(words[first : first + len(part)]) == part:
            yield first, first + len(part)


def _is(node: Node, message: dict[str, Any]) -> bool:
    match node:
        case Person("from", pattern):
            return pattern in PEOPLE_MEANT and message["sender_id"] in PEOPLE_MEANT[pattern]
        case Person("to", pattern):
            meant = PEOPLE_MEANT[pattern]
            chat = message["chat_id"]
            others = [] if chat.startswith("g:") else chat.split(",")
            if message["sender_id"] in others:
                others.remove(message["sender_id"])
            return bool(meant & {*others, *(message["visible_to"] or [])})
        case Chat(pattern):
            return message["chat_id"] in CHATS_MEANT[pattern]
        case Days(relation, first, last):
            day = datetime.fromtimestamp(message["sent_at"].timestamp(), BERLIN).date()
            return {"before": day < first, "after": day > last, "on": first <= day <= last}[relation]
        case HasFile():
            return bool(message["mimes"])
        case Mime(pattern):
            return bool(
                {"image/*": {"image/png"}, "application/PDF": {"application/pdf"}}[pattern] & set(message["mimes"])
            )
        case State(state):
            return message["is_" + state]
        case Kind(kind):
            by_app = message["app_id"] is not None or message["sender_id"].startswith(("u:B", "b:"))
            return {"app": by_app, "person": not by_app}.get(kind, message["chat_kind"] == kind)
        case Label():
            return message["is_contract"]
    raise AssertionError(node)


# Whom and which chat the patterns above mean, in the directory below.
PEOPLE = {
    "u:ann": (["Ann Lee", "Éva Lee"], ["ann@acme.example"]),
    "u:bob": (["Bob"], ["Bob@Acme.example"]),
    "u:Bot": (["Announcer"], []),
}
CHATS = {"g:1": ["General", "Früher"], "g:2": ["allgemein"]}
PEOPLE_MEANT = {"u:ann": {"u:ann"}, "ann": {"u:ann"}, "ann lee": {"u:ann"}, "*@acme.example": {"u:ann", "u:bob"}, "Éva": {"u:ann"},
                "u:bob": {"u:bob"}, "bob@acme.example": {"u:bob"}}  # fmt: skip
CHATS_MEANT = {"general": {"g:1"}, "g:1": {"g:1"}, "*eral": {"g:1"}, "Allgemein": {"g:2"}}
