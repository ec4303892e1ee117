"""Several columns of few distinct values, crossed to one column of the combinations that really occur."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# A key is one integer; before it could overflow, the combinations that occur are counted anew.
_KEYS_MAX = 1 << 40

# pyarrow ships no types, so this says it to people alone: an Array or a ChunkedArray.
Column = Any


@dataclass(frozen=True, slots=True)
class Crossed:
    """For each row the number of its combination, and what each combination consists of: one entry for each column crossed."""

    codes: pa.Array
    combinations: list[tuple[int, ...]]

    def map(self, meaning: Callable[[tuple[int, ...]], int]) -> tuple[pa.Array, list[int]]:
        """Return for each row the number of its meaning, and the meanings that occur, each once."""
        places: dict[int, int] = {}
        numbers = [places.setdefault(meaning(one), len(places)) for one in self.combinations]
        return taken(numbers, self.codes), list(places)


class Crossing:
    """Crosses columns of small numbers; what does not vary costs nothing."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        # For each row the number of its combination, null while there is only one; how many there could be.
        self._key: pa.Array | None = None
        self._size = 1
        # The combinations that were counted, and by how many numbers from which on each column since then may extend them.
        self._counted: list[tuple[int, ...]] = [()]
        self._since: list[tuple[int, int]] = []

    def add(self, codes: Column | None, size: int = 1, *, base: int = 0) -> None:
        """Cross one more column: numbers from ``base`` on, ``size`` of them, given from 0; None where all rows have ``base``."""
        if codes is not None and size > 1:
            if self._size * size > _KEYS_MAX:
                self._count()
            codes = flat(codes).cast(pa.int64())
            self._key = codes if self._key is None else pc.add(pc.multiply(self._key, size), codes)
            self._size *= size
        self._since.append((max(size, 1), base))

    def crossed(self) -> Crossed:
        """Return the combinations that occur."""
        if not self._rows:
            return Crossed(pa.array([], pa.int64()), [])
        self._count()
        codes = pa.repeat(pa.scalar(0, pa.int64()), self._rows) if self._key is None else self._key
        return Crossed(codes, self._counted)

    def numbered(self) -> tuple[pa.Array, int]:
        """Return for each row the number of its combination, in order of first appearance, and how many there are."""
        if self._key is None:
            return pa.repeat(pa.scalar(0, pa.int64()), self._rows), min(self._rows, 1)
        encoded = pc.dictionary_encode(self._key)
        return encoded.indices.cast(pa.int64()), len(encoded.dictionary)

    def _count(self) -> None:
        if self._key is None:
            self._counted = [self._combination(0)]
        else:
            encoded = pc.dictionary_encode(self._key)
            self._counted = [self._combination(key) for key in encoded.dictionary.to_pylist()]
            self._key = encoded.indices.cast(pa.int64())
        self._size = len(self._counted)
        self._since = []

    def _combination(self, key: int) -> tuple[int, ...]:
        further: list[int] = []
        for size, base in reversed(self._since):
            key, number = divmod(key, size)
            further.append(base + number)
        return (*self._counted[key], *reversed(further))


def flat(column: Column) -> pa.Array:
    """Return a column as one piece."""
    if isinstance(column, pa.ChunkedArray):
        combined = column.combine_chunks()
        return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
    return column


def taken(values: Sequence[int | None], codes: pa.Array) -> pa.Array:
    """Return for each row the value of its number."""
    if len(values) == 1:
        return pa.repeat(pa.scalar(values[0], pa.int64()), len(codes))
    return pc.take(pa.array(values, pa.int64()), codes)
