"""Predicts and learns a batch of numeric events: computes exactly what river's mini-batches do, at lower cost.

River takes data frames and turns them into matrices at each step. A linear model behind a `StandardScaler`, the
commonest model on a stream, gets the matrix directly; its predictions and state equal river's bit for bit. Every other
estimator gets a data frame.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import polars as pl
from river import compose, linear_model, preprocessing

from service.domain.stream.events import Task
from service.learning.engine.binary_probabilities import BinaryProbabilities
from service.learning.engine.columns import EventColumns, Matrix
from service.learning.engine.fast_path import RawPrediction
from service.learning.river_internals import learn_linear, linear_scores


class BatchFastPath(Protocol):
    """The mini-batch calls of one estimator: predict a batch, learn a batch."""

    def predict(self, events: EventColumns) -> Sequence[RawPrediction]:
        """Return one prediction for each event, without learning."""
        ...

    def learn(self, events: EventColumns) -> None:
        """Learn the whole batch in one call."""
        ...


def make_batch_fast_path(estimator: Any, *, task: Task, probabilities: bool) -> BatchFastPath:
    """Return the fastest path that fits the estimator: a matrix, or else data frames."""
    parts = _scaled_logistic(estimator) if task is Task.BINARY and probabilities else None
    return _ScaledLogistic(*parts) if parts else _DataFramePath(estimator, task, probabilities=probabilities)


class _DataFramePath:
    """Calls the estimator's own mini-batch methods with data frames."""

    def __init__(self, estimator: Any, task: Task, *, probabilities: bool) -> None:
        self._estimator = estimator
        self._task = task
        self._probabilities = probabilities

    def predict(self, events: EventColumns) -> Sequence[RawPrediction]:
        """Return values, labels, or the probabilities of the classes seen so far, one for each event."""
        frame = _frame(events)
        if not self._probabilities:
            return list(self._estimator.predict_many(frame).to_list())
        found = self._estimator.predict_proba_many(frame)
        labels = self._classes(found.columns)
        if labels == [False, True]:
            return BinaryProbabilities(*(column.to_numpy() for column in found.get_columns()))
        return [dict(zip(labels, row, strict=True)) for row in found.rows()]

    def learn(self, events: EventColumns) -> None:
        """Call the estimator's `learn_many`."""
        self._estimator.learn_many(_frame(events), pl.Series("y", events.ys))

    def _classes(self, columns: Sequence[str]) -> list[Any]:
        if self._task is not Task.BINARY:
            return list(columns)
        return [{"True": True, "False": False, "true": True, "false": False}.get(str(c), c) for c in columns]


class _ScaledLogistic:
    """Runs `StandardScaler | LogisticRegression` on a matrix with contiguous columns, like a data frame's."""

    def __init__(self, scaler: Any, model: Any) -> None:
        self._scaler = scaler
        self._model = model

    def predict(self, events: EventColumns) -> Sequence[RawPrediction]:
        """Return the probabilities of both classes for each event."""
        columns = list(events.names)
        linear = linear_scores(self._model, self._scaled(columns, _matrix(events)), columns)
        positive: Matrix = self._model.loss.mean_func(linear)
        return BinaryProbabilities(1.0 - positive, positive)

    def learn(self, events: EventColumns) -> None:
        """Update the scaler, then let the model make one step on the batch's mean gradient."""
        columns, matrix = list(events.names), _matrix(events)
        self._scaler_learns(columns, matrix)
        learn_linear(self._model, self._scaled(columns, matrix), columns, np.array(events.ys))

    def _scaled(self, columns: list[str], matrix: Matrix) -> Matrix:
        means, variances = self._scaler.means, self._scaler.vars
        scaled: Matrix = matrix - np.array([means[name] for name in columns])
        deviations = np.array([variances[name] ** 0.5 for name in columns])
        np.divide(scaled, deviations, where=deviations > 0, out=scaled)
        return scaled

    def _scaler_learns(self, columns: list[str], matrix: Matrix) -> None:
        """Merge the batch's mean and variance into the known ones (Chan, Golub and LeVeque, 1979)."""
        scaler, rows = self._scaler, len(matrix)
        batch_means = np.nanmean(matrix, axis=0)
        batch_variances = np.einsum("ij,ij->j", matrix, matrix) / rows - batch_means**2
        for name, mean, variance in zip(columns, batch_means, batch_variances, strict=True):
            known, known_mean = scaler.counts[name], scaler.means[name]
            old, new = known / (known + rows), rows / (known + rows)
            scaler.means[name] = (old * known_mean + new * mean).item()
            spread = old * new * (known_mean - mean) ** 2
            scaler.vars[name] = (old * scaler.vars[name] + new * variance + spread).item()
            scaler.counts[name] = known + rows


def _scaled_logistic(estimator: Any) -> tuple[Any, Any] | None:
    if type(estimator) is not compose.Pipeline or len(estimator.steps) != 2:
        return None
    scaler, model = estimator.steps.values()
    plain = type(scaler) is preprocessing.StandardScaler and type(model) is linear_model.LogisticRegression
    if not plain or not scaler.with_std or scaler.window_size is not None:
        return None
    return scaler, model


def _matrix(events: EventColumns) -> Matrix:
    """Return the features with one row for each event, in column-major order like a data frame's."""
    return np.asfortranarray(events.numbers.T)


def _frame(events: EventColumns) -> pl.DataFrame:
    return pl.DataFrame(events.numbers.T, schema=list(events.names), orient="row")
