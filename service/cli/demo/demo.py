"""`headrace demo`: a model learns, is killed, falls behind a changed stream, is replaced, misled and rolled back."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from service.bootstrap import App, open_app
from service.cli.context import report_errors
from service.cli.demo.screen import MODEL, DemoScreen, Timeline
from service.cli.demo.stream import WRONG_IN_TEN, DemoPublisher, Phase
from service.cli.plotting import curve, picture_file
from service.config import load_settings
from service.domain.registry.challenger import ChallengerStage
from service.domain.registry.metric_history import HistoryQuery
from service.domain.registry.registry import CommandKind
from service.domain.specification.monitor import MonitorState
from service.domain.training.jobs import FINAL_STATES, JobState
from service.errors import ConfigurationError, HeadraceError

SNAPSHOT_AT, KILLED_AT, CHANGED_AT = 8_000, 11_000, 18_000
MISLED_EVENTS, RECOVERY_EVENTS = 8_000, 8_000

CONFIGURATION = """\
# The configuration of the demonstration; change it and run `headrace run` in this folder.
storage:
  url: sqlite:///var/headrace.db
  artifacts: var/artifacts
  archive: var/archive
  key_file: var/headrace.key
stream:
  kind: log
  log: {path: var/log.db, retention: 30d}
archive: {every: 1s}
models:
  - name: phishing
    task: binary
    events: phishing.events
    estimator:                      # its steps become smaller and smaller: good as long as the world stands still
      - preprocessing.StandardScaler
      - linear_model.LogisticRegression:
          optimizer: {optim.SGD: {lr: {optim.schedulers.InverseScaling: {learning_rate: 0.1, power: 0.7}}}}
    metrics: [Accuracy, F1, ROCAUC]
    checkpoint: {every: 1s}
    drift:
      - {name: quality, on: "metric:Accuracy", window: 1000, below: 0.7}
    retrain:
      check: 1s
      cooldown: 10m
      window: {events: 3000}
      split: {kind: time, train: 0.7, validation: 0.15, test: 0.15}
      candidates:
        - name: tree
          estimator: {tree.HoeffdingTreeClassifier: {grace_period: {int: [50, 200]}}}
        - name: logistic
          estimator:
            - preprocessing.StandardScaler
            - linear_model.LogisticRegression:
                optimizer: {optim.SGD: {lr: {log_uniform: [0.005, 0.1]}}}
      budget: {trials: 6, max_runtime: 10m}
    promote:
      loss: zero_one
      shadow: {min_events: 1000, max_events: 40000}
      probation: {events: 2560}
"""


def demo(folder: Path) -> None:
    """Watch a real model survive SIGKILL, be replaced by a better one when the world changes, and be rolled back."""
    console = Console()
    with report_errors(), open_app(load_settings(_prepare(folder))) as app, _daemon(folder) as daemon:
        _wait_for_model(app, daemon)
        with Live(console=console, refresh_per_second=4) as live, DemoPublisher(app) as published:
            play = _Demonstration(app, daemon, folder, DemoScreen(app, live, Timeline()), published)
            for act in (
                play.learn,
                play.survive_kill,
                play.change_concept,
                play.promote_challenger,
                play.publish_wrong_labels,
                play.replay_without_burst,
            ):
                act()
        _print_summary(app, console, folder)


@dataclass
class _Demonstration:
    """The acts of the demonstration; each ends when the effect that it shows is durable."""

    app: App
    daemon: "subprocess.Popen[bytes]"
    folder: Path
    screen: DemoScreen
    publisher: DemoPublisher
    misled_from: int = 0

    def learn(self) -> None:
        """Learn from nothing, and take a snapshot."""
        self._add_line("river's Phishing data set streams into the embedded log; the learner has never seen it")
        self.screen.redraw_until(lambda: self.screen.learned > SNAPSHOT_AT)
        version = self.app.run_command(MODEL, CommandKind.SNAPSHOT, {"reason": "demo"}, actor="demo")
        self._add_line(f"snapshot: {version}, accuracy {self.screen.accuracy:.3f} over the last 1,000 events")

    def survive_kill(self) -> None:
        """Kill the daemon's children by SIGKILL, and wait until learning goes on."""
        self.screen.redraw_until(lambda: self.screen.learned > KILLED_AT)
        before, killed = self.screen.learned, time.monotonic()
        _kill_roles(self.daemon)
        self._add_line(f"[red]SIGKILL[/red] to every process after {before:,} durable events")
        self.screen.redraw_until(lambda: self.screen.learned > before)
        self._add_line(
            f"[green]learning again[/green] {time.monotonic() - killed:.1f} s later, nothing lost or repeated"
        )

    def change_concept(self) -> None:
        """Invert the labels, and wait until a monitor signals drift and a job is requested."""
        self.screen.redraw_until(lambda: self.screen.learned > CHANGED_AT)
        accuracy_before = self.screen.accuracy
        self.publisher.switch_to(Phase.SECOND)
        self._add_line("[red]the world changes[/red]: from now on every label means the opposite")
        self.screen.redraw_until(lambda: (one := self.screen.monitor) is not None and one.state is MonitorState.DRIFT)
        monitor = self.screen.monitor
        assert monitor is not None
        value, limit = monitor.value or 0.0, monitor.threshold or 0.0
        self._add_line(
            f"[yellow]drift[/yellow]: accuracy {value:.3f} crosses {limit:.3f}, it was {accuracy_before:.3f}"
        )
        self.screen.redraw_until(lambda: self.screen.job() is not None)
        job = self.screen.job()
        assert job is not None
        self._add_line(f"the trainer asks for job {job.id}: {job.reason}")

    def promote_challenger(self) -> None:
        """Wait until the job's candidate has challenged the champion and replaced it."""
        self.screen.redraw_until(lambda: (job := self.screen.job()) is not None and job.state in FINAL_STATES)
        job = self.screen.job()
        assert job is not None
        if job.state is not JobState.COMPLETED:
            msg = f"found job {job.id} {job.state}, expected it Completed; see `headrace job logs {job.id}`"
            raise HeadraceError(msg)
        self._add_line(f"job {job.id} is done: version {job.version} challenges")
        self.screen.redraw_until(self._is_promoted)
        won = [one for one in self.app.registry.history.audit(MODEL) if one.action == "promote"][-1]
        found = won.evidence
        self._add_line(
            f"[green]version {won.to_version} takes over[/green]: over {found['events']:,} live events it was wrong in "
            f"{found['challenger_loss']:.1%}, the champion in {found['champion_loss']:.1%}"
        )
        self.screen.redraw_until(lambda: self.screen.challenger() is None)
        self._add_line(f"the old champion's probation is over; accuracy {self.screen.accuracy:.3f}")

    def publish_wrong_labels(self) -> None:
        """Publish a burst of wrong labels, and wait until it is learned."""
        accuracy_before, self.misled_from = self.screen.accuracy, self.publisher.switch_to(Phase.MISLED)
        self._add_line(f"[red]a burst of wrong labels[/red]: {WRONG_IN_TEN} of 10 say the opposite")
        self.screen.redraw_until(lambda: self.publisher.sent >= self.misled_from + MISLED_EVENTS)
        ended = self.publisher.pause()
        self.screen.redraw_until(lambda: self.screen.offset == ended)
        self._add_line(
            f"accuracy {self.screen.accuracy:.3f}, it was {accuracy_before:.3f}: the model has learned the lie"
        )

    def replay_without_burst(self) -> None:
        """Roll back by replaying history without the burst, and wait for the recovery."""
        ended = self.publisher.sent
        self._add_line(
            f"[yellow]rollback[/yellow] that leaves out events {self.misled_from:,} to {ended:,}: history is replayed"
        )
        self._roll_back(f"{self.misled_from}..{ended}")
        newest = self.app.registry.history.versions(MODEL)[-1].number
        self._add_line(f"version {newest} takes over: it has never seen the burst")
        self.publisher.switch_to(Phase.SECOND)
        self.screen.redraw_until(lambda: self.publisher.sent >= ended + RECOVERY_EVENTS)
        sent = self.publisher.pause()
        self.screen.redraw_until(lambda: self.screen.offset == sent)
        self._add_line(
            f"accuracy {self.screen.accuracy:.3f} again after {sent:,} events, "
            f"{ended - self.misled_from:,} of them left out"
        )
        self.screen.redraw_until(lambda: True)

    def _add_line(self, text: str) -> None:
        self.screen.timeline.add(text)

    def _is_promoted(self) -> bool:
        newest = self.screen.challenger(finished=True)
        if newest is not None and newest.stage in {ChallengerStage.REJECTED, ChallengerStage.DROPPED}:
            msg = f"found the challenger {newest.stage}: {newest.reason}; see `headrace model history {MODEL}`"
            raise HeadraceError(msg)
        return any(one.action == "promote" for one in self.app.registry.history.audit(MODEL))

    def _roll_back(self, range_text: str) -> None:
        """Run the rollback command and wait for it, while nothing is published."""
        arguments = ["model", "rollback", MODEL, "--mode", "replay", "--exclude", range_text]
        command = [sys.executable, "-m", "service", *arguments, "--reason", "burst of wrong labels"]
        with (self.folder / "rollback.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)  # noqa: S603 - our own program
            self.screen.redraw_until(lambda: process.poll() is not None)
        if process.returncode:
            msg = f"the rollback exited {process.returncode}; see {self.folder / 'rollback.log'}"
            raise HeadraceError(msg)


def _prepare(folder: Path) -> Path:
    """Return the configuration in a clean folder; only what an earlier demonstration left is removed."""
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
            process.wait(timeout=60)


def _wait_for_model(app: App, daemon: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if app.registry.models.list():
            return
        if daemon.poll() is not None:
            break
        time.sleep(0.1)
    msg = "found no model registered by the daemon; see daemon.log in the demonstration's folder"
    raise HeadraceError(msg)


def _kill_roles(daemon: "subprocess.Popen[bytes]") -> None:
    """Kill the daemon's roles by SIGKILL; the processes that the trainer started die with it."""
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def _print_summary(app: App, console: Console, folder: Path) -> None:
    console.print()
    for entry in app.registry.history.audit(MODEL):
        console.print(f"  {entry.at:%H:%M:%S}  {entry.actor:8} {entry.action:12} {entry.reason}")
    history = app.metric_history(MODEL, HistoryQuery(["Accuracy"]))
    console.print()
    console.print(curve.chart(history, "Accuracy", width=console.width))
    try:
        picture_file.write_png(history, folder / "accuracy.png")
        console.print(f"\nThe same as a picture: {folder / 'accuracy.png'}")
    except ConfigurationError:
        console.print("\nWith `pip install headrace\\[plot]` it is a picture as well.")
    program = shutil.which("headrace") or Path(sys.executable).with_name("headrace")
    console.print(f"\nThe configuration is {folder / 'headrace.yaml'}: change it, then", soft_wrap=True)
    console.print(f"  cd {folder} && {program} run", markup=False, highlight=False, soft_wrap=True)
