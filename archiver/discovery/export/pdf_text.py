"""Text of any script on a page of a PDF, the same bytes on every machine: with fonts that every reader of PDF has or knows how to find.

Latin letters are set in Vera, which comes with reportlab and is embedded, those of East Asia in the fonts that Adobe's character
collections name, which need not be. A sign that none of them has is shown by its number, and so is whatever would do something but show
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import Final

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

MARGIN_POINTS: Final = 54.0
LEADING: Final = 1.4
_LATIN: Final = ("Vera", "VeraBd")
# By encoding of the country the font that has its signs, the likeliest first.
_FONTS: Final = (("cp932", "HeiseiKakuGo-W5"), ("euc_kr", "HYGothic-Medium"), ("gb18030", "STSong-Light"))
# A row is not cut by the end of a page unless it is longer than that.
_LINES_TOGETHER_MAX: Final = 12
_FIRST_SHOWN: Final = " "
_DOUBLE_BYTE_MAX: Final = 2


@cache
def read_fonts() -> None:
    """Read the fonts, once in a process: it takes longer than to set a page, and may be done beside what goes on."""
    for font in _LATIN:
        pdfmetrics.registerFont(TTFont(font, f"{font}.ttf"))
    for _, font in _FONTS:
        pdfmetrics.registerFont(UnicodeCIDFont(font))


class Page:
    """Sets lines from top to bottom, and turns the page by itself. ``footer`` stands on each page, with its number."""

    def __init__(self, *, footer: str, title: str) -> None:
        self.footer = footer
        read_fonts()
        self._buffer = BytesIO()
        self._canvas = Canvas(self._buffer, pagesize=A4, invariant=1, pageCompression=1)
        self._canvas.setTitle(title)
        self._canvas.setAuthor("flock-archiver")
        self._width, self._height = A4
        self._y = self._height - MARGIN_POINTS
        self._number = 1
        self._foot()

    def heading(self, text: str, *, points: float = 13.0) -> None:
        """Set a heading, with room above it."""
        self._room(points * 3)
        self._y -= points * 0.8
        self.line(text, points=points, bold=True)
        self._y -= points * 0.2

    def line(self, text: str, *, points: float = 9.5, bold: bool = False, indent: float = 0.0) -> None:
        """Set a paragraph, wrapped."""
        for wrapped in _wrapped(text, self._width - 2 * MARGIN_POINTS - indent, points=points, bold=bold):
            self._room(points * LEADING)
            self._y -= points * LEADING
            self._set(wrapped, MARGIN_POINTS + indent, points=points, bold=bold)

    def fact(self, name: str, value: str, *, points: float = 9.5) -> None:
        """Set a name and its value beside it, wrapped."""
        column = 130.0
        lines = list(_wrapped(value, self._width - 2 * MARGIN_POINTS - column, points=points, bold=False)) or [""]
        for place, wrapped in enumerate(lines):
            self._room(points * LEADING)
            self._y -= points * LEADING
            if not place:
                self._set(name, MARGIN_POINTS, points=points, bold=True)
            self._set(wrapped, MARGIN_POINTS + column, points=points, bold=False)

    def rule(self) -> None:
        """Draw a line across the page."""
        self._y -= 6
        self._canvas.setLineWidth(0.5)
        self._canvas.line(MARGIN_POINTS, self._y, self._width - MARGIN_POINTS, self._y)

    def row(
        self, cells: tuple[str, ...], widths: tuple[float, ...], *, bold: bool = False, points: float = 8.5
    ) -> None:
        """Set a row of a table; the first cell is wrapped, the others stand to the right of their columns."""
        first = list(_wrapped(cells[0], widths[0] - 6, points=points, bold=bold)) or [""]
        self._room(min(len(first), _LINES_TOGETHER_MAX) * points * LEADING)
        for place, wrapped in enumerate(first):
            self._room(points * LEADING)
            self._y -= points * LEADING
            self._set(wrapped, MARGIN_POINTS, points=points, bold=bold)
            if not place:
                right = MARGIN_POINTS + widths[0]
                for cell, width in zip(cells[1:], widths[1:], strict=True):
                    right += width
                    self._set(cell, right - _width(cell, points=points, bold=bold), points=points, bold=bold)

    def pdf(self) -> bytes:
        """Return the whole document."""
        self._canvas.save()
        return self._buffer.getvalue()

    def _room(self, points: float) -> None:
        if self._y - points < MARGIN_POINTS + 14:
            self._canvas.showPage()
            self._number += 1
            self._y = self._height - MARGIN_POINTS
            self._foot()

    def _foot(self) -> None:
        text = _cut(self.footer, self._width - 2 * MARGIN_POINTS - 40, points=7.0)
        keep, self._y = self._y, MARGIN_POINTS - 14
        self._set(text, MARGIN_POINTS, points=7.0, bold=False)
        number = str(self._number)
        self._set(number, self._width - MARGIN_POINTS - _width(number, points=7.0, bold=False), points=7.0, bold=False)
        self._y = keep

    def _set(self, text: str, x: float, *, points: float, bold: bool) -> None:
        for font, run in _runs(text, bold=bold):
            self._canvas.setFont(font, points)
            self._canvas.drawString(x, self._y, run)
            x += pdfmetrics.stringWidth(run, font, points)


def can_show(text: str) -> bool:
    """Tell whether each sign of a text can be set as itself."""
    return all(_font(sign, _LATIN[0])[1] == sign for sign in text)


def is_embedded(text: str) -> bool:
    """Tell whether each sign of a text is in a font that comes with the page, so that every reader has it."""
    return all(_font(sign, _LATIN[0])[0] == _LATIN[0] for sign in text)


def _runs(text: str, *, bold: bool) -> Iterator[tuple[str, str]]:
    """Yield pieces of a text with the font that each is set in."""
    latin = _LATIN[bold]
    font, run = latin, ""
    for sign in text:
        found, shown = _font(sign, latin)
        if found != font and run:
            yield font, run
            run = ""
        font, run = found, run + shown
    if run:
        yield font, run


def _font(sign: str, latin: str) -> tuple[str, str]:
    if not sign.isprintable() and sign != _FIRST_SHOWN:
        return latin, " " if sign.isspace() else f"[U+{ord(sign):04X}]"
    if ord(sign) in pdfmetrics.getFont(latin).face.charToGlyph:
        return latin, sign
    for encoding, font in _FONTS:
        # GB 18030 has every sign there is, in four bytes; those that the font has are in two.
        if _encodes(sign, encoding):
            return font, sign
    return latin, f"[U+{ord(sign):04X}]"


def _encodes(sign: str, encoding: str) -> bool:
    try:
        return len(sign.encode(encoding)) <= _DOUBLE_BYTE_MAX
    except UnicodeEncodeError:
        return False


def _width(text: str, *, points: float, bold: bool) -> float:
    return sum(float(pdfmetrics.stringWidth(run, font, points)) for font, run in _runs(text, bold=bold))


def _wrapped(text: str, width: float, *, points: float, bold: bool) -> Iterator[str]:
    """Yield lines no wider than so many points: cut at spaces, and anywhere where there is none."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if _width(longer, points=points, bold=bold) <= width:
            line = longer
            continue
        if line:
            yield line
        line = ""
        for sign in word:
            if line and _width(line + sign, points=points, bold=bold) > width:
                yield line
                line = ""
            line += sign
    if line:
        yield line


def _cut(text: str, width: float, *, points: float) -> str:
    return next(_wrapped(text, width, points=points, bold=False), "")
