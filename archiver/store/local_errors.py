"""What the errors of a file system mean for a store, and what a person can do about them."""

from __future__ import annotations

import errno
import os
from typing import Final, Literal

from archiver.errors import StorageError, StoreFullError, StoreRefusedError, StoreUnreachableError

Verb = Literal["read", "write", "list", "delete", "clean"]

_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENXIO})
# EFBIG is a limit on the size of one file, of the process or of the file system: to a writer the same as no space.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})
_WRONG_KIND: Final = frozenset({errno.ENOTDIR, errno.EISDIR})
_ANSWERS: Final[tuple[tuple[frozenset[int], type[StorageError], str], ...]] = (
    (_FULL, StoreFullError, "make space for {root}, or raise its quota; then run again"),
    (_NOT_ALLOWED, StoreRefusedError, "let this user read and write everything in {root}"),
    (_WRONG_KIND, StoreRefusedError, "a file is where a folder should be, or the other way round: move it away"),
    (frozenset({errno.EXDEV}), StoreRefusedError, "keep all of {root} on one file system"),
)


def is_missing(error: OSError, verb: Verb) -> bool:
    """Tell whether an error says that there is no such object, which a write never hears."""
    return error.errno in _NOT_THERE and verb != "write"


def storage_error(error: OSError, verb: Verb, *, place: str, root: str) -> StorageError:
    """Return what any other error means for what was done to ``place`` in the store at ``root``."""
    code = error.errno
    what = f"cannot {verb} {place}: {os.strerror(code) if code else error}"
    for codes, kind, next_step in _ANSWERS:
        if code in codes:
            return kind(what, next_step=next_step.format(root=root))
    return StoreUnreachableError(what, next_step=f"check the disk or mount of {root}; then run again")
