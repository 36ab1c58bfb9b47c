"""Measure replaying a model's history beside learning from memory, and the cost of a rollback in restore mode."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.claims import Claim, of_largest, of_medians
from benchmarks.events import chunks, encoded_events, model
from benchmarks.laps import contestant
from benchmarks.recovery import RATE, Daemon, publishing, running_daemon
from service.bootstrap import App
from service.domain.registry.registry import CommandKind
from tests.acceptance.harness import Deployment, wait_until

LAP = 100_000
ROUNDS = 5
AROUND_S = 3.0


def measure(events: int) -> list[Claim]:
    """Run replays and laps from memory in turn; then rollbacks while events arrive at a steady rate."""
    rounds = ROUNDS if events > LAP else 1
    return [*_rates(min(LAP, events), rounds), *_rollbacks(rounds)]


def _rates(lap: int, rounds: int) -> list[Claim]:
    with TemporaryDirectory() as name, ExitStack() as stack:
        deployment = Deployment(Path(name), model=model())
        for chunk in chunks(encoded_events(lap)):
            deployment.publish(chunk)
        deployment.command("learn", "--until-end")
        memory = stack.enter_context(contestant("in_memory", events=lap, metrics=["Accuracy"]))
        again = stack.enter_context(contestant("replayed", events=lap, folder=name))
        laps = [(memory.lap(), again.lap()) for _ in range(rounds)]
    return [
        of_medians("replay from the embedded log", [found.rate for _, found in laps], unit="events/s"),
        of_medians(
            "replay / the learner's path in memory",
            [found.rate / base.rate for base, found in laps],
            at_least=0.9,
            note=f"{lap:,} events from the first version on, order journal, checkpoints and take-over included",
        ),
    ]


def _rollbacks(rounds: int) -> list[Claim]:
    with TemporaryDirectory() as name:
        deployment = Deployment(Path(name), model=model())
        with publishing(deployment), running_daemon(deployment) as daemon, deployment.app() as app:
            wait_until(lambda: daemon.learned() > 2 * RATE, timeout_s=60)
            deployment.command("model", "snapshot", "phishing")
            asked = [_rolled_back(daemon, app, lambda: _asked(app)) for _ in range(rounds)]
            typed = [_rolled_back(daemon, app, lambda: _typed(deployment)) for _ in range(rounds)]
    return [
        of_largest("restoring rollback, asked to new champion", [one for one, _ in asked], unit="s", at_most=2.0),
        of_largest(
            "longest time without learning around it",
            [stood for _, stood in (*asked, *typed)],
            unit="s",
            at_most=1.0,
            note=f"{RATE:,} events arrive a second",
        ),
        of_largest("restoring rollback, command line's own start included", [one for one, _ in typed], unit="s"),
    ]


def _asked(app: App) -> None:
    app.run_command("phishing", CommandKind.ROLLBACK, {"to": "2"}, actor="benchmark")


def _typed(deployment: Deployment) -> None:
    deployment.command("model", "rollback", "phishing", "--to", "2")


def _rolled_back(daemon: Daemon, app: App, ask: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds until the champion changed, and the longest time without learning around it."""
    before = app.registry.models.get("phishing").champion
    seconds: list[float] = []
    began = time.monotonic()

    def looked() -> bool:
        if not seconds and app.registry.models.get("phishing").champion != before:
            seconds.append(time.monotonic() - began)
        return bool(seconds)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        stood = _longest_stand(daemon, looked)
        asking.result()
    return seconds[0], stood


def _longest_stand(daemon: Daemon, looked: Callable[[], bool]) -> float:
    """Return the longest time without learning until shortly after the change."""
    learned, since, longest, end = daemon.learned(), time.monotonic(), 0.0, None
    while end is None or time.monotonic() < end:
        now, found = time.monotonic(), daemon.learned()
        if found != learned:
            learned, since = found, now
        longest = max(longest, now - since)
        if end is None and looked():
            end = time.monotonic() + AROUND_S
    return longest
