"""The HTML transcript: what is on its pages, that nothing of a message acts, how it is cut, and that a page can hold whatever was written."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from archiver.discovery.export.formats import html
from archiver.discovery.export.formats.html_message import harmless, harmless_name, person_view, weight
from archiver.discovery.export.formats.word_diff import word_diff
from archiver.discovery.export.record import Message, Person, Slice
from tests.discovery.export import slices
from tests.discovery.export.packages import package
from tests.discovery.export.slices import ANN, BOB, GENERAL, HOSTILE_NAME, HOSTILE_TEXT, at_ms, message, version


class Read(HTMLParser):
    """The text of a page by the element that it stands in, as a browser would show it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._hidden = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


def page(folder: Path, name: str = "chats/general/1.html") -> str:
    return (folder / "data/html" / name).read_bytes().decode()


def article(text: str, number: str) -> str:
    [found] = re.findall(rf'<article class="[^"]*" id="m-{re.escape(number)}".*?</article>', text, re.DOTALL)
    return found


def of(folder: Path, *messages: Message) -> str:
    made = package("html", folder, slices=(Slice(GENERAL, "2026-11-20", 1, 1, messages),))
    assert made.findings() == []
    return page(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package("html", tmp_path_factory.mktemp("html")).folder


@pytest.fixture(scope="module")
def general(folder: Path) -> str:
    return page(folder)


class TestMessages:
    def test_a_message_tells_who_when_in_which_zone_and_its_number(self, general: str) -> None:
        said = Read(article(general, "SMITH-m-1")).text
        for text in ("Ann Áslaug", "u:ann", "21:00:00", "+09:00", "Good morning, everybody", "SMITH-m-1"):
            assert text in said

    def test_it_names_once_what_wrote_it(self, general: str) -> None:
        assert "Written by flock-archiver 0.0.0." in general

    def test_an_edit_shows_every_version_and_what_changed(self, general: str) -> None:
        edited = article(general, "SMITH-m-2")
        assert "the price is 10</p>" in edited
        assert "the price is <del>10</del><ins>12</ins>" in edited
        assert 'first seen <time datetime="2026-11-21T11:00:00.000+09:00">' in edited

    def test_an_edit_whose_earlier_versions_were_left_out_says_so(self, tmp_path: Path) -> None:
        text = of(tmp_path, message("m-1", 20, ANN, version("12", 3)))
        assert "this is version 3, the newest. Earlier versions were left out" in article(text, "SMITH-m-1")

    def test_a_digest_that_would_give_a_black_text_away_is_not_there(self, tmp_path: Path) -> None:
        black = structs.replace(version("█████"), content_digest="", raw_digest="", raw=None)
        text = of(tmp_path, message("m-1", 20, ANN, black, redactions=1))
        assert article(text, "SMITH-m-1").count("<code>redacted</code>") == 2
        assert "1 place redacted" in article(text, "SMITH-m-1")

    def test_a_card_that_only_names_a_file_is_not_shown_twice(self, tmp_path: Path) -> None:
        one = structs.replace(slices.WITH_FILE, versions=(version("x", attachments='[{"title":"minutes.txt"}]'),))
        assert 'class="card"' not in article(of(tmp_path, one), "SMITH-m-4")

    def test_what_flock_no_longer_returns_is_marked_and_kept(self, general: str) -> None:
        gone = article(general, "SMITH-m-3")
        assert 'class="m gone"' in gone
        assert "それは間違いでした" in gone
        assert "since <time>2026-11-25 21:00:00 +09:00</time>" in gone

    def test_a_file_has_its_size_digest_and_place_and_a_picture_is_shown(self, general: str) -> None:
        filed = article(general, "SMITH-m-4")
        minutes, picture = slices.WITH_FILE.files
        assert f'href="../../../{minutes.path}"' in filed
        assert minutes.sha256 in filed
        assert "27 bytes" in filed
        assert filed.count("<img ") == 1
        assert picture.sha256 in filed

    def test_a_file_that_is_not_here_has_a_placeholder_with_the_reason(self, general: str) -> None:
        said = Read(article(general, "SMITH-m-5")).text
        assert "契約書.pdf" in said
        assert "Not in this export: 404 Not Found" in said

    def test_a_reply_leads_to_what_it_seems_to_reply_to(self, general: str) -> None:
        assert '<a href="#m-SMITH-m-1"><bdi>Ann Áslaug</bdi>: <bdi>Good morning, everybody</bdi></a>' in article(
            general, "SMITH-m-2"
        )

    def test_what_only_some_messages_have_is_told(self, general: str) -> None:
        said = Read(article(general, "SMITH-m-6")).text
        for text in (
            "shown as Stand-up",
            "on behalf of Ann Áslaug",
            "bot",
            "Visible only to",
            "Notification: stand-up",
        ):
            assert text in said

    def test_attachments_say_what_they_say_and_nothing_of_them_is_hidden(self, tmp_path: Path) -> None:
        plain = '[{"title":"Ticket 7","description":"<b>down</b>","url":"https://x.example"}]'
        richer = '[{"title":"Poll","views":{"flockml":"<flockml>vote</flockml>"}}]'
        text = of(
            tmp_path,
            message("m-1", 20, ANN, version("a", attachments=plain)),
            message("m-2", 20, ANN, version("b", attachments=richer)),
            message("m-3", 20, ANN, version("c", attachments="{no json")),
        )
        assert "<strong><bdi>Ticket 7</bdi></strong>" in article(text, "SMITH-m-1")
        assert "JSON" not in article(text, "SMITH-m-1")
        assert "&lt;flockml&gt;vote" in article(text, "SMITH-m-2")
        assert "{no json" in article(text, "SMITH-m-3")

    def test_a_gap_stands_where_it_begins(self, general: str) -> None:
        assert general.index("listener-down") < general.index("Good morning")
        assert general.index("Good morning") < general.index("export:file-not-stored") < general.index("the minutes")

    def test_participants_are_those_of_the_days_with_custodians_named(self, general: str) -> None:
        people = general.partition('<details class="people"')[2].partition("</details>")[0]
        assert Read(people).text.count("custodian") == 1
        assert "3 participants" in Read(people).text

    def test_the_index_counts_and_lists_what_is_missing(self, folder: Path) -> None:
        said = Read(page(folder, "index.html")).text
        for text in (
            "smith-v-acme",
            "Ann Áslaug",
            "listener-down",
            "2 notes of gaps stand in the conversations",
            "20 November 2026 to 21 November 2026",
        ):
            assert text in " ".join(said.split())


class TestHarmless:
    def test_markup_of_the_outside_is_text_everywhere(self, folder: Path) -> None:
        ours = {"img": 0, "script": 1}
        for name in ("index.html", f"chats/{slices.EVIL.path_name}/1.html"):
            read = Read(page(folder, name))
            tags = [tag for tag, _ in read.tags]
            assert {tag: tags.count(tag) for tag in ours} == ours
            assert not [attribute for _, given in read.tags for attribute in given if attribute.startswith("on")]
        assert "<script>alert(1)</script>" in read.text
        assert HOSTILE_NAME in read.text

    def test_what_turns_a_line_or_cannot_be_seen_is_shown_by_its_number(self) -> None:
        assert harmless("a\u202eb\x1b[2J\u2028") == "a[U+202E]b[U+001B][2J[U+2028]"
        assert harmless("👩\u200d💻 a\tb\n\u200f") == "👩\u200d💻 a\tb\n\u200f"
        assert harmless_name("An\u200bn\n\ufeff") == "An[U+200B]n[U+000A][U+FEFF]"

    def test_two_people_whose_names_look_the_same_are_told_apart(self, tmp_path: Path) -> None:
        double = Person("u:eve", "\u0410nn \u00c1slaug", None)  # a Cyrillic letter begins it
        text = of(tmp_path, message("m-1", 20, ANN, version("yes")), message("m-2", 20, double, version("no")))
        assert '<bdi class="id">u:ann</bdi>' in article(text, "SMITH-m-1")
        assert '<bdi class="id">u:eve</bdi>' in article(text, "SMITH-m-2")

    @given(
        text=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
        | st.sampled_from([HOSTILE_TEXT, "]]>", "<!--", "</script>", "&#x202e;"])
    )
    @settings(max_examples=15)
    def test_a_page_holds_whatever_was_written(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        one = message("m-1", 20, Person("u:x", text, text), version(text), control_number="C-1", send_as_name=text)
        read = of(tmp_path_factory.mktemp("text"), one)
        shown = harmless(text)
        assert shown.replace("\r", "") in Read(article(read, "C-1")).text


class TestNames:
    def test_a_chat_of_two_is_called_by_both_each_read_by_itself(self, folder: Path) -> None:
        assert "<h1><bdi>Ann Áslaug</bdi>, <bdi>田中 健二</bdi></h1>" in page(
            folder, f"chats/{slices.DIRECT.path_name}/1.html"
        )


class TestCutting:
    def many(self, count: int, day: int, start: int = 0) -> tuple[Message, ...]:
        return tuple(
            message(f"m-{start + at:05d}", day, (ANN, BOB)[at % 2], version("…"), sent_at_ms=at_ms(day, 1) + at)
            for at in range(count)
        )

    def test_a_long_conversation_turns_the_page_between_days(self, tmp_path: Path) -> None:
        first, second = self.many(html.PAGE_MESSAGES, 20), self.many(3, 21, start=html.PAGE_MESSAGES)
        made = package(
            "html",
            tmp_path,
            slices=(Slice(GENERAL, "2026-11-20", 1, 1, first), Slice(GENERAL, "2026-11-21", 1, 1, second)),
        )
        assert made.findings() == []
        assert page(tmp_path).count("<article") == html.PAGE_MESSAGES
        assert page(tmp_path, "chats/general/2.html").count("<article") == 3
        assert '<a rel="next" href="2.html">' in page(tmp_path)
        assert '<a rel="prev" href="1.html">' in page(tmp_path, "chats/general/2.html")
        assert "2 pages" in page(tmp_path, "index.html")

    def test_a_very_long_day_goes_on_on_the_next_page(self, tmp_path: Path) -> None:
        long = version("x" * (html.PAGE_CHARACTERS_MAX // 90), raw=None)
        many = tuple(structs.replace(one, versions=(long,)) for one in self.many(101, 20))
        made = package("html", tmp_path, slices=(Slice(GENERAL, "2026-11-20", 1, 1, many),))
        assert made.findings() == []
        assert "Friday, 20 November 2026, continued" in page(tmp_path, "chats/general/2.html")

    def test_a_reply_leads_to_another_page(self, tmp_path: Path) -> None:
        first = self.many(html.PAGE_MESSAGES, 20)
        reply = message("z", 21, BOB, version("yes"), reply_to="m-00007")
        made = package(
            "html",
            tmp_path,
            slices=(Slice(GENERAL, "2026-11-20", 1, 1, first), Slice(GENERAL, "2026-11-21", 1, 1, (reply,))),
        )
        assert made.findings() == []
        assert 'href="1.html#m-SMITH-m-00007"' in page(tmp_path, "chats/general/2.html")

    def test_of_a_long_conversation_the_oldest_messages_are_forgotten(self, tmp_path: Path) -> None:
        writer = html.HtmlWriter(slices.TERMS, slices.FolderSink(tmp_path))
        one = message("m", 20, ANN, version("x"))
        for at in range(html.REPLY_REACH_MESSAGES + 10):
            writer._reply(structs.replace(one, message_uid=f"m-{at}"), 1)
        replies = [structs.replace(one, message_uid=f"r-{at}", reply_to=f"m-{at}") for at in (9, at)]
        found = [writer._reply(reply, 1) for reply in replies]
        assert [reply is not None and reply.href is not None for reply in found] == [False, True]

    def test_a_reply_to_what_is_not_here_says_so(self, tmp_path: Path) -> None:
        assert "not in this transcript" in of(tmp_path, message("m-2", 20, BOB, version("yes"), reply_to="m-1"))


class TestWordDiff:
    @given(old=st.text("ab 日本.\n", max_size=30), new=st.text("ab 日本.\n", max_size=30))
    def test_without_what_came_it_is_the_old_text_without_what_went_the_new(self, old: str, new: str) -> None:
        pieces = list(word_diff(old, new))
        assert "".join(text for change, text in pieces if change != "added") == old
        assert "".join(text for change, text in pieces if change != "removed") == new

    def test_words_are_compared_and_letters_where_there_are_no_words(self) -> None:
        assert list(word_diff("the price is 10 now", "the price is 12 now")) == [
            ("same", "the price is "),
            ("removed", "10"),
            ("added", "12"),
            ("same", " now"),
        ]
        assert ("removed", "明") in list(word_diff("明日です", "昨日です"))

    def test_texts_that_share_little_are_not_woven_together(self) -> None:
        assert list(word_diff("one, two", "three, four")) == [("removed", "one, two"), ("added", "three, four")]

    def test_no_text_makes_it_slow(self) -> None:
        old, new = "a b " * 50_000, "b a " * 50_000
        assert [change for change, _ in word_diff(f"x{old}", f"y{new}")][:2] == ["removed", "added"]


def test_initials_and_weights_are_what_people_read() -> None:
    assert person_view(ANN).initials == "AÁ"
    assert person_view(replace(ANN, name="<x> 🙂")).initials == "?"
    assert (weight(27), weight(12_345)) == ("27 bytes", "12.3 kB (12,345 bytes)")
