"""What was excluded while a replay ran, held against what that replay has learned."""

from collections.abc import Sequence

from service.domain.exclusion import Stretch, TimeRange, offsets, shown
from service.domain.order import touches
from service.domain.position import Run
from service.domain.replaying import Plan
from service.domain.specification import ModelSpec
from service.errors import RefusedError
from service.operations.history import History
from service.operations.services import Services


def require_unlearned(
    services: Services, model: str, plan: Plan, *, learned: Sequence[Run], read: Sequence[Run] = ()
) -> None:
    """RefusedError where something is excluded that has been learned, or offsets that are `read` to be learned.

    Times that the plan has left out from the beginning are not looked for again: that takes a look at the records.
    """
    in_force = services.exclusions.list(model)
    runs = offsets([one.stretch for one in in_force])
    hit: Stretch | None = next((one for one in runs if touches([*learned, *read], [one])), None)
    timed = [one.stretch for one in in_force if isinstance(one.stretch, TimeRange) and one.id not in plan.exclusions]
    if hit is None and timed:
        hit = _learned_by_time(services, plan, timed, learned=learned)
    if hit is not None:
        msg = (
            f"found {shown(hit)} excluded after this replay of {model} had learned it; "
            f"ask for the rollback again, and see `headrace exclusion list {model}`"
        )
        raise RefusedError(msg)


def _learned_by_time(
    services: Services, plan: Plan, timed: Sequence[TimeRange], *, learned: Sequence[Run]
) -> TimeRange | None:
    history = History(services, ModelSpec.model_validate(plan.spec))
    try:
        return next((one for one in timed if history.excluded(learned, stretches=[one])), None)
    finally:
        history.close()
