"""An expression is read as the documents say, or refused with the place of the mistake."""

from __future__ import annotations

import re
import time
from datetime import date
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.errors import EXIT_USAGE
from archiver.expression import Expression, ExpressionError, Hit, fold, hits_in, parse_expression
from archiver.expression.filters import FILTERS
from archiver.expression.nodes import And, Days, Near, Not, Or, Person, Words
from archiver.expression.parser import DEPTH_MAX, EXPRESSION_CHARACTERS_MAX, TERMS_MAX
from tests.expression.expressions import EXPRESSIONS, TEXTS, is_true, parsed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "search-expression.md").read_text("utf-8")


def table_below(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the page, as cells."""
    lines = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows if not set(row[0]) <= {"-"}][1:]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


@pytest.mark.parametrize(("written", "found", "not_found"), table_below("Words"))
def test_the_page_says_what_is_found(written: str, found: str, not_found: str) -> None:
    root = parsed(quoted(written)[0]).root
    assert quoted(found)
    assert quoted(not_found)
    assert all(is_true(root, {"texts": [text]}) for text in quoted(found))
    assert not any(is_true(root, {"texts": [text]}) for text in quoted(not_found))


def test_the_page_lists_every_filter() -> None:
    examples = [example for written, _ in table_below("Filters") for example in quoted(written)]
    assert [parsed(example).canonical for example in examples]
    assert {example.partition(":")[0] for example in examples} == set(FILTERS)


@pytest.mark.parametrize(("written", "code", "character", "reason"), table_below("Mistakes"))
def test_the_page_says_what_is_refused_and_where(written: str, code: str, character: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parsed(quoted(written)[0])
    assert (caught.value.code, caught.value.position + 1) == (quoted(code)[0], int(character)), reason
    assert caught.value.exit_code == EXIT_USAGE


def test_the_page_shows_a_mistake_as_it_is_told() -> None:
    with pytest.raises(ExpressionError) as caught:
        parsed("merger -draft")
    assert f"```text\n{caught.value}\n```" in PAGE


def test_the_page_names_the_limits() -> None:
    assert (
        f"at most {EXPRESSION_CHARACTERS_MAX} characters, {TERMS_MAX} words and filters, and {DEPTH_MAX} levels" in PAGE
    )


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Merger  PRICE", "merger AND price"),
        ("a OR b c", "a OR (b AND c)"),
        ("(a OR b) c", "(a OR b) AND c"),
        ("a (b (c d))", "a AND b AND c AND d"),
        ("NOT NOT (a OR b)", "NOT NOT (a OR b)"),
        ("“Price list”", '"price list"'),
        ("（会議　OR　議事録＊）", '"会議" OR "議事録"'),
        ("e-mail", '"e mail"'),
        ('"AND"', '"and"'),
        ('"price merger price"~3', '"merger price"~3'),
        ('"e-mail 会議"~2', '"会議 e-mail"~2'),
        ("from:@alice", "from:alice"),
        ('from:"Ann Lee"', 'from:"Ann Lee"'),
        ('in:"#a \\" b"', 'in:"a \\" b"'),
        (r'label:"a b\\"', r'label:"a b\\"'),
        ("FROM:Alice Is:Edited", "from:Alice AND is:edited"),
        ("https://example.org/a", '"https example org a"'),
        ("10:30", '"10 30"'),
        ("merger(price)", "merger AND price"),
        ("'merger'", "merger"),
        ('"contract!" won\'t', 'contract AND "won t"'),
        ("ありがとう!", '"ありがとう"'),
    ],
)
def test_an_expression_has_one_form(text: str, canonical: str) -> None:
    assert parsed(text).canonical == canonical


@settings(max_examples=100)
@given(EXPRESSIONS)
def test_its_one_form_says_the_same(text: str) -> None:
    expression = parsed(text)
    again = parsed(expression.canonical)
    assert again == expression
    assert again.canonical == expression.canonical


# Anything a person could type, with what the grammar is made of, and with characters that fold to something odd.
TYPED = st.lists(
    st.one_of(
        st.sampled_from(
            [
                '"',
                "(",
                ")",
                "*",
                "~3",
                "\\",
                "AND ",
                "OR ",
                "NOT ",
                "from:",
                "in:",
                "label:",
                "on:2026",
                " ",
                "“",
                "-",
                "!",
                "_",
                "#",
                "＊",
            ]
        ),
        st.text(max_size=3),
        st.sampled_from("゙ſﬁ㌀½\u0345\u20e3‼\ud800"),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=150)
@given(TYPED)
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    try:
        expression = parsed(text)
    except ExpressionError as error:
        refused = error
    else:
        assert parsed(expression.canonical) == expression
        return
    assert 0 <= refused.position <= len(text)
    assert str(refused).splitlines()[2].endswith("^")


def test_another_zone_is_another_expression() -> None:
    assert parsed("on:2026-03-01") != parse_expression("on:2026-03-01", zone=ZoneInfo("UTC"))


def test_operators_bind_as_the_page_says() -> None:
    assert parsed("a OR b NOT c").root == Or((Words(("a",)), And((Words(("b",)), Not(Words(("c",)))))))
    assert parsed('"b a"~2').root == Near((("a",), ("b",)), 2)
    assert parsed('from:"Ann  Lee"').root == Person("from", "Ann  Lee")


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2023-02", date(2023, 2, 1), date(2023, 2, 28)),
        ("2024", date(2024, 1, 1), date(2024, 12, 31)),
        ("2024-02-29", date(2024, 2, 29), date(2024, 2, 29)),
    ],
)
def test_a_month_and_a_year_are_all_their_days(written: str, first: date, last: date) -> None:
    assert parsed(f"on:{written}").root == Days("on", first, last, written)


def test_it_says_which_columns_and_facts_it_needs() -> None:
    expression = parsed("from:ann has:file is:edited")
    assert expression.columns == ("chat_id", "message_uid", "sender_id", "sender_name", "version")
    assert (expression.needs_files, expression.needs_missing, expression.needs_labels) == (True, False, False)
    assert (parsed("is:missing").needs_missing, parsed("NOT label:x").needs_labels) == (True, True)
    assert "plain_text" in parsed("merger").columns
    assert parsed("label:x").columns == ("chat_id", "message_uid")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a " * 5_000, "longer than"),
        ("a " * (TERMS_MAX + 1), "words and filters"),
        ("(" * 100 + "a" + ")" * 100, "nested deeper"),
        ("NOT " * 100 + "a", "nested deeper"),
        ("(a OR (b " * 17 + "c" + "))" * 17, "nested deeper"),
        ("ﬃ" * 1_400, "written out"),
        ('"a b"~1001', "at most"),
        ("from:" + "x" * 300, "characters long"),
        ("from:alice, OR from:bob", "ends with ,"),
        ("frmo:alice", "no filter frmo:"),
        ("on:1969", "1970"),
        ("is:edit", "means nothing"),
        ('"a"b', "space is missing"),
        ('from:"a"b', "space is missing"),
        ("from:(a OR b)", "one value"),
        ('"merger pri*"', "no word open"),
    ],
)
def test_a_limit_or_a_trap_is_told(text: str, part: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(part)):
        parsed(text)


def test_the_caret_stands_below_wide_characters_and_controls() -> None:
    with pytest.raises(ExpressionError) as caught:
        parsed("会議\x1b -x")
    assert str(caught.value).splitlines()[1:3] == ["  会議\N{REPLACEMENT CHARACTER} -x", "       " + " " + "^"]


@pytest.mark.parametrize(
    "text",
    [
        '"' * 4_000,
        "(" * 4_000,
        "a OR " * 800,
        "NOT " * 1_000,
        "from:" * 800,
        "\\" * 4_000,
        '"' + "a*" * 1_900,
        "*" * 4_000,
    ],
)
def test_a_hostile_expression_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ExpressionError):
        parsed(text)
    assert time.process_time() - start < 1


def hits(expression: Expression, text: str) -> list[str]:
    return [text[hit.start : hit.end] for hit in hits_in(expression, text)]


@pytest.mark.parametrize(
    ("text", "said", "expected"),
    [
        ("merger OR price", "The Mérger's PRICE", ["Mérger", "PRICE"]),
        ('"merger price"', "merger, price and merger", ["merger, price"]),
        ("会議", "明日の会議室で会議", ["会議", "会議"]),
        ("merg* NOT draft", "draft mergers", ["mergers"]),
        ("NOT (draft NOT merger)", "draft merger", ["merger"]),
        ('"merger price"~1', "price a b merger of price", ["merger", "price"]),
        ("👍", "ok👍🏽!", ["👍"]),
        ("ガ", "ｶﾞイド", ["ｶﾞ"]),
        ("cafe", "a cafe\u0301 x", ["cafe\u0301"]),
        ('merger OR "merger price"', "merger price", ["merger price"]),
        ("from:ann", "ann", []),
        ("会 OR 議", "会議、会", ["会議", "会"]),
    ],
)
def test_hits_are_the_words_that_are_asked_for(text: str, said: str, expected: list[str]) -> None:
    assert hits(parsed(text), said) == expected


@given(EXPRESSIONS, TEXTS)
def test_hits_are_in_order_apart_and_hold_a_word(text: str, said: str) -> None:
    found = hits_in(parsed(text), said)
    assert all(0 <= hit.start < hit.end <= len(said) and fold.words(said[hit.start : hit.end]) for hit in found)
    assert all(before.end < hit.start for before, hit in pairwise(found))
    assert all(isinstance(hit, Hit) for hit in found)
