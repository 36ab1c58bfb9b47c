"""What a search is told, and what it tells: trials, their progress, and which was the best."""

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
"""Rows to learn, and rows to be scored by; each in the order in which the stream had them."""


class HistoryRows(Protocol):
    """Labelled events in the order of time, which need not all exist at once."""

    def __len__(self) -> int:
        """How many."""
        ...

    def take(self, rows: Indices) -> Sequence[Event]:
        """These, in the order given; a few thousand at most are asked for at a time."""
        ...

    def labels(self, rows: Indices) -> Sequence[Label]:
        """The labels alone."""
        ...

    def times(self, rows: Indices) -> Sequence[int]:
        """When they happened, in epoch milliseconds."""
        ...


class InMemoryRows:
    """Events that are all there."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def __len__(self) -> int:
        """How many."""
        return len(self._events)

    def take(self, rows: Indices) -> Sequence[Event]:
        """Those at these places."""
        return [self._events[at] for at in rows.tolist()]

    def labels(self, rows: Indices) -> Sequence[Label]:
        """Of those that have one."""
        return [event.y for event in self.take(rows) if event.y is not None]

    def times(self, rows: Indices) -> Sequence[int]:
        """When they happened."""
        return [event.ts for event in self.take(rows)]


@dataclass(frozen=True, slots=True)
class WarmState:
    """A state of the champion that recipes with `warm_start` go on from.

    `snapshot` is its estimator as the codec wrote it, `estimator` its expression, `until_ms` the latest event time
    that it has learned.
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
    """A trial to be run; `bars` are the scores that it must reach at its steps to go on, NaN where there is none."""

    number: int
    recipe: TrialRecipe
    thresholds: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What became of a trial: `steps` are prequential scores while it learned, `folds` those that count."""

    number: int
    state: TrialState
    steps: Sequence[float] = ()
    folds: Sequence[float] = ()
    reason: str = ""
    duration_s: float = 0.0

    @property
    def value(self) -> float | None:
        """The mean over folds; of a pruned trial the last that it reached, None where it reached nothing."""
        if self.state is TrialState.COMPLETE:
            return math.fsum(self.folds) / len(self.folds)
        return self.steps[-1] if self.state is TrialState.PRUNED else None


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe and how it did; `seed` is that of its estimator. One whose recipe was tried before repeats `same_as`."""

    recipe: TrialRecipe
    outcome: TrialOutcome
    seed: int
    same_as: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything of it, in plain values."""
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
    """Why no more trials were begun."""

    DONE = "done"
    TIME = "time"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search is; `best` is the best value so far."""

    done: int
    total: int
    best: float | None = None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """All trials by their numbers, and the best of those that completed."""

    trials: Sequence[Trial]
    best: Trial | None
    ended: SearchEnd
    metric: str
    seed: int
    refused: Mapping[str, str] = field(default_factory=dict)
    """Candidates that were not tried, each with its reason."""

    def require_best(self) -> Trial:
        """EstimatorError says what became of the trials where none completed."""
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
        """Everything of it, in plain values."""
        return {
            "metric": self.metric,
            "seed": self.seed,
            "ended": self.ended.value,
            "best": None if self.best is None else self.best.outcome.number,
            "refused": dict(self.refused),
            "trials": [one.to_json() for one in self.trials],
        }
