"""Remembers which ids were labelled lately and how, independent of where batches begin and end."""

from collections.abc import Mapping
from typing import Any

from service.domain.stream.events import EventId, Label

PRUNE_SLACK = 64


class RecentLabels:
    """The labels of the last `window` ids that were labelled; older ones are forgotten by serial number."""

    def __init__(self, window: int, state: Mapping[str, Any] | None = None) -> None:
        self._window = window
        self._labels: dict[EventId, tuple[int, Label]] = {}
        self._serial = 0
        if state:
            self._serial = state["serial"]
            self._labels = {key: (serial, y) for key, serial, y in state["labels"]}

    def add(self, key: EventId, y: Label) -> None:
        """Remember the label of an id that is labelled now."""
        self._serial += 1
        self._labels[key] = (self._serial, y)
        if len(self._labels) > 2 * self._window + PRUNE_SLACK:
            self._labels = {one: kept for one, kept in self._labels.items() if self._remembers(kept)}

    def discard(self, key: EventId) -> None:
        """Forget the label, because a new event of this id waits."""
        self._labels.pop(key, None)

    def get(self, key: EventId) -> Label | None:
        """Return the id's label, or None if it is not among the last."""
        found = self._labels.get(key)
        return None if found is None or not self._remembers(found) else found[1]

    def state(self) -> dict[str, Any]:
        """Return plain values for msgpack."""
        kept = [(key, serial, y) for key, (serial, y) in self._labels.items() if self._remembers((serial, y))]
        return {"serial": self._serial, "labels": kept}

    def _remembers(self, serial_and_label: tuple[int, Label]) -> bool:
        return serial_and_label[0] > self._serial - self._window
