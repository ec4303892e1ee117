"""Puts together what searches work with: the index in this machine's own folder, labels and replies.

Its imports stand inside the functions for the same reason as those of `archiver.wiring`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from archiver import wiring, wiring_query
from archiver.clock import to_ms

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from datetime import date

    from archiver.archive.reader import Archive, Head
    from archiver.discovery.index import Index, IndexState
    from archiver.discovery.search_around import Reply
    from archiver.discovery.search_facts import Key, LabelMeaning
    from archiver.expression import Directory, Expression
    from archiver.settings import Settings

# Reading rows is a few requests for each object, and waits for answers if the archive is in a bucket.
THREADS = 8
# Starting a process takes about as long as indexing so many rows.
ROWS_FOR_PROCESSES = 200_000


@contextmanager
def reading() -> Iterator[Executor]:
    """Return the threads that read rows of an archive."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - see the module's docstring

    from archiver.archive.memory import give_memory_back  # noqa: PLC0415 - see the module's docstring

    give_memory_back()
    with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="search") as executor:
        yield executor


def index_of(settings: Settings, archive: Archive) -> Index:
    """Return the index of an archive, which need not be there yet."""
    from archiver.discovery.index import Index  # noqa: PLC0415 - see the module's docstring

    return Index(settings.state, archive_id=archive.facts.archive_id)


def refresh(
    settings: Settings, index: Index, head: Head, *, progress: Callable[[int, int], None] | None = None
) -> bool:
    """Bring an index up to a head, with all processors if there is much to do; False if another process is doing so.

    Raises `OSError` if this machine's folder cannot be written, and `DamageFoundError` if a data object cannot be read.
    """
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor  # noqa: PLC0415 - see the module's docstring
    from multiprocessing import get_context  # noqa: PLC0415 - see the module's docstring

    from archiver.discovery.index import build_from  # noqa: PLC0415 - see the module's docstring

    processors = os.cpu_count() or 1
    build = partial(build_from, partial(wiring.open_store, settings))
    if processors > 1 and index.state(head).rows_behind > ROWS_FOR_PROCESSES:
        # A process that is forked has the locks of threads which it does not have.
        with ProcessPoolExecutor(max_workers=processors, mp_context=get_context("spawn")) as processes:
            return index.refresh(head, build, executor=processes, progress=progress)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return index.refresh(head, build, executor=thread, progress=progress)


def refresher(settings: Settings) -> Callable[[Archive, Head], Mapping[str, int] | None] | None:
    """Return how runs bring the index to a head, None if they are not to; see `archiver.run.session.Ports`."""
    from archiver.errors import SpoolError  # noqa: PLC0415 - see the module's docstring

    wanted = settings.search.refresh
    if wanted == "never":
        return None

    def refreshed(archive: Archive, head: Head) -> Mapping[str, int] | None:
        index = index_of(settings, archive)
        if wanted == "existing" and not index.exists():
            return {}
        behind = index.state(head)
        if not behind.objects_behind and not index.is_stale(head):
            return {}
        try:
            is_ours = refresh(settings, index, head)
        except OSError as error:
            raise SpoolError(
                f"the index of searches in {index.folder} cannot be written: {error.strerror or error}",
                next_step="make room, or make the folder writable for this user; until then searches read what it lacks",
            ) from error
        return {"objects_indexed": behind.objects_behind, "rows_indexed": behind.rows_behind} if is_ours else None

    return refreshed


def index_standing(settings: Settings, archive: Archive, head: Head) -> IndexState | None:
    """Return how the index on this machine stands to a head, None if there is none."""
    index = index_of(settings, archive)
    return index.state(head) if index.exists() else None


def likely_days(
    settings: Settings, archive: Archive, *, executor: Executor, warn: Callable[[str], None]
) -> Callable[[Head, Expression, Directory], frozenset[date] | None]:
    """Return what tells exports under which days hits may lie, by the index that is there; None, which is any, where it cannot tell.

    What a message says of itself is asked for and no more: what else is known of it (its files, whether it was edited or comes back)
    narrows nothing, because an export knows that of a message together with what it turned out to be.
    """
    from archiver.discovery.index_shard import ShardBrokenError  # noqa: PLC0415 - see the module's docstring
    from archiver.discovery.search_candidates import likely_days as days_of  # noqa: PLC0415 - see the module's docstring
    from archiver.discovery.search_facts import Knowledge  # noqa: PLC0415 - see the module's docstring
    from archiver.discovery.search_places import Places  # noqa: PLC0415 - see the module's docstring

    index = index_of(settings, archive)

    def likely(head: Head, expression: Expression, directory: Directory) -> frozenset[date] | None:
        if not index.exists():
            return None
        opened = index.open(head, reads_all=True)
        places = Places(archive.store, head, opened, Knowledge(directory=directory), executor)
        try:
            return days_of(places, expression)
        except ShardBrokenError as error:
            warn(f"archiver: warning: {error}; every message is read")
            return None

    return likely


def forget_disposed(settings: Settings, archive: Archive) -> None:
    """Take every word out of the index of what is not in the archive any more; raises `SpoolError` if it cannot."""
    from archiver.errors import SpoolError  # noqa: PLC0415 - see the module's docstring

    index = index_of(settings, archive)
    if not index.folder.exists():
        return
    try:
        index.forget(archive.head())
    except OSError as error:
        raise SpoolError(
            f"words of what was disposed of may still stand in {index.folder}: {error.strerror or error}",
            next_step="remove that folder; the next search makes it anew",
        ) from error


def labels(settings: Settings) -> Mapping[str, LabelMeaning] | None:
    """Return what the labels of the configured policy stand for, None without a policy; raises `PolicyError`."""
    from archiver.discovery.search_facts import LabelMeaning  # noqa: PLC0415 - see the module's docstring
    from archiver.retention.policy_file import read_policy  # noqa: PLC0415 - see the module's docstring

    if not settings.retention.policy.exists():
        return None
    policy = read_policy(settings.retention.policy)
    return {
        name: LabelMeaning(frozenset(label.messages or ()), frozenset(label.chats or ()))
        for name, label in policy.labels.items()
    }


def replies(settings: Settings, archive: Archive, head: Head, keys: Sequence[Key]) -> list[Reply]:
    """Return the replies to and by some messages, as far as the view ``inferred_replies`` tells."""
    from archiver.discovery.search_around import Reply  # noqa: PLC0415 - see the module's docstring
    from archiver.query.literals import text_list  # noqa: PLC0415 - see the module's docstring

    chats, uids = (text_list(sorted({key[part] for key in keys})) for part in (0, 1))
    sql = f"""SELECT r.chat_id, r.message_uid, r.sent_at, r.sender_id, m.sender_name, m.plain_text,
            r.original_uid, o.sent_at, o.sender_id, o.sender_name, o.plain_text, r.matched_by
        FROM inferred_replies AS r
        JOIN current_messages AS m ON m.chat_id = r.chat_id AND m.message_uid = r.message_uid
        JOIN current_messages AS o ON o.chat_id = r.chat_id AND o.message_uid = r.original_uid
        WHERE list_contains({chats}, r.chat_id)
            AND (list_contains({uids}, r.message_uid) OR list_contains({uids}, r.original_uid))
        ORDER BY r.sent_at, r.message_uid"""  # noqa: S608 - the texts are quoted
    with wiring_query.open_query(settings, archive, head) as engine:
        return [
            Reply(
                chat_id=row[0],
                message_uid=row[1],
                sent_at_ms=to_ms(row[2]),
                sender_id=row[3],
                sender_name=row[4],
                text=row[5],
                original_uid=row[6],
                original_sent_at_ms=to_ms(row[7]),
                original_sender_id=row[8],
                original_sender_name=row[9],
                original_text=row[10],
                matched_by=row[11],
            )
            for row in engine.ask(sql).rows
        ]
