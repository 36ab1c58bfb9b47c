"""Drift signals of monitors, written with the commit that covers them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from service.domain.registry.registry import LineageId
from service.domain.specification.monitor import MAX_SIGNALS, DriftSignal
from service.storage.database import Database
from service.storage.schema.registry import drift_signals, lineages
from service.storage.transactions import rows


class SqlDriftSignals:
    """Implements `ports.labels.DriftSignals`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest_first(self, name: str, *, monitor: str | None = None, limit: int) -> Sequence[DriftSignal]:
        """Return signals of every lineage of the model, of one monitor or of all, newest first."""
        wanted = select(drift_signals).where(drift_signals.c.model == name)
        if monitor is not None:
            wanted = wanted.where(drift_signals.c.monitor == monitor)
        with self._database.read_transaction() as connection:
            found = connection.execute(wanted.order_by(drift_signals.c.id.desc()).limit(limit))
            return [rows.drift_signal_from_row(row) for row in found]


def write_drift_signals(
    connection: Connection, lineage: LineageId, sequence: int, *, signals: Sequence[DriftSignal], now: datetime
) -> None:
    """Insert the newest of the signals, and delete the model's oldest beyond the limit on their number."""
    model = connection.execute(select(lineages.c.model).where(lineages.c.id == lineage)).scalar_one()
    of_commit = {"model": model, "lineage": lineage, "sequence": sequence, "created_at": now}
    connection.execute(insert(drift_signals), [{**of_commit, **_signal_columns(one)} for one in signals[-MAX_SIGNALS:]])
    of_model = drift_signals.c.model == model
    newest = select(drift_signals.c.id).where(of_model).order_by(drift_signals.c.id.desc())
    newest_dropped = connection.execute(newest.offset(MAX_SIGNALS).limit(1)).scalar()
    if newest_dropped is not None:
        connection.execute(delete(drift_signals).where(of_model, drift_signals.c.id <= newest_dropped))


def _signal_columns(signal: DriftSignal) -> dict[str, object]:
    return {
        "monitor": signal.monitor,
        "topic": signal.at.topic,
        "partition": signal.at.partition,
        "position": signal.offset,
        "ts": signal.ts,
        "value": signal.value,
        "threshold": signal.threshold,
        "evidence": dict(signal.evidence),
    }
