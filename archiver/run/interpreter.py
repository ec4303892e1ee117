"""How Python works while a run is at work: how soon its threads take turns, and how often it looks for unreachable cycles."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# While captures are read another thread commits: that one needs the interpreter briefly and often, and would wait Python's usual
# 5 ms for it each time. Threads that ask Flock all need it as often, and only get into each other's way.
SWITCH_SECONDS: Final = 0.0005
# Objects that Python makes before it looks for cycles among them. Its usual 700 suit a program that makes few: a run makes very many
# that end by themselves, and looking through them and through all that is loaded took a seventh of the time of fetching.
COLLECT_AFTER_OBJECTS: Final = 20_000


@contextmanager
def tuned_for_runs() -> Iterator[None]:
    """Let the interpreter of this process suit a run, and afterwards be as it was."""
    objects = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, *objects[1:])
    try:
        yield
    finally:
        gc.set_threshold(*objects)
        gc.unfreeze()


@contextmanager
def quick_turns() -> Iterator[None]:
    """Let threads take turns sooner, as suits one that reads and one that commits."""
    seconds = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(seconds)
