"""A Ctrl-C that Python drops ends a command all the same."""

from __future__ import annotations

import signal

import pytest

from archiver.cli.interruption import Interruption


class Tidied:
    """Whose end is where a Ctrl-C comes."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_it_comes_at_once() -> None:
    with Interruption() as interruption, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_it_was_dropped_the_next_step_raises_it() -> None:
    with Interruption() as interruption:
        tidied = Tidied()
        interruption.check()
        del tidied
        with pytest.raises(KeyboardInterrupt):
            interruption.check()


def test_afterwards_a_signal_does_what_it_did_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
