"""What is whole of a package that is being made, so that a second try goes on where the first one stopped and makes the same bytes.

A line for each file when it is in its place: path, size, SHA-256, MD5. A line for each file of a message whose bytes the archive should
have had and had not, so that the second try says the same of it. What is noted and not in its place as noted is made again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from archiver.archive.ledger import canonical_json
from archiver.discovery.export.scratch import ask
from archiver.discovery.export.targets import OWN_FOLDER, Target
from archiver.errors import KeyMissingError, RefusedError

BEGUN_PATH: Final = f"{OWN_FOLDER}/begun.json"
JOURNAL_PATH: Final = f"{OWN_FOLDER}/journal"
_LINES_HELD_MAX: Final = 256
_BYTES_HELD_MAX: Final = 64 * 1024 * 1024


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Which export a package is: of which matter and head, and the digest of all that decides its bytes."""

    export_id: str
    matter: str
    archive_id: str
    head_sequence: int
    head_digest: str


class FileLine(msgspec.Struct, frozen=True, tag="file"):
    """A file that is in its place."""

    path: str
    size: int
    sha256: str
    md5: str


class LostLine(msgspec.Struct, frozen=True, tag="lost"):
    """A file of a message whose bytes the archive should have had, and why they could not be had."""

    digest: str
    reason: str


_Line = FileLine | LostLine
_decode: Final = msgspec.json.Decoder(_Line).decode


class Journal:
    """Notes what is whole, and what of it was made or met again in this try.

    ``folder`` is one for temporary files: however many files a package has, they are looked up there and not in memory. ``tell`` takes
    the lines of who leaves it to another to write them.
    """

    def __init__(self, target: Target, folder: Path, *, tell: Callable[[bytes], None] | None = None) -> None:
        self.target = target
        self._write = partial(target.append, JOURNAL_PATH) if tell is None else tell
        self._folder = folder
        self.lost: dict[str, str] = {}
        self._held: list[bytes] = []
        self._held_bytes = 0
        # What was noted and is not in the index yet.
        self._newest: dict[str, FileLine] = {}
        self._index = sqlite3.connect(folder / "index.sqlite", isolation_level=None)
        # It is made anew by every try, so that nothing of it need survive a crash.
        self._ask("PRAGMA journal_mode = OFF")
        self._ask("PRAGMA synchronous = OFF")
        self._ask(
            "CREATE TABLE files (path TEXT PRIMARY KEY, size INTEGER, sha256 TEXT, md5 TEXT, met INTEGER) WITHOUT ROWID"
        )
        # Nobody else asks it, and what is never committed need not be written line by line.
        self._ask("BEGIN EXCLUSIVE")

    def begin(self, begun: Begun) -> None:
        """Say whose package this is, before anything else is written."""
        self.target.replace(BEGUN_PATH, canonical_json(begun))

    def resume(self) -> int:
        """Take up what an earlier try noted, each file held against its digest; return how many are whole."""
        whole = 0
        for line in read_lines(self.target):
            if isinstance(line, LostLine):
                self.lost[line.digest] = line.reason
            elif self.target.digest(line.path, line.size) == line.sha256:
                self._put([line], met=False)
                whole += 1
        return whole

    def known(self, path: str) -> FileLine | None:
        """Return what is noted of a file in its place, None if nothing is."""
        if path in self._newest:
            return self._newest[path]
        row = self._ask("SELECT path, size, sha256, md5 FROM files WHERE path = ?", (path,)).fetchone()
        return None if row is None else FileLine(*row)

    def meet(self, path: str) -> FileLine | None:
        """Return the same, and count the file as one of this try."""
        found = self.known(path)
        if found is not None and path not in self._newest:
            self._ask("UPDATE files SET met = 1 WHERE path = ?", (path,))
        return found

    def met(self, prefix: str) -> Iterator[FileLine]:
        """Yield the files of this try whose path begins so, in the order of their paths."""
        self._put(list(self._newest.values()), met=True)
        self._newest.clear()
        rows = self._ask("SELECT path, size, sha256, md5, met FROM files WHERE path >= ? ORDER BY path", (prefix,))
        for *facts, met in rows:
            if not facts[0].startswith(prefix):
                return
            if met:
                yield FileLine(*facts)

    def note(self, line: FileLine | LostLine) -> None:
        """Note a file that is in its place, or one that is lost."""
        if isinstance(line, LostLine):
            self.lost[line.digest] = line.reason
        else:
            self._newest[line.path] = line
            self._held_bytes += line.size
        self._held.append(canonical_json(line) + b"\n")
        if len(self._held) >= _LINES_HELD_MAX or self._held_bytes >= _BYTES_HELD_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what was noted."""
        if self._held:
            self._write(b"".join(self._held))
        self._held, self._held_bytes = [], 0
        self._put(list(self._newest.values()), met=True)
        self._newest.clear()

    def end(self) -> None:
        """Remove the notes: the package is whole, and says so itself."""
        self.target.remove(JOURNAL_PATH)
        self.target.remove(BEGUN_PATH)

    def close(self) -> None:
        """Close the index; what was noted and not written yet is written."""
        self._index.close()

    def _ask(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        return ask(self._index, sql, values, folder=self._folder.parent)

    def _put(self, lines: Sequence[FileLine], *, met: bool) -> None:
        if lines:
            places = ", ".join(["(?, ?, ?, ?, ?)"] * len(lines))
            values = [fact for line in lines for fact in (line.path, line.size, line.sha256, line.md5, met)]
            self._ask(f"INSERT OR REPLACE INTO files VALUES {places}", tuple(values))  # noqa: S608 - signs only


def read_begun(target: Target) -> Begun | None:
    """Return which export was begun in a place, None if none was; raises `RefusedError` if what stands there cannot be read."""
    try:
        return msgspec.json.decode(target.read(BEGUN_PATH), type=Begun)
    except KeyMissingError:
        return None
    except msgspec.MsgspecError:
        raise RefusedError(
            f"{target.url} has an export that was begun, and {BEGUN_PATH} in it cannot be read",
            next_step="name another folder, or remove that one",
        ) from None


def read_lines(target: Target) -> Iterator[_Line]:
    """Yield what was noted, a little in memory at a time; a last line that is cut short, as a crash leaves it, is no line."""
    rest = b""
    for piece in target.pieces(JOURNAL_PATH):
        whole, _, rest = (rest + piece).rpartition(b"\n")
        try:
            yield from decode_lines(whole)
        except msgspec.MsgspecError:
            return


def decode_lines(data: bytes) -> Iterator[_Line]:
    """Yield what whole lines note; raises `msgspec.MsgspecError` at one that is none."""
    return map(_decode, filter(None, data.split(b"\n")))
