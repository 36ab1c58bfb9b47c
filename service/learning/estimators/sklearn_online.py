"""River-compatible wrappers of scikit-learn's online estimators, with plain Python labels and predictions."""

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
    """An unfitted classifier; its classes are sorted, as scikit-learn orders probabilities."""

    def __init__(self, estimator: Any, classes: Sequence[str | int]) -> None:
        super().__init__(clone(estimator), sorted(classes))

    def __reduce__(self) -> Any:
        """Return how pickle writes it: without the name of this module."""
        return pickled.reduced(self)

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn one event; raise ValueError for an unknown label, which some estimators would silently accept."""
        self._require_known({y})
        super().learn_one(x, y)

    def learn_many(self, X: Any, y: Any) -> None:  # noqa: N803 - river's name
        """Learn a batch; raise ValueError for an unknown label."""
        self._require_known(set(y))
        super().learn_many(X, y)

    def _require_known(self, labels: set[Any]) -> None:
        unknown = labels - set(self.classes)
        if unknown:
            msg = f"found the label {next(iter(unknown))!r:.80}, expected one of the classes {self.classes!r:.200}"
            raise ValueError(msg)

    def predict_one(self, x: dict[Any, Any], **named: Any) -> Any:
        """Return the label, or the first class before anything was learned."""
        return _python_value(super().predict_one(x, **named))

    def predict_proba_one(self, x: dict[Any, Any], **named: Any) -> Any:
        """Return the probability of each class; raise NotImplementedError if the estimator has none."""
        if not hasattr(self.estimator, "predict_proba"):
            raise NotImplementedError
        return super().predict_proba_one(x, **named)

    def contributions(self, x: Mapping[Any, float], label: Any) -> tuple[float, Mapping[Any, float], Any] | None:
        """Return a base, each feature's contribution to the score, and the class; None if not available."""
        number = self.classes.index(label) if self.classes else None
        found = _contributions(self, x, number)
        return found and (*found[:2], None if found[2] is None else self.classes[found[2]])


class ScikitRegressor(compat.SKL2RiverRegressor):
    """An unfitted regressor."""

    def __init__(self, estimator: Any) -> None:
        super().__init__(clone(estimator))

    def __reduce__(self) -> Any:
        """Return how pickle writes it: without the name of this module."""
        return pickled.reduced(self)

    def predict_one(self, x: dict[Any, Any]) -> Any:
        """Return the value, or 0 before anything was learned."""
        return _python_value(super().predict_one(x))

    def contributions(self, x: Mapping[Any, float], label: Any) -> tuple[float, Mapping[Any, float], None] | None:
        """Return a base, and each feature's contribution to the value; None if not available."""
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
