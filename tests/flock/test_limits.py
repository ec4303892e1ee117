"""How often Flock may be asked: the rate limiter on a clock that the test turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.clock import from_ms
from archiver.flock.limits import (
    RECOVERY_SECONDS,
    RETRY_AFTER_SECONDS_MAX,
    SLOWDOWN_MAX,
    Permit,
    RateLimiter,
    parse_retry_after,
)
from tests.manual_clock import ManualClock

NOW_MS = 1_700_000_000_000


def limiter(clock, rate=2.0, burst=1):
    return RateLimiter(requests_per_second=rate, clock=clock, burst=burst)


def acquire(limits, key, clock):
    """Take leave as somebody does who has nothing else to do."""
    while not isinstance(leave := limits.try_acquire(key), Permit):
        assert leave > 0
        clock.sleep(leave)
    return leave


def test_requests_of_one_token_keep_the_configured_distance():
    clock = ManualClock()
    limits = limiter(clock, rate=2.0)
    for _ in range(11):
        acquire(limits, "a", clock)
    assert clock.monotonic() == pytest.approx(5.0, abs=0.01)


def test_tokens_do_not_wait_for_each_other():
    clock = ManualClock()
    limits = limiter(clock, rate=0.1)
    for key in "abcdef":
        acquire(limits, key, clock)
    assert clock.monotonic() == 0


def test_an_idle_token_saves_up_no_more_than_its_burst():
    clock = ManualClock()
    limits = limiter(clock, rate=1.0, burst=3)
    clock.turn(1000)
    for _ in range(3):
        acquire(limits, "a", clock)
    assert clock.slept == []
    acquire(limits, "a", clock)
    assert sum(clock.slept) == pytest.approx(1.0, abs=0.01)


def test_a_429_halves_the_rate_of_that_token_only():
    clock = ManualClock()
    limits = limiter(clock, rate=8.0)
    limits.refused(acquire(limits, "a", clock))
    assert limits.rate("a") == 4.0
    assert limits.rate("b") == 8.0


def test_requests_refused_together_halve_the_rate_once():
    clock = ManualClock()
    limits = limiter(clock, rate=8.0, burst=4)
    permits = [acquire(limits, "a", clock) for _ in range(4)]
    for permit in permits:
        limits.refused(permit)
    assert limits.rate("a") == 4.0


def test_the_rate_never_falls_to_nothing():
    clock = ManualClock()
    limits = limiter(clock, rate=64.0)
    for _ in range(100):
        limits.refused(acquire(limits, "a", clock))
    assert limits.rate("a") >= 64.0 / SLOWDOWN_MAX


def test_a_slowed_rate_recovers_with_quiet_time_and_stops_at_the_configured_one():
    clock = ManualClock()
    limits = limiter(clock, rate=8.0)
    limits.refused(acquire(limits, "a", clock))
    clock.turn(RECOVERY_SECONDS / 4)
    assert limits.rate("a") == pytest.approx(6.0)
    clock.turn(RECOVERY_SECONDS * 10)
    assert limits.rate("a") == 8.0


def test_retry_after_silences_the_token_for_that_long():
    clock = ManualClock()
    limits = limiter(clock, rate=100.0)
    limits.refused(acquire(limits, "a", clock), retry_after_seconds=42)
    acquire(limits, "a", clock)
    assert clock.monotonic() == pytest.approx(42, abs=0.2)


def test_an_absurd_retry_after_is_cut():
    clock = ManualClock()
    limits = limiter(clock, rate=100.0)
    limits.refused(acquire(limits, "a", clock), retry_after_seconds=1e12)
    acquire(limits, "a", clock)
    assert clock.monotonic() == pytest.approx(RETRY_AFTER_SECONDS_MAX, abs=0.2)


def test_a_pause_without_429_leaves_the_rate_alone():
    clock = ManualClock()
    limits = limiter(clock, rate=4.0)
    limits.pause(acquire(limits, "a", clock), retry_after_seconds=10)
    assert limits.rate("a") == 4.0
    acquire(limits, "a", clock)
    assert clock.monotonic() == pytest.approx(10, abs=0.01)


def test_many_threads_together_keep_the_rate():
    clock = ManualClock()
    limits = limiter(clock, rate=50.0)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: acquire(limits, "a", clock), range(200)))
    # Threads that sleep at the same time each turn the shared clock, so it may only be later, never earlier.
    assert clock.monotonic() >= 199 / 50 - 0.01


def test_whoever_must_wait_is_told_how_long_and_takes_nothing():
    clock = ManualClock()
    limits = limiter(clock, rate=4.0)
    assert isinstance(limits.try_acquire("a"), Permit)
    for _ in range(3):
        assert limits.try_acquire("a") == pytest.approx(0.25)
    assert clock.slept == []
    clock.turn(0.25)
    assert isinstance(limits.try_acquire("a"), Permit)


# What happens to one key: time passes, somebody asks, Flock refuses the last request, or asks for silence.
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.floats(0, 30)),
        st.tuples(st.just("ask"), st.integers(1, 5)),
        st.tuples(st.just("refused"), st.none() | st.floats(0, 20)),
        st.tuples(st.just("pause"), st.floats(0, 20)),
    ),
    max_size=60,
)


@given(happenings, st.floats(0.05, 50), st.integers(1, 4))
def test_over_no_window_of_time_a_key_gets_more_than_its_rate(happened, rate, burst):
    clock = ManualClock()
    limits = limiter(clock, rate=rate, burst=burst)
    given_at = []
    permit = None
    for what, value in happened:
        if what == "turn":
            clock.turn(value)
        elif what == "ask":
            for _ in range(value):
                leave = limits.try_acquire("a")
                if isinstance(leave, Permit):
                    permit = leave
                    given_at.append(clock.monotonic())
                else:
                    clock.turn(leave)
        elif permit is not None and what == "refused":
            limits.refused(permit, retry_after_seconds=value)
        elif permit is not None:
            limits.pause(permit, retry_after_seconds=value)
    for first, began in enumerate(given_at):
        for last in range(first, len(given_at)):
            allowed = burst + rate * (given_at[last] - began)
            assert last - first + 1 <= allowed * (1 + 1e-6) + 1e-6


@given(st.lists(st.floats(0, 900), max_size=20), st.floats(0.05, 50))
def test_a_429_halves_and_time_gives_back_in_a_straight_line(quiet_seconds, rate):
    clock = ManualClock()
    limits = limiter(clock, rate=rate)
    expected = rate
    for seconds in quiet_seconds:
        limits.refused(acquire(limits, "a", clock))
        expected = limits.rate("a")
        clock.turn(seconds)
        grown = min(expected + rate * seconds / RECOVERY_SECONDS, rate)
        assert limits.rate("a") == pytest.approx(grown)
        assert rate / SLOWDOWN_MAX <= limits.rate("a") <= rate
    clock.turn(RECOVERY_SECONDS)
    assert limits.rate("a") == rate


@given(st.floats(0.1, 50), st.floats(0, 2 * RETRY_AFTER_SECONDS_MAX), st.floats(0, 1))
def test_nothing_is_sent_while_flock_asked_for_silence(rate, silence_seconds, share):
    clock = ManualClock()
    limits = limiter(clock, rate=rate)
    limits.refused(acquire(limits, "a", clock), retry_after_seconds=silence_seconds)
    ends_at = clock.monotonic() + min(silence_seconds, RETRY_AFTER_SECONDS_MAX)
    clock.turn(share * silence_seconds)
    acquire(limits, "a", clock)
    assert clock.monotonic() >= ends_at - 1e-6


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_makes_no_sense_is_refused(rate):
    with pytest.raises(ValueError):
        limiter(ManualClock(), rate=rate)


def test_a_burst_below_one_is_refused():
    with pytest.raises(ValueError):
        limiter(ManualClock(), burst=0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        (format_datetime(from_ms(NOW_MS + 90_000), usegmt=True), 90),
        (format_datetime(from_ms(NOW_MS - 90_000), usegmt=True), 0),
        ("9" * 5000, RETRY_AFTER_SECONDS_MAX),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("²", None),
        ("Wed, 21 Oct 2015 07:28:00", None),
        ("Wed, 99 Oct 99999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_comes_as_seconds_or_as_a_date_or_is_ignored(header, seconds):
    assert parse_retry_after(header, now_ms=NOW_MS) == seconds
