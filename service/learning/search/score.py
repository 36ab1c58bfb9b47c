"""The prequential score of a trial on the deciding metric."""

from collections.abc import Sequence
from typing import Any, Protocol

from service.domain.stream.events import Event, Label, Task
from service.learning.engine.fast_path import RawPrediction
from service.learning.engine.prediction_columns import prediction_columns
from service.learning.estimators import build as estimators
from service.learning.metrics.prequential import MetricSet


class PredictionForm(Protocol):
    """The form of a model's predictions, as in `FastPath`."""

    @property
    def gives_probabilities(self) -> bool:
        """Return whether a prediction is, or carries, `{label: probability}`."""
        ...

    @property
    def gives_pairs(self) -> bool:
        """Return whether a prediction is (label, probabilities)."""
        ...


class PrequentialScore:
    """One metric over a sequence of events, each predicted before it was learned."""

    def __init__(self, metric: str | dict[str, Any], *, task: Task, seed: int) -> None:
        self._task = task
        self._family = MetricSet([metric], seed=seed)

    def update(self, events: Sequence[Event], predictions: Sequence[RawPrediction], model: PredictionForm) -> None:
        """Score the predictions; events without one are skipped."""
        truths: list[Label] = [event.y for event in events if event.y is not None]
        labels, probabilities = prediction_columns(
            predictions, task=self._task, gives_probabilities=model.gives_probabilities, gives_pairs=model.gives_pairs
        )
        if None in labels:
            kept = [at for at, label in enumerate(labels) if label is not None]
            truths, labels = [truths[at] for at in kept], [labels[at] for at in kept]
            probabilities = None if probabilities is None else [probabilities[at] for at in kept]
        if truths:
            self._family.update(truths, labels, probabilities)

    @property
    def value(self) -> float:
        """Return the metric's value, as river computes it."""
        return next(iter(self._family.report().values()))


def bigger_is_better(metric: str | dict[str, Any], *, seed: int) -> bool:
    """Return whether river wants this metric maximized."""
    name, arguments = (metric, {}) if isinstance(metric, str) else next(iter(metric.items()))
    dotted = name if "." in name else f"metrics.{name}"
    return bool(estimators.object_from_expression({dotted: arguments}, seed=seed, path="metrics").bigger_is_better)
