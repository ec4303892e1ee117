"""Checks a package as a whole: the bag, the numbers of its report, and each format by its own checker.

Memory does not grow with the files and messages of a package, only with its conversations: what must be remembered of them lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from archiver.discovery.checks import checker
from archiver.discovery.checks.bag import DATA, TAG_MANIFEST, Digests, Manifest, Paths, is_inside, read_bag
from archiver.discovery.checks.findings import Finding, FormatFacts, PackageFacts
from archiver.discovery.checks.remembered import Remembered
from archiver.errors import ArchiverError, UsageError

REPORT_PATH: Final = "report.json"
VOLUMES_PATH: Final = "volumes.json"
# Where what makes a package notes which one, until it is whole.
BEGUN_PATH: Final = ".export/begun.json"
FINDINGS_MAX: Final = 10_000
"""In each bag; what else is wrong is not looked for."""
_NATIVES: Final = "natives"
# What the list of volumes repeats from their reports, and what it says of each.
_SAID_BY_ALL: Final = ("format", "export_id", "matter", "archive", "head", "software", "asked")
_VOLUME_FIELDS: Final = ["folder", "tagmanifest_sha256", "messages"]
_ADDED: Final = (
    "captures",
    "messages",
    "context",
    "versions",
    "files",
    "files_stored",
    "files_withheld",
    "files_missing",
)
# A capture is a row of the archive; what is left out of these is no version of the package.
_CAPTURES_LEFT_OUT: Final = (
    "captures_of_the_same_version",
    "captures_without_uid_of_the_same_message",
    "earlier_versions",
)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome: what was found, and what the package says that it is.

    ``digest`` is that of the tag manifest, of several volumes that of the list of them.
    """

    findings: tuple[Finding, ...]
    digest: str | None = None
    matter: str | None = None
    messages: int = 0
    files: int = 0
    formats: tuple[str, ...] = ()
    volumes: int = 1


@dataclass(slots=True)
class _Bag:
    folder: Path
    prefix: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """There is room for no more, and the last finding says so."""
        return len(self.findings) > FINDINGS_MAX

    def find(self, path: str, code: str, what: str, place: str | None = None) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(self.prefix + path, place, code, what))
        elif not self.is_full:
            more = f"more is wrong than {FINDINGS_MAX} findings tell; nothing after them was looked at"
            self.findings.append(Finding(f"{self.prefix}{REPORT_PATH}", None, "more", more))

    def take(self, findings: Iterable[Finding]) -> None:
        """Take what a checker finds, as far as there is room; where there is none it is read no further."""
        for finding in findings:
            self.find(finding.path, finding.code, finding.what, finding.place)
            if self.is_full:
                return


def check_package(folder: Path, *, progress: Progress | None = None) -> Checked:
    """Return what is wrong with a package; raises `UsageError` if there is nothing that looks like one."""
    told = progress or _silent
    if (folder / VOLUMES_PATH).is_file():
        return _check_volumes(folder, told)
    if not (folder / REPORT_PATH).is_file() and not (folder / "bagit.txt").is_file():
        if (folder / BEGUN_PATH).is_file():
            raise UsageError(
                f"{folder} is an export that was begun and is not whole",
                next_step="give the `archiver export` command that began it again, which goes on where it stopped; then check",
            )
        what = "no folder" if not folder.is_dir() else "no package: it has neither report.json nor bagit.txt"
        raise UsageError(
            f"{folder} is {what}",
            next_step="name the folder that `archiver export --to` made",
        )
    return _check_bag(folder, "", told)


def _check_volumes(folder: Path, told: Progress) -> Checked:
    own = _Bag(folder)
    found = list[Checked]()
    try:
        document = msgspec.json.decode((folder / VOLUMES_PATH).read_bytes())
        volumes = [
            (volume["folder"], volume["tagmanifest_sha256"], volume["messages"]) for volume in document["volumes"]
        ]
        total = int(document["totals"]["messages"])
    except (OSError, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        own.find(VOLUMES_PATH, "unreadable", f"cannot be read as the list of volumes: {error}")
        return Checked(tuple(own.findings))
    for name, digest, messages in volumes:
        if not isinstance(name, str) or not is_inside(name) or not (folder / name).is_dir():
            own.find(VOLUMES_PATH, "missing", f"the volume {name!r} is not there")
            continue
        checked = _check_bag(folder / name, f"{name}/", told)
        found.append(checked)
        if checked.digest != digest or checked.messages != messages:
            own.find(VOLUMES_PATH, "digest", f"the volume {name} is not the one that the list names")
    if not own.findings and not _is_made_of(document, folder, [name for name, _, _ in volumes]):
        own.find(VOLUMES_PATH, "digest", "is not the list that is made of these volumes, byte by byte")
    listed = {name for name, _, _ in volumes if isinstance(name, str)}
    for path in sorted(folder.iterdir()):
        if path.name not in listed and path.name != VOLUMES_PATH:
            own.find(path.name, "unnamed", "stands in no list of this package")
    if sum(checked.messages for checked in found) != total:
        own.find(VOLUMES_PATH, "count", f"the volumes do not have {total} messages together")
    findings = (*own.findings, *(finding for checked in found for finding in checked.findings))
    return Checked(
        findings,
        digest=sha256((folder / VOLUMES_PATH).read_bytes()).hexdigest(),
        matter=found[0].matter if found else None,
        messages=sum(checked.messages for checked in found),
        files=sum(checked.files for checked in found),
        formats=found[0].formats if found else (),
        volumes=len(volumes),
    )


def _is_made_of(document: Mapping[str, Any], folder: Path, names: Sequence[str]) -> bool:
    """Tell whether a list of volumes says what their reports say together, and is written as it was made: nothing else names it."""
    try:
        reports = [msgspec.json.decode((folder / name / REPORT_PATH).read_bytes()) for name in names]
        chats = {each["chat_id"] for report in reports for each in report["conversations"]}
        totals = {
            name: sum(report["totals"][name] for report in reports)
            for name, value in reports[0]["totals"].items()
            if isinstance(value, int)
        }
        expected = {
            **{name: reports[0][name] for name in _SAID_BY_ALL},
            "totals": {**totals, "conversations": len(chats)},
            "volumes": document["volumes"],
        }
        entries = [list(volume) for volume in document["volumes"]]
    except (OSError, msgspec.MsgspecError, LookupError, TypeError, ValueError, AttributeError):
        return False
    written = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    return (
        document == expected
        and all(entry == _VOLUME_FIELDS for entry in entries)
        and written == (folder / VOLUMES_PATH).read_bytes()
    )


def _check_bag(folder: Path, prefix: str, told: Progress) -> Checked:
    bag = _Bag(folder, prefix)
    with Remembered() as remembered:
        told("the files")
        manifest = Manifest(remembered)
        bag.take(read_bag(folder, manifest))
        told("the numbers")
        report = _read_report(bag)
        facts = None if report is None else _facts(bag, report, manifest)
        if report is not None and facts is not None:
            _check_counts(bag, report)
            for name in sorted(facts.formats):
                told(name)
                _check_format(bag, name, facts)
        tags = folder / TAG_MANIFEST
        return Checked(
            tuple(bag.findings),
            digest=sha256(tags.read_bytes()).hexdigest() if tags.is_file() else None,
            matter=None if facts is None else facts.matter,
            messages=0 if facts is None else facts.messages,
            files=manifest.count(DATA),
            formats=() if facts is None else tuple(sorted(facts.formats)),
        )


def _read_report(bag: _Bag) -> Mapping[str, Any] | None:
    try:
        report = msgspec.json.decode((bag.folder / REPORT_PATH).read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        bag.find(REPORT_PATH, "unreadable", f"cannot be read: {error}")
        return None
    if not isinstance(report, dict):
        bag.find(REPORT_PATH, "unreadable", "is no report")
        return None
    return report


def _facts(bag: _Bag, report: Mapping[str, Any], manifest: Manifest) -> PackageFacts | None:
    try:
        totals = report["totals"]
        formats = {
            name: FormatFacts(int(found["messages"]), int(found["files"]), Paths(manifest, f"{DATA}{name}/"))
            for name, found in report["formats"].items()
        }
        return PackageFacts(
            matter=str(report["matter"]),
            archive_id=str(report["archive"]["id"]),
            head_sequence=int(report["head"]["sequence"]),
            head_digest=str(report["head"]["digest"]),
            zone=str(report["zone"]),
            messages=int(totals["messages"]),
            message_versions=int(totals["versions"]),
            files=int(totals["files"]),
            missing_files=int(totals["files_missing"]) + int(totals["files_withheld"]),
            conversations={str(each["chat_id"]): int(each["messages"]) for each in report["conversations"]},
            formats=formats,
            natives=Digests(manifest, f"{DATA}{_NATIVES}/"),
            is_redacted=bool(report["is_redacted"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        bag.find(REPORT_PATH, "unreadable", f"lacks what a report says: {error!r}")
        return None


def _check_counts(bag: _Bag, report: Mapping[str, Any]) -> None:
    """Hold the numbers of a report against each other; what is no number is told as one that does not add up."""
    try:
        totals = report["totals"]
        for name in _ADDED:
            _require_equal(bag, name, sum(each[name] for each in report["conversations"]), totals[name])
        _require_equal(bag, "messages_by_type", sum(report["messages_by_type"].values()), totals["messages"])
        kinds = sum(totals[name] for name in ("files_stored", "files_withheld", "files_missing"))
        _require_equal(bag, "files", kinds, totals["files"])
        left_out = sum(report["left_out"].get(name, 0) for name in _CAPTURES_LEFT_OUT)
        _require_equal(bag, "captures", totals["versions"] + left_out, totals["captures"])
        reasons = sum(report["missing"]["files_by_reason"].values())
        _require_equal(bag, "files_by_reason", reasons, totals["files_missing"])
        for name, found in sorted(report["formats"].items()):
            _require_equal(bag, f"formats/{name}/messages", found["messages"], totals["messages"])
    except (LookupError, TypeError, AttributeError) as error:
        bag.find(REPORT_PATH, "count", f"its numbers cannot be added up: {error!r}")


def _require_equal(bag: _Bag, what: str, found: int, expected: int) -> None:
    if found != expected:
        bag.find(REPORT_PATH, "count", f"does not add up: {found} by its parts, {expected} together", f"/{what}")


def _check_format(bag: _Bag, name: str, facts: PackageFacts) -> None:
    check = checker(name)
    if check is None:
        bag.find(
            f"{DATA}{name}",
            "unknown",
            "this version has no checker for this format; its files are as they were made or not",
        )
        return
    try:
        bag.take(check(bag.folder, facts))
    except ArchiverError:  # no fault of the package: the disk for what must be remembered is full
        raise
    except Exception as error:  # noqa: BLE001 - a file that makes a checker fail is a finding, and the others are still looked at
        bag.find(f"{DATA}{name}", "unreadable", f"its checker could not read it: {error!r}")


def _silent(_: str) -> None:
    """Tell nobody."""
