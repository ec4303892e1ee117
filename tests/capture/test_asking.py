"""Many calls by few threads: nobody sleeps while another token could ask, and each token keeps its own limit."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.capture.asking import DIALOGUES_MAX, RESULTS_PER_THREAD, Ask, ask_unordered
from archiver.capture.token_pool import TokenPool
from archiver.clock import SystemClock
from archiver.errors import FlockMethodError, FlockUnreachableError, TokenRefusedError
from archiver.flock.limits import Permit, RateLimiter
from archiver.flock.tokens import Secret, UserToken
from archiver.flock.turns import NotYetError
from tests.manual_clock import ManualClock


def pool_of(*users: str) -> TokenPool:
    return TokenPool([UserToken(user, Secret(f"{user}-token")) for user in users])


class Service:
    """Something to ask, with a limit for each token as Flock's client has it, that remembers who asked when."""

    def __init__(self, clock, *, rate: float = 1.0) -> None:
        self._limiter = RateLimiter(requests_per_second=rate, clock=clock)
        self._clock = clock
        self.asked: list[tuple[str, float]] = []

    def greet(self, token, *, turn, name=""):
        permit = self._limiter.try_acquire(token.fingerprint)
        if not isinstance(permit, Permit):
            raise NotYetError(permit, of_token=True)
        self.asked.append((token.user_id, self._clock.monotonic()))
        return f"{name}{token.user_id}"


def talk(pool, items, work, *, clock=None, threads=2):
    return list(ask_unordered(work, items, tokens=pool, clock=clock or ManualClock(), threads=threads))


def test_every_item_gets_its_result():
    service = Service(clock := ManualClock(), rate=1_000.0)

    def work(user):
        first = yield Ask(user, service.greet)
        second = yield Ask(user, service.greet)
        return first, second

    users = [f"u:{number}" for number in range(50)]
    assert sorted(talk(pool_of(*users), users, work, clock=clock)) == sorted((user, user) for user in users)


def test_of_no_items_nothing_comes():
    assert talk(pool_of(), [], lambda item: iter(())) == []


def test_a_dialogue_may_end_without_asking():
    def work(item):
        return item
        yield

    assert sorted(talk(pool_of(), range(100), work)) == list(range(100))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_few_threads_serve_many_tokens_at_their_own_rates(threads):
    """A hundred tokens at one request a second take the seconds that one takes."""
    service = Service(clock := ManualClock())

    def work(user):
        for _ in range(4):
            yield Ask(user, service.greet)

    users = [f"u:{number}" for number in range(100)]
    talk(pool_of(*users), users, work, clock=clock, threads=threads)
    # One token alone takes three seconds; one after the other they would take four hundred.
    assert 2.9 < clock.monotonic() < 20
    assert Counter(user for user, _ in service.asked) == dict.fromkeys(users, 4)


def test_a_token_that_must_be_silent_for_long_keeps_no_thread():
    clock = ManualClock()
    silent_until = 900.0

    def call(token, *, turn):
        if token.user_id == "u:slow" and clock.monotonic() < silent_until:
            raise NotYetError(silent_until - clock.monotonic(), of_token=True)
        return clock.monotonic()

    def work(user):
        answered_at = yield Ask(user, call)
        return user, answered_at

    slow, quick = ["u:slow"] * 20, ["u:quick"] * 20
    answered = talk(pool_of("u:slow", "u:quick"), slow + quick, work, clock=clock)
    assert [user for user, _ in answered][:20] == quick
    assert all(at < silent_until for user, at in answered if user == "u:quick")
    assert all(at >= silent_until for user, at in answered if user == "u:slow")


def test_a_pause_before_another_try_holds_up_no_other_call_of_that_token():
    clock = ManualClock()

    def call(token, *, turn, item):
        if item == 0 and clock.monotonic() < 60:
            raise NotYetError(60 - clock.monotonic(), of_token=False)
        return item

    def work(item):
        return (yield Ask("u:ada", lambda token, *, turn: call(token, turn=turn, item=item)))

    assert talk(pool_of("u:ada"), range(5), work, clock=clock, threads=1) == [1, 2, 3, 4, 0]
    assert clock.monotonic() >= 60


def test_a_call_is_made_with_one_turn_until_it_is_answered():
    turns = []

    def call(token, *, turn):
        turns.append(turn)
        if len(turns) < 4:
            raise NotYetError(1.0, of_token=False)
        return "at last"

    def work(_):
        return (yield Ask("u:ada", call))

    assert talk(pool_of("u:ada"), [1], work) == ["at last"]
    assert len(turns) == 4
    assert len(set(map(id, turns))) == 1


def test_a_refused_token_gives_way_to_the_users_next_one():
    pool = TokenPool([UserToken("u:ada", Secret("first")), UserToken("u:ada", Secret("second"))])

    def call(token, *, turn):
        if token.secret.reveal() == "first":
            raise TokenRefusedError("no", code="InvalidToken")
        return token.secret.reveal()

    def work(_):
        return (yield Ask("u:ada", call))

    assert talk(pool, range(3), work) == ["second"] * 3
    assert len(pool.refused()) == 1
    assert [token.secret.reveal() for token in pool.accepted()] == ["second"]


def test_without_a_usable_token_the_dialogue_is_told_and_may_go_on():
    service = Service(ManualClock())

    def work(user):
        try:
            yield Ask(user, service.greet)
        except TokenRefusedError:
            return (yield Ask("u:ada", service.greet))

    assert talk(pool_of("u:ada"), ["u:nobody"], work) == ["u:ada"]


@pytest.mark.parametrize(
    "error", [FlockMethodError("no", status=400, code="UnknownChat"), FlockUnreachableError("nothing came")]
)
def test_an_error_of_flock_reaches_the_dialogue_that_asked(error):
    def call(token, *, turn):
        raise error

    def work(_):
        try:
            yield Ask("u:ada", call)
        except type(error) as told:
            return told

    assert talk(pool_of("u:ada"), [1], work) == [error]
    with pytest.raises(type(error)):
        talk(pool_of("u:ada"), [1], lambda _: (yield Ask("u:ada", call)))


@pytest.mark.parametrize("where", ["the work", "the call", "the items"])
def test_a_bug_is_raised_to_the_reader_and_ends_it_all(where):
    service = Service(clock := ManualClock(), rate=1_000.0)

    def call(token, *, turn):
        if where == "the call":
            raise ZeroDivisionError
        return service.greet(token, turn=turn)

    def work(item):
        yield Ask("u:ada", call)
        if where == "the work" and item == 5:
            raise ZeroDivisionError

    def items():
        yield from range(10)
        if where == "the items":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        talk(pool_of("u:ada"), items(), work, clock=clock)


def test_a_reader_that_stops_early_ends_every_dialogue():
    service = Service(clock := ManualClock(), rate=1_000.0)
    ended = []
    begun = []

    def work(item):
        begun.append(item)
        try:
            yield Ask(f"u:{item % 3}", service.greet)
            yield Ask(f"u:{item % 3}", service.greet)
            return item
        finally:
            ended.append(item)

    results = ask_unordered(work, range(1_000), tokens=pool_of("u:0", "u:1", "u:2"), clock=clock, threads=3)
    next(results)
    results.close()
    assert sorted(ended) == sorted(begun)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ask")]


def test_results_that_nobody_reads_stop_the_work():
    threads, done = 2, []

    def call(token, *, turn):
        done.append(1)

    def work(item):
        yield Ask("u:ada", call)
        return item

    results = ask_unordered(work, range(10_000), tokens=pool_of("u:ada"), clock=SystemClock(), threads=threads)
    next(results)
    time.sleep(0.2)
    # What waits, what one read took at once, and what was under way when it was enough.
    assert len(done) <= 2 * threads * RESULTS_PER_THREAD + 2 * threads
    assert sum(1 for _ in results) == 9_999


def test_items_are_begun_only_as_far_as_there_is_room():
    service = Service(clock := ManualClock(), rate=1.0)
    taken = []

    def items():
        for item in range(3 * DIALOGUES_MAX):
            taken.append(item)
            yield item

    def work(item):
        yield Ask("u:ada", service.greet)
        return item

    results = ask_unordered(work, items(), tokens=pool_of("u:ada"), clock=clock, threads=2)
    next(results)
    results.close()
    assert len(taken) <= DIALOGUES_MAX + 10


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=40),
    st.floats(0.2, 50),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_whatever_is_asked_all_of_it_is_answered_and_no_limit_is_broken(items, rate, threads, refused):
    """Items are a user and how many calls; the tokens of users below ``refused`` do not work."""
    service = Service(clock := ManualClock(), rate=rate)

    def call(token, *, turn):
        if int(token.user_id[2:]) < refused:
            raise TokenRefusedError("no", code="InvalidToken")
        return service.greet(token, turn=turn)

    def work(item):
        user, calls = item
        try:
            for _ in range(calls):
                yield Ask(f"u:{user}", call)
        except TokenRefusedError:
            return user, None
        return user, calls

    pool = pool_of(*(f"u:{number}" for number in range(5)))
    expected = [(user, None if user < refused and calls else calls) for user, calls in items]
    assert Counter(talk(pool, items, work, clock=clock, threads=threads)) == Counter(expected)
    for calls in Counter(user for user, _ in service.asked).values():
        assert calls <= 1 + rate * clock.monotonic() + 1e-6
