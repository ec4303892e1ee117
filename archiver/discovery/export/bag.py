"""A bag as RFC 8493 has it: what lies beside the payload, all of it decided by the payload and the head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Final

from archiver.clock import from_ms
from archiver.discovery.export.journal import FileLine, Journal
from archiver.discovery.export.payload import Payload

DATA: Final = "data/"
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"
_DECLARATION: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_ALGORITHMS: Final = ("sha256", "md5")
_LINES_AT_ONCE: Final = 1_000


def write_bag(tags: Payload, journal: Journal, *, prefix: str, info: Mapping[str, str], made_at_ms: int) -> FileLine:
    """Write the declaration, the manifests and the bag's facts; return what is noted of the tag manifest, which comes last.

    The payload is what the journal met below ``prefix`` and `DATA`, the other tag files what it met elsewhere below ``prefix``.
    """
    with tags.open("bagit.txt") as stream:
        stream.write(_DECLARATION)
    size = count = 0
    for algorithm in _ALGORITHMS:
        with tags.open(f"manifest-{algorithm}.txt") as stream:
            for lines in _in_pieces(journal.met(prefix + DATA)):
                stream.write("".join(_line(line, algorithm, prefix) for line in lines).encode())
    for line in journal.met(prefix + DATA):
        size, count = size + line.size, count + 1
    facts = {
        **info,
        "Bagging-Date": from_ms(made_at_ms).astimezone(UTC).date().isoformat(),
        "Payload-Oxum": f"{size}.{count}",
    }
    with tags.open("bag-info.txt") as stream:
        stream.write("".join(f"{name}: {_folded(value)}\n" for name, value in facts.items()).encode())
    own = list(_outside(journal, prefix))
    for algorithm in reversed(_ALGORITHMS):
        with tags.open(f"tagmanifest-{algorithm}.txt") as stream:
            stream.write("".join(_line(line, algorithm, prefix) for line in own).encode())
    found = tags.known(TAG_MANIFEST)
    assert found is not None
    return found


def _outside(journal: Journal, prefix: str) -> Iterator[FileLine]:
    """Yield the tag files that the tag manifests name: all but those themselves."""
    for line in journal.met(prefix):
        path = line.path.removeprefix(prefix)
        if not path.startswith((DATA, "tagmanifest-")):
            yield line


def _line(line: FileLine, algorithm: str, prefix: str) -> str:
    digest = line.sha256 if algorithm == "sha256" else line.md5
    return f"{digest}  {line.path.removeprefix(prefix)}\n"


def _folded(value: str) -> str:
    """Return a value on one line: what would end it is white space."""
    return " ".join(value.split())


def _in_pieces(lines: Iterator[FileLine]) -> Iterator[list[FileLine]]:
    piece: list[FileLine] = []
    for line in lines:
        piece.append(line)
        if len(piece) == _LINES_AT_ONCE:
            yield piece
            piece = []
    yield piece
