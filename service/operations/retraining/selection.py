"""Which candidate is trained in the end: the best of a search, or the only one there is."""

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
from service.domain.specification.candidates import Recipe
from service.domain.specification.model import ModelSpec
from service.domain.specification.retrain import RetrainSpec
from service.domain.specification.search_spaces import Space
from service.domain.stream.events import Task
from service.learning.datasets.dataset import TrainingData
from service.learning.estimators.candidates import Ground, complete, require_candidates
from service.learning.metrics.names import Metric
from service.learning.metrics.prequential import DEFAULTS
from service.learning.search.batch_trainer import trainer_of
from service.learning.search.context import Course
from service.learning.search.run_trial import refit
from service.learning.search.search import Plan, search
from service.learning.search.table_rows import TableRows
from service.learning.search.trainers import Model
from service.learning.search.trials import SearchProgress, SearchResult, WarmState
from service.operations.retraining.datasets import Material


@contextmanager
def shared(data: TrainingData) -> Iterator[Callable[[], TableRows]]:
    """What loads the rows, here and in processes that this one has started, until the end of the block."""
    with tempfile.TemporaryFile() as file:
        data.table.write_ipc(file)
        file.flush()
        yield partial(load, f"/proc/{os.getpid()}/fd/{file.fileno()}", data.task)


def load(path: str, task: Task) -> TableRows:
    """The rows of such a file."""
    return TableRows(TrainingData(task, pl.read_ipc(Path(path).read_bytes())))


@dataclass(frozen=True, slots=True)
class Winner:
    """What is trained; `found` is None where nothing had to be searched."""

    recipe: Recipe
    found: SearchResult | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """Candidates of one model on one material, from one state of the champion if any is to go on from it."""

    spec: ModelSpec
    given: RetrainSpec
    material: Material
    warm: WarmState | None = None

    @property
    def needs_search(self) -> bool:
        """Whether there is anything to choose, or to cross-validate."""
        return bool(self.given.candidates) or self.given.cv is not None

    @property
    def metric(self) -> Metric:
        """Which decides."""
        return (self.spec.metrics or DEFAULTS[self.spec.task])[0]

    def winner(self, *, left_s: float, progress: Callable[[SearchProgress], None]) -> Winner:
        """SpecificationError for candidates that cannot be, EstimatorError where none of the trials came to a score."""
        ground = Ground.of(self.spec)
        if not self.needs_search:
            own = complete((), ground)
            require_candidates(own, ground, trials=1)
            return Winner(candidates.recipe(own[0], _undecided))
        plan = Plan(self.given.candidates, self.given.budget, self.spec.seed, max(left_s, 0.0))
        with shared(self.material.development) as load:
            found = search(plan, replace(self._course(), load=load), progress=progress)
        return Winner(found.require_best().recipe, found)

    def developed(self, recipe: Recipe) -> Model:
        """The recipe trained on the train and the validation part, and on nothing else."""
        rows = TableRows(self.material.development)
        return refit(recipe, self._course(), rows, rows=np.arange(len(rows)))

    def final(self, recipe: Recipe) -> Model:
        """The recipe trained on all of the window, the test part too, which has been read by now."""
        rows = TableRows(self.material.data)
        return refit(recipe, self._course(), rows, rows=np.arange(len(rows)))

    def _course(self) -> Course:
        return Course(
            lambda: TableRows(self.material.development),
            self.material.folds,
            Ground.of(self.spec),
            self.metric,
            time.monotonic,
            self.warm,
            trainer_of,
        )


def search_time_s(given: RetrainSpec, *, spent_s: float) -> float:
    """What a search may still take of its share."""
    return given.budget.max_runtime * given.budget.share - spent_s


def _undecided(path: str, space: Space) -> NoReturn:
    msg = f"{path}: found the space {space} in the champion's own estimator, expected a value"
    raise TypeError(msg)
