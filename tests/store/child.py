"""Run a piece of a test in a forked process, to kill it, to limit it, or to give it less rights than this one has."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

KILLED = -signal.SIGKILL


def in_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """Return the child's exit status (negative for a signal) and what ``work`` returned there, or the exception it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                outcome = work()
            except Exception as error:
                outcome = error
            with os.fdopen(writing, "wb") as pipe:
                pickle.dump(outcome, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, wait_status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(wait_status), pickle.loads(told) if told else None
