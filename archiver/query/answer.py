"""What a query gives, whichever engine answered it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an answer: its name and the engine's name of its type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query gives: its columns, and its rows as they are fetched."""

    columns: tuple[Column, ...]
    rows: Iterator[tuple[Any, ...]]
