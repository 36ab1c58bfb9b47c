"""Models, challengers, replays and jobs as plain rows, for the command line and HTTP."""

from typing import Any

from service.domain.jsonable import to_jsonable
from service.domain.registry.challenger import Challenger
from service.domain.registry.checkpoint_metrics import CheckpointMetrics
from service.domain.registry.registry import Checkpoint, Lineage, LineageId, RegisteredModel
from service.domain.stream.exclusion import Exclusion, format_range
from service.domain.training.jobs import Job
from service.errors import NotFoundError
from service.operations.services import Services


def model_summary(services: Services, model: RegisteredModel) -> dict[str, Any]:
    """Return the model as a row of a list; raise NotFoundError without a checkpoint."""
    checkpoint = _newest_checkpoint(services, model.name, model.champion)
    return {
        "name": model.name,
        "version": services.registry.history.newest_version(model.name, checkpoint.lineage).number,
        "learned": checkpoint.metrics.learned,
        "frozen": model.frozen,
        "metrics": checkpoint.metrics.cumulative,
    }


def describe_model(services: Services, model: RegisteredModel) -> dict[str, Any]:
    """Return the model as its newest checkpoint has it; raise NotFoundError without one."""
    checkpoint = _newest_checkpoint(services, model.name, model.champion)
    newest = services.registry.history.newest_version(model.name, checkpoint.lineage)
    lease = services.registry.leases.find(checkpoint.lineage)
    metrics = checkpoint.metrics.to_json()
    return {
        "name": model.name,
        "frozen": model.frozen,
        "champion": {
            "version": newest.number,
            "kind": newest.kind,
            "digest": newest.digest,
            "since": newest.created_at,
        },
        "position": checkpoint.position.to_json(),
        "events": _event_counts(checkpoint.metrics),
        "labels": metrics.get("labels", {}),
        "metrics": {key: metrics.get(key, {}) for key in ("cumulative", "window", "baseline")},
        "challengers": [challenger_row(one) for one in services.registry.challengers.list(model.name)],
        "replays": [
            replay_row(services, one) for one in services.registry.replays.unfinished() if one.model == model.name
        ],
        "drift": metrics.get("drift", []),
        "dead_letters": dict(services.registry.dead_letters.counts(model.name)),
        "checkpoint": {"id": checkpoint.id, "at": checkpoint.created_at, "bytes": checkpoint.size},
        "writer": {"holder": lease.holder, "epoch": lease.epoch, "until": lease.expires_at} if lease else None,
    }


def version_history(services: Services, name: str) -> dict[str, Any]:
    """Return the model's versions, their aliases, and the audit of every change."""
    history = services.registry.history
    return {"versions": history.versions(name), "audit": history.audit(name), "aliases": history.aliases(name)}


def challenger_row(challenger: Challenger) -> dict[str, Any]:
    """Return how far a challenger is, and what its comparison says."""
    return {
        "version": challenger.version,
        "lineage": challenger.lineage,
        "stage": challenger.stage,
        "since": challenger.created_at,
        "behind": challenger.behind,
        "failures": challenger.failures,
        "reason": challenger.reason,
        "evidence": dict(challenger.evidence),
    }


def replay_row(services: Services, lineage: Lineage) -> dict[str, Any]:
    """Return how far a replay has come, and who runs it."""
    newest = _newest_checkpoint(services, lineage.model, lineage.id)
    lease = services.registry.leases.find(lineage.id)
    plan = lineage.plan or {}
    return {
        "lineage": lineage.id,
        "from": plan.get("ancestor"),
        "learned": newest.learned,
        "position": newest.position.to_json(),
        "reason": plan.get("reason"),
        "writer": lease.holder if lease else None,
    }


def exclusion_row(exclusion: Exclusion) -> dict[str, Any]:
    """Return an exclusion, its range as the command line writes it."""
    fields = ("id", "reason", "created_by", "created_at", "removed_by", "removed_at")
    return {**{field: getattr(exclusion, field) for field in fields}, "stretch": format_range(exclusion.excluded_range)}


def job_details(services: Services, job: Job) -> dict[str, Any]:
    """Return a job with its request, every state it was in, and when it read its test part."""
    opening = services.training.openings.find(job.id)
    return {
        **{key: value for key, value in to_jsonable(job).items() if key != "spec"},
        "spec": job.spec.model_dump(mode="json"),
        "test_opened": to_jsonable(opening) if opening else None,
        "transitions": [to_jsonable(one) for one in services.training.jobs.transitions(job.id)],
    }


def _event_counts(metrics: CheckpointMetrics) -> dict[str, int]:
    return {
        **{outcome: metrics.counts.get(outcome, 0) for outcome in ("learned", "predicted", "dead", "duplicate")},
        "pending": metrics.labels.pending if metrics.labels is not None else 0,
    }


def _newest_checkpoint(services: Services, name: str, lineage: LineageId | None) -> Checkpoint:
    found = services.registry.checkpoints.newest(lineage) if lineage is not None else None
    if found is None:
        msg = f"found no checkpoint of {name}, expected one; start `headrace learn {name}` first, or it was deleted"
        raise NotFoundError(msg)
    return found
