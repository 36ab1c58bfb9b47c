"""Reads and writes rows of challengers within a transaction."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from service.domain.registry.challenger import OPEN_STAGES, Challenger, ChallengerStage, ComparisonStart
from service.domain.registry.registry import LineageId, LineageRole
from service.errors import RefusedError
from service.storage.schema.challengers import challengers
from service.storage.schema.registry import leases, lineages


def challenger_from_row(row: Row[Any]) -> Challenger:
    """Return the challenger of a row."""
    return Challenger(
        lineage=row.lineage,
        model=row.model,
        stage=ChallengerStage(row.stage),
        version=row.version,
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        live=ComparisonStart.from_json(row.live) if row.live else None,
        behind=row.behind,
        behind_since=row.behind_since,
        failures=row.failures,
        evidence=row.evidence,
        finished_at=row.finished_at,
    )


@dataclass(frozen=True, slots=True)
class ChallengerEntry:
    """The row of a lineage that becomes a challenger."""

    model: str
    lineage: LineageId
    version: int
    reason: str
    stage: ChallengerStage = ChallengerStage.CATCHING_UP


def insert_challenger(connection: Connection, entry: ChallengerEntry, *, now: datetime) -> None:
    """Make the lineage a challenger from now on, whatever it was before."""
    connection.execute(delete(challengers).where(challengers.c.lineage == entry.lineage))
    times = {"created_at": now, "updated_at": now}
    connection.execute(insert(challengers).values(**asdict(entry), failures=0, evidence={}, **times))
    connection.execute(update(lineages).where(lineages.c.id == entry.lineage).values(role=LineageRole.CHALLENGER))


def lock_challenger(connection: Connection, lineage: LineageId) -> Challenger:
    """Return an open challenger, locked until the end of the transaction; raise RefusedError when there is none."""
    where = challengers.c.lineage == lineage
    row = connection.execute(select(challengers).where(where).with_for_update()).one_or_none()
    found = challenger_from_row(row) if row is not None else None
    if found is None or found.stage not in OPEN_STAGES:
        state = f"it {found.stage} ({found.reason})" if found else "no such challenger"
        msg = f"found {state}, expected lineage {lineage} to be an open challenger; see `headrace model history`"
        raise RefusedError(msg)
    return found


def finish_challenger(
    connection: Connection, lineage: LineageId, stage: ChallengerStage, *, reason: str, now: datetime
) -> None:
    """Record that the challenger has ended in this stage."""
    values = {"stage": stage, "reason": reason, "updated_at": now, "finished_at": now}
    connection.execute(update(challengers).where(challengers.c.lineage == lineage).values(**values))


def retire_lineage(connection: Connection, lineage: LineageId) -> None:
    """Retire the lineage and raise its lease's epoch, so that its learner loses the lease."""
    is_challenger = (lineages.c.id == lineage, lineages.c.role == LineageRole.CHALLENGER)
    connection.execute(update(lineages).where(*is_challenger).values(role=LineageRole.RETIRED))
    connection.execute(update(leases).where(leases.c.lineage == lineage).values(epoch=leases.c.epoch + 1))


def retire_challengers(connection: Connection, model: str, reason: str, *, now: datetime) -> None:
    """Retire every open challenger of a model whose champion is replaced."""
    of_model = (challengers.c.model == model, challengers.c.finished_at.is_(None))
    for lineage in connection.execute(select(challengers.c.lineage).where(*of_model)).scalars().all():
        finish_challenger(connection, lineage, ChallengerStage.RETIRED, reason=reason, now=now)
        retire_lineage(connection, lineage)
