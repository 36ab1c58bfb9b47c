"""Scikit-learn's members with an underscore are what `scikit_internals` takes them for."""

import importlib
from typing import Any

import numpy as np
import pytest
from sklearn import ensemble, linear_model

from service.learning import scikit_internals
from service.learning.batch import models as batch_models
from service.learning.pickling import codec
from tests.internals import changed

WHY = changed("scikit-learn", module=scikit_internals)
FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
NODE = {"value", "is_leaf", "left", "right", "feature_idx", "num_threshold", "missing_go_to_left", "is_categorical"}


def test_parameters_are_judged_without_data() -> None:
    """Scikit-learn's own check refuses what `fit` would, by name."""
    scikit_internals.validate_parameters(linear_model.SGDClassifier())
    with pytest.raises(ValueError, match="alpha"):
        scikit_internals.validate_parameters(linear_model.SGDClassifier(alpha=-1))


@pytest.mark.parametrize("name", [*FORESTS, "GradientBoostingClassifier", "HistGradientBoostingClassifier"])
def test_forests_are_told_from_other_ensembles(name: str) -> None:
    """Forests average their trees; boosting, which adds them up, is no forest."""
    assert scikit_internals.is_forest(getattr(ensemble, name)()) is (name in FORESTS), WHY


@pytest.mark.parametrize("kind", [ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor])
def test_a_boosted_model_keeps_its_trees(kind: Any) -> None:
    """Each boosting round has one tree per score, whose nodes have their fields, and there is a baseline."""
    rows = np.random.default_rng(0).normal(size=(200, 3))
    model = kind(max_iter=3)
    assert not scikit_internals.has_histogram_trees(model), WHY
    model.fit(rows, rows[:, 0] > 0)
    assert scikit_internals.has_histogram_trees(model), WHY
    rounds = scikit_internals.histogram_trees(model)
    assert [len(one) for one in rounds] == [1, 1, 1], WHY
    assert set(rounds[0][0].nodes.dtype.names) >= NODE, WHY
    assert np.isfinite(scikit_internals.histogram_baseline(model)).all(), WHY
    assert not [*scikit_internals.histogram_trees(linear_model.SGDClassifier())], WHY


@pytest.mark.parametrize(
    ("module", "name"), sorted(one for one in codec._WRAPPER_CLASSES if one[0].startswith("sklearn."))
)
def test_what_pickles_may_name_exists(module: str, name: str) -> None:
    """Every private class that the codec lists for scikit-learn is still there under that name."""
    assert hasattr(importlib.import_module(module), name), changed("scikit-learn", module=codec)


@pytest.mark.parametrize(
    ("module", "name"), sorted({one[:2] for one in batch_models.ALLOWED_NODES if one[0].startswith("sklearn.")})
)
def test_what_a_fitted_model_may_hold_exists(module: str, name: str) -> None:
    """Every class that a batch model's file may name is still there under that name."""
    assert hasattr(importlib.import_module(module), name), changed("scikit-learn", module=batch_models)
