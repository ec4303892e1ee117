"""Everything that is chosen for an export, put into runs; all of it, or the share of one of two processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from archiver.discovery.export.assembly import MESSAGE_COLUMNS
from archiver.discovery.export.given import Taken, together
from archiver.discovery.export.opened import Opened
from archiver.discovery.export.replies import Said
from archiver.discovery.export.runs import Runs
from archiver.discovery.export.selection import Share

# Told how much is done and how much there is, in rows looked at and then in messages written.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was chosen: where its rows lie, the chats that they are of as the archive has them, and who says to reply to something.

    ``unnamed`` counts by chat and uid the rows that came without a uid and turned out to be of that message.
    """

    taken: Taken
    chats: frozenset[str]
    said: Said
    unnamed: Counter[tuple[str, str]]

    def joined(self, other: Gathered) -> Gathered:
        """Return this with what another process has gathered into the same folder."""
        return Gathered(
            together([self.taken, other.taken]),
            self.chats | other.chats,
            self.said.joined(other.said),
            self.unnamed + other.unnamed,
        )


def gather(
    opened: Opened, runs: Runs, *, share: Share | None = None, in_files: bool = False, progress: Progress | None = None
) -> Gathered:
    """Put what was chosen, or a share of it, into runs; with ``in_files`` into their files, however little it is."""
    total = opened.selection.rows(share)
    looked = 0
    chats: set[str] = set()
    said = Said()
    for found, count in opened.selection.chosen(MESSAGE_COLUMNS, share=share):
        looked += count
        chats.update(found.messages.column("chat_id").unique().to_pylist())
        said = said.joined(Said.by(found.messages))
        runs.add(opened.redaction.chats(_plain(found.messages)), opened.redaction.chats(found.files))
        if progress is not None:
            progress("looking through messages", min(looked, total), total)
    taken = runs.taken(in_files=in_files)
    return Gathered(taken, frozenset(chats), said, opened.selection.unnamed)


def _plain(rows: pa.Table) -> pa.Table:
    """Return rows without the columns that only the question needed."""
    unneeded = [name for name in ("text", "client_id") if name in rows.column_names]
    return rows.drop_columns(unneeded) if unneeded else rows
