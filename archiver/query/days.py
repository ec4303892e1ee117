"""Views that count: what each day of a conversation holds, and what Flock no longer returns.

``conversation_days`` is written once for the view, whose days are UTC's, and for the macro that asks for the days of a time zone.
"""

from __future__ import annotations

from archiver.query.view import View


def conversation_days(day: str) -> str:
    """Return the SQL of what each conversation holds each day, where ``day`` is a message's day as SQL over ``m.sent_at`` and ``m.dt``.

    Sweeps are of UTC days. So a day of another zone counts as read again when each UTC day that its messages lie in was, and since
    the earliest of those.
    """
    return f"""SELECT m.chat_id, {day} AS day_on, count(DISTINCT m.message_uid) AS messages,
        CAST(sum(m.versions) AS BIGINT) AS versions, count(DISTINCT m.sender_id) AS senders,
        CAST(coalesce(sum(f.files), 0) AS BIGINT) AS files,
        min(m.sent_at) AS first_sent_at, max(m.sent_at) AS last_sent_at,
        count(*) = count(s.swept_at) AS is_swept,
        CASE WHEN count(*) = count(s.swept_at) THEN min(s.swept_at) END AS swept_at
        FROM (
            SELECT chat_id, message_uid, dt, min(sender_id) AS sender_id, min(sent_at) AS sent_at,
                count(DISTINCT version) AS versions
            FROM identified_messages GROUP BY chat_id, message_uid, dt
        ) AS m
        LEFT JOIN (
            SELECT chat_id, message_uid, count(DISTINCT ordinal) AS files FROM files GROUP BY chat_id, message_uid
        ) AS f ON f.chat_id = m.chat_id AND f.message_uid = m.message_uid
        LEFT JOIN (
            SELECT chat_id, day_on, max(observed_at) AS swept_at FROM observations
            WHERE outcome = 'swept' GROUP BY chat_id, day_on
        ) AS s ON s.chat_id = m.chat_id AND s.day_on = m.dt
        GROUP BY 1, 2"""  # noqa: S608 - our own words


CONVERSATION_DAY = View(
    "conversation_day",
    "what each conversation holds each day (UTC), and whether all of that day was read again, last when",
    conversation_days("m.dt"),
)

DELETED_OR_MISSING = View(
    "deleted_or_missing",
    "messages that Flock did not return when last asked, as last archived; is_archived is false where we never had one",
    """SELECT a.chat_id, a.message_uid, a.valid_from AS not_returned_since, a.asked_as, a.reason,
        m.message_uid IS NOT NULL AS is_archived, m.version, m.sent_at, m.observed_at, m.sender_id, m.sender_name,
        m.plain_text, m.dt
        FROM message_absences AS a
        LEFT JOIN current_messages AS m ON m.chat_id = a.chat_id AND m.message_uid = a.message_uid
        WHERE a.valid_to IS NULL""",
)
