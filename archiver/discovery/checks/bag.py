"""Holds a bag against RFC 8493: every file is there once, is the one that the manifests name, and nothing lies beside them.

The library `bagit` does the same with all paths in memory, which a package of twenty million documents has no room for; the tests hold this
reading against that one. It is stricter: of a package of ours both manifests name every file, and no file is fetched or a link. Nothing
names the tag manifests themselves, so of these every line must be written as it was made: then no byte of a package can change unseen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from hashlib import md5, sha256
from io import FileIO
from pathlib import Path
from typing import Final

from archiver.discovery.checks.findings import Finding
from archiver.discovery.checks.remembered import Remembered, shown, stored
from archiver.discovery.checks.tree import files_below

DATA: Final = "data/"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"
MANIFEST: Final = "manifest-sha256.txt"
LINE_BYTES_MAX: Final = 64 * 1024
INFO_BYTES_MAX: Final = 1024 * 1024
_KINDS: Final = ("manifest", "tagmanifest")
_ALGORITHMS: Final = {"sha256": 64, "md5": 32}
_NAMED_BY_NONE: Final = frozenset(f"tagmanifest-{algorithm}.txt" for algorithm in _ALGORITHMS)
_CHUNK_BYTES: Final = 1024 * 1024
_DECLARATION: Final = re.compile(rb"BagIt-Version: (0\.9[3-7]|1\.0)\r?\nTag-File-Character-Encoding: UTF-8(\r?\n)?")
_TAG_LINE: Final = re.compile(rb"[0-9a-f]+  [^\r\n]+\n")
_OXUM: Final = re.compile(r"(?mi)^Payload-Oxum[ \t]*:[ \t]*(\d{1,20})\.(\d{1,20})[ \t]*$")


class Manifest:
    """What the manifests of a bag say and what lies in it, by path, on disk: see `read_bag`."""

    def __init__(self, remembered: Remembered) -> None:
        self._ask = remembered.ask
        self._ask(
            "CREATE TABLE files (path BLOB PRIMARY KEY, sha256 TEXT, md5 TEXT, size INTEGER, is_plain INTEGER) WITHOUT ROWID"
        )

    def name(self, path: str, algorithm: str, digest: str) -> bool:
        """Note that a manifest names a file; return False if it has done so before."""
        sql = (
            f"INSERT INTO files (path, {algorithm}) VALUES (?, ?) ON CONFLICT (path) DO UPDATE "  # noqa: S608 - the column is ours
            f"SET {algorithm} = excluded.{algorithm} WHERE {algorithm} IS NULL"
        )
        return self._ask(sql, (stored(path), digest)).rowcount == 1

    def find(self, path: str, size: int, *, is_plain: bool) -> None:
        """Note that a file is there."""
        sql = (
            "INSERT INTO files (path, size, is_plain) VALUES (?, ?, ?) ON CONFLICT (path) DO UPDATE "
            "SET size = excluded.size, is_plain = excluded.is_plain"
        )
        self._ask(sql, (stored(path), size, is_plain))

    def rows(self) -> Iterator[tuple[str, dict[str, str], int | None, bool]]:
        """Yield path, digests by algorithm, size (None if it is not there) and whether it is a plain file, in the order of paths."""
        for path, one, two, size, is_plain in self._ask(
            "SELECT path, sha256, md5, size, is_plain FROM files ORDER BY path"
        ):
            digests = {name: digest for name, digest in (("sha256", one), ("md5", two)) if digest is not None}
            yield shown(path), digests, size, bool(is_plain)

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 that the manifest names for a file, None if it names no such file."""
        row = self._ask("SELECT sha256 FROM files WHERE path = ?", (stored(path),)).fetchone()
        return None if row is None else row[0]

    def named(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield path and SHA-256 of the files that the manifest names below a folder, whose name ends in a slash."""
        after = f"{folder[:-1]}0"  # the sign that follows the slash
        sql = "SELECT path, sha256 FROM files WHERE path >= ? AND path < ? AND sha256 IS NOT NULL ORDER BY path"
        for path, digest in self._ask(sql, (stored(folder), stored(after))):
            yield shown(path), digest

    def count(self, folder: str) -> int:
        """Return how many files the manifest names below a folder."""
        sql = "SELECT count(*) FROM files WHERE path >= ? AND path < ? AND sha256 IS NOT NULL"
        return int(self._ask(sql, (stored(folder), stored(f"{folder[:-1]}0"))).fetchone()[0])


class Paths(Collection[str]):
    """The paths that the manifest names below a folder, looked up where they are kept."""

    def __init__(self, manifest: Manifest, folder: str) -> None:
        self._manifest = manifest
        self._folder = folder

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and path.startswith(self._folder) and self._manifest.digest(path) is not None

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self._manifest.named(self._folder))

    def __len__(self) -> int:
        return self._manifest.count(self._folder)


class Digests(Mapping[str, str]):
    """The SHA-256 of each file that the manifest names below a folder, looked up where they are kept."""

    def __init__(self, manifest: Manifest, folder: str) -> None:
        self._manifest = manifest
        self._folder = folder

    def __getitem__(self, path: str) -> str:
        digest = self._manifest.digest(path) if path.startswith(self._folder) else None
        if digest is None:
            raise KeyError(path)
        return digest

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self._manifest.named(self._folder))

    def __len__(self) -> int:
        return self._manifest.count(self._folder)


def read_bag(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Yield what is not as RFC 8493 has it, and fill ``manifest``."""
    yield from _declaration(folder)
    for kind in _KINDS:
        for algorithm in _ALGORITHMS:
            yield from _read_manifest(folder, f"{kind}-{algorithm}.txt", algorithm, manifest=manifest)
    size = count = 0
    for found in files_below(folder):
        manifest.find(found.path, found.size, is_plain=found.is_plain)
        if found.path.startswith(DATA):
            size, count = size + found.size, count + 1
    yield from _oxum(folder, size, count)
    for path, digests, size_there, is_plain in manifest.rows():
        if size_there is None:
            yield Finding(_told(path), None, "missing", "is not there, and a manifest names it")
        elif not is_plain:
            yield Finding(_told(path), None, "link", "is a link or another thing than a file, and no package has any")
        else:
            yield from _file(folder, path, digests, size=size_there)


def is_inside(path: str) -> bool:
    """Tell whether a path that a package names leads nowhere but into it."""
    return bool(path) and not path.startswith("/") and ".." not in path.split("/") and not set("\\\0") & set(path)


def _declaration(folder: Path) -> Iterator[Finding]:
    data = _small(folder / "bagit.txt")
    if data is None or not _DECLARATION.fullmatch(data):
        yield Finding("bagit.txt", None, "bag", "is no bag as RFC 8493 has it: it does not declare a version and UTF-8")
    if not (folder / "data").is_dir():
        yield Finding("bagit.txt", None, "bag", "is no bag as RFC 8493 has it: there is no folder data")


def _oxum(folder: Path, size: int, count: int) -> Iterator[Finding]:
    data = _small(folder / "bag-info.txt") or b""
    said = _OXUM.findall(data.decode("utf-8", "replace"))
    if said != [(str(size), str(count))]:
        told = ", ".join(".".join(each) for each in said[:3]) or "nothing"
        yield Finding("bag-info.txt", None, "bag", f"Payload-Oxum says {told}; the payload is {size}.{count}")


def _small(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return stream.read(min(path.stat().st_size, INFO_BYTES_MAX))
    except OSError:
        return None


def _read_manifest(folder: Path, name: str, algorithm: str, *, manifest: Manifest) -> Iterator[Finding]:
    try:
        with (folder / name).open("rb") as stream:
            number, before = 0, b""
            while line := stream.readline(LINE_BYTES_MAX + 1):
                number += 1
                if len(line) > LINE_BYTES_MAX:
                    yield Finding(name, f"line {number}", "path", f"a line is longer than {LINE_BYTES_MAX} bytes")
                    return
                if not line.endswith(b"\n"):
                    yield Finding(name, f"line {number}", "path", "its end is missing, and perhaps more")
                elif name in _NAMED_BY_NONE and not (_TAG_LINE.fullmatch(line) and before < _path_in(line)):
                    yield Finding(name, f"line {number}", "path", "is not written, or does not stand, as it was made")
                before = _path_in(line)
                what = _take(line.decode("utf-8").rstrip("\r\n"), name, algorithm, manifest)
                if what is not None:
                    yield Finding(name, f"line {number}", "path", what)
    except (OSError, UnicodeDecodeError):
        yield Finding(name, None, "missing", "is not there or cannot be read")


def _path_in(line: bytes) -> bytes:
    return line.rstrip(b"\r\n").partition(b"  ")[2]


def _take(line: str, name: str, algorithm: str, manifest: Manifest) -> str | None:
    """Take a line of a manifest; return what is wrong with it, if anything is."""
    digest, _, path = line.partition("  ")
    is_payload = name.startswith("manifest")
    if not is_inside(path) or path.startswith(DATA) != is_payload or path.startswith("tagmanifest-"):
        return f"names {path[:200]!r}, which is no path of {'a payload' if is_payload else 'a tag file'}"
    if not re.fullmatch(f"[0-9a-fA-F]{{{_ALGORITHMS[algorithm]}}}", digest):
        return f"names {path[:200]!r} with what is no {algorithm}"
    if not manifest.name(path, algorithm, digest.lower()):
        return f"names {path[:200]!r} twice"
    return None


def _file(folder: Path, path: str, digests: Mapping[str, str], *, size: int) -> Iterator[Finding]:
    if not digests:
        if path not in _NAMED_BY_NONE:
            yield Finding(_told(path), None, "unnamed", "stands in no manifest")
        return
    if path == "fetch.txt":
        yield Finding(path, None, "bag", "no file of a package is to be fetched from elsewhere")
    if len(digests) < len(_ALGORITHMS):
        yield Finding(_told(path), None, "unnamed", f"stands in the manifest of {', '.join(digests)} alone")
    try:
        found = _digests(f"{folder}/{path}", size)
    except OSError as error:
        yield Finding(_told(path), None, "unreadable", f"cannot be read: {error.strerror}")
        return
    for algorithm, digest in digests.items():
        if found[algorithm] != digest:
            what = f"is not the file that was made: its {algorithm} is {found[algorithm]}, not {digest}"
            yield Finding(_told(path), None, "digest", what)


def _told(path: str) -> str:
    """Return a path as it can be told: a name of the disk need not be UTF-8."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _digests(path: str, size: int) -> dict[str, str]:
    one, two = sha256(), md5(usedforsecurity=False)
    with FileIO(path) as stream:
        while chunk := stream.read(min(size, _CHUNK_BYTES) + 1):
            one.update(chunk)
            two.update(chunk)
    return {"sha256": one.hexdigest(), "md5": two.hexdigest()}
