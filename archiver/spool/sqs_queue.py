"""The queue itself: Amazon SQS, or whatever speaks its language, through boto3.

Facts about SQS that the rest builds on, from its developer guide and API reference (and ``botocore/data/sqs``, which is what we
call): a message has at most 1 MiB since August 2025, or less where the queue says so, as those made before do; it is there for at
most 14 days; a receive hides it until its time is over, and then it comes again; a delete needs the receipt of the latest receive;
about 120,000 messages may be under way at once; a standard queue may change the order and deliver twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, cast

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own name, and Python's of that name never comes out of it
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from archiver.clock import to_ms
from archiver.errors import ConfigError, SpoolError
from archiver.spool import QueueDepth

# A push waits for this, so a queue that does not answer is given up sooner than an archive would be.
CONNECT_TIMEOUT_SECONDS: Final = 3
READ_TIMEOUT_SECONDS: Final = 15
TRIES_MAX: Final = 4
CONNECTIONS_MAX: Final = 16
BATCH_ENTRIES_MAX: Final = 10
RETENTION_SECONDS_MAX: Final = 1_209_600

_OVER_LIMIT: Final = frozenset({"OverLimit", "AWS.SimpleQueueService.OverLimit"})
_INVALID_RECEIPT: Final = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue"})

_CREDENTIALS: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another source of boto3's credential chain, for this user"
)
_DENIED: Final = "allow this user what docs/operations.md lists under «Several listeners»"
_MISSING: Final = "create the queue, or correct `spool:` and `sqs.region` in archiver.yaml"
_REACH: Final = "check the network and `sqs:` in archiver.yaml; nothing that was answered 200 is lost"
_LATER: Final = "try again later; nothing that was answered 200 is lost"
_NEXT_STEPS: Final[Mapping[str, str]] = {
    "QueueDoesNotExist": _MISSING,
    "NonExistentQueue": _MISSING,
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "KmsAccessDenied": "allow this user to use the key that the queue is encrypted with: kms:GenerateDataKey and kms:Decrypt",
    "InvalidClientTokenId": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": "renew the session's credentials",
    "ExpiredTokenException": "renew the session's credentials",
    "RequestThrottled": _LATER,
    "ThrottlingException": _LATER,
}
# What SQS puts before some of its codes, depending on the protocol.
_CODE_PREFIX: Final = "AWS.SimpleQueueService."


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came; ``sent_at_ms`` is by the queue's clock, 0 if it does not say."""

    message_id: str
    receipt: str
    text: str
    sent_at_ms: int


class SqsQueue:
    """One standard queue, from several threads. Every method, and the constructor, raises `SpoolError` if the queue cannot do it.

    ``message_bytes_max`` is what the queue takes; ``retention_seconds`` how long it keeps a message; ``moves_messages`` tells
    whether it moves messages that were received several times to another queue.
    """

    def __init__(
        self,
        name: str,
        *,
        account: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        session: boto3.Session | None = None,
    ) -> None:
        self.name = name
        with _explained(name):
            self._client = _client(region=region, endpoint_url=endpoint_url, session=session)
            owner = {"QueueOwnerAWSAccountId": account} if account else {}
            self._url = str(self._client.get_queue_url(QueueName=name, **owner)["QueueUrl"])
            attributes = self._attributes("QueueArn", "MaximumMessageSize", "MessageRetentionPeriod", "RedrivePolicy")
            self.arn = attributes["QueueArn"]
            self.message_bytes_max = int(attributes["MaximumMessageSize"])
            self.retention_seconds = int(attributes["MessageRetentionPeriod"])
            self.moves_messages = "RedrivePolicy" in attributes

    def send(self, text: str) -> None:
        """Return when the queue holds a message with this text."""
        with _explained(self.name):
            self._client.send_message(QueueUrl=self._url, MessageBody=text)

    def receive(self, *, wait_seconds: int, hidden_seconds: int) -> list[Received]:
        """Return some of the messages that wait, none if none came in time; they are hidden for so long from other receivers.

        A queue that has as many under way as it allows gives none.
        """
        try:
            with _explained(self.name):
                answer = self._client.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=BATCH_ENTRIES_MAX,
                    WaitTimeSeconds=wait_seconds,
                    VisibilityTimeout=hidden_seconds,
                    MessageSystemAttributeNames=["SentTimestamp"],
                )
                return [_received(message) for message in answer.get("Messages", ())]
        except SpoolError as error:
            if isinstance(error.__cause__, ClientError) and _code(error.__cause__) in _OVER_LIMIT:
                return []
            raise

    def delete(self, receipts: Sequence[str]) -> list[str]:
        """Delete up to `BATCH_ENTRIES_MAX` messages; return the receipts that need not be tried again.

        That is also one that is too old to delete by: its message comes again, with a new one.
        """
        with _explained(self.name):
            answer = self._client.delete_message_batch(
                QueueUrl=self._url,
                Entries=[{"Id": str(at), "ReceiptHandle": receipt} for at, receipt in enumerate(receipts)],
            )
        done = [receipts[int(entry["Id"])] for entry in answer.get("Successful", ())]
        useless = [
            receipts[int(entry["Id"])]
            for entry in answer.get("Failed", ())
            if entry.get("Code", "").removeprefix(_CODE_PREFIX) in _INVALID_RECEIPT
        ]
        return done + useless

    def tag(self, key: str) -> tuple[str | None, int]:
        """Return the value of one of the queue's tags, None if it has none, and what time it is there (ms since 1970 UTC)."""
        with _explained(self.name):
            answer = self._client.list_queue_tags(QueueUrl=self._url)
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return answer.get("Tags", {}).get(key), to_ms(parsedate_to_datetime(told)) if told else 0

    def set_tag(self, key: str, value: str) -> None:
        """Write one of the queue's tags."""
        with _explained(self.name):
            self._client.tag_queue(QueueUrl=self._url, Tags={key: value})

    def depth(self) -> QueueDepth:
        """Return how much the queue has, as it believes itself."""
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed")
        under_way = "ApproximateNumberOfMessagesNotVisible"
        told = self._attributes(*names, under_way)
        return QueueDepth(messages=sum(int(told.get(name, 0)) for name in names), under_way=int(told.get(under_way, 0)))

    def _attributes(self, *names: str) -> dict[str, str]:
        with _explained(self.name):
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=list(names))
        return cast("dict[str, str]", answer.get("Attributes", {}))


def _client(*, region: str | None, endpoint_url: str | None, session: boto3.Session | None) -> Any:
    try:
        return (session or boto3.Session()).client(
            "sqs",
            endpoint_url=endpoint_url,
            region_name=region,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                max_pool_connections=CONNECTIONS_MAX,
                tcp_keepalive=True,
                retries={"mode": "standard", "total_max_attempts": TRIES_MAX},
            ),
        )
    except ValueError as error:
        raise ConfigError(
            f"sqs.endpoint_url is not the address of a server: {endpoint_url!r}", next_step="write http(s)://host:port"
        ) from error


def _received(message: Mapping[str, Any]) -> Received:
    sent_at_ms = int(message.get("Attributes", {}).get("SentTimestamp", 0))
    return Received(message["MessageId"], message["ReceiptHandle"], message["Body"], sent_at_ms)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what boto3 says into a `SpoolError`; of an answer only its code enters it, never its text."""
    what = f"the queue {name}"
    try:
        yield
    except ClientError as error:
        code = _code(error).removeprefix(_CODE_PREFIX)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        usual = (
            _LATER
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR
            else "look the code up in the API reference of Amazon SQS"
        )
        raise SpoolError(
            f"{what} answers {code} to {error.operation_name}", next_step=_NEXT_STEPS.get(code, usual)
        ) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise SpoolError(f"{what} cannot be asked: no usable credentials", next_step=_CREDENTIALS) from error
    except NoRegionError as error:
        raise SpoolError(f"{what} cannot be asked: no region", next_step="set sqs.region in archiver.yaml") from error
    except (HTTPClientError, ConnectionError) as error:
        raise SpoolError(f"{what} cannot be reached ({type(error).__name__})", next_step=_REACH) from error
    except (ResponseParserError, KeyError) as error:
        raise SpoolError(f"{what}: what answers does not speak SQS", next_step="correct sqs.endpoint_url") from error
    except BotoCoreError as error:
        raise SpoolError(f"{what} cannot be asked ({type(error).__name__})", next_step=_REACH) from error
