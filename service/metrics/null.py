"""Telemetry that goes nowhere."""

from collections.abc import Mapping, Sequence

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition


class NullTelemetry:
    """Implements `ports.Telemetry`; for commands that run once."""

    def batch(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """Nothing."""

    def labels(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Nothing."""

    def refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Nothing."""

    def checkpoint(self, model: str, seconds: float, *, size: int) -> None:
        """Nothing."""

    def gauges(self, model: str, metrics: CheckpointMetrics) -> None:
        """Nothing."""

    def standing(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Nothing."""

    def champion(self, model: str, version: int) -> None:
        """Nothing."""

    def failure(self, service: str) -> None:
        """Nothing."""

    def promoted(self, model: str) -> None:
        """Nothing."""

    def rolled_back(self, model: str) -> None:
        """Nothing."""

    def archived(self, at: TopicPartition, *, records: int, size: int, seconds: float) -> None:
        """Nothing."""

    def archive_lag(self, lag: Mapping[TopicPartition, int]) -> None:
        """Nothing."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """Nothing."""
