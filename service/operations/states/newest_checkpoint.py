"""The newest checkpoint of a lineage that must have one."""

from service.domain.registry.registry import Checkpoint, LineageId
from service.errors import NotFoundError
from service.operations.services import Services


def newest_checkpoint(services: Services, lineage: LineageId) -> Checkpoint:
    """Return it; raise NotFoundError where it is gone: a model may be deleted while another process works with it."""
    found = services.checkpoints.newest(lineage)
    if found is None:
        msg = (
            f"found no checkpoint of lineage {lineage}, expected one: its model has been deleted; "
            "see `headrace model list`"
        )
        raise NotFoundError(msg)
    return found
