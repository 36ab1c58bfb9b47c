"""TODO docstring of service/ports/telemetry.py"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.stream.events import TopicPartition


class ServingTelemetry(Protocol):
    """What a server tells."""

    def predicted(self, model: str, count: int, seconds: float) -> None:
        """A request for predictions was answered."""
        ...

    def answered(self, route: str, status: int) -> None:
        """Any request was; `route` is one of the program's own."""
        ...

    def opened(self, model: str, version: int, seconds: float) -> None:
        """A state stands for its model now, and took so long to open."""
        ...

    def fresh(self, model: str, seconds: float) -> None:
        """So long after it was appended, the oldest record of a new state can be part of a prediction."""
        ...

    def unreadable(self, model: str) -> None:
        """A state could not be read; the one before stays."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...


class IngestionTelemetry(Protocol):
    """What is told of records that came over HTTP."""

    def ingested(self, model: str, kind: str, *, outcome: str, count: int) -> None:
        """`kind` is events, labels or predictions; `outcome` accepted, refused, overloaded or unavailable."""
        ...


class ServerTelemetry(ServingTelemetry, IngestionTelemetry, Protocol):
    """All that a server tells."""


class Telemetry(Protocol):
    """What is told to the outside, a batch or a checkpoint at a time."""

    def batch(self, model: str, counts: Mapping[str, int], seconds: float) -> None:
        """One batch was learned."""
        ...

    def labels(self, model: str, outcomes: Mapping[str, int], delays_ms: Sequence[int]) -> None:
        """Labels came: how many met which fate, and how long after their events those that joined."""
        ...

    def refused(self, model: str, reasons: Mapping[str, int]) -> None:
        """Events became dead letters."""
        ...

    def checkpoint(self, model: str, seconds: float, *, size: int) -> None:
        """A commit is durable."""
        ...

    def gauges(self, model: str, metrics: CheckpointMetrics) -> None:
        """What a checkpoint says of the model."""
        ...

    def standing(self, model: str, *, lag: Mapping[TopicPartition, int], frozen: bool) -> None:
        """Events not yet learned, and whether any are; twice a second, also where nothing is learned."""
        ...

    def champion(self, model: str, version: int) -> None:
        """Which version serves."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...

    def promoted(self, model: str) -> None:
        """A challenger took over."""
        ...

    def rolled_back(self, model: str) -> None:
        """A rollback was carried out."""
        ...


class ArchiveTelemetry(Protocol):
    """What the archiver tells, a file at a time."""

    def archived(self, at: TopicPartition, *, records: int, size: int, seconds: float) -> None:
        """Records became durable; `size` is that of the partition's archive."""
        ...

    def archive_lag(self, lag: Mapping[TopicPartition, int]) -> None:
        """Records not yet durable in the archive."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...


class JobTelemetry(Protocol):
    """What the trainer tells."""

    def job_ended(self, model: str, status: str, *, seconds: float) -> None:
        """A training job has come to an end."""
        ...

    def failure(self, service: str) -> None:
        """A service could not be reached."""
        ...


class Telemetries(Telemetry, ArchiveTelemetry, JobTelemetry, Protocol):
    """What a role tells, whatever it is."""
