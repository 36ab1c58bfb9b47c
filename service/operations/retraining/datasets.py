"""What a search works with: a window of the archive, divided, and the records of which it is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from service.domain.registry.archive import backfilled
from service.domain.registry.registry import Json
from service.domain.specification.retrain import RetrainSpec
from service.domain.stream.events import Label, TopicPartition
from service.domain.stream.offset_ranges import minus, within
from service.domain.stream.position import Position, Run
from service.errors import TrainingDataError
from service.learning.datasets import feasibility as feasible
from service.learning.datasets import folds, splits
from service.learning.datasets.dataset import ORDER, TrainingData
from service.learning.search.trials import Fold
from service.operations.retraining.baseline import Outset
from service.operations.retraining.catch_up import Syllabus
from service.operations.services import Services
from service.operations.training_data.load import firsts, training_data
from service.operations.training_data.window import Ask

_PART = "@part"


@dataclass(frozen=True, slots=True)
class Material:
    """All of the window, its parts, and the train and validation part together in the order of time.

    `folds` are rows of `development`, to learn and to be scored by.
    """

    data: TrainingData
    parts: splits.Split
    development: TrainingData
    folds: Sequence[Fold]

    @property
    def scored_since_ms(self) -> int:
        """When the first event happens by which a trial is scored."""
        times = self.development.times
        return int(min(times[validation if len(validation) else train].min() for train, validation in self.folds))

    def before(self, test: TrainingData) -> Label | None:
        """The last truth before the test part, which is what no change would have said."""
        earlier = int(np.searchsorted(self.development.times, test.times[0]))
        return None if not earlier else self.development.table.item(earlier - 1, "y")


def gather(services: Services, outset: Outset, given: RetrainSpec, *, opened: Callable[[Json], None]) -> Material:
    """TrainingDataError or BelowStartError for a window that cannot be trained on as it was asked for."""
    spec = outset.spec
    if given.window is None:
        msg = f"found no window for {spec.name}, expected one to divide, like `window: {{events: 100000}}`"
        raise TrainingDataError(msg)
    data = training_data(services, spec, Ask(given.window, until=outset.position))
    feasible.require_classes(data, where="the window")
    told: dict[str, int] = {}
    parts = splits.split(
        data,
        given.split,
        seed=spec.seed,
        opened=partial(opened, told),
        by_content=given.window.duplicates == "content",
    )
    told |= {"events": len(parts.test), "of": len(data)}
    development, hold_out = _development(parts)
    chosen: Sequence[Fold] = [hold_out]
    if given.cv is not None:
        chosen = [(one.train, one.test) for one in folds.folds(development, given.cv, seed=spec.seed)]
    return Material(data, parts, development, chosen)


def syllabus(services: Services, outset: Outset, data: TrainingData) -> Syllabus:
    """Every record of the window, in the order of the champion where it has learned them; history before it first."""
    last = _ends(outset, data)
    wanted = minus([Run(*at, first, last[at]) for at, first in data.begin.offsets.items()], outset.holes)
    older = [run for run in wanted if run.topic == backfilled(outset.spec.events)]
    newer = [run for run in wanted if run.topic != backfilled(outset.spec.events)]
    runs = [*older, *within(outset.order, newer)]
    return Syllabus(outset.spec, runs, outset.stretches, _position(services, outset, data))


def _development(parts: splits.Split) -> tuple[TrainingData, Fold]:
    """Both parts in one table, and which of its rows are of which."""
    numbered = enumerate((parts.train.table, parts.validation.table))
    tables = [table.with_columns(pl.lit(number).alias(_PART)) for number, table in numbered]
    both = pl.concat(tables).sort(ORDER)
    part = both.get_column(_PART)
    fold = ((part == 0).arg_true().to_numpy().astype(np.intp), (part == 1).arg_true().to_numpy().astype(np.intp))
    return TrainingData(parts.train.task, both.drop(_PART)), fold


def _ends(outset: Outset, data: TrainingData) -> dict[TopicPartition, int]:
    """Where the window ends in each partition; of older history, behind the last event that is trained on."""
    old = data.table.filter(pl.col("topic") == backfilled(outset.spec.events))
    last = firsts(old.with_columns(-pl.col("offset")))
    return {**{at: 1 - offset for at, offset in last.items()}, **data.end.offsets}


def _position(services: Services, outset: Outset, data: TrainingData) -> Position:
    """The window's end; where nothing is archived of a partition, where the model began to read it."""
    began = services.history.versions(outset.spec.name)[0].position.offsets
    return Position({at: data.end.offsets.get(at, began.get(at, 0)) for at in outset.position.offsets})
