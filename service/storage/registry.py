"""The registry's repositories as one object."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from service.domain.registry.archive import ArchiveStep
from service.domain.registry.registry import CheckpointStep
from service.ports.artifacts import ArtifactStore
from service.storage.access.idempotency import SqlStoredResponses
from service.storage.access.tokens import SqlTokens
from service.storage.archives import SqlArchives
from service.storage.checkpoints.artifacts import open_artifacts
from service.storage.checkpoints.checkpoints import SqlCheckpoints
from service.storage.checkpoints.dead_letters import SqlDeadLetters
from service.storage.checkpoints.outbox import SqlOutbox
from service.storage.checkpoints.pending import SqlPendingEvents
from service.storage.checkpoints.signals import SqlDriftSignals
from service.storage.checkpoints.signing import Signer
from service.storage.database import Database
from service.storage.models.changes import SqlModelChanges
from service.storage.models.commands import SqlCommands
from service.storage.models.exclusions import SqlExclusions
from service.storage.models.history import SqlModelHistory
from service.storage.models.models import SqlModels
from service.storage.models.replays import SqlReplays
from service.storage.schema import upgrade
from service.storage.training.challengers import SqlChallengers
from service.storage.training.job_runs import SqlJobRuns
from service.storage.training.jobs import SqlHoldoutOpenings, SqlJobs
from service.storage.training.reports import SqlReports
from service.storage.training.trainers import SqlTrainerLeases
from service.storage.transactions.champion_feed import SqlChampionFeed
from service.storage.transactions.leases import SqlLeases


@dataclass(frozen=True, slots=True)
class Registry:
    """Holds every repository over one database."""

    database: Database
    signer: Signer
    models: SqlModels
    history: SqlModelHistory
    leases: SqlLeases
    checkpoints: SqlCheckpoints
    changes: SqlModelChanges
    commands: SqlCommands
    dead_letters: SqlDeadLetters
    pending_events: SqlPendingEvents
    outbox: SqlOutbox
    exclusions: SqlExclusions
    replays: SqlReplays
    archives: SqlArchives
    jobs: SqlJobs
    job_runs: SqlJobRuns
    holdout_openings: SqlHoldoutOpenings
    trainer_leases: SqlTrainerLeases
    challengers: SqlChallengers
    reports: SqlReports
    drift_signals: SqlDriftSignals
    champion_feed: SqlChampionFeed
    tokens: SqlTokens
    stored_responses: SqlStoredResponses


@contextmanager
def open_registry(
    url: str,
    *,
    artifacts: str,
    key: bytes,
    environment: Mapping[str, str] | None = None,
    on_step: Callable[[CheckpointStep | ArchiveStep], None] = lambda _step: None,
) -> Iterator[Registry]:
    """Open the registry and close its connections at the end of the block.

    Raise RefusedError when the database is at another schema revision.
    """
    upgrade.require_current_revision(url)
    database = Database(url)
    store = open_artifacts(artifacts, on_step=on_step)
    try:
        yield _build_registry(database, store, Signer(key, environment=environment), key=key, on_step=on_step)
    finally:
        database.close()


def _build_registry(
    database: Database,
    store: ArtifactStore,
    signer: Signer,
    *,
    key: bytes,
    on_step: Callable[[CheckpointStep | ArchiveStep], None],
) -> Registry:
    return Registry(
        database=database,
        signer=signer,
        models=SqlModels(database, store),
        history=SqlModelHistory(database, store),
        leases=SqlLeases(database),
        checkpoints=SqlCheckpoints(database, store, on_step=on_step),
        changes=SqlModelChanges(database, store),
        commands=SqlCommands(database),
        dead_letters=SqlDeadLetters(database),
        pending_events=SqlPendingEvents(database, store),
        outbox=SqlOutbox(database),
        exclusions=SqlExclusions(database),
        replays=SqlReplays(database, store),
        archives=SqlArchives(database, on_step=on_step),
        jobs=SqlJobs(database),
        job_runs=SqlJobRuns(database, store),
        holdout_openings=SqlHoldoutOpenings(database),
        trainer_leases=SqlTrainerLeases(database),
        challengers=SqlChallengers(database),
        reports=SqlReports(database),
        drift_signals=SqlDriftSignals(database),
        champion_feed=SqlChampionFeed(database),
        tokens=SqlTokens(database, key),
        stored_responses=SqlStoredResponses(database),
    )
