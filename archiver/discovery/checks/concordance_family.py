"""The rows of one family of a load file: a message and its files, which stand together and say so of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Told = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A row by the names of its columns, and the line it stands on; a column that is not there is empty."""

    line: int
    values: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")


@dataclass(slots=True)
class Family:
    """Rows that follow one another with the same group identifier."""

    group: str
    rows: list[Row] = field(default_factory=list)

    def check(self) -> Iterator[Told]:
        """Yield what does not fit together: the first row is the parent, the others are its children, and each names the others."""
        parent, *children = self.rows
        numbers = [row["Control Number"] for row in self.rows]
        if parent["Control Number"] != self.group or parent["PARENT_BATES"]:
            yield parent.line, "family", "the family does not begin with the document that its group identifier names"
        if parent["CHILD_BATES"] != ";".join(numbers[1:]):
            yield parent.line, "family", "CHILD_BATES is not what follows in the family"
        for row in children:
            if row["PARENT_BATES"] != self.group:
                yield row.line, "family", f"PARENT_BATES is {row['PARENT_BATES'][:80]!r}, which is not in this family"
            if row["CHILD_BATES"]:
                yield row.line, "family", "a file has files of its own"
        wanted = ("", "", "") if not children else (numbers[0], numbers[-1], f"{numbers[0]}-{numbers[-1]}")
        for row in self.rows:
            if (row["BEGATTACH"], row["ENDATTACH"], row["ATTACHRANGE"]) != wanted:
                yield (
                    row.line,
                    "range",
                    "BEGATTACH, ENDATTACH and ATTACHRANGE are not the first and the last of the family",
                )
            if row["FIRSTBATES"] != row["Control Number"] or row["LASTBATES"] != row["Control Number"]:
                yield row.line, "range", "FIRSTBATES and LASTBATES are not the control number"
