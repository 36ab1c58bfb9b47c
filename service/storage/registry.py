"""The registry's repositories as one object, and the check of everything it holds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from service.domain.registry.archive import ArchiveStep
from service.domain.registry.registry import CheckpointStep
from service.ports.artifacts import ArtifactStore
from service.storage.access.idempotency import SqlAnswers
from service.storage.access.tokens import SqlTokens
from service.storage.archives import SqlArchives
from service.storage.checkpoints.artifacts import open_artifacts
from service.storage.checkpoints.checkpoints import SqlCheckpoints
from service.storage.checkpoints.dead_letters import SqlDeadLetters
from service.storage.checkpoints.outbox import SqlOutbox
from service.storage.checkpoints.pending import SqlPending
from service.storage.checkpoints.signals import SqlSignals
from service.storage.checkpoints.signing import Signer
from service.storage.database import Database
from service.storage.models.changes import SqlChanges
from service.storage.models.commands import SqlCommands
from service.storage.models.exclusions import SqlExclusions
from service.storage.models.history import SqlHistory
from service.storage.models.models import SqlModels
from service.storage.models.replays import SqlReplays
from service.storage.schema import upgrade
from service.storage.training.challengers import SqlChallengers
from service.storage.training.job_runs import SqlJobRuns
from service.storage.training.jobs import SqlJobs, SqlOpenings
from service.storage.training.reports import SqlReports
from service.storage.training.trainers import SqlTrainers
from service.storage.transactions.champion_feed import SqlStandings
from service.storage.transactions.leases import SqlLeases


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
    pending: SqlPending
    outbox: SqlOutbox
    exclusions: SqlExclusions
    replays: SqlReplays
    archives: SqlArchives
    jobs: SqlJobs
    job_runs: SqlJobRuns
    openings: SqlOpenings
    trainers: SqlTrainers
    challengers: SqlChallengers
    reports: SqlReports
    signals: SqlSignals
    standings: SqlStandings
    tokens: SqlTokens
    answers: SqlAnswers


@contextmanager
def open_registry(
    url: str,
    *,
    artifacts: str,
    key: bytes,
    environment: Mapping[str, str] | None = None,
    reached: Callable[[CheckpointStep | ArchiveStep], None] = lambda _step: None,
) -> Iterator[Registry]:
    """Connections are closed at the end of the block; a registry of another revision is refused."""
    upgrade.require_current(url)
    database = Database(url)
    store = open_artifacts(artifacts, reached=reached)
    try:
        yield _over(database, store, Signer(key, environment=environment), key=key, reached=reached)
    finally:
        database.close()


def _over(
    database: Database,
    store: ArtifactStore,
    signer: Signer,
    *,
    key: bytes,
    reached: Callable[[CheckpointStep | ArchiveStep], None],
) -> Registry:
    return Registry(
        database=database,
        signer=signer,
        models=SqlModels(database, store),
        history=SqlHistory(database, store),
        leases=SqlLeases(database),
        checkpoints=SqlCheckpoints(database, store, reached=reached),
        changes=SqlChanges(database, store),
        commands=SqlCommands(database),
        dead_letters=SqlDeadLetters(database),
        pending=SqlPending(database, store),
        outbox=SqlOutbox(database),
        exclusions=SqlExclusions(database),
        replays=SqlReplays(database, store),
        archives=SqlArchives(database, reached=reached),
        jobs=SqlJobs(database),
        job_runs=SqlJobRuns(database, store),
        openings=SqlOpenings(database),
        trainers=SqlTrainers(database),
        challengers=SqlChallengers(database),
        reports=SqlReports(database),
        signals=SqlSignals(database),
        standings=SqlStandings(database),
        tokens=SqlTokens(database, key),
        answers=SqlAnswers(database),
    )
