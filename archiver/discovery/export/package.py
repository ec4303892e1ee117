"""Makes a package: everything that was chosen, in every form that was asked for, as one bag or several, whole or to be gone on with.

The same head and the same options give the same bytes, on any machine and however often it was interrupted: nothing here reads a clock, and
what a second try finds whole is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from archiver.archive.ledger import canonical_json
from archiver.discovery.export.bag import DATA, write_bag
from archiver.discovery.export.cover import cover_page
from archiver.discovery.export.formats import FORMATS
from archiver.discovery.export.halves import Half, terms_of_half
from archiver.discovery.export.journal import Begun, FileLine, read_begun
from archiver.discovery.export.payload import STORED, Payload
from archiver.discovery.export.pdf_text import read_fonts
from archiver.discovery.export.record import Slice, Terms
from archiver.discovery.export.report import Told, encoded, report_document
from archiver.discovery.export.targets import OWN_FOLDER, Target
from archiver.discovery.export.writing import Contents, Desk, Progress
from archiver.errors import KeyMissingError, RefusedError

REPORT_PATH: Final = "report.json"
VOLUMES_PATH: Final = "volumes.json"
CHECK_SCRIPT: Final = (Path(__file__).parent / "receiver_check.txt").read_bytes()
VOLUME_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Order:
    """What a package is made of and how: the formats by name, and the size at which a new volume begins, None for a single one.

    ``begun`` says which export it is; ``told`` is what its reports say of the question.
    """

    begun: Begun
    told: Told
    formats: tuple[str, ...]
    volume_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A package that is whole. ``digest`` is the SHA-256 of its tag manifest, of several volumes that of the list of them.

    ``totals`` are the report's, over all volumes; ``is_new`` is False for one that was whole before.
    """

    digest: str
    totals: Mapping[str, int]
    volumes: int
    is_new: bool = True
    reports: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


def export_id(facts: Mapping[str, Any]) -> str:
    """Return the digest of all that decides the bytes of an export."""
    return sha256(canonical_json(dict(facts))).hexdigest()


def begun_in(target: Target) -> Begun | None:
    """Return which export a place has, whole or begun; None if it is empty.

    Raises `RefusedError` if something else is there: nothing of others is ever written over.
    """
    begun = read_begun(target)
    if begun is not None:
        return begun
    for path in (VOLUMES_PATH, REPORT_PATH):
        try:
            report = msgspec.json.decode(target.read(path))
            return Begun(
                export_id=report["export_id"],
                matter=report["matter"],
                archive_id=report["archive"]["id"],
                head_sequence=report["head"]["sequence"],
                head_digest=report["head"]["digest"],
            )
        except (KeyMissingError, msgspec.MsgspecError, LookupError, TypeError):
            continue
    for path in target.paths():
        if not path.startswith(f"{OWN_FOLDER}/"):
            raise RefusedError(
                f"{target.url} is not empty: it has {path}, and no export of ours",
                next_step="name a new or an empty folder; nothing was written",
            )
    return None


def require_same(found: Begun, asked: Begun, place: str) -> None:
    """Raise `RefusedError` unless what a place has is the export that is asked for."""
    if found == asked:
        return
    if (found.archive_id, found.head_sequence, found.head_digest) != (
        asked.archive_id,
        asked.head_sequence,
        asked.head_digest,
    ):
        what = f"of another head, entry {found.head_sequence}"
    elif found.matter != asked.matter:
        what = f"for another matter, {found.matter}"
    else:
        what = "with other options"
    raise RefusedError(
        f"{place} has an export {what}",
        next_step="give the options that it was made with, or name another folder; nothing was written",
    )


class Packing:
    """Writes the slices of an export as one bag or several at a desk, and what stands around them; used once."""

    def __init__(self, desk: Desk, order: Order) -> None:
        self._desk = desk
        self._target = desk.target
        self._journal = desk.journal
        self._order = order
        self._volume = 1

    def run(
        self,
        terms: Terms,
        half: Half,
        slices: Iterable[Slice],
        *,
        other: Callable[[], Contents] | None = None,
        progress: Progress | None = None,
    ) -> Made:
        """Write everything; raises `StorageError` if the place cannot, after which the same call goes on.

        The slices are of a half, and ``other`` returns what was written of the other one, where there is one.
        """
        reports: list[dict[str, Any]] = []
        tags: list[FileLine] = []
        if self._desk.executor is not None:
            self._desk.executor.submit(read_fonts)
        for batch in self._volumes(slices):
            contents = self._desk.write(
                terms_of_half(terms, half),
                batch,
                self._order.formats,
                prefix=self._prefix + DATA,
                progress=progress,
                other=other,
            )
            report, tag = self._tag(terms, contents)
            reports.append(report)
            tags.append(tag)
            self._volume += 1
        digest = tags[0].sha256
        if self._order.volume_bytes is not None:
            digest = self._list_volumes(reports, tags)
        self._journal.flush()
        self._require_nothing_else()
        self._journal.end()
        return Made(digest, _together(reports), len(reports), reports=tuple(reports))

    @property
    def _prefix(self) -> str:
        return f"volume-{self._volume:0{VOLUME_DIGITS}d}/" if self._order.volume_bytes is not None else ""

    def _volumes(self, slices: Iterable[Slice]) -> Iterator[Iterator[Slice]]:
        """Yield the slices of each volume, one volume after another; there is one even if there is no slice."""
        limit = self._order.volume_bytes
        source = iter(slices)
        if limit is None:
            yield source
            return
        waiting = next(source, None)
        while True:
            volume = _Volume(source, waiting, limit=limit, forms=len(self._order.formats))
            yield iter(volume)
            waiting = volume.next
            if waiting is None:
                return

    def _tag(self, terms: Terms, contents: Contents) -> tuple[dict[str, Any], FileLine]:
        tally, written = contents.tally, contents.written
        told = self._order.told
        tags = Payload(self._target, self._journal, prefix=self._prefix)
        report = report_document(terms, told, tally, written)
        in_words = {name: words for name, (_, words) in FORMATS.items()}
        cover = cover_page(terms, tally, written, asked=told.asked, formats=in_words)
        for path, data in ((REPORT_PATH, encoded(report)), ("cover.pdf", cover), ("check.py", CHECK_SCRIPT)):
            with tags.open(path) as stream:
                stream.write(data)
        info = {
            "Source-Organization": terms.workspace,
            "External-Description": f"Messages of the Flock workspace {terms.workspace} for the matter {terms.matter}",
            "External-Identifier": terms.matter,
            "Internal-Sender-Identifier": told.export_id,
            "Bag-Software-Agent": terms.software,
        }
        tag = write_bag(tags, self._journal, prefix=self._prefix, info=info, made_at_ms=terms.made_at_ms)
        return report, tag

    def _list_volumes(self, reports: list[dict[str, Any]], tags: list[FileLine]) -> str:
        first = reports[0]
        document = {
            **{name: first[name] for name in ("format", "export_id", "matter", "archive", "head", "software", "asked")},
            "totals": _together(reports),
            "volumes": [
                {
                    "folder": tag.path.partition("/")[0],
                    "tagmanifest_sha256": tag.sha256,
                    "messages": report["totals"]["messages"],
                }
                for report, tag in zip(reports, tags, strict=True)
            ],
        }
        root = Payload(self._target, self._journal, prefix="")
        with root.open(VOLUMES_PATH) as stream:
            stream.write(encoded(document))
        found = root.known(VOLUMES_PATH)
        assert found is not None
        return found.sha256

    def _require_nothing_else(self) -> None:
        """Raise `RefusedError` if somebody put something among the files while they were made: the bag would not be whole."""
        for path in self._target.paths():
            if not path.startswith(f"{OWN_FOLDER}/") and self._journal.known(path) is None:
                raise RefusedError(
                    f"{self._target.url} has {path}, which is no file of this export",
                    next_step="move it away, and give the same command again",
                )


class _Volume:
    """The slices of one volume: at least one, and no more than fit, as far as can be told before they are written."""

    def __init__(self, source: Iterator[Slice], first: Slice | None, *, limit: int, forms: int) -> None:
        self._source = source
        self._limit = limit
        self._forms = max(1, forms)
        self.next = first

    def __iter__(self) -> Iterator[Slice]:
        size = 0
        while self.next is not None:
            of_next = _size(self.next, self._forms)
            if size and size + of_next > self._limit:
                return
            size += of_next
            part, self.next = self.next, None
            yield part
            self.next = next(self._source, None)


def whole_package(target: Target) -> Made | None:
    """Return what a place has if that is whole; None if it is not. The bytes are not looked at: `archiver export check` does that."""
    if read_begun(target) is not None:
        return None
    reports, digest, count = [], None, 1
    try:
        digest = sha256(target.read(VOLUMES_PATH)).hexdigest()
        volumes = msgspec.json.decode(target.read(VOLUMES_PATH))["volumes"]
        count = len(volumes)
        reports = [msgspec.json.decode(target.read(f"{volume['folder']}/{REPORT_PATH}")) for volume in volumes]
    except KeyMissingError:
        try:
            digest = sha256(target.read("tagmanifest-sha256.txt")).hexdigest()
            reports = [msgspec.json.decode(target.read(REPORT_PATH))]
        except KeyMissingError:
            return None
    return Made(digest, _together(reports), count, is_new=False, reports=tuple(reports))


def _size(part: Slice, forms: int) -> int:
    """Return about how many bytes a slice takes: its texts in each form, and its files once."""
    texts = sum(
        len(each.text) + len(each.raw or "") + len(each.flockml or "")
        for message in part.messages
        for each in message.versions
    )
    files = sum(file.size or 0 for message in part.messages for file in message.files if file.status == STORED)
    return texts * forms + files


def _together(reports: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the totals of all volumes; a conversation that is in several counts once."""
    found: dict[str, int] = {}
    chats: set[str] = set()
    for report in reports:
        chats.update(each["chat_id"] for each in report["conversations"])
        for name, value in report["totals"].items():
            if isinstance(value, int):
                found[name] = found.get(name, 0) + value
    return {**found, "conversations": len(chats)}
