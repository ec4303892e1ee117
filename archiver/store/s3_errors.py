"""What S3's and botocore's failures mean for a store, and what a person can do about them.

Sources: the S3 API reference, "List of error codes"; ``botocore/exceptions.py``. Only the code and the status of an answer enter a
message, never its text, which some servers fill with the request's own headers.
"""

from __future__ import annotations

from http import HTTPStatus

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConnectionClosedError,
    ConnectionError,  # noqa: A004 - botocore's own name, and Python's of that name never comes out of it
    ConnectTimeoutError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    LoginError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from archiver.errors import (
    KeyExistsError,
    KeyMissingError,
    ObjectColdError,
    StorageError,
    StoreFullError,
    StoreRefusedError,
    StoreUnreachableError,
)

Failure = BotoCoreError | ClientError | ResponseParserError
FAILURES = (BotoCoreError, ClientError, ResponseParserError)

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    NoAuthTokenError,
    SSOError,
    LoginError,
)
# In this order, for the later are bases of the earlier.
_UNREACHABLE: tuple[tuple[type[BotoCoreError], str], ...] = (
    (ConnectTimeoutError, "no connection in time"),
    (ReadTimeoutError, "no answer in time"),
    (ConnectionClosedError, "the connection broke"),
    (ResponseStreamingError, "the answer broke off"),
    (IncompleteReadError, "the answer broke off"),
    (FlexibleChecksumError, "the bytes that came do not match their checksum"),
    (ChecksumError, "the bytes that came do not match their checksum"),
    (MetadataRetrievalError, "the service that gives this machine its credentials does not answer"),
    (ConnectionError, "no connection"),
    (HTTPClientError, "the connection failed"),
)


class WriteConflictError(StoreUnreachableError):
    """Another writer was at the same key at the same moment, and this one may try again (409)."""


class UploadGoneError(StoreUnreachableError):
    """A multipart upload was ended behind our back: by a sweep, or by a completion of ours whose answer was lost."""


class BrokenAnswerError(StoreUnreachableError):
    """An answer broke off in its body, which boto3 does not try again by itself."""


_PRECONDITION_CODES = frozenset({"PreconditionFailed", "412"})
_ANSWERS: tuple[tuple[frozenset[str], type[StorageError], str], ...] = (
    (frozenset({"ConditionalRequestConflict", "OperationAborted", "409"}), WriteConflictError, "run again"),
    (frozenset({"NoSuchUpload"}), UploadGoneError, "run again"),
    (
        frozenset({"InvalidObjectState"}),
        ObjectColdError,
        "`archiver restore` asks the store for what is cold and waits until it can be read",
    ),
    (
        frozenset({"InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioStorageFull", "507"}),
        StoreFullError,
        "make space in the store, or raise its quota; then run again",
    ),
    (
        frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "429"}),
        StoreUnreachableError,
        "run again later; nothing is lost",
    ),
)

_CREDENTIALS_STEP = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another source of boto3's credential chain, for this user"
)
_WRONG_CREDENTIALS_STEP = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else boto3 finds for this user"
_REACH_STEP = "check s3.endpoint_url and the network, then run again; nothing is lost"
NEXT_STEPS = {
    "NoSuchBucket": "create the bucket, or correct `archive:` in archiver.yaml",
    "AccessDenied": "allow this user to get, put, list and delete objects there, in a bucket with versions those too "
    "(s3:ListBucketVersions, s3:DeleteObjectVersion), and to abort multipart uploads",
    "AllAccessDisabled": "ask the bucket's owner to enable it",
    "SignatureDoesNotMatch": _WRONG_CREDENTIALS_STEP,
    "InvalidAccessKeyId": _WRONG_CREDENTIALS_STEP,
    "InvalidToken": _WRONG_CREDENTIALS_STEP,
    "ExpiredToken": "renew the session's credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "PermanentRedirect": "set s3.region to the bucket's region",
    "AuthorizationHeaderMalformed": "set s3.region to the bucket's region",
    "IllegalLocationConstraintException": "set s3.region to the bucket's region",
    "NotImplemented": "keep the archive on an S3 server that knows conditional writes and checksums",
    "GlacierExpeditedRetrievalNotAvailable": "ask for the standard speed, or try again later",
    "BadDigest": "run again; if it comes back, something between here and the server changes what is sent",
    "403": "allow this user to get, put, list and delete objects there, or correct the credentials",
}


def storage_error(error: Failure, *, doing: str, place: str) -> StorageError:
    """Return what the failure of ``doing`` ("write", "read", …) means for ``place``, an ``s3://`` address."""
    what = f"cannot {doing} {place}"
    if isinstance(error, ClientError):
        return _of_answer(error, what, place)
    if isinstance(error, ResponseParserError):
        return StoreRefusedError(f"{what}: what answers does not speak S3", next_step="correct s3.endpoint_url")
    if isinstance(error, _NO_CREDENTIALS):
        return StoreRefusedError(f"{what}: no usable credentials", next_step=_CREDENTIALS_STEP)
    if isinstance(error, SSLError):
        return StoreRefusedError(f"{what}: the server's certificate is not trusted", next_step="set AWS_CA_BUNDLE")
    for kind, told in _UNREACHABLE:
        if isinstance(error, kind):
            return StoreUnreachableError(f"{what}: {told}", next_step=_REACH_STEP)
    return StoreRefusedError(
        f"{what}: boto3 cannot even ask ({type(error).__name__})",
        next_step="correct `archive:` and `s3:` in archiver.yaml, or this user's AWS configuration",
    )


def code_of(error: Failure) -> str:
    """Return S3's error code; for a HEAD, which has no body, the status as text; "" for what is no answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def _of_answer(error: ClientError, what: str, place: str) -> StorageError:
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PRECONDITION_CODES:
        return KeyExistsError(f"{place} exists already")
    # boto3 repeats the status where it finds no code: after a HEAD, which has no body, or in an answer that is not S3's.
    has_code = code != str(status) or error.operation_name.startswith("Head")
    if code == "NoSuchKey" or (status == HTTPStatus.NOT_FOUND and code == "404" and has_code):
        return KeyMissingError(f"there is no {place}")
    told = f"{what}: the store answers {code}" + (f" ({status})" if code != str(status) else "")
    for codes, kind, next_step in _ANSWERS:
        if code in codes:
            return kind(told, next_step=next_step)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED:
        check = "" if has_code else "; if it stays so, check that an S3 server is at s3.endpoint_url"
        return StoreUnreachableError(told, next_step=f"run again later, nothing is lost{check}")
    if not has_code:
        return StoreRefusedError(f"{told} and does not speak S3", next_step="correct s3.endpoint_url")
    return StoreRefusedError(told, next_step=NEXT_STEPS.get(code, "look the code up in the manual of the S3 server"))
