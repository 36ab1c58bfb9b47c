"""Telemetry that goes nowhere."""

from collections.abc import Mapping, Sequence

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition


class NullTelemetry:
    """Implements `ports.Telemetry`; for commands that run once."""

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Nothing."""

    def labels_received(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Nothing."""

    def events_refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Nothing."""

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """Nothing."""

    def checkpoint_metrics(self, model: str, metrics: CheckpointMetrics) -> None:
        """Nothing."""

    def lag_measured(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Nothing."""

    def champion_changed(self, model: str, version: int) -> None:
        """Nothing."""

    def service_unreachable(self, service: str) -> None:
        """Nothing."""

    def challenger_promoted(self, model: str) -> None:
        """Nothing."""

    def rollback_done(self, model: str) -> None:
        """Nothing."""

    def records_archived(self, at: TopicPartition, *, records: int, size_bytes: int, seconds: float) -> None:
        """Nothing."""

    def archive_lag_measured(self, lag: Mapping[TopicPartition, int]) -> None:
        """Nothing."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """Nothing."""
