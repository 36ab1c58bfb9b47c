"""Publish the demonstration's stream: a data set over and over, whose labels are inverted and then falsified."""

import threading
from collections.abc import Iterator
from enum import StrEnum
from itertools import cycle, islice
from typing import Self

import msgspec
import numpy as np
from river import datasets

from service.bootstrap import App

TOPIC = "phishing.events"
EVENTS_PER_S = 2000
CHUNK_EVENTS = 100
NOISE = 0.05
"""Standard deviation of the noise added to each value.

Without it the data set's 1,250 rows would be duplicates of each other when they come again.
"""
WRONG_IN_TEN = 7


class Phase(StrEnum):
    """What a label means."""

    FIRST = "phishing"
    SECOND = "no phishing"
    MISLED = "mostly the opposite of that"


class DemoPublisher:
    """A thread that publishes `EVENTS_PER_S` events a second, with the labels of the current phase."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._phase = Phase.FIRST
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._running.set()
        self._thread.join(timeout=5)

    def switch_to(self, phase: Phase) -> int:
        """Begin a phase, and return the offset of its first event."""
        with self._lock:
            self._phase = phase
            self._running.set()
            return self.sent

    def pause(self) -> int:
        """Publish nothing until the next phase, and return the offset after the last event."""
        with self._lock:
            self._running.clear()
            return self.sent

    def _publish(self) -> None:
        sink, events = self._app.sink(), self._events()
        while not self._stop.wait(CHUNK_EVENTS / EVENTS_PER_S):
            self._running.wait()
            with self._lock:
                chunk = list(islice(events, CHUNK_EVENTS))
                sink.append(TOPIC, chunk)
                self.sent += len(chunk)
        sink.close()

    def _events(self) -> Iterator[bytes]:
        chance = np.random.default_rng(1)
        for number, (x, y) in enumerate(cycle(list(datasets.Phishing()))):
            noise = chance.normal(0, NOISE, len(x)).tolist()
            noisy = {name: round(x[name] + one, 4) for name, one in zip(x, noise, strict=True)}
            label = bool(y)
            if self._phase is not Phase.FIRST:
                label = not label
            if self._phase is Phase.MISLED and number % 10 < WRONG_IN_TEN:
                label = not label
            yield msgspec.json.encode({"id": number, "x": noisy, "y": label})
