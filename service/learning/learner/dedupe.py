"""Remembers which ids were learned lately, independent of where batches begin and end."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from service.domain.stream.events import EventId


class IdDeduplicator:
    """Remembers the last `window` accepted ids; a window of 0 remembers nothing."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._order: list[EventId] = []
        self._seen: set[EventId] = set()

    @classmethod
    def restore(cls, window: int, state: Mapping[str, Any]) -> Self:
        """Return the deduplicator that `state` described; a smaller window keeps the newest ids."""
        found = cls(window)
        found._remember(state["ids"])
        return found

    def state(self) -> dict[str, Any]:
        """Return plain values, oldest id first."""
        return {"ids": self._order.copy()}

    def mark_new(self, ids: Sequence[EventId]) -> list[bool] | None:
        """Return whether each id is new, or None when all are, and remember the new ones."""
        if not self._window:
            return None
        distinct = set(ids)
        if len(distinct) == len(ids) and self._seen.isdisjoint(distinct):
            self._remember(ids)
            return None
        return [self._is_new(found) for found in ids]

    def _is_new(self, found: EventId) -> bool:
        if found in self._seen:
            return False
        self._remember((found,))
        return True

    def _remember(self, ids: Sequence[EventId]) -> None:
        self._order.extend(ids)
        self._seen.update(ids)
        excess = len(self._order) - self._window
        if excess > 0:
            self._seen.difference_update(self._order[:excess])
            del self._order[:excess]
