"""A copy that `archiver clone` keeps is written by nothing else: what is added to it would part it from its archive for ever."""

from __future__ import annotations

from typing import Final

from archiver.archive import layout
from archiver.errors import KeyMissingError, RefusedError
from archiver.store import Store

NEXT_STEP: Final = (
    "write to the archive itself, and bring the copy up to date with `archiver clone`; where the archive is lost, "
    "`archiver promote` makes the copy the archive"
)


def is_copy(store: Store) -> bool:
    """Tell whether what lies in a store is such a copy, or one in the making."""
    try:
        store.stat(layout.CLONE_KEY)
    except KeyMissingError:
        return False
    return True


def refuse_copy(store: Store) -> None:
    """Raise `RefusedError` if what lies in a store is a copy. For the start of whatever writes to an archive."""
    if is_copy(store):
        raise RefusedError(
            f"{store.url} is a copy that `archiver clone` keeps, and nothing else may write to it", next_step=NEXT_STEP
        )
