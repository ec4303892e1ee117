"""What a copy has besides data and ledger: plans, certificates of whatever age, and the list of legal holds in the store.

A plan's header is named by its digest and held against it; its items are checked by the header whenever the plan is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from hashlib import sha256
from typing import Any

import msgspec

from archiver.archive import layout
from archiver.archive.ledger import canonical_json
from archiver.archive.reader import Archive
from archiver.errors import DamageFoundError, KeyExistsError, KeyMissingError
from archiver.store import ObjectInfo, Store


def copy_papers(source: Archive, target: Store, *, executor: Executor) -> int:
    """Copy the plans that the copy does not have and bring the list of marks along; returns how many objects were written.

    Raises `DamageFoundError` for a plan that is not what it is named by.
    """
    written = sum(
        executor.map(lambda info: _copy(source.store, target, info.key), list(plans_to_copy(source.store, target)))
    )
    return written + _copy_marks(source.store, target)


def plans_to_copy(source: Store, target: Store) -> Iterator[ObjectInfo]:
    """Yield the parts of plans that the copy does not have; a header after the items that it names, as it was written."""
    there = {info.key for info in target.list(layout.PLAN_PREFIX)}
    found = [info for info in source.list(layout.PLAN_PREFIX) if info.key not in there]
    yield from (info for info in found if layout.plan_of_key(info.key) is None)
    yield from (info for info in found if layout.plan_of_key(info.key) is not None)


def _copy(source: Store, target: Store, key: str) -> bool:
    try:
        data = source.read(key)
    except KeyMissingError:
        return False  # a plan that nobody applied may go at any time
    digest = layout.plan_of_key(key)
    if digest is not None and sha256(data).hexdigest() != digest:
        raise DamageFoundError(
            f"{key} in {source.url} is not the plan that it is named by",
            next_step="remove it there, or restore it from a copy; a new plan can be made at any time",
        )
    try:
        target.create(key, data)
    except KeyExistsError:
        return False
    return True


def _copy_marks(source: Store, target: Store) -> bool:
    """Bring along which legal holds of the store are the archiver's own.

    None of them is set in the copy's store. So it says of no head that its marks are set, and whoever mirrors holds there looks at each.
    """
    try:
        marks: dict[str, Any] = msgspec.json.decode(source.read(layout.HOLD_MARKS_KEY), type=dict[str, Any])
    except (KeyMissingError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    data = canonical_json(marks | {"sequence": 0, "reach": ""})
    try:
        if target.read(layout.HOLD_MARKS_KEY) == data:
            return False
    except KeyMissingError:
        pass
    target.replace(layout.HOLD_MARKS_KEY, data)
    return True
