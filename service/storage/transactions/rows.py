"""Converts rows to values."""

from typing import Any

import msgspec
from sqlalchemy import Row

from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import (
    AuditEntry,
    Checkpoint,
    Command,
    CommandKind,
    CommandStatus,
    DeadLetter,
    JournalSegment,
    Lineage,
    LineageRole,
    RegisteredModel,
    Version,
    VersionKind,
)
from service.domain.specification.monitor import DriftSignal
from service.domain.stream.events import RefusalReason, TopicPartition
from service.domain.stream.position import OffsetRange, Position


def model_from_row(row: Row[Any]) -> RegisteredModel:
    """Return the model of a row."""
    return RegisteredModel(row.name, row.spec, row.spec_digest, row.champion, row.frozen, row.created_at)


def lineage_from_row(row: Row[Any]) -> Lineage:
    """Return the lineage of a row."""
    return Lineage(row.id, row.model, LineageRole(row.role), row.origin, row.created_at, row.plan)


def version_from_row(row: Row[Any]) -> Version:
    """Return the version of a row."""
    return Version(
        model=row.model,
        number=row.number,
        kind=VersionKind(row.kind),
        parent=row.parent,
        lineage=row.lineage,
        digest=row.digest,
        spec=row.spec,
        position=Position.from_json(row.position),
        learned=[OffsetRange(*run) for run in row.learned],
        metrics=CheckpointMetrics.from_json(row.metrics),
        environment=row.environment,
        created_at=row.created_at,
        created_by=row.created_by,
        reason=row.reason,
        waiting=row.waiting,
    )


def checkpoint_from_row(row: Row[Any]) -> Checkpoint:
    """Return the checkpoint of a row."""
    return Checkpoint(
        row.id,
        row.lineage,
        row.sequence,
        row.digest,
        row.size,
        Position.from_json(row.position),
        row.learned,
        CheckpointMetrics.from_json(row.metrics),
        row.created_at,
        row.waiting,
    )


def journal_segment_from_row(row: Row[Any]) -> JournalSegment:
    """Return the journal segment of a row."""
    return JournalSegment(row.sequence, decode_runs(row.runs), row.scores, row.scored, row.created_at)


def command_from_row(row: Row[Any]) -> Command:
    """Return the command of a row."""
    return Command(
        row.id,
        row.model,
        CommandKind(row.kind),
        row.arguments,
        CommandStatus(row.status),
        row.requested_by,
        row.requested_at,
        row.outcome,
    )


def audit_entry_from_row(row: Row[Any]) -> AuditEntry:
    """Return the audit entry of a row."""
    return AuditEntry(
        row.model, row.actor, row.action, row.reason, row.from_version, row.to_version, row.evidence, row.at
    )


def dead_letter_from_row(row: Row[Any]) -> DeadLetter:
    """Return the dead letter of a row."""
    return DeadLetter(
        at=TopicPartition(row.topic, row.partition),
        offset=row.position,
        reason=RefusalReason(row.reason),
        detail=row.detail,
        payload=row.payload,
        size=row.size,
        id=row.id,
        created_at=row.created_at,
        replayed_at=row.replayed_at,
    )


def drift_signal_from_row(row: Row[Any]) -> DriftSignal:
    """Return the drift signal of a row."""
    return DriftSignal(
        monitor=row.monitor,
        at=TopicPartition(row.topic, row.partition),
        offset=row.position,
        ts=row.ts,
        value=row.value,
        threshold=row.threshold,
        evidence=row.evidence,
        id=row.id,
        lineage=row.lineage,
        created_at=row.created_at,
    )


def encode_runs(runs: Any) -> bytes:
    """Return the runs in the order journal's packed form."""
    return msgspec.msgpack.encode([(run.topic, run.partition, run.first, run.last) for run in runs])


def decode_runs(data: bytes) -> list[OffsetRange]:
    """Return the runs that `encode_runs` packed."""
    return [OffsetRange(*run) for run in msgspec.msgpack.decode(data)]
