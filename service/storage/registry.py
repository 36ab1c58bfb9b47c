"""The registry's repositories as one object, and the check of everything it holds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select

from service.domain.registry import CheckpointStep
from service.errors import ArtifactError, NotFoundError
from service.storage import upgrade
from service.storage.artifacts import open_artifacts
from service.storage.changes import SqlChanges
from service.storage.checkpoints import SqlCheckpoints
from service.storage.commands import SqlCommands
from service.storage.database import Database
from service.storage.dead_letters import SqlDeadLetters
from service.storage.history import SqlHistory
from service.storage.leases import SqlLeases
from service.storage.models import SqlModels
from service.storage.signing import Signer
from service.storage.tables import checkpoints, lineages, versions


@dataclass(frozen=True, slots=True)
class Registry:
    """Every repository over one database."""

    database: Database
    signer: Signer
    models: SqlModels
    history: SqlHistory
    leases: SqlLeases
    checkpoints: SqlCheckpoints
    changes: SqlChanges
    commands: SqlCommands
    dead_letters: SqlDeadLetters

    def verify(self) -> Sequence["Finding"]:
        """Every artifact that a version or checkpoint names: is it there, whole, and signed?"""
        return [self._examined(name, digest) for name, digest in self._named()]

    def _named(self) -> list[tuple[str, str]]:
        of_version = select(versions.c.model, versions.c.number, versions.c.digest)
        of_checkpoint = select(lineages.c.model, checkpoints.c.sequence, checkpoints.c.digest)
        joined = of_checkpoint.join(lineages, lineages.c.id == checkpoints.c.lineage)
        with self.database.reading() as connection:
            found = [(f"{m} version {n}", d) for m, n, d in connection.execute(of_version)]
            found += [(f"{m} checkpoint {n}", d) for m, n, d in connection.execute(joined)]
        return found

    def _examined(self, name: str, digest: str) -> "Finding":
        try:
            self.signer.open(self.history.artifact(digest))
        except (ArtifactError, NotFoundError) as error:
            return Finding(name, digest, str(error))
        return Finding(name, digest, "")


@dataclass(frozen=True, slots=True)
class Finding:
    """One artifact; `problem` is empty where it is good."""

    name: str
    digest: str
    problem: str


@contextmanager
def open_registry(
    url: str,
    *,
    artifacts: str,
    key: bytes,
    environment: Mapping[str, str] | None = None,
    reached: Callable[[CheckpointStep], None] = lambda _step: None,
) -> Iterator[Registry]:
    """Connections are closed at the end of the block; a registry of another revision is refused."""
    upgrade.require_current(url)
    database = Database(url)
    store = open_artifacts(artifacts, reached=reached)
    try:
        yield Registry(
            database=database,
            signer=Signer(key, environment=environment),
            models=SqlModels(database, store),
            history=SqlHistory(database, store),
            leases=SqlLeases(database),
            checkpoints=SqlCheckpoints(database, store, reached=reached),
            changes=SqlChanges(database, store),
            commands=SqlCommands(database),
            dead_letters=SqlDeadLetters(database),
        )
    finally:
        database.close()
