"""The ids that were labelled lately, and how; independent of where batches begin and end."""

from collections.abc import Iterable
from operator import itemgetter

from service.domain.events import EventId, Label

SLACK = 64


class Settled:
    """The labels of the last `window` ids that were labelled; older ones are forgotten by number, not by chance."""

    def __init__(self, window: int, labels: Iterable[tuple[EventId, Label]] = ()) -> None:
        self._window = window
        self._labels: dict[EventId, tuple[int, Label]] = {}
        self._serial = 0
        for key, y in labels:
            self.add(key, y)

    def add(self, key: EventId, y: Label) -> None:
        """It is labelled now."""
        self._serial += 1
        self._labels[key] = (self._serial, y)
        if len(self._labels) > 2 * self._window + SLACK:
            self._labels = {one: kept for one, kept in self._labels.items() if self._remembers(kept)}

    def get(self, key: EventId) -> Label | None:
        """Its label, if it is among the last."""
        found = self._labels.get(key)
        return None if found is None or not self._remembers(found) else found[1]

    def state(self) -> list[tuple[EventId, Label]]:
        """Oldest first."""
        kept = [(serial, key, y) for key, (serial, y) in self._labels.items() if self._remembers((serial, y))]
        return [(key, y) for _, key, y in sorted(kept, key=itemgetter(0))]

    def _remembers(self, settled: tuple[int, Label]) -> bool:
        return settled[0] > self._serial - self._window
