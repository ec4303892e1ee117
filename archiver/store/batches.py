"""A batch of a store in which every object is durable at once anyway, and must be had whole before it is written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from archiver.errors import StoreFullError

# So many bytes a thread; larger objects go through a file.
IN_MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024


class PlainBatch:
    """Creates each object as the store itself does, by way of memory or of a file in ``folder``."""

    def __init__(self, create: Callable[[str, bytes | Path], None], folder: Path) -> None:
        self.taken: set[str] = set()
        self._create = create
        self._folder = folder

    def create(self, key: str, pieces: Iterable[bytes | memoryview]) -> None:
        """Write an object; raises `KeyExistsError` if the key is taken, and what the pieces raise."""
        held: list[bytes] = []
        size = 0
        given = iter(pieces)
        for piece in given:
            held.append(bytes(piece))  # which copies no bytes object
            size += len(piece)
            if size > IN_MEMORY_BYTES_MAX:
                self._create_by_file(key, held, given)
                return
        self._create(key, held[0] if len(held) == 1 else b"".join(held))

    def _create_by_file(self, key: str, held: list[bytes], rest: Iterable[bytes | memoryview]) -> None:
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="batch-") as file:
            for pieces in (held, rest):
                for piece in pieces:
                    try:
                        file.write(piece)
                    except OSError as error:
                        raise StoreFullError(
                            f"{self._folder} cannot take {key} on its way: {os.strerror(error.errno or 0)}",
                            next_step="make space there and run again; what was written stays",
                        ) from error
                held.clear()
            file.flush()
            self._create(key, Path(file.name))
