"""Scikit-learn's estimators in river's dress, with plain Python values for labels and predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from river import compat
from sklearn.base import clone, is_regressor

from service.learning import pickled
from service.learning.batch.contributions import column_contributions
from service.learning.river_internals import feature_names

__all__ = ["ScikitClassifier", "ScikitRegressor", "is_regressor"]


class ScikitClassifier(compat.SKL2RiverClassifier):
    """A classifier that has learned nothing; scikit-learn gives probabilities in the order of sorted classes."""

    def __init__(self, estimator: Any, classes: Sequence[str | int]) -> None:
        super().__init__(clone(estimator), sorted(classes))

    def __reduce__(self) -> Any:
        """Return how pickle writes it: without the name of this module."""
        return pickled.reduced(self)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn one event; ValueError for a label that is no class, which some estimators would overlook."""
        self._require_known({y})
        super().learn_one(x, y)

    def learn_many(self, X: Any, y: Any) -> None:  # noqa: N803 - river's name
        """Learn a batch; ValueError as `learn_one`."""
        self._require_known(set(y))
        super().learn_many(X, y)

    def _require_known(self, labels: set[Any]) -> None:
        unknown = labels - set(self.classes)
        if unknown:
            msg = f"found the label {next(iter(unknown))!r:.80}, expected one of the classes {self.classes!r:.200}"
            raise ValueError(msg)

    def predict_one(self, x: dict[Any, Any], **named: Any) -> Any:
        """The label; the first class before anything was learned."""
        return _python_value(super().predict_one(x, **named))

    def predict_proba_one(self, x: dict[Any, Any], **named: Any) -> Any:
        """All classes and their probabilities; NotImplementedError where the estimator has none."""
        if not hasattr(self.estimator, "predict_proba"):
            raise NotImplementedError
        return super().predict_proba_one(x, **named)

    def contributions(self, x: Mapping[Any, float], label: Any) -> tuple[float, Mapping[Any, float], Any] | None:
        """The base, what each feature adds to the score, and of which class; None for what cannot be explained."""
        number = self.classes.index(label) if self.classes else None
        found = _contributions(self, x, number)
        return found and (*found[:2], None if found[2] is None else self.classes[found[2]])


class ScikitRegressor(compat.SKL2RiverRegressor):
    """A regressor that has learned nothing."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(clone(estimator))

    def __reduce__(self) -> Any:
        """Return how pickle writes it: without the name of this module."""
        return pickled.reduced(self)

    def predict_one(self, x: dict[Any, Any]) -> Any:
        """The value; 0 before anything was learned."""
        return _python_value(super().predict_one(x))

    def contributions(self, x: Mapping[Any, float], label: Any) -> tuple[float, Mapping[Any, float], None] | None:
        """The base, and what each feature adds to it; None for what cannot be explained."""
        del label
        found = _contributions(self, x, None)
        return found and (*found[:2], None)


def _contributions(
    wrapped: Any, x: Mapping[Any, float], class_index: int | None
) -> tuple[float, Mapping[Any, float], int | None] | None:
    names = feature_names(wrapped)
    found = column_contributions(wrapped.estimator, np.asarray([float(x[name]) for name in names]), class_index)
    return found and (found.base, dict(zip(names, found.columns.tolist(), strict=True)), found.class_index)


def _python_value(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
