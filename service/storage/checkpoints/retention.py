"""What a lineage keeps: checkpoints by the retention ladder, scores for days, its order journal for ever."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from service.domain.registry.registry import LineageId, LineageRole
from service.domain.registry.retention_ladder import pending_sets_to_keep, retained_times
from service.domain.stream.position import merge_ranges
from service.storage.schema.registry import artifacts, checkpoints, journals, lineages, versions
from service.storage.schema.set_aside import set_aside_checkpoints
from service.storage.transactions import rows

ORPHAN_GRACE = timedelta(minutes=10)
MAX_ORPHANS = 1000
_NO_RUNS = rows.encode_runs(())


def apply_lineage_retention(
    connection: Connection, lineage: LineageId, *, now: datetime, scores_retention: timedelta
) -> int:
    """Apply the retention ladder and the maximum age of scores; return how many checkpoints were deleted."""
    deleted = _delete_checkpoints(connection, lineage, now=now)
    _merge_order_journal(connection, lineage)
    of_lineage = journals.c.lineage == lineage
    expired = (of_lineage, journals.c.created_at < now - scores_retention, journals.c.scores != b"")
    connection.execute(update(journals).where(*expired).values(scores=b""))
    connection.execute(delete(journals).where(of_lineage, journals.c.runs == _NO_RUNS, journals.c.scores == b""))
    return deleted


def maintained_lineages(connection: Connection, lineage: LineageId) -> Sequence[LineageId]:
    """Return the lineage itself and the retired lineages of its model, which nobody writes any more."""
    model = select(lineages.c.model).where(lineages.c.id == lineage).scalar_subquery()
    retired = select(lineages.c.id).where(lineages.c.model == model, lineages.c.role == LineageRole.RETIRED)
    return [lineage, *connection.execute(retired).scalars()]


def orphaned_digests(connection: Connection, *, now: datetime) -> Sequence[str]:
    """Return artifacts that no row names and that are older than the grace period, in which a row may still follow."""
    statement = select(artifacts.c.digest).where(
        artifacts.c.created_at < now - ORPHAN_GRACE,
        artifacts.c.digest.not_in(select(checkpoints.c.digest)),
        artifacts.c.digest.not_in(select(checkpoints.c.waiting).where(checkpoints.c.waiting.is_not(None))),
        artifacts.c.digest.not_in(select(set_aside_checkpoints.c.digest)),
        artifacts.c.digest.not_in(
            select(set_aside_checkpoints.c.waiting).where(set_aside_checkpoints.c.waiting.is_not(None))
        ),
        artifacts.c.digest.not_in(select(versions.c.digest)),
        artifacts.c.digest.not_in(select(versions.c.waiting).where(versions.c.waiting.is_not(None))),
    )
    return list(connection.execute(statement.limit(MAX_ORPHANS)).scalars())


def unregistered_digests(connection: Connection, digests: Sequence[str]) -> Sequence[str]:
    """Return the stored digests that have no row, because their process died before its commit."""
    known = set(connection.execute(select(artifacts.c.digest)).scalars())
    return [digest for digest in digests if digest not in known]


def _delete_checkpoints(connection: Connection, lineage: LineageId, *, now: datetime) -> int:
    columns = (checkpoints.c.id, checkpoints.c.created_at, checkpoints.c.waiting)
    statement = select(*columns).where(checkpoints.c.lineage == lineage)
    found = connection.execute(statement.order_by(checkpoints.c.sequence.desc())).all()
    keep = retained_times([row.created_at for row in found], now=now)
    keep |= pending_sets_to_keep(keep, [row.created_at for row in found if row.waiting])
    expired = [row.id for row in found if row.created_at not in keep]
    for start in range(0, len(expired), MAX_ORPHANS):
        connection.execute(delete(checkpoints).where(checkpoints.c.id.in_(expired[start : start + MAX_ORPHANS])))
    return len(expired)


def _merge_order_journal(connection: Connection, lineage: LineageId) -> None:
    """Merge the runs between two kept checkpoints into one row, since no replay can begin between them."""
    kept_sequences = select(checkpoints.c.sequence).where(checkpoints.c.lineage == lineage)
    targets = sorted(connection.execute(kept_sequences).scalars())
    wanted = (journals.c.lineage == lineage, journals.c.runs != _NO_RUNS)
    found = connection.execute(select(journals.c.sequence, journals.c.runs).where(*wanted)).all()
    segments = {row.sequence: rows.decode_runs(row.runs) for row in found}
    for low, high in zip([-1, *targets], targets, strict=False):
        inner = sorted(sequence for sequence in segments if low < sequence < high)
        if inner and high in segments:
            runs = merge_ranges(run for sequence in [*inner, high] for run in segments[sequence])
            _write_runs(connection, lineage, high, runs=rows.encode_runs(runs))
            for sequence in inner:
                _write_runs(connection, lineage, sequence, runs=_NO_RUNS)


def _write_runs(connection: Connection, lineage: LineageId, sequence: int, *, runs: bytes) -> None:
    where = (journals.c.lineage == lineage, journals.c.sequence == sequence)
    connection.execute(update(journals).where(*where).values(runs=runs))
