"""What a user wants left out, in the terms of the model's stream."""

from collections.abc import Sequence

from service.domain.events import Reason
from service.domain.exclusion import Exclusion, parsed
from service.domain.registry import DeadLetter
from service.domain.specification import ModelSpec
from service.operations.services import Services

MOST_LETTERS = 1_000_000


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
