"""Reading again what S3 keeps cold: a copy is asked for, is made within hours, and stays for some days.

Sources: S3 user guide, "Restoring an archived object"; API reference, "RestoreObject" and "HeadObject", whose header ``x-amz-restore`` is
``ongoing-request="true"`` while the copy is made and ``ongoing-request="false", expiry-date="…"`` while there is one. In the archive tiers
of INTELLIGENT_TIERING the object itself moves back, and no number of days may be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from archiver.store import ThawSpeed, ThawState
from archiver.store.classes import COLD_CLASSES
from archiver.store.s3_errors import code_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import TierType
    from mypy_boto3_s3.type_defs import RestoreRequestTypeDef

_TIERS: Final[Mapping[ThawSpeed, TierType]] = {"expedited": "Expedited", "standard": "Standard", "bulk": "Bulk"}
_ONGOING: Final = 'ongoing-request="true"'
_DONE: Final = 'ongoing-request="false"'
# So S3 answers where a copy is being made already; between a look and a request another may have asked.
_UNDER_WAY: Final = "RestoreAlreadyInProgress"


def state_in(found: Mapping[str, Any]) -> ThawState | None:
    """Return how far the answer to a HEAD says that thawing came; None for a cold object that nobody asked for."""
    told = found.get("Restore", "")
    if _ONGOING in told:
        return "under way"
    if found.get("StorageClass") in COLD_CLASSES:
        return "readable" if _DONE in told else None
    return None if found.get("ArchiveStatus") else "readable"


def thaw(
    client: S3Client, *, bucket: str, key: str, found: Mapping[str, Any], days: int, speed: ThawSpeed
) -> ThawState:
    """Ask for a copy of the version that ``found`` tells of, unless that is needless; raises botocore's errors."""
    state = state_in(found)
    if state is not None:
        return state
    request: RestoreRequestTypeDef = {"GlacierJobParameters": {"Tier": _TIERS[speed]}}
    if found.get("StorageClass") in COLD_CLASSES:
        request["Days"] = days
    try:
        client.restore_object(Bucket=bucket, Key=key, RestoreRequest=request)
    except ClientError as error:
        if code_of(error) != _UNDER_WAY:
            raise
        return "under way"
    return "asked"
