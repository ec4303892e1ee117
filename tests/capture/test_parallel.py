"""Independent work in threads, bounded by what the reader takes."""

from __future__ import annotations

import threading

import pytest

from archiver.capture.parallel import AHEAD_PER_THREAD, map_unordered


def test_every_item_gives_one_result():
    assert sorted(map_unordered(lambda n: n * n, range(100), threads=4)) == [n * n for n in range(100)]


def test_no_items_give_no_results():
    assert list(map_unordered(str, [], threads=2)) == []


def test_items_are_read_only_as_far_as_there_is_room():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_unordered(str, items(), threads=2)
    next(results)
    assert len(taken) <= 2 * AHEAD_PER_THREAD
    results.close()


def test_work_really_runs_side_by_side():
    barrier = threading.Barrier(3, timeout=10)
    assert len(list(map_unordered(lambda _: barrier.wait(), range(3), threads=3))) == 3


def test_the_first_failure_reaches_the_reader_and_the_rest_is_dropped():
    begun = []

    def work(number):
        begun.append(number)
        if number == 3:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError):
        list(map_unordered(work, range(10_000), threads=2))
    assert len(begun) < 100


def test_results_that_nobody_reads_are_given_back():
    go = threading.Event()
    discarded = []

    def work(number):
        if number == 0:
            go.wait(10)
        return number

    results = map_unordered(work, range(50), threads=2, discard=discarded.append)
    read = [next(results)]
    go.set()
    results.close()  # while 0 is still being worked on
    assert 0 in discarded
    assert not set(read) & set(discarded)
    assert len(discarded) <= 2 * AHEAD_PER_THREAD


def test_results_left_over_by_a_failure_are_given_back_too():
    first_of_the_others = threading.Event()
    finished, read, discarded = [], [], []

    def work(number):
        if number == 0:
            first_of_the_others.wait(10)
            raise KeyError
        finished.append(number)
        first_of_the_others.set()
        return number

    def read_on():
        for number in map_unordered(work, range(1000), threads=2, discard=discarded.append):
            read.append(number)  # noqa: PERF402 - a list would lose what was read before the failure

    with pytest.raises(KeyError):
        read_on()
    assert sorted(read + discarded) == sorted(finished)
