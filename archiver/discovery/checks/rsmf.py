"""Reads RSMF 2.0 files back: the mail, the zip in it, the manifest in that, and whether all three say the same.

Everything is read with the standard library and in bounded memory: a file of gigabytes, a zip that unpacks to more than it says, a
manifest without end are told of and not followed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from archiver.discovery.checks.findings import Finding, PackageFacts
from archiver.discovery.checks.mime_parts import Part, read_parts
from archiver.discovery.checks.remembered import Remembered
from archiver.discovery.checks.rsmf_manifest import Manifest, Told, check_manifest, customs, instant, load
from archiver.discovery.checks.tree import files_below

FILE_BYTES_MAX = 2_000_000_000
EVENTS_MAX = 10_000
SPAN_MAX = timedelta(hours=25)
"""A day, on which clocks may be put back."""
MANIFEST_BYTES_MAX = 400_000_000
UNPACKED_BYTES_MAX = 4_000_000_000
RATIO_MAX = 200
ENTRIES_MAX = 100_000
HEADER_NAME_CHARACTERS_MAX = 255
MANIFEST: Final = "rsmf_manifest.json"

_CHUNK_BYTES = 1 << 20
_ENCRYPTED = 0x1
_PART_OF = re.compile(r"\bpart \d+ of \d+\b")
_UNREADABLE = (BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError)


class _Reader:
    """What is known across files: how many messages and files there are, and which conversation-days have several files."""

    def __init__(self, remembered: Remembered) -> None:
        self.messages: Counter[str] = Counter()
        self.files = 0
        self._of_day = remembered.counts()
        self._whole = remembered.notes()

    def day(self, chat_id: str, day: str, name: str, *, says_part: bool) -> None:
        """Note that a file has a conversation's day, and whether it says that it is a part of it."""
        self._of_day.add(f"{day}\0{chat_id}", 1)
        if not says_part:
            self._whole.put(f"{name}\0{chat_id}", f"{day}\0{chat_id}")

    def alone(self) -> Iterator[tuple[str, str, int]]:
        """Yield the files that do not say that they are parts and are: their name, the day, and how many files it has."""
        for place, day in self._whole.items():
            files = self._of_day.of(day)
            if files > 1:
                yield place.partition("\0")[0], day.partition("\0")[0], files


def check(folder: Path, facts: PackageFacts) -> Iterator[Finding]:
    """Yield what is not as RSMF 2.0 or the package's report has it."""
    with Remembered() as remembered:
        yield from _check(folder, facts, _Reader(remembered))


def _check(folder: Path, facts: PackageFacts, reader: _Reader) -> Iterator[Finding]:
    for file in files_below(folder, "data/rsmf"):
        if not file.path.endswith(".rsmf") or not file.is_plain:
            yield Finding(file.path, None, "stray", "this is no RSMF file")
            continue
        if file.size > FILE_BYTES_MAX:
            yield Finding(file.path, None, "size", f"it is larger than {FILE_BYTES_MAX} bytes")
        for place, code, what in _check_file(folder / file.path, file.path, reader):
            yield Finding(file.path, place or None, code, what)
    for name, day, files in reader.alone():
        yield Finding(name, "Subject", "part", f"{day} has {files} files, and this one does not say which it is")
    yield from _counts(reader, facts)


def _counts(reader: _Reader, facts: PackageFacts) -> Iterator[Finding]:
    said = facts.formats.get("rsmf")
    if said is not None and said.messages != reader.messages.total():
        yield _count(f"{reader.messages.total()} messages stand in the files; the report has {said.messages}")
    if said is not None and said.files != reader.files:
        yield _count(f"{reader.files} files of messages stand in the files; the report has {said.files}")
    for chat_id in sorted(facts.conversations.keys() | reader.messages.keys()):
        found, wanted = reader.messages[chat_id], facts.conversations.get(chat_id, 0)
        if found != wanted:
            yield _count(f"{found} messages of {chat_id} stand in the files; the report has {wanted}")


def _count(what: str) -> Finding:
    return Finding("data/rsmf", None, "count", what)


def _check_file(path: Path, name: str, reader: _Reader) -> Iterator[Told]:
    told: list[Told] = []
    mail: Part | None = None
    manifest: Manifest | None = None
    zips = 0
    has_text = False
    with path.open("rb") as stream:
        for part in read_parts(stream, lambda *problem: told.append(problem)):
            mail = mail or part
            if part.is_attachment or part.file_name:
                zips += 1
                told.extend(_attachment(part))
                if zips == 1 and part.body is not None:
                    manifest, found = _check_zip(part.body)
                    told.extend(found)
            elif part.body is not None and part.media_type == "text/plain":
                has_text = has_text or bool(part.body.read(1))
    yield from told
    if mail is None:
        return
    if zips != 1:
        yield "", "attachment", f"there are {zips} attachments and not one"
    if not has_text:
        yield "", "transcript", "there is no readable transcript in the body"
    yield from _headers_alone(mail)
    if manifest is not None:
        yield from _headers_and_manifest(mail, manifest)
        _note(mail, manifest, name, reader)


def _attachment(part: Part) -> Iterator[Told]:
    if part.file_name != "rsmf.zip":
        yield part.place, "attachment", f"the attachment is called {part.file_name[:80]!r} and not rsmf.zip"
    if not part.is_attachment:
        yield part.place, "attachment", "its Content-Disposition is not attachment"
    if (part.header("Content-Transfer-Encoding") or "").strip().lower() != "base64":
        yield part.place, "attachment", "it is not in base64"


def _headers_alone(mail: Part) -> Iterator[Told]:
    for name in ("From", "To", "Subject"):
        if not mail.header(name):
            yield name, "header", f"there is no {name}"
    for name in mail.headers:
        if name.lower().startswith("x-rsmf-") and len(name) >= HEADER_NAME_CHARACTERS_MAX:
            yield name[:40], "header", f"the name of a header has {HEADER_NAME_CHARACTERS_MAX} characters or more"
    for name in ("X-RSMF-BeginDate", "X-RSMF-EndDate"):
        value = mail.header(name)
        if value is not None and instant(value.strip()) is None:
            yield name, "time", "it is no ISO 8601 instant with an offset"


def _headers_and_manifest(mail: Part, manifest: Manifest) -> Iterator[Told]:
    """Yield where headers and manifest differ; a header that may be left out is only looked at where it is there."""
    version = mail.header("X-RSMF-Version")
    if version is None or version.strip() != manifest.root["version"]:
        yield "X-RSMF-Version", "version", f"the header says {version!r}, the manifest {manifest.root['version']!r}"
    events = manifest.events
    times = sorted(at for event in events if (at := instant(event.get("timestamp"))) is not None)
    numbers = {
        "X-RSMF-EventCount": len(events),
        "X-RSMF-AttachmentCount": sum(len(event.get("attachments", ())) for event in events),
    }
    for name, number in numbers.items():
        value = mail.header(name)
        if value is not None and value.strip() != str(number):
            yield name, "header", f"it says {value.strip()[:20]}; the manifest has {number}"
    if times:
        for name, at in (("X-RSMF-BeginDate", times[0]), ("X-RSMF-EndDate", times[-1])):
            said = instant((mail.header(name) or "").strip())
            if said is not None and said != at:
                yield name, "header", f"it says {said.isoformat()}; the manifest's events have {at.isoformat()}"
        if times[-1] - times[0] > SPAN_MAX:
            yield "", "span", "the events are of more than a day"
    if len(events) > EVENTS_MAX:
        yield "", "events", f"there are {len(events)} events, and more than {EVENTS_MAX} are not to be in one file"
    collection = mail.header("X-RSMF-EventCollectionID")
    if collection is not None and collection != manifest.root.get("eventcollectionid"):
        yield "X-RSMF-EventCollectionID", "header", "it is not the manifest's eventcollectionid"
    yield from _people(mail, manifest)


def _people(mail: Part, manifest: Manifest) -> Iterator[Told]:
    shown = {item["id"]: _plain(item.get("display", "")) or _plain(item["id"]) for item in manifest.participants}
    listed = mail.header("X-RSMF-Participants")
    if listed is not None:
        names = sorted(_plain(name) for name in listed.split(",") if name.strip())
        if names != sorted(name for name in shown.values() if name):
            yield "X-RSMF-Participants", "header", "they are not the manifest's participants"
    custodians = {shown.get(item["custodian"], "") for item in manifest.conversations if "custodian" in item}
    custodian = mail.header("X-RSMF-Custodian")
    if custodian is not None and custodians and _plain(custodian) not in custodians:
        yield "X-RSMF-Custodian", "header", "it is not the custodian of a conversation of the manifest"
    recipients = mail.mailboxes("To")
    if shown and len(recipients) != len(shown):
        yield "To", "header", f"it names {len(recipients)} people; the manifest has {len(shown)}"
    first = next((event for event in manifest.events if event["type"] == "message" and "participant" in event), None)
    if first is not None:
        names = [_plain(name) for name, _ in mail.mailboxes("From")]
        if names not in ([shown.get(first["participant"])], [""]):
            yield "From", "header", "it is not the sender of the first message"


def _plain(name: str) -> str:
    """Return a name as headers have it: no commas and controls, nothing that turns the direction of writing, single spaces."""
    kept = re.sub("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "\ufffd", name)
    return re.sub("[,\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", kept).strip()


def _note(mail: Part, manifest: Manifest, name: str, reader: _Reader) -> None:
    """Keep what is compared across files."""
    for event in manifest.events:
        if event["type"] == "message":
            reader.messages[event.get("conversation", "")] += 1
        reader.files += len(event.get("attachments", ()))
    says_part = bool(_PART_OF.search(mail.header("Subject") or ""))
    begins = next((at for event in manifest.events if (at := instant(event.get("timestamp"))) is not None), None)
    for conversation in manifest.conversations:
        if isinstance(begins, datetime):
            reader.day(conversation["id"], begins.date().isoformat(), name, says_part=says_part)


def _check_zip(body: IO[bytes]) -> tuple[Manifest | None, list[Told]]:
    try:
        with ZipFile(body) as archive:
            told = list(_entries(archive.infolist()))
            if any(code in ("bomb", "encrypted", "zip-method") for _, code, _ in told):
                return None, told
            return _check_contents(archive, told)
    except _UNREADABLE as error:
        return None, [("rsmf.zip", "zip", f"the zip cannot be read: {str(error)[:200]}")]


def _entries(entries: list[ZipInfo]) -> Iterator[Told]:
    names = Counter(entry.filename for entry in entries)
    for entry in entries:
        name = entry.filename[:100]
        if entry.flag_bits & _ENCRYPTED:
            yield name, "encrypted", "it is encrypted"
        if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            yield name, "zip-method", "it is neither stored nor deflated"
        if "/" in entry.filename or "\\" in entry.filename or entry.filename in ("", ".", ".."):
            yield name, "zip-name", "it does not lie in the root of the zip"
        if names[entry.filename] > 1:
            yield name, "zip-name", f"{names[entry.filename]} entries have this name"
            names[entry.filename] = 0
        if entry.file_size > RATIO_MAX * max(entry.compress_size, 1) and entry.file_size > _CHUNK_BYTES:
            yield name, "bomb", f"it unpacks to more than {RATIO_MAX} times its size"
    if len(entries) > ENTRIES_MAX or sum(entry.file_size for entry in entries) > UNPACKED_BYTES_MAX:
        yield "rsmf.zip", "bomb", "it has more entries, or unpacks to more bytes, than a file may have"


def _check_contents(archive: ZipFile, told: list[Told]) -> tuple[Manifest | None, list[Told]]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    entry = entries.pop(MANIFEST, None)
    if entry is None:
        return None, [*told, ("rsmf.zip", "manifest", f"there is no {MANIFEST} in the root of the zip")]
    if entry.file_size > MANIFEST_BYTES_MAX:
        return None, [*told, (MANIFEST, "bomb", f"the manifest is larger than {MANIFEST_BYTES_MAX} bytes")]
    manifest, found = load(archive.read(entry))
    told += [(f"{MANIFEST}{pointer and '#' + pointer}", code, what) for pointer, code, what in found]
    if manifest is None:
        return None, told
    told += [(f"{MANIFEST}#{pointer}", code, what) for pointer, code, what in check_manifest(manifest)]
    told += _files(manifest, archive, entries)
    return manifest, told


def _files(manifest: Manifest, archive: ZipFile, entries: dict[str, ZipInfo]) -> Iterator[Told]:
    """Yield files that are named and not there, or there and not named, or not what the manifest says of them."""
    named: dict[str, str] = {}
    for number, event in enumerate(manifest.events):
        digests = dict(customs(event))
        for index, attachment in enumerate(event.get("attachments", ())):
            at = f"{MANIFEST}#/events/{number}/attachments/{index}"
            if attachment["id"] in named:
                yield at, "file", "an attachment before has the same name in the zip"
            named[attachment["id"]] = at
            entry = entries.get(attachment["id"])
            if entry is None:
                yield at, "file", f"{attachment['id'][:100]!r} is not in the zip"
            else:
                yield from _file(archive, entry, attachment, wanted=digests.get(f"sha256 of {attachment['id']}"), at=at)
    others = [person.get("avatar") for person in manifest.participants] + [
        chat.get("icon") for chat in manifest.conversations
    ]
    for name in others:
        if name is not None:
            named[name] = name
            if name not in entries:
                yield MANIFEST, "file", f"{name[:100]!r} is not in the zip"
    for name in sorted(entries.keys() - named.keys()):
        yield name[:100], "file", "the manifest does not name this file"


def _file(
    archive: ZipFile, entry: ZipInfo, attachment: dict[str, Any], *, wanted: str | None, at: str
) -> Iterator[Told]:
    if "." not in attachment["id"]:
        yield at, "file", "the name of an attachment has no extension"
    if "size" in attachment and attachment["size"] != entry.file_size:
        yield at, "file-size", f"it says {attachment['size']} bytes; the zip has {entry.file_size}"
    digest = sha256()
    with archive.open(entry) as stream:  # to the end, which is where its CRC is held against its bytes
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    if wanted is not None and wanted != digest.hexdigest():
        yield at, "digest", "the SHA-256 of the file is not the one that its message says"
