"""Contributions of features to a prediction."""

import math
from itertools import cycle, islice
from typing import Any

import pytest
from river import datasets, forest, linear_model, naive_bayes, preprocessing, tree

from service.errors import RefusedError
from service.learning.inference.explanations import explain

PHISHING = [(dict(x), y) for x, y in datasets.Phishing()]


def taught(model: Any, *, times: int = 1) -> Any:
    """Train an estimator on the events, once or several times."""
    for x, y in islice(cycle(PHISHING), times * len(PHISHING)):
        model.learn_one(x, y)
    return model


def test_a_linear_models_contributions_add_up_to_its_prediction() -> None:
    """The intercept plus weight times scaled value of all features is the logit of the probability."""
    model = taught(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    for x, _ in PHISHING[:50]:
        found = explain(model, x, label=True)
        assert 1 / (1 + math.exp(-found.total)) == pytest.approx(model.predict_proba_one(x)[True])
        assert found.base + sum(one.contribution for one in found.contributions) == pytest.approx(found.total)
        assert found.label == "true"
        assert {one.feature for one in found.contributions} <= set(x)
        sizes = [abs(one.contribution) for one in found.contributions]
        assert sizes == sorted(sizes, reverse=True)


def test_a_trees_path_leads_from_the_root_to_its_leaf() -> None:
    """The root's share plus the change at each split is the leaf's; a missing feature takes the common path."""
    model = taught(tree.HoeffdingTreeClassifier(grace_period=50, leaf_prediction="mc"), times=4)
    assert model.height > 0
    for x, _ in PHISHING[:50]:
        label = model.predict_one(x)
        found = explain(model, x, label=label)
        assert found.total == pytest.approx(model.predict_proba_one(x)[label])
        assert found.label == str(label).lower()
        assert found.contributions
    assert explain(model, {}, label=True).contributions


def test_a_forest_has_the_mean_of_its_trees() -> None:
    """The total of a forest's explanation is a share between 0 and 1."""
    model = taught(forest.ARFClassifier(n_models=3, seed=1, grace_period=50), times=4)
    found = explain(model, PHISHING[0][0], label=True)
    assert 0 <= found.total <= 1
    assert found.contributions


def test_the_value_of_a_regression_has_no_label() -> None:
    """Contributions of a linear regression and of a tree add up to a value."""
    for model in (
        linear_model.LinearRegression(),
        tree.HoeffdingTreeRegressor(grace_period=50, leaf_prediction="mean"),
    ):
        for x, y in PHISHING * 2:
            model.learn_one(x, float(y))
        found = explain(model, PHISHING[0][0], model.predict_one(PHISHING[0][0]))
        assert found.total == pytest.approx(model.predict_one(PHISHING[0][0]))
        assert not found.label


def test_other_models_are_refused() -> None:
    """An unsupported model is refused, and the message names it."""
    with pytest.raises(RefusedError, match="GaussianNB"):
        explain(taught(naive_bayes.GaussianNB()), PHISHING[0][0], label=True)
