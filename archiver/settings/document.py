"""YAML as far as a configuration needs it: one document of mappings, lists and scalars, with the line of every key.

What makes YAML a risk is refused by name: aliases (a few lines that expand to gigabytes), tags, several documents, duplicate keys, absurd
size and depth. Scalars are read as PyYAML's safe loader reads them; keys are always text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archiver.errors import ConfigError

DOCUMENT_BYTES_MAX = 256 * 1024
DEPTH_MAX = 16

_COLLECTION_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_COLLECTION_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)

# Where a value stands: keys and list positions from the top.
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file's content and, for each key and list entry, its line from 1."""

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


def read(path: Path) -> Document:
    """Read a configuration file; raises `ConfigError` with the line of whatever cannot be used."""
    missing = ConfigError(
        f"there is no configuration at {path}",
        next_step="write one with `archiver init`, or name yours with --config or ARCHIVER_CONFIG",
    )
    return parse(path, data_of(path, missing=missing))


def parse(path: Path, data: bytes) -> Document:
    """Read what stood in a file; raises `ConfigError` with the line of whatever cannot be used."""
    text = _decoded(path, data)
    try:
        _refuse_traps(path, text)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: dict[Location, int] = {(): 1}
        if node is None:
            return Document(path=path, values={}, lines=lines)
        values = _build(loader, node, path=path, location=(), lines=lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{place}: this is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: this is not YAML: {reason}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}:1: the file must hold keys and values, such as `workspace: acme`")
    return Document(path=path, values=values, lines=lines)


def data_of(path: Path, *, missing: ConfigError) -> bytes:
    """Return the bytes of a file of ours; raises ``missing`` if it is not there, `ConfigError` if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            data = file.read(DOCUMENT_BYTES_MAX + 1)
    except FileNotFoundError:
        raise missing from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path} cannot be read: {reason}") from None
    if len(data) > DOCUMENT_BYTES_MAX:
        raise ConfigError(
            f"{path} is larger than {DOCUMENT_BYTES_MAX} bytes, which no configuration of the archiver is"
        )
    return data


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: this is not UTF-8 text") from None


def _refuse_traps(path: Path, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{path}:{line}: YAML aliases (*{event.anchor}) are not read here; write the value out")
        if isinstance(event, _COLLECTION_STARTS):
            depth += 1
            if depth > DEPTH_MAX:
                raise ConfigError(f"{path}:{line}: nested deeper than {DEPTH_MAX} levels")
        elif isinstance(event, _COLLECTION_ENDS):
            depth -= 1


def _build(
    loader: yaml.SafeLoader, node: yaml.Node, *, path: Path, location: Location, lines: dict[Location, int]
) -> object:
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{path}:{line}: a key must be a plain word")
            key = str(key_node.value)
            inner = (*location, key)
            if key in mapping:
                dotted = ".".join(map(str, inner))
                raise ConfigError(
                    f"{path}:{line}: {dotted}: this key stands twice; the first is in line {lines[inner]}"
                )
            lines[inner] = line
            mapping[key] = _build(loader, value_node, path=path, location=inner, lines=lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        entries = []
        for position, entry in enumerate(node.value):
            inner = (*location, position)
            lines[inner] = entry.start_mark.line + 1
            entries.append(_build(loader, entry, path=path, location=inner, lines=lines))
        return entries
    try:
        return loader.construct_object(node)
    except ValueError as error:
        # 2026-99-99 looks like a date and is none.
        line = node.start_mark.line + 1 if node.start_mark else 1
        raise ConfigError(f"{path}:{line}: this value cannot be read: {error}; put it in quotes") from None
