"""Finding a state of the champion from which a candidate may continue (a warm start)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import structlog

from service.domain.registry.registry import Checkpoint
from service.domain.stream.exclusion import time_ranges
from service.domain.stream.offset_ranges import overlaps
from service.domain.stream.position import OffsetRange, Position
from service.errors import ArtifactError, EnvironmentChangedError, NotFoundError
from service.learning.datasets.dataset import TrainingData
from service.learning.learner.state import decode_state
from service.learning.search.trials import WarmState
from service.operations.history.reader import HistoryReader
from service.operations.retraining.baseline import TrainingBaseline
from service.operations.services import Services
from service.operations.states.sealed_state import open_learner

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WarmStart:
    """The state, and everything that it has learned."""

    state: WarmState
    learned: Sequence[OffsetRange]


def find_warm_start(
    services: Services, baseline: TrainingBaseline, data: TrainingData, *, before_ms: int
) -> WarmStart | None:
    """Return the newest state that has learned nothing since `before_ms` and nothing excluded, or None.

    `before_ms` is in epoch milliseconds of event time.
    """
    for checkpoint in services.registry.checkpoints.newest_first(baseline.node.lineage.id):
        until_ms = _learned_until_ms(data, checkpoint.position)
        learned = baseline.node.order_at(checkpoint.sequence)
        if until_ms >= before_ms or not learned or not _is_clean(services, baseline, learned):
            continue
        for snapshot in _estimator_snapshot(services, baseline, checkpoint):
            return WarmStart(WarmState(snapshot, baseline.spec.estimator, until_ms), learned)
    return None


def _learned_until_ms(data: TrainingData, position: Position) -> int:
    """Return the time of the latest event of the window before the position; without one, just before the window."""
    before = pl.lit(value=False)
    for (topic, partition), offset in position.offsets.items():
        before |= (pl.col("topic") == topic) & (pl.col("partition") == partition) & (pl.col("offset") < offset)
    latest = data.table.filter(before).get_column("ts").max()
    return int(data.times[0]) - 1 if not isinstance(latest, int) else latest


def _is_clean(services: Services, baseline: TrainingBaseline, learned: Sequence[OffsetRange]) -> bool:
    """Return whether neither it nor the lineages that it replaced have learned or seen anything excluded."""
    learned_or_seen = [*learned, *baseline.node.traces]
    if overlaps(learned_or_seen, baseline.excluded_offsets):
        return False
    if not time_ranges(baseline.excluded_ranges):
        return True
    history = HistoryReader(services, baseline.spec)
    try:
        return not history.excluded_runs(learned_or_seen, excluded_ranges=baseline.excluded_ranges)
    finally:
        history.close()


def _estimator_snapshot(services: Services, baseline: TrainingBaseline, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Yield the estimator's snapshot with its micro-batch flushed; yield nothing where the state cannot be read."""
    try:
        learner = open_learner(services, checkpoint.digest, spec=baseline.spec)
    except (ArtifactError, NotFoundError, EnvironmentChangedError) as error:
        _log.info("warm_start_state_unreadable", sequence=checkpoint.sequence, error=str(error))
        return
    list(learner.flush())
    yield decode_state(learner.state())["estimator"]
