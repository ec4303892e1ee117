"""What looks like a reply, and what it quotes: Flock says neither, so both are inferred by the rules of docs/querying.md, "Replies".

The view tells of every reply how certain its original is. An export wants to know of very many those that are certain alone, and has
little memory: `certain_replies` asks by the same rules, of so many replies at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from archiver.query.literals import instant, text_list
from archiver.query.view import NEWEST_FIRST, View

# What DuckDB needs for so many short ones, and for what they may quote, is a fraction of what an export may have.
REPLIES_AT_ONCE: Final = 30_000
_SHORT_BYTES: Final = 1_000

Certain = tuple[str, str, str]

# Told before any JSON is read: what is archived of attachments has its letters unescaped (`archiver.normalise.content.canonical_json`).
_SAYS_REPLY: Final = "app_id IS NOT NULL AND lower(attachments) LIKE '%in reply to %'"


def _replies(messages: str, condition: str = _SAYS_REPLY) -> str:
    """Return the messages of which some version says that it is a reply under a condition, and the newest of all versions says so.

    That has one attachment, whose title says it; the quotation may be cut, and has no dots at its end then. Few messages are replies, so
    that versions are put in order of these alone.
    """
    return f"""SELECT chat_id, message_uid, sent_at, sender_id, app_id, quote, called,
        regexp_replace(quote, '[.…]+$', '') AS beginning, substr(quote, 1, 20) AS opening
    FROM (
        SELECT chat_id, message_uid, sent_at, sender_id, app_id,
            trim(json_extract_string(valid, '$[0].description')) AS quote,
            trim(substr(json_extract_string(valid, '$[0].title'), 13)) AS called
        FROM (
            SELECT *, CASE WHEN json_valid(attachments) THEN attachments END AS valid
            FROM (
                SELECT chat_id, message_uid, sent_at, sender_id, app_id, attachments, {NEWEST_FIRST} AS place
                FROM (
                    SELECT m.* FROM {messages} AS m
                    JOIN (SELECT DISTINCT chat_id, message_uid FROM {messages} AS n WHERE {condition}) AS s
                        ON s.chat_id = m.chat_id AND s.message_uid = m.message_uid
                ) AS possible
            ) AS ordered
            WHERE place = 1 AND app_id IS NOT NULL
        ) AS posted
        WHERE json_array_length(valid) = 1
        AND lower(json_extract_string(valid, '$[0].title')) LIKE 'in reply to %'
    ) AS read WHERE quote <> '' AND called <> ''"""  # noqa: S608 - our own words and quoted texts


def _fitting(messages: str) -> str:
    """Return what each of ``replies`` may quote, and how well it fits, 1 the best: a row for each text and version that fits."""
    return f"""SELECT r.chat_id, r.message_uid, o.message_uid AS original_uid, o.sent_at AS said_at,
            CASE WHEN o.said = r.quote THEN 1 ELSE 2 END
                + CASE WHEN n.user_id IS NOT NULL OR lower(o.send_as_name) = lower(r.called) THEN 0 ELSE 2 END AS place
        FROM replies AS r
        JOIN (
            SELECT chat_id, message_uid, sent_at, sender_id, send_as_name,
                CASE kind WHEN 1 THEN trim(text) ELSE trim(plain_text) END AS said
            FROM {messages} AS m CROSS JOIN (SELECT 1 AS kind UNION ALL SELECT 2 AS kind) AS kinds
            WHERE kind = 1 OR text IS NULL OR plain_text <> text
        ) AS o ON o.chat_id = r.chat_id AND substr(o.said, 1, 20) = r.opening
            AND o.sent_at <= r.sent_at AND o.message_uid <> r.message_uid
            AND (o.said = r.quote OR (length(r.beginning) >= 20 AND starts_with(o.said, r.beginning)))
        LEFT JOIN (
            SELECT user_id, lower(first_name) AS called FROM user_periods
            UNION SELECT user_id, lower(name) FROM user_periods
        ) AS n ON n.user_id = o.sender_id AND n.called = lower(r.called)"""  # noqa: S608 - our own words and quoted texts


INFERRED_REPLIES: Final = View(
    "inferred_replies",
    "messages that look like replies, and the message that they quote as far as one can tell; inferred, no fact of Flock's",
    f"""WITH replies AS ({_replies("identified_messages")}), fitting AS ({_fitting("identified_messages")})
        SELECT r.chat_id, r.message_uid, r.sent_at, r.sender_id, r.app_id, r.called AS replied_to_name, r.quote,
        CASE WHEN f.candidates = 1 THEN f.nearest_uid END AS original_uid,
        CASE f.place WHEN 1 THEN 'whole quote and name' WHEN 2 THEN 'beginning and name'
            WHEN 3 THEN 'whole quote' WHEN 4 THEN 'beginning' END AS matched_by,
        coalesce(f.candidates, 0) AS candidates, f.nearest_uid
        FROM replies AS r
        LEFT JOIN (
            SELECT chat_id, message_uid, place, count(*) AS candidates, max_by(original_uid, said_at) AS nearest_uid
            FROM (
                SELECT chat_id, message_uid, original_uid, min(said_at) AS said_at, min(place) AS place,
                    min(min(place)) OVER (PARTITION BY chat_id, message_uid) AS best
                FROM fitting GROUP BY chat_id, message_uid, original_uid
            ) AS ranked
            WHERE place = best
            GROUP BY chat_id, message_uid, place
        ) AS f ON f.chat_id = r.chat_id AND f.message_uid = r.message_uid""",  # noqa: S608 - our own words
)


@dataclass(frozen=True, slots=True)
class Part:
    """Replies that one question is about: those in some chats, or of a chat that has more one part of so many."""

    chats: Sequence[str]
    number: int = 0
    parts: int = 1


def certain_replies(
    ask: Callable[[str], Iterable[tuple[Any, ...]]],
    chats: Sequence[str],
    first_ms: int,
    last_ms: int,
    *,
    at_once: int = REPLIES_AT_ONCE,
) -> Iterator[Certain]:
    """Yield chat, uid and uid of the original of each reply of which ``inferred_replies`` knows one original and no other.

    Replies are those in some chats that were sent between two instants, both included (milliseconds since 1970 UTC). Of about ``at_once``
    replies, or fewer that are long, a question is asked, which looks through all messages of their chats. ``ask`` answers one in SQL;
    raises what it raises.
    """
    span = f"sent_at BETWEEN {instant(first_ms)} AND {instant(last_ms)}"
    count = f"""SELECT chat_id, sum(1 + strlen(attachments) // {_SHORT_BYTES}) FROM identified_messages
        WHERE {_SAYS_REPLY} AND {span} AND {_among(chats)}
        GROUP BY chat_id"""  # noqa: S608 - the texts are quoted
    for part in parts_of(list(ask(count)), at_once=at_once):
        yield from ask(_certain(part, span))


def parts_of(counts: Iterable[tuple[str, int]], *, at_once: int) -> Iterator[Part]:
    """Yield what to ask together, given how many replies each chat has: no more than about ``at_once`` in each."""
    together: list[list[str]] = []
    room: list[int] = []
    # The largest first, each where there is room, so that few parts are needed.
    for chat, count in sorted(counts, key=lambda each: (-each[1], each[0])):
        if count > at_once:
            parts = ceil(count / at_once)
            yield from (Part([chat], number, parts) for number in range(parts))
            continue
        place = next((place for place, left in enumerate(room) if count <= left), len(room))
        if place == len(room):
            together.append([])
            room.append(at_once)
        together[place].append(chat)
        room[place] -= count
    yield from map(Part, together)


def _among(chats: Sequence[str]) -> str:
    return f"chat_id IN (SELECT unnest({text_list(chats)}))"


def _certain(part: Part, span: str) -> str:
    """Return the question: a single original is the first and the last of those that fit best."""
    messages = f"(SELECT * FROM identified_messages WHERE {_among(part.chats)})"  # noqa: S608 - quoted
    possible = _replies(messages, f"{_SAYS_REPLY} AND {span} AND hash(message_uid) % {part.parts} = {part.number}")
    return f"""WITH replies AS (SELECT * FROM ({possible}) AS found WHERE {span}), fitting AS ({_fitting(messages)})
        SELECT chat_id, message_uid, first_uid FROM (
            SELECT chat_id, message_uid, place, min(original_uid) AS first_uid, max(original_uid) AS last_uid,
                min(place) OVER (PARTITION BY chat_id, message_uid) AS best
            FROM fitting GROUP BY chat_id, message_uid, place
        ) AS ranked
        WHERE place = best AND first_uid = last_uid"""  # noqa: S608 - our own words and quoted texts
