"""The keys of the configuration, their types, limits and meaning. Each description is also the text of the JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from archiver.settings.history import HistorySettings
from archiver.settings.parts import (
    NO_FLAG,
    PART,
    EnvironmentSecret,
    EnvironmentSecrets,
    Host,
    HttpUrl,
    Origin,
)
from archiver.settings.query import AthenaSettings, CatalogsSettings, IcebergSettings, SearchSettings

ENVIRONMENT_PREFIX = "ARCHIVER_"
ENVIRONMENT_DELIMITER = "__"

SPOOL_HERE = "sqlite"

_MEBIBYTE = 1024 * 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ACCOUNT = re.compile(r"[0-9]{12}")
_PRINTABLE_ASCII = re.compile(r"[\x21-\x7e]*")
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class S3Address:
    """An archive in a bucket: the bucket's name and the key prefix, without slashes at its ends."""

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class SqsAddress:
    """A spool in a queue: the queue's name, and the account that owns it if that is another one."""

    queue: str
    account: str | None


def _archive(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator:
        return value
    if scheme != "s3":
        raise ValueError("must be a folder or s3://bucket/prefix")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("must name a bucket: 3 to 63 lower-case letters, digits, dots and hyphens after s3://")
    segments = prefix.rstrip("/").split("/") if prefix.rstrip("/") else []
    if not _PRINTABLE_ASCII.fullmatch(prefix) or any(segment in ("", ".", "..") for segment in segments):
        raise ValueError("must have a prefix of printable ASCII without empty, . or .. segments")
    return f"s3://{bucket}/{'/'.join(segments)}".rstrip("/")


def place_of(text: str) -> Path | S3Address:
    """Return the folder, or the address in a bucket, that a text names; raises `ValueError` that ends a sentence about it."""
    scheme, separator, rest = _archive(text).partition("://")
    if not separator or scheme != "s3":
        return Path(text)
    bucket, _, prefix = rest.partition("/")
    return S3Address(bucket=bucket, prefix=prefix)


def _spool(value: str) -> str:
    if value == SPOOL_HERE:
        return value
    scheme, separator, rest = value.partition("://")
    *account, queue = rest.split("/")
    if not separator or scheme != "sqs" or len(account) > 1:
        raise ValueError("must be sqlite, sqs://queue or sqs://account/queue")
    if queue.endswith(".fifo"):
        raise ValueError("must name a standard queue: a .fifo queue takes less, and its order is not needed")
    if not _QUEUE.fullmatch(queue):
        raise ValueError("must name a queue: 1 to 80 letters, digits, hyphens and underscores after sqs://")
    if account and not _ACCOUNT.fullmatch(account[0]):
        raise ValueError("must name an account by its 12 digits")
    return value


def _workspace(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must be a name of printable characters")
    return value.strip()


def _off(value: object) -> object:
    # YAML 1.1 reads a bare `off` as no.
    return "off" if value is False else value


def _person(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must name a person or a decision, in printable characters")
    return value.strip()


class _Part(BaseModel):
    model_config = PART


class S3Settings(_Part):
    """Where the object store answers. Credentials come from boto3's own chain: AWS_… variables, profile or instance role."""

    endpoint_url: HttpUrl | None = None
    """Address of a store other than Amazon's, such as http://127.0.0.1:8333."""
    region: str | None = None
    """Region of the bucket; by default boto3's own."""


class SqsSettings(_Part):
    """Where the queue of `spool: sqs://…` answers. Credentials come from boto3's own chain, as for `s3`."""

    endpoint_url: HttpUrl | None = None
    """Address of a queue service other than Amazon's, such as http://127.0.0.1:9324."""
    region: str | None = None
    """Region of the queue; by default `s3.region`, else boto3's own."""


class FlockSettings(_Part):
    """How Flock's API is called (documented limits are unknown, so the defaults are careful)."""

    base_url: HttpUrl = "https://api.flock.co/v1"
    """Address of the API."""
    auth: Literal["both", "body", "header"] = "both"
    """Where the token travels: as the `token` parameter, as the Authorization header, or both."""
    requests_per_second: Annotated[float, Field(gt=0, le=1000), NO_FLAG] = 1.0
    """Requests per second and token; halved when Flock answers 429, slowly recovered."""
    connections: Annotated[int, Field(ge=1, le=64), NO_FLAG] = 8
    """Connections at once."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600), NO_FLAG] = 30.0
    """Patience with one request."""
    tries_max: Annotated[int, Field(ge=1, le=20), NO_FLAG] = 6
    """Tries of a request before Flock counts as unreachable."""
    tokens: EnvironmentSecrets = None
    tokens_file: Path | None = None
    """File with the user tokens: a JSON object from user id to token. Or ARCHIVER_FLOCK__TOKENS with the same JSON."""


class ListenSettings(_Part):
    """The listener that Flock's outgoing webhooks and app events reach, best behind a proxy that speaks https."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535), NO_FLAG] = 8080
    """Port to listen on; 0 takes a free one."""
    path_secret: EnvironmentSecret = None
    path_secret_file: Path | None = None
    """File with the secret part of the webhook address /hooks/<secret>/<name>. Or ARCHIVER_LISTEN__PATH_SECRET."""
    app_id: str | None = None
    """Id of the Flock app whose events are taken; without it there is no /events."""
    app_secret: EnvironmentSecret = None
    app_secret_file: Path | None = None
    """File with the app's secret, which signs its event tokens. Or ARCHIVER_LISTEN__APP_SECRET."""
    event_leeway_seconds: Annotated[int, Field(ge=0, le=3600), NO_FLAG] = 60
    """Tolerance of the clock when an event token is checked."""
    body_bytes_max: Annotated[int, Field(ge=1024, le=64 * _MEBIBYTE), NO_FLAG] = 4 * _MEBIBYTE
    """Largest push that is taken; larger ones are answered 413."""
    public_url: HttpUrl | None = None
    """Address under which Flock reaches the listener, such as https://archiver.acme.com; callback URLs begin with it."""
    webhook_owners: dict[str, str] = {}
    """Who made which webhook, by its name, as a user id; for `archiver webhooks`, where the name itself does not tell."""
    webhook_tokens: EnvironmentSecrets = None
    webhook_tokens_file: Path | None = None
    """File with the webhooks' tokens: a JSON object from webhook name to token. Or ARCHIVER_LISTEN__WEBHOOK_TOKENS."""
    token_key: EnvironmentSecret = None
    token_key_file: Path | None = None
    """File with the Fernet key that encrypts the tokens of installing users. Or ARCHIVER_LISTEN__TOKEN_KEY."""


class RunSettings(_Part):
    """The nightly run."""

    messages_per_commit: Annotated[int, Field(ge=1, le=1_000_000), NO_FLAG] = 20_000
    """Most messages of one commit, which bounds memory."""
    minutes_per_commit: Annotated[float, Field(gt=0, le=1440), NO_FLAG] = 10.0
    """Longest time between commits while messages come."""


class SweepSettings(_Part):
    """Reading known messages again, because Flock tells nobody of edits and deletions."""

    hot_days: Annotated[int, Field(ge=0, le=366), NO_FLAG] = 7
    """Days, today included, whose messages are read again every night."""
    full_within_days: Annotated[int, Field(ge=1, le=3660), NO_FLAG] = 30
    """Every older message is read again within so many days."""
    requests_max: Annotated[int, Field(ge=100, le=10_000_000), NO_FLAG] = 5_000
    """Most requests of one night; each reads up to 25 messages of one chat."""
    hours_between: Annotated[float, Field(gt=0, le=20), NO_FLAG] = 12.0
    """Runs closer together than this are one night: they share its requests and read no day twice."""


class GapsSettings(_Part):
    """What counts as something that may be missing."""

    silent_days: Annotated[float, Field(gt=0, le=3660), NO_FLAG] = 14.0
    """A channel's webhook counts as silent if others have delivered so many days after its last push."""


class FilesSettings(_Part):
    """Downloads of the files that messages carry."""

    hosts_allowed: tuple[Host, ...] = (
        "flockusercontent.com",
        "flockusercontent2.com",
        "flockusercontent3.com",
        "flock.co",
        "flock.com",
    )
    """Hosts that files may come from, their subdomains included."""
    trusted_origins: tuple[Origin, ...] = ()
    """Exact origins for which plain http and private addresses are allowed; for tests and the demo."""
    size_bytes_max: Annotated[int, Field(ge=1), NO_FLAG] = 2048 * _MEBIBYTE
    """Largest file that is downloaded."""
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400), NO_FLAG] = 300.0
    """Patience with one download."""
    connections: Annotated[int, Field(ge=1, le=64), NO_FLAG] = 4
    """Downloads at once."""


class HoldsSettings(_Part):
    """Legal holds; `archiver hold` places them."""

    mirror: bool = False
    """Put what they cover under S3 Object Lock legal holds too, in a bucket that has them; needs s3:PutObjectLegalHold and more."""


class RetentionSettings(_Part):
    """Retention: which policy says what is kept how long, and whether a run does something about it."""

    policy: Path = Path("./policies/default.yaml")
    """File of the policy, for `archiver retention` and for runs."""
    mode: Annotated[Literal["off", "plan", "apply"], BeforeValidator(_off)] = "off"
    """What a run does: nothing; make a plan and store it; or make a plan and apply it, if it passes no limit of the policy."""
    approved_by: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_person)] | None = None
    """Who approves what runs apply by themselves; needed for `mode: apply`, and named in every certificate."""

    @model_validator(mode="after")
    def _fits_together(self) -> RetentionSettings:
        if self.mode == "apply" and self.approved_by is None:
            raise ValueError("mode: apply needs approved_by: who answers for what runs remove by themselves")
        return self


class Settings(BaseSettings):
    """Configuration of the archiver: this file, then ARCHIVER_… variables (nested with __) over it."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=ENVIRONMENT_DELIMITER,
        # A compose file passes a variable that is not set as an empty one.
        env_ignore_empty=True,
        title="archiver.yaml",
    )

    workspace: Annotated[str, Field(max_length=200), AfterValidator(_workspace)]
    """Name of the Flock team; written into the archive once."""
    archive: Annotated[str, Field(min_length=1), AfterValidator(_archive)] = "./archive"
    """The archive: a folder, or s3://bucket/prefix. Relative paths are relative to this file."""
    state: Path = Path("./state")
    """This machine's own folder: spool, lock and encrypted tokens. Never inside the archive."""
    spool: Annotated[str, AfterValidator(_spool)] = SPOOL_HERE
    """Where pushes wait for a run: `sqlite`, a file in `state`; or sqs://queue (sqs://account/queue), for several listeners."""
    s3: S3Settings = S3Settings()
    sqs: SqsSettings = SqsSettings()
    flock: FlockSettings = FlockSettings()
    listen: ListenSettings = ListenSettings()
    run: RunSettings = RunSettings()
    sweep: SweepSettings = SweepSettings()
    files: FilesSettings = FilesSettings()
    gaps: GapsSettings = GapsSettings()
    history: HistorySettings = HistorySettings()
    holds: HoldsSettings = HoldsSettings()
    retention: RetentionSettings = RetentionSettings()
    search: SearchSettings = SearchSettings()
    catalogs: CatalogsSettings = CatalogsSettings()
    athena: AthenaSettings = AthenaSettings()
    iceberg: IcebergSettings = IcebergSettings()

    def place(self) -> Path | S3Address:
        """Return where the archive lies: an absolute folder, or an address in a bucket."""
        return place_of(self.archive)

    def queue(self) -> SqsAddress | None:
        """Return the queue that pushes wait in, None if they wait in a file."""
        if self.spool == SPOOL_HERE:
            return None
        account, _, queue = self.spool.partition("://")[2].rpartition("/")
        return SqsAddress(queue=queue, account=account or None)

    def is_flock_in_clear(self) -> bool:
        """Tell whether tokens would cross a network unencrypted."""
        parts = urlsplit(self.flock.base_url)
        return parts.scheme == "http" and parts.hostname not in _LOOPBACK_HOSTS

    def are_pushes_in_clear(self) -> bool:
        """Tell whether messages and the webhooks' secrets would cross a network unencrypted."""
        parts = urlsplit(self.listen.public_url or "")
        return parts.scheme == "http" and parts.hostname not in _LOOPBACK_HOSTS

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the environment first, then what the file says, and nothing else."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings
