"""Placing and releasing legal holds: each is an entry of the ledger of its own, which says who did it, when and why.

A hold has a name that people can say. Placing the same hold again adds nothing, so that a command whose answer was lost can be given again;
another scope under a name in use is refused, for it would silently narrow what somebody relies on. Releasing needs a reason and destroys
nothing: what the hold covered goes back to the rules.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Literal

from archiver.archive.commit import Author, Draft, commit
from archiver.archive.ledger import HeadMovedError, HoldChange, HoldScope
from archiver.archive.reader import Archive, Head, PlacedHold
from archiver.errors import RefusedError, UsageError
from archiver.retention.searched import read_expression

# Another writer may be quicker many times in a row; each time costs one more look at what it added.
COMMIT_TRIES_MAX: Final = 20
REASON_CHARACTERS_MAX: Final = 2_000
WORD_CHARACTERS_MAX: Final = 512
WORDS_MAX: Final = 10_000
NAMES_SUGGESTED_MAX: Final = 3

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Registrar:
    """What enters holds into a ledger: the archive, who enters them, the time, and eight random hex digits for each attempt."""

    archive: Archive
    author: Author
    now_ms: Callable[[], int]
    new_attempt: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Placement:
    """A hold that somebody asks for. ``everything`` says that a scope without any part is meant; ``place`` where it was written."""

    name: str
    scope: HoldScope
    reason: str
    everything: bool = False
    place: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold in force, and whether this call placed it or found it placed."""

    name: str
    hold: PlacedHold
    is_new: bool


@dataclass(frozen=True, slots=True)
class Released:
    """A hold that is in force no more: what it was, and the entry that released it."""

    name: str
    hold: PlacedHold
    sequence: int


@dataclass(frozen=True, slots=True)
class HoldEvent:
    """A line of the history of holds: what a ledger entry did to one, who and when (ISO 8601 in UTC)."""

    name: str
    action: Literal["place", "release"]
    reason: str
    actor: str
    at: str
    sequence: int
    scope: HoldScope | None


def checked(asked: Placement) -> Placement:
    """Return a hold as it will be entered, its words in order and once each; raises `UsageError` for what cannot be one."""
    prefix = f"{asked.place}: " if asked.place else ""
    if not _NAME.fullmatch(asked.name):
        raise UsageError(
            f"{prefix}{asked.name!r} is no name for a hold",
            next_step="use 1 to 64 letters, digits, dots, hyphens and underscores, such as smith-v-acme, a letter or digit at both ends",
        )
    scope = asked.scope
    custodians = _words(scope.custodians, "a custodian", prefix)
    chats = _words(scope.chats, "a chat", prefix)
    patterns = [text for text in custodians if ":" not in text and ("*" in text or "?" in text)]
    if patterns:
        raise UsageError(
            f"{prefix}{patterns[0]!r} names nobody: custodians are named one by one",
            next_step="name each by the user id or the e-mail address",
        )
    if scope.from_at_ms is not None and scope.until_ms is not None and scope.from_at_ms >= scope.until_ms:
        raise UsageError(
            f"{prefix}the hold {asked.name} ends before it begins", next_step="exchange the first day and the last"
        )
    expression = None if scope.expression is None else scope.expression.strip()
    canonical = HoldScope(
        custodians=custodians,
        chats=chats,
        from_at_ms=scope.from_at_ms,
        until_ms=scope.until_ms,
        expression=expression,
        zone=None if expression is None else scope.zone or "UTC",
    )
    try:
        read_expression(canonical)
    except UsageError as error:
        raise UsageError(f"{prefix}{error.what}", next_step=error.next_step) from None
    is_empty = canonical == HoldScope()
    if is_empty != asked.everything:
        raise UsageError(
            f"{prefix}the hold {asked.name} "
            + (
                "says nothing of what it covers"
                if is_empty
                else "covers everything and says what it covers, which is not one thing"
            ),
            next_step="name custodians, channels, conversations, dates or a search; or say `everything` alone if all is meant",
        )
    return replace(asked, scope=canonical, reason=_checked_reason(asked.reason, f"{prefix}the hold {asked.name}"))


def place(registrar: Registrar, asked: Placement) -> Placed:
    """Enter a hold; one of this name and scope that is in force already is returned as it is.

    Raises `UsageError` for what cannot be a hold, `RefusedError` if the name holds something else, `HeadMovedError` (a `RefusedError`) if
    other writers were quicker again and again, and `StorageError`, after which the same call tells what became of it.
    """
    asked = checked(asked)
    is_new = True

    def change(head: Head) -> HoldChange | None:
        nonlocal is_new
        is_new = not is_in_force(head, asked)
        return HoldChange(name=asked.name, action="place", reason=asked.reason, scope=asked.scope) if is_new else None

    head = _enter(registrar, change)
    return Placed(asked.name, head.holds[asked.name], is_new)


def is_in_force(head: Head, asked: Placement) -> bool:
    """Tell whether this very hold is in force; raises `RefusedError` if its name, in whatever case, holds something else."""
    known = head.holds.get(asked.name)
    prefix = f"{asked.place}: " if asked.place else ""
    if known is None:
        alike = [name for name in head.holds if name.casefold() == asked.name.casefold()]
        if alike:
            raise RefusedError(
                f"{prefix}the hold {alike[0]} is in force, and {asked.name} would be taken for it",
                next_step="choose a name that differs in more than its case",
            )
        return False
    if known.scope != asked.scope:
        raise RefusedError(
            f"{prefix}the hold {asked.name} is in force with another scope, placed by {known.actor} at {known.placed_at}",
            next_step=f"choose another name: several holds add up; `archiver hold show {asked.name}` tells what this one covers",
        )
    return True


def release(registrar: Registrar, name: str, *, reason: str) -> Released:
    """Release a hold; what it covered goes back to the rules, and nothing is removed by this.

    Raises `UsageError` if no hold of this name is in force, with the nearest names, `RefusedError` if somebody placed another one
    under this name meanwhile, and otherwise as `place`.
    """
    reason = _checked_reason(reason, f"releasing the hold {name}")
    found: PlacedHold | None = None

    def change(head: Head) -> HoldChange:
        nonlocal found
        known = head.holds.get(name)
        if known is None:
            raise unknown_hold(registrar.archive, head, name)
        if found is not None and known != found:
            raise RefusedError(
                f"the hold {name} was released and placed anew by {known.actor} at {known.placed_at}, while this command ran",
                next_step=f"look at it with `archiver hold show {name}`, and release it if that is still meant",
            )
        found = known
        return HoldChange(name=name, action="release", reason=reason)

    head = _enter(registrar, change)
    assert found is not None
    return Released(name, found, head.sequence)


def unknown_hold(archive: Archive, head: Head, name: str) -> UsageError:
    """Return the error for a name that no hold in force has: the nearest names, and when it was released if it ever was."""
    past = [event for event in history(archive) if event.name == name and event.action == "release"]
    if past:
        last = past[-1]
        return UsageError(
            f"the hold {name} is not in force: {last.actor} released it at {last.at}, in entry {last.sequence}",
            next_step="`archiver hold list --all` has the history of all holds",
        )
    near = difflib.get_close_matches(name, head.holds, n=NAMES_SUGGESTED_MAX)
    return UsageError(
        f"no hold is called {name!r}",
        next_step=f"did you mean {' or '.join(near)}?" if near else "`archiver hold list` has those in force",
    )


def history(archive: Archive) -> Iterator[HoldEvent]:
    """Yield everything that was ever done to holds, from the first; reads the whole chain. Raises `LedgerBrokenError`."""
    for entry, _ in archive.entries():
        change = entry.hold
        if change is not None:
            yield HoldEvent(
                name=change.name,
                action=change.action,
                reason=change.reason,
                actor=entry.actor,
                at=entry.at,
                sequence=entry.sequence,
                scope=change.scope,
            )


def _enter(registrar: Registrar, change: Callable[[Head], HoldChange | None]) -> Head:
    """Commit what ``change`` makes of the head, and on the head of whoever was quicker make it anew; None commits nothing."""
    archive = registrar.archive
    head = archive.head()
    with ThreadPoolExecutor(1) as executor:
        for attempt in range(1, COMMIT_TRIES_MAX + 1):
            entered = change(head)
            if entered is None:
                return head
            draft = Draft(at_ms=registrar.now_ms(), kind="hold", hold=entered)
            try:
                return commit(
                    archive, head, draft, author=registrar.author, attempt=registrar.new_attempt(), executor=executor
                )
            except HeadMovedError:
                if attempt == COMMIT_TRIES_MAX:
                    raise
                head = archive.head(head)
    raise AssertionError("the last try returns or raises")


def _words(words: Iterable[str], what: str, prefix: str) -> tuple[str, ...]:
    """Return words in order and once each; raises `UsageError` for one that cannot be said."""
    stripped = sorted({word.strip() for word in words})
    if len(stripped) > WORDS_MAX:
        raise UsageError(f"{prefix}a hold names at most {WORDS_MAX} of each kind", next_step="place several holds")
    for word in stripped:
        if not word or not word.isprintable() or len(word) > WORD_CHARACTERS_MAX:
            raise UsageError(
                f"{prefix}{word[:WORD_CHARACTERS_MAX]!r} cannot be {what}",
                next_step=f"write 1 to {WORD_CHARACTERS_MAX} printable characters",
            )
    return tuple(stripped)


def _checked_reason(reason: str, what: str) -> str:
    stripped = " ".join(reason.split())
    if not stripped or not stripped.isprintable() or len(stripped) > REASON_CHARACTERS_MAX:
        raise UsageError(
            f"{what} needs a reason of 1 to {REASON_CHARACTERS_MAX} printable characters",
            next_step="give --reason, such as the matter's name and number: it stays in the ledger",
        )
    return stripped
