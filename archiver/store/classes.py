"""Storage classes: where a store keeps an object, cheaper the less it is read. Only S3 and its like have any."""

from __future__ import annotations

from typing import Final

from archiver.errors import StoreRefusedError

# Those of S3 out of which an object is read at once (S3 user guide, "Understanding S3 storage classes"). In GLACIER and DEEP_ARCHIVE it
# must be restored first, for hours: an archive that lay there could neither be verified nor queried.
READABLE_CLASSES: Final = frozenset({"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"})

# Those out of which nothing is read before `Store.thaw`.
COLD_CLASSES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def no_classes(url: str, storage_class: str) -> StoreRefusedError:
    """Return the error of a store without classes."""
    return StoreRefusedError(
        f"{url} has no storage classes, so nothing can move to {storage_class}",
        next_step="keep the archive in S3, or take 'tier' out of the policy",
    )


def require_readable(storage_class: str) -> None:
    """Raise `StoreRefusedError` for a class that is none, or out of which nothing is read at once."""
    if storage_class not in READABLE_CLASSES:
        raise StoreRefusedError(
            f"nothing is moved to {storage_class[:40]!r}: what lies there cannot be read at once, so the archive could not be verified",
            next_step=f"name one of {', '.join(sorted(READABLE_CLASSES))}",
        )
