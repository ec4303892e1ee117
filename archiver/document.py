"""YAML as far as a configuration or a policy needs it: one document of mappings, lists and scalars, with the line of every key.

What makes YAML a risk is refused by name: aliases (a few lines that expand to gigabytes), tags, several documents, duplicate keys, absurd
size and depth. Scalars are read as PyYAML's safe loader reads them; keys are always text.

Whoever reads a document says which `DocumentError` its mistakes are: a `ConfigError`, or what else the file is. What is said of a key
or a value that does not fit stands here too, so that every file of ours is spoken of in the same words.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import yaml

from archiver.errors import ConfigError, DocumentError

DOCUMENT_BYTES_MAX = 256 * 1024
DEPTH_MAX = 16

_COLLECTION_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_COLLECTION_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)

# Where a value stands: keys and list positions from the top.
Location = tuple[str | int, ...]

NO_VALUE = "has no value; write one, or leave the key out"

# pydantic's kinds of mistakes, in words for somebody who writes YAML.
_SENTENCES: dict[str, str] = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",
    "path_type": "must be the path of a file or folder",
    "model_type": "must be a group of keys",
    "model_attributes_type": "must be a group of keys",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a JSON object",
}


class Mistake(TypedDict):
    """What is used here of a mistake as pydantic reports it: its kind, and its own sentence."""

    type: str
    msg: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file's content and, for each key and list entry, its line from 1."""

    path: Path
    values: dict[str, Any]
    lines: dict[Location, int]

    def line(self, location: Location) -> int:
        """Return the line of a value, or of the nearest one around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def place(self, location: Location) -> str:
        """Return ``file:line`` of a value."""
        return f"{self.path}:{self.line(location)}"

    def holds(self, location: Location) -> bool:
        """Tell whether the file itself has a value there."""
        return location in self.lines

    def without_value(self) -> Iterator[Location]:
        """Yield where keys and list entries stand after which nothing is written, in the order of the file."""
        waiting: list[tuple[Location, object]] = [((), self.values)]
        while waiting:
            location, value = waiting.pop()
            if value is None:
                yield location
            inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            waiting += reversed([((*location, part), found) for part, found in inner])

    def is_without_value(self, location: Location) -> bool:
        """Tell whether nothing is written after the key or list entry at a place."""
        value: Any = self.values
        for part in location:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return False
        return value is None


def read(path: Path) -> Document:
    """Read a configuration file; raises `ConfigError` with the line of whatever cannot be used."""
    missing = ConfigError(
        f"there is no configuration at {path}",
        next_step="write one with `archiver init`, or name yours with --config or ARCHIVER_CONFIG",
    )
    return parse(path, data_of(path, missing=missing))


def parse(
    path: Path, data: bytes, *, error: type[DocumentError] = ConfigError, example: str = "workspace: acme"
) -> Document:
    """Read what stood in a file; raises ``error`` with the line of whatever cannot be used.

    ``example`` is a line that such a file may have, for somebody who wrote none.
    """
    reader = _Reader(path, error)
    text = reader.decoded(data)
    try:
        reader.refuse_traps(text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {(): 1}
        if node is None:
            return Document(path=path, values={}, lines=lines)
        values = reader.build(loader, node, location=(), lines=lines)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        reason = f"this is not YAML: {fault.problem or fault.context}"
        raise reader.mistake(mark.line + 1 if mark else None, "not-yaml", reason) from None
    except yaml.YAMLError as fault:
        raise reader.mistake(None, "not-yaml", f"this is not YAML: {str(fault).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise reader.mistake(1, "no-keys", f"the file must hold keys and values, such as `{example}`")
    return Document(path=path, values=values, lines=lines)


def data_of(path: Path, *, missing: DocumentError) -> bytes:
    """Return the bytes of a file of ours.

    Raises ``missing`` if it is not there, and an error of that class if it cannot be read or is too large.
    """
    fault = type(missing)
    try:
        with path.open("rb") as file:
            data = file.read(DOCUMENT_BYTES_MAX + 1)
    except FileNotFoundError:
        raise missing from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise fault(f"{path} cannot be read: {reason}", code="unreadable") from None
    if len(data) > DOCUMENT_BYTES_MAX:
        raise fault(
            f"{path} is larger than {DOCUMENT_BYTES_MAX} bytes, which no file of the archiver's own kind is",
            code="too-large",
        )
    return data


def unknown_key(key: str, siblings: Iterable[str]) -> str:
    """Return what to say of a key that nobody knows."""
    close = difflib.get_close_matches(key, list(siblings), n=1)
    return f"unknown key; did you mean {close[0]}?" if close else "unknown key"


def reason_of(mistake: Mistake) -> str:
    """Return what is wrong with a value, as the end of a sentence that begins with its key."""
    kind, sentence = mistake["type"], mistake["msg"]
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    if sentence.startswith("Input should be "):
        return f"must be {sentence.removeprefix('Input should be ')}"
    _, found, demanded = sentence.partition(" should have ")
    if found:
        return f"must have {demanded}"
    return sentence.removeprefix("Value error, ")


@dataclass(frozen=True, slots=True)
class _Reader:
    """What one file is read with: its path, and which error its mistakes are."""

    path: Path
    error: type[DocumentError]

    def mistake(self, line: int | None, code: str, reason: str) -> DocumentError:
        place = str(self.path) if line is None else f"{self.path}:{line}"
        return self.error(f"{place}: {reason}", code=code, line=line)

    def decoded(self, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self.mistake(line, "not-text", "this is not UTF-8 text") from None

    def refuse_traps(self, text: str) -> None:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                reason = f"YAML aliases (*{event.anchor}) are not read here; write the value out"
                raise self.mistake(line, "alias", reason)
            tag = getattr(event, "tag", None)
            if tag is not None:
                shown = tag.replace("tag:yaml.org,2002:", "!!")
                raise self.mistake(
                    line, "not-yaml", f"YAML tags ({shown}) are not read here; write the value without it"
                )
            if isinstance(event, _COLLECTION_STARTS):
                depth += 1
                if depth > DEPTH_MAX:
                    raise self.mistake(line, "too-deep", f"nested deeper than {DEPTH_MAX} levels")
            elif isinstance(event, _COLLECTION_ENDS):
                depth -= 1

    def build(
        self, loader: yaml.SafeLoader, node: yaml.Node, *, location: Location, lines: dict[Location, int]
    ) -> object:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(loader, node, location=location, lines=lines)
        if isinstance(node, yaml.SequenceNode):
            entries = []
            for position, entry in enumerate(node.value):
                inner = (*location, position)
                lines[inner] = entry.start_mark.line + 1
                entries.append(self.build(loader, entry, location=inner, lines=lines))
            return entries
        try:
            return loader.construct_object(node)
        except ValueError as error:
            # 2026-99-99 looks like a date and is none.
            line = node.start_mark.line + 1 if node.start_mark else 1
            raise self.mistake(line, "no-value", f"this value cannot be read: {error}; put it in quotes") from None

    def _mapping(
        self, loader: yaml.SafeLoader, node: yaml.MappingNode, *, location: Location, lines: dict[Location, int]
    ) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.mistake(line, "odd-key", "a key must be a plain word")
            key = str(key_node.value)
            inner = (*location, key)
            if key in mapping:
                dotted = ".".join(map(str, inner))
                reason = f"{dotted}: this key stands twice; the first is in line {lines[inner]}"
                raise self.mistake(line, "duplicate-key", reason)
            lines[inner] = line
            mapping[key] = self.build(loader, value_node, location=inner, lines=lines)
        return mapping
