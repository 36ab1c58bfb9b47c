"""River's prequential results come out of the whole service, to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import datasets, evaluate, forest, linear_model, metrics, naive_bayes, optim, preprocessing, tree

from service.stream.publish import read_events
from tests.acceptance.harness import Deployment
from tests.budget import STREAMS, stream_settings
from tests.river_metrics import river_metric

MODELS: dict[str, tuple[str, str, Any, Callable[[], Any], tuple[str, ...]]] = {
    "logistic": (
        "binary",
        "Phishing",
        ["preprocessing.StandardScaler", {"linear_model.LogisticRegression": {"optimizer": {"optim.SGD": [0.005]}}}],
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.005)),
        ("Accuracy", "F1", "ROCAUC"),
    ),
    "tree": ("binary", "Phishing", "tree.HoeffdingTreeClassifier", tree.HoeffdingTreeClassifier, ("Accuracy", "F1")),
    "forest": (
        "binary",
        "Phishing",
        {"forest.ARFClassifier": {"n_models": 3, "seed": 8}},
        lambda: forest.ARFClassifier(n_models=3, seed=8),
        ("Accuracy", "ROCAUC"),
    ),
    "bayes": ("binary", "Phishing", "naive_bayes.GaussianNB", naive_bayes.GaussianNB, ("Accuracy", "F1")),
    "approval": (
        "regression",
        "TrumpApproval",
        ["preprocessing.StandardScaler", {"linear_model.LinearRegression": {"intercept_lr": 0.1}}],
        lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(intercept_lr=0.1),
        ("MAE", "RMSE", "R2"),
    ),
    "segments": (
        "multiclass",
        "ImageSegments",
        ["preprocessing.StandardScaler", "linear_model.SoftmaxRegression"],
        lambda: preprocessing.StandardScaler() | linear_model.SoftmaxRegression(),
        ("Accuracy", "MacroF1"),
    ),
}


@pytest.fixture(scope="module")
def bare() -> dict[str, dict[str, float]]:
    """What river's own loop says of each model, metric by metric."""
    found: dict[str, dict[str, float]] = {}
    for name, (_, data, _, make, names) in MODELS.items():
        together = metrics.base.Metrics([river_metric(one) for one in names])
        evaluate.progressive_val_score(getattr(datasets, data)(), make(), together)
        found[name] = {one: metric.get() for one, metric in zip(names, together, strict=True)}
    return found


@pytest.mark.parametrize("stream", STREAMS)
def test_the_service_equals_a_bare_loop(
    request: pytest.FixtureRequest, tmp_path: Path, topic: str, stream: str, bare: dict[str, dict[str, float]]
) -> None:
    """Six models in one process, fed through the stream, have exactly river's metrics; Phishing's is 0.8872."""
    kafka = stream_settings(request, stream)
    specs = [
        {
            "name": name,
            "task": task,
            "events": f"{topic}.{name}",
            "estimator": estimator,
            "metrics": list(names),
            "guard": {"range_factor": 1e9},
        }
        for name, (task, _, estimator, _, names) in MODELS.items()
    ]
    deployment = Deployment(tmp_path, specs[0], kafka=kafka, others=specs[1:])
    counts = {}
    for spec in specs:
        events = list(read_events(f"river:{MODELS[spec['name']][1]}"))
        counts[spec["name"]] = len(events)
        deployment.publish(events, topic=spec["events"])
    deployment.command("learn", "--until-end")
    with deployment.app() as app:
        for name, expected in bare.items():
            champion = app.registry.models.get(name).champion
            assert champion is not None
            found = app.registry.checkpoints.newest_first(champion)[0].metrics
            assert found.cumulative == expected, name
            assert found.counts == {"learned": counts[name], "predicted": 0, "duplicate": 0, "dead": 0}, name
    assert round(bare["logistic"]["Accuracy"], 4) == 0.8872
