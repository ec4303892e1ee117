"""Many texts at once out of pieces: those that all of them share, and columns with a value of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

# Text that all share, or a value of each.
Piece: TypeAlias = "str | pa.Array"


def chosen(values: list[str], which: pa.Array) -> Iterator[Piece]:
    """Yield for each place the one of some values that is its own."""
    yield values[0] if len(set(values)) == 1 else pc.take(pa.array(values, pa.string()), which)


def joined(pieces: Sequence[Piece] | Iterator[Piece]) -> pa.Array:
    """Return the lines that pieces make; what all of them share is put together first."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    given = [pa.scalar(piece, pa.string()) if isinstance(piece, str) else piece for piece in merged]
    return pc.binary_join_element_wise(*given, pa.scalar("", pa.string()))
