"""The files of a package as a load file names them: paths that stay inside, and what lies there."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path, PurePosixPath
from stat import S_ISREG

CHUNK_BYTES = 1 << 20
KNOWN_MAX = 10_000
"""Files whose digests are remembered, for natives that many documents share."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A file's size in bytes and its digests, in hex."""

    size: int
    md5: str
    sha256: str


class PackageFiles:
    """Finds and measures files of the package in ``folder`` that are named relative to ``home``, a folder of it, with slashes."""

    def __init__(self, folder: Path, home: str) -> None:
        self._folder = folder
        self._home = PurePosixPath(home)
        self._known: dict[str, Measured] = {}

    def inside(self, relative: str) -> str | None:
        """Return the path relative to the package, with slashes; None if it is absolute or leads out of the package's payload."""
        if relative.startswith("/") or "\0" in relative or "\\" in relative or ":" in relative.partition("/")[0]:
            return None
        parts: list[str] = list(self._home.parts)
        for part in relative.split("/"):
            if part == "..":
                if len(parts) <= 1:
                    return None
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return "/".join(parts) if parts[:1] == ["data"] else None

    def measure(self, path: str) -> Measured | None:
        """Return size and digests of a file, by its path relative to the package; None if there is none. Links are no files here."""
        if (known := self._known.get(path)) is not None:
            return known
        place = self._folder / path
        try:
            if not S_ISREG(place.lstat().st_mode) or not place.resolve().is_relative_to(self._folder.resolve()):
                return None
            with place.open("rb") as stream:
                size, first, second = 0, md5(usedforsecurity=False), sha256()
                while chunk := stream.read(CHUNK_BYTES):
                    size += len(chunk)
                    first.update(chunk)
                    second.update(chunk)
        except (OSError, ValueError):
            return None
        measured = Measured(size, first.hexdigest(), second.hexdigest())
        if len(self._known) < KNOWN_MAX:
            self._known[path] = measured
        return measured


def gaps_told_of(path: Path) -> set[str]:
    """Return the ids of the gaps that a list of them tells of, a line each that ends in ``Gap`` and the id; none if there is no list."""
    found: set[str] = set()
    try:
        if S_ISREG(path.lstat().st_mode):
            with path.open("rb") as stream:
                while line := stream.readline(CHUNK_BYTES):
                    found.add(line.decode("utf-8", "replace").rpartition("Gap ")[2].strip())
    except OSError:
        return set()
    return found
