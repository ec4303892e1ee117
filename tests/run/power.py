"""A power switch for one run: it goes off at a chosen operation of the store or of the spool, and nothing works after that."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faulty_store import Effect, Stopped

# What an operation is about, told from the key; threads may change places, so operations are counted by label.
_KINDS = (
    ("archive.json", re.compile(r"archive\.json")),
    ("note", re.compile(r"ledger/pending/")),
    ("checkpoint", re.compile(r"ledger/checkpoints/")),
    ("entry", re.compile(r"ledger/(\d|\Z)")),
    ("blob", re.compile(r"blobs/")),
    ("data", re.compile(r"[a-z]+/dt=")),
)


# The label of a moment that is counted over all operations, whatever they are about.
ANY = "any"


@dataclass(frozen=True)
class Moment:
    """The ``number``-th operation under a label, and whether the operation takes effect before the power goes."""

    label: str
    number: int
    effect: Effect

    def __str__(self) -> str:
        return f"{self.effect} {self.label} {self.number}"


class Power:
    """On until the moment, if there is one; counts what passes through."""

    def __init__(self, moment: Moment | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.went_off = False
        self._moment = moment
        self._lock = threading.Lock()

    def store(self, inner: Any) -> Any:
        return _Powered(inner, self, lambda name, key="", *_: f"{name} {_kind(key)}")

    def spool(self, inner: Any) -> Any:
        return _Powered(inner, self, lambda name, *_: f"spool {name}")

    def through(self, label: str, call: Callable[[], Any]) -> Any:
        with self._lock:
            if self.went_off:
                raise Stopped(label)
            self.counts[label] += 1
            moment = self._moment
            reached = self.counts.total() if moment is not None and moment.label == ANY else self.counts[label]
            if moment is None or moment.label not in (ANY, label) or moment.number != reached:
                moment = None
            else:
                self.went_off = True
        if moment is None:
            return call()
        if moment.effect == "after":
            call()
        raise Stopped(str(moment))


class _Powered:
    def __init__(self, inner: Any, power: Power, label: Callable[..., str]) -> None:
        self._inner = inner
        self._power = power
        self._label = label

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            if name == "list":
                return self._power.through(self._label(name, *given), lambda: iter(list(found(*given, **named))))
            return self._power.through(self._label(name, *given), lambda: found(*given, **named))

        return call


def _kind(key: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.match(key)), key.partition("/")[0])
