"""The datasets of a search: a window of the archive, its split and folds, and the records behind them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from service.domain.registry.archive import backfill_topic
from service.domain.registry.registry import Json
from service.domain.specification.retrain import RetrainSpec
from service.domain.stream.events import Label, TopicPartition
from service.domain.stream.offset_ranges import in_order_of, subtract_ranges
from service.domain.stream.position import OffsetRange, Position
from service.errors import TrainingDataError
from service.learning.datasets import feasibility, folds, splits
from service.learning.datasets.dataset import ORDER_COLUMNS, TrainingData
from service.learning.search.trials import FoldRows
from service.operations.retraining.baseline import TrainingBaseline
from service.operations.retraining.catch_up import TrainingPlan
from service.operations.services import Services
from service.operations.training_data.load import first_offsets, load_training_data
from service.operations.training_data.window import WindowRequest

_PART_COLUMN = "@part"


@dataclass(frozen=True, slots=True)
class TrainingDatasets:
    """The whole window, its parts, and `development`: the train and validation parts together in event-time order.

    `folds` are pairs of row indices of `development`: to learn, and to score.
    """

    data: TrainingData
    parts: splits.DataSplit
    development: TrainingData
    folds: Sequence[FoldRows]

    @property
    def scored_since_ms(self) -> int:
        """Return when the first event happens by which a trial is scored, in epoch milliseconds."""
        times = self.development.times
        return int(min(times[validation if len(validation) else train].min() for train, validation in self.folds))

    def last_label_before(self, test: TrainingData) -> Label | None:
        """Return the last label before the test part, with which the no-change baseline begins, or None."""
        row = int(np.searchsorted(self.development.times, test.times[0]))
        return None if not row else self.development.table.item(row - 1, "y")


def load_datasets(
    services: Services, baseline: TrainingBaseline, retrain_spec: RetrainSpec, *, on_test_opened: Callable[[Json], None]
) -> TrainingDatasets:
    """Load and split the window; `on_test_opened` is called when the test part is read.

    Raise TrainingDataError or BelowStartError for a window that cannot be trained on as it was requested.
    """
    spec = baseline.spec
    if retrain_spec.window is None:
        msg = f"found no window for {spec.name}, expected one to divide, like `window: {{events: 100000}}`"
        raise TrainingDataError(msg)
    data = load_training_data(services, spec, WindowRequest(retrain_spec.window, until=baseline.position))
    feasibility.require_classes(data, where="the window")
    test_size: dict[str, int] = {}
    parts = splits.split_data(
        data,
        retrain_spec.split,
        seed=spec.seed,
        on_open=partial(on_test_opened, test_size),
        by_content=retrain_spec.window.duplicates == "content",
    )
    test_size |= {"events": len(parts.test), "of": len(data)}
    development, hold_out = _development(parts)
    fold_rows: Sequence[FoldRows] = [hold_out]
    if retrain_spec.cv is not None:
        fold_rows = [(one.train, one.test) for one in folds.make_folds(development, retrain_spec.cv, seed=spec.seed)]
    return TrainingDatasets(data, parts, development, fold_rows)


def plan_catch_up(services: Services, baseline: TrainingBaseline, data: TrainingData) -> TrainingPlan:
    """Return the plan to learn every record of the window: backfilled history first, then in the champion's order."""
    window_ends = _window_ends(baseline, data)
    window_runs = subtract_ranges(
        [OffsetRange(*at, first, window_ends[at]) for at, first in data.begin.offsets.items()],
        baseline.excluded_offsets,
    )
    older = [run for run in window_runs if run.topic == backfill_topic(baseline.spec.events)]
    newer = [run for run in window_runs if run.topic != backfill_topic(baseline.spec.events)]
    runs = [*older, *in_order_of(baseline.learned_runs, newer)]
    return TrainingPlan(baseline.spec, runs, baseline.excluded_ranges, _end_position(services, baseline, data))


def _development(parts: splits.DataSplit) -> tuple[TrainingData, FoldRows]:
    """Return both parts in one table, and the row indices of each."""
    numbered = enumerate((parts.train.table, parts.validation.table))
    tables = [table.with_columns(pl.lit(number).alias(_PART_COLUMN)) for number, table in numbered]
    both = pl.concat(tables).sort(ORDER_COLUMNS)
    part = both.get_column(_PART_COLUMN)
    fold = ((part == 0).arg_true().to_numpy().astype(np.intp), (part == 1).arg_true().to_numpy().astype(np.intp))
    return TrainingData(parts.train.task, both.drop(_PART_COLUMN)), fold


def _window_ends(baseline: TrainingBaseline, data: TrainingData) -> dict[TopicPartition, int]:
    """Return where the window ends in each partition; in backfilled history, after the last event trained on."""
    backfilled_rows = data.table.filter(pl.col("topic") == backfill_topic(baseline.spec.events))
    last = first_offsets(backfilled_rows.with_columns(-pl.col("offset")))
    return {**{at: 1 - offset for at, offset in last.items()}, **data.end.offsets}


def _end_position(services: Services, baseline: TrainingBaseline, data: TrainingData) -> Position:
    """Return the window's end; for a partition without archive, where the model began to read it."""
    initial_offsets = services.registry.history.versions(baseline.spec.name)[0].position.offsets
    return Position({at: data.end.offsets.get(at, initial_offsets.get(at, 0)) for at in baseline.position.offsets})
