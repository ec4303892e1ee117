"""Questions about an instant, as table macros of DuckDB: how things stood then, as far as it had been seen by then.

A macro takes an instant, or a day, which is its midnight (UTC): ``messages_as_of('2026-03-03')`` is what was shown at the end of the 2nd
of March. Kept apart from the views because other engines have no macros; what they say is in the views that they are made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from archiver.query.days import conversation_days
from archiver.query.view import message_columns

_INSTANT = "CAST(instant AS TIMESTAMP WITH TIME ZONE)"


@dataclass(frozen=True, slots=True)
class Macro:
    """A table macro of one parameter: its name, what it is for, its SQL, and what the parameter is called.

    ``example`` is an argument, as SQL.
    """

    name: str
    meaning: str
    sql: str
    parameter: str = "instant"
    example: str = "'2026-11-22'"


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

# Who had been seen to leave by then is left out, as the sender of a message too: what he could see then is not known to be anything.
_AUDIENCE_AS_OF = f"""SELECT chat_id, message_uid, sent_at, user_id,
    CASE min(place) WHEN 1 THEN 'sender' WHEN 2 THEN 'party' WHEN 3 THEN 'member'
        WHEN 4 THEN 'first_listed' ELSE 'joined_later' END AS basis
    FROM (
        SELECT m.chat_id, m.message_uid, m.sent_at, m.visible_to, m.sender_id, m.sender_id AS user_id, 1 AS place
        FROM messages_as_of(instant) AS m
        LEFT JOIN (
            SELECT channel_id, user_id, max(CASE WHEN valid_to IS NULL OR {_INSTANT} < valid_to THEN 1 ELSE 0 END) AS is_in
            FROM member_periods WHERE valid_from <= {_INSTANT} GROUP BY channel_id, user_id
        ) AS p ON p.channel_id = m.chat_id AND p.user_id = m.sender_id
        WHERE m.sender_id IS NOT NULL AND coalesce(p.is_in, 1) = 1
        UNION ALL
        SELECT m.chat_id, m.message_uid, m.sent_at, m.visible_to, m.sender_id, p.user_id, 2
        FROM messages_as_of(instant) AS m
        JOIN (SELECT DISTINCT c.chat_id, t.user_id FROM conversations AS c
            CROSS JOIN UNNEST(c.participants) AS t(user_id)) AS p ON p.chat_id = m.chat_id
        UNION ALL
        SELECT m.chat_id, m.message_uid, m.sent_at, m.visible_to, m.sender_id, p.user_id,
            CASE WHEN p.valid_from <= m.sent_at THEN 3 WHEN p.is_first THEN 4 ELSE 5 END
        FROM messages_as_of(instant) AS m
        JOIN member_periods AS p ON p.channel_id = m.chat_id AND (p.valid_from <= {_INSTANT} OR p.is_first)
            AND (p.valid_to IS NULL OR {_INSTANT} < p.valid_to)
    ) AS possible
    WHERE visible_to IS NULL OR user_id = sender_id OR list_contains(visible_to, user_id)
    GROUP BY chat_id, message_uid, sent_at, user_id"""  # noqa: S608 - our own words

_SHOWN_AS_OF = f"""SELECT m.chat_id, c.name AS shown_in, m.sent_at, u.name AS shown_by, m.send_as_name, m.plain_text, m.version,
    m.message_uid, m.sender_id, m.basis, m.not_returned_since, coalesce(a.audience, []) AS audience, m.dt
    FROM messages_as_of(instant) AS m
    LEFT JOIN channel_periods AS c ON c.channel_id = m.chat_id AND (c.valid_from <= {_INSTANT} OR c.is_first)
        AND (c.valid_to IS NULL OR {_INSTANT} < c.valid_to)
    LEFT JOIN user_periods AS u ON u.user_id = m.sender_id AND (u.valid_from <= {_INSTANT} OR u.is_first)
        AND (u.valid_to IS NULL OR {_INSTANT} < u.valid_to)
    LEFT JOIN (
        SELECT chat_id, message_uid, list(user_id ORDER BY user_id) AS audience
        FROM audience_as_of(instant) GROUP BY chat_id, message_uid
    ) AS a ON a.chat_id = m.chat_id AND a.message_uid = m.message_uid"""  # noqa: S608 - our own words

MACROS: tuple[Macro, ...] = (
    Macro("users_as_of", "who the users were", _as_of("user_periods")),
    Macro("channels_as_of", "what channels there were", _as_of("channel_periods")),
    Macro("conversations_as_of", "what conversations were known", _as_of("conversation_periods")),
    Macro("members_as_of", "who was in which channel", _as_of("member_periods")),
    Macro("messages_as_of", "what the conversations showed: each message sent by then, as last seen", _MESSAGES_AS_OF),
    Macro("audience_as_of", "who could see each message then, and why we think so", _AUDIENCE_AS_OF),
    Macro("as_of", "what was shown then, with the names of then and the users who could see it", _SHOWN_AS_OF),
    Macro(
        "conversation_day_in",
        "conversation_day with the days of a time zone, such as 'Asia/Tokyo'",
        conversation_days("CAST(timezone(zone, m.sent_at) AS DATE)"),
        parameter="zone",
        example="'Asia/Tokyo'",
    ),
)
