"""Values that the registry's tests write."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import (
    ChangeOrigin,
    CheckpointCommit,
    DeadLetter,
    Lease,
    LineageId,
    LineageRole,
    LineageSuccession,
    ModelName,
    ModelRegistration,
    SealedState,
    VersionKind,
    VersionNumber,
    VersionSnapshot,
)
from service.domain.stream.events import RefusalReason, TopicPartition
from service.domain.stream.position import OffsetRange, Position
from service.storage.registry import Registry
from service.storage.schema import registry as tables

AT = TopicPartition("events", 0)
NAME = ModelName("phishing")


def digest(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def state(data: bytes, *, offset: int = 0) -> SealedState:
    """Return a state with these bytes."""
    return SealedState(digest(data), data, Position({AT: offset}), offset, CheckpointMetrics({"Accuracy": 0.5}))


def founding(name: str = NAME, *, data: bytes = b"first") -> ModelRegistration:
    """Return the registration of a model with its first version."""
    environment = {"river": "0.26.1"}
    return ModelRegistration(
        ModelName(name), {"name": name}, "spec-1", state(data), environment, ChangeOrigin("ann", "begun")
    )


def founded(registry: Registry, name: str = NAME, *, data: bytes = b"first") -> LineageId:
    """Register a model and return its lineage."""
    champion = registry.models.register(founding(name, data=data)).champion
    assert champion is not None
    return champion


def leased(registry: Registry, *, holder: str = "here", ttl_s: float = 60.0) -> Lease:
    """Register a model and return the lease of its lineage."""
    return registry.leases.acquire(founded(registry), holder=holder, ttl_s=ttl_s)


def commit(lease: Lease, sequence: int = 1, **changes: Any) -> CheckpointCommit:
    """Return a commit of ten events."""
    data = changes.pop("data", f"state {lease.lineage}-{sequence}".encode())
    plain = CheckpointCommit(
        lease=lease,
        sequence=sequence,
        digest=digest(data),
        artifact=data,
        position=Position({AT: sequence * 10}),
        learned=sequence * 10,
        metrics=CheckpointMetrics({"Accuracy": 0.9}),
        order=[OffsetRange("events", 0, sequence * 10 - 10, sequence * 10)],
        scores=b"scores",
        scored=10,
        dead_letters=(),
    )
    return replace(plain, **changes)


def letter(offset: int, reason: RefusalReason = RefusalReason.NOT_JSON) -> DeadLetter:
    """Return a dead letter."""
    return DeadLetter(AT, offset, reason, "found {", b"{", 1)


def succession(lease: Lease, **changes: Any) -> LineageSuccession:
    """Return a rollback to version 1."""
    plain = LineageSuccession(
        lease=lease,
        model=NAME,
        kind=VersionKind.ROLLBACK,
        role=LineageRole.CHAMPION,
        parent=VersionNumber(1),
        state=state(b"rolled back", offset=70),
        spec={"name": NAME, "changed": True},
        learned=[OffsetRange("events", 0, 0, 5), OffsetRange("events", 0, 5, 9)],
        environment={"river": "0.26.1"},
        origin=ChangeOrigin("bob", "it got worse"),
        evidence={"to": "version 1"},
    )
    return replace(plain, **changes)


def snapshot(lease: Lease, **changes: Any) -> VersionSnapshot:
    """Return a snapshot of the present state."""
    return replace(
        VersionSnapshot(lease, NAME, VersionKind.SNAPSHOT, {"river": "0.26.1"}, ChangeOrigin("cy", "keep")), **changes
    )


def count(registry: Registry, name: str) -> int:
    """Return the number of rows in a table."""
    table = tables.metadata.tables[name]
    with registry.database.read_transaction() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def totals(registry: Registry) -> dict[str, int]:
    """Return the number of rows in each table."""
    return {name: count(registry, name) for name in tables.metadata.tables}


def aged(registry: Registry, name: str, by: timedelta, *, column: str = "created_at") -> None:
    """Make all rows of a table older by the given time."""
    table = tables.metadata.tables[name]
    key = next(iter(table.primary_key.columns))
    with registry.database.write_transaction() as connection:
        for row in connection.execute(select(table)).all():
            at = {column: row._mapping[column] - by}
            connection.execute(update(table).where(key == row._mapping[key.name]).values(at))
