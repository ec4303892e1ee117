"""Folding: what reads the same is the same, and nothing else."""

from __future__ import annotations

import sys
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.expression import fold

# What is not assigned or private is a symbol, one like the other.
EVERY_CHARACTER = [
    chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")
]
# Few characters of many kinds, so that they meet: accents, voicing, joiners, half width, ligatures, syllables, marks in several orders.
ODD = st.text(
    st.sampled_from(
        "aZéßﬁ ,_-½ⅷǅͅ\u0301\u0323\u093c\u094d\u0915か\u3099がｶﾞ会議한국\u1112\u1161\u11ab👩\u200d💻🏽❤\ufe0fสำ1\u20e3°℃㈱㌔\xad"
    ),
    max_size=12,
)
TEXTS = st.one_of(ODD, st.text(max_size=12))


def shown(text: str) -> list[str]:
    return [fold.shown(word) for word in fold.words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World", ["hello", "world"]),
        ("don't e-mail snake_case", ["don", "t", "e", "mail", "snake", "case"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("naïve Ångström", ["naive", "angstrom"]),
        ("ＡＢＣ１２３", ["abc123"]),
        ("ﬁne", ["fine"]),
        ("ΣΊΣΥΦΟΣ σίσυφος", ["σισυφοσ", "σισυφοσ"]),
        ("会議室A3号", ["会", "議", "室", "a3", "号"]),
        ("ガイド ｶﾞｲﾄﾞ", ["ガ", "イ", "ド", "ガ", "イ", "ド"]),
        ("か が", ["か", "が"]),
        ("회사가", ["회", "사", "가"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("שָׁלוֹם", ["שלום"]),
        ("👩‍💻 👍🏽 ❤️", ["👩", "💻", "👍", "🏽", "❤"]),
        ("sof\xadt zero\u200bwidth", ["soft", "zerowidth"]),
        ("wait‼", ["wait", "‼"]),
        ("A→B + C", ["a", "b", "c"]),
        ("...", []),
    ],
)
def test_a_text_is_cut_into_folded_words(text: str, expected: list[str]) -> None:
    assert shown(text) == [unicodedata.normalize("NFC", word) for word in expected]


def test_folding_any_character_twice_changes_nothing() -> None:
    folded = [fold.fold(character) for character in EVERY_CHARACTER]
    assert not [once for once in folded if fold.fold(once) != once]


@given(TEXTS)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold.fold(fold.fold(text)) == fold.fold(text)
    assert fold.words(fold.fold(text)) == fold.words(text)


@given(TEXTS, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_form_in_which_a_text_is_encoded_does_not_count(text: str, form: str) -> None:
    if "\u203c" not in text and "\u2049" not in text:
        assert fold.words(unicodedata.normalize(form, text)) == fold.words(text)


@given(ODD)
def test_case_does_not_count(text: str) -> None:
    # Greek's iota below a letter is an accent here, and a letter of its own in capitals.
    text = unicodedata.normalize("NFD", text).replace("\u0345", "")
    assert fold.words(text.casefold()) == fold.words(text.upper()) == fold.words(text)


@given(TEXTS, TEXTS)
def test_texts_that_are_told_apart_by_a_space_are_cut_by_themselves(one: str, other: str) -> None:
    assert fold.words(f"{one} {other}") == fold.words(one) + fold.words(other)


@given(TEXTS)
def test_each_word_knows_the_characters_that_it_is_written_with(text: str) -> None:
    located = list(fold.located_words(text))
    assert [word.folded for word in located] == fold.words(text)
    assert all(before.start <= word.start for before, word in pairwise(located))
    for word in located:
        assert 0 <= word.start < word.end <= len(text)
        # A character that becomes several words is all of each of them.
        assert f" {word.folded} " in fold.sequence(text[word.start : word.end])


@given(TEXTS)
def test_what_is_shown_is_the_same_word(text: str) -> None:
    for word in fold.words(text):
        assert fold.words(fold.shown(word)) == [word]


def test_a_row_of_marks_is_put_in_order_in_time_that_grows_with_its_length() -> None:
    def took(count: int) -> float:
        start = time.process_time()
        assert fold.words("\u0915" + "\u094d\u093c" * count) == fold.words(
            "\u0915" + "\u093c" * count + "\u094d" * count
        )
        assert fold.fold("\u094d\u093c" * count) == "\u093c" * count + "\u094d" * count
        return time.process_time() - start

    took(10)
    assert took(200_000) < max(2.0, 40 * took(20_000))


def test_a_text_of_all_characters_does_not_fill_the_memory() -> None:
    assert fold.words("".join(EVERY_CHARACTER))
    assert len(fold._MARKED) <= fold.REMEMBERED_CHARACTERS_MAX


@pytest.mark.parametrize("text", ["a{}b", "会{}a", "か{}゙", "{0}{0}", "は{}会"])
def test_the_quickest_way_to_cut_a_text_finds_the_words_that_stand_in_it(text: str) -> None:
    """Whatever stands between letters, ideographs and marks."""
    wrong = [
        hex(ord(character))
        for character in EVERY_CHARACTER[::41]
        if fold.spaced(text.format(character)).split()
        != [word.folded for word in fold.located_words(text.format(character))]
    ]
    assert not wrong
