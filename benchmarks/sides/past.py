"""Makes an archive as so many nights would have left it, quickly.

    python benchmarks/sides/past.py CONFIG NIGHTS MESSAGES_A_NIGHT UNTIL_MS

Every night is what a run commits: what changed in the directory, then the night's messages and their events, then what the sweep
observed and how far it read each day, then the gaps. The rows are made by the archiver's own readers and committed by its own commit;
left out are the spool and the look for repetitions, of which there are none. In the end a run crawls the directory of the Flock that
the configuration names, so that the archive's states are those of today.
"""

from __future__ import annotations

import os
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import team

from archiver import settings as configuration
from archiver import wiring
from archiver.archive.commit import Author, Draft, commit
from archiver.archive.reader import Archive, Head
from archiver.archive.schema import TABLES
from archiver.archive.tables import decided_messages, rows_to_table
from archiver.capture.drain import Batch
from archiver.capture.reading import read_blocks
from archiver.capture.sweep import DAY_CURSOR, NIGHT_CURSOR, Night, Place, cursor_text
from archiver.clock import day_of
from archiver.errors import EXIT_DONE, EXIT_GAPS
from archiver.model.capture import Capture
from archiver.run.lock import hold
from archiver.run.nightly import Selection, run_nightly
from archiver.run.result import Silent
from archiver.spool import SpooledBlock
from archiver.spool.frame import BATCH_CAPTURES_MAX, encoded

SPOOL_ID = "spool-of-the-past"
RECEIVED_AFTER_MS = 250
HOT_DAYS = 7
FULL_WITHIN_DAYS = 13  # sooner than `archiver.capture.sweep` lets any day come due, so that every past is as well read


def main(config: Path, *, nights: int, messages: int, until_ms: int) -> None:
    # The archive is read by this machine alone and goes with the benchmark: its making need not wait for the disk.
    os.fsync = lambda _: None
    settings = configuration.load(config)
    given = configuration.Secrets(settings)
    with hold(settings.state), wiring.run_ports(settings, given) as ports:
        past = _Past(ports.archive, ports.executor)
        for number in range(nights):
            past.add_night(until_ms - (nights - number) * team.DAY_MS, number=number, messages=messages)
    # Opened again, as every night does.
    with hold(settings.state), wiring.run_ports(settings, given) as ports:
        result = run_nightly(
            ports,
            author=wiring.author(settings, clock=ports.clock),
            limits=wiring.limits(settings, minutes_max=None),
            selection=Selection(only=("directory", "gaps")),
            progress=Silent(),
        )
    if result.exit_code not in (EXIT_DONE, EXIT_GAPS):
        raise SystemExit(f"the last run of the past failed: {result}")


class _Past:
    """The nights until now, on top of each other."""

    def __init__(self, archive: Archive, executor: ThreadPoolExecutor) -> None:
        self._archive = archive
        self._executor = executor
        self._head: Head = archive.head()
        self._sequence = 1

    def add_night(self, first_ms: int, *, number: int, messages: int) -> None:
        """Commit the messages of the 24 hours from ``first_ms`` on, as the run at their end does."""
        at_ms = first_ms + team.DAY_MS
        self._commit(at_ms, _directory_of_night(number, at_ms))
        self._commit(at_ms, self._messages(first_ms, messages), watermarks={SPOOL_ID: self._sequence - 1})
        days = [day_of(at_ms) - timedelta(days=age) for age in range(HOT_DAYS)]
        # One of the older days a night is what a budget allows, and the oldest are read as often as the others.
        older = day_of(at_ms) - timedelta(days=HOT_DAYS + number % FULL_WITHIN_DAYS)
        cursors = {f"{DAY_CURSOR}{day}": cursor_text(Place(at_ms, is_swept=True)) for day in [*days, older]}
        observed = [_swept(at_ms, day, chat) for day in [*days, older] for chat in team.CHANNELS]
        night = {NIGHT_CURSOR: cursor_text(Night(at_ms, 5_000))}
        self._commit(at_ms, {"observations": observed}, cursors=cursors | night)
        gaps = {"gaps": [_gap(number, at_ms, "open"), _gap(number - 1, at_ms, "closed")]}
        self._commit(at_ms, gaps, cursors={"gaps": str(self._head.sequence)})

    def _messages(self, first_ms: int, count: int) -> dict[str, Any]:
        captures = [
            Capture("general", "webhook", at_ms + RECEIVED_AFTER_MS, "webhook-token", team.message(chat, uid).encode())
            for at_ms, chat, uid in team.night(first_ms, messages=count)
        ]
        batch = Batch()
        blocks = []
        for start in range(0, count, BATCH_CAPTURES_MAX):
            part = captures[start : start + BATCH_CAPTURES_MAX]
            blocks.append(SpooledBlock(self._sequence, len(part), 0, encoded(part)))
            self._sequence += len(part)
        batch.add_captures(read_blocks(blocks, spool_id=SPOOL_ID))
        rows = batch.messages()
        decided = decided_messages(rows, versions=[1] * count, supersedes={}, sender_names={}, blob_digests={})
        return {"messages": decided, "events": batch.events(added=[True] * count, rows=rows)}

    def _commit(self, at_ms: int, tables: dict[str, Any], **further: Any) -> None:
        drafted = {
            name: rows_to_table(TABLES[name], rows) if isinstance(rows, list) else rows for name, rows in tables.items()
        }
        draft = Draft(at_ms=at_ms, tables=drafted, **further)
        author = Author(run="past", actor="benchmark", software=wiring.SOFTWARE, writer="benchmark")
        self._head = commit(
            self._archive, self._head, draft, author=author, attempt=secrets.token_hex(4), executor=self._executor
        )


def _directory_of_night(number: int, at_ms: int) -> dict[str, list[dict[str, Any]]]:
    """Return what changed in a team of more than a hundred: a name, somebody who came and somebody who left."""
    user, other = team.PEOPLE[number % team.PEOPLE_COUNT], team.PEOPLE[(number + 50) % team.PEOPLE_COUNT]
    chat = team.CHANNELS[number % team.CHANNELS_COUNT]
    basis = {"valid_from": at_ms, "captured_by": team.PEOPLE[0]}
    named = {"user_id": user, "first_name": f"Before {number}", "raw": "{}"}
    changed: dict[str, list[dict[str, Any]]] = {
        "users": [_state(basis, **named)],
        "groups": [
            _state(basis, channel_id=chat, user_id=user, state="member", affiliation="member"),
            _state(basis, channel_id=chat, user_id=other, state="left"),
        ],
    }
    if number % 5 == 0:
        changed["channels"] = [
            _state(basis, channel_id=chat, state="listed", name=f"Before {number}", member_count=9, raw="{}")
        ]
        changed["conversations"] = [_state(basis, chat_id=chat, chat_kind="channel", name=f"Before {number}")]
    return changed


def _swept(at_ms: int, day: Any, chat: str) -> dict[str, Any]:
    return {
        "observed_at": at_ms,
        "chat_id": chat,
        "asked_as": team.PEOPLE[0],
        "outcome": "swept",
        "day_on": day,
        "asked": 80,
        "returned": 80,
    }


def _gap(number: int, at_ms: int, state: str) -> dict[str, Any]:
    subject = f"spool from {number}"
    return _state(
        {"valid_from": at_ms},
        gap_id=sha256(subject.encode()).hexdigest(),
        state=state,
        kind="spool-set-back",
        subject=subject,
        count=1,
        evidence="a night of the past",
    )


def _state(basis: dict[str, Any], **facts: Any) -> dict[str, Any]:
    row = {**basis, **facts}
    return {**row, "state_digest": sha256(repr(row).encode()).hexdigest()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), nights=int(sys.argv[2]), messages=int(sys.argv[3]), until_ms=int(sys.argv[4]))
