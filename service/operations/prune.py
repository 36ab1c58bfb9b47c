"""Retention, asked for by hand."""

from service.domain.registry import Model
from service.domain.specification import ModelSpec
from service.errors import LeaseHeldError
from service.operations.services import Services


def prune(services: Services, model: Model) -> str:
    """What became of the model's checkpoints; a learner that writes the model prunes it by itself."""
    services.tidy()
    if model.champion is None:
        return "it has no champion"
    try:
        lease = services.leases.acquire(model.champion, holder=services.holder, ttl_s=services.lease_ttl_s)
    except LeaseHeldError:
        return "its learner does it by itself, once a minute"
    try:
        keep_s = ModelSpec.model_validate(model.spec).scores.keep
        return f"{services.checkpoints.thin(lease, keep_scores_s=keep_s)} checkpoints went"
    finally:
        services.leases.release(lease)
