"""The registry's repositories as one object, and the check of everything it holds."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from service.domain.archive import ArchiveStep
from service.domain.registry import CheckpointStep
from service.ports import ArtifactStore
from service.storage import upgrade
from service.storage.answers import SqlAnswers
from service.storage.archives import SqlArchives
from service.storage.artifacts import open_artifacts
from service.storage.challengers import SqlChallengers
from service.storage.changes import SqlChanges
from service.storage.checkpoints import SqlCheckpoints
from service.storage.commands import SqlCommands
from service.storage.database import Database
from service.storage.dead_letters import SqlDeadLetters
from service.storage.exclusions import SqlExclusions
from service.storage.history import SqlHistory
from service.storage.job_runs import SqlJobRuns
from service.storage.jobs import SqlJobs, SqlOpenings
from service.storage.leases import SqlLeases
from service.storage.models import SqlModels
from service.storage.outbox import SqlOutbox
from service.storage.pending import SqlPending
from service.storage.replays import SqlReplays
from service.storage.reports import SqlReports
from service.storage.signals import SqlSignals
from service.storage.signing import Signer
from service.storage.standings import SqlStandings
from service.storage.tokens import SqlTokens
from service.storage.trainers import SqlTrainers


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
