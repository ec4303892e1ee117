"""The bodies of S3's answers, which boto3 leaves to its caller to read: they may break off, and are asked for again then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from archiver.store.s3_errors import FAILURES, BrokenAnswerError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

BODY_TRIES_MAX: Final = 3

_Result = TypeVar("_Result")


def with_body_retries(get: Callable[[], _Result]) -> _Result:
    """Get again when an answer broke off in its body."""
    return Retrying(
        retry=retry_if_exception_type(BrokenAnswerError), stop=stop_after_attempt(BODY_TRIES_MAX), reraise=True
    )(get)


def whole_body(answer: GetObjectOutputTypeDef, *, place: str) -> bytes:
    """Return the body of an answer; raises `BrokenAnswerError` if it breaks off."""
    with contextlib.closing(answer["Body"]) as body:
        try:
            return body.read()
        except FAILURES as error:
            raise BrokenAnswerError(
                f"cannot read {place}: the answer broke off", next_step="run again later; nothing is lost"
            ) from error
