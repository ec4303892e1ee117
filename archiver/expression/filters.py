"""The filters of a search expression: their names, and how their values are read."""

from __future__ import annotations

import difflib
import re
from calendar import monthrange
from collections.abc import Sequence
from datetime import date
from typing import Final, get_args

from archiver.expression.nodes import (
    Chat,
    DayRelation,
    Days,
    Filter,
    HasFile,
    Kind,
    Label,
    MessageKind,
    MessageState,
    Mime,
    Person,
    PersonRole,
    State,
)

# In the order in which the documents tell of them.
FILTERS: Final = ("from", "to", "in", "before", "after", "on", "has", "mime", "is", "type", "label")

VALUE_CHARACTERS_MAX: Final = 256
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 2999

_DAYS: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?\Z")
_ROLES: Final[tuple[PersonRole, ...]] = get_args(PersonRole)
_RELATIONS: Final[tuple[DayRelation, ...]] = get_args(DayRelation)
_KINDS: Final[tuple[MessageKind, ...]] = get_args(MessageKind)
_STATES: Final[tuple[MessageState, ...]] = get_args(MessageState)


class ValueProblem(Exception):  # noqa: N818 - it is no error of its own; whoever reads the expression adds the place
    """A filter's value cannot be used."""

    def __init__(self, what: str, *, next_step: str = "") -> None:
        super().__init__(what)
        self.next_step = next_step


def read_filter(name: str, value: str) -> Filter:  # noqa: C901, PLR0911, PLR0912 - one line for each filter
    """Return the filter of a name in `FILTERS` with its value; raises `ValueProblem`."""
    value = value.strip()
    if not value:
        raise ValueProblem(
            f"{name}: needs a value", next_step=f"write it right behind the colon, as in {_EXAMPLES[name]}"
        )
    if value.endswith((",", ";")):
        raise ValueProblem(
            f"no value ends with {value[-1]}", next_step=f"leave it away; several are ({name}:one OR {name}:other)"
        )
    if len(value) > VALUE_CHARACTERS_MAX:
        raise ValueProblem(f"a value is at most {VALUE_CHARACTERS_MAX} characters long")
    for role in _ROLES:
        if name == role:
            return Person(role, _without_sign(value, "@"))
    for relation in _RELATIONS:
        if name == relation:
            return _days(relation, value)
    match name:
        case "in":
            return Chat(_without_sign(value, "#"))
        case "has":
            _one_of(name, value, ("file",))
            return HasFile()
        case "mime":
            return Mime(value)
        case "is":
            return State(_STATES[_one_of(name, value, _STATES)])
        case "type":
            return Kind(_KINDS[_one_of(name, value, _KINDS)])
        case _:
            return Label(value)


_EXAMPLES: Final = {
    "from": "from:alice@example.org",
    "to": "to:alice@example.org",
    "in": "in:general",
    "before": "before:2026-03-01",
    "after": "after:2026-03-01",
    "on": "on:2026-03-01",
    "has": "has:file",
    "mime": "mime:application/pdf",
    "is": "is:edited",
    "type": "type:channel",
    "label": "label:contract",
}


def _without_sign(value: str, sign: str) -> str:
    """Return a name without the sign that a chat shows before it."""
    return re.sub(rf"^[{sign}\s]+", "", value) or value


def _one_of(name: str, value: str, allowed: Sequence[str]) -> int:
    folded = value.lower()
    if folded in allowed:
        return allowed.index(folded)
    near = difflib.get_close_matches(folded, allowed, n=1)
    raise ValueProblem(
        f"{name}:{value} means nothing",
        next_step=(f"did you mean {name}:{near[0]} ? " if near else "")
        + f"there is {' and '.join(f'{name}:{known}' for known in allowed)}",
    )


def _days(relation: DayRelation, value: str) -> Days:
    found = _DAYS.match(value)
    how = ValueProblem(
        f"{value} is no day, month or year",
        next_step=f"write {relation}:2026-03-01, {relation}:2026-03 or {relation}:2026, from {YEAR_MIN} to {YEAR_MAX}",
    )
    if found is None:
        raise how
    year, month, day = int(found[1]), found[2] and int(found[2]), found[3] and int(found[3])
    if not YEAR_MIN <= year <= YEAR_MAX:
        raise how
    try:
        first = date(year, month or 1, day or 1)
        last = date(year, month or 12, day or monthrange(year, month or 12)[1])
    except ValueError:
        raise how from None
    return Days(relation, first, last, written=value)
