"""An export that an index narrows takes what one takes that reads everything: any index, fresh, behind, of a later head or damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from archiver.archive.ledger import HoldScope
from archiver.archive.reader import Archive, Head
from archiver.clock import to_ms
from archiver.discovery.export.asked import Asked, parse_context, question_of
from archiver.discovery.export.assembly import MESSAGE_COLUMNS
from archiver.discovery.export.context import windows_of
from archiver.discovery.export.opened import Opened, Wanted, open_export
from archiver.discovery.export.selection import IS_CONTEXT, Selection
from archiver.discovery.index import Index, OpenIndex
from archiver.discovery.search_candidates import likely_days
from archiver.discovery.search_facts import Knowledge
from archiver.discovery.search_places import Places
from archiver.expression import Expression
from archiver.store.memory import MemoryStore
from tests.discovery.export.lived import said
from tests.discovery.searched import INSTANTS, add_rows, all_pages, archive_of, drawn_rows, places_of, refreshed
from tests.expression.expressions import BERLIN, EXPRESSIONS, WORDS, is_true, parsed
from tests.small_archive import add, found

Span = tuple[datetime | None, datetime | None]

# What leaves days out: of the words that are drawn none stands alone on a day.
RARE = st.sampled_from(["rareword", "稀有語", "rare*", '"rareword 稀有語"', "rareword OR 稀有語"])
TEXTS = st.one_of(
    EXPRESSIONS, RARE, st.builds("({}) ({})".format, RARE, EXPRESSIONS), st.builds("{} OR NOT ({})".format, RARE, RARE)
)
CONTEXTS = st.sampled_from([None, None, "1msgs", "20msgs", "12h"])
SPANS = st.one_of(st.just((None, None)), st.tuples(st.sampled_from(INSTANTS), st.sampled_from(INSTANTS)))


class Recording(MemoryStore):
    """Remembers which objects were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self, key: str) -> BinaryIO:
        self.opened.append(key)
        return super().open(key)


@dataclass(frozen=True)
class Narrowed:
    """By what index is used: the index, and an export of everything at the head that it is used for."""

    exports: dict[str, Opened]
    indexes: dict[str, OpenIndex]
    executor: ThreadPoolExecutor
    rows: list[dict[str, Any]]

    def __repr__(self) -> str:
        return "narrowed"

    def likely(self, using: str, expression: Expression) -> frozenset[date] | None:
        export = self.exports[using]
        knowledge = Knowledge(directory=export.membership.directory)
        places = Places(export.archive.store, export.head, self.indexes[using], knowledge, self.executor)
        return likely_days(places, expression)

    def selection(self, using: str, asked: Asked, likely: frozenset[date] | None) -> Selection:
        """What `open_export` makes of a question, without reading again what it does not depend on."""
        export = self.exports[using]
        question = question_of(asked, export.membership)
        selection = replace(export.selection, question=question, likely=likely)
        return selection if asked.context is None else replace(selection, windows=windows_of(selection, asked.context))


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrowed]:
    rows = drawn_rows(11, 40)
    # Most uids are as Flock makes them: of a message whose edit was sent on another day some rows are astray. The others state no time.
    first_ms = {row["message_uid"]: to_ms(row["sent_at"]) for row in rows if row["version"] == 1}
    for row in rows:
        if int(row["message_uid"][1:]) % 3:
            row["message_uid"] = f"{first_ms[row['message_uid']]}-{row['message_uid']}"
    # Of two messages whose uids state no time, one version each says what is rare, and another version lies under another day.
    apart = [
        place
        for place, (one, other) in enumerate(pairwise(rows))
        if one["message_uid"] == other["message_uid"]
        and one["sent_at"].date() != other["sent_at"].date()
        and one["message_uid"].startswith("m")
    ]
    for place, text in ((apart[0], "rareword"), (apart[1] + 1, "稀有語"), (-2, "rareword 稀有語")):
        rows[place]["plain_text"] += f" {text}"
        rows[place]["texts"].append(rows[place]["plain_text"])
    archive, old = archive_of(MemoryStore(), rows[:50], commits=1)
    behind = refreshed(archive, old, tmp_path_factory.mktemp("behind"))
    head = add_rows(archive, old, rows[50:], commits=1)
    whole = refreshed(archive, head, tmp_path_factory.mktemp("whole"))
    with ThreadPoolExecutor(2) as executor:
        of_head, of_old = (open_export(archive, each, wish("a", None)) for each in (head, old))
        yield Narrowed(
            {"whole": of_head, "behind": of_head, "of a later head": of_old},
            {
                "whole": whole.open(head, reads_all=True),
                "behind": behind.open(head, reads_all=True),
                "of a later head": whole.open(old, reads_all=True),
            },
            executor,
            rows,
        )


def wish(text: str, context: str | None, span: Span = (None, None)) -> Wanted:
    first_ms, until_ms = (None if at is None else to_ms(at) for at in span)
    scope = HoldScope(expression=text, zone=BERLIN.key, from_at_ms=first_ms, until_ms=until_ms)
    return Wanted(Asked("m", scope, BERLIN, None if context is None else parse_context(context)))


def taken(selection: Selection) -> tuple[list[str], list[str]]:
    """What an export takes, row by row."""
    messages: list[str] = []
    files: list[str] = []
    for stretch, _ in selection.chosen(MESSAGE_COLUMNS):
        names = ["message_uid", "version", "observed_at", "captured_by", IS_CONTEXT, "plain_text", "content_digest"]
        messages += map(repr, stretch.messages.select(names).to_pylist())
        files += map(repr, stretch.files.to_pylist())
    return sorted(messages), sorted(files)


def check(narrowed: Narrowed, text: str, context: str | None, span: Span, using: str) -> None:
    expression = parsed(text)
    assume(not expression.needs_labels)
    asked = wish(text, context, span).asked
    plain = narrowed.selection(using, asked, None)
    by_index = narrowed.selection(using, asked, narrowed.likely(using, expression))
    assert by_index.windows == plain.windows
    assert taken(by_index) == taken(plain)


USING = st.sampled_from(["whole", "whole", "behind", "of a later head"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, context=CONTEXTS, span=SPANS, using=USING)
def test_it_takes_the_same_with_an_index_as_without(
    narrowed: Narrowed, text: str, context: str | None, span: Span, using: str
) -> None:
    check(narrowed, text, context, span, using)


@pytest.mark.parametrize(
    "text",
    ["rareword OR 稀有語", "merger", "is:edited merger", "NOT is:edited", "after:2026-03-30", "from:ann NOT has:file"],
)
def test_of_a_message_that_is_found_every_version_is_taken_and_shown_under_whichever_day_it_lies(
    narrowed: Narrowed, text: str
) -> None:
    """The oracle is a plain reading of all rows."""
    expression = parsed(text)
    hits = {(row["chat_id"], row["message_uid"]) for row in narrowed.rows if is_true(expression.root, row)}
    versions = sorted(
        (row["message_uid"], row["version"]) for row in narrowed.rows if (row["chat_id"], row["message_uid"]) in hits
    )
    selection = narrowed.selection("whole", wish(text, None).asked, narrowed.likely("whole", expression))
    found = [
        stretch.messages.select(["message_uid", "version"]).to_pylist()
        for stretch, _ in selection.chosen(MESSAGE_COLUMNS)
    ]
    assert sorted(tuple(row.values()) for rows in found for row in rows) == versions
    export = narrowed.exports["whole"]
    for index in (narrowed.indexes["whole"], None):
        shown = all_pages(places_of(export.archive, export.head, index, expression), expression)
        assert sorted((hit.position.message_uid, each.version) for hit in shown for each in hit.versions) == versions


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS, context=CONTEXTS, span=SPANS, using=USING)
def test_many_more_exports_take_the_same_with_an_index_as_without(
    narrowed: Narrowed, text: str, context: str | None, span: Span, using: str
) -> None:
    check(narrowed, text, context, span, using)


class TestWhatIsRead:
    @pytest.fixture(scope="class")
    @staticmethod
    def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Head, Index, Recording]:
        """Ten days of one channel, one of which says something."""
        store = Recording()
        archive = found(store)
        words = [word for word in WORDS if word.isascii()]
        rows = [
            said(
                day,
                hour,
                0,
                f"m{day}-{hour}",
                "the merger" if (day, hour) == (15, 12) else words[hour % len(words)][:1],
            )
            for day in range(10, 20)
            for hour in range(24)
        ]
        head = add(archive, archive.founding_head(), {"messages": rows}, attempt="aaaaaaaa")
        return archive, head, refreshed(archive, head, tmp_path_factory.mktemp("index")), store

    def days_read(self, month: tuple[Archive, Head, Index, Recording], context: str | None) -> set[int]:
        archive, head, index, store = month
        with ThreadPoolExecutor(2) as executor:
            places = Places(archive.store, head, index.open(head, reads_all=True), Knowledge(), executor)
            likely = likely_days(places, parsed("merger"))
        assert likely == {date(2026, 11, 15)}
        opened = open_export(archive, head, wish("merger", context), likely=lambda *_: likely)
        store.opened.clear()
        messages, _ = taken(opened.selection)
        assert sum("the merger" in row for row in messages) == 1
        return {int(key[len("messages/dt=2026-11-") :][:2]) for key in store.opened}

    @pytest.mark.parametrize(
        ("context", "days"),
        [(None, {15}), ("3h", {15}), ("12h", {15, 16}), ("20msgs", {14, 15, 16}), ("30h", {14, 15, 16})],
    )
    def test_only_days_with_hits_and_what_stands_around_them_are_read(
        self, month: tuple[Archive, Head, Index, Recording], context: str | None, days: set[int]
    ) -> None:
        assert self.days_read(month, context) == days

    def test_every_byte_that_was_turned_is_noticed_even_if_size_and_time_are_as_they_were(
        self, month: tuple[Archive, Head, Index, Recording]
    ) -> None:
        """A search would find too little with such an index where it does not break, and an export must not."""
        _, head, index, _ = month
        paths = [path for path in index.folder.rglob("*") if path.is_file() and path.parent != index.folder]
        paths = [path for path in paths if not path.name.endswith(".lock")]
        assert len(paths) > 5
        for path in paths:
            data, stat = path.read_bytes(), path.stat()
            for place in {0, len(data) // 2, len(data) - 1}:
                spoilt = bytearray(data)
                spoilt[place] ^= 1
                rewrite(path, bytes(spoilt), stat)
                opened = index.open(head, reads_all=True)
                assert not opened.shards
                assert len(opened.others) == len([key for key in head.files if key.startswith("messages/")])
            rewrite(path, data, stat)
        assert index.open(head, reads_all=True).shards


def rewrite(path: Path, data: bytes, stat: os.stat_result) -> None:
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
