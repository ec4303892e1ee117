"""Any history of appends, discards, reads and reopenings leaves a spool that equals its model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from archiver.model.capture import Capture, SpooledCapture
from archiver.spool import SpoolDepth
from tests.spool.conftest import SpoolFactory


class SpoolMachine(RuleBasedStateMachine):
    """The model is a list of what waits and the highest sequence ever given."""

    new_place: Callable[[Path], SpoolFactory]

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="spool-states-"))
        self.open = type(self).new_place(self.directory)
        self.spool = self.open()
        self.spool_id = self.spool.spool_id
        self.waiting: list[SpooledCapture] = []
        self.last_sequence = 0

    @rule(sizes=st.lists(st.integers(min_value=0, max_value=60), max_size=300), feeds=st.integers(1, 3))
    def append(self, sizes: list[int], feeds: int) -> None:
        batch = [
            Capture(f"feed-{n % feeds}", "webhook", self.last_sequence + n, "webhook-token", b"%d" % n * size)
            for n, size in enumerate(sizes)
        ]
        self.spool.append(batch)
        for capture in batch:
            self.last_sequence += 1
            self.waiting.append(SpooledCapture(self.last_sequence, capture))

    @rule(share=st.floats(min_value=0, max_value=1.1))
    def discard(self, share: float) -> None:
        through = int(self.last_sequence * share)
        self.spool.discard(through=through)
        self.waiting = [spooled for spooled in self.waiting if spooled.sequence > through]

    @rule()
    def discard_everything(self) -> None:
        self.spool.discard(through=self.last_sequence)
        self.waiting = []

    @rule(
        share=st.floats(min_value=0, max_value=1),
        captures_max=st.integers(min_value=1, max_value=400),
        bytes_max=st.integers(min_value=1, max_value=5_000),
    )
    def read(self, share: float, captures_max: int, bytes_max: int) -> None:
        after = int(self.last_sequence * share)
        expected: list[SpooledCapture] = []
        body_bytes = 0
        for spooled in self.waiting:
            if spooled.sequence <= after:
                continue
            body_bytes += len(spooled.capture.body)
            if expected and (len(expected) >= captures_max or body_bytes > bytes_max):
                break
            expected.append(spooled)

        assert self.spool.read(after=after, captures_max=captures_max, bytes_max=bytes_max) == expected

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool = self.open()
        assert self.spool.spool_id == self.spool_id

    @invariant()
    def holds_what_waits(self) -> None:
        assert self.spool.read(after=0, captures_max=1_000_000, bytes_max=1_000_000_000) == self.waiting
        assert self.spool.depth() == SpoolDepth(
            captures=len(self.waiting),
            body_bytes=sum(len(spooled.capture.body) for spooled in self.waiting),
            oldest_at_ms=self.waiting[0].capture.received_at_ms if self.waiting else None,
        )

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.directory)


def test_any_history_equals_its_model(new_place):
    machine = type("Machine", (SpoolMachine,), {"new_place": staticmethod(new_place)})
    run_state_machine_as_test(machine, settings=settings(max_examples=6, stateful_step_count=15, deadline=None))
