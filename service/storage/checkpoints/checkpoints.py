"""Commits the durable states of a lineage.

The steps of a commit, in this order: 1. a large artifact is written aside, 2. fsynced, 3. renamed to its digest; 4. a
transaction begins, 5. proves the lease with its first statement, 6. writes checkpoint, journals and dead letters, 7.
commits; 8. only then is anything acknowledged to the stream.
"""

import math
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.registry.registry import (
    Checkpoint,
    CheckpointCommit,
    CheckpointId,
    CheckpointStep,
    JournalSegment,
    Lease,
    LineageId,
    SealedState,
)
from service.domain.stream.position import Position
from service.errors import LeaseLostError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import outbox, pending, retention, set_aside, signals
from service.storage.checkpoints.artifacts import CheckpointStepHook
from service.storage.database import Database
from service.storage.schema.registry import artifacts, checkpoints, dead_letters, journals, lineages
from service.storage.transactions import rows, writes
from service.storage.transactions.leases import require_lease

SWEEP_EVERY_S = 3600.0


class SqlCheckpoints:
    """Implements `ports.registry.Checkpoints`."""

    def __init__(self, database: Database, store: ArtifactStore, *, on_step: CheckpointStepHook) -> None:
        self._database = database
        self._store = store
        self._on_step = on_step
        self._swept_at = -math.inf

    def commit(self, commit: CheckpointCommit) -> Checkpoint:
        """Store a large artifact, then write everything else in one transaction; return the checkpoint.

        Raise LeaseLostError when another process has taken the lease or written the checkpoint.
        """
        if len(commit.artifact) > writes.MAX_INLINE_BYTES:
            self._store.put(commit.digest, commit.artifact)
        try:
            with self._database.write_transaction() as connection:
                self._on_step(CheckpointStep.TRANSACTION_BEGUN)
                require_lease(connection, commit.lease)
                self._on_step(CheckpointStep.LEASE_PROVED)
                written = self._write(connection, commit)
                self._on_step(CheckpointStep.ROWS_WRITTEN)
        except IntegrityError as error:
            msg = f"found checkpoint {commit.sequence} of lineage {commit.lease.lineage} written by another process"
            raise LeaseLostError(msg) from error
        self._on_step(CheckpointStep.COMMITTED)
        return written

    def newest(self, lineage: LineageId) -> Checkpoint | None:
        """Return the newest checkpoint, or None where there is none."""
        of_lineage = select(checkpoints).where(checkpoints.c.lineage == lineage)
        with self._database.read_transaction() as connection:
            found = connection.execute(of_lineage.order_by(checkpoints.c.sequence.desc()).limit(1)).one_or_none()
        return None if found is None else rows.checkpoint_from_row(found)

    def newest_first(self, lineage: LineageId) -> Sequence[Checkpoint]:
        """Return the checkpoints of the lineage that the retention ladder has kept, newest first."""
        statement = select(checkpoints).where(checkpoints.c.lineage == lineage).order_by(checkpoints.c.sequence.desc())
        with self._database.read_transaction() as connection:
            return [rows.checkpoint_from_row(found) for found in connection.execute(statement)]

    def journal(self, lineage: LineageId, *, scores: bool = True, after: int = -1) -> Sequence[JournalSegment]:
        """Return one journal segment for each commit after `after`, oldest first.

        Score journals are many times larger than order journals; `scores=False` leaves them out.
        """
        scores_column = journals.c.scores if scores else literal(b"").label("scores")
        columns: list[Any] = [
            journals.c.sequence,
            journals.c.runs,
            scores_column,
            journals.c.scored,
            journals.c.created_at,
        ]
        where = (journals.c.lineage == lineage, journals.c.sequence > after)
        statement = select(*columns).where(*where).order_by(journals.c.sequence)
        with self._database.read_transaction() as connection:
            return [rows.journal_segment_from_row(found) for found in connection.execute(statement)]

    def apply_retention(self, lease: Lease, *, scores_retention_s: float) -> int:
        """Apply the retention ladder and delete orphaned artifacts; return how many checkpoints were deleted."""
        with self._database.write_transaction() as connection:
            require_lease(connection, lease)
            now = self._database.now(connection)
            scores_retention = timedelta(seconds=scores_retention_s)
            deleted = sum(
                retention.apply_lineage_retention(connection, lineage, now=now, scores_retention=scores_retention)
                for lineage in retention.maintained_lineages(connection, lease.lineage)
            )
            set_aside.forget_old(connection, now=now)
            orphans = retention.orphaned_digests(connection, now=now)
            connection.execute(delete(artifacts).where(artifacts.c.digest.in_(orphans)))
        for digest in [*orphans, *self._unregistered_files()]:
            self._store.delete(digest)
        return deleted

    def record_start(self, lease: Lease, position: Position) -> int:
        """Record a start at this position; return how many starts in a row, with this one, were made here."""
        lineage = lease.lineage
        with self._database.write_transaction() as connection:
            require_lease(connection, lease)
            found = connection.execute(select(lineages).where(lineages.c.id == lineage)).one()
            same = found.started_at == position.to_json()
            starts = found.starts + 1 if same else 1
            connection.execute(
                update(lineages).where(lineages.c.id == lineage).values(starts=starts, started_at=position.to_json())
            )
        return starts

    def _write(self, connection: Connection, commit: CheckpointCommit) -> Checkpoint:
        now = self._database.now(connection)
        lineage = commit.lease.lineage
        state = SealedState(commit.digest, commit.artifact, commit.position, commit.learned, commit.metrics)
        number = CheckpointId(writes.insert_checkpoint(connection, lineage, commit.sequence, state=state, now=now))
        connection.execute(
            insert(journals).values(
                lineage=lineage,
                sequence=commit.sequence,
                runs=rows.encode_runs(commit.order),
                scores=commit.scores,
                scored=commit.scored,
                appended_ms=commit.appended_ms,
                created_at=now,
            )
        )
        self._write_optional_rows(connection, commit, now=now)
        return Checkpoint(
            number,
            lineage,
            commit.sequence,
            commit.digest,
            len(commit.artifact),
            commit.position,
            commit.learned,
            commit.metrics,
            now,
        )

    def _write_optional_rows(self, connection: Connection, commit: CheckpointCommit, *, now: datetime) -> None:
        """Write the rows that not every commit has."""
        lineage, sequence = commit.lease.lineage, commit.sequence
        if commit.dead_letters or commit.replayed:
            self._write_dead_letters(connection, commit, now=now)
        if commit.waiting is not None:
            pending.write_pending(connection, lineage, sequence, commit.waiting)
        if commit.outgoing is not None:
            outbox.insert_outgoing(connection, lineage, sequence, outgoing=commit.outgoing, now=now)
        if commit.signals:
            signals.write_drift_signals(connection, lineage, sequence, signals=commit.signals, now=now)

    def _write_dead_letters(self, connection: Connection, commit: CheckpointCommit, *, now: datetime) -> None:
        of_lineage = select(lineages.c.model).where(lineages.c.id == commit.lease.lineage)
        model = connection.execute(of_lineage).scalar_one()
        writes.insert_dead_letters(connection, model, commit.dead_letters, limit=commit.max_dead_letters, now=now)
        connection.execute(update(dead_letters).where(dead_letters.c.id.in_(commit.replayed)).values(replayed_at=now))

    def _unregistered_files(self) -> Sequence[str]:
        """Return stored files whose process died before its commit; looks for them at most once an hour."""
        if time.monotonic() - self._swept_at < SWEEP_EVERY_S:
            return ()
        self._swept_at = time.monotonic()
        old = self._store.digests(older_than_s=retention.ORPHAN_GRACE.total_seconds())
        with self._database.read_transaction() as connection:
            return retention.unregistered_digests(connection, old)
