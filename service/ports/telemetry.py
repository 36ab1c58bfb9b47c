"""Protocols by which server, learner, archiver and trainer report metrics."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition


class ServingTelemetry(Protocol):
    """Metrics of serving."""

    def predictions_served(self, model: str, count: int, seconds: float) -> None:
        """Count one prediction request with `count` events, served in `seconds`."""
        ...

    def request_completed(self, route: str, status: int) -> None:
        """Count one HTTP request; `route` is the template of the route, never a raw path."""
        ...

    def state_opened(self, model: str, version: int, seconds: float) -> None:
        """Record that a version now serves its model, and how long its state took to open."""
        ...

    def freshness_measured(self, model: str, seconds: float) -> None:
        """Record the seconds from the append of a state's oldest new record until predictions could use it."""
        ...

    def state_unreadable(self, model: str) -> None:
        """Count a state that could not be read; the previous one keeps serving."""
        ...

    def service_unreachable(self, service: str) -> None:
        """Count a failed attempt to reach a service."""
        ...


class IngestionTelemetry(Protocol):
    """Metrics of records received over HTTP."""

    def records_ingested(self, model: str, kind: str, *, outcome: str, count: int) -> None:
        """Count records of a `kind`: events, labels or predictions.

        `outcome` is accepted, refused, overloaded or unavailable.
        """
        ...


class ServerTelemetry(ServingTelemetry, IngestionTelemetry, Protocol):
    """All metrics of a server."""


class LearnerTelemetry(Protocol):
    """Metrics of learning, reported per batch or checkpoint."""

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Record one learned batch."""
        ...

    def labels_received(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Count labels by outcome; `delays_ms` are the delays behind their events of those that were joined."""
        ...

    def events_refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Count events that became dead letters, by reason."""
        ...

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """Record a durable commit."""
        ...

    def checkpoint_metrics(self, model: str, metrics: CheckpointMetrics) -> None:
        """Publish the metrics of a checkpoint."""
        ...

    def lag_measured(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Publish how many offsets are not learned yet, twice a second, even while nothing is learned."""
        ...

    def champion_changed(self, model: str, version: int) -> None:
        """Publish which version serves."""
        ...

    def service_unreachable(self, service: str) -> None:
        """Count a failed attempt to reach a service."""
        ...

    def challenger_promoted(self, model: str) -> None:
        """Count a promotion of a challenger."""
        ...

    def rollback_done(self, model: str) -> None:
        """Count a rollback."""
        ...


class ArchiveTelemetry(Protocol):
    """Metrics of the archiver, reported per file."""

    def records_archived(self, at: TopicPartition, *, records: int, size_bytes: int, seconds: float) -> None:
        """Record archived records; `size_bytes` is the size of the partition's whole archive."""
        ...

    def archive_lag_measured(self, lag: Mapping[TopicPartition, int]) -> None:
        """Publish how many records are not durable in the archive yet."""
        ...

    def service_unreachable(self, service: str) -> None:
        """Count a failed attempt to reach a service."""
        ...


class JobTelemetry(Protocol):
    """Metrics of the trainer."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """Record the end of a training job."""
        ...

    def service_unreachable(self, service: str) -> None:
        """Count a failed attempt to reach a service."""
        ...


class RoleTelemetry(LearnerTelemetry, ArchiveTelemetry, JobTelemetry, Protocol):
    """Metrics of every background role."""
