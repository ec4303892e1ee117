"""What a hit tells: which version says it, whether it was edited away, since when Flock does not return it, and what to highlight."""

from __future__ import annotations

from typing import Any

import pytest

from archiver.archive.reader import Archive, Head
from archiver.discovery.search import Found, search
from archiver.discovery.search_facts import read_knowledge
from archiver.discovery.search_names import unknown_names
from archiver.errors import UsageError
from archiver.expression import Directory, Known
from archiver.query.engine import open_engine
from archiver.store.local import LocalStore
from archiver.store.memory import MemoryStore
from tests.discovery.searched import places_of
from tests.expression.expressions import CHATS, PEOPLE, parsed
from tests.small_archive import add, at_ms, found, message


def observed(uid: str, day: int, outcome: str) -> dict[str, Any]:
    return {
        "chat_id": "g:general",
        "message_uid": uid,
        "observed_at": at_ms(day),
        "asked_as": "u:ann",
        "outcome": outcome,
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Head]:
    archive = found(LocalStore(tmp_path_factory.mktemp("archive")))
    head = add(
        archive,
        archive.founding_head(),
        {
            "messages": [
                message("m-1", 20, "the merger is on"),
                message("m-2", 20, "gone since day 22"),
                message("m-3", 20, "gone, and here again", source="fetch", observed_at=at_ms(22, 13)),
                message("m-4", 20, "gone, and a push came late", observed_at=at_ms(22, 13)),
                message("m-5", 21, "nothing here", attachments='[{"title":"Mérger <plan>"}]'),
                message(
                    "m-7", 21, "", attachments='[{"downloads":[{"filename":"draft.pdf"},{"filename":"plan.pdf"}]}]'
                ),
                message("m-6", 21, "the same uid", chat_id="g:other"),
                message("m-6", 21, "elsewhere"),
            ],
            "observations": [
                observed("m-2", 21, "not_returned"),
                observed("m-2", 21, "returned"),
                observed("m-2", 22, "not_returned"),
                observed("m-2", 23, "not_returned"),
                observed("m-3", 22, "not_returned"),
                observed("m-4", 22, "not_returned"),
            ],
        },
        attempt="aaaaaaaa",
    )
    edits = [
        message("m-1", 20, "the takeover is on", version=2, supersedes="x", observed_at=at_ms(21)),
        message("m-1", 20, "the takeover is off", version=3, supersedes="x", observed_at=at_ms(22)),
    ]
    return archive, add(archive, head, {"messages": edits}, attempt="bbbbbbbb")


def hits(archive: tuple[Archive, Head], text: str) -> list[Found]:
    expression = parsed(text)
    return list(search(places_of(*archive, None, expression), expression).hits)


def test_what_was_edited_away_is_found_and_said_to_be(archive: tuple[Archive, Head]) -> None:

    (merger,) = [hit for hit in hits(archive, "merger") if hit.position.message_uid == "m-1"]
    assert [(one.version, one.is_hit) for one in merger.versions] == [(1, True), (2, False), (3, False)]
    assert (merger.version, merger.edited_away_at_ms) == (1, at_ms(21))
    (takeover,) = hits(archive, '"takeover is on"')
    assert (takeover.version, takeover.edited_away_at_ms) == (2, at_ms(22))
    (off,) = hits(archive, "off")
    assert (off.version, off.edited_away_at_ms) == (3, None)


def test_each_text_is_highlighted_where_it_says_it(archive: tuple[Archive, Head]) -> None:
    (hit,) = [hit for hit in hits(archive, "merger") if hit.position.message_uid == "m-5"]
    shown, attached = hit.texts
    assert (shown.in_column, shown.text, shown.hits) == ("plain_text", "nothing here", ())
    assert attached.in_column == "attachments"
    assert [attached.text[place.start : place.end] for place in attached.hits] == ["Mérger"]


def test_a_message_without_words_shows_what_its_files_are_called(archive: tuple[Archive, Head]) -> None:
    (hit,) = hits(archive, "draft")
    assert sorted((said.text, bool(said.hits)) for said in hit.texts) == [("draft.pdf", True), ("plan.pdf", False)]


def test_what_flock_does_not_return_is_told_as_the_views_of_a_query_tell_it(archive: tuple[Archive, Head]) -> None:
    since = {hit.position.message_uid: hit.missing_since_ms for hit in hits(archive, "gone")}
    assert since == {"m-2": at_ms(22), "m-3": None, "m-4": at_ms(22)}
    missing = {hit.position.message_uid for hit in hits(archive, "is:missing")}
    with open_engine(*archive) as engine:
        rows = engine.ask("SELECT message_uid, epoch_ms(valid_from) FROM message_absences WHERE valid_to IS NULL").rows
        assert dict(rows) == {uid: at for uid, at in since.items() if at is not None}
    assert missing == {"m-2", "m-4"}
    assert {hit.position.message_uid for hit in hits(archive, "NOT is:missing gone")} == {"m-3"}


def test_two_messages_of_one_uid_in_two_chats_are_two(archive: tuple[Archive, Head]) -> None:
    assert [hit.position.chat_id for hit in hits(archive, "same OR elsewhere")] == ["g:general", "g:other"]
    (only,) = hits(archive, "same")
    assert len(only.versions) == 1


def test_labels_are_asked_with_a_policy_only(archive: tuple[Archive, Head]) -> None:
    with pytest.raises(UsageError, match="labels of a retention policy"):
        read_knowledge(archive[0].store, archive[1], parsed("label:x"), directory=Directory(), labels=None)


def test_names_that_nobody_has_are_told_with_the_nearest() -> None:
    directory = Directory(
        people={user: Known(tuple(names), tuple(emails)) for user, (names, emails) in PEOPLE.items()},
        chats={chat: Known(tuple(names)) for chat, names in CHATS.items()},
    )
    told = unknown_names(
        parsed(
            "from:Eva OR from:anne@acme.exmple OR to:bbo OR in:genral OR in:g:1 OR from:ann OR label:x OR in:genral"
        ),
        directory,
        {},
    )
    assert [(name.filter, name.name) for name in told] == [
        ("from", "anne@acme.exmple"),
        ("to", "bbo"),
        ("in", "genral"),
        ("label", "x"),
    ]
    assert told[0].nearest[0] == "ann@acme.example"
    assert told[2].nearest[0] == "General"


def test_an_empty_archive_finds_nothing() -> None:
    archive = found(MemoryStore())
    assert hits((archive, archive.founding_head()), "NOT nothing") == []
