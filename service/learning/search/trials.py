"""Inputs and results of a search: rows, trials, progress, and the best trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from service.domain.specification.candidates import TrialRecipe
from service.domain.stream.events import Event, Label
from service.errors import EstimatorError

Indices: TypeAlias = npt.NDArray[np.intp]
FoldRows: TypeAlias = tuple[Indices, Indices]
"""Training rows and validation rows, each in stream order."""


class HistoryRows(Protocol):
    """Labelled events in order of time, which need not all be in memory."""

    def __len__(self) -> int:
        """Return the number of events."""
        ...

    def take(self, rows: Indices) -> Sequence[Event]:
        """Return these events, in the given order; callers ask for a few thousand at most."""
        ...

    def labels(self, rows: Indices) -> Sequence[Label]:
        """Return the labels of these rows."""
        ...

    def times(self, rows: Indices) -> Sequence[int]:
        """Return the event times in epoch milliseconds."""
        ...


class InMemoryRows:
    """Rows that are all in memory."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self._events)

    def take(self, rows: Indices) -> Sequence[Event]:
        """Return the events at these indices."""
        return [self._events[at] for at in rows.tolist()]

    def labels(self, rows: Indices) -> Sequence[Label]:
        """Return the labels of the events that have one."""
        return [event.y for event in self.take(rows) if event.y is not None]

    def times(self, rows: Indices) -> Sequence[int]:
        """Return the event times in epoch milliseconds."""
        return [event.ts for event in self.take(rows)]


@dataclass(frozen=True, slots=True)
class WarmState:
    """A state of the champion from which recipes with `warm_start` continue.

    `snapshot` is its pickled estimator, `estimator` its expression, `until_ms` the latest event time it has learned.
    """

    snapshot: bytes
    estimator: Any
    until_ms: int


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to run; `thresholds` are the scores that it must reach at its steps to go on, NaN where there is none."""

    number: int
    recipe: TrialRecipe
    thresholds: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """The outcome of a trial: `steps` are prequential scores during training, `folds` the scores that decide."""

    number: int
    state: TrialState
    steps: Sequence[float] = ()
    folds: Sequence[float] = ()
    reason: str = ""
    duration_s: float = 0.0

    @property
    def value(self) -> float | None:
        """Return the mean over folds, or the last score of a pruned trial, or None if there is none."""
        if self.state is TrialState.COMPLETE:
            return math.fsum(self.folds) / len(self.folds)
        return self.steps[-1] if self.state is TrialState.PRUNED else None


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe and its outcome; `seed` is the estimator's. If the recipe was tried before, `same_as` is that trial."""

    recipe: TrialRecipe
    outcome: TrialOutcome
    seed: int
    same_as: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON values."""
        return {
            "number": self.outcome.number,
            "candidate": self.recipe.candidate,
            "state": self.outcome.state.value,
            "value": self.outcome.value,
            "folds": list(self.outcome.folds),
            "steps": list(self.outcome.steps),
            "duration_s": round(self.outcome.duration_s, 3),
            "reason": self.outcome.reason,
            "same_as": self.same_as,
            "seed": self.seed,
            "estimator": self.recipe.estimator,
            "epochs": self.recipe.epochs,
            "class_weights": self.recipe.class_weights,
            "warm_start": self.recipe.warm_start,
            "params": dict(self.recipe.params),
        }


class SearchEnd(StrEnum):
    """Why a search ended."""

    DONE = "done"
    TIME = "time"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """Progress of a search; `best` is the best value so far."""

    done: int
    total: int
    best: float | None = None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """All trials in order, and the best of those that completed."""

    trials: Sequence[Trial]
    best: Trial | None
    ended: SearchEnd
    metric: str
    seed: int
    refused: Mapping[str, str] = field(default_factory=dict)
    """Candidates that were not tried, with the reasons."""

    def require_best(self) -> Trial:
        """Return the best trial, or raise EstimatorError, which says why none completed."""
        if self.best is not None:
            return self.best
        reasons = [*self.refused.values(), *(one.outcome.reason for one in self.trials if one.outcome.reason)]
        why = f"; the first says: {reasons[0]}" if reasons else ""
        msg = (
            f"found no candidate with a score after {len(self.trials)} trials ({self.ended.value}){why}; expected one "
            "at least: give `budget` more time, or run `headrace check`"
        )
        raise EstimatorError(msg)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain JSON values."""
        return {
            "metric": self.metric,
            "seed": self.seed,
            "ended": self.ended.value,
            "best": None if self.best is None else self.best.outcome.number,
            "refused": dict(self.refused),
            "trials": [one.to_json() for one in self.trials],
        }
