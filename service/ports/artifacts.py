"""TODO docstring of service/ports/artifacts.py"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.stream.events import Features, Label
from service.domain.stream.position import OffsetRange, Position


class Estimator(Protocol):
    """River's protocol, which is all a user's own estimator needs."""

    def predict_one(self, x: Features) -> Label | None:
        """The prediction for one event."""
        ...

    def learn_one(self, x: Features, y: Label) -> None:
        """Learn one event."""
        ...


class ArtifactStore(Protocol):
    """Content-addressed bytes."""

    def put(self, digest: str, data: bytes) -> None:
        """Durable when it returns; storing the same digest twice is one artifact."""
        ...

    def get(self, digest: str) -> bytes:
        """The bytes; NotFoundError where there are none."""
        ...

    def digests(self, *, older_than_s: float = 0.0) -> Sequence[str]:
        """Everything that was stored so long ago."""
        ...

    def delete(self, digest: str) -> None:
        """Forget it; missing is fine."""
        ...


class VerifiedArtifact(Protocol):
    """An artifact whose signature holds."""

    @property
    def payload(self) -> bytes:
        """What was sealed."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Package versions where it was sealed."""
        ...


class Sealer(Protocol):
    """Signs states and opens what it has signed."""

    def seal(self, payload: bytes, *, model: str, lineage: str, position: Position) -> bytes:
        """The signed container."""
        ...

    def open(self, sealed: bytes) -> VerifiedArtifact:
        """UnsignedError or TamperedError where the signature does not hold."""
        ...

    def digest(self, sealed: bytes) -> str:
        """SHA-256, in hexadecimal."""
        ...


class CrashMarker(Protocol):
    """The records being learned, written where it outlives the process."""

    def mark(self, run: OffsetRange) -> None:
        """Costs next to nothing; durable against the death of the process, not of the host."""
        ...

    def unmark(self) -> None:
        """They are learned."""
        ...

    def suspects(self) -> Mapping[OffsetRange, int]:
        """Records during which the process died, as they were marked, and how often."""
        ...

    def clear(self) -> None:
        """Forget; the lineage has got past."""
        ...
