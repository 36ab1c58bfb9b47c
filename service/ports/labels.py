"""TODO docstring of service/ports/labels.py"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from service.domain.registry.registry import DeadLetter, Lease, LineageId, SealedBytes
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.events import RefusalReason
from service.domain.stream.pending import OutboxRecords, PendingRow


class PendingEvents(Protocol):
    """Events that wait for labels, and labels for events; written by commits."""

    def find(self, lineage: LineageId, keys: Sequence[bytes]) -> Sequence[PendingRow]:
        """Those of the keys that wait."""
        ...

    def stream_all(self, lineage: LineageId) -> AbstractContextManager[Iterator[Sequence[PendingRow]]]:
        """All that wait when it is entered, a chunk at a time, whatever is committed meanwhile."""
        ...

    def save_snapshot(self, lease: Lease, sequence: int, snapshot: SealedBytes) -> None:
        """All that waited by that commit, beside its checkpoint, if that is still there."""
        ...

    def count(self, lineage: LineageId) -> int:
        """How many wait."""
        ...


class Outbox(Protocol):
    """Predictions that are durable and still to be sent; written by commits."""

    def unsent(self, name: str, *, limit: int) -> Sequence[OutboxRecords]:
        """Of every lineage of the model, oldest first."""
        ...

    def mark_sent(self, ids: Sequence[int]) -> None:
        """Forget them."""
        ...


class DriftSignals(Protocol):
    """What a model's monitors have found; written by commits, the newest are kept."""

    def newest_first(self, name: str, *, monitor: str | None = None, limit: int) -> Sequence[DriftSignal]:
        """Of every lineage of the model, of one monitor or of all."""
        ...


class DeadLetters(Protocol):
    """Refused events; written by commits, read and marked here."""

    def list(
        self, name: str, *, limit: int, reason: RefusalReason | None = None, before: int | None = None
    ) -> Sequence[DeadLetter]:
        """Newest first, of those with a smaller number than `before`."""
        ...

    def get(self, name: str, number: int) -> DeadLetter:
        """NotFoundError."""
        ...

    def counts(self, name: str) -> Mapping[RefusalReason, int]:
        """Kept dead letters by reason."""
        ...
