"""A document of headings, paragraphs, tables and figures, rendered as Markdown or as one self-contained HTML file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.operations.reporting.plots import Drawing

MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")
FORBIDDEN_CHARACTERS = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML and some databases cannot store."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 2 or 3; the title is level 1."""

    kind: ClassVar[str] = "heading"
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of plain text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines shown as they are."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells.

    `shades` darkens the cells after the first column, from 0 to 1.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float]] | None = None

    @property
    def shaded_rows(self) -> Iterator[Iterator[tuple[str, float | None]]]:
        """Yield the rows, each cell with its shade, or None where it has none."""
        for number, row in enumerate(self.rows):
            shades = [None, *self.shades[number]] if self.shades is not None else [None] * len(row)
            yield zip(row, shades, strict=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing; Markdown shows only its caption."""

    kind: ClassVar[str] = "figure"
    drawing: Drawing
    caption: str


Block: TypeAlias = Heading | Paragraph | Code | Table | Figure


@dataclass(frozen=True, slots=True)
class Document:
    """A title, and the blocks beneath it."""

    title: str
    blocks: Sequence[Block]


def replace_forbidden(text: str) -> str:
    """Replace the characters that a text file or database cannot store."""
    return FORBIDDEN_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)


def to_html(document: Document) -> str:
    """Return one HTML file without scripts or external resources; all given text is escaped."""
    return _templates().get_template("report.html.j2").render(document=document)


def to_markdown(document: Document) -> str:
    """Return the document as Markdown, without the drawings; all given text is escaped."""
    return "\n\n".join([f"# {_escape_markdown(document.title)}", *map(_markdown, document.blocks)]) + "\n"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+\N{MINUS SIGN}]?[\d,]*\.?\d+(e[-+]?\d+)?%?|\N{EN DASH}", text) is not None


def _place(value: float) -> str:
    return f"{value:.1f}"


def _finalized(value: object) -> object:
    """Return given text without forbidden characters; markup that a macro has made is not of type `str` and passes."""
    return replace_forbidden(value) if type(value) is str else value


@cache
def _templates() -> Environment:
    """Return the template environment, which escapes all given text and fails on undefined names."""
    found = Environment(
        loader=PackageLoader("service.operations", "reporting/templates"),
        autoescape=True,
        finalize=_finalized,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    found.filters["place"] = _place
    found.tests["written_number"] = _is_number
    return found


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escape_markdown(block.text)}"
    if isinstance(block, Paragraph):
        return _escape_markdown(block.text)
    if isinstance(block, Figure):
        return f"*{_escape_markdown(block.caption)}: drawn in the HTML report.*"
    if isinstance(block, Code):
        ticks = max((len(run) for run in re.findall("`+", block.text)), default=0)
        fence = "`" * max(3, ticks + 1)
        return f"{fence}\n{replace_forbidden(block.text)}\n{fence}"
    lines = [block.columns, ["---"] * len(block.columns), *block.rows]
    return "\n".join(_markdown_row(cells, rule=number == 1) for number, cells in enumerate(lines))


def _markdown_row(cells: Sequence[str], *, rule: bool) -> str:
    return f"| {' | '.join(cell if rule else _escape_markdown(cell) for cell in cells)} |"


def _escape_markdown(text: str) -> str:
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(replace_forbidden(text).split()))


def key_value_table(values: Mapping[str, object], *, columns: tuple[str, str]) -> Table:
    """Return a table of names and values."""
    return Table(columns, [(name, str(value)) for name, value in values.items()])
