"""What a user wants left out, in the terms of the model's stream."""

from collections.abc import Sequence

from service.domain.registry.registry import DeadLetter
from service.domain.registry.replay_plan import Plan
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Reason
from service.domain.stream.exclusion import Exclusion, Stretch, TimeRange, offsets, parsed, shown
from service.domain.stream.offset_ranges import touches
from service.domain.stream.position import Run
from service.errors import RefusedError
from service.operations.history.reader import History
from service.operations.services import Services
from service.ports.stream import Source

MOST_LETTERS = 1_000_000


def as_offsets(source: Source, topics: Sequence[str], times: Sequence[TimeRange]) -> Sequence[Run]:
    """The records of these topics with these times, the end not included, as far as the stream still holds them."""
    found = []
    for time in times:
        first, last = (source.bounds(topics, since_ms=ms) for ms in time.ms)
        found += [
            Run(at.topic, at.partition, bounds.start, last[at].start)
            for at, bounds in first.items()
            if at in last and bounds.start < last[at].start
        ]
    return found


def excluded(services: Services, model: str, stretches: Sequence[str]) -> list[Exclusion]:
    """FROM..TO as they are written; ConfigurationError."""
    if not stretches:
        return []
    spec = ModelSpec.model_validate(services.models.get(model).spec)
    topics = [spec.events, *([spec.labels] if spec.labels not in (None, spec.events) else [])]
    source = services.source(f"{spec.name}-replay")
    try:
        partitions = list(source.bounds([topic for topic in topics if topic]))
    finally:
        source.close()
    return [Exclusion(parsed(text, partitions, events=spec.events)) for text in stretches]


def exclude(services: Services, model: str, stretch: str, *, actor: str, reason: str) -> Exclusion:
    """Have no lineage of the model learn FROM..TO from now on; ConfigurationError."""
    (wanted,) = excluded(services, model, [stretch])
    return services.exclusions.add(model, Exclusion(wanted.stretch, reason, actor))


def deadly(services: Services, model: str) -> Sequence[DeadLetter]:
    """Return the records that killed a process, which whoever learns history leaves out: they would kill it too."""
    return services.dead_letters.list(model, limit=MOST_LETTERS, reason=Reason.KILLED_PROCESS)


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
