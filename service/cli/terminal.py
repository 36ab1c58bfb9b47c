"""What rich shows on a terminal and few commands need."""

import sys

from rich.markdown import Markdown
from rich.progress import Progress

from service.cli.context import out


def print_markdown(text: str) -> None:
    """Print Markdown with its headings, lists and tables."""
    out.print(Markdown(text))


def counting() -> Progress:
    """Return a counter on standard error; it is silent where that is no terminal."""
    return Progress(disable=not sys.stderr.isatty())
