"""The fast path computes exactly what river computes."""

from itertools import islice

import pytest
from river import compose, datasets, forest, linear_model, naive_bayes, optim, preprocessing, tree

from service.domain.stream.events import Task
from service.learning.engine.fast_path import make_fast_path

MODELS = {
    "scaled logistic regression": (
        Task.BINARY,
        datasets.Phishing,
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.005)),
    ),
    "max-abs scaled": (
        Task.BINARY,
        datasets.Phishing,
        lambda: preprocessing.MaxAbsScaler() | linear_model.LogisticRegression(),
    ),
    "two transformers": (
        Task.BINARY,
        datasets.Phishing,
        lambda: preprocessing.MaxAbsScaler() | preprocessing.StandardScaler() | linear_model.ALMAClassifier(),
    ),
    "union": (
        Task.BINARY,
        datasets.Phishing,
        lambda: (
            compose.TransformerUnion(preprocessing.StandardScaler(), preprocessing.MaxAbsScaler())
            | linear_model.LogisticRegression()
        ),
    ),
    "passive-aggressive, no probabilities": (
        Task.BINARY,
        datasets.Phishing,
        lambda: preprocessing.StandardScaler() | linear_model.PAClassifier(),
    ),
    "tree": (Task.BINARY, datasets.Phishing, tree.HoeffdingTreeClassifier),
    "forest": (Task.BINARY, datasets.Phishing, lambda: forest.ARFClassifier(n_models=3, seed=1)),
    "multiclass": (Task.MULTICLASS, datasets.ImageSegments, naive_bayes.GaussianNB),
    "regression": (
        Task.REGRESSION,
        datasets.ChickWeights,
        lambda: compose.SelectType(int, float) | preprocessing.StandardScaler() | linear_model.LinearRegression(),
    ),
    "scaled regression": (
        Task.REGRESSION,
        datasets.TrumpApproval,
        lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_equals_river(name: str) -> None:
    """Predictions before learning equal river's own, event by event, exactly."""
    task, data, make = MODELS[name]
    ours, oracle = make(), make()
    fast = make_fast_path(ours, task=task)
    for x, y in islice(data(), 400):
        label = oracle.predict_one(x)
        probabilities = oracle.predict_proba_one(x) if fast.gives_probabilities else None
        oracle.learn_one(x, y)
        found = fast.step(x, y)
        expected = (
            (label, probabilities) if fast.gives_pairs else (probabilities if fast.gives_probabilities else label)
        )
        assert found == expected


@pytest.mark.parametrize("name", MODELS)
def test_label_follows_from_probabilities(name: str) -> None:
    """Where a prediction is probabilities alone, the most probable class is river's own label."""
    task, data, make = MODELS[name]
    ours, oracle = make(), make()
    fast = make_fast_path(ours, task=task)
    if not fast.gives_probabilities or fast.gives_pairs:
        pytest.skip("its predictions are labels, values or pairs")
    for x, y in islice(data(), 400):
        label = oracle.predict_one(x)
        oracle.learn_one(x, y)
        found = fast.step(x, y)
        assert (max(found, key=found.__getitem__) if found else None) == label


def test_predicts_without_learning() -> None:
    """Predicting twice gives the same result and changes nothing."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    fast = make_fast_path(model, task=Task.BINARY)
    rows = list(islice(datasets.Phishing(), 50))
    for x, y in rows:
        fast.step(x, y)
    assert fast.predict(rows[0][0]) == fast.predict(rows[0][0]) == model.predict_proba_one(rows[0][0])
