"""Contestants whose labels come later; each a whole host over a stream made in memory."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
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


class _Count(PrometheusTelemetry):
    """Ends the learning after so many events; the watch ends with the last commit."""

    def __init__(self, watch: Stopwatch, stop: threading.Event, *, events: int) -> None:
        super().__init__(CollectorRegistry())
        self.learned = 0
        self._watch, self._stop, self._events = watch, stop, events

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Counts what was learned."""
        super().batch_learned(model, counts, seconds)
        self.learned += counts["learned"]
        if self.learned >= self._events:
            self._stop.set()

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """The last of these is the end."""
        super().checkpoint_committed(model, seconds, size_bytes=size_bytes)
        self._watch.stop()


class _Sustain(_Count):
    """Ends so long after the pace began; keeps the resident size of every second."""

    def __init__(self, stop: threading.Event, source: LabelledSource, *, seconds: float) -> None:
        super().__init__(Stopwatch(), stop, events=10**12)
        self._source, self._seconds = source, seconds
        self.sizes: list[int] = []
        self.at_first = 0

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """A sample a second, from when the pace began."""
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
    """So many events, and their labels `lead` events later where they are records of their own."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    watch, stop = Stopwatch(), threading.Event()
    telemetry = _Count(watch, stop, events=events)
    source = LabelledSource(lead=lead if labels else 0, labels=labels, events=events)
    with open_app(settings, telemetry=telemetry) as app:
        host = app.worker([], LearnOptions(), stop=stop, nonce="benchmark")
        host.services = replace(host.services, source=lambda _group: source)
        watch.start()
        host.run()
    yield watch.lap(telemetry.learned, accuracy=0.0)


def sustained(*, folder: str, lead: int, rate: float, seconds: float) -> Iterator[Lap]:
    """At a pace with `lead` events waiting; sizes are medians of the first and last tenth, then what lags behind."""
    settings = load_settings(Path(folder) / "headrace.yaml")
    set_up_logging(settings, level="warning")
    stop = threading.Event()
    source = LabelledSource(lead=lead, rate=rate)
    telemetry = _Sustain(stop, source, seconds=seconds)
    with open_app(settings, telemetry=telemetry) as app:
        host = app.worker([], LearnOptions(), stop=stop, nonce="benchmark")
        host.services = replace(host.services, source=lambda _group: source)
        host.run()
    sizes = telemetry.sizes
    tenth = max(len(sizes) // 10, 1)
    early, late = (sorted(part)[len(part) // 2] for part in (sizes[:tenth], sizes[-tenth:]))
    behind = source.told - telemetry.learned
    learned = telemetry.learned - telemetry.at_first
    yield Lap(learned, seconds, 0.0, 0.0, (float(early), float(late), float(behind)))
