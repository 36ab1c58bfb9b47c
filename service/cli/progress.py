"""Show the progress of a long command: as a bar on a terminal, elsewhere as a line now and then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from service.cli.context import err, out
from service.operations.monitoring.drift import ReportProgress

LINE_EVERY_S = 5.0


@contextmanager
def shown() -> Iterator[ReportProgress]:
    """Yield a function that reports progress; lines go to standard error, so that the result alone is in the output."""
    if not out.is_terminal:
        yield _Lines()
        return
    with Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=out, transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, events: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.advance(tasks[what], events)

        yield tell


class _Lines:
    """Prints progress as lines, at least `LINE_EVERY_S` apart."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()
        self._done: dict[str, int] = {}

    def __call__(self, what: str, events: int, total: int) -> None:
        self._done[what] = self._done.get(what, 0) + events
        if time.monotonic() - self._printed_at >= LINE_EVERY_S:
            self._printed_at = time.monotonic()
            err.print(f"{what}: {self._done[what]:,} of {total:,} events", markup=False, highlight=False)
