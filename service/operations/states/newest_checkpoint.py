"""Finds the newest checkpoint of a lineage that must have one."""

from service.domain.registry.registry import Checkpoint, LineageId
from service.errors import NotFoundError
from service.operations.services import Services


def newest_checkpoint(services: Services, lineage: LineageId) -> Checkpoint:
    """Return the newest checkpoint of the lineage; raise NotFoundError if there is none."""
    # There is none when another process has deleted the model meanwhile.
    found = services.registry.checkpoints.newest(lineage)
    if found is None:
        msg = (
            f"found no checkpoint of lineage {lineage}, expected one: its model has been deleted; "
            "see `headrace model list`"
        )
        raise NotFoundError(msg)
    return found
