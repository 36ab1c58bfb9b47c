"""What rich shows on a terminal, apart because few commands need it."""

import sys

from rich.markdown import Markdown
from rich.progress import Progress

from service.cli.context import out


def print_markdown(text: str) -> None:
    """Print Markdown with its headings, lists and tables."""
    out.print(Markdown(text))


def counting() -> Progress:
    """Return a counter on standard error, which is silent if that is no terminal."""
    return Progress(disable=not sys.stderr.isatty())
