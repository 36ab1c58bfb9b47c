"""The registered models."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.registry.registry import (
    AuditEntry,
    LineageId,
    LineageRole,
    ModelName,
    ModelRegistration,
    RegisteredModel,
    VersionNumber,
)
from service.errors import LeaseHeldError, NotFoundError, RefusedError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import pending
from service.storage.database import Database
from service.storage.schema.jobs import trainers
from service.storage.schema.registry import leases, lineages, models
from service.storage.transactions import rows, writes
from service.storage.transactions.holder import Holder


class SqlModels:
    """Implements `ports.registry.Models`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def register(self, registration: ModelRegistration) -> RegisteredModel:
        """Insert the model with version 1, its lineage and checkpoint 0; raise RefusedError when the name is taken."""
        if len(registration.state.artifact) > writes.MAX_INLINE_BYTES:
            self._store.put(registration.state.digest, registration.state.artifact)
        try:
            return self._register(registration)
        except IntegrityError as error:
            msg = f"found {registration.name} registered already; see `headrace model show {registration.name}`"
            raise RefusedError(msg) from error

    def get(self, name: str) -> RegisteredModel:
        """Return the model; raise NotFoundError, which names the registered ones."""
        with self._database.read_transaction() as connection:
            found = connection.execute(select(models).where(models.c.name == name)).one_or_none()
        if found is None:
            known = ", ".join(model.name for model in self.list()) or "none"
            msg = f"found no model {name!r} in the registry, expected one of: {known}; `headrace learn` registers it"
            raise NotFoundError(msg)
        return rows.model_from_row(found)

    def list(self) -> Sequence[RegisteredModel]:
        """Return the models by name."""
        with self._database.read_transaction() as connection:
            return [rows.model_from_row(found) for found in connection.execute(select(models).order_by(models.c.name))]

    def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Delete the model with all but its audit entries; raise LeaseHeldError while somebody writes it."""
        self.get(name)
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            _require_unwritten(connection, name, now=now)
            pending.delete_pending(connection, name)
            connection.execute(delete(models).where(models.c.name == name))
            writes.insert_audit_entry(connection, AuditEntry(ModelName(name), actor, "delete", reason), now=now)

    def _register(self, registration: ModelRegistration) -> RegisteredModel:
        with self._database.write_transaction() as connection:
            now = self._database.now(connection)
            connection.execute(
                insert(models).values(
                    name=registration.name,
                    spec=registration.spec,
                    spec_digest=registration.spec_digest,
                    frozen=False,
                    created_at=now,
                )
            )
            values = {
                "model": registration.name,
                "role": LineageRole.CHAMPION,
                "origin": 1,
                "starts": 0,
                "created_at": now,
            }
            lineage = LineageId(writes.new_id(connection.execute(insert(lineages).values(**values))))
            number = writes.insert_version(
                connection,
                {
                    "model": registration.name,
                    "kind": registration.kind,
                    "lineage": lineage,
                    "digest": registration.state.digest,
                    "spec": registration.spec,
                    "position": registration.state.position.to_json(),
                    "learned": [],
                    "metrics": registration.state.metrics.to_json(),
                    "environment": registration.environment,
                    "created_by": registration.origin.actor,
                    "reason": registration.origin.reason,
                },
                now=now,
            )
            writes.insert_checkpoint(connection, lineage, 0, state=registration.state, now=now)
            connection.execute(update(models).where(models.c.name == registration.name).values(champion=lineage))
            written = AuditEntry(
                registration.name,
                registration.origin.actor,
                "register",
                registration.origin.reason,
                to_version=VersionNumber(number),
            )
            writes.insert_audit_entry(connection, written, now=now)
        return self.get(registration.name)


def _require_unwritten(connection: Connection, name: str, *, now: datetime) -> None:
    """Raise LeaseHeldError when a live process writes the model.

    Locks rows in the order in which the other writers lock them, the trainer's first and then leases, to avoid
    deadlocks.
    """
    connection.execute(select(trainers.c.epoch).where(trainers.c.model == name).with_for_update())
    of_model = leases.c.lineage.in_(select(lineages.c.id).where(lineages.c.model == name))
    for lease in connection.execute(select(leases).where(of_model).order_by(leases.c.lineage).with_for_update()):
        holder = Holder.parse(lease.holder)
        if lease.expires_at > now and not (holder and holder.is_dead_here()):
            msg = (
                f"found {name} being written by {lease.holder}, expected it stopped; stop the learner first, and the "
                "trainer, which runs challengers"
            )
            raise LeaseHeldError(msg)
