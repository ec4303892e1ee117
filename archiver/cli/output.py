"""The only printer. Results go to standard output: one JSON document with ``--json``, tables for people otherwise.

Progress, notes and warnings go to standard error. Text that comes from Flock is hostile: control characters and the marks that
reorder a line are shown as escapes, so that no message can move a terminal's cursor, and nothing in it is read as markup.
rich does without colour where NO_COLOR is set or the stream is no terminal.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO, TYPE_CHECKING

import msgspec
from click.exceptions import Exit

from archiver.cli.redact import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

# 128 + SIGPIPE: whoever read our output went away, as in `archiver query … | head`.
EXIT_READER_GONE = 141

# With these a spreadsheet begins a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

# A pipe has no width; a table in it is as wide as its cells, up to this.
PIPE_COLUMNS = 4_000

# C0 and C1 controls without tab and newline, and the bidirectional overrides and isolates.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text that does nothing to a terminal but show itself; letters of every script stay as they are."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as CSV (RFC 4180), in UTF-8."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def to_json(document: object) -> bytes:
    """Return a document as JSON, indented; instants as ISO 8601, paths as text, dataclasses as objects."""
    encoded = msgspec.json.encode(document, enc_hook=_json_fallback)
    return msgspec.json.format(encoded, indent=2)


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's results go, as its ``--json`` and ``--quiet`` say."""

    as_json: bool = False
    quiet: bool = False

    def result(self, document: Mapping[str, object], *, show: Callable[[Output], None]) -> None:
        """Print what a command found: the document with ``--json``, otherwise what ``show`` prints for people."""
        if self.as_json:
            self.write(to_json(document) + b"\n")
        else:
            show(self)

    def line(self, text: str = "") -> None:
        """Print a line for people."""
        self.write(f"{printable(text)}\n".encode())

    def styled(self, *parts: tuple[str, str]) -> None:
        """Print texts for people as one line, each in a style of rich's; nothing in them is read as markup."""
        from rich.text import Text  # noqa: PLC0415 - as below

        line = Text()
        for text, style in parts:
            line.append(printable(text), style)
        with _reader_may_leave():
            _console(sys.stdout).print(line, soft_wrap=True)
            sys.stdout.flush()

    def facts(self, facts: Mapping[str, object]) -> None:
        """Print names and values for people, one a line, aligned."""
        width = max((len(name) for name in facts), default=0)
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {value}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "") -> None:
        """Print a table for people; None shows as nothing, numbers stand to the right."""
        from rich.table import Table  # noqa: PLC0415 - rich is heavy, and --json needs none of it
        from rich.text import Text  # noqa: PLC0415 - as above

        table = Table(title=Text(printable(title)) if title else None, title_justify="left", header_style="bold")
        for position, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[position], (int, float)) for row in rows)
            table.add_column(Text(printable(column)), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
        with _reader_may_leave():
            _console(sys.stdout).print(table)
            sys.stdout.flush()

    def sheet(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print CSV for a spreadsheet, in which names from Flock are texts and never formulas."""
        self.write(csv_lines([columns, *([_sheet_cell(cell) for cell in row] for row in rows)]))

    def write(self, data: bytes) -> None:
        """Write bytes to standard output as they are, and make sure that they left."""
        with _reader_may_leave():
            sys.stdout.flush()
            buffer = getattr(sys.stdout, "buffer", None)
            if buffer is None:
                sys.stdout.write(data.decode())
            else:
                buffer.write(data)
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell people something on standard error that is no part of the result; not with ``--quiet``."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Tell people something on standard error that they must not miss."""
        print_error(text)

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Return rich's progress bars on standard error; they stay silent with ``--quiet`` and where no person watches."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - as above

        console = _console(sys.stderr)
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=self.quiet or not console.is_terminal,
        ) as progress:
            yield progress


def _sheet_cell(value: object) -> object:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def print_error(text: str) -> None:
    """Write a line to standard error, secrets and control characters replaced; a closed standard error is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(redact(text))}\n")
        sys.stderr.flush()


def is_terminal(stream: IO[str]) -> bool:
    """Tell whether a person watches this stream; one that is closed has no one."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def has_colour(stream: IO[str]) -> bool:
    """Tell whether this stream shows colour, and the person did not say NO_COLOR."""
    console = _console(stream)
    return console.is_terminal and not console.no_color


def _console(stream: IO[str]) -> Console:
    from rich.console import Console  # noqa: PLC0415 - as above

    console = Console(file=stream, soft_wrap=False, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Python flushes standard output once more at its end; let that find a place.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(EXIT_READER_GONE) from None


def _json_fallback(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in our JSON")
