"""The error tree: which exit code each error ends a command with. This table is the specification."""

from __future__ import annotations

import inspect

import pytest

from archiver import errors

EXIT_CODES = {
    "ArchiverError": 1,
    "UsageError": 2,
    "ConfigError": 2,
    "DocumentError": 2,
    "PolicyError": 2,
    "UnparseableError": 3,
    "DamageFoundError": 4,
    "LedgerBrokenError": 4,
    "RefusedError": 5,
    "ArchiveBusyError": 5,
    "SpoolTakenError": 5,
    "NewerFormatError": 5,
    "FlockError": 6,
    "FlockUnreachableError": 6,
    "AnswerLostError": 6,
    "TokenRefusedError": 6,
    "FlockMethodError": 6,
    "StorageError": 7,
    "StoreUnreachableError": 7,
    "StoreRefusedError": 7,
    "ObjectLockedError": 7,
    "ObjectColdError": 7,
    "StoreFullError": 7,
    "KeyMissingError": 7,
    "KeyExistsError": 7,
    "SpoolError": 7,
}


def test_every_error_of_the_tree_stands_in_the_table() -> None:
    tree = {name: found.exit_code for name, found in vars(errors).items() if inspect.isclass(found)}
    assert tree == EXIT_CODES


@pytest.mark.parametrize("name", EXIT_CODES)
def test_every_error_says_what_happened_and_what_to_do(name: str) -> None:
    facts: dict[str, dict[str, object]] = {
        "TokenRefusedError": {"code": "InvalidToken"},
        "FlockMethodError": {"status": 400, "code": "UnknownChat"},
        "ObjectLockedError": {"until_ms": None, "legal_hold": True},
    }
    error = getattr(errors, name)("the door is shut", next_step="knock", **facts.get(name, {}))
    assert isinstance(error, errors.ArchiverError)
    assert (error.what, error.next_step) == ("the door is shut", "knock")
    assert str(error) == "the door is shut\n  Next: knock"


def test_without_a_next_step_the_sentence_stands_alone() -> None:
    assert str(errors.UsageError("no")) == "no"
