"""Tables, bars and running text for the demo."""
from __future__ import annotations

import shutil
import sys
from decimal import Decimal
from typing import Sequence, Tuple

from console import paint, say

INDENT = "   "


def width() -> int:
    return min(100, shutil.get_terminal_size((100, 24)).columns)


def amount(text: object) -> str:
    """A decimal string of cbT with thousands apart: `12345.5` -> `12,345.5`."""
    return "{:,f}".format(Decimal(str(text)))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(columns, *rows)]

    def line(cells: Sequence[str]) -> str:
        sized = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return INDENT + "  ".join(sized).rstrip()

    say(paint(line(columns), "dim"))
    for row in rows:
        say(line(row))


def bars(rows: Sequence[Tuple[str, Decimal, str]]) -> None:
    """One bar per row: name, value, what to write behind it."""
    if not rows:
        return
    names = max(len(name) for name, _, _ in rows)
    most = max(value for _, value, _ in rows) or Decimal(1)
    room = max(10, width() - names - max(len(text) for _, _, text in rows) - len(INDENT) - 4)
    for name, value, text in rows:
        eighths = int((value / most) * min(room, 40) * 8)
        bar = "█" * (eighths // 8) + ("" if eighths % 8 == 0 else "▏▎▍▌▋▊▉"[eighths % 8 - 1])
        say("%s%s  %s %s" % (INDENT, name.ljust(names), paint(bar or "▏", "cyan"), text))


class Flow:
    """Text that arrives in pieces, printed at once and broken at words."""

    def __init__(self) -> None:
        self.column = 0  # of the line that is being written; 0 while nothing is on it
        self.gap = False  # a space that is due before the next word
        self.word = ""

    def add(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self._put()
                self._newline()
            elif character == " ":
                self._put()
                self.gap = True
            else:
                self.word += character
        sys.stdout.flush()

    def end(self) -> None:
        self._put()
        if self.column:
            self._newline()
        sys.stdout.flush()

    def _put(self) -> None:
        if not self.word:
            return
        if self.column + 1 + len(self.word) > width() - len(INDENT):
            self._newline()
        lead = INDENT if not self.column else " " if self.gap else ""
        sys.stdout.write(lead + self.word)
        self.column += len(self.word) + (len(lead) if self.column else 0)
        self.gap, self.word = False, ""

    def _newline(self) -> None:
        sys.stdout.write("\n")
        self.column, self.gap = 0, False
