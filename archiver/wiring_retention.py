"""Puts together what `archiver retention` works with: a part of `archiver.wiring`.

Its imports stand inside the functions for the same reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archiver.errors import KeyMissingError

if TYPE_CHECKING:
    from archiver.archive.reader import Archive
    from archiver.retention.findings import Finding
    from archiver.retention.policy import Policy
    from archiver.retention.policy_file import WrittenPolicy
    from archiver.store import Store


def archive_if_any(store: Store) -> Archive | None:
    """Return the archive that lies in a store, None if no run has founded it yet."""
    from archiver.archive import ledger  # noqa: PLC0415 - see the module's docstring
    from archiver.archive.reader import Archive  # noqa: PLC0415 - see the module's docstring

    try:
        ledger.read_facts(store)
    except KeyMissingError:
        return None
    return Archive.open(store)


def archive_warnings(written: WrittenPolicy, archive: Archive) -> list[Finding]:
    """Return which rules of a policy match nothing in an archive."""
    from archiver.retention import validate  # noqa: PLC0415 - see the module's docstring
    from archiver.retention.context import read_context  # noqa: PLC0415 - see the module's docstring
    from archiver.retention.evaluate import Evaluator  # noqa: PLC0415 - see the module's docstring

    head = archive.head()
    evaluator = Evaluator(written.policy, read_context(archive.store, head, written.policy))
    return validate.archive_warnings(written, evaluator, archive.store, head)


def earlier_policy(path: Path | None) -> Policy | None:
    """Return the policy that was in force before, if one is named; raises `PolicyError` if it cannot be read."""
    from archiver.retention.policy_file import read_policy  # noqa: PLC0415 - see the module's docstring

    return None if path is None else read_policy(path)
