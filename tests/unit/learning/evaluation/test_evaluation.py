"""Evaluations equal river's and scikit-learn's values on exactly the events that both sides predicted."""

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics as river_metrics
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, confusion_matrix

from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Task
from service.domain.training.evaluation import Coverage, Evaluation
from service.learning.evaluation import diagnostics
from service.learning.evaluation.bootstrap import event_losses, metric_samplers
from service.learning.evaluation.holdout import EvaluationSettings, evaluate_holdout
from service.learning.metrics.paired import ScoredEvents, no_change_baseline, pair_events

BINARY = ("Accuracy", "F1", "ROCAUC", "LogLoss", "Precision", "Recall", "MCC", "BalancedAccuracy")
REGRESSION = ("MAE", "MSE", "RMSE", "R2", "MAPE", "SMAPE")
MULTICLASS = ("Accuracy", "MacroF1", "CohenKappa", "CrossEntropy")
QUICK = EvaluationSettings(resamples=60)


def spec(task: Task, *metrics: str) -> ModelSpec:
    """Return a model specification with these metrics."""
    return ModelSpec(name="m", task=task, events="e", estimator="x", metrics=metrics)


def binary(count: int, *, seed: int = 1, skill: float = 0.3) -> ScoredEvents:
    """Return random labels, and probabilities that lean towards them."""
    world, chance = random.Random(99), random.Random(seed)
    truths = [world.random() < 0.4 for _ in range(count)]
    given = [min(max(0.5 + (skill if t else -skill) + chance.gauss(0, 0.3), 0), 1) for t in truths]
    places = [("e", i % 2, i // 2) for i in range(count)]
    groups = [chance.choice(["a", "b", "c", None]) for _ in range(count)]
    return ScoredEvents(places, truths, [p > 0.5 for p in given], given, groups)


def regression(count: int, *, seed: int = 1) -> ScoredEvents:
    """Return labels, and predictions near them."""
    chance = random.Random(seed)
    truths = [chance.gauss(10, 3) for _ in range(count)]
    return ScoredEvents([("e", 0, i) for i in range(count)], truths, [t + chance.gauss(0, 1) for t in truths])


def multiclass(count: int, *, seed: int = 1, classes: str = "abcd") -> ScoredEvents:
    """Return labels of several classes, with predicted probabilities."""
    chance = random.Random(seed)
    truths = [chance.choice(classes) for _ in range(count)]
    given = []
    for truth in truths:
        weights = {label: chance.random() + (0.8 if label == truth else 0) for label in classes}
        given.append({label: weight / sum(weights.values()) for label, weight in weights.items()})
    labels = [max(one, key=one.__getitem__) for one in given]
    return ScoredEvents([("e", 0, i) for i in range(count)], truths, labels, given)


def rivers(name: str, side: ScoredEvents) -> float:
    """Return the metric, updated by river event by event."""
    metric = getattr(river_metrics, name)()
    for row, (truth, label) in enumerate(zip(side.truths, side.labels, strict=True)):
        prediction: Any = label
        if side.probabilities is not None and not metric.requires_labels:
            chance = side.probabilities[row]
            prediction = chance if isinstance(chance, dict) else {True: chance, False: 1 - chance}
        metric.update(truth, prediction)
    return float(metric.get())


SIDES = [
    pytest.param(Task.BINARY, BINARY, binary(400), id="binary"),
    pytest.param(Task.REGRESSION, REGRESSION, regression(400), id="regression"),
    pytest.param(Task.MULTICLASS, MULTICLASS, multiclass(400), id="multiclass"),
]


@pytest.mark.parametrize(("task", "metrics", "side"), SIDES)
def test_values_are_rivers(task: Task, metrics: tuple[str, ...], side: ScoredEvents) -> None:
    """Every metric equals river's, computed event by event, and lies within its interval."""
    found = evaluate_holdout(side, None, spec=spec(task, *metrics), settings=QUICK)
    for name in metrics:
        estimate = found.candidate.metrics[name]
        assert estimate.value == pytest.approx(rivers(name, side), rel=1e-12)
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize(("task", "metrics", "side"), SIDES)
def test_resamples_are_rivers(task: Task, metrics: tuple[str, ...], side: ScoredEvents) -> None:
    """A metric over any resample equals river's over those events."""
    rows = np.random.default_rng(3).integers(len(side), size=len(side))
    found: dict[str, float] = {}
    for sample, _ in metric_samplers(side, metrics, task=task, seed=1):
        found |= sample(rows)
    assert found == pytest.approx({name: rivers(name, side.take(rows.tolist())) for name in metrics}, rel=1e-9)


@pytest.mark.parametrize(("task", "metrics", "side"), SIDES)
def test_evaluations_go_to_json_and_back(task: Task, metrics: tuple[str, ...], side: ScoredEvents) -> None:
    """An evaluation survives JSON without loss, and the same seed gives the same evaluation."""
    found = evaluate_holdout(side, side, spec=spec(task, *metrics), settings=QUICK)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    assert evaluate_holdout(side, side, spec=spec(task, *metrics), settings=QUICK) == found


def test_the_same_model_differs_in_nothing() -> None:
    """A champion compared with itself has differences and intervals of exactly zero."""
    side = binary(200)
    found = evaluate_holdout(side, side, spec=spec(Task.BINARY, *BINARY), settings=QUICK)
    assert found.differences is not None
    assert {(one.value, one.low, one.high) for one in found.differences.values()} == {(0, 0, 0)}


def test_a_better_candidate_shows_in_the_difference() -> None:
    """The interval of the difference lies above zero, and is narrower than the two beside each other."""
    found = evaluate_holdout(
        binary(2000),
        binary(2000, seed=2, skill=0.1),
        spec=spec(Task.BINARY, "Accuracy"),
        settings=EvaluationSettings(resamples=200),
    )
    assert found.differences is not None
    gain = found.differences["Accuracy"]
    assert gain.value is not None
    assert gain.low is not None
    assert 0 < gain.low < gain.value


def test_both_sides_are_judged_on_the_same_events() -> None:
    """Events predicted by one side only, or with contradicting labels, are counted and left out."""
    candidate = binary(100)
    labels = list(candidate.labels)
    labels[10] = None
    truths = list(candidate.truths)
    truths[30] = not truths[30]
    theirs = replace(candidate, truths=truths).take([*range(20, 100), 40])
    theirs = replace(theirs, places=[*theirs.places[:-2], ("other", 0, 1), ("e", 0, 20)])
    found = pair_events(replace(candidate, labels=labels), theirs)
    assert found.coverage == Coverage(compared=78, unscored=21, unseen=1, unpredicted=0, contradicting=1)
    assert list(found.candidate.places) == list(found.champion.places)
    assert 30 not in found.rows
    both = evaluate_holdout(candidate, theirs, spec=spec(Task.BINARY, "Accuracy"), settings=QUICK)
    assert both.champion is not None
    expected = np.mean([t == label for t, label in zip(found.champion.truths, found.champion.labels, strict=True)])
    assert both.champion.metrics["Accuracy"].value == expected


def test_an_event_counts_as_it_was_first_scored() -> None:
    """If a replayed dead letter is in the journal twice, its first prediction counts."""
    side = binary(50)
    again = replace(side.take([3]), labels=[not side.labels[3]])
    twice = ScoredEvents(
        [*side.places, *again.places],
        [*side.truths, *again.truths],
        [*side.labels, *again.labels],
        [*(side.probabilities or ()), *(again.probabilities or ())],
    )
    assert list(pair_events(side, twice).champion.labels) == list(side.labels)


def test_a_champion_with_few_scores_is_not_compared() -> None:
    """With too few scores of the champion, the candidate is evaluated alone, and the coverage says why."""
    found = evaluate_holdout(binary(100), binary(10), spec=spec(Task.BINARY, "Accuracy"), settings=QUICK)
    assert (found.champion, found.differences) == (None, None)
    assert (found.coverage.compared, found.coverage.unscored) == (10, 90)
    assert found.candidate.confusion is not None
    assert sum(map(sum, found.candidate.confusion.counts)) == 100


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.booleans())
@settings(max_examples=50, deadline=None)
def test_no_change_forecasts_the_truth_before(truths: list[int], known: bool) -> None:
    """The baseline predicts the previous label of the stream, whether or not that event was compared."""
    side = ScoredEvents([("e", 0, i) for i in range(len(truths))], truths, truths)
    rows = list(range(0, len(truths), 2))
    found = no_change_baseline(side, rows, previous_label=9 if known else None)
    expected = [(truths[i], truths[i - 1] if i else 9) for i in rows if i or known]
    assert list(zip(found.truths, found.labels, strict=True)) == expected


def test_the_confusion_matrix_is_scikit_learns() -> None:
    """Rows are labels, columns predictions; beyond the limit, the rarest classes are combined."""
    side = multiclass(500)
    found = diagnostics.confusion(side, diagnostics.frequent_classes(side.truths, task=Task.MULTICLASS))
    assert np.array_equal(found.counts, confusion_matrix(list(side.truths), list(side.labels), labels=list("abcd")))
    many = multiclass(2000, classes="abcdefghijklmnopqrstuvwxyz")
    classes = diagnostics.frequent_classes(many.truths, task=Task.MULTICLASS)
    found = diagnostics.confusion(many, classes)
    assert found.classes == (*classes, "(other)")
    known = set(classes)
    truths, labels = ([x if x in known else "(other)" for x in column] for column in (many.truths, many.labels))
    assert np.array_equal(found.counts, confusion_matrix(truths, labels, labels=list(found.classes)))


def test_calibration_is_scikit_learns() -> None:
    """Bins, Brier score and expected calibration error equal scikit-learn's."""
    side = binary(700)
    found = diagnostics.calibration(side, task=Task.BINARY)
    assert found is not None
    observed, predicted = calibration_curve(side.truths, side.probabilities, n_bins=10)
    assert [one.observed for one in found.bins] == pytest.approx(observed.tolist())
    assert [one.predicted for one in found.bins] == pytest.approx(predicted.tolist())
    assert found.brier == pytest.approx(brier_score_loss(side.truths, side.probabilities))
    gaps = sum(one.count * abs(one.observed - one.predicted) for one in found.bins) / 700
    assert found.ece == pytest.approx(gaps)


def test_calibration_of_many_classes() -> None:
    """The Brier score sums over classes like scikit-learn's; reliability is that of the predicted label."""
    side = multiclass(300)
    found = diagnostics.calibration(side, task=Task.MULTICLASS)
    assert found is not None
    matrix = [[given[label] for label in "abcd"] for given in side.probabilities or ()]
    assert found.brier == pytest.approx(brier_score_loss(list(side.truths), matrix, labels=list("abcd")))
    assert sum(one.count for one in found.bins) == 300
    accuracy = sum(one.count * one.observed for one in found.bins) / 300
    assert accuracy == pytest.approx(np.mean([t == label for t, label in zip(side.truths, side.labels, strict=True)]))


def test_quantiles_of_residuals_are_numpys() -> None:
    """Residuals are label minus prediction, with their mean and seven quantiles."""
    side = regression(300)
    found = diagnostics.residuals(side)
    errors = np.asarray(side.truths) - np.asarray(side.labels)
    assert [value for _, value in found.quantiles] == pytest.approx(
        [np.percentile(errors, level) for level, _ in found.quantiles]
    )
    assert found.mean == pytest.approx(errors.mean())


def test_groups_add_up() -> None:
    """The largest groups are listed, and all other events combined, each with river's value."""
    side = binary(600)
    found = evaluate_holdout(
        side, side, spec=spec(Task.BINARY, "Accuracy", "F1"), settings=EvaluationSettings(resamples=40, max_groups=2)
    )
    for model in (found.candidate, found.champion):
        assert model is not None
        assert len(model.groups) == 2
        assert model.other_groups is not None
        assert sum(one.events for one in model.groups) + model.other_groups.events == 600
    name = found.candidate.groups[0].group
    part = side.take([row for row, group in enumerate(side.groups or ()) if group == name])
    assert found.candidate.groups[0].metrics == {one: rivers(one, part) for one in ("Accuracy", "F1")}


def test_metrics_that_need_what_was_not_given_are_undefined() -> None:
    """A champion without probabilities has no ROC AUC, no calibration, and no difference in them."""
    theirs = replace(binary(100), probabilities=None)
    found = evaluate_holdout(binary(100), theirs, spec=spec(Task.BINARY, "Accuracy", "ROCAUC"), settings=QUICK)
    assert found.champion is not None
    assert found.champion.calibration is None
    assert found.champion.metrics["ROCAUC"].value is None
    assert found.differences is not None
    assert found.differences["ROCAUC"].value is None
    assert found.candidate.metrics["ROCAUC"].value is not None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_events(count: int) -> None:
    """An evaluation with hardly any events does not fail."""
    for task, side in ((Task.BINARY, binary(count)), (Task.REGRESSION, regression(count))):
        found = evaluate_holdout(side, side, spec=spec(task), settings=QUICK)
        assert found.coverage.compared == count
        assert (found.candidate.confusion or found.candidate.residuals) or not count


def test_losses_are_what_a_promotion_compares() -> None:
    """Losses are zero-one for labels and squares for a regression."""
    assert event_losses(ScoredEvents([("e", 0, 0)] * 2, ["a", "b"], ["a", "c"]), task=Task.MULTICLASS).tolist() == [
        0,
        1,
    ]
    assert event_losses(ScoredEvents([("e", 0, 0)], [1.0], [3.0]), task=Task.REGRESSION).tolist() == [4]
