"""One shard of the index: the documents of some data objects, written once and never changed.

So a reader never meets a half-written one, and nothing of what was disposed of stays in one: where a data object is gone, its shard goes
with it. What a shard is made of and how its files looked when it was made stands in a `ShardRecord`; a shard whose files look otherwise
is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

import msgspec
import tantivy

from archiver.archive.ledger import FileRecord
from archiver.archive.reader import read_rows
from archiver.discovery import index_words as words
from archiver.store import Store

# What the writer of a shard gathers in memory before it writes it down.
HEAP_BYTES: Final = 100_000_000

Advance = Callable[[int], None]


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a shard is: its folder, the keys of its data objects by their number in it, and the size and time of each of its files.

    ``rows`` counts documents, ``odd`` those that every search has to look at; ``first_ms`` and ``last_ms`` are the least and the
    greatest instant a message of it was sent at, None without messages. ``digest`` is a SHA-256 over all that its files hold.
    """

    name: str
    keys: tuple[str, ...]
    rows: int
    odd: int
    first_ms: int | None
    last_ms: int | None
    files: dict[str, tuple[int, int]]
    digest: str

    @property
    def bytes(self) -> int:
        """How much room its files take."""
        return sum(size for size, _ in self.files.values())


class ShardBrokenError(Exception):
    """A shard cannot be used; it is made again."""


def build(store: Store, folder: Path, records: Sequence[FileRecord], *, advance: Advance | None = None) -> ShardRecord:
    """Write a shard of data objects of ``messages`` and ``observations`` into an empty folder.

    Raises `DamageFoundError` if an object cannot be read and `OSError` if the folder cannot be written.
    """
    index = tantivy.Index(words.schema(), path=str(folder))
    words.register_tokenizer(index)
    documents = words.Documents()
    rows = odd = 0
    try:
        with index.writer(HEAP_BYTES, 1) as writer:
            for ordinal, record in enumerate(records):
                of_messages = record.table == "messages"
                columns = words.MESSAGE_COLUMNS if of_messages else words.OBSERVATION_COLUMNS
                first_row = 0
                for batch in read_rows(store, [record], columns):
                    if of_messages:
                        for document, is_odd in documents.of_messages(batch, ordinal=ordinal, first_row=first_row):
                            writer.add_document(document)
                            rows += 1
                            odd += is_odd
                    else:
                        for document in documents.of_observations(batch, ordinal=ordinal, first_row=first_row):
                            writer.add_document(document)
                            rows += 1
                    first_row += batch.num_rows
                    if advance is not None:
                        advance(batch.num_rows)
    except ValueError as error:  # so does tantivy tell of a full disk
        raise OSError(f"the index cannot be written: {error}") from error
    sent = [record.ranges["sent_at"] for record in records if record.table == "messages" and record.rows]
    files = _files_of(folder)
    return ShardRecord(
        name=folder.name,
        keys=tuple(record.key for record in records),
        rows=rows,
        odd=odd,
        first_ms=min((int(first) for first, _ in sent), default=None),
        last_ms=max((int(last) for _, last in sent), default=None),
        files=files,
        digest=_digest_of(folder, files),
    )


class Shard:
    """A shard that can be asked. Raises `ShardBrokenError` if its files are not as they were when it was made.

    Their size and time are looked at, and with ``reads_all`` every byte: for whoever takes what a shard does not find for absent.
    """

    def __init__(self, folder: Path, record: ShardRecord, *, reads_all: bool = False) -> None:
        self.record = record
        self.schema = words.schema()
        try:
            if _files_of(folder) != record.files:
                raise ShardBrokenError(f"the files of {folder} changed")
            if reads_all and _digest_of(folder, record.files) != record.digest:
                raise ShardBrokenError(f"the files of {folder} are damaged")
            index = tantivy.Index.open(str(folder))
            words.register_tokenizer(index)
            self.searcher = index.searcher()
        except (OSError, ValueError) as error:
            raise ShardBrokenError(f"{folder} cannot be opened: {error}") from error
        if self.searcher.num_docs != record.rows:
            raise ShardBrokenError(f"{folder} has {self.searcher.num_docs} documents and not {record.rows}")
        self._values: dict[str, list[str]] = {}

    def find(
        self, query: tantivy.Query, *, limit: int | None = None, is_newest: bool = True
    ) -> list[tuple[int, str, int]]:
        """Return for each row that a query finds its instant, the key of its data object and its number there; in order of instants.

        At most ``limit`` of them, the newest or the oldest. Raises `ShardBrokenError` if the shard does not answer, as do the others.
        """
        order = tantivy.Order.Desc if is_newest else tantivy.Order.Asc
        count_max = limit if limit is not None else max(1, self.record.rows)
        with _answering():
            hits = self.searcher.search(query, count_max, count=False, order_by_field=words.AT_MS, order=order).hits
            addresses = [address for _, address in hits]
            ordinals = self.searcher.fast_field_values(words.OBJECT, addresses)
            rows = self.searcher.fast_field_values(words.ROW, addresses)
            keys = self.record.keys
            return [
                (words.number(at_ms), keys[words.number(ordinal)], words.number(row))
                for (at_ms, _), ordinal, row in zip(hits, ordinals, rows, strict=True)
            ]

    def count(self, query: tantivy.Query) -> int:
        """Return how many rows a query finds."""
        with _answering():
            found = self.searcher.search(query, 1, count=True)
            return words.number(getattr(found, "count", None))

    def with_word(self, word: str) -> int:
        """Return how many rows say a word."""
        with _answering():
            return self.searcher.doc_freq(words.WORDS, word)

    def values(self, kind: str) -> list[str]:
        """Return all values of a kind of fact."""
        if kind not in self._values:
            with _answering():
                terms = self.searcher.terms_with_prefix(words.FACTS, kind)
            self._values[kind] = [words.value_of(found) for found, _ in terms]
        return self._values[kind]


@contextmanager
def _answering() -> Iterator[None]:
    """Raise `ShardBrokenError` whatever way tantivy fails."""
    try:
        yield
    except (ValueError, OSError, IndexError, AssertionError) as error:
        raise ShardBrokenError(f"the index does not answer: {error}") from error
    except BaseException as error:
        # A panic of Rust is no Exception, and its class has no name that could be imported.
        if type(error).__name__ == "PanicException":
            raise ShardBrokenError(f"the index does not answer: {error}") from None
        raise


def _files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file of a shard; tantivy's locks are no part of it."""
    found = {}
    for path in folder.iterdir():
        if not path.name.endswith(".lock"):
            stat = path.stat()
            found[path.name] = (stat.st_size, stat.st_mtime_ns)
    return found


def _digest_of(folder: Path, names: Iterable[str]) -> str:
    """Return a digest of what files hold, each under its name."""
    digest = sha256()
    for name in sorted(names):
        with (folder / name).open("rb") as file:
            digest.update(f"{name} {file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
