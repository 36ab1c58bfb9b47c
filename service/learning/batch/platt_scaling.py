"""Online calibration of a frozen classifier's probabilities.

Platt scaling (J. Platt, "Probabilistic outputs for support vector machines", Advances in Large Margin Classifiers,
1999), learned online: a logistic regression of river on the logit, which begins as the identity. With more than two
classes, each has its own model, and the results are normalized to sum to 1.
"""

import math
from collections.abc import Sequence
from typing import Any

from river import linear_model, optim

PROBABILITY_CLIP = 1e-6
LEARNING_RATE = 0.01


class OnlinePlattScaling:
    """Online Platt scaling; the models are its entire state."""

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = models

    @classmethod
    def identity(cls, classes: int) -> "OnlinePlattScaling":
        """Return a calibration that changes nothing yet."""
        return cls([_identity_model() for _ in range(1 if classes == 2 else classes)])

    def calibrated(self, given: Sequence[float]) -> list[float]:
        """Return the calibrated probabilities, in the order of the classes."""
        if len(self.models) == 1:
            positive = float(self.models[0].predict_proba_one(_logit(given[1]))[True])
            return [1 - positive, positive]
        found = [float(model.predict_proba_one(_logit(p))[True]) for model, p in zip(self.models, given, strict=True)]
        total = sum(found)
        return [one / total for one in found] if total > 0 else list(given)

    def learn(self, given: Sequence[float], class_index: int, *, weight: float) -> None:
        """Learn that the class with this index was the true one."""
        if len(self.models) == 1:
            self.models[0].learn_one(_logit(given[1]), class_index == 1, w=weight)
            return
        for number, (model, p) in enumerate(zip(self.models, given, strict=True)):
            model.learn_one(_logit(p), number == class_index, w=weight)


def _identity_model() -> Any:
    """Return the identity: river sets the initial weight on the first event, and a weight of 0 teaches nothing else."""
    found = linear_model.LogisticRegression(
        optimizer=optim.SGD(LEARNING_RATE), intercept_lr=LEARNING_RATE, initializer=optim.initializers.Constant(1.0)
    )
    found.learn_one({"logit": 0.0}, y=True, w=0.0)
    return found


def _logit(p: float) -> dict[str, float]:
    clipped = min(max(p, PROBABILITY_CLIP), 1 - PROBABILITY_CLIP)
    return {"logit": math.log(clipped / (1 - clipped))}
