"""What the rows of ``messages`` do not tell and a filter asks for; whoever asks an expression brings it.

A `Directory` knows every name and e-mail address that people and chats ever had, so that a search finds what was said before a change of
name, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import pyarrow as pa

from archiver.expression import fold

_STAR: Final = "*"


@dataclass(frozen=True, slots=True)
class Known:
    """All names and e-mail addresses that one person or chat ever had."""

    names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()


_NOBODY: Final[Mapping[str, Known]] = MappingProxyType({})


class Directory:
    """Users by user id and chats by chat id; it remembers who is meant by a pattern, so keep one for many questions."""

    def __init__(self, *, people: Mapping[str, Known] = _NOBODY, chats: Mapping[str, Known] = _NOBODY) -> None:
        self._people = people
        self._chats = chats
        self._found: dict[tuple[str, str], frozenset[str]] = {}

    @property
    def people(self) -> Mapping[str, Known]:
        """All users by user id."""
        return self._people

    @property
    def chats(self) -> Mapping[str, Known]:
        """All chats by chat id."""
        return self._chats

    def about(self, user_id: str) -> Known:
        """Return what is known of a user; nothing of somebody unknown."""
        return self._people.get(user_id, Known())

    def people_like(self, pattern: str) -> frozenset[str]:
        """Return the ids of the users whom `person_like` means."""
        return self._like("person", pattern, self._people, is_meant=person_like(pattern))

    def chats_like(self, pattern: str) -> frozenset[str]:
        """Return the ids of the chats which `chat_like` means."""
        return self._like("chat", pattern, self._chats, is_meant=chat_like(pattern))

    def _like(
        self, kind: str, pattern: str, known: Mapping[str, Known], *, is_meant: Callable[[str, Known], bool]
    ) -> frozenset[str]:
        key = (kind, pattern)
        if key not in self._found:
            self._found[key] = frozenset(
                identifier for identifier, about in known.items() if is_meant(identifier, about)
            )
        return self._found[key]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an expression may ask for beside the rows themselves.

    ``files`` are the rows of ``files`` about the messages (``chat_id``, ``message_uid``, ``mime``, and ``mime_received`` if it is known),
    and ``missing`` the messages that Flock did not return when it was last asked (``chat_id``, ``message_uid``). ``labels`` has for
    each label whether each row carries it, beside the rows. None is: nobody looked; an expression that needs it is then refused with
    `ValueError`.
    """

    directory: Directory = field(default_factory=Directory)
    files: pa.Table | None = None
    missing: pa.Table | None = None
    labels: Mapping[str, pa.BooleanArray] | None = None


def person_like(pattern: str) -> Callable[[str, Known], bool]:
    """Return what tells whether a user is meant.

    Without a star: the user id as it is, an e-mail address, or words that follow each other in a name. With stars, which stand for
    anything: a whole user id, e-mail address or name.
    """
    named = name_of_person_like(pattern)
    is_id = identifier_like(pattern)
    is_email = folded_like(pattern)
    return lambda identifier, known: (
        is_id(identifier) or any(map(is_email, known.emails)) or any(map(named, known.names))
    )


def name_of_person_like(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a name is meant: words in it, or with stars all of it."""
    if _STAR in pattern:
        return folded_like(pattern)
    wanted = fold.sequence(pattern)
    return lambda name: wanted != fold.SEPARATOR and wanted in fold.sequence(name)


def chat_like(pattern: str) -> Callable[[str, Known], bool]:
    """Return what tells whether a chat is meant: by its id as it is, or by a whole name; stars stand for anything."""
    is_id = identifier_like(pattern)
    is_name = folded_like(pattern)
    return lambda identifier, known: is_id(identifier) or any(map(is_name, known.names))


def identifier_like(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether an id is meant; ids tell capitals from small letters."""
    if _STAR in pattern:
        return lambda identifier: _stars_fit(pattern, identifier)
    return lambda identifier: identifier == pattern


def folded_like(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a text is meant as a whole, whatever its case, accents and white space."""
    wanted = _even(pattern)
    if _STAR in wanted:
        return lambda text: _stars_fit(wanted, _even(text))
    return lambda text: wanted == _even(text)


def _even(text: str) -> str:
    return " ".join(fold.fold(text).split())


def _stars_fit(pattern: str, text: str) -> bool:
    """Tell whether a text is a pattern with something in the place of each star; each part is looked for once."""
    first, *middle, last = pattern.split(_STAR)
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
