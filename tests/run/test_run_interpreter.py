"""A run may change how the interpreter works for as long as it lasts, and no longer."""

from __future__ import annotations

import gc
import sys

import pytest

from archiver.run.interpreter import COLLECT_AFTER_OBJECTS, SWITCH_SECONDS, quick_turns, tuned_for_runs


def state() -> tuple[float, tuple[int, int, int], int]:
    return sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()


def test_within_cycles_are_looked_for_later_and_threads_take_turns_sooner_where_they_should() -> None:
    with tuned_for_runs(), quick_turns():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
        assert gc.get_threshold()[0] == COLLECT_AFTER_OBJECTS


def test_afterwards_all_is_as_it_was_also_where_the_run_failed() -> None:
    before = state()
    with pytest.raises(ZeroDivisionError), tuned_for_runs(), quick_turns():
        raise ZeroDivisionError
    assert state() == before
