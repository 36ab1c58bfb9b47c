"""Telemetry that records nothing."""

from collections.abc import Mapping, Sequence

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition


class NullTelemetry:
    """Implements `ports.telemetry.RoleTelemetry`, for commands that run once."""

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Record nothing."""

    def labels_received(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Record nothing."""

    def events_refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Record nothing."""

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """Record nothing."""

    def checkpoint_metrics(self, model: str, metrics: CheckpointMetrics) -> None:
        """Record nothing."""

    def lag_measured(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Record nothing."""

    def champion_changed(self, model: str, version: int) -> None:
        """Record nothing."""

    def service_unreachable(self, service: str) -> None:
        """Record nothing."""

    def challenger_promoted(self, model: str) -> None:
        """Record nothing."""

    def rollback_done(self, model: str) -> None:
        """Record nothing."""

    def records_archived(self, at: TopicPartition, *, records: int, size_bytes: int, seconds: float) -> None:
        """Record nothing."""

    def archive_lag_measured(self, lag: Mapping[TopicPartition, int]) -> None:
        """Record nothing."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """Record nothing."""
