"""Deciding whether to retrain a model, from what the registry holds; every decision is stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from service.domain.registry.registry import RegisteredModel
from service.domain.specification.model import ModelSpec
from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import FINAL_STATES, Job, JobCause, JobRequest, RetrainDecision, TrainerLease
from service.errors import LeaseLostError, RefusedError
from service.operations.retraining.policy import (
    MonitorReading,
    RetrainingSituation,
    decide,
    decision_evidence,
    monitor_readings,
)
from service.operations.services import Services

_log = structlog.get_logger(__name__)

COOLDOWN_ACTIONS = frozenset({"rollback", "exclude"})
"""Audited actions after which a cooldown begins."""


def decide_retraining(
    services: Services, trainer: TrainerLease, *, cron_due: bool = False
) -> tuple[RetrainDecision, Job | None]:
    """Decide, store the decision, log it where it is new, and return it with the job that it requested, if any."""
    ports = services.training
    # The current time by the registry's clock, since hosts may disagree.
    now = ports.trainers.renew(trainer, ttl_s=services.lease_ttl_s).expires_at - timedelta(seconds=services.lease_ttl_s)
    situation = _situation(services, services.registry.models.get(trainer.model), now=now, cron_due=cron_due)
    decision, before = decide(situation), ports.trainers.find(trainer.model)
    last = before.decision if before else None
    job_request = _job_request(situation, decision)
    job = _record_decision(services, trainer, decision, last=last, job_request=job_request)
    if last is None or last.code != decision.code or decision.retrain:
        log_fields = {"code": decision.code, "why": decision.explanation, "job": job.id if job else None}
        _log.info("retraining_decided", model=trainer.model, retrain=job is not None, **log_fields)
    return decision, job


def request_manual_job(services: Services, model: str, *, actor: str, reason: str) -> Job:
    """Request a job on behalf of a person; raise RefusedError while one is open."""
    found = services.registry.models.get(model)
    readings, learned, _ = _champion_readings(services, found)
    spec = ModelSpec.model_validate(found.spec).retrain or RetrainSpec()
    evidence = decision_evidence(readings, learned=learned)
    return services.training.jobs.request(JobRequest(found.name, spec, JobCause.HAND, actor, reason, evidence))


def _record_decision(
    services: Services,
    trainer: TrainerLease,
    decision: RetrainDecision,
    *,
    last: RetrainDecision | None,
    job_request: JobRequest | None,
) -> Job | None:
    """Return the requested job, or None where none is wanted or another job was opened first."""
    if job_request is None and last is not None and last.explanation == decision.explanation:
        return None
    try:
        return services.training.trainers.record_decision(trainer, decision, job_request=job_request)
    except RefusedError as error:
        if job_request is None or isinstance(error, LeaseLostError):
            raise
        _log.info("retraining_job_refused", model=trainer.model, why=str(error))
        return None


def _job_request(situation: RetrainingSituation, decision: RetrainDecision) -> JobRequest | None:
    if decision.cause is None or situation.spec is None:
        return None
    return JobRequest(
        situation.model, situation.spec, decision.cause, "trainer", decision.explanation, decision.evidence
    )


def _situation(services: Services, model: RegisteredModel, *, now: datetime, cron_due: bool) -> RetrainingSituation:
    readings, learned, newest = _champion_readings(services, model)
    ended = [job for job in newest if job.state in FINAL_STATES]
    changes = [
        one.at
        for one in services.registry.history.audit(model.name)
        if one.action in COOLDOWN_ACTIONS and one.at is not None
    ]
    return RetrainingSituation(
        model=model.name,
        spec=ModelSpec.model_validate(model.spec).retrain,
        now=now,
        readings=readings,
        open=next((job for job in newest if job.state not in FINAL_STATES), None),
        last=ended[0] if ended else None,
        changed_at=max(changes, default=None),
        learned=learned,
        frozen=model.frozen,
        cron_due=cron_due,
    )


def _champion_readings(
    services: Services, model: RegisteredModel
) -> tuple[Sequence[MonitorReading], int, Sequence[Job]]:
    """Return the monitors of the champion's newest checkpoint, its count of learned events, and the two newest jobs."""
    newest = services.training.jobs.list(model.name, limit=2)
    found = services.registry.checkpoints.newest(model.champion) if model.champion is not None else None
    if found is None:
        return (), 0, newest
    return monitor_readings(found.metrics.drift, newest[0] if newest else None), found.learned, newest
