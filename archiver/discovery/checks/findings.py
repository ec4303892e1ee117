"""What the check of a package finds, and what the package says of itself, which its files are held against."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    ``path`` is the file, relative to the package with slashes; ``place`` a line, a row or a JSON pointer in it, None for the whole file.
    ``code`` is a stable word for the kind of finding (``digest``, ``count``, ``order``, …), ``what`` a sentence.
    """

    path: str
    place: str | None
    code: str
    what: str


@dataclass(frozen=True, slots=True)
class FormatFacts:
    """What the report says of one format: how many messages and files of messages it has, and the paths of its files.

    ``paths`` are relative to the package, with slashes, and begin with ``data/<format>/``.
    """

    messages: int
    files: int
    paths: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What a package's ``report.json`` says, as checkers need it.

    ``messages`` and ``files`` are what every format must come to (``formats`` tells of each, with what its writer said of it);
    ``conversations`` counts messages by chat id, and ``message_versions`` all versions that the package has. ``missing_files`` counts
    files of messages that stand in it as placeholders. ``natives`` maps the path of each native, relative to the package
    (``data/natives/…``), to its SHA-256. ``zone`` names the time zone of what readers see.
    """

    matter: str
    archive_id: str
    head_sequence: int
    head_digest: str
    zone: str
    messages: int
    message_versions: int
    files: int
    missing_files: int = 0
    conversations: Mapping[str, int] = field(default_factory=dict)
    formats: Mapping[str, FormatFacts] = field(default_factory=dict)
    natives: Mapping[str, str] = field(default_factory=dict)
    is_redacted: bool = False
