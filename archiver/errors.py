"""Every error a user can meet, as one tree; the class carries the exit code, the sentence says what to do next.

=====  ===========================================  ==========================================
code   meaning                                      root class
=====  ===========================================  ==========================================
0      done
1      a bug: a traceback, no class of this tree
2      wrong usage, configuration or policy          `UsageError`
3      done, with gaps: an outcome, not an error     (`EXIT_GAPS`)
4      verification found damage                     `DamageFoundError`
5      refused: hold, limit, stale plan, other run   `RefusedError`
6      Flock unreachable or token refused            `FlockError`
7      store or spool unreachable or refusing        `StorageError`
=====  ===========================================  ==========================================

Some of these never reach a user: `KeyMissingError`, `KeyExistsError` and `UnparseableError` are answers that callers
act upon.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_GAPS = 3
EXIT_DAMAGE = 4
EXIT_REFUSED = 5
EXIT_FLOCK = 6
EXIT_STORAGE = 7


class ArchiverError(Exception):
    """Something a person can act on: ``what`` happened to which thing, and what to do ``next_step``."""

    exit_code = EXIT_BUG

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what}\n  Next: {self.next_step}" if self.next_step else self.what


class UsageError(ArchiverError):
    """The command line, a query or a file that the user wrote is wrong."""

    exit_code = EXIT_USAGE


class DocumentError(UsageError):
    """A file of keys and values that the user wrote cannot be used; the sentence names the file, the line and the key.

    ``code`` is a stable word for the kind of mistake and ``line`` where it stands, from 1, where these are known.
    """

    def __init__(self, what: str, *, next_step: str = "", code: str = "", line: int | None = None) -> None:
        super().__init__(what, next_step=next_step)
        self.code = code
        self.line = line


class ConfigError(DocumentError):
    """The configuration cannot be used."""


class PolicyError(DocumentError):
    """A retention policy cannot be used; the sentence names the rule too. A rule that cannot be read is never "no match"."""


class DamageFoundError(ArchiverError):
    """The archive is not what its ledger says; the sentence names the damaged object."""

    exit_code = EXIT_DAMAGE


class LedgerBrokenError(DamageFoundError):
    """A ledger entry is missing, unreadable or does not follow from the one before."""


class RefusedError(ArchiverError):
    """We could, but must not."""

    exit_code = EXIT_REFUSED


class ArchiveBusyError(RefusedError):
    """Another run holds the archive."""


class SpoolTakenError(RefusedError):
    """Another state folder drains this queue, and two would archive what it delivers twice."""


class NewerFormatError(RefusedError):
    """The archive was written by a newer format than this version reads."""


class FlockError(ArchiverError):
    """Flock cannot be reached or does not let us in."""

    exit_code = EXIT_FLOCK


class FlockUnreachableError(FlockError):
    """No usable answer after every retry."""


class TokenRefusedError(FlockError):
    """Flock refuses this token (403 InvalidToken, 403 AppDisabled, 401): stop using it, ask for a reinstall."""

    def __init__(self, what: str, *, code: str, next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.code = code


class AnswerLostError(FlockUnreachableError):
    """Something was sent to Flock that it does once for each time it is sent, and whether it did is not known."""


class FlockMethodError(FlockError):
    """Flock answered with an error that concerns one call and not the token, such as 400 UnknownChat."""

    def __init__(self, what: str, *, status: int, code: str, parameter: str = "", next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.status = status
        self.code = code
        self.parameter = parameter


class StorageError(ArchiverError):
    """A store or a spool cannot be reached, is full, or refuses."""

    exit_code = EXIT_STORAGE


class StoreUnreachableError(StorageError):
    """The store did not answer after the client's own retries; trying the same call later may work."""


class StoreRefusedError(StorageError):
    """The store answered no: credentials, permission, missing bucket, read-only. Trying again does not help."""


class ObjectLockedError(StoreRefusedError):
    """A lock or a legal hold of the store keeps an object, or an old version of it, from being erased.

    ``until_ms`` is when the last lock ends, in milliseconds since 1970 UTC, None where only a legal hold keeps it, which has no end.
    """

    def __init__(self, what: str, *, until_ms: int | None, legal_hold: bool, next_step: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.until_ms = until_ms
        self.legal_hold = legal_hold


class ObjectColdError(StoreRefusedError):
    """An object lies in a storage class out of which it is read within hours, and nobody asked for it yet, or it is not there yet."""


class StoreFullError(StorageError):
    """No space or quota left."""


class KeyMissingError(StorageError):
    """There is no object under this key."""


class KeyExistsError(StorageError):
    """A create-if-absent found an object under this key."""


class SpoolError(StorageError):
    """The spool cannot be opened, read or written."""


class UnparseableError(ArchiverError):
    """A capture cannot be read as what it should be. It is kept with this reason, counted, and retried later."""

    exit_code = EXIT_GAPS
