"""In which rule a line of a policy's file stands, also where the file as a whole cannot be read.

The file is looked through as far as it is YAML, and no deeper than any policy is; nothing is built of it, so that aliases cost nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from archiver.document import DEPTH_MAX

_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_VALUES = (*_STARTS, yaml.ScalarEvent, yaml.AliasEvent)
# A rule is an entry of the list under the key `rules`: so much is open around its keys.
_RULE_DEPTH = 3


def rule_at(data: bytes, line: int) -> str:
    """Return the name of the rule that a line from 1 stands in, or its number where it has none; nothing for a line in no rule."""
    walk = _Walk()
    with suppress(yaml.YAMLError, UnicodeDecodeError):
        for event in yaml.parse(data.decode("utf-8-sig"), Loader=yaml.SafeLoader):
            if walk.depth > DEPTH_MAX:
                break
            walk.take(event)
    for number, rule in enumerate(walk.rules, 1):
        if rule.first <= line and (rule.last is None or line <= rule.last):
            return rule.name if rule.name is not None else f"number {number}"
    return ""


@dataclass(slots=True)
class _Open:
    """A mapping or a list that has begun: the key whose value comes next, None where a key or an entry does."""

    is_mapping: bool
    key: str | None = None


@dataclass(slots=True)
class _Rule:
    """A rule by its lines; ``last`` is None while it has not ended."""

    first: int
    last: int | None = None
    name: str | None = None


def _place(mark: Any) -> tuple[int, int]:
    """Return line and column from 0; the stubs say that there may be no mark, and a text always has them."""
    return mark.line, mark.column


class _Walk:
    """What is open around the place that was reached in a file, and the rules that began by then."""

    def __init__(self) -> None:
        self.rules: list[_Rule] = []
        self._around: list[_Open] = []

    @property
    def depth(self) -> int:
        """How many mappings and lists are open."""
        return len(self._around)

    def take(self, event: yaml.Event) -> None:
        """Go on by what comes next."""
        if isinstance(event, _ENDS):
            self._end(event)
        elif isinstance(event, _VALUES):
            is_key = self._say(event.value if isinstance(event, yaml.ScalarEvent) else None)
            if isinstance(event, _STARTS):
                self._around.append(_Open(isinstance(event, yaml.MappingStartEvent)))
                if self._is_rule():
                    self.rules.append(_Rule(_place(event.start_mark)[0] + 1))
            elif not is_key:
                self._has_value()

    def _say(self, said: str | None) -> bool:
        """Take a key, or the value of one; tell whether it was a key."""
        inside = self._around[-1] if self._around else None
        if inside is None or not inside.is_mapping:
            return False
        if inside.key is None:
            inside.key = said or ""
            return True
        if self._is_rule() and inside.key == "name":
            self.rules[-1].name = said
        return False

    def _end(self, event: yaml.Event) -> None:
        if self._is_rule():
            # A block ends where the next one begins, and only one in braces has an end of its own.
            line, column = _place(event.start_mark)
            self.rules[-1].last = line + (_place(event.end_mark)[1] > column)
        self._around.pop()
        self._has_value()

    def _has_value(self) -> None:
        if self._around:
            self._around[-1].key = None

    def _is_rule(self) -> bool:
        around = self._around
        return len(around) == _RULE_DEPTH and around[0].key == "rules" and not around[1].is_mapping
