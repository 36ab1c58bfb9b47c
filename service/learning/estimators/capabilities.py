"""Capabilities of estimators beyond learning one event: sample weights and batches."""

import inspect
from typing import Any

from river import compose, multiclass


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline; any other estimator itself."""
    return next(reversed(estimator.steps.values())) if isinstance(estimator, compose.Pipeline) else estimator


def takes_weights(estimator: Any) -> bool:
    """Return whether `learn_one` has a parameter named `w`.

    Keyword arguments are not enough: a pipeline drops what its last step does not name, and an ensemble that takes any
    keyword need not use it.
    """
    try:
        return "w" in inspect.signature(final_step(estimator).learn_one).parameters
    except (TypeError, ValueError):
        return False


def part_without_learn_many(estimator: Any) -> str | None:
    """Return the class name of a part that cannot learn a batch, or None."""
    return next((type(part).__name__ for part in _parts(estimator) if not _has_learn_many(part)), None)


def _parts(estimator: Any) -> list[Any]:
    if isinstance(estimator, compose.Pipeline):
        return [part for step in estimator.steps.values() for part in _parts(step)]
    if isinstance(estimator, compose.TransformerUnion):
        return [part for step in estimator.transformers.values() for part in _parts(step)]
    if isinstance(estimator, multiclass.OneVsRestClassifier):
        return [estimator, *_parts(estimator.classifier)]
    return [estimator]


def _has_learn_many(part: Any) -> bool:
    answers = any(hasattr(part, name) for name in ("predict_many", "predict_proba_many", "transform_many"))
    return answers and hasattr(part, "learn_many")
