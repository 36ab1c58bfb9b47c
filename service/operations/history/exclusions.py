"""Parses, records and checks exclusions: the ranges of the stream that a model must not learn."""

from collections.abc import Sequence

from service.domain.registry.registry import DeadLetter
from service.domain.registry.replay_plan import ReplayPlan
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import RefusalReason
from service.domain.stream.exclusion import (
    ExcludedRange,
    Exclusion,
    TimeRange,
    format_range,
    offset_ranges,
    parse_range,
)
from service.domain.stream.offset_ranges import overlaps
from service.domain.stream.position import OffsetRange
from service.errors import RefusedError
from service.operations.history.reader import HistoryReader
from service.operations.services import Services
from service.ports.stream import Source

MOST_LETTERS = 1_000_000


def time_ranges_as_runs(
    source: Source, topics: Sequence[str], time_ranges: Sequence[TimeRange]
) -> Sequence[OffsetRange]:
    """Return the offsets of the topics' records in these time ranges (end exclusive) that the stream still holds."""
    runs = []
    for time in time_ranges:
        first, last = (source.bounds(topics, since_ms=ms) for ms in time.bounds_ms)
        runs += [
            OffsetRange(at.topic, at.partition, bounds.start, last[at].start)
            for at, bounds in first.items()
            if at in last and bounds.start < last[at].start
        ]
    return runs


def parse_exclusions(services: Services, model: str, texts: Sequence[str]) -> list[Exclusion]:
    """Parse ranges written as FROM..TO; raise ConfigurationError for one that cannot be read."""
    if not texts:
        return []
    spec = ModelSpec.model_validate(services.registry.models.get(model).spec)
    topics = [spec.events, *([spec.labels] if spec.labels not in (None, spec.events) else [])]
    source = services.streams.source(f"{spec.name}-replay")
    try:
        partitions = list(source.bounds([topic for topic in topics if topic]))
    finally:
        source.close()
    return [Exclusion(parse_range(text, partitions, events=spec.events)) for text in texts]


def record_exclusion(services: Services, model: str, text: str, *, actor: str, reason: str) -> Exclusion:
    """Record that no lineage of the model may learn FROM..TO from now on; raise ConfigurationError as parsing does."""
    (exclusion,) = parse_exclusions(services, model, [text])
    return services.registry.exclusions.add(model, Exclusion(exclusion.excluded_range, reason, actor))


def deadly(services: Services, model: str) -> Sequence[DeadLetter]:
    """Return the dead letters that killed a process; a replay must leave them out, or they would kill it too."""
    return services.registry.dead_letters.list(model, limit=MOST_LETTERS, reason=RefusalReason.KILLED_PROCESS)


def require_unlearned(
    services: Services,
    model: str,
    plan: ReplayPlan,
    *,
    learned: Sequence[OffsetRange],
    read: Sequence[OffsetRange] = (),
) -> None:
    """Raise RefusedError if an exclusion in force covers something in `learned` or in `read`, which is learned next.

    Time ranges that the plan has excluded from the beginning are not checked, since that means reading the records.
    """
    in_force = services.registry.exclusions.list(model)
    runs = offset_ranges([one.excluded_range for one in in_force])
    learned_range: ExcludedRange | None = next((one for one in runs if overlaps([*learned, *read], [one])), None)
    time_ranges = [
        one.excluded_range
        for one in in_force
        if isinstance(one.excluded_range, TimeRange) and one.id not in plan.exclusions
    ]
    if learned_range is None and time_ranges:
        learned_range = _learned_time_range(services, plan, time_ranges, learned=learned)
    if learned_range is not None:
        msg = (
            f"found {format_range(learned_range)} excluded after this replay of {model} had learned it; "
            f"ask for the rollback again, and see `headrace exclusion list {model}`"
        )
        raise RefusedError(msg)


def _learned_time_range(
    services: Services, plan: ReplayPlan, time_ranges: Sequence[TimeRange], *, learned: Sequence[OffsetRange]
) -> TimeRange | None:
    history = HistoryReader(services, ModelSpec.model_validate(plan.spec))
    try:
        return next((one for one in time_ranges if history.excluded_runs(learned, excluded_ranges=[one])), None)
    finally:
        history.close()
