"""Deciding whether a model is to be retrained, from what the registry holds; every decision is kept."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from service.domain.registry.registry import Model
from service.domain.specification.model import ModelSpec
from service.domain.specification.retrain import RetrainSpec
from service.domain.training.jobs import FINAL, Cause, Decision, Job, Trainer, Wanted
from service.errors import LeaseLostError, RefusedError
from service.operations.retraining.policy import Reading, Situation, decide, evidence_of, readings_of
from service.operations.services import Services

_log = structlog.get_logger(__name__)

COOLING = frozenset({"rollback", "exclude"})
"""Acts after which a cooldown begins."""


def consider(services: Services, held: Trainer, *, cron_due: bool = False) -> tuple[Decision, Job | None]:
    """The decision, kept and, where it is another one than before, logged; and the job that it asked for."""
    ports = services.training
    now = ports.trainers.renew(held, ttl_s=services.lease_ttl_s).expires_at - timedelta(seconds=services.lease_ttl_s)
    found = _situation(services, services.models.get(held.model), now=now, cron_due=cron_due)
    decision, before = decide(found), ports.trainers.find(held.model)
    last = before.decision if before else None
    wanted = _wanted(found, decision)
    job = _kept(services, held, decision, last=last, wanted=wanted)
    if last is None or last.code != decision.code or decision.retrain:
        told = {"code": decision.code, "why": decision.explanation, "job": job.id if job else None}
        _log.info("retraining_decided", model=held.model, retrain=job is not None, **told)
    return decision, job


def by_hand(services: Services, model: str, *, actor: str, reason: str) -> Job:
    """A job that a person asks for; RefusedError while one is open."""
    found = services.models.get(model)
    readings, learned, _ = _standing(services, found)
    spec = ModelSpec.model_validate(found.spec).retrain or RetrainSpec()
    evidence = evidence_of(readings, learned=learned)
    return services.training.jobs.request(Wanted(found.name, spec, Cause.HAND, actor, reason, evidence))


def _kept(
    services: Services, held: Trainer, decision: Decision, *, last: Decision | None, wanted: Wanted | None
) -> Job | None:
    """None where nothing is wanted, or somebody else's job came first."""
    if wanted is None and last is not None and last.explanation == decision.explanation:
        return None
    try:
        return services.training.trainers.decide(held, decision, wanted=wanted)
    except RefusedError as error:
        if wanted is None or isinstance(error, LeaseLostError):
            raise
        _log.info("retraining_not_asked", model=held.model, why=str(error))
        return None


def _wanted(found: Situation, decision: Decision) -> Wanted | None:
    if decision.cause is None or found.spec is None:
        return None
    return Wanted(found.model, found.spec, decision.cause, "trainer", decision.explanation, decision.evidence)


def _situation(services: Services, model: Model, *, now: datetime, cron_due: bool) -> Situation:
    readings, learned, newest = _standing(services, model)
    ended = [job for job in newest if job.state in FINAL]
    changes = [one.at for one in services.history.audit(model.name) if one.action in COOLING and one.at is not None]
    return Situation(
        model=model.name,
        spec=ModelSpec.model_validate(model.spec).retrain,
        now=now,
        readings=readings,
        open=next((job for job in newest if job.state not in FINAL), None),
        last=ended[0] if ended else None,
        changed_at=max(changes, default=None),
        learned=learned,
        frozen=model.frozen,
        cron_due=cron_due,
    )


def _standing(services: Services, model: Model) -> tuple[Sequence[Reading], int, Sequence[Job]]:
    """What the champion's newest checkpoint says, and the two newest jobs, of which one may be open."""
    newest = services.training.jobs.list(model.name, limit=2)
    found = services.checkpoints.newest(model.champion) if model.champion is not None else None
    if found is None:
        return (), 0, newest
    return readings_of(found.metrics.drift, newest[0] if newest else None), found.learned, newest
