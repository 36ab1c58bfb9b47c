"""The named deployments."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.domain.registry.registry import AuditEntry, Founding, LineageId, Model, ModelName, Role, VersionNumber
from service.errors import LeaseHeldError, NotFoundError, RefusedError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import pending
from service.storage.database import Database
from service.storage.schema.jobs import trainers
from service.storage.schema.registry import leases, lineages, models
from service.storage.transactions import rows, writes
from service.storage.transactions.holder import Holder


class SqlModels:
    """Implements `ports.Models`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def register(self, founding: Founding) -> Model:
        """Version 1, its lineage and checkpoint 0; RefusedError where the name is taken."""
        if len(founding.state.artifact) > writes.INLINE_BYTES:
            self._store.put(founding.state.digest, founding.state.artifact)
        try:
            return self._register(founding)
        except IntegrityError as error:
            msg = f"found {founding.name} registered already; see `headrace model show {founding.name}`"
            raise RefusedError(msg) from error

    def get(self, name: str) -> Model:
        """NotFoundError names the models there are."""
        with self._database.reading() as connection:
            found = connection.execute(select(models).where(models.c.name == name)).one_or_none()
        if found is None:
            known = ", ".join(model.name for model in self.list()) or "none"
            msg = f"found no model {name!r} in the registry, expected one of: {known}; `headrace learn` registers it"
            raise NotFoundError(msg)
        return rows.model(found)

    def list(self) -> Sequence[Model]:
        """By name."""
        with self._database.reading() as connection:
            return [rows.model(found) for found in connection.execute(select(models).order_by(models.c.name))]

    def delete(self, name: str, *, actor: str, reason: str) -> None:
        """Forget the model and all that belongs to it; its audit stays."""
        self.get(name)
        with self._database.writing() as connection:
            now = self._database.now(connection)
            _require_unwritten(connection, name, now=now)
            pending.forget(connection, name)
            connection.execute(delete(models).where(models.c.name == name))
            writes.entry(connection, AuditEntry(ModelName(name), actor, "delete", reason), now=now)

    def _register(self, founding: Founding) -> Model:
        with self._database.writing() as connection:
            now = self._database.now(connection)
            connection.execute(
                insert(models).values(
                    name=founding.name,
                    spec=founding.spec,
                    spec_digest=founding.spec_digest,
                    frozen=False,
                    created_at=now,
                )
            )
            values = {"model": founding.name, "role": Role.CHAMPION, "origin": 1, "starts": 0, "created_at": now}
            lineage = LineageId(writes.new_id(connection.execute(insert(lineages).values(**values))))
            number = writes.version(
                connection,
                {
                    "model": founding.name,
                    "kind": founding.kind,
                    "lineage": lineage,
                    "digest": founding.state.digest,
                    "spec": founding.spec,
                    "position": founding.state.position.to_json(),
                    "learned": [],
                    "metrics": founding.state.metrics.to_json(),
                    "environment": founding.environment,
                    "created_by": founding.origin.actor,
                    "reason": founding.origin.reason,
                },
                now=now,
            )
            writes.checkpoint(connection, lineage, 0, state=founding.state, now=now)
            connection.execute(update(models).where(models.c.name == founding.name).values(champion=lineage))
            written = AuditEntry(
                founding.name,
                founding.origin.actor,
                "register",
                founding.origin.reason,
                to_version=VersionNumber(number),
            )
            writes.entry(connection, written, now=now)
        return self.get(founding.name)


def _require_unwritten(connection: Connection, name: str, *, now: datetime) -> None:
    """LeaseHeldError where somebody writes it.

    Rows that others lock first are locked first here too, in their order: the trainer's, then leases.
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
