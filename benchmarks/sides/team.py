"""A team whose messages follow from their uids, so that whoever knows a uid can tell the message without keeping it.

`quick_flock.py` answers with them, `past.py` archives years of them, and the benchmarks ask for them. A uid is the milliseconds of the
sending and a number, as Flock's are (flock-api.md 6.1).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime

CHANNELS_COUNT = 60
PEOPLE_COUNT = 120
TOKENS_COUNT = 8
DAY_MS = 86_400_000

_chance = random.Random(20)
CHANNELS = tuple(f"g:{_chance.getrandbits(128):032x}" for _ in range(CHANNELS_COUNT))
PEOPLE = tuple(f"u:{_chance.getrandbits(64):016x}" for _ in range(PEOPLE_COUNT))
TOKENS = {user: f"{_chance.getrandbits(128):032x}" for user in PEOPLE[:TOKENS_COUNT]}
_WORDS = [
    "the",
    "budget",
    "report",
    "for",
    "tomorrow",
    "please",
    "review",
    "before",
    "noon",
    "wir",
    "prüfen",
    "das",
    "morgen",
    "früh",
    "会議",
    "予算",
    "確認",
    "проверить",
    "отчёт",
    "👍",
]
_TEXTS = tuple(" ".join(_chance.choices(_WORDS, k=min(40, 2 + int(_chance.expovariate(0.12))))) for _ in range(997))


def uid_of(at_ms: int, number: int) -> str:
    """Return the uid of a message."""
    return f"{at_ms}-{number:x}-m201"


def channel_of(at_ms: int, number: int) -> str:
    """Return the channel in which a message was sent: some say much, some little."""
    return CHANNELS[(at_ms * 31 + number * 17) % CHANNELS_COUNT % (1 + number % CHANNELS_COUNT)]


def message(chat_id: str, uid: str) -> str:
    """Return the message with this uid as JSON, as webhooks push it and ``chat.fetchMessages`` answers it."""
    at_ms = int(uid[:13])
    said = hash_of(uid)
    instant = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6]
    return (
        f'{{"id":"d_{at_ms}_{said:08x}","to":"{chat_id}","from":"{PEOPLE[said % PEOPLE_COUNT]}","text":"{_TEXTS[said % 997]}",'
        f'"timestamp":"{instant}Z","timestampInMillis":{at_ms},"uid":"{uid}","onBehalfOf":"","visibleTo":[]}}'
    )


def night(first_ms: int, *, messages: int) -> list[tuple[int, str, str]]:
    """Return the messages of the 24 hours from an instant on, in order: the instant, the chat and the uid of each."""
    step_ms = DAY_MS // messages
    sent = ((first_ms + number * step_ms, number) for number in range(messages))
    return [(at_ms, channel_of(at_ms, number), uid_of(at_ms, number)) for at_ms, number in sent]


def hash_of(uid: str) -> int:
    """Return a number that follows from a uid and looks like chance."""
    number = 0
    for part in uid.split("-")[:2]:
        number = (number * 1_000_003 ^ int(part, 16)) & 0xFFFFFFFF
    return number
