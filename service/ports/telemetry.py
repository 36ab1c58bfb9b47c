"""TODO docstring of service/ports/telemetry.py"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition


class ServingTelemetry(Protocol):
    """What a server tells."""

    def predictions_served(self, model: str, count: int, seconds: float) -> None:
        """A request for predictions was answered."""
        ...

    def request_completed(self, route: str, status: int) -> None:
        """Any request was; `route` is one of the program's own."""
        ...

    def state_opened(self, model: str, version: int, seconds: float) -> None:
        """A state stands for its model now, and took so long to open."""
        ...

    def freshness_measured(self, model: str, seconds: float) -> None:
        """So long after it was appended, the oldest record of a new state can be part of a prediction."""
        ...

    def state_unreadable(self, model: str) -> None:
        """A state could not be read; the one before stays."""
        ...

    def service_unreachable(self, service: str) -> None:
        """A service could not be reached."""
        ...


class IngestionTelemetry(Protocol):
    """What is told of records that came over HTTP."""

    def records_ingested(self, model: str, kind: str, *, outcome: str, count: int) -> None:
        """`kind` is events, labels or predictions; `outcome` accepted, refused, overloaded or unavailable."""
        ...


class ServerTelemetry(ServingTelemetry, IngestionTelemetry, Protocol):
    """All that a server tells."""


class LearnerTelemetry(Protocol):
    """What is told to the outside, a batch or a checkpoint at a time."""

    def batch_learned(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """One batch was learned."""
        ...

    def labels_received(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Labels came: how many met which fate, and how long after their events those that joined."""
        ...

    def events_refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Events became dead letters."""
        ...

    def checkpoint_committed(self, model: str, seconds: float, *, size_bytes: int) -> None:
        """A commit is durable."""
        ...

    def checkpoint_metrics(self, model: str, metrics: CheckpointMetrics) -> None:
        """What a checkpoint says of the model."""
        ...

    def lag_measured(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Events not yet learned, and whether any are; twice a second, also where nothing is learned."""
        ...

    def champion_changed(self, model: str, version: int) -> None:
        """Which version serves."""
        ...

    def service_unreachable(self, service: str) -> None:
        """A service could not be reached."""
        ...

    def challenger_promoted(self, model: str) -> None:
        """A challenger took over."""
        ...

    def rollback_done(self, model: str) -> None:
        """A rollback was carried out."""
        ...


class ArchiveTelemetry(Protocol):
    """What the archiver tells, a file at a time."""

    def records_archived(self, at: TopicPartition, *, records: int, size_bytes: int, seconds: float) -> None:
        """Records became durable; `size` is that of the partition's archive."""
        ...

    def archive_lag_measured(self, lag: Mapping[TopicPartition, int]) -> None:
        """Records not yet durable in the archive."""
        ...

    def service_unreachable(self, service: str) -> None:
        """A service could not be reached."""
        ...


class JobTelemetry(Protocol):
    """What the trainer tells."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """A training job has come to an end."""
        ...

    def service_unreachable(self, service: str) -> None:
        """A service could not be reached."""
        ...


class RoleTelemetry(LearnerTelemetry, ArchiveTelemetry, JobTelemetry, Protocol):
    """What a role tells, whatever it is."""
