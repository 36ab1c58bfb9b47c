"""The run of a training job; each step is one transaction that first checks that the step is still allowed."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from service.domain.registry.registry import AuditEntry, LineageId, LineageRole, Version, VersionKind, VersionNumber
from service.domain.stream.pending import MIN_TIME_MS, PendingRowChanges
from service.domain.training.jobs import (
    ALLOWED_TRANSITIONS,
    FINAL_STATES,
    Job,
    JobEnding,
    JobId,
    JobProgress,
    JobRequest,
    JobState,
    TrainedCandidate,
    TrainerLease,
)
from service.domain.training.report import Report
from service.errors import NotFoundError, RefusedError
from service.ports.artifacts import ArtifactStore
from service.storage.checkpoints import pending
from service.storage.database import Database
from service.storage.schema.jobs import jobs
from service.storage.schema.registry import leases, lineages, models
from service.storage.training import reports
from service.storage.training.trainers import require_trainer_lease
from service.storage.transactions import challenger_rows, job_rows, writes


class SqlJobRuns:
    """Implements `ports.training.JobRuns`."""

    def __init__(self, database: Database, store: ArtifactStore) -> None:
        self._database = database
        self._store = store

    def launch(self, lease: TrainerLease, job: JobId, *, process: str, log: str) -> Job:
        """Record the process that runs the job; raise RefusedError when it was stopped or taken before."""
        with self._database.write_transaction() as connection:
            require_trainer_lease(connection, lease)
            now = self._database.now(connection)
            waits = (jobs.c.id == job, jobs.c.process.is_(None), jobs.c.finished_at.is_(None))
            begun = {"process": process, "log": log, "started_at": now, "heartbeat_at": now}
            done = connection.execute(update(jobs).where(*waits, jobs.c.state != JobState.STOPPING).values(begun))
            if done.rowcount != 1:
                msg = f"found job {job} stopped or taken before its process was there, expected it Starting"
                raise RefusedError(msg)
            return job_rows.lock_job(connection, job)

    def set_state(self, job: JobId, state: JobState, *, reason: str = "") -> Job:
        """Move the job to the state and return it; raise RefusedError when the transition is not allowed."""
        with self._database.write_transaction() as connection:
            _require_transition(job_rows.lock_job(connection, job), state)
            now = self._database.now(connection)
            blank = asdict(JobProgress())
            job_rows.set_job_state(connection, job, state, reason=reason, now=now, heartbeat_at=now, progress=blank)
            return job_rows.lock_job(connection, job)

    def heartbeat(self, job: JobId, progress: JobProgress) -> JobState:
        """Record that the job is alive and its progress; return its state, so that it can see a request to stop."""
        with self._database.write_transaction() as connection:
            values = {"progress": asdict(progress), "heartbeat_at": self._database.now(connection)}
            connection.execute(update(jobs).where(jobs.c.id == job, jobs.c.finished_at.is_(None)).values(values))
            found = connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar()
        if found is None:
            raise _deleted_error(job)
        return JobState(found)

    def end(self, lease: TrainerLease, job: JobId, ending: JobEnding) -> Job | None:
        """Record the job's failure, or its stop if it was stopping; return the next attempt, or None."""
        with self._database.write_transaction() as connection:
            require_trainer_lease(connection, lease)
            found, now = job_rows.lock_job(connection, job), self._database.now(connection)
            if found.state in FINAL_STATES:
                return None
            stopping = found.state is JobState.STOPPING
            state = JobState.STOPPED if stopping else ending.state
            _require_transition(found, state)
            values = {"finished_at": now, "failure": None if stopping else ending.failure}
            job_rows.set_job_state(connection, job, state, reason=ending.reason, now=now, **values)
            if stopping or not ending.needs_retry(found):
                return None
            again = JobRequest(found.model, found.spec, found.cause, found.requested_by, found.reason, found.evidence)
            return job_rows.insert_job(connection, again, now=now, after=found)

    def complete(self, job: JobId, candidate: TrainedCandidate) -> Version:
        """Insert the candidate's version, lineage and reports, and complete the job; return the version."""
        for sealed in (candidate.state, candidate.waiting):
            if sealed is not None and len(sealed.artifact) > writes.MAX_INLINE_BYTES:
                self._store.put(sealed.digest, sealed.artifact)
        with self._database.write_transaction() as connection:
            name = _model_of(connection, job)
            champion = _lock_champion(connection, job, name)
            found, now = job_rows.lock_job(connection, job), self._database.now(connection)
            _require_transition(found, JobState.COMPLETED)
            parent = writes.newest_version_number(connection, champion)
            number = _insert_candidate(connection, found, candidate, parent=parent, now=now)
            for form, text in candidate.reports.items():
                reports.insert_report(connection, Report(name, number, form, text), now=now)
            ended = {"finished_at": now, "heartbeat_at": now, "version": number}
            reason = f"version {number}"
            job_rows.set_job_state(connection, job, JobState.COMPLETED, reason=reason, now=now, **ended)
            evidence = {**candidate.evidence, "job": job}
            entry = AuditEntry(name, found.requested_by, "retrain", found.reason, parent, number, evidence)
            writes.insert_audit_entry(connection, entry, now=now)
            return writes.read_version(connection, name, number)


def _require_transition(found: Job, state: JobState) -> None:
    if state not in ALLOWED_TRANSITIONS[found.state]:
        expected = ", ".join(sorted(ALLOWED_TRANSITIONS[found.state])) or "nothing any more"
        msg = f"found job {found.id} {found.state}, expected {expected} next and not {state}"
        raise RefusedError(msg)


def _model_of(connection: Connection, job: JobId) -> Any:
    found = connection.execute(select(jobs.c.model).where(jobs.c.id == job)).scalar()
    if found is None:
        raise _deleted_error(job)
    return found


def _deleted_error(job: JobId) -> NotFoundError:
    return NotFoundError(f"found no job {job}: its model has been deleted")


def _lock_champion(connection: Connection, job: JobId, name: str) -> LineageId:
    """Lock the row of the champion's lease and return the champion.

    Versions are numbered under this lock, and the champion cannot change before the transaction ends.
    """
    of_model = select(models.c.champion).where(models.c.name == name)
    champion = connection.execute(of_model).scalar()
    connection.execute(select(leases.c.epoch).where(leases.c.lineage == champion).with_for_update())
    # The champion may have changed while this transaction waited for the lock.
    present = connection.execute(of_model).scalar()
    if champion is None or present is None:
        raise _deleted_error(job)
    if present != champion:
        msg = f"found another champion of {name} than lineage {champion}: it changed while a candidate was delivered"
        raise RefusedError(msg)
    return LineageId(champion)


def _insert_candidate(
    connection: Connection, job: Job, candidate: TrainedCandidate, *, parent: VersionNumber, now: datetime
) -> VersionNumber:
    """Insert the candidate as a challenger and return its version number.

    Until it is promoted, its lineage names as origin the version that it was trained beside.
    """
    lineage_values = {
        "model": job.model,
        "role": LineageRole.CHALLENGER,
        "origin": parent,
        "starts": 0,
        "created_at": now,
    }
    lineage = LineageId(writes.new_id(connection.execute(insert(lineages).values(**lineage_values))))
    if candidate.waiting is not None:
        writes.upsert_artifact(connection, candidate.waiting.digest, candidate.waiting.artifact, now=now)
    writes.insert_checkpoint(connection, lineage, 0, state=candidate.state, now=now)
    values = {
        "model": job.model,
        "kind": VersionKind.RETRAIN,
        "parent": parent,
        "lineage": lineage,
        "digest": candidate.state.digest,
        "spec": candidate.spec,
        "position": candidate.state.position.to_json(),
        "learned": writes.range_rows(candidate.learned),
        "metrics": candidate.state.metrics.to_json(),
        "environment": candidate.environment,
        "created_by": job.requested_by,
        "reason": candidate.reason or job.reason,
        "waiting": candidate.waiting.digest if candidate.waiting else None,
    }
    number = writes.insert_version(connection, values, now=now)
    pending.write_pending(connection, lineage, 0, PendingRowChanges(candidate.waiting_rows, [], MIN_TIME_MS))
    entrance = challenger_rows.ChallengerEntry(job.model, lineage, number, f"trained by job {job.id}")
    challenger_rows.insert_challenger(connection, entrance, now=now)
    return number
