"""The files of a package as writers see them: each written once, hashed as it is written, and noted when it is whole."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from hashlib import md5, sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import msgspec

from archiver.archive import layout
from archiver.discovery.export.assembly import WITHHELD
from archiver.discovery.export.disk_file import DiskFile
from archiver.discovery.export.journal import FileLine, Journal, LostLine
from archiver.discovery.export.plain import changed, made_of
from archiver.discovery.export.record import File, GapNote, Message, Slice
from archiver.discovery.export.targets import Target, written_error
from archiver.errors import DamageFoundError, KeyMissingError, StorageError
from archiver.store import Store

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NATIVES: Final = "natives"
LOST: Final = "lost"
STORED: Final = "stored"
_CHUNK_BYTES: Final = 1024 * 1024
# What is hashed beside who writes: so much at once at least, and so much may wait.
BESIDE_BYTES: Final = 1024 * 1024
WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
# So many short files are ended while others are made.
ENDING_MAX: Final = 4
# What every file system and every store takes, and no more: a store's keys are ASCII.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,199}")


class Payload:
    """The sink of one bag: paths begin after ``prefix``, which is that of its payload in the package.

    ``executor`` hashes and writes beside what makes the files, where one is given; of long ones in ``lanes``, the disk and each digest in
    its own. A short file is ended there, too: written, hashed and put in its place while others are made; `settle` waits for these.
    Who writes into the same place at the same time has another ``name``.
    """

    def __init__(
        self,
        target: Target,
        journal: Journal,
        *,
        prefix: str,
        name: str = "",
        executor: Executor | None = None,
        lanes: Executor | None = None,
    ) -> None:
        self._executor = executor
        self._lanes = lanes
        self._name = name
        self._target = target
        self._journal = journal
        self._prefix = prefix
        self._number = 0
        # Files that are being ended, in the order in which they were made.
        self._ending: dict[str, Future[FileLine]] = {}

    def has(self, path: str) -> bool:
        """Tell whether a file is there whole, from an earlier try; it counts as written then."""
        return self.known(path) is not None

    def known(self, path: str) -> FileLine | None:
        """Return what is noted of a file that is there whole."""
        if path in self._ending:
            self.settle()
        return self._journal.meet(self._prefix + path)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a file for writing; raises `ValueError` for a path that is none.

        Of one that is there whole the bytes are only compared: raises `DamageFoundError` if they are others. What goes wrong with a short
        file may be raised where a later one is written, or by `settle`.
        """
        if not all(_SEGMENT.fullmatch(segment) for segment in path.split("/")):
            raise ValueError(f"no path of a package: {path!r}")
        known = self.known(path)
        self._number += 1
        scratch = self._target.scratch(f"{self._name}{self._number:08d}")
        stream = _Hashing(
            None if known else scratch,
            place=self._target.url,
            is_to_stay=self._target.is_in_place,
            executor=self._executor,
            lanes=self._lanes,
        )
        try:
            yield cast("BinaryIO", stream)
        except BaseException:
            _leave(stream, scratch)
            raise
        if known is None and self._executor is not None and stream.is_short:
            self._ending[path] = self._executor.submit(self._ended, stream, scratch, path)
            if len(self._ending) > ENDING_MAX:
                self._settle_first()
            return
        line = self._ended(stream, None if known else scratch, path)
        if known is None:
            self._journal.note(line)
        elif known != line:
            raise DamageFoundError(
                f"{path} in {self._target.url} was made by an earlier try, and would be another file now",
                next_step="make the export anew in another place; if that happens again, report it: it must not",
            )

    def settle(self) -> None:
        """Wait for the files that are being ended, and note them; raises what went wrong with one of them."""
        while self._ending:
            self._settle_first()

    def close(self) -> None:
        """Note what was ended, whatever became of the rest; harmless after `settle`."""
        while self._ending:
            with contextlib.suppress(Exception):
                self._settle_first()

    def _settle_first(self) -> None:
        ending = self._ending.pop(next(iter(self._ending)))
        self._journal.note(ending.result())

    def _ended(self, stream: _Hashing, scratch: Path | None, path: str) -> FileLine:
        """End a file, and put it in its place if there is one; return what it is."""
        try:
            stream.finish()
            line = FileLine(self._prefix + path, stream.size, stream.sha256.hexdigest(), stream.md5.hexdigest())
            if scratch is not None:
                self._target.take(scratch, line.path)
        except BaseException:
            _leave(stream, scratch)
            raise
        return line


def _leave(stream: _Hashing, scratch: Path | None) -> None:
    stream.abandon()
    if scratch is not None:
        scratch.unlink(missing_ok=True)


class _Hashing(io.RawIOBase):
    """Writes to a file, or nowhere, and hashes what passes. It cannot be gone back in, so that what is hashed is what is there.

    Hashing a package twice over takes as long as making its texts, so that of a long file it is done beside: with an ``executor``, up to
    `WAITING_BYTES_MAX` wait while others are hashed and written. An error is told by the write after it, or at the end. A file that
    ``is_short`` so far waits as a whole, and there is none on the disk yet.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        place: str,
        is_to_stay: bool = False,
        executor: Executor | None = None,
        lanes: Executor | None = None,
    ) -> None:
        self.size = 0
        self.sha256 = sha256()
        self.md5 = md5(usedforsecurity=False)
        self._place = place
        self._executor = executor
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._beside: Future[None] | None = None
        self._made: DiskFile | None = None
        digests = (self.sha256, self.md5)
        self._make = partial(DiskFile, path, is_to_stay=is_to_stay, digests=digests, beside=lanes)

    @property
    def is_short(self) -> bool:
        """Whether all of it waits."""
        return self._made is None and self._beside is None

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        view = memoryview(data).cast("B")
        self.writelines((view,))
        return len(view)

    def writelines(self, pieces: Iterable[ReadableBuffer]) -> None:
        """Write many pieces, which may be small: what each of them costs is little here."""
        views = [memoryview(piece).cast("B") for piece in pieces]
        many = sum(map(len, views))
        self.size += many
        if self._executor is None:
            self._take(views)
            return
        # Who writes may go on to change what can be changed.
        self._waiting.extend(view if view.readonly else bytes(view) for view in views)
        self._waiting_bytes += many
        if self._waiting_bytes >= BESIDE_BYTES and (self._waiting_bytes >= WAITING_BYTES_MAX or self._is_idle()):
            self._wait()
            self._beside = self._executor.submit(self._take, self._waiting)
            self._waiting, self._waiting_bytes = [], 0

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        """Do nothing: a writer that closes what it was given, as some libraries do, is not the one that decides whether it is whole."""

    def finish(self) -> None:
        self._wait()
        self._take(self._waiting)
        with self._translated():
            self._file.close()

    def abandon(self) -> None:
        with contextlib.suppress(StorageError):
            self._wait()
        if self._made is not None:
            with contextlib.suppress(OSError):
                self._made.abandon()

    @property
    def _file(self) -> DiskFile:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _take(self, pieces: Sequence[bytes | memoryview]) -> None:
        with self._translated():
            for piece in pieces:
                self._file.write(piece)

    def _is_idle(self) -> bool:
        return self._beside is None or self._beside.done()

    def _wait(self) -> None:
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.result()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise written_error(error, self._place) from None


class Enclosing:
    """Copies the bytes of files out of the archive into a payload, each content once, and holds them against their digest."""

    def __init__(self, store: Store, payload: Payload, journal: Journal) -> None:
        self._store = store
        self._payload = payload
        self._journal = journal

    def enclose(self, part: Slice) -> Slice:
        """Return a slice whose stored files lie in the package; of one that is lost it says why, and that files are missing."""
        if not any(message.files for message in made_of(part.messages)):
            return part
        messages = changed(part.messages, self._with_enclosed)
        return replace(part, messages=messages, gaps=(*part.gaps, *_missing_files(made_of(messages), part.day)))

    def _with_enclosed(self, message: Message) -> Message:
        if not message.files:
            return message
        return msgspec.structs.replace(message, files=tuple(map(self._enclosed, message.files)))

    def _enclosed(self, file: File) -> File:
        digest = file.sha256
        if file.status != STORED or digest is None:
            return file
        if digest in self._journal.lost:
            return _lost(file, self._journal.lost[digest])
        stem, dot, extension = file.path_name.rpartition(".")
        path = f"{NATIVES}/{digest[:2]}/{digest}{dot + extension if stem else ''}"
        known = self._payload.known(path)
        if known is None:
            try:
                with self._payload.open(path) as stream:
                    self._copy(digest, stream)
            except _LostError as error:
                self._journal.note(LostLine(digest, error.reason))
                return _lost(file, error.reason)
            known = self._payload.known(path)
            assert known is not None
        return msgspec.structs.replace(file, path=path, md5=known.md5)

    def _copy(self, digest: str, stream: BinaryIO) -> None:
        found = sha256()
        try:
            with self._store.open(layout.blob_key(digest)) as source:
                while chunk := source.read(_CHUNK_BYTES):
                    found.update(chunk)
                    stream.write(chunk)
        except KeyMissingError:
            raise _LostError("its bytes are missing in the archive, though the ledger names them") from None
        if found.hexdigest() != digest:
            raise _LostError("its bytes in the archive are damaged: they are not those that were received")


def _lost(file: File, reason: str) -> File:
    return msgspec.structs.replace(file, status=LOST, reason=reason)


def _missing_files(messages: Iterable[Message], day: str) -> tuple[GapNote, ...]:
    """Return the note that files of these messages are missing; none if all are there that are wanted."""
    missing = [
        message for message in messages for file in message.files if file.path is None and file.status != WITHHELD
    ]
    if not missing:
        return ()
    many = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
    return (
        GapNote(
            f"export:files:{missing[0].control_number}",
            "export:file-not-stored",
            f"{many} missing, of messages of {day}; each has a placeholder with its reason",
            len(missing),
            missing[0].sent_at_ms,
            missing[-1].sent_at_ms,
            missing[0].message_uid if len(missing) == 1 else None,
        ),
    )


class _LostError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
