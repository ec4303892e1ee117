"""Settings: ``archiver.yaml``, then ``ARCHIVER_…`` variables over it; the only reader of the environment.

`load` returns frozen `Settings`. What is wrong in them is named by file, line and key (``archiver.yaml:12: flock.auth: …``) or by
variable, all of it at once. A secret is never literal in the file: it comes from a variable or from a file that a ``*_file`` key
names, is read when it is needed (an analyst's query needs none), and lives in a `SecretStr`.

- `archiver.settings.models`: the keys, their limits and what they mean.
- `archiver.document`, a floor below: YAML with line numbers, and what of YAML is refused.
- `archiver.settings.loading`: file and environment, and the sentences about mistakes.
- `archiver.settings.secrets`: secrets from variables and files.
"""

from __future__ import annotations

from archiver.settings.loading import load, warnings
from archiver.settings.models import (
    FilesSettings,
    FlockSettings,
    ListenSettings,
    RetentionSettings,
    RunSettings,
    S3Address,
    S3Settings,
    Settings,
    SqsAddress,
    SqsSettings,
    SweepSettings,
    place_of,
)
from archiver.settings.schema import schema_text
from archiver.settings.secrets import Secrets

__all__ = [
    "FilesSettings",
    "FlockSettings",
    "ListenSettings",
    "RetentionSettings",
    "RunSettings",
    "S3Address",
    "S3Settings",
    "Secrets",
    "Settings",
    "SqsAddress",
    "SqsSettings",
    "SweepSettings",
    "load",
    "place_of",
    "schema_text",
    "warnings",
]
