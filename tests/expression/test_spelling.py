"""Every way to write a text is found by its spelling, and little else."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.expression import fold
from archiver.expression.spelling import Spellings, places_to_look
from tests.expression.expressions import WORDS

BLACK = "█"


def blackened(text: str, asked: str) -> str:
    found = Spellings([asked])
    shown, count = found.replaced(text, BLACK)
    assert shown.count(BLACK) == count
    assert not count or found.may_be_in(fold.fold(text))
    assert not count or places_to_look([Spellings(["elsewhere"]), found], pa.array(["", fold.fold(text)])) == [1]
    return shown


@pytest.mark.parametrize(
    ("asked", "text", "shown"),
    [
        ("merger", "the MERGER, mergers", "the █, █s"),
        ("merger", "ＭＥＲＧＥＲ mérger me\u0301rger", "█ █ █"),
        ("merger", "me\u200brg\u00ader m㋍er", "█ █"),
        ("mérger", "merger", "█"),
        ("merger", "mer ger, merge", "mer ger, merge"),
        ("Straße", "STRASSE ſtraße strase", "█ █ strase"),
        ("final", "ﬁnal fnal", "█ fnal"),
        ("Projekt Falke", "projekt-falke Projekt\u3000\u00a0FALKE", "█ █"),
        ("Projekt Falke", "Projekt und Falke", "Projekt und Falke"),
        ("ガイド", "ｶﾞｲﾄﾞ カ\u3099イド カイト", "█ █ カイト"),
        ("한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8 하국", "█ 하국"),
        ("محمد", "مُحَمَّد", "█"),
        ("C++", "C++ C", "█ C"),
        ("a@b.com", "A@B.COM a@bxcom", "█ a@bxcom"),
        ("f" * 40, "ﬀ" * 20, "ﬀ" * 20),  # such a row is looked for letter by letter
        ("f" * 40, "F" * 40, "█"),
    ],
)
def test_it_is_found_however_it_is_written(asked: str, text: str, shown: str) -> None:
    assert blackened(text, asked) == shown


@settings(max_examples=40)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join), st.sampled_from(WORDS))
def test_what_folds_to_the_same_is_found(asked: str, around: str) -> None:
    for written in (asked, asked.upper(), fold.fold(asked)):
        if fold.fold(written) == fold.fold(asked):
            assert blackened(f"{around} {written}.", asked).count(BLACK) >= 1, written


def test_what_cannot_be_seen_has_no_spelling() -> None:
    nothing = Spellings(["\u200b \u0301"])
    assert not nothing
    assert nothing.replaced("x", BLACK) == ("x", 0)
