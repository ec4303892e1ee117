"""The operating system's calls that change a file system, counted, so that a test can stop a process at each of them.

To be installed in a process of its own (`child.in_child`), for it replaces functions of `os` and `fcntl`.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

When = Literal["before", "after", "half"]


class OsSteps:
    """Records each call with the path it concerns; kills the process before, after or halfway through the ``stop_at``-th."""

    def __init__(self, *, stop_at: int = 0, when: When = "before") -> None:
        self.trace: list[tuple[str, str]] = []
        self._stop_at = stop_at
        self._when = when

    def install(self) -> None:
        for module, name, path_of in (
            (os, "open", lambda path, flags, *_, dir_fd=None: _at(dir_fd, path) if flags & os.O_CREAT else None),
            (os, "mkdir", lambda path, *_, dir_fd=None: _at(dir_fd, path)),
            (os, "write", lambda descriptor, _: _at(descriptor)),
            (os, "fsync", _at),
            (os, "link", lambda _, target, *, dst_dir_fd, **__: _at(dst_dir_fd, target)),
            (os, "rename", lambda _, target, *, dst_dir_fd, **__: _at(dst_dir_fd, target)),
            (os, "unlink", lambda path, *, dir_fd=None: _at(dir_fd, path)),
            (fcntl, "flock", lambda descriptor, _: _at(descriptor)),
        ):
            setattr(module, name, self._counted(name, getattr(module, name), path_of))

    def _counted(self, name: str, call: Callable[..., Any], path_of: Callable[..., str | None]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            path = path_of(*args, **kwargs)
            if path is None:
                return call(*args, **kwargs)
            self.trace.append((name, path))
            stops = len(self.trace) == self._stop_at
            if stops and self._when == "half" and name == "write":
                call(args[0], memoryview(args[1])[: len(args[1]) // 2])
            if stops and self._when != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if stops:
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted


def _at(descriptor: int | None, name: str | Path = "") -> str:
    folder = Path(f"/proc/self/fd/{descriptor}").readlink() if descriptor is not None else Path()
    return str(folder / name)
