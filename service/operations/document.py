"""A document of headings, sentences, tables and figures, as Markdown and as one HTML file that needs nothing else."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")
UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What neither XML nor every database can hold."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#22303c;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #e4e7eb}
h3{font-size:1rem;margin-bottom:.3rem}table{border-collapse:collapse;margin:.6rem 0;font-size:.9rem}
th,td{padding:.25rem .7rem;border-bottom:1px solid #e4e7eb;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:#6b7785;font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{background:#f6f7f8;padding:.8rem;overflow-x:auto;font-size:.85rem}figure{margin:.8rem 0}
figcaption{color:#6b7785;font-size:.85rem}svg{max-width:100%;height:auto}p.lead{font-size:1.05rem}
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """Level 2 or 3; the title is level 1."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are text, or numbers already written; `shades` darken cells from 0 to 1, the first column has none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing as SVG, and in words what Markdown says in its place."""

    svg: str
    caption: str


Block: TypeAlias = Heading | Paragraph | Code | Table | Figure


@dataclass(frozen=True, slots=True)
class Document:
    """A title, and what stands beneath it."""

    title: str
    blocks: Sequence[Block]


def writable(text: str) -> str:
    """Without what no file of text can hold."""
    return UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def escaped(text: str) -> str:
    """As HTML and SVG write it, also within an attribute."""
    return html.escape(writable(text), quote=True)


def to_html(document: Document) -> str:
    """One file without scripts, and without anything to fetch; nothing that was given is markup."""
    title = escaped(document.title)
    body = "\n".join(_html(block) for block in document.blocks)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def to_markdown(document: Document) -> str:
    """The same without the drawings; nothing that was given is markup."""
    return "\n\n".join([f"# {_plain(document.title)}", *map(_markdown, document.blocks)]) + "\n"


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escaped(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{escaped(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre>{escaped(block.text)}</pre>"
    if isinstance(block, Figure):
        return f"<figure>{block.svg}<figcaption>{escaped(block.caption)}</figcaption></figure>"
    head = "".join(f"<th>{escaped(column)}</th>" for column in block.columns)
    rows = "\n".join(_html_row(block, number) for number in range(len(block.rows)))
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>"


def _html_row(table: Table, number: int) -> str:
    shades = [None, *table.shades[number]] if table.shades is not None else [None] * len(table.columns)
    cells = zip(table.rows[number], shades, strict=True)
    return f"<tr>{''.join(_html_cell(text, shade) for text, shade in cells)}</tr>"


def _html_cell(text: str, shade: float | None) -> str:
    kind = ' class="n"' if _is_number(text) else ""
    colour = "" if shade is None else f' style="background:rgba(11,114,133,{0.55 * shade:.3f})"'
    return f"<td{kind}{colour}>{escaped(text)}</td>"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+\N{MINUS SIGN}]?[\d,]*\.?\d+(e[-+]?\d+)?%?|\N{EN DASH}", text) is not None


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Figure):
        return f"*{_plain(block.caption)}: drawn in the HTML report.*"
    if isinstance(block, Code):
        ticks = max((len(run) for run in re.findall("`+", block.text)), default=0)
        fence = "`" * max(3, ticks + 1)
        return f"{fence}\n{writable(block.text)}\n{fence}"
    lines = [block.columns, ["---"] * len(block.columns), *block.rows]
    return "\n".join(_markdown_row(cells, rule=number == 1) for number, cells in enumerate(lines))


def _markdown_row(cells: Sequence[str], *, rule: bool) -> str:
    return f"| {' | '.join(cell if rule else _plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(writable(text).split()))


def pairs(values: Mapping[str, object], *, columns: tuple[str, str]) -> Table:
    """A table of names and values."""
    return Table(columns, [(name, str(value)) for name, value in values.items()])
