"""What a check must remember lies on disk: names that may come once, and counts that must meet, whatever their letters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.discovery.checks.remembered import Remembered
from archiver.errors import StoreFullError

# Half a surrogate pair is no text that UTF-8 has, and JSON may hold one.
NAMES = st.text(st.characters(), max_size=6)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=20))
def test_notes_are_a_dictionary_that_keeps_what_came_first(pairs: list[tuple[str, str]]) -> None:
    with Remembered() as remembered:
        notes, plain = remembered.notes(), dict[str, str]()
        for name, text in pairs:
            assert notes.put(name, text) == (name not in plain)
            plain.setdefault(name, text)
        assert all(notes.get(name) == text and name in notes for name, text in plain.items())
        assert list(notes.items()) == sorted(plain.items())
        notes.clear()
        assert list(notes.items()) == []


@given(st.lists(st.tuples(NAMES, st.integers(-2, 2)), max_size=20))
def test_counts_are_added_up_and_told_where_they_do_not_meet(pairs: list[tuple[str, int]]) -> None:
    with Remembered() as remembered:
        counts, plain = remembered.counts(), dict[str, int]()
        for name, count in pairs:
            counts.add(name, count)
            plain[name] = plain.get(name, 0) + count
        assert all(counts.of(name) == count for name, count in plain.items())
        assert list(counts.unsettled()) == sorted((name, count) for name, count in plain.items() if count)


def test_half_a_surrogate_pair_and_a_nul_are_names_too() -> None:
    with Remembered() as remembered:
        notes = remembered.notes()
        assert notes.put("\ud800\0a")
        assert notes.put("\ud800")
        assert not notes.put("\ud800\0a")


def test_two_notes_of_one_check_know_nothing_of_each_other() -> None:
    with Remembered() as remembered:
        one, other = remembered.notes(), remembered.notes()
        one.put("a")
        assert "a" not in other


def test_a_full_disk_is_told_as_one_and_not_as_damage_of_the_package() -> None:
    with Remembered() as remembered:
        notes = remembered.notes()
        remembered.ask("PRAGMA max_page_count = 10")
        with pytest.raises(StoreFullError, match="takes no more"):
            for number in range(10_000):
                notes.put(str(number), "x" * 100)
