"""Fitting of a batch estimator on a numeric matrix, in which texts are encoded as category numbers."""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from service.learning.batch import catalogue as batch_catalogue
from service.learning.batch.feature_matrix import FeatureEncoder, Matrix
from service.learning.batch.models import BatchModel, LightgbmModel, ScikitModel

DETERMINISTIC: Mapping[str, Any] = {"deterministic": True, "force_row_wise": True, "verbosity": -1}
"""With these, LightGBM makes the same model from the same data, whatever the number of threads."""


def fit_batch_model(
    name: str,
    parameters: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    encoder: FeatureEncoder,
    rows: Matrix,
    targets: tuple[npt.NDArray[Any], npt.NDArray[np.float64] | None],
) -> BatchModel:
    """Return the fitted model; `targets` are values or class indices, and weights if there are any.

    Scikit-learn's own loops run on one thread, because sums over several threads depend on their number.
    """
    estimator_class: Any = batch_catalogue.find_batch_class(name, path="estimator")
    labels, weights = targets
    if name.startswith(f"{batch_catalogue.BATCH_PREFIX}lightgbm."):
        made = estimator_class(**parameters, **DETERMINISTIC)
        made.fit(rows, labels, sample_weight=weights, categorical_feature=encoder.categorical_indices or "auto")
        return LightgbmModel(made.booster_.model_to_string())
    made = estimator_class(**parameters)
    pipeline = _pipeline(made, options, encoder=encoder)
    weighted = {} if weights is None else {"model__sample_weight": weights}
    with importlib.import_module("threadpoolctl").threadpool_limits(limits=1):
        return ScikitModel(pipeline.fit(rows, labels, **weighted))


def _pipeline(model: Any, options: Mapping[str, Any], *, encoder: FeatureEncoder) -> Any:
    """Build a pipeline of only the necessary steps, since each costs part of a millisecond per prediction."""
    steps: list[tuple[str, Any]] = []
    if encoder.categorical_indices and options["categories"] == "onehot":
        steps.append(("categories", _one_hot_encoder(encoder)))
    if not model.__sklearn_tags__().input_tags.allow_nan:
        imputer: Any = importlib.import_module("sklearn.impute").SimpleImputer
        steps.append(("missing", imputer(strategy="median", keep_empty_features=True)))
    if options["scale"]:
        steps.append(("scale", importlib.import_module("sklearn.preprocessing").StandardScaler()))
    made: Any = importlib.import_module("sklearn.pipeline").Pipeline([*steps, ("model", model)])
    return made


def _one_hot_encoder(table: FeatureEncoder) -> Any:
    """Return an encoder with a column for each category; an unknown category has zeros in all of them."""
    encoder: Any = importlib.import_module("sklearn.preprocessing").OneHotEncoder
    transformer: Any = importlib.import_module("sklearn.compose").ColumnTransformer
    known = [np.arange(float(len(table.categories[table.names[place]]))) for place in table.categorical_indices]
    one_hot = encoder(categories=known, handle_unknown="ignore", sparse_output=False)
    return transformer([("categories", one_hot, table.categorical_indices)], remainder="passthrough")
