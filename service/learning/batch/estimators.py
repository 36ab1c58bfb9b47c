"""River-compatible wrappers of scikit-learn and LightGBM estimators: fitted by a training job, frozen on the stream.

`learn_one` leaves the model as it is, and trains only the calibration, if there is one. An unfitted estimator predicts
nothing. A pickle holds plain values and the model's bytes, in the format of `models.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from river import base

from service.errors import EstimatorError
from service.learning import pickled
from service.learning.batch import catalogue as batch_catalogue
from service.learning.batch import models as batch_models
from service.learning.batch.feature_matrix import FeatureEncoder, Matrix
from service.learning.batch.fit import fit_batch_model
from service.learning.batch.models import BatchModel
from service.learning.batch.platt_scaling import OnlinePlattScaling


class _FrozenEstimator:
    """What classifiers and regressors have in common."""

    def __init__(self, name: str, parameters: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self.name = name
        self.parameters = dict(parameters)
        self.options = dict(options)
        self._encoder: FeatureEncoder | None = None
        self._model: BatchModel | None = None
        self._library_version = ""
        self._predicted_ahead: dict[int, tuple[Any, Any]] = {}

    @property
    def is_fitted(self) -> bool:
        """Return whether a training job has fitted it."""
        return self._model is not None

    def predict_ahead(self, xs: Sequence[Mapping[str, Any]]) -> None:
        """Predict these events at once, for the calls that follow one by one; results are as if each came alone."""
        if not xs or self._model is None or self._encoder is None:
            return
        found = self._model.predict_each(self._encoder.rows(xs))
        self._predicted_ahead = {id(x): (x, one) for x, one in zip(xs, found, strict=True)}

    def clone(self, new_params: Any = None, include_attributes: bool = False) -> Self:  # noqa: FBT001, FBT002 - river's
        """Return an unfitted estimator with the same parameters."""
        made = type(self)(self.name, {**self.parameters, **(new_params or {})}, self.options)
        if include_attributes:
            made.__setstate__(self.__getstate__())
        return made

    def __reduce__(self) -> Any:
        """Return how pickle writes it: without the name of this module."""
        return pickled.reduced(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return plain values, and the model's bytes."""
        state: dict[str, Any] = {
            "name": self.name,
            "parameters": self.parameters,
            "options": self.options,
            "release": self._library_version,
        }
        if self._model is not None and self._encoder is not None:
            state["model"] = self._model.to_bytes()
            state["names"] = list(self._encoder.names)
            state["categories"] = {name: dict(known) for name, known in self._encoder.categories.items()}
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Load the state; raise ForbiddenClassError, ArtifactError or EnvironmentChangedError for a bad model."""
        _FrozenEstimator.__init__(self, state["name"], state["parameters"], state["options"])
        self._library_version = state["release"]
        if "model" in state:
            self._encoder = FeatureEncoder(state["names"], state["categories"])
            self._model = batch_models.load_batch_model(
                _library_of(self.name), state["model"], release=self._library_version
            )

    def _fit(self, frame: pl.DataFrame, targets: npt.NDArray[Any], weights: Any) -> None:
        encoder = FeatureEncoder.of(frame)
        given = None if weights is None else np.asarray(weights, dtype=np.float64)
        targets_and_weights = (targets, given)
        rows = encoder.matrix(frame)
        self._model = fit_batch_model(
            self.name, self.parameters, self.options, encoder=encoder, rows=rows, targets=targets_and_weights
        )
        self._encoder, self._library_version, self._predicted_ahead = (
            encoder,
            batch_models.installed_version(_library_of(self.name)),
            {},
        )

    def _predict_row(self, x: Mapping[str, Any]) -> Any:
        """Return the model's raw output for one event, or None before it is fitted."""
        if self._model is None or self._encoder is None:
            return None
        known = self._predicted_ahead.get(id(x))
        if known is not None and known[0] is x:
            return known[1]
        return self._model.predict(self._encoder.rows([x]))[0]

    def _contributions(
        self, x: Mapping[str, Any], class_index: int | None
    ) -> tuple[float, dict[str, float], int | None] | None:
        """Return base, contributions by feature and class index, for the uncalibrated score; None if not available."""
        if self._model is None or self._encoder is None:
            return None
        found = self._model.contributions(self._encoder.rows([x]), class_index)
        if found is None:
            return None
        return found.base, dict(zip(self._encoder.names, found.columns.tolist(), strict=True)), found.class_index

    def _predict_frame(self, frame: pl.DataFrame) -> Matrix | None:
        if self._model is None or self._encoder is None:
            return None
        return self._model.predict(self._encoder.matrix(frame))


class BatchClassifier(_FrozenEstimator, base.Classifier):
    """A batch classifier, which knows the classes of its training data."""

    def __init__(self, name: str, parameters: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        super().__init__(name, parameters, options)
        self._classes: list[Any] = []
        self._calibration: OnlinePlattScaling | None = None

    @property
    def _multiclass(self) -> bool:
        return True

    def fit(self, frame: pl.DataFrame, labels: Sequence[Any], weights: Any = None) -> Self:
        """Fit on features named as in `predict_one`; raise EstimatorError for labels of fewer than two classes."""
        classes = sorted(set(labels), key=lambda label: (type(label).__name__, label))
        if len(classes) < 2:
            msg = (
                f"found labels of {len(classes)} class to train {self.name} on, expected two or more; choose more data"
            )
            raise EstimatorError(msg)
        number = {label: i for i, label in enumerate(classes)}
        self._fit(frame, np.asarray([number[label] for label in labels]), weights)
        self._classes = classes
        online = self.options["calibration"] == "online"
        self._calibration = OnlinePlattScaling.identity(len(classes)) if online else None
        return self

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Train the calibration only; a class that was not in the training data is ignored."""
        if self._calibration is not None and y in self._classes:
            self._calibration.learn(self._probabilities(self._predict_row(x)), self._classes.index(y), weight=w)

    def learn_many(self, X: pl.DataFrame, y: Any) -> None:  # noqa: N803 - river's name
        """Do the same as `learn_one`, row by row."""
        outputs = self._predict_frame(X) if self._calibration is not None else None
        for one, label in zip(() if outputs is None else outputs, y, strict=outputs is not None):
            if self._calibration is not None and label in self._classes:
                self._calibration.learn(self._probabilities(one), self._classes.index(label), weight=1.0)

    def predict_proba_one(self, x: dict[Any, Any], **_named: Any) -> dict[Any, float]:
        """Return the probability of each class of the training data; empty before it is fitted."""
        output = self._predict_row(x)
        return {} if output is None else dict(zip(self._classes, self._calibrated(output), strict=True))

    def predict_proba_many(self, X: pl.DataFrame) -> pl.DataFrame:  # noqa: N803 - river's name
        """Return a column of probabilities for each class."""
        outputs = self._predict_frame(X)
        rows = [] if outputs is None else [self._calibrated(one) for one in outputs]
        return pl.DataFrame(rows, schema=[str(label) for label in self._classes], orient="row")

    def predict_many(self, X: pl.DataFrame) -> pl.Series:  # noqa: N803 - river's name
        """Return the most probable class of each row."""
        outputs = self._predict_frame(X)
        if outputs is None:
            return pl.Series("y", [None] * X.height)
        probabilities = (self._calibrated(one) for one in outputs)
        return pl.Series("y", [self._classes[int(np.argmax(one))] for one in probabilities])

    def contributions(self, x: Mapping[str, Any], label: Any) -> tuple[float, dict[str, float], Any] | None:
        """Return a base, a contribution per feature, and the label whose score they sum to; None if not available."""
        found = self._contributions(x, self._classes.index(label)) if label in self._classes else None
        return None if found is None else (*found[:2], self._classes[found[2] or 0])

    def __getstate__(self) -> dict[str, Any]:
        """Return the base state with the classes and the calibration."""
        models = None if self._calibration is None else list(self._calibration.models)
        return {**super().__getstate__(), "classes": self._classes, "calibrators": models}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Load the base state, the classes and the calibration."""
        super().__setstate__(state)
        self._classes = state["classes"]
        models = state["calibrators"]
        self._calibration = None if models is None else OnlinePlattScaling(models)

    def _probabilities(self, output: Any) -> list[float]:
        """Return a probability per class; LightGBM gives one number for two classes."""
        return [1 - float(output), float(output)] if np.ndim(output) == 0 else [float(one) for one in output]

    def _calibrated(self, output: Any) -> list[float]:
        probabilities = self._probabilities(output)
        return probabilities if self._calibration is None else self._calibration.calibrated(probabilities)


class BatchRegressor(_FrozenEstimator, base.Regressor):
    """A batch regressor."""

    def fit(self, frame: pl.DataFrame, labels: Sequence[Any], weights: Any = None) -> Self:
        """Fit on features named as in `predict_one`."""
        self._fit(frame, np.asarray(labels, dtype=np.float64), weights)
        return self

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Do nothing, because the model is frozen."""

    def learn_many(self, X: pl.DataFrame, y: Any) -> None:  # noqa: N803 - river's name
        """Do nothing, because the model is frozen."""

    def predict_one(self, x: dict[Any, Any]) -> Any:
        """Return the predicted value, or None before it is fitted."""
        output = self._predict_row(x)
        return None if output is None else float(output)

    def contributions(self, x: Mapping[str, Any], _label: Any) -> tuple[float, dict[str, float], None] | None:
        """Return a base and a contribution per feature that sum to the value; None if not available."""
        found = self._contributions(x, None)
        return None if found is None else (*found[:2], None)

    def predict_many(self, X: pl.DataFrame) -> pl.Series:  # noqa: N803 - river's name
        """Return a value for each row."""
        outputs = self._predict_frame(X)
        return pl.Series("y", [None] * X.height if outputs is None else outputs.tolist())


def made(name: str, parameters: Mapping[str, Any], options: Mapping[str, Any]) -> BatchClassifier | BatchRegressor:
    """Return an unfitted estimator of this name."""
    kind = BatchRegressor if batch_catalogue.is_regressor(name) else BatchClassifier
    return kind(name, parameters, options)


def _library_of(name: str) -> str:
    return name.removeprefix(batch_catalogue.BATCH_PREFIX).partition(".")[0]
