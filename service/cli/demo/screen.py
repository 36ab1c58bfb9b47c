"""Draw the demonstration: a table that is redrawn while it waits, and the timeline of events beneath it."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table

from service.bootstrap import App
from service.domain.registry.challenger import Challenger
from service.domain.registry.checkpoint_metrics import MonitorStatus
from service.domain.registry.registry import Checkpoint
from service.domain.training.jobs import FINAL_STATES, Job
from service.errors import HeadraceError
from service.operations.states.newest_checkpoint import newest_checkpoint

MODEL = "phishing"
REDRAW_EVERY_S = 0.25


@dataclass
class Timeline:
    """The lines of what has happened."""

    began_at: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add a line with the seconds since the beginning."""
        self.lines.append(f"[dim]{time.monotonic() - self.began_at:5.1f} s[/dim]  {text}")


@dataclass
class DemoScreen:
    """Shows the champion's newest checkpoint and monitor, the newest job and the challenger."""

    app: App
    live: Live
    timeline: Timeline
    learned: int = 0
    accuracy: float = 0.0
    monitor: MonitorStatus | None = None
    offset: int = 0
    rate: float = 0.0
    checkpoint: int = 0
    committed_at: float = 0.0

    def redraw_until(self, reached: Callable[[], Any], *, timeout_s: float = 300.0) -> None:
        """Redraw until `reached` returns true; raise HeadraceError after `timeout_s`."""
        end = time.monotonic() + timeout_s
        while True:
            self._draw()
            if reached():
                return
            if time.monotonic() > end:
                msg = f"found {self.learned:,} events learned after {timeout_s:.0f} s; see the daemon's log"
                raise HeadraceError(msg)
            time.sleep(REDRAW_EVERY_S)

    def job(self) -> Job | None:
        """Return the newest job, or None."""
        return next(iter(self.app.registry.jobs.list(MODEL, limit=1)), None)

    def challenger(self, *, finished: bool = False) -> Challenger | None:
        """Return the newest challenger, or None."""
        return next(reversed(self.app.registry.challengers.list(MODEL, finished=finished)), None)

    def _draw(self) -> None:
        newest = self._newest()
        offset = sum(newest.position.offsets.values())
        if newest.id != self.checkpoint:
            if self.checkpoint:
                self.rate = (offset - self.offset) / (newest.created_at.timestamp() - self.committed_at)
            self.checkpoint, self.committed_at, self.offset = newest.id, newest.created_at.timestamp(), offset
            self.learned = newest.learned
        self.accuracy = newest.metrics.window.get("Accuracy", 0.0)
        self.monitor = next(iter(newest.metrics.drift), None)
        self.live.update(Group(self._table(newest), *self._activity_lines(), *self.timeline.lines))

    def _newest(self) -> Checkpoint:
        champion = self.app.registry.models.get(MODEL).champion
        if champion is None:
            msg = f"found no champion of {MODEL}"
            raise HeadraceError(msg)
        return newest_checkpoint(self.app.services, champion)

    def _table(self, newest: Checkpoint) -> Table:
        baseline = newest.metrics.baseline.window
        return champion_table(
            {
                "learned": f"{newest.learned:,}",
                "events/s": f"{max(self.rate, 0):,.0f}",
                "accuracy": f"{self.accuracy:.3f}",
                "no change": f"{baseline.get('Accuracy', 0.0):.3f}",
                "monitor": monitor_text(self.monitor),
                "saved": saved(time.time() - self.committed_at),
                "versions": str(len(self.app.registry.history.versions(MODEL))),
            }
        )

    def _activity_lines(self) -> Iterator[str]:
        """Yield a line for the running job and one for the challenger."""
        job, challenger = self.job(), self.challenger()
        if job is not None and job.state not in FINAL_STATES:
            done = f", {job.progress.done:,} of {job.progress.total:,}" if job.progress.total else ""
            yield f"  [cyan]job {job.id}[/cyan] {job.state}{done} {job.progress.note}"
        if challenger is not None:
            yield f"  [cyan]challenger, version {challenger.version}[/cyan] {challenger.stage}{loss_text(challenger)}"


def champion_table(values: Mapping[str, str]) -> Table:
    """Return the champion's state as a table that fits 80 columns."""
    table = Table(title=f"{MODEL}: the champion", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in values:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row(*values.values())
    return table


def saved(age_s: float) -> str:
    """Return how long ago the newest checkpoint was made."""
    return f"{age_s:.1f} s ago" if age_s < 9.95 else f"{age_s:.0f} s ago"


def monitor_text(monitor: MonitorStatus | None) -> str:
    """Return a monitor's value, threshold and state."""
    if monitor is None or monitor.value is None:
        return "-"
    return f"{monitor.value:.2f} / {monitor.threshold or 0.0:.2f} {monitor.state}"


def loss_text(challenger: Challenger) -> str:
    """Return the losses of champion and challenger, or nothing before there are any."""
    found = challenger.evidence
    if found.get("champion_loss") is None:
        return ""
    return (
        f": over {found['events']:,} events the champion loses {found['champion_loss']:.3f}, "
        f"the challenger {found['challenger_loss']:.3f}"
    )
