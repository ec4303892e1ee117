"""The cover page says to whom it may concern what a package is, and nothing that it leaves out is left unsaid."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pypdf
import pytest

from archiver.discovery.export.cover import CONVERSATIONS_MAX, GAPS_MAX, cover_page
from archiver.discovery.export.record import Conversation, GapNote, Person
from archiver.discovery.export.tally import Counted, Tally
from tests.discovery.export.slices import ANN, TERMS, at_ms

ASKED = {"versions": "last", "files": True}


def tally_of(*conversations: Conversation, left_out: dict[str, int] | None = None) -> Tally:
    tally = Tally()
    for conversation in conversations:
        counted = Counted(captures=3, messages=2, versions=2, first_sent_at_ms=at_ms(1), last_sent_at_ms=at_ms(2))
        tally.conversations[conversation.chat_id] = (conversation, counted)
    tally.left_out.update(left_out or {})
    return tally


def channel(number: int, name: str | None, *people: Person) -> Conversation:
    return Conversation(f"g:channel{number:04}", "channel", name, people, (), "x")


def text_of(tally: Tally, **terms: Any) -> str:
    """The words of all pages, with every white space gone, for a line may break anywhere in a long word."""
    pdf = cover_page(replace(TERMS, **terms), tally, {}, asked=ASKED, formats={})
    return squeezed("".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages))


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_what_was_left_out_is_said_with_its_number_and_why() -> None:
    left_out = {
        "captures_of_the_same_version": 1204,
        "earlier_versions": 1,
        "files_withheld": 7,
        "redacted_raw": 5,
        "of_a_later_version": 3,
    }
    text = text_of(tally_of(channel(1, "general", ANN), left_out=left_out))
    for words in (
        "3 captures of these messages. 2 versions of them are here and 1,205 left out",
        "1,204 captures that another feed brought too",
        "1 earlier version of edited messages, because only the last version was asked for",
        "7 files named here and not enclosed",
        "5 captures without the message exactly as it was received, because the export is redacted",
        "3 of a later version",
    ):
        assert squeezed(words) in text, words


def test_it_says_at_its_top_as_of_which_entry_of_the_ledger_it_is() -> None:
    text = text_of(tally_of(channel(1, "general", ANN)))
    assert squeezed(f"as it stood with entry {TERMS.head_sequence} of its ledger") in text
    assert TERMS.head_digest in text


@pytest.mark.parametrize(
    ("name", "stands", "is_told"),
    [
        ("general", "general", False),
        ("契約の相談", "契約の相談(g:channel0001)", True),
        ("قناة", "g:channel0001", True),
        ("🎉", "g:channel0001", True),
        ("  ", "g:channel0001", False),
        ("deal\u202eroom", "g:channel0001", True),
    ],
)
def test_a_conversation_is_told_apart_whatever_letters_a_reader_lacks(name: str, stands: str, is_told: bool) -> None:
    text = text_of(tally_of(channel(1, name, ANN)))
    assert f"missing{stands}" in text
    assert ("andreport.jsonhaveallofitasitis" in text) == is_told


def test_a_matter_in_letters_that_a_reader_may_lack_is_told_of_too() -> None:
    text = text_of(tally_of(channel(1, "general", ANN)), matter="訴訟 42")
    assert "arenotembedded" in text


def test_what_is_too_much_for_the_page_is_counted() -> None:
    chats = [channel(number, f"project {number}") for number in range(CONVERSATIONS_MAX + 3)]
    gaps = tuple(GapNote(f"g{number}", "listener-down", "…", 1) for number in range(GAPS_MAX + 2))
    text = text_of(tally_of(*chats), gaps=gaps)
    assert "and3more,whichreport.jsonlists" in text
    assert "and2more,whichreport.jsonlists" in text
    assert "Together406" in text
