"""Print titles, facts and tables that fit the width without cutting a word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from service.cli.printing.wording import NONE, cell, words

GAP = 2
TEXT = 18
"""The least width of a column of sentences; if there is less room, each row is printed as facts."""
_FOLDS = ("", " ", "\n")
"""Ways to break a time, tried in order: not at all, before how long ago it was, also between day and hour."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the key of its values, its heading, and whether it holds numbers or times."""

    key: str
    heading: str = ""
    right: bool = False
    time: bool = False

    @property
    def title(self) -> str:
        """Return the heading, or the key as words if there is none."""
        return self.heading or words(self.key)


def title(out: Console, text: str, *, first: bool = False) -> None:
    """Print a heading, with an empty line before it unless it is the first."""
    if not first:
        out.print()
    out.print(Text(text, style="bold"), soft_wrap=True)


def facts(out: Console, pairs: Sequence[tuple[str, Any]], *, indent: int = 0) -> None:
    """Print names and values as two columns."""
    shown = [(name, cell(value) or NONE) for name, value in pairs]
    left = max((cell_len(name) for name, _ in shown), default=0)
    room = out.width - indent - left - GAP
    if any(_longest(text) > room for _, text in shown):
        for name, text in shown:
            out.print(Text(f"{' ' * indent}{name:{left + GAP}}{text}"), soft_wrap=True)
        return
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for name, text in shown:
        grid.add_row(Text(name, style="dim"), Text(text))
    _print(out, Padding(grid, (0, 0, 0, indent)))


def table(out: Console, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, indent: int = 0) -> None:
    """Print rows beneath their headings, or each row as facts if they do not fit without cutting a word."""
    used = [one for one in columns if any(cell(row.get(one.key)) for row in rows)] if rows else list(columns)
    cells = [[_bare(row, one) for one in used] for row in rows]
    for fold in _FOLDS:
        texts = [[_folded(text, one, fold) for one, text in zip(used, row, strict=True)] for row in cells]
        titles = [one.title.replace(" (", "\n(") if fold == "\n" else one.title for one in used]
        least, most = zip(*map(_widths, zip(used, titles, *texts, strict=True)), strict=True) if used else ((), ())
        if sum(least if fold else most) + GAP * (len(used) - 1) <= out.width - indent:
            _print(out, Padding(_table(used, titles, texts, least), (0, 0, 0, indent)))
            return
    for number, row in enumerate(cells):
        if number:
            out.print()
        facts(out, [(one.title, text) for one, text in zip(used, row, strict=True) if text], indent=indent)


def _print(out: Console, found: Padding) -> None:
    """Print lines without trailing spaces."""
    for line in out.render_lines(found, pad=False):
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
        out.print(Segments([*line, Segment.line()]), end="", soft_wrap=True)


def _table(
    columns: Sequence[Column], titles: Sequence[str], rows: Sequence[Sequence[str]], least: Sequence[int]
) -> Table:
    found = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for one, heading, width in zip(columns, titles, least, strict=True):
        justify: Literal["left", "right"] = "right" if one.right else "left"
        found.add_column(heading, justify=justify, no_wrap=one.time or one.right, min_width=width)
    for row in rows:
        found.add_row(*map(Text, row))
    return found


def _widths(column: tuple[Any, ...]) -> tuple[int, int]:
    """Return the least width of a column that cuts no word, and the width of its longest line."""
    kind, *texts = column
    lines = [line for text in texts for line in text.split("\n")]
    longest = max(map(cell_len, lines))
    if kind.time or kind.right:
        return longest, longest
    return max(_longest(" ".join(lines)), min(longest, TEXT)), longest


def _bare(row: Mapping[str, Any], column: Column) -> str:
    """Return the text of a cell; a time without "UTC", which the heading says."""
    text = cell(row.get(column.key))
    return text.replace(" UTC", "") if column.time else text


def _folded(text: str, column: Column, fold: str) -> str:
    """Return a time broken into lines: before how long ago it was, and at `fold` between day and hour."""
    if not column.time or not fold:
        return text
    at, _, ago = text.partition(", ")
    return f"{at.replace(' ', fold)}\n{ago}" if ago else text


def _longest(text: str) -> int:
    """Return the width of the longest word."""
    return max(map(cell_len, text.split()), default=0)
