"""Writes slices into the payload of a bag, in every form that was asked for, with the files that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from archiver.discovery.export.disk_file import LANES
from archiver.discovery.export.formats import writer_class
from archiver.discovery.export.journal import Journal
from archiver.discovery.export.payload import Enclosing, Payload
from archiver.discovery.export.record import Slice, Terms
from archiver.discovery.export.redaction import Blackened
from archiver.discovery.export.sink import Writer, Written
from archiver.discovery.export.tally import Tally
from archiver.discovery.export.targets import Target
from archiver.store import Store

_REDACTIONS_PATH: Final = "redactions.csv"
_REDACTIONS_HEADER: Final = b"control_number,chat_id,message_uid,version,rule,count\r\n"

# Told how many messages were written since.
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What slices come to that were written, and by the name of each format what its writer says."""

    tally: Tally
    written: Mapping[str, Written]

    def joined(self, other: Contents) -> Contents:
        """Return this with what was written of other conversations."""
        written = {name: of_format.joined(other.written[name]) for name, of_format in self.written.items()}
        return Contents(self.tally.joined(other.tally), written)


@dataclass(slots=True)
class Desk:
    """Where slices are written: into a place that is noted in a journal, with the files that a store has.

    ``executor`` hashes and writes beside what makes the texts, where one is given. Who writes into the same place at the same time has
    another ``name``. What is made black is logged here, slice by slice.
    """

    target: Target
    journal: Journal
    store: Store
    executor: Executor | None = None
    name: str = ""
    _blackened: list[Blackened] = field(default_factory=list)

    def log(self, line: Blackened) -> None:
        """Take a line of what was made black, of a slice that was asked for."""
        self._blackened.append(line)

    def write(
        self,
        terms: Terms,
        slices: Iterable[Slice],
        formats: Iterable[str],
        *,
        prefix: str,
        progress: Progress | None = None,
        other: Callable[[], Contents] | None = None,
    ) -> Contents:
        """Write slices in some formats; ``prefix`` is that of the payload in the package. Raises `StorageError` if the place cannot.

        ``other`` returns what was written of the second half, which is in what is returned too.
        """
        tally = Tally()
        with ExitStack() as stack:
            # They wait for the disk and for nothing else, so that whoever waits for them can be any of the others.
            # Without anything else beside, one of them takes what would be waited for, and leaves the others' processors alone.
            many = 1 if self.executor is None else LANES
            lanes = stack.enter_context(ThreadPoolExecutor(many, "export-lane"))
            payload = Payload(
                self.target, self.journal, prefix=prefix, name=self.name, executor=self.executor, lanes=lanes
            )
            stack.callback(payload.close)
            enclosing = Enclosing(self.store, payload, self.journal)
            writers: dict[str, Writer] = {}
            for name in formats:
                writers[name] = writer_class(name)(terms, payload)
                stack.callback(writers[name].close)
            log = stack.enter_context(ExitStack())
            redactions = None
            if terms.is_redacted:
                redactions = log.enter_context(payload.open(_REDACTIONS_PATH))
                redactions.write(_REDACTIONS_HEADER)
            for made in slices:
                part = enclosing.enclose(made)
                tally.add(part)
                if redactions is not None:
                    redactions.writelines(self._blackened_in(part))
                for writer in writers.values():
                    writer.add(part)
                if progress is not None:
                    progress(len(part.messages))
            second = None if other is None else other()
            written = {
                name: writer.finish(None if second is None else second.written[name])
                for name, writer in writers.items()
            }
            log.close()
            payload.settle()
        contents = Contents(tally, written)
        return contents if second is None else contents.joined(second)

    def _blackened_in(self, part: Slice) -> list[bytes]:
        """Return the lines about a slice; those of the next one, which is made before its volume is known, wait."""
        numbers = {message.control_number for message in part.messages}
        lines = [_csv_line(line) for line in self._blackened if line.control_number in numbers]
        self._blackened = [line for line in self._blackened if line.control_number not in numbers]
        return lines


def _csv_line(line: Blackened) -> bytes:
    cells = (line.control_number, line.chat_id, line.message_uid, str(line.version), line.rule, str(line.count))
    return (",".join(map(_cell, cells)) + "\r\n").encode()


def _cell(text: str) -> str:
    """Return a cell of a CSV, quoted where it must be, and no formula."""
    text = f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\r\n') else text
