"""What every spool owes: order, durability, sequences that only grow, exact discards, a true depth."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.errors import SpoolError
from archiver.model.capture import Capture, SpooledCapture
from archiver.spool import BEAT_HOLE_MS_MAX, Spool, SpoolDepth, Uptime, frame

EVERYTHING = {"captures_max": 1_000_000, "bytes_max": 1_000_000_000}


def capture(number: int, *, body: bytes | None = None, feed: str = "general") -> Capture:
    return Capture(
        feed=feed,
        feed_kind="webhook",
        received_at_ms=1_700_000_000_000 + number,
        verified="webhook-token",
        body=b'{"n":%d}' % number if body is None else body,
        attributes={"content-type": "application/json;"},
    )


# What is discarded was read before, as in the life of a spool: one that several listeners fill knows its sequences only then.


def everything(spool: Spool, *, after: int = 0) -> list[SpooledCapture]:
    return spool.read(after=after, **EVERYTHING)


def bodies(found: list[SpooledCapture]) -> list[bytes]:
    return [spooled.capture.body for spooled in found]


def test_a_new_spool_is_empty(spool):
    assert everything(spool) == []
    assert spool.depth() == SpoolDepth(captures=0, body_bytes=0, oldest_at_ms=None)


def test_captures_come_back_whole_in_order_with_sequences_from_one(spool):
    given_captures = [capture(1), capture(2, feed="random"), Capture("events", "event", 3, "event-token", b"\x00\xff")]

    spool.append(given_captures[:1])
    spool.append(given_captures[1:])

    assert everything(spool) == [SpooledCapture(n, given_captures[n - 1]) for n in (1, 2, 3)]


def test_appending_nothing_changes_nothing(spool):
    spool.append([])

    assert spool.depth().captures == 0


def test_a_batch_larger_than_any_internal_unit_keeps_its_order(spool):
    spool.append([capture(n) for n in range(1_000)])

    found = everything(spool)

    assert [spooled.sequence for spooled in found] == list(range(1, 1_001))
    assert bodies(found) == [b'{"n":%d}' % n for n in range(1_000)]


def test_captures_of_mixed_feeds_and_attributes_keep_their_own(spool):
    mixed = [
        Capture(f"feed-{n % 3}", "webhook", n, "webhook-token", b"x" * n, {"content-type": f"type/{n % 5}"})
        for n in range(50)
    ]

    spool.append(mixed)

    assert [spooled.capture for spooled in everything(spool)] == mixed


@given(st.lists(st.integers(1, 5), max_size=8), st.integers(0, 20), st.integers(1, 20), st.integers(1, 60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
def test_blocks_hold_the_first_of_what_reading_returns(spool, sizes, after, captures_max, bytes_max):
    first = everything(spool)[-1].sequence if everything(spool) else 0
    for size in sizes:
        spool.append([capture(n, feed=f"feed-{n % 2}") for n in range(size)])
    wanted = {"after": first + after, "captures_max": captures_max, "bytes_max": bytes_max}

    blocks = spool.read_blocks(**wanted)

    unpacked = [
        SpooledCapture(sequence, each)
        for block in blocks
        for sequence, each in enumerate(frame.decoded(block.frame), block.first_sequence)
    ]
    read = spool.read(**wanted)
    assert unpacked == read[: len(unpacked)]
    assert bool(unpacked) == bool(read)
    assert all(block.captures == len(frame.decoded(block.frame)) > 0 for block in blocks)
    assert all(block.body_bytes == sum(len(c.body) for c in frame.decoded(block.frame)) for block in blocks)
    if blocks:
        assert blocks[-1].last_sequence == unpacked[-1].sequence


def test_bodies_of_any_size_survive(spool):
    sizes = [0, 1, 1_048_576, 3_000_000, 5]
    spool.append([capture(n, body=bytes([n]) * size) for n, size in enumerate(sizes)])

    assert bodies(everything(spool)) == [bytes([n]) * size for n, size in enumerate(sizes)]


@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_reading_goes_on_after_a_sequence(spool, after):
    spool.append([capture(n) for n in range(1, 11)])

    assert [spooled.sequence for spooled in everything(spool, after=after)] == list(range(after + 1, 11))


def test_reading_takes_nothing_away(spool):
    spool.append([capture(1)])

    assert everything(spool) == everything(spool) != []


def test_a_read_stops_at_the_number_of_captures(spool):
    spool.append([capture(n) for n in range(10)])

    assert [s.sequence for s in spool.read(after=2, captures_max=3, bytes_max=1_000)] == [3, 4, 5]


def test_a_read_stops_before_it_exceeds_the_bytes(spool):
    spool.append([capture(n, body=b"x" * 100) for n in range(10)])

    assert len(spool.read(after=0, captures_max=100, bytes_max=350)) == 3
    assert len(spool.read(after=0, captures_max=100, bytes_max=300)) == 3


def test_a_read_returns_one_capture_even_if_it_is_larger_than_the_limit(spool):
    spool.append([capture(1, body=b"x" * 100), capture(2)])

    assert [s.sequence for s in spool.read(after=0, captures_max=100, bytes_max=10)] == [1]


def test_a_read_crosses_appends_up_to_its_limits(spool):
    for n in range(10):
        spool.append([capture(2 * n), capture(2 * n + 1)])

    assert [s.sequence for s in spool.read(after=1, captures_max=6, bytes_max=1_000)] == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("through", [0, 1, 4, 5, 9, 10, 11])
def test_a_discard_forgets_exactly_the_captures_up_to_its_sequence(spool, through):
    spool.append([capture(n) for n in range(1, 6)])
    spool.append([capture(n) for n in range(6, 11)])
    everything(spool)

    spool.discard(through=through)

    kept = list(range(through + 1, 11))
    found = everything(spool)
    assert [s.sequence for s in found] == kept
    assert bodies(found) == [b'{"n":%d}' % n for n in kept]
    assert spool.depth().captures == len(kept)


def test_discarding_twice_is_discarding_once(spool):
    spool.append([capture(n) for n in range(1, 6)])
    everything(spool)
    spool.discard(through=3)
    spool.discard(through=3)
    spool.discard(through=1)

    assert [s.sequence for s in everything(spool)] == [4, 5]


def test_sequences_go_on_after_everything_was_discarded_and_the_spool_reopened(open_spool):
    first = open_spool()
    first.append([capture(1), capture(2)])
    everything(first)
    first.discard(through=2)
    first.close()

    second = open_spool()
    second.append([capture(3)])

    assert [s.sequence for s in everything(second)] == [3]
    second.close()


def test_the_spool_keeps_its_id(open_spool):
    first = open_spool()
    spool_id = first.spool_id
    first.close()
    second = open_spool()

    assert second.spool_id == spool_id != ""
    second.close()


def test_depth_counts_captures_and_bytes_and_names_the_oldest(spool):
    spool.append([capture(n, body=b"x" * n) for n in range(1, 6)])
    spool.append([capture(n, body=b"x" * n) for n in range(6, 11)])
    everything(spool)
    spool.discard(through=2)

    assert spool.depth() == SpoolDepth(captures=8, body_bytes=52, oldest_at_ms=1_700_000_000_003)

    spool.discard(through=10)
    spool.append([capture(11, body=b"abc")])

    assert spool.depth() == SpoolDepth(captures=1, body_bytes=3, oldest_at_ms=1_700_000_000_011)


def test_one_process_appends_while_another_reads_and_discards(open_spool):
    """Two openings of one spool stand for the listener and the run."""
    listener, run = open_spool(), open_spool()
    expected = [b'{"n":%d}' % n for n in range(600)]

    def listen() -> None:
        for start in range(0, 600, 3):
            listener.append([capture(n) for n in range(start, start + 3)])

    thread = threading.Thread(target=listen)
    thread.start()
    taken: list[SpooledCapture] = []
    while len(taken) < 600:
        found = run.read(after=taken[-1].sequence if taken else 0, captures_max=7, bytes_max=1_000_000)
        if found:
            taken += found
            run.discard(through=found[-1].sequence)
    thread.join()

    assert bodies(taken) == expected
    assert listener.depth().captures == 0
    listener.close()
    run.close()


def test_several_threads_share_one_spool(spool):
    def append(worker: int) -> None:
        for n in range(20):
            spool.append([capture(n, feed=str(worker))])

    threads = [threading.Thread(target=append, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = everything(spool)
    assert [s.sequence for s in found] == list(range(1, 81))
    for worker in range(4):
        mine = [s.capture.received_at_ms for s in found if s.capture.feed == str(worker)]
        assert mine == [1_700_000_000_000 + n for n in range(20)]


def test_a_closed_spool_says_so(open_spool):
    spool = open_spool()
    spool.close()
    spool.close()

    with pytest.raises(SpoolError, match="is closed"):
        spool.append([capture(1)])


captures = st.builds(
    Capture,
    feed=st.text(max_size=8),
    feed_kind=st.sampled_from(["webhook", "event"]),
    received_at_ms=st.integers(min_value=0, max_value=4_000_000_000_000),
    verified=st.sampled_from(["webhook-token", "event-token"]),
    body=st.binary(max_size=64),
    attributes=st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=3),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(captures, max_size=20))
def test_any_capture_comes_back_equal(open_spool, batch):
    spool = open_spool()
    after = max((s.sequence for s in everything(spool)), default=0)
    spool.append(batch)
    spool.close()

    reopened = open_spool()
    assert [s.capture for s in everything(reopened, after=after)] == batch
    reopened.close()


MINUTE_MS = 60_000


def test_a_spool_to_which_nobody_listened_has_no_uptimes(spool):
    assert spool.uptimes() == []
    spool.forget_uptimes(before_ms=MINUTE_MS)


def test_beats_of_a_listener_make_one_uptime(spool):
    for at_ms in (0, 15_000, 30_000, 45_000):
        spool.beat("first", at_ms=at_ms)

    assert spool.uptimes() == [Uptime("first", 0, 45_000)]


def test_a_silence_begins_a_new_uptime_and_so_does_another_listener(spool):
    spool.beat("first", at_ms=0)
    spool.beat("first", at_ms=BEAT_HOLE_MS_MAX)
    spool.beat("first", at_ms=2 * BEAT_HOLE_MS_MAX + 1)
    spool.beat("second", at_ms=30_000)

    assert spool.uptimes() == [
        Uptime("first", 0, BEAT_HOLE_MS_MAX),
        Uptime("second", 30_000, 30_000),
        Uptime("first", 2 * BEAT_HOLE_MS_MAX + 1, 2 * BEAT_HOLE_MS_MAX + 1),
    ]


def test_a_clock_that_was_set_back_a_little_shortens_no_uptime(spool):
    spool.beat("first", at_ms=40_000)
    spool.beat("first", at_ms=20_000)

    (uptime,) = spool.uptimes()
    assert uptime.from_at_ms <= 40_000
    assert uptime.to_at_ms == 40_000


def test_a_clock_that_was_set_back_far_begins_a_new_uptime(spool):
    spool.beat("first", at_ms=60 * MINUTE_MS)
    spool.beat("first", at_ms=0)

    assert spool.uptimes() == [Uptime("first", 0, 0), Uptime("first", 60 * MINUTE_MS, 60 * MINUTE_MS)]


def test_uptimes_are_forgotten_by_their_end_and_others_stay(spool):
    spool.beat("first", at_ms=0)
    spool.beat("second", at_ms=MINUTE_MS)
    spool.beat("second", at_ms=2 * MINUTE_MS)

    spool.forget_uptimes(before_ms=2 * MINUTE_MS)

    assert spool.uptimes() == [Uptime("second", MINUTE_MS, 2 * MINUTE_MS)]


def test_uptimes_outlive_the_process_and_are_no_captures(open_spool):
    opened = open_spool()
    opened.beat("first", at_ms=1)
    opened.close()

    opened = open_spool()
    assert opened.uptimes() == [Uptime("first", 1, 1)]
    assert opened.depth().captures == 0
    opened.close()
