"""What an import would find: a source held against the archive, without writing anything.

It judges as the import itself does (`archiver.capture.versions`). What the file repeats of itself is told by digests alone, of which
it remembers a few bytes a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from archiver.archive.reader import Head
from archiver.archive.tables import messages_to_table
from archiver.capture.imports.records import Said, Source, Tally, Wanted
from archiver.capture.versions import Key, KnownVersion, decide, find_archived, find_known, find_repeats
from archiver.model.message import Message
from archiver.normalise.imported import to_message
from archiver.store import Store

_ITEMS_PER_LOOK = 20_000


@dataclass(slots=True)
class Comparison:
    """What an import would find of messages and uids.

    ``other_bytes`` are records that say what is known, in bytes that are not: they are kept beside it.
    """

    new: int = 0
    new_versions: int = 0
    other_bytes: int = 0
    duplicates: int = 0
    repeated: int = 0
    wanted_new: int = 0
    wanted_archived: int = 0


@dataclass(slots=True)
class _Seen:
    """Digests, as numbers, of what the file said up to here: keys, keys with what is said, keys with the record's bytes."""

    keys: set[int] = field(default_factory=set)
    contents: set[int] = field(default_factory=set)
    raws: set[int] = field(default_factory=set)


def compare(
    source: Source, *, store: Store, head: Head | None, now_ms: int, progress: Callable[[int], None]
) -> Comparison:
    """Read a source once more and count what of it the archive holds; ``head`` is None where there is no archive yet."""
    found, seen = Comparison(), _Seen()
    wanted: set[Key] = set()
    done = 0
    for messages, uids, count in _portions(source, now_ms):
        known = _known(store, head, messages)
        for message in messages:
            _count(found, seen, message, known.get((message.chat_id, message.message_uid)))
        fresh = uids - wanted
        archived = find_archived(store, head, fresh) if head is not None else set()
        found.wanted_archived += len(archived)
        found.wanted_new += len(fresh) - len(archived)
        wanted |= fresh
        done += count
        progress(done)
    return found


def _portions(source: Source, now_ms: int) -> Iterator[tuple[list[Message], set[Key], int]]:
    messages: list[Message] = []
    uids: set[Key] = set()
    count = 0
    for item in source.items(Tally()):
        count += 1
        if isinstance(item, Said):
            messages.append(to_message(item.message, observed_at_ms=now_ms, captured_by=source.captured_by))
        elif isinstance(item, Wanted):
            uids.add((item.chat_id, item.uid))
        if count >= _ITEMS_PER_LOOK:
            yield messages, uids, count
            messages, uids, count = [], set(), 0
    yield messages, uids, count


def _known(store: Store, head: Head | None, messages: list[Message]) -> dict[Key, list[KnownVersion]]:
    if head is None or not messages:
        return {}
    rows = messages_to_table(messages)
    own = {(message.chat_id, message.message_uid) for message in messages}
    keys = find_repeats(store, head, rows) & own
    return find_known(store, head, rows, keys) if keys else {}


def _count(found: Comparison, seen: _Seen, message: Message, known: list[KnownVersion] | None) -> None:
    key = hash((message.chat_id, message.message_uid))
    content, raw = hash((key, message.content_digest)), hash((key, message.raw_digest))
    says_nothing_new = content in seen.contents
    if says_nothing_new and raw in seen.raws:
        found.repeated += 1
    elif known:
        [decision] = decide([message], {(message.chat_id, message.message_uid): known})
        if decision is None:
            found.duplicates += 1
        elif says_nothing_new or decision.version <= known[-1].version:
            found.other_bytes += 1
        else:
            found.new_versions += 1
    elif says_nothing_new:
        found.other_bytes += 1
    elif key in seen.keys:
        found.new_versions += 1
    else:
        found.new += 1
    seen.keys.add(key)
    seen.contents.add(content)
    seen.raws.add(raw)
