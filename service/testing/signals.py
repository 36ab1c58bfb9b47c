"""The in-memory twin of the drift signals."""

from collections.abc import Sequence
from dataclasses import replace

from service.domain.registry.registry import Lease
from service.domain.specification.monitor import MAX_SIGNALS, DriftSignal


class MemoryDriftSignals:
    """Implements `ports.labels.DriftSignals`; tests call `commit` with what a checkpoint's commit would write."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, DriftSignal]] = []
        self._last_id = 0

    def commit(self, name: str, lease: Lease, signals: Sequence[DriftSignal]) -> None:
        """Store the signals with an id each, and delete the model's oldest past the limit."""
        for one in signals:
            self._last_id += 1
            stored = replace(one, id=self._last_id, lineage=lease.lineage, created_at=lease.expires_at)
            self._rows.append((name, stored))
        expired = {one.id for one in self._of_model(name)[:-MAX_SIGNALS]}
        self._rows = [(model, one) for model, one in self._rows if one.id not in expired]

    def newest_first(self, name: str, *, monitor: str | None = None, limit: int) -> Sequence[DriftSignal]:
        """Return signals of every lineage of the model, of one monitor or of all."""
        return [one for one in reversed(self._of_model(name)) if monitor in {None, one.monitor}][:limit]

    def _of_model(self, name: str) -> list[DriftSignal]:
        return [one for model, one in self._rows if model == name]
