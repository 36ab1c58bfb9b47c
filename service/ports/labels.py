"""Protocols of pending events, the outbox of predictions, drift signals and dead letters."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from service.domain.registry.registry import DeadLetter, Lease, LineageId, SealedBytes
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.events import RefusalReason
from service.domain.stream.pending import OutboxRecords, PendingRow


class PendingEvents(Protocol):
    """Events that wait for labels, and labels that wait for events; commits write them."""

    def find(self, lineage: LineageId, keys: Sequence[bytes]) -> Sequence[PendingRow]:
        """Return the waiting rows among the keys."""
        ...

    def stream_all(self, lineage: LineageId) -> AbstractContextManager[Iterator[Sequence[PendingRow]]]:
        """Open an iterator over all rows that wait now, in chunks; commits made meanwhile do not change it."""
        ...

    def save_snapshot(self, lease: Lease, sequence: int, snapshot: SealedBytes) -> None:
        """Store the rows pending at that commit beside its checkpoint, if the checkpoint still exists."""
        ...

    def count(self, lineage: LineageId) -> int:
        """Return how many rows wait."""
        ...


class Outbox(Protocol):
    """Durable predictions that are still to be sent; commits write them."""

    def unsent(self, name: str, *, limit: int) -> Sequence[OutboxRecords]:
        """Return the unsent predictions of all lineages of the model, oldest first."""
        ...

    def mark_sent(self, ids: Sequence[int]) -> None:
        """Delete the predictions that were sent."""
        ...


class DriftSignals(Protocol):
    """Signals of a model's monitors; commits write them, and only the newest are kept."""

    def newest_first(self, name: str, *, monitor: str | None = None, limit: int) -> Sequence[DriftSignal]:
        """Return the signals of all lineages of the model, of one monitor or of all."""
        ...


class DeadLetters(Protocol):
    """Refused events; commits write them, and this reads and marks them."""

    def list(
        self, name: str, *, limit: int, reason: RefusalReason | None = None, before: int | None = None
    ) -> Sequence[DeadLetter]:
        """Return dead letters newest first, with ids below `before` if it is given."""
        ...

    def get(self, name: str, number: int) -> DeadLetter:
        """Return one dead letter, or raise NotFoundError."""
        ...

    def counts(self, name: str) -> Mapping[RefusalReason, int]:
        """Return how many dead letters are kept, by reason."""
        ...
