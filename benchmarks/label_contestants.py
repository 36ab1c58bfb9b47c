"""Contestants whose labels come later; each is a whole learner over a stream made in memory."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry

from benchmarks.labelled import LabelledSource
from benchmarks.laps import Lap, Stopwatch
from benchmarks.machine import resident_bytes
from service.bootstrap import open_app
from service.cli.context import set_up_logging
from service.config import load_settings
from service.metrics.learner import PrometheusTelemetry
from service.operations.learning_loop.worker import LearnOptions
from service.testing.services import with_parts


class _Count(PrometheusTelemetry):
    """Telemetry that stops the learner after `events` events, and the watch at the last commit."""

    def __init__(self, watch: Stopwatch, stop: threading.Event, *, events: int) -> None:
        super().__init__(CollectorRegistry())
        self.learned = 0
        self._watch, self._stop, self._events = watch, stop, events

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Count what was learned, and stop the learner at the end."""
        super().batch_learned(model, counts, seconds)
        self.learned += counts["learned"]
        if self.learned >= self._events:
            self._stop.set()

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """Stop the watch; the last commit decides."""
        super().checkpoint_committed(model, seconds, size_bytes=size_bytes)
        self._watch.stop()


class _Sustain(_Count):
    """Telemetry that stops the learner `seconds` after the pace began, and samples its resident size."""

    def __init__(self, stop: threading.Event, source: LabelledSource, *, seconds: float) -> None:
        super().__init__(Stopwatch(), stop, events=10**12)
        self._source, self._seconds = source, seconds
        self.sizes: list[int] = []
        self.at_first = 0

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Sample the resident size once a second from when the pace began."""
        super().batch_learned(model, counts, seconds)
        if self._source.began is None:
            self.at_first = self.learned
            return
        passed = time.monotonic() - self._source.began
        if passed > len(self.sizes):
            self.sizes.append(resident_bytes())
        if passed > self._seconds:
            self._stop.set()


def labelled(*, events: int, folder: str, labels: bool, lead: int) -> Iterator[Lap]:
    """Learn `events` events, with their labels in them or `lead` events later as records of their own."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    watch, stop = Stopwatch(), threading.Event()
    telemetry = _Count(watch, stop, events=events)
    source = LabelledSource(lead=lead if labels else 0, labels=labels, events=events)
    with open_app(settings, telemetry=telemetry) as app:
        host = app.worker([], LearnOptions(), stop=stop, nonce="benchmark")
        host.services = with_parts(host.services, source=lambda _group: source)
        watch.start()
        host.run()
    yield watch.lap(telemetry.learned, accuracy=0.0)


def sustained(*, folder: str, lead: int, rate: float, seconds: float) -> Iterator[Lap]:
    """Learn at a rate with `lead` events waiting for labels.

    The lap's sizes are the medians of the first and the last tenth in bytes, and then the number of events behind.
    """
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    stop = threading.Event()
    source = LabelledSource(lead=lead, rate=rate)
    telemetry = _Sustain(stop, source, seconds=seconds)
    with open_app(settings, telemetry=telemetry) as app:
        host = app.worker([], LearnOptions(), stop=stop, nonce="benchmark")
        host.services = with_parts(host.services, source=lambda _group: source)
        host.run()
    sizes = telemetry.sizes
    tenth = max(len(sizes) // 10, 1)
    early, late = (sorted(part)[len(part) // 2] for part in (sizes[:tenth], sizes[-tenth:]))
    behind = source.told - telemetry.learned
    learned = telemetry.learned - telemetry.at_first
    yield Lap(learned, seconds, 0.0, 0.0, (float(early), float(late), float(behind)))
