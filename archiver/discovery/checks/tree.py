"""The files below a folder as they lie there, one after another: whatever somebody put there, and without a list of all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG


@dataclass(frozen=True, slots=True)
class Found:
    """What is no folder: ``path`` from the root, with slashes; ``size`` in bytes.

    What is not plain is a link, a pipe, a device, or a folder that cannot be read.
    """

    path: str
    size: int
    is_plain: bool


def files_below(root: Path, below: str = "") -> Iterator[Found]:
    """Yield what lies below a folder of ``root``, in the order of the names; nothing if there is no such folder.

    Links are not followed, be it that the folder itself lies behind one. Memory is that of the names in one folder and its parents.
    """
    way = [parent.as_posix() for parent in reversed(PurePosixPath(below).parents)][1:]
    for step in [*way, below] if below else []:
        if (root / step).is_symlink():
            yield Found(step, 0, is_plain=False)
            return
    yield from _walked(str(root), below)


def _walked(root: str, below: str) -> Iterator[Found]:
    # Texts and no `Path`s, each of whose parts Python would keep for as long as it is in use, and look for before.
    try:
        with os.scandir(f"{root}/{below}") as entries:
            names = sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield Found(below, 0, is_plain=False)
        return
    for name in names:
        path = f"{below}/{name}" if below else name
        facts = os.lstat(f"{root}/{path}")
        if S_ISDIR(facts.st_mode):
            yield from _walked(root, path)
        else:
            yield Found(path, facts.st_size, S_ISREG(facts.st_mode))
