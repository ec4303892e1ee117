"""Ids, uids and tokens that look like Flock's and follow from a seed: the same seed always gives the same ones."""

from __future__ import annotations

import hashlib
import uuid

# In the order of their bytes, as everywhere else in this package.
_ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LOWER_ALPHANUMERIC = "0123456789abcdefghijklmnopqrstuvwxyz"
_USER_CHARACTERS = 16
_UID_CHARACTERS = 3
_UIDS_PER_MILLISECOND = len(_ALPHANUMERIC) ** _UID_CHARACTERS
# Coprime to 62 cubed, so that counting through a millisecond visits every combination once and in no visible order.
_UID_STRIDE = 100_003
_SHARDS = 3
_DESKTOP, _ANDROID_EVERY, _PLAIN_EVERY, _SHORT_EVERY = 8, 16, 23, 97


class Mint:
    """Makes ids, uids and tokens for one workspace. Uids are unique for as long as the mint lives."""

    def __init__(self, seed: object) -> None:
        self._seed = str(seed)
        self._counts: dict[int, int] = {}

    def user_id(self, name: str) -> str:
        """Return ``u:`` and 16 lower-case alphanumerics (flock-api.md 7)."""
        return "u:" + self._characters("user", name, _LOWER_ALPHANUMERIC, _USER_CHARACTERS)

    def bot_id(self, name: str) -> str:
        """Return ``u:B`` and 15 alphanumerics, as bots were observed to have (flock-api.md 7)."""
        return "u:B" + self._characters("bot", name, _LOWER_ALPHANUMERIC, _USER_CHARACTERS - 1)

    def channel_id(self, name: str) -> str:
        """Return ``g:`` and 32 hexadecimal digits (flock-api.md 7)."""
        return "g:" + self._digest("channel", name)[:16].hex()

    def token(self, name: str) -> str:
        """Return a UUID text, as tokens, app ids and webhook tokens have in all examples (flock-api.md 2)."""
        return str(uuid.UUID(bytes=self._digest("token", name)[:16], version=4))

    def secret(self, name: str) -> str:
        """Return a long random-looking text, as an app secret."""
        return self._digest("secret", name).hex()

    def file_path(self, team: str, name: str, at_ms: int) -> str:
        """Return ``/<team>/<24 characters>``: 7 hex digits, a Unix time of 10 digits, 7 hex digits (flock-api.md 13)."""
        digits = self._digest("file", name).hex()
        return f"/{team}/{digits[:7]}{max(0, at_ms // 1000) % 10_000_000_000:010d}{digits[7:14]}"

    def uid(self, at_ms: int) -> str:
        """Return a message uid ``<ms>-<3 alphanumerics>-m20<n>`` never given before (flock-api.md 6.1).

        A millisecond has room for 238,328 messages; `OverflowError` is raised beyond.
        """
        count = self._counts.get(at_ms, 0)
        if count >= _UIDS_PER_MILLISECOND:
            raise OverflowError(f"more than {_UIDS_PER_MILLISECOND} messages in the millisecond {at_ms}")
        self._counts[at_ms] = count + 1
        offset = int.from_bytes(hashlib.blake2b(f"{self._seed}/{at_ms}".encode(), digest_size=8).digest(), "big")
        number = (offset + count * _UID_STRIDE) % _UIDS_PER_MILLISECOND
        high, low = divmod(number, len(_ALPHANUMERIC))
        first, second = divmod(high, len(_ALPHANUMERIC))
        shard = offset % _SHARDS + 1
        return f"{at_ms}-{_ALPHANUMERIC[first]}{_ALPHANUMERIC[second]}{_ALPHANUMERIC[low]}-m20{shard}"

    def _characters(self, kind: str, name: str, alphabet: str, count: int) -> str:
        number = int.from_bytes(self._digest(kind, name), "big")
        characters = []
        for _ in range(count):
            number, position = divmod(number, len(alphabet))
            characters.append(alphabet[position])
        return "".join(characters)

    def _digest(self, kind: str, name: str) -> bytes:
        # A data set may hold anything JSON can say, lone surrogates included.
        written = f"{self._seed}\0{kind}\0{name}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(written, digest_size=32).digest()


def client_id(uid: str) -> str:
    """Return the id that the sender's client chose; it follows from the uid, and like real ones it is not unique.

    Desktop, Android, numbered and five-letter forms were observed (flock-api.md 6.1).
    """
    number = int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest(), "big")
    sent_at, _, _ = uid.partition("-")
    if number % _SHORT_EVERY == 0:
        return ("hello", "again", "abcde")[number % _SHARDS]
    if number % _PLAIN_EVERY == 0:
        return f"{sent_at}_{number % _DESKTOP}"
    digits = f"{number:016x}"
    if number % _ANDROID_EVERY == 0:
        return f"a_{sent_at}_{digits[:10]}"
    return f"d_{sent_at}_{digits[:_DESKTOP]}"
