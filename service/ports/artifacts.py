"""Protocols of estimators, the artifact store, signing, and the crash marker."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from service.domain.stream.events import Features, Label
from service.domain.stream.position import OffsetRange, Position


class Estimator(Protocol):
    """River's protocol, which is all that a user's own estimator needs."""

    def predict_one(self, x: Features) -> Label | None:
        """Return the prediction for one event, or None before it can predict."""
        ...

    def learn_one(self, x: Features, y: Label) -> None:
        """Learn one event."""
        ...


class ArtifactStore(Protocol):
    """Stores bytes under their digest."""

    def put(self, digest: str, data: bytes) -> None:
        """Store the bytes durably; storing the same digest again changes nothing."""
        ...

    def get(self, digest: str) -> bytes:
        """Return the bytes, or raise NotFoundError."""
        ...

    def digests(self, *, older_than_s: float = 0.0) -> Sequence[str]:
        """Return the digests that were stored at least `older_than_s` seconds ago."""
        ...

    def delete(self, digest: str) -> None:
        """Delete the bytes if they exist."""
        ...


class VerifiedArtifact(Protocol):
    """An artifact with a valid signature."""

    @property
    def payload(self) -> bytes:
        """Return the bytes that were sealed."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the package versions with which it was sealed."""
        ...


class Sealer(Protocol):
    """Signs states, and verifies what it has signed."""

    def seal(self, payload: bytes, *, model: str, lineage: str, position: Position) -> bytes:
        """Return the signed container."""
        ...

    def open(self, sealed: bytes) -> VerifiedArtifact:
        """Return the verified artifact, or raise UnsignedError or TamperedError."""
        ...

    def digest(self, sealed: bytes) -> str:
        """Return the SHA-256 digest in hexadecimal."""
        ...


class CrashMarker(Protocol):
    """Marks the records being learned where the mark survives the process."""

    def mark(self, run: OffsetRange) -> None:
        """Mark the records; costs next to nothing, and survives the death of the process but not of the host."""
        ...

    def unmark(self) -> None:
        """Remove the mark, because the records were learned."""
        ...

    def suspects(self) -> Mapping[OffsetRange, int]:
        """Return the marked records during which the process died, and how often each time."""
        ...

    def clear(self) -> None:
        """Forget all suspects, because the lineage has learned past them."""
        ...
