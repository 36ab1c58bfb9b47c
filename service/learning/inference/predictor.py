"""Predictions from a checkpoint's estimator and guard, without learning. Pure: no clock, no IO."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from service.domain.specification.limits import LARGEST_PREDICTION
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import EventId, Features, Label, RefusalReason
from service.learning.engine.fast_path import RawPrediction, make_fast_path
from service.learning.engine.prediction_values import as_python_values
from service.learning.guard.guard import FeatureGuard
from service.learning.guard.prediction_guard import FeatureFault, PredictionGuard
from service.learning.inference.vectorized import make_vectorized_predict
from service.learning.learner.state import decode_state
from service.learning.pickling import codec


class PredictionResult(msgspec.Struct, kw_only=True, gc=False):
    """The prediction for one item, with probabilities by label name if the model gives any."""

    id: EventId | msgspec.UnsetType = msgspec.UNSET
    prediction: Label | None
    probabilities: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    explanation: Any = msgspec.UNSET


PredictionOrFaults: TypeAlias = PredictionResult | Sequence[FeatureFault]
"""A prediction, or the faults that prevented it."""


class Predictor:
    """Checks features as the guard of the stream does, and predicts."""

    def __init__(self, spec: ModelSpec, state: bytes, *, allowed: frozenset[tuple[str, str]] = frozenset()) -> None:
        data = decode_state(state)
        self.spec = spec
        self.prediction_guard = PredictionGuard(FeatureGuard.restore(spec.guard, data["guard"]))
        self.estimator: Any = codec.loads(data["estimator"], extra=allowed)
        self._fast_path = make_fast_path(self.estimator, task=spec.task)
        self._predict_rows = make_vectorized_predict(self.estimator)
        self.unseen_count = 0
        """How many requests had unseen features; an estimator may keep a trace of their names."""

    def predict(self, x: Features) -> PredictionOrFaults:
        """Return the prediction for one item, or its faults."""
        if not self.prediction_guard.passes(x):
            faults = self.prediction_guard.faults(x)
            if faults:
                return faults
            self.unseen_count += 1
        try:
            output = self._fast_path.predict(x)
        except Exception as error:  # noqa: BLE001 - a user's estimator may throw anything
            return [FeatureFault("", RefusalReason.ESTIMATOR_FAILED, f"{type(error).__name__}: {error}")]
        return self._to_result(output)

    def predict_many(self, xs: Sequence[Features]) -> Sequence[PredictionOrFaults]:
        """Return exactly what `predict` returns for each item, computed together where the estimator allows it."""
        found = self._predict_rows(xs) if self._predict_rows and self._all_pass(xs) else None
        if found is None:
            return self._predict_each(xs)
        return [self._to_result(prediction) for prediction in found]

    def labels_by_name(self, x: Features) -> Mapping[str, Label]:
        """Return the labels by the names that they have in the result's probabilities for these features."""
        output = self._fast_path.predict(x)
        probabilities = output[1] if self._fast_path.gives_pairs else output
        return {label_name(key): as_python_values([key])[0] for key in probabilities}

    def _predict_each(self, xs: Sequence[Features]) -> Sequence[PredictionOrFaults]:
        predict_ahead = getattr(self.estimator, "predict_ahead", None)
        if predict_ahead is None:
            return [self.predict(x) for x in xs]
        predict_ahead([x for x in xs if self.prediction_guard.passes(x)])
        try:
            return [self.predict(x) for x in xs]
        finally:
            predict_ahead([])

    def _all_pass(self, xs: Sequence[Features]) -> bool:
        return all(map(self.prediction_guard.passes, xs))

    def _to_result(self, output: RawPrediction) -> PredictionOrFaults:
        label, probabilities = output if self._fast_path.gives_pairs else (output, None)
        if self._fast_path.gives_probabilities:
            probabilities = output if probabilities is None else probabilities
            if not math.isfinite(total := sum(probabilities.values())) or abs(total) >= LARGEST_PREDICTION:
                return _NOT_FINITE
            if not self._fast_path.gives_pairs:
                label = max(probabilities, key=probabilities.__getitem__) if probabilities else None
            named = {label_name(key): float(chance) for key, chance in probabilities.items()}
            return PredictionResult(
                prediction=label if type(label) in _JSON_LABEL_TYPES else as_python_values([label])[0],
                probabilities=named,
            )
        if isinstance(label, float) and not abs(label) < LARGEST_PREDICTION:
            return _NOT_FINITE
        return PredictionResult(prediction=as_python_values([label])[0])


_JSON_LABEL_TYPES = {bool, str, int}


def label_name(label: Any) -> str:
    """Return the label's name in JSON; the number 1 is not `true`."""
    own = label if type(label) in _JSON_LABEL_TYPES else as_python_values([label])[0]
    if type(own) is bool:
        return "true" if own else "false"
    return str(own)


_NOT_FINITE = [FeatureFault("", RefusalReason.NON_FINITE_PREDICTION, "the model predicts what is not finite")]
