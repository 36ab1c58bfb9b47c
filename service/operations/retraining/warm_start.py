"""A state of the champion from which a candidate may go on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import structlog

from service.domain.registry.registry import Checkpoint
from service.domain.stream.exclusion import times
from service.domain.stream.offset_ranges import touches
from service.domain.stream.position import Position, Run
from service.errors import ArtifactError, EnvironmentChangedError, NotFoundError
from service.learning.datasets.dataset import TrainingData
from service.learning.learner.state import opened
from service.learning.search.trials import WarmState
from service.operations.history.reader import History
from service.operations.retraining.baseline import Outset
from service.operations.services import Services
from service.operations.states.sealed_state import open_learner

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Warmth:
    """The state, and all that it has learned."""

    state: WarmState
    learned: Sequence[Run]


def warmth(services: Services, outset: Outset, data: TrainingData, *, before_ms: int) -> Warmth | None:
    """The newest that has learned nothing that happened then or later, and nothing that is excluded."""
    for checkpoint in services.checkpoints.newest_first(outset.line.lineage.id):
        until_ms = _until_ms(data, checkpoint.position)
        learned = outset.line.order_at(checkpoint.sequence)
        if until_ms >= before_ms or not learned or not _is_clean(services, outset, learned):
            continue
        for snapshot in _estimator(services, outset, checkpoint):
            return Warmth(WarmState(snapshot, outset.spec.estimator, until_ms), learned)
    return None


def _until_ms(data: TrainingData, position: Position) -> int:
    """The latest event of the window that stands before the position; without any, just before the window."""
    before = pl.lit(value=False)
    for (topic, partition), offset in position.offsets.items():
        before |= (pl.col("topic") == topic) & (pl.col("partition") == partition) & (pl.col("offset") < offset)
    latest = data.table.filter(before).get_column("ts").max()
    return int(data.times[0]) - 1 if not isinstance(latest, int) else latest


def _is_clean(services: Services, outset: Outset, learned: Sequence[Run]) -> bool:
    """Neither it nor those from which it took over have met what is excluded."""
    known = [*learned, *outset.line.seen]
    if touches(known, outset.holes):
        return False
    if not times(outset.stretches):
        return True
    history = History(services, outset.spec)
    try:
        return not history.excluded(known, stretches=outset.stretches)
    finally:
        history.close()


def _estimator(services: Services, outset: Outset, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Its snapshot, which has learned what waited for a micro-batch; nothing where it cannot be read."""
    try:
        learner = open_learner(services, checkpoint.digest, spec=outset.spec)
    except (ArtifactError, NotFoundError, EnvironmentChangedError) as error:
        _log.info("no_warm_start_from", sequence=checkpoint.sequence, error=str(error))
        return
    list(learner.flush())
    yield opened(learner.state())["estimator"]
