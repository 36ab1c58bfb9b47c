"""`headrace demo`: a model learns, is killed, comes back, is misled, is rolled back, and shows its curve."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from river import datasets

from service.bootstrap import App, open_app
from service.cli import curve
from service.config import load
from service.domain.metric_history import HistoryQuery
from service.domain.registry import Checkpoint, CommandKind
from service.errors import ConfigurationError, HeadraceError

RATE = 3000
CHUNK = 150
SOUND, MISLED, SOUND_AGAIN = 45_000, 15_000, 30_000
WRONG_IN_TEN = 7

CONFIGURATION = """\
# The configuration of the demonstration; change it and run `headrace run` in this folder.
storage:
  url: sqlite:///var/headrace.db
  artifacts: var/artifacts
  key_file: var/headrace.key
stream:
  kind: log
  log: {path: var/log.db, retention: 30d}
models:
  - name: phishing
    task: binary
    events: phishing.events
    estimator:
      - preprocessing.StandardScaler
      - linear_model.LogisticRegression:
          optimizer: {optim.SGD: {lr: 0.005}}
    metrics: [Accuracy, F1, ROCAUC]
    checkpoint: {every: 1s}
    drift:
      - {name: errors, on: error, detector: drift.ADWIN}
"""


@dataclass
class Story:
    """What is shown beneath the table, a line an occurrence."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        """Add a line with the time since the beginning."""
        self.lines.append(f"[dim]{time.monotonic() - self.began:5.1f} s[/dim]  {text}")


def demo(
    folder: Annotated[Path, typer.Option(help="Where configuration and state go.")] = Path("demo-output"),
) -> None:
    """Watch a real model learn a real data set, survive SIGKILL, and be rolled back."""
    console = Console()
    settings = load(_prepared(folder))
    story = Story(console)
    with open_app(settings) as app, _daemon(folder) as daemon:
        _wait_for_model(app, daemon)
        published = _Publisher(app)
        with Live(console=console, refresh_per_second=4) as live, published:
            _play(app, daemon, folder, screen=_Screen(app, live, story, published))
        _conclude(app, console, folder)


def _play(app: App, daemon: "subprocess.Popen[bytes]", folder: Path, *, screen: "_Screen") -> None:
    story, published = screen.story, screen.published
    story.tell("river's Phishing data set streams into the embedded log; the learner has never seen it")
    screen.until(lambda: screen.learned > SOUND * 0.6)
    version = app.act("phishing", CommandKind.SNAPSHOT, {"reason": "demo"}, actor="demo")
    story.tell(f"snapshot: {version}, accuracy {screen.accuracy:.3f} over the last 1,000 events")
    screen.until(lambda: screen.learned > SOUND * 0.75)
    before = screen.learned
    _kill_learner(daemon)
    killed = time.monotonic()
    story.tell(f"[red]SIGKILL[/red] to the learner after {before:,} durable events")
    screen.until(lambda: screen.learned > before)
    story.tell(f"[green]learning again[/green] {time.monotonic() - killed:.1f} s later, nothing lost or repeated")
    screen.until(lambda: screen.learned > SOUND * 0.95)
    sound = screen.accuracy
    screen.until(lambda: screen.learned > SOUND)
    story.tell(f"[red]a burst of wrong labels[/red]: {WRONG_IN_TEN} of 10 say the opposite")
    screen.until(lambda: screen.learned >= SOUND + MISLED)
    story.tell(f"accuracy {screen.accuracy:.3f}, it was {sound:.3f}: the model has learned the lie")
    story.tell(f"[yellow]rollback[/yellow] that leaves out events {SOUND:,} to {SOUND + MISLED:,}: history is replayed")
    _roll_back(folder, screen)
    newest = app.registry.history.versions("phishing")[-1].number
    story.tell(f"version {newest} takes over: it has never seen the burst")
    published.go_on()
    screen.until(lambda: published.done and screen.learned >= published.sent - MISLED)
    story.tell(
        f"accuracy {screen.accuracy:.3f} again; {screen.learned:,} of {published.sent:,} events learned, once each, "
        f"and {MISLED:,} left out"
    )
    screen.until(lambda: True)


def _roll_back(folder: Path, screen: "_Screen") -> None:
    """What undoes the burst, while nothing else is published."""
    asked = ["model", "rollback", "phishing", "--mode", "replay", "--exclude", f"{SOUND}..{SOUND + MISLED}"]
    command = [sys.executable, "-m", "service", *asked, "--reason", "burst of wrong labels"]
    with (folder / "rollback.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)  # noqa: S603 - our own program
        screen.until(lambda: process.poll() is not None)
    if process.returncode:
        msg = f"the rollback exited {process.returncode}; see {folder / 'rollback.log'}"
        raise HeadraceError(msg)


@dataclass
class _Screen:
    """The table, redrawn while the story waits for something."""

    app: App
    live: Live
    story: Story
    published: "_Publisher"
    learned: int = 0
    accuracy: float = 0.0
    rate: float = 0.0
    checkpoint: int = 0
    at: float = 0.0

    def until(self, reached: Any, *, timeout_s: float = 60.0) -> None:
        """Redraw until `reached()`; HeadraceError when that takes too long."""
        end = time.monotonic() + timeout_s
        while True:
            self._draw()
            if reached():
                return
            if time.monotonic() > end:
                msg = f"found {self.learned:,} events learned after {timeout_s:.0f} s; see the daemon's log"
                raise HeadraceError(msg)
            time.sleep(0.25)

    def _draw(self) -> None:
        newest = _newest(self.app)
        if newest.id != self.checkpoint:
            if self.checkpoint:
                self.rate = (newest.learned - self.learned) / (newest.created_at.timestamp() - self.at)
            self.checkpoint, self.at, self.learned = newest.id, newest.created_at.timestamp(), newest.learned
        self.accuracy = newest.metrics.get("window", {}).get("Accuracy", 0.0)
        self.live.update(Group(self._table(newest), *self.story.lines))

    def _table(self, newest: Checkpoint) -> Table:
        table = Table(title="phishing: StandardScaler | LogisticRegression", title_justify="left")
        for column in ("learned", "events/s", "accuracy", "no change", "checkpoint age", "versions"):
            table.add_column(column, justify="right", no_wrap=True)
        versions = self.app.registry.history.versions("phishing")
        baseline = newest.metrics.get("baseline", {}).get("window", {})
        table.add_row(
            f"{newest.learned:,}",
            f"{self.rate:,.0f}",
            f"{self.accuracy:.3f}",
            f"{baseline.get('Accuracy', 0.0):.3f}",
            f"{time.time() - self.at:.1f} s",
            str(len(versions)),
        )
        return table


class _Publisher:
    """A thread that appends the data set at `RATE` events a second; after the burst it waits for `go_on`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._stop = threading.Event()
        self._healed = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self.sent = 0
        self.done = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._healed.set()
        self._thread.join(timeout=5)

    def go_on(self) -> None:
        """The labels are sound again."""
        self._healed.set()

    def _publish(self) -> None:
        sink = self._app.sink()
        events = _events()
        while not self._stop.is_set() and (chunk := list(islice(events, CHUNK))):
            sink.append("phishing.events", chunk)
            self.sent += len(chunk)
            self._stop.wait(CHUNK / RATE)
            if self.sent >= SOUND + MISLED:
                self._healed.wait()
        self.done = True
        sink.close()


def _events() -> Iterator[bytes]:
    rows = cycle(list(datasets.Phishing()))
    for number, (x, y) in enumerate(islice(rows, SOUND + MISLED + SOUND_AGAIN)):
        misled = SOUND <= number < SOUND + MISLED and number % 10 < WRONG_IN_TEN
        yield msgspec.json.encode({"id": number, "x": x, "y": bool(y) ^ misled})


def _prepared(folder: Path) -> Path:
    """A fresh folder with the configuration in it; only what an earlier demonstration left is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "headrace.yaml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    state = folder / "var"
    for old in sorted(state.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    state.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "service", "init", "--keep"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own program
    return path


@contextmanager
def _daemon(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / "daemon.log").open("wb") as log:
        command = [sys.executable, "-m", "service", "run"]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)  # noqa: S603 - our own program
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=15)


def _wait_for_model(app: App, daemon: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if app.registry.models.list():
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.1)
    msg = "found no model registered by the daemon; see daemon.log in the demonstration's folder"
    raise HeadraceError(msg)


def _kill_learner(daemon: "subprocess.Popen[bytes]") -> None:
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def _newest(app: App) -> Checkpoint:
    champion = app.registry.models.get("phishing").champion
    if champion is None:
        msg = "found no champion of phishing"
        raise HeadraceError(msg)
    return app.registry.checkpoints.newest_first(champion)[0]


def _conclude(app: App, console: Console, folder: Path) -> None:
    console.print()
    for entry in app.registry.history.audit("phishing"):
        console.print(f"  {entry.at:%H:%M:%S}  {entry.actor:8} {entry.action:12} {entry.reason}")
    history = app.metric_history("phishing", HistoryQuery(["Accuracy"]))
    console.print()
    console.print(curve.chart(history, "Accuracy", width=console.width))
    try:
        curve.write_png(history, folder / "accuracy.png")
        console.print(f"\nThe same as a picture: {folder / 'accuracy.png'}")
    except ConfigurationError:
        console.print("\nWith `pip install headrace\\[plot]` it is a picture as well.")
    program = shutil.which("headrace") or Path(sys.executable).with_name("headrace")
    console.print(f"\nThe configuration is {folder / 'headrace.yaml'}: change it, then", soft_wrap=True)
    console.print(f"  cd {folder} && {program} run", markup=False, highlight=False, soft_wrap=True)
