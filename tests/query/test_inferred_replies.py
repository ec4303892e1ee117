"""Which message a reply quotes, as far as one can tell: inferred from the quotation and the name, never more certain than they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiver.normalise.content import canonical_json
from archiver.query.replies import Part, certain_replies, parts_of
from tests.query.tables_in_memory import Asked, Row, at_ms, message, user

APP = "app-of-replies"
LONG = "a text that is quite long enough to be cut"


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked()


def reply(uid: str = "r", *, to: str = "Ann", quote: str = LONG, sent: int = 5, **further: Any) -> Row:
    attachments = canonical_json([{"title": f"in reply to {to}", "description": quote}]).decode()
    return message(
        uid, sent=sent, observed=sent, **{"app_id": APP, "attachments": attachments, "text": "yes", **further}
    )


def said(uid: str, text: str = LONG, *, by: str = "u:ann", sent: int = 1, **further: Any) -> Row:
    return message(uid, sent=sent, observed=sent, text=text, sender_id=by, **further)


PEOPLE = [user("u:ann", 0, "Ann", "Lee"), user("u:bob", 0, "Bob"), user("u:bob", 3, "Rob")]


def inferred(asked: Asked, *messages: Row) -> list[tuple[str | None, str | None, int]]:
    asked.fill({"messages": messages, "users": PEOPLE})
    return asked.rows("SELECT original_uid, matched_by, candidates FROM inferred_replies ORDER BY message_uid")


class TestOne:
    @pytest.mark.parametrize(
        ("to", "quote", "matched_by"),
        [
            ("Ann", LONG, "whole quote and name"),
            ("ann lee", f" {LONG} ", "whole quote and name"),
            ("Ann", LONG[:20], "beginning and name"),
            ("Ann", LONG[:25] + "…", "beginning and name"),
            ("Ann", LONG[:25] + "...", "beginning and name"),
            ("somebody", LONG, "whole quote"),
            ("somebody", LONG[:30], "beginning"),
        ],
    )
    def test_message_that_fits_is_the_original(self, asked: Asked, to: str, quote: str, matched_by: str) -> None:
        assert inferred(asked, said("m-1"), reply(to=to, quote=quote)) == [("m-1", matched_by, 1)]

    def test_whoever_was_called_so_at_any_time_fits(self, asked: Asked) -> None:
        for name in ("Bob", "rob"):
            assert inferred(asked, said("m-1"), said("m-2", by="u:bob"), reply(to=name))[0][0] == "m-2"

    def test_the_name_under_which_a_bot_posted_fits(self, asked: Asked) -> None:
        posted = said("m-1", by="u:B1", send_as_name="Builds")
        assert inferred(asked, posted, said("m-2"), reply(to="Builds")) == [("m-1", "whole quote and name", 1)]

    def test_an_earlier_version_and_the_text_of_markup_fit(self, asked: Asked) -> None:
        edited = said("m-1", "something else", version=2)
        assert inferred(asked, said("m-1"), edited, reply())[0][0] == "m-1"
        assert inferred(asked, said("m-1", "", plain_text=LONG), reply())[0][0] == "m-1"

    def test_the_whole_is_better_than_a_beginning_and_a_name_better_than_both(self, asked: Asked) -> None:
        longer = said("m-2", LONG + " and more")
        assert inferred(asked, said("m-1"), longer, reply()) == [("m-1", "whole quote and name", 1)]
        by_ann = said("m-2", LONG + " and more", by="u:ann")
        assert inferred(asked, said("m-1", by="u:bob"), by_ann, reply()) == [("m-2", "beginning and name", 1)]


class TestSeveralOrNone:
    def test_of_several_that_fit_none_is_chosen_and_their_number_is_said(self, asked: Asked) -> None:
        twice = [said("m-1"), said("m-2", sent=3)]
        assert inferred(asked, *twice, reply()) == [(None, "whole quote and name", 2)]
        assert asked.rows("SELECT nearest_uid FROM inferred_replies") == [("m-2",)]

    @pytest.mark.parametrize(
        "other",
        [
            said("m-1", "something else entirely, and long"),
            said("m-1", sent=6),
            said("m-1", chat_id="g:two"),
            said("m-1", LONG.upper()),
        ],
        ids=["another text", "sent later", "another chat", "other letters"],
    )
    def test_what_does_not_fit_is_no_candidate(self, asked: Asked, other: Row) -> None:
        assert inferred(asked, other, reply()) == [(None, None, 0)]

    def test_a_short_beginning_proves_nothing(self, asked: Asked) -> None:
        assert inferred(asked, said("m-1"), reply(quote=LONG[:19])) == [(None, None, 0)]
        assert inferred(asked, said("m-1", "ok"), reply(quote="ok")) == [("m-1", "whole quote and name", 1)]

    def test_a_reply_does_not_answer_itself(self, asked: Asked) -> None:
        assert inferred(asked, reply(text=LONG)) == [(None, None, 0)]


class TestNoReply:
    @pytest.mark.parametrize(
        "attachments",
        [
            None,
            "[]",
            '[{"title":"in reply to Ann","description":"x"},{}]',
            '[{"title":"in reply to ","description":"x"}]',
            '[{"title":"in reply to Ann","description":" "}]',
            '[{"title":"in reply to Ann"}]',
            '[{"title":"re: Ann","description":"x"}]',
            '[{"title":["in reply to Ann"],"description":"x"}]',
            '["in reply to Ann"]',
            '{"title":"in reply to Ann","description":"x"}',
            "[" * 100 + "]" * 100,
            f'[{{"title":"in reply to Ann","description":{"9" * 400}}}',
            '[{"title":"in reply to Ann","description":"\\u0000"',
            "no JSON",
        ],
    )
    def test_looks_otherwise_and_harms_no_other(self, asked: Asked, attachments: str | None) -> None:
        found = inferred(asked, said("m-1"), reply("q", attachments=attachments), reply("r"))
        assert found == [("m-1", "whole quote and name", 1)]

    def test_comes_from_no_app(self, asked: Asked) -> None:
        assert inferred(asked, said("m-1"), reply(app_id=None)) == []


TEXTS = st.sampled_from(["ok", LONG, LONG + " and more", LONG + " and"])


@settings(max_examples=20, deadline=None)
@given(
    messages=st.lists(
        st.tuples(TEXTS, st.sampled_from(["u:ann", "u:bob"]), st.sampled_from(range(8))), min_size=1, max_size=6
    ),
    quote=TEXTS | st.just(LONG[:20]),
    to=st.sampled_from(["Ann", "Rob", "Zoe"]),
)
def test_the_rule_is_what_it_is_said_to_be(
    asked: Asked, messages: list[tuple[str, str, int]], quote: str, to: str
) -> None:
    rows = [said(f"m-{number}", text, by=by, sent=sent) for number, (text, by, sent) in enumerate(messages)]
    places = dict(candidates(rows, quote, to))
    best = [uid for uid, place in places.items() if place == min(places.values())]
    words = ["whole quote and name", "beginning and name", "whole quote", "beginning"]
    expected = (best[0] if len(best) == 1 else None, words[min(places.values())] if best else None, len(best))
    assert inferred(asked, *rows, reply(quote=quote, to=to)) == [expected]


def candidates(rows: Sequence[Row], quote: str, to: str) -> Iterator[tuple[str, int]]:
    """The rule, read plainly: which messages fit, and how well."""
    called = {"Ann": "u:ann", "Rob": "u:bob"}.get(to)
    for row in rows:
        is_whole = row["text"] == quote
        is_beginning = len(quote) >= 20 and row["text"].startswith(quote)
        if row["sent_at"] <= reply()["sent_at"] and (is_whole or is_beginning):
            yield row["message_uid"], (0 if is_whole else 1) + (0 if row["sender_id"] == called else 2)


class TestCertain:
    """What an export asks for, by the same rules: the originals that are certain, of many replies a part at a time."""

    @settings(max_examples=30, deadline=None)
    @given(
        messages=st.lists(
            st.tuples(
                TEXTS,
                st.sampled_from(["u:ann", "u:bob"]),
                st.sampled_from(range(8)),
                st.sampled_from(["g:one", "g:two"]),
                st.sampled_from([None, "Ann", "Rob"]),
                st.sampled_from([1, 2]),
            ),
            min_size=2,
            max_size=9,
        ),
        at_once=st.sampled_from([1, 2, 100]),
        first=st.sampled_from([0, 2]),
        last=st.sampled_from([5, 8]),
    )
    def test_are_those_of_the_view(
        self,
        asked: Asked,
        messages: list[tuple[str, str, int, str, str | None, int]],
        at_once: int,
        first: int,
        last: int,
    ) -> None:
        rows = [
            (
                said(f"m-{number}", text, by=by, sent=sent, chat_id=chat, version=version)
                if to is None
                else reply(f"m-{number}", to=to, quote=text, sent=sent, chat_id=chat, version=version)
            )
            for number, (text, by, sent, chat, to, version) in enumerate(messages)
        ]
        # The newest version of one says something else, so that it is no reply any more, or one of another time.
        rows.append({**rows[0], **said("m-0", LONG, sent=7, chat_id=messages[0][3], version=3)})
        rows.append({**rows[1], "version": 3, "sent_at": reply(sent=4)["sent_at"]})
        asked.fill({"messages": rows, "users": PEOPLE})
        found = list(certain_replies(asked.rows, ["g:one", "g:two"], at_ms(first), at_ms(last), at_once=at_once))
        expected = asked.rows(
            f"""SELECT chat_id, message_uid, original_uid FROM inferred_replies
            WHERE original_uid IS NOT NULL AND epoch_ms(sent_at) BETWEEN {at_ms(first)} AND {at_ms(last)}"""
        )
        assert sorted(found) == sorted(expected)

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([said("m-1"), said("m-2", LONG + " and more"), reply()], ["m-1"]),
            ([said("m-1"), said("m-2", sent=3), reply()], []),
            ([said("m-1"), said("m-1", version=2), reply()], ["m-1"]),
            ([said("m-1"), reply(sent=9)], []),
            ([said("m-1"), reply(), reply(sent=9, version=2)], []),
            ([said("m-1"), reply(), said("r", sent=5, version=2)], []),
            ([said("m-1"), reply(sent=9), reply(version=2)], ["m-1"]),
        ],
        ids=["the best", "of several none", "in two versions", "later", "later now", "none now", "no longer later"],
    )
    def test_are_as_the_newest_version_says(self, asked: Asked, rows: list[Row], expected: list[str]) -> None:
        asked.fill({"messages": rows, "users": PEOPLE})
        assert [found[2] for found in certain_replies(asked.rows, ["g:one"], at_ms(0), at_ms(8))] == expected

    def test_in_these_chats_alone(self, asked: Asked) -> None:
        asked.fill({"messages": [said("m-1"), reply("r-1")], "users": PEOPLE})
        assert list(certain_replies(asked.rows, ["g:none", "it's"], at_ms(0), at_ms(9))) == []
        ((chat, *found),) = certain_replies(asked.rows, [reply()["chat_id"]], at_ms(0), at_ms(9))
        assert (chat, found) == (reply()["chat_id"], ["r-1", "m-1"])

    def test_few_chats_are_asked_about_together_and_a_large_one_in_parts(self) -> None:
        counts = [("a", 3), ("b", 2), ("c", 5), ("d", 12), ("e", 1), ("f", 4)]
        assert list(parts_of(counts, at_once=5)) == [
            Part(["d"], 0, 3),
            Part(["d"], 1, 3),
            Part(["d"], 2, 3),
            Part(["c"]),
            Part(["f", "e"]),
            Part(["a", "b"]),
        ]
