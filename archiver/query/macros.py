"""Questions about an instant, as table macros of DuckDB: how things stood then, as far as it had been seen by then.

A macro takes an instant, or a day, which is its midnight (UTC): ``messages_as_of('2026-03-03')`` is what was shown at the end of the 2nd
of March. Kept apart from the views because other engines have no macros; what they say is in the views that they are made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from archiver.query.derived import message_columns

_INSTANT = "CAST(instant AS TIMESTAMP WITH TIME ZONE)"


@dataclass(frozen=True, slots=True)
class Macro:
    """A table macro of one parameter, ``instant``: its name, what it is for, and its SQL."""

    name: str
    meaning: str
    sql: str


def _as_of(periods: str) -> str:
    return f"""SELECT * FROM {periods}
        WHERE valid_from <= {_INSTANT} AND (valid_to IS NULL OR {_INSTANT} < valid_to)"""  # noqa: S608 - our own words


# What had been received by then comes first, its newest version before the others; of what was received only later the first version.
_MESSAGES_AS_OF = f"""SELECT {message_columns("m")}, m.basis, a.valid_from AS not_returned_since
    FROM (
        SELECT {message_columns()}, CASE WHEN observed_at <= {_INSTANT} THEN 'observed' ELSE 'later' END AS basis,
            row_number() OVER (PARTITION BY chat_id, message_uid ORDER BY
                CASE WHEN observed_at <= {_INSTANT} THEN 0 ELSE 1 END,
                CASE WHEN observed_at <= {_INSTANT} THEN -version ELSE version END,
                CASE WHEN archived_as IS NULL THEN 0 ELSE 1 END,
                observed_at DESC) AS place
        FROM identified_messages
        WHERE sent_at <= {_INSTANT} OR observed_at <= {_INSTANT}
    ) AS m
    LEFT JOIN message_absences AS a ON a.chat_id = m.chat_id AND a.message_uid = m.message_uid
        AND a.valid_from <= {_INSTANT} AND (a.valid_to IS NULL OR {_INSTANT} < a.valid_to)
    WHERE m.place = 1"""  # noqa: S608 - our own words

MACROS: tuple[Macro, ...] = (
    Macro("users_as_of", "who the users were", _as_of("user_periods")),
    Macro("channels_as_of", "what channels there were", _as_of("channel_periods")),
    Macro("conversations_as_of", "what conversations were known", _as_of("conversation_periods")),
    Macro("members_as_of", "who was in which channel", _as_of("member_periods")),
    Macro("messages_as_of", "what the conversations showed: each message sent by then, as last seen", _MESSAGES_AS_OF),
)
