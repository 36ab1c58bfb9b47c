"""Model selection: the best candidate of a search, or the only one there is."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from service.domain.specification import candidates
from service.domain.specification.candidates import TrialRecipe
from service.domain.specification.model import ModelSpec
from service.domain.specification.retrain import RetrainSpec
from service.domain.specification.search_spaces import SearchSpace
from service.domain.stream.events import Task
from service.learning.datasets.dataset import TrainingData
from service.learning.estimators.candidates import ModelContext, complete_candidates, require_candidates
from service.learning.metrics.names import Metric
from service.learning.metrics.prequential import DEFAULT_METRICS
from service.learning.search.batch_trainer import select_trainer
from service.learning.search.context import TrialContext
from service.learning.search.run_trial import refit
from service.learning.search.search import SearchPlan, search_candidates
from service.learning.search.table_rows import TableRows
from service.learning.search.trainers import TrainedModel
from service.learning.search.trials import SearchOutcome, SearchProgress, WarmState
from service.operations.retraining.datasets import TrainingDatasets


@contextmanager
def share_rows(data: TrainingData) -> Iterator[Callable[[], TableRows]]:
    """Yield a function that loads the rows, here and in child processes, until the block ends."""
    with tempfile.TemporaryFile() as file:
        data.table.write_ipc(file)
        file.flush()
        # The file has no name: processes open it through this descriptor, and it is gone when the block ends.
        yield partial(load_rows, f"/proc/{os.getpid()}/fd/{file.fileno()}", data.task)


def load_rows(path: str, task: Task) -> TableRows:
    """Load the rows of a file written by `share_rows`."""
    return TableRows(TrainingData(task, pl.read_ipc(Path(path).read_bytes())))


@dataclass(frozen=True, slots=True)
class SelectedCandidate:
    """The recipe to train; `search_result` is None where nothing had to be searched."""

    recipe: TrialRecipe
    search_result: SearchOutcome | None = None


@dataclass(frozen=True, slots=True)
class ModelSelection:
    """Chooses a candidate on the datasets, with a state of the champion for those that start warm, if there is one."""

    spec: ModelSpec
    retrain_spec: RetrainSpec
    datasets: TrainingDatasets
    warm_state: WarmState | None = None

    @property
    def needs_search(self) -> bool:
        """Return whether there are candidates to choose from or folds to cross-validate."""
        return bool(self.retrain_spec.candidates) or self.retrain_spec.cv is not None

    @property
    def metric(self) -> Metric:
        """Return the metric that decides."""
        return (self.spec.metrics or DEFAULT_METRICS[self.spec.task])[0]

    def select(self, *, remaining_s: float, progress: Callable[[SearchProgress], None]) -> SelectedCandidate:
        """Return the selected candidate, after at most about `remaining_s` seconds of search.

        Raise SpecificationError for invalid candidates, and EstimatorError where no trial has a score.
        """
        ground = ModelContext.of(self.spec)
        if not self.needs_search:
            champion_candidate = complete_candidates((), ground)
            require_candidates(champion_candidate, ground, trials=1)
            return SelectedCandidate(candidates.build_recipe(champion_candidate[0], _reject_space))
        plan = SearchPlan(self.retrain_spec.candidates, self.retrain_spec.budget, self.spec.seed, max(remaining_s, 0.0))
        with share_rows(self.datasets.development) as load:
            search_result = search_candidates(plan, replace(self._trial_context(), load=load), progress=progress)
        return SelectedCandidate(search_result.require_best().recipe, search_result)

    def fit_development(self, recipe: TrialRecipe) -> TrainedModel:
        """Train the recipe on the train and validation parts only."""
        rows = TableRows(self.datasets.development)
        return refit(recipe, self._trial_context(), rows, rows=np.arange(len(rows)))

    def fit_window(self, recipe: TrialRecipe) -> TrainedModel:
        """Train the recipe on the whole window, including the test part, which has been read by then."""
        rows = TableRows(self.datasets.data)
        return refit(recipe, self._trial_context(), rows, rows=np.arange(len(rows)))

    def _trial_context(self) -> TrialContext:
        return TrialContext(
            lambda: TableRows(self.datasets.development),
            self.datasets.folds,
            ModelContext.of(self.spec),
            self.metric,
            time.monotonic,
            self.warm_state,
            select_trainer,
        )


def search_time_s(retrain_spec: RetrainSpec, *, spent_s: float) -> float:
    """Return how many seconds of its share of `max_runtime` a search has left."""
    return retrain_spec.budget.max_runtime * retrain_spec.budget.share - spent_s


def _reject_space(path: str, space: SearchSpace) -> NoReturn:
    msg = f"{path}: found the space {space} in the champion's own estimator, expected a value"
    raise TypeError(msg)
