"""A stream whose labels come later as records of their own, made while it is read."""

import time
from collections.abc import Mapping, Sequence
from itertools import cycle, islice

import msgspec
from river import datasets

from benchmarks.endless import END
from benchmarks.events import TOPIC
from service.domain.stream.events import Records, TopicPartition
from service.domain.stream.position import OffsetBounds, Position

LABELS = "phishing.labels"


class LabelledSource:
    """Implements `ports.stream.Source`: `lead` events at once, then events with the labels of earlier ones.

    The labels are those of the events `lead` events before. With a `rate` (events a second, and as many labels) no more
    than is due is returned. Without `labels` the events carry their own, and there are no further records.
    """

    def __init__(self, *, lead: int, rate: float | None = None, labels: bool = True, events: int = END) -> None:
        rows = list(datasets.Phishing())
        self._xs = [msgspec.json.encode({"x": x})[1:-1] for x, _ in rows]
        self._ys = [b"true" if y else b"false" for _, y in rows]
        self._lead, self._rate, self._labels, self._events = lead, rate, labels, events
        self.asked = self.told = 0
        self.began: float | None = None

    def bounds(self, topics: Sequence[str], *, since_ms: int | None = None) -> Mapping[TopicPartition, OffsetBounds]:
        """Return bounds from 0 to further than anybody reads."""
        del since_ms
        return {TopicPartition(topic, 0): OffsetBounds(0, END) for topic in topics}

    def assign(self, position: Position) -> None:
        """Begin at 0 whatever the position, since each lap has a registry of its own."""
        del position

    def poll(self, *, timeout_s: float, limit: int) -> Sequence[Records]:
        """Return events, then labels."""
        if self.asked < self._lead:
            return [self._ask(min(limit, self._lead - self.asked))]
        self.began = self.began or time.monotonic()
        count = min(limit // 2, self._due(), self._events - self.asked)
        rest = min(limit // 2, self.asked - self.told) if self._labels and self.asked == self._events else count
        if not count and not (rest and self._labels):
            time.sleep(timeout_s / 20)
            return ()
        found = [self._ask(count)] if count else []
        return [*found, self._tell(rest)] if self._labels else found

    def acknowledge(self, position: Position) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def _due(self) -> int:
        if self._rate is None or self.began is None:
            return END
        return int((time.monotonic() - self.began) * self._rate) - (self.asked - self._lead)

    def _ask(self, count: int) -> Records:
        first, self.asked = self.asked, self.asked + count
        rows = islice(cycle(zip(self._xs, self._ys, strict=True)), first % len(self._xs), None)
        chosen = enumerate(islice(rows, count), start=first)
        if self._labels:
            values = [b'{"id":%d,%b}' % (number, x) for number, (x, _) in chosen]
        else:
            values = [b'{"id":%d,%b,"y":%b}' % (number, x, y) for number, (x, y) in chosen]
        return _run(TOPIC, first, values)

    def _tell(self, count: int) -> Records:
        first, self.told = self.told, self.told + count
        ys = islice(cycle(self._ys), first % len(self._ys), None)
        return _run(LABELS, first, [b'{"id":%d,"y":%b}' % (first + i, y) for i, y in enumerate(islice(ys, count))])


def _run(topic: str, first: int, values: list[bytes]) -> Records:
    last = first + len(values)
    return Records(TopicPartition(topic, 0), range(first, last), [int(time.time() * 1000)] * len(values), values, last)
