"""The views that are derived from the tables: how things stand, how they stood and from when until when, and what changed.

A *period* is the time during which a state was known to hold: from ``valid_from``, when it was first seen, until ``valid_to``, when
another state was first seen; null where it still holds. What happened between two looks at Flock is known only when it is seen, so an
instant here is the latest at which something can have happened. ``is_first`` marks a state that we found when we first looked: it may
have held before. Everything is plain SQL, windows and joins; only ``inferred_replies`` needs functions of DuckDB's own, to read JSON.
What takes an instant is in `macros`.
"""

from __future__ import annotations

from archiver.archive.schema import GAPS
from archiver.normalise.message import PROVISIONAL_PREFIX
from archiver.query.days import CONVERSATION_DAY, DELETED_OR_MISSING
from archiver.query.replies import INFERRED_REPLIES
from archiver.query.view import NEWEST_FIRST, View, message_columns


def _within(period: str, instant: str) -> str:
    """Return the condition that a period holds an instant, where the first state seen is taken to have held before."""
    return (
        f"({period}.valid_from <= {instant} OR {period}.is_first)"
        f" AND ({period}.valid_to IS NULL OR {instant} < {period}.valid_to)"
    )


def _periods(table: str, key: str, columns: str) -> str:
    """Return the periods of a table that has one row per change."""
    order = f"OVER (PARTITION BY {key} ORDER BY valid_from, state_digest)"
    return f"""SELECT {key}, valid_from, lead(valid_from) {order} AS valid_to,
        row_number() {order} = 1 AS is_first, {columns}, captured_by FROM {table}"""  # noqa: S608 - our own words


def _renames(periods: str, key: str) -> str:
    """Return the changes of a name among periods; a name that was not known before is no change."""
    return f"""SELECT {key}, valid_from AS seen_at, old_name, name AS new_name FROM (
        SELECT {key}, valid_from, name, lag(name) OVER (PARTITION BY {key} ORDER BY valid_from, valid_to) AS old_name
        FROM {periods} WHERE name IS NOT NULL) AS named
        WHERE name <> old_name"""  # noqa: S608 - our own words


# A range of uids and not a prefix, so that data objects without such uids are passed over by their statistics.
PROVISIONAL_FROM = PROVISIONAL_PREFIX
PROVISIONAL_UNTIL = PROVISIONAL_PREFIX[:-1] + chr(ord(PROVISIONAL_PREFIX[-1]) + 1)
_IS_PROVISIONAL = f"message_uid >= '{PROVISIONAL_FROM}' AND message_uid < '{PROVISIONAL_UNTIL}'"
_IS_FLOCKS_OWN = f"message_uid < '{PROVISIONAL_FROM}' OR message_uid >= '{PROVISIONAL_UNTIL}'"

# A push arrives within minutes of the sending, or never (flock-api.md 11.1); clocks differ by less. Where no time was told, sent_at is
# that of the arrival.
_ARRIVES_WITHIN = "INTERVAL '10' MINUTE"
_CLOCKS_DIFFER_BY = "INTERVAL '1' MINUTE"
_TOLD = "sent_at_basis <> 'observed'"

# The engine reads it from the few objects that hold any, so that a question about anything else costs no look into the others.
PROVISIONAL_MESSAGES = View(
    "provisional_messages",
    "messages that came without a uid, as they were archived",
    f"SELECT {message_columns()} FROM messages WHERE {_IS_PROVISIONAL}",  # noqa: S608 - our own words
)

_PROVISIONAL_UIDS = View(
    "provisional_uids",
    "messages that came without a uid, and the uid that each turned out to have: reconciled, ambiguous or apart",
    f"""SELECT p.chat_id, p.message_uid AS provisional_uid, p.sender_id, p.client_id, p.sent_at, p.observed_at,
        CASE WHEN f.is_clear THEN 'reconciled' WHEN f.candidates > 0 THEN 'ambiguous' ELSE 'apart' END AS outcome,
        CASE WHEN f.is_clear THEN f.found_uid END AS message_uid,
        CASE WHEN f.is_clear THEN f.found_version END AS version,
        coalesce(f.candidates, 0) AS candidates
        FROM (
            SELECT chat_id, message_uid, sender_id, client_id, min(sent_at) AS sent_at, min(observed_at) AS observed_at
            FROM provisional_messages GROUP BY chat_id, message_uid, sender_id, client_id
        ) AS p
        LEFT JOIN (
            SELECT chat_id, provisional_uid, count(*) AS candidates, min(found_uid) AS found_uid,
                min(found_version) AS found_version, count(*) = 1 AND min(rivals) = 1 AS is_clear
            FROM (
                SELECT *, max(is_exact) OVER (PARTITION BY chat_id, provisional_uid) AS best,
                    CASE WHEN is_exact = 1 THEN 1
                        ELSE count(*) OVER (PARTITION BY chat_id, found_uid, is_exact) END AS rivals
                FROM (
                    SELECT p.chat_id, p.message_uid AS provisional_uid, m.message_uid AS found_uid,
                        CASE WHEN p.{_TOLD} AND m.{_TOLD} THEN 1 ELSE 0 END AS is_exact,
                        min(m.version) AS found_version
                    FROM provisional_messages AS p
                    JOIN (SELECT * FROM messages WHERE {_IS_FLOCKS_OWN}) AS m
                        ON m.chat_id = p.chat_id AND m.sender_id = p.sender_id AND m.client_id = p.client_id
                        AND m.text = p.text AND CASE
                            WHEN p.{_TOLD} AND m.{_TOLD} THEN m.sent_at = p.sent_at
                            WHEN p.{_TOLD} THEN m.sent_at BETWEEN
                                p.sent_at - {_CLOCKS_DIFFER_BY} AND p.sent_at + {_ARRIVES_WITHIN}
                            WHEN m.{_TOLD} THEN p.sent_at BETWEEN
                                m.sent_at - {_CLOCKS_DIFFER_BY} AND m.sent_at + {_ARRIVES_WITHIN}
                            ELSE m.sent_at BETWEEN
                                p.sent_at - {_ARRIVES_WITHIN} AND p.sent_at + {_ARRIVES_WITHIN} END
                    GROUP BY 1, 2, 3, 4
                ) AS pairs
            ) AS rated
            WHERE is_exact = best
            GROUP BY chat_id, provisional_uid
        ) AS f ON f.chat_id = p.chat_id AND f.provisional_uid = p.message_uid""",  # noqa: S608 - our own words
)

# Two parts, so that a question about one uid is asked of the objects of the first and not of all that is in them.
_IDENTIFIED_MESSAGES = View(
    "identified_messages",
    "every version of every message under the uid that it turned out to have; archived_as is its provisional one",
    f"""SELECT {message_columns()}, CAST(NULL AS VARCHAR) AS archived_as FROM messages WHERE {_IS_FLOCKS_OWN}
        UNION ALL
        SELECT {message_columns("m", resolved=True)}, u.provisional_uid
        FROM provisional_messages AS m
        LEFT JOIN provisional_uids AS u
            ON u.chat_id = m.chat_id AND u.provisional_uid = m.message_uid AND u.outcome = 'reconciled'""",  # noqa: S608 - ours
)

_CURRENT_MESSAGES = View(
    "current_messages",
    "the newest version of every message",
    f"""SELECT {message_columns()} FROM (
        SELECT {message_columns()}, {NEWEST_FIRST} AS place FROM identified_messages) AS ordered
        WHERE place = 1""",  # noqa: S608 - our own words
)

# Bots have ids that start with u:B (observed) or b: (documented once): flock-api.md 7.
_NOTIFICATIONS = View(
    "notifications",
    "what apps and bots posted",
    f"""SELECT {message_columns()} FROM identified_messages
        WHERE archived_as IS NULL AND (app_id IS NOT NULL OR send_as_name IS NOT NULL OR on_behalf_of IS NOT NULL
        OR starts_with(sender_id, 'u:B') OR starts_with(sender_id, 'b:'))""",  # noqa: S608 - our own words
)

_OPEN_GAPS = View(
    "open_gaps",
    "what may be missing and why, as far as its cause goes on",
    f"""SELECT {", ".join(GAPS.schema.names)}, dt FROM (
        SELECT *, row_number() OVER (PARTITION BY gap_id ORDER BY valid_from DESC) AS place FROM gaps) AS ordered
        WHERE place = 1 AND state = 'open'""",  # noqa: S608 - our own words
)

_UNREAD_FLOCKML = View(
    "unread_flockml",
    "messages whose FlockML could not be read: their plain_text is the markup itself",
    f"""SELECT {message_columns()} FROM messages
        WHERE flockml IS NOT NULL AND plain_text = flockml""",  # noqa: S608 - our own words
)

_USER_PERIODS = View(
    "user_periods",
    "what each user was called and more, from when until when",
    _periods(
        "users",
        "user_id",
        "nullif(trim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), '') AS name,"
        " first_name, last_name, email, team_id, role, timezone, profile_image",
    ),
)

_CHANNEL_PERIODS = View(
    "channel_periods",
    "what each channel was called and more, from when until when",
    _periods("channels", "channel_id", "state, name, purpose, profile_image, member_count"),
)

_CONVERSATION_PERIODS = View(
    "conversation_periods",
    "every conversation, channels and one-to-one, from when until when",
    _periods("conversations", "chat_id", "chat_kind, name, participants"),
)

_MEMBER_PERIODS = View(
    "member_periods",
    "who was in which channel, from when until when; is_first: found there when its members were first listed",
    """SELECT channel_id, user_id, valid_from, valid_to, is_first, affiliation, captured_by FROM (
        SELECT channel_id, user_id, valid_from, state, affiliation, captured_by,
            lead(valid_from) OVER (PARTITION BY channel_id, user_id ORDER BY valid_from, state_digest) AS valid_to,
            valid_from = min(valid_from) OVER (PARTITION BY channel_id) AS is_first
        FROM groups) AS followed
        WHERE state = 'member'""",
)

_MEMBERSHIP_CHANGES = View(
    "membership_changes",
    "who joined and who left, when it was seen: present (when first listed), joined, left or affiliation (changed)",
    """SELECT channel_id, user_id, valid_from AS seen_at,
        CASE WHEN state = 'left' THEN 'left'
            WHEN state_before = 'member' THEN 'affiliation'
            WHEN state_before IS NULL AND valid_from = first_listed_at THEN 'present'
            ELSE 'joined' END AS change,
        affiliation FROM (
        SELECT channel_id, user_id, valid_from, state, affiliation,
            lag(state) OVER (PARTITION BY channel_id, user_id ORDER BY valid_from, state_digest) AS state_before,
            min(valid_from) OVER (PARTITION BY channel_id) AS first_listed_at
        FROM groups) AS followed""",
)

_CHANNEL_RENAMES = View(
    "channel_renames", "channels that were renamed, when it was seen", _renames("channel_periods", "channel_id")
)

_USER_RENAMES = View("user_renames", "users who were renamed, when it was seen", _renames("user_periods", "user_id"))

# An absence ends when Flock returns the message again: a sweep says so, and any other answer of Flock's that shows it. A push does not
# end one, because pushes come late.
_MESSAGE_ABSENCES = View(
    "message_absences",
    "messages that Flock did not return when asked, from when until when; they may be deleted, expired or hidden",
    """SELECT chat_id, message_uid, valid_from, valid_to, asked_as, reason FROM (
        SELECT chat_id, message_uid, is_absent, observed_at AS valid_from, asked_as, reason,
            lead(observed_at) OVER (PARTITION BY chat_id, message_uid ORDER BY observed_at, is_absent DESC) AS valid_to
        FROM (
            SELECT chat_id, message_uid, is_absent, observed_at, asked_as, reason,
                lag(is_absent) OVER (
                    PARTITION BY chat_id, message_uid ORDER BY observed_at, is_absent DESC) AS was_absent
            FROM (
                SELECT chat_id, message_uid, outcome = 'not_returned' AS is_absent, observed_at, asked_as, reason
                FROM observations
                WHERE message_uid IS NOT NULL AND outcome IN ('not_returned', 'returned')
                UNION ALL
                SELECT chat_id, message_uid, false, observed_at, captured_by, NULL FROM messages
                WHERE source IN ('fetch', 'history')
                AND message_uid IN (SELECT message_uid FROM observations WHERE outcome = 'not_returned')
            ) AS answers
        ) AS turns
        WHERE is_absent <> coalesce(was_absent, false)
    ) AS absences
    WHERE is_absent AND (valid_to IS NULL OR valid_from < valid_to)""",
)

_TRANSCRIPT = View(
    "transcript",
    "the newest version of every message to read, with the names of channel and sender when it was sent",
    f"""SELECT m.chat_id, c.name AS sent_in, m.sent_at, u.name AS sent_by, m.send_as_name, m.plain_text, m.version,
        m.message_uid, m.sender_id, a.valid_from AS not_returned_since, m.dt
        FROM current_messages AS m
        LEFT JOIN channel_periods AS c ON c.channel_id = m.chat_id AND {_within("c", "m.sent_at")}
        LEFT JOIN user_periods AS u ON u.user_id = m.sender_id AND {_within("u", "m.sent_at")}
        LEFT JOIN message_absences AS a
            ON a.chat_id = m.chat_id AND a.message_uid = m.message_uid AND a.valid_to IS NULL""",  # noqa: S608 - ours
)

# Of several periods of one user the one that says most counts; whoever was seen to leave before it was sent is not in it.
_MESSAGE_AUDIENCE = View(
    "message_audience",
    "who could see each message, and why we think so: sender, party, member, first_listed or joined_later",
    """SELECT chat_id, message_uid, sent_at, user_id,
        CASE min(place) WHEN 1 THEN 'sender' WHEN 2 THEN 'party' WHEN 3 THEN 'member'
            WHEN 4 THEN 'first_listed' ELSE 'joined_later' END AS basis
        FROM (
            SELECT chat_id, message_uid, sent_at, visible_to, sender_id, sender_id AS user_id, 1 AS place
            FROM current_messages
            UNION ALL
            SELECT m.chat_id, m.message_uid, m.sent_at, m.visible_to, m.sender_id, p.user_id, 2
            FROM current_messages AS m
            JOIN (SELECT DISTINCT c.chat_id, t.user_id FROM conversations AS c
                CROSS JOIN UNNEST(c.participants) AS t(user_id)) AS p ON p.chat_id = m.chat_id
            UNION ALL
            SELECT m.chat_id, m.message_uid, m.sent_at, m.visible_to, m.sender_id, p.user_id,
                CASE WHEN p.valid_from <= m.sent_at THEN 3 WHEN p.is_first THEN 4 ELSE 5 END
            FROM current_messages AS m
            JOIN member_periods AS p ON p.channel_id = m.chat_id AND (p.valid_to IS NULL OR m.sent_at < p.valid_to)
        ) AS possible
        WHERE visible_to IS NULL OR user_id = sender_id OR list_contains(visible_to, user_id)
        GROUP BY chat_id, message_uid, sent_at, user_id""",
)

DERIVED: tuple[View, ...] = (
    PROVISIONAL_MESSAGES,
    _PROVISIONAL_UIDS,
    _IDENTIFIED_MESSAGES,
    _CURRENT_MESSAGES,
    _NOTIFICATIONS,
    _UNREAD_FLOCKML,
    _OPEN_GAPS,
    _USER_PERIODS,
    _CHANNEL_PERIODS,
    _CONVERSATION_PERIODS,
    _MEMBER_PERIODS,
    _MEMBERSHIP_CHANGES,
    _CHANNEL_RENAMES,
    _USER_RENAMES,
    _MESSAGE_ABSENCES,
    DELETED_OR_MISSING,
    CONVERSATION_DAY,
    _TRANSCRIPT,
    _MESSAGE_AUDIENCE,
    INFERRED_REPLIES,
)
