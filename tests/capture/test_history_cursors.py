"""Cursor safety: nothing that happens, and in no order, makes a message unreachable for ever.

The archive here is what a test can see through: texts by uid, and the place that the last commit left. A crash loses what was
read and not committed, and the place goes back with it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver.capture import history_place as places
from archiver.capture.history import Budget, Chat, Step, World, read_chat
from archiver.capture.history_place import Place
from archiver.capture.token_pool import TokenPool
from archiver.clock import DAY_MS
from tests.capture.gateways import CHAT, READER, STYLES, TOKEN, Gateway, Style, declared
from tests.manual_clock import ManualClock

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
LOOKBACK_DAYS = 2
FULL_WITHIN_DAYS = 6
MANY = 10_000


@dataclass
class Night:
    """What a night may cost, after how many steps the power goes (None: never), and how many steps one commit holds."""

    requests: int = MANY
    steps: int | None = None
    steps_per_commit: int = 1


@dataclass
class Model:
    gateway: Gateway
    clock: ManualClock
    archived: dict[str, set[str]] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)
    place: str | None = None
    ahead_ms: int = 0
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, style: Style, order: str, **changes: object) -> Model:
        source = declared(style, order=order, lookback_days=LOOKBACK_DAYS, full_within_days=FULL_WITHIN_DAYS, **changes)
        return cls(Gateway(source, style), ManualClock(now_ms=NOW_MS))

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()

    @property
    def true_now_ms(self) -> int:
        """What the gateway's clock says, by which messages are sent, whatever ours says."""
        return self.now_ms - self.ahead_ms

    def set_clock(self, *, ahead_ms: int) -> None:
        """Set our clock so far ahead of the gateway's."""
        self.clock.turn((ahead_ms - self.ahead_ms) / 1000)
        self.ahead_ms = ahead_ms

    def standing(self) -> Place:
        return places.from_text(self.place, self.gateway.source)

    def run(self, night: Night) -> None:
        """Run as the history stage does: the tip if there is one, then the full reading if it is due."""
        world = World(self.gateway.source, self.gateway, TokenPool([TOKEN]), self.clock, is_time_up=lambda: False)
        budget, steps_left = Budget(night.requests), night.steps
        waiting: list[Step] = []
        place = self.standing()
        has_tip = places.has_tip(place, self.gateway.source)
        for depth in ("tip", "full") if places.begins_with_tip(self.now_ms) else ("full", "tip"):
            if depth == "tip" and not has_tip:
                continue
            due_at_ms = places.full_due_at_ms(place, self.gateway.source, CHAT, now_ms=self.now_ms)
            if depth == "full" and due_at_ms > self.now_ms:
                continue
            for step in read_chat(world, Chat(CHAT, place, (READER,)), depth, budget):
                if steps_left == 0:
                    return
                steps_left = None if steps_left is None else steps_left - 1
                if step.problem:
                    self.problems.append(step.problem)
                place = step.place
                waiting.append(step)
                if len(waiting) >= night.steps_per_commit:
                    self.commit(waiting)
        self.commit(waiting)

    def commit(self, steps: list[Step]) -> None:
        for step in steps:
            for message in map(json.loads, step.items.raws if step.items else ()):
                self.archived.setdefault(message["uid"], set()).add(message["text"])
                self.newest[message["uid"]] = message["text"]
            self.place = places.to_text(step.place)
        steps.clear()

    def pass_time(self, ms: int) -> None:
        self.clock.turn(ms / 1000)

    def unreached(self) -> dict[str, str]:
        """What is shown and not archived as it is shown.

        A page of a cursor by time must hold what shares an instant; where it does not, it is told, and tested below.
        """
        source, said = self.gateway.source, self.gateway.said
        at_once = Counter(message.sent_at_ms for message in said.values())
        return {
            uid: text
            for uid, text in self.gateway.shown().items()
            if text not in self.archived.get(uid, ())
            and not (source.by_time and at_once[said[uid].sent_at_ms] >= source.page_size)
        }


orders = st.sampled_from(["newest_first", "oldest_first"])
nights = st.builds(
    Night,
    requests=st.sampled_from([1, 2, 3, 5, MANY]),
    steps=st.none() | st.integers(0, 6),
    steps_per_commit=st.integers(1, 4),
)
# When a message says it was sent, before now: at one of few instants, so that many share one; some long ago, some ahead of us.
ages_ms = st.sampled_from([0, 0, 0, 1, HOUR_MS, DAY_MS, 3 * DAY_MS, 30 * DAY_MS, -HOUR_MS, -DAY_MS])
deeds = st.one_of(
    st.tuples(st.just("say"), ages_ms, st.integers(1, 5)),
    st.tuples(st.just("edit"), st.integers(0, 30)),
    st.tuples(st.just("delete"), st.integers(0, 30)),
)
happenings = st.one_of(
    deeds,
    st.tuples(st.just("between pages"), st.lists(deeds, min_size=1, max_size=3)),
    st.tuples(st.just("time"), st.sampled_from([1, HOUR_MS, DAY_MS])),
    st.tuples(st.just("night"), nights),
    st.tuples(
        st.just("night under a clock that is ahead"), nights, st.sampled_from([HOUR_MS, 3 * DAY_MS, 400 * DAY_MS])
    ),
)

# What a wrong clock says was read next year is edited: too old for the tip, and the full reading must not wait for next year.
READ_AHEAD_THEN_EDITED = [
    ("say", 30 * DAY_MS, 1),
    ("night under a clock that is ahead", Night(), 400 * DAY_MS),
    *[("say", days * DAY_MS, 3) for days in (10, 5, 1, 0)],
    ("night", Night()),
    ("edit", 0),
]


def do(model: Model, deed: tuple, number: int) -> None:
    gateway = model.gateway
    if deed[0] == "say":
        for _ in range(deed[2]):
            gateway.say(model.true_now_ms - deed[1], f"text {number}")
        return
    live = sorted(gateway.shown())
    if not live:
        return
    uid = live[deed[1] % len(live)]
    if deed[0] == "edit":
        gateway.edit(uid, f"text {number}, edited")
    else:
        gateway.delete(uid)


@pytest.mark.parametrize("style", STYLES)
@settings(deadline=None, max_examples=150)
@given(order=orders, history=st.lists(happenings, max_size=25))
@example(order="newest_first", history=READ_AHEAD_THEN_EDITED)
@example(order="oldest_first", history=READ_AHEAD_THEN_EDITED)
def test_nothing_makes_a_message_unreachable_for_ever(style: Style, order: str, history: list[tuple]) -> None:
    model = Model.of(style, order, page_size=6 if "timestamp" in style else 3)
    for number, what in enumerate(history):
        if what[0] == "time":
            model.pass_time(what[1])
        elif what[0] == "night":
            model.run(what[1])
        elif what[0] == "night under a clock that is ahead":
            model.set_clock(ahead_ms=what[2])
            model.run(what[1])
            model.set_clock(ahead_ms=0)
        elif what[0] == "between pages":
            model.gateway.between += [lambda deed=deed, number=number: do(model, deed, number) for deed in what[1]]
        else:
            do(model, what, number)
    model.gateway.between.clear()
    for _ in range(FULL_WITHIN_DAYS + 2):
        model.pass_time(DAY_MS)
        model.run(Night())
    assert model.unreached() == {}


@pytest.mark.parametrize("style", STYLES)
@settings(deadline=None, max_examples=60)
@given(order=orders, before=st.lists(deeds, max_size=8), after=st.lists(deeds, max_size=8))
def test_what_comes_within_the_look_back_is_there_the_next_night(
    style: Style, order: str, before: list[tuple], after: list[tuple]
) -> None:
    """A cursor that only counts is shifted by what is deleted before it; then it takes until the next full reading."""
    if style == "offset" and order == "oldest_first":
        after = [deed for deed in after if deed[0] != "delete"]
    model = Model.of(style, order, page_size=6 if "timestamp" in style else 3)
    for number, deed in enumerate(before):
        do(model, deed, number)
    model.run(Night())
    model.pass_time(HOUR_MS)
    late_ms = model.now_ms - LOOKBACK_DAYS * DAY_MS + 2 * HOUR_MS
    for number, deed in enumerate(after, 100):
        do(model, deed, number)
    model.run(Night())
    shown = model.gateway.said
    assert not [uid for uid in model.unreached() if shown[uid].sent_at_ms >= late_ms]


@pytest.mark.parametrize("style", STYLES)
@settings(deadline=None, max_examples=60)
@given(order=orders, before=st.lists(deeds, max_size=10))
def test_a_second_run_at_once_reads_the_tip_alone_and_has_nothing_to_say(
    style: Style, order: str, before: list[tuple]
) -> None:
    model = Model.of(style, order, page_size=6 if "timestamp" in style else 3)
    for number, deed in enumerate(before):
        do(model, deed, number)
    model.run(Night())
    model.run(Night())
    place, archived = model.place, {uid: set(texts) for uid, texts in model.archived.items()}
    model.run(Night())
    assert (model.place, model.archived) == (place, archived)
    assert all("one instant" in problem for problem in model.problems)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_a_reading_that_is_cut_off_after_any_step_goes_on_there(style: Style, order: str) -> None:
    """Nights that are cut off after two steps still come to the end, tip and full reading both."""
    whole = Model.of(style, order)
    for age in range(20):
        whole.gateway.say(NOW_MS - age * HOUR_MS)
    whole.run(Night())
    pages = len(whole.gateway.requests)
    model = Model.of(style, order)
    model.gateway.said = whole.gateway.said
    for _ in range(2 * pages + 4):
        if model.standing().full_started_at_ms is not None:
            break
        before = len(model.gateway.requests)
        model.run(Night(steps=2))
        model.pass_time(DAY_MS)
        assert len(model.gateway.requests) - before <= 3
    assert model.unreached() == {}
    assert model.standing().full_started_at_ms is not None


@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_a_page_that_shares_one_instant_and_cannot_be_passed_is_told(order: str) -> None:
    model = Model.of("timestamp_exclusive", order)
    for number in range(8):
        model.gateway.say(NOW_MS - HOUR_MS, str(number))
    other = [model.gateway.say(NOW_MS - age) for age in (0, 2 * HOUR_MS)]
    model.run(Night())
    assert set(other) <= model.archived.keys()
    assert any("more messages than fill a page may share one instant" in problem for problem in model.problems)
