"""Rows of a CSV file, each with the text that it was read from: values alone would not tell how a record stood in the file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from archiver.capture.imports.opened import LINE_BYTES_MAX, OpenedFile, lines_of
from archiver.capture.imports.records import Unreadable, unreadable

_BYTE_ORDER_MARK: Final = "\ufeff"
# What a byte that cannot be decoded becomes, and becomes again.
_KEEP_BYTES: Final = "surrogateescape"


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a CSV file is written. ``columns`` are the names of a file that has no line of names."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row: where it begins, its text without the last line end, and its values by column."""

    place: str
    raw: str
    values: dict[str, str]


class _Lines:
    """Lines for the reader of CSV, which asks for as many as a row takes; what it took is the row's own text."""

    def __init__(self, source: OpenedFile, encoding: str, on_unreadable: Callable[[Unreadable], None]) -> None:
        self._lines = lines_of(source)
        self._encoding = encoding
        self._on_unreadable = on_unreadable
        self.taken: list[str] = []
        self.first = 1
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if isinstance(line, Unreadable):
                self._on_unreadable(line)
                continue
            number, data = line
            try:
                text = data.decode(self._encoding, _KEEP_BYTES)
            except UnicodeError:  # not every codec can keep bytes
                self._on_unreadable(unreadable(f"line {number}", f"not {self._encoding}", data))
                continue
            if number == 1:
                text = text.removeprefix(_BYTE_ORDER_MARK)
            if not self.taken:
                self.first, self._characters = number, 0
            self.taken.append(text)
            self._characters += len(text)
            if self._characters > LINE_BYTES_MAX:
                raise csv.Error(f"the row is longer than {LINE_BYTES_MAX} characters")
            yield f"{text}\n"

    def take(self) -> str:
        """Return the text of the row that was read."""
        text = "\n".join(self.taken)
        self.taken = []
        return text


def csv_rows(source: OpenedFile, form: CsvForm) -> Iterator[CsvRow | Unreadable]:
    """Yield the rows of a CSV file; one that cannot be read says why and harms no other.

    Without names of columns no row can be read: then each says so.
    """
    waiting: list[Unreadable] = []
    lines = _Lines(source, form.encoding, waiting.append)
    columns, is_headed = form.columns or (), form.columns is not None
    for values in _values(lines, form):
        yield from waiting
        waiting.clear()
        if not is_headed and isinstance(values, list):
            columns, is_headed = _columns(values), True
            if columns:
                lines.take()
            else:
                yield _unreadable(lines, form, "the first row does not name columns, each by a name of its own")
        elif isinstance(values, str):
            is_headed = True
            yield _unreadable(lines, form, values)
        elif not columns:
            yield _unreadable(lines, form, "the names of the columns are not known")
        else:
            yield _row(lines, form, columns, values)
    yield from waiting


def _values(lines: _Lines, form: CsvForm) -> Iterator[list[str] | str]:
    """Yield the values of each row, or why they cannot be told apart."""
    while True:
        # A reader that has failed does not go on; its lines do.
        reader = csv.reader(iter(lines), delimiter=form.delimiter, quotechar=form.quote, strict=True)
        try:
            for values in reader:
                if values:
                    yield values
                else:
                    lines.take()
        except csv.Error as error:
            yield f"not CSV: {error}"
        else:
            return


def _columns(names: list[str]) -> tuple[str, ...]:
    """Return the names of the columns, none if two are called the same."""
    named = [name for name in names if name]
    return tuple(names) if len(set(named)) == len(named) else ()


def _row(lines: _Lines, form: CsvForm, columns: tuple[str, ...], values: list[str]) -> CsvRow | Unreadable:
    if len(values) != len(columns):
        return _unreadable(lines, form, f"{len(values)} values where {len(columns)} columns were expected")
    place, raw = f"line {lines.first}", lines.take()
    try:
        raw.encode()
    except UnicodeEncodeError:
        return unreadable(place, f"not {form.encoding}", _bytes(raw, form))
    return CsvRow(place, raw, dict(zip(columns, values, strict=True)))


def _unreadable(lines: _Lines, form: CsvForm, error: str) -> Unreadable:
    place = f"line {lines.first}"
    return unreadable(place, error, _bytes(lines.take(), form))


def _bytes(text: str, form: CsvForm) -> bytes:
    """Return the bytes that a row was decoded from."""
    try:
        return text.encode(form.encoding, _KEEP_BYTES)
    except UnicodeError:
        return text.encode("utf-8", "surrogatepass")
