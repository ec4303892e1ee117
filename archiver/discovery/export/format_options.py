"""Options of single formats, as ``--option NAME=VALUE`` gives them: which there are, and what each may be."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from archiver.errors import UsageError


@dataclass(frozen=True, slots=True)
class FormatOption:
    """An option of one format; the first of its values is what counts where nothing is said."""

    format: str
    values: tuple[str, ...]
    meaning: str


FORMAT_OPTIONS: Final = {
    "eml": FormatOption("eml", ("day", "message"), "a mail of each day of a conversation, or of each message"),
    "dat-bom": FormatOption("dat", ("yes", "no"), "a byte order mark at the beginning of the load file, or none"),
}


def parse_options(texts: Iterable[str], formats: Collection[str]) -> dict[str, str]:
    """Return what ``NAME=VALUE`` texts ask for beyond the defaults, by name; raises `UsageError` for what no format of these knows."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        option = FORMAT_OPTIONS.get(name)
        if option is None or not sign:
            raise UsageError(f"--option {text!r} is no option of a format", next_step=f"the options are {_known()}")
        if value not in option.values:
            raise UsageError(
                f"--option {name} cannot be {value!r}", next_step=f"write {' or '.join(_written(name, option))}"
            )
        if option.format not in formats:
            raise UsageError(
                f"--option {name} is about {option.format}, which was not asked for",
                next_step=f"add --format {option.format}, or leave the option out",
            )
        if found.setdefault(name, value) != value:
            raise UsageError(f"--option {name} is given twice, with two values", next_step="give it once")
    return {name: value for name, value in sorted(found.items()) if value != FORMAT_OPTIONS[name].values[0]}


def _known() -> str:
    return ", ".join(written for name, option in FORMAT_OPTIONS.items() for written in _written(name, option))


def _written(name: str, option: FormatOption) -> list[str]:
    return [f"{name}={value}" for value in option.values]
