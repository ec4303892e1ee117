"""A Ctrl-C that is not forgotten.

Python raises `KeyboardInterrupt` wherever the main thread happens to be, and drops it where that is tidying an object away (a ``__del__``,
a callback of the garbage collector): the work would go on as if nobody had asked it to stop.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """While it is entered, remembers that SIGINT came; `check` raises what was dropped. Outside the main thread it does nothing."""

    def __init__(self) -> None:
        self._came = False
        self._before: Callable[[int, FrameType | None], Any] | int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if SIGINT came; between two steps, for where it was raised first it was dropped."""
        if self._came:
            raise KeyboardInterrupt

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self._came = True
        raise KeyboardInterrupt
